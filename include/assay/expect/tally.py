"""Answers on parts of a delivery, added up to one answer on all of it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.expect.engine import Answer
from assay.expect.plan import NULL_TYPES, Planned
from assay.findings import Finding, Outcome, Scope, Severity

EXAMPLES = 5

Rows = npt.NDArray[np.int64]


class RowSet:
    """A growing set of row numbers that stays small when nearly all rows are in it: an eighth of a byte per row.

    Parts may come in any order, but no row may come twice.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sparse: list[Rows] = []
        self._dense: list[tuple[int, npt.NDArray[np.uint8], int]] = []

    def add(self, rows: Rows) -> None:
        """Add ascending row numbers."""
        if not len(rows):
            return
        self.count += len(rows)
        first, width = int(rows[0]), int(rows[-1]) - int(rows[0]) + 1
        if width > 64 * len(rows):
            self._sparse.append(rows.astype(np.int64))
            return
        mask = np.zeros(width, dtype=bool)
        mask[rows - first] = True
        self._dense.append((first, np.packbits(mask), width))

    def mark(self, mask: npt.NDArray[np.bool_], start: int) -> None:
        """Set the places of `mask` whose row, counted from `start`, is in the set."""
        stop = start + len(mask)
        for rows in self._sparse:
            low, high = np.searchsorted(rows, (start, stop))
            mask[rows[low:high] - start] = True
        for first, packed, width in self._dense:
            low, high = max(start, first), min(stop, first + width)
            if low < high:
                byte = (low - first) // 8
                bits = np.unpackbits(packed[byte : (high - first + 7) // 8]).astype(bool)
                offset = (low - first) - 8 * byte
                mask[low - start : high - start] |= bits[offset : offset + high - low]


@dataclass
class Tally:
    """One expectation's answers so far.

    Attributes:
        planned: The expectation.
        rows: Rows that fail it.
        by_row: Whether it is about rows.
    """

    planned: Planned
    rows: RowSet = field(default_factory=RowSet)
    by_row: bool = False
    raised: str | None = None
    asked: int = 0
    elements: int = 0
    missing: int = 0
    success: bool = True
    observed: Any = None
    details: Any = None
    examples: list[tuple[int, Any]] = field(default_factory=list)

    def add(self, answer: Answer, failing: Rows | None, examples: Iterable[tuple[int, Any]]) -> None:
        """Add the answer on one part.

        Args:
            answer: What was said.
            failing: Its rows, less those that another check accounts for.
            examples: Row and value of the first few of them.
        """
        self.asked += 1
        if answer.raised is not None:
            self.raised = self.raised or answer.raised
            return
        self.elements += answer.elements
        self.missing += answer.missing
        if failing is None:
            self.success = self.success and answer.success
            self.observed, self.details = answer.observed, answer.details
            return
        self.by_row = True
        self.rows.add(failing)
        self.examples = sorted([*self.examples, *examples], key=lambda pair: pair[0])[:EXAMPLES]

    @property
    def counted(self) -> int:
        """The rows that its percentage is of."""
        return self.elements if self.planned.type in NULL_TYPES else self.elements - self.missing

    @property
    def outcome(self) -> Outcome:
        """`not_checked` where it raised on any part or was never asked, whatever the other parts said."""
        if self.raised is not None or not self.asked:
            return Outcome.NOT_CHECKED
        if not self.by_row:
            return Outcome.PASSED if self.success else Outcome.FAILED
        if not self.rows.count:
            return Outcome.PASSED
        held = (self.counted - self.rows.count) / self.counted if self.counted else 0.0
        return Outcome.PASSED if self.planned.mostly < 1 and held >= self.planned.mostly else Outcome.FAILED

    @property
    def fails_rows(self) -> bool:
        """Whether its rows are failing rows: not while no more of them fail than the contract allows."""
        return self.rows.count > 0 and self.outcome is not Outcome.PASSED

    @property
    def percent(self) -> float:
        """Failing rows in percent."""
        return 100.0 * self.rows.count / self.counted if self.counted else 0.0

    def finding(self) -> Finding:
        """The answer on the whole delivery."""
        planned, outcome = self.planned, self.outcome
        evidence: dict[str, Any] = {
            "level": "row" if self.by_row else "table",
            "where": planned.where,
            "expectation": planned.type,
            "arguments": plain(planned.arguments),
        }
        if self.by_row:
            evidence |= {
                "rows": self.elements,
                "missing_count": self.missing,
                "unexpected_count": self.rows.count,
                "unexpected_percent": round(self.percent, 6),
                "examples": [{"row": row, "value": value} for row, value in self.examples],
            }
        elif self.raised is None:
            evidence |= {"observed": plain(self.observed), "details": plain(self.details)}
        if self.raised is not None:
            evidence["raised"] = self.raised
        severity = Severity.INFO
        if outcome is not Outcome.PASSED:
            severity = Severity.MEDIUM if self.by_row else Severity.HIGH
        return Finding(
            check=f"expect.{planned.type.removeprefix('expect_')}",
            outcome=outcome,
            severity=severity,
            scope=Scope.COLUMN if len(planned.columns) == 1 else Scope.DELIVERY,
            subject=planned.subject,
            message=self._message(outcome),
            evidence=evidence,
        )

    def _message(self, outcome: Outcome) -> str:
        if outcome is Outcome.NOT_CHECKED:
            return f"could not be evaluated: {self.raised or 'it was not asked'}"
        if not self.by_row:
            seen = "" if self.observed is None else f"observed {shown(plain(self.observed))}"
            limits = ", ".join(
                f"{key} {shown(plain(value))}"
                for key, value in self.planned.arguments.items()
                if key not in {"column", "column_A", "column_B", "column_list"}
            )
            return f"{seen or 'it ' + ('holds' if self.success else 'does not hold')} ({limits or 'no arguments'})"
        if not self.rows.count:
            return f"all {self.counted:,} rows hold"
        return f"{self.rows.count:,} of {self.counted:,} rows ({self.percent:.3g} %): {self.planned.reason}"


def plain(value: Any, *, limit: int = 50, depth: int = 4) -> Any:
    """A value as JSON can hold it, of bounded size: no NaN, no NumPy, at most `limit` entries."""
    if value is None or isinstance(value, bool | str | int):
        return value if not isinstance(value, str) or len(value) <= 200 else value[:199] + "…"
    if isinstance(value, np.generic):
        return plain(value.item(), limit=limit, depth=depth)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if depth <= 0:
        return shown(str(value))
    if isinstance(value, dict):
        return {
            str(key): plain(entry, limit=limit, depth=depth - 1) for key, entry in list(value.items())[:limit]
        }
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [plain(entry, limit=limit, depth=depth - 1) for entry in list(value)[:limit]]
    return shown(str(value))


def shown(value: Any, limit: int = 80) -> str:
    """A value as a message quotes it."""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
