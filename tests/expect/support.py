"""Contracts and tables for the tests of expectations."""

from __future__ import annotations

from typing import Any

from assay.contract import Contract
from assay.expect import Validation
from assay.findings import Finding


def contract(columns: dict[str, Any], *expectations: dict[str, Any], **schema: Any) -> Contract:
    """A contract with these columns (a column may be just its type), expectations and parts of the schema."""
    full = {name: {"type": value} if isinstance(value, str) else value for name, value in columns.items()}
    return Contract.model_validate(
        {
            "version": 1,
            "dataset": "things",
            "schema": {"columns": full, **schema},
            "expectations": list(expectations),
        }
    )


def only(result: Validation, check: str, subject: str | None = None) -> Finding:
    """The one finding of that check."""
    found = [
        finding
        for finding in result.findings
        if finding.check == f"expect.{check}" and subject in (None, finding.subject)
    ]
    assert len(found) == 1, [f"{finding.check} {finding.subject}" for finding in result.findings]
    return found[0]


def reasons(result: Validation) -> dict[int, list[str]]:
    """Failing rows and why."""
    return {row["row"]: row["reasons"] for row in result.failing_rows.to_pylist()}
