"""Expectations: a contract becomes a Great Expectations suite, and a delivery's rows are held against it."""

from __future__ import annotations

from assay.expect.errors import ExpectError
from assay.expect.plan import Planned, Reach, make_plan
from assay.expect.result import FAILING_SCHEMA, FileRows, Validation
from assay.expect.validate import OnProgress, check_expectations, validate_files, validate_table

__all__ = [
    "FAILING_SCHEMA",
    "ExpectError",
    "FileRows",
    "OnProgress",
    "Planned",
    "Reach",
    "Validation",
    "check_expectations",
    "make_plan",
    "validate_files",
    "validate_table",
]
