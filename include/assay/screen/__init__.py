"""Screening: which rows of a batch look poisoned, how sure that is, and why."""

from __future__ import annotations

from assay.screen.engine import screen
from assay.screen.errors import ScreenError, ScreenUsageError
from assay.screen.report import ScreenReport
from assay.screen.rows import Rows

__all__ = ["Rows", "ScreenError", "ScreenReport", "ScreenUsageError", "screen"]
