"""Screening: which rows of a batch look poisoned, how sure that is, and why."""

from __future__ import annotations

from assay.screen.corrections import Corrections, read_corrections, value_digest
from assay.screen.engine import screen
from assay.screen.errors import ScreenError, ScreenUsageError
from assay.screen.report import ScreenReport
from assay.screen.rows import Rows
from assay.screen.runs import RunRecord, screen_run

__all__ = [
    "Corrections",
    "Rows",
    "RunRecord",
    "ScreenError",
    "ScreenReport",
    "ScreenUsageError",
    "read_corrections",
    "screen",
    "screen_run",
    "value_digest",
]
