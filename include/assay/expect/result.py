"""What a validation answers: findings, and the rows that fail, in as little memory as there are reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assay.expect.tally import RowSet
from assay.findings import Finding, Outcome, worst

_WINDOW = 1 << 18  # rows looked through at a time for failing ones

FAILING_SCHEMA = pa.schema([("row", pa.int64()), ("reasons", pa.list_(pa.string()))])


@dataclass(frozen=True)
class FileRows:
    """Where a file's rows stand in the numbering of the whole delivery.

    Attributes:
        name: The file's name.
        first: Number of its first row.
        rows: How many rows it has.
    """

    name: str
    first: int
    rows: int


@dataclass(frozen=True)
class Validation:
    """What the contract's expectations say about a delivery.

    Attributes:
        findings: One per expectation, and one or more on the types of cells. `evidence["level"]` is `row` where failing
            rows can be left out and the rest be used, and `table` where the delivery as a whole is in question.
        rows: Rows in all.
        files: The files in order; rows are numbered through all of them from 0.
        docs: The first page of the Data Docs, where they were asked for.
    """

    findings: list[Finding]
    rows: int
    files: tuple[FileRows, ...]
    docs: Path | None = None
    _reasons: tuple[tuple[str, RowSet], ...] = field(default=(), repr=False)

    @property
    def outcome(self) -> Outcome:
        """The worst of all findings."""
        return worst(finding.outcome for finding in self.findings)

    @property
    def table_outcome(self) -> Outcome:
        """The worst of all findings but those that failing rows answer for: what is left once these are out."""
        left = [f for f in self.findings if f.outcome is not Outcome.FAILED or f.evidence["level"] == "table"]
        return worst([Outcome.PASSED, *(finding.outcome for finding in left)])

    @property
    def failing_count(self) -> int:
        """Rows that fail at least one expectation."""
        return (
            sum(int(self._mask(start).sum()) for start in range(0, self.rows, _WINDOW))
            if self._reasons
            else 0
        )

    def failing_mask(self) -> npt.NDArray[np.bool_]:
        """One boolean per row: whether it fails."""
        mask = np.zeros(self.rows, dtype=bool)
        for _, rows in self._reasons:
            rows.mark(mask, 0)
        return mask

    def failing_batches(self) -> Iterator[pa.RecordBatch]:
        """Failing rows in order, with all their reasons: `row` int64, `reasons` list<string>; of bounded size each."""
        if not self._reasons:
            return
        names = pa.array([reason for reason, _ in self._reasons], pa.string())
        step = max(1024, _WINDOW * 8 // max(8, len(names)))  # every row may have every reason
        for start in range(0, self.rows, step):
            length = min(step, self.rows - start)
            marks = np.zeros((length, len(names)), dtype=bool)
            for number, (_, rows) in enumerate(self._reasons):
                column = np.zeros(length, dtype=bool)
                rows.mark(column, start)
                marks[:, number] = column
            counts = marks.sum(axis=1)
            failing = np.flatnonzero(counts)
            if not len(failing):
                continue
            codes = np.nonzero(marks)[1]
            offsets = np.concatenate([[0], np.cumsum(counts[failing])]).astype(np.int32)
            reasons = pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(codes)))
            yield pa.RecordBatch.from_arrays([pa.array(failing + start), reasons], schema=FAILING_SCHEMA)

    @property
    def failing_rows(self) -> pa.Table:
        """All of `failing_batches` as one table; use these instead where most rows of a large delivery may fail."""
        return pa.Table.from_batches(self.failing_batches(), schema=FAILING_SCHEMA)

    def _mask(self, start: int) -> npt.NDArray[np.bool_]:
        mask = np.zeros(min(_WINDOW, self.rows - start), dtype=bool)
        for _, rows in self._reasons:
            rows.mark(mask, start)
        return mask
