"""What the readers of all formats share: the error they raise, the cells they report, and the limits they keep."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.contract.models import Bounds, Column, Contract
from assay.errors import Terminal

EXAMPLES = 5
"""Cells that a report quotes at most."""


class ReadError(Terminal):
    """A file of a delivery cannot be read as the table that the contract describes.

    Attributes:
        file: The file's name in the delivery.
        column: The column, where the fault has one.
        line: The line of the file, counted from 1, where it has lines.
        record: The record, counted from 1 without the header, where the fault has one.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str,
        column: str | None = None,
        line: int | None = None,
        record: int | None = None,
        expected: object = None,
        found: object = None,
        next_step: str | None = None,
    ) -> None:
        """Put the place in front of the message and keep it as attributes."""
        place = file
        if line is not None:
            place += f", line {line}"
        if record is not None:
            place += f", record {record}"
        if column is not None:
            place += f", column {column!r}"
        super().__init__(f"{place}: {message}", expected=expected, found=found, next_step=next_step)
        self.file = file
        self.column = column
        self.line = line
        self.record = record


@dataclass(frozen=True)
class BadCells:
    """Cells of one column of one batch that the contract's type cannot hold, all for the same reason.

    Attributes:
        file: The file's name in the delivery.
        column: The column.
        problem: What is wrong with these cells, e.g. `not an integer`.
        rows: Their rows in the file, counted from 0 without a header; int64, ascending.
        examples: The text of the first few of them, shortened.
        lines: The lines of the file that the same few begin in, counted from 1; empty where a format has no lines.
    """

    file: str
    column: str
    problem: str
    rows: npt.NDArray[np.int64]
    examples: tuple[str, ...]
    lines: tuple[int, ...] = ()


OnBadCells = Callable[[BadCells], None]


@dataclass
class ReadStats:
    """What has been read so far; pass the same object for all files of a delivery, and the bounds hold for the whole.

    Attributes:
        files: Files read to their end.
        rows: Rows handed out.
        bytes: Bytes of table content taken in, after decompression.
        seconds: Time spent reading; the caller's own work between two batches does not count.
        nan_as_null: Per nullable column: NaN cells that became nulls.
        assumed_utc: Timestamp columns without a zone, which were taken as UTC.
    """

    files: int = 0
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0
    nan_as_null: dict[str, int] = field(default_factory=dict)
    assumed_utc: set[str] = field(default_factory=set)


Locate = Callable[[Sequence[int]], list[int]]
"""Finds the lines that records begin in: records counted from 1 and ascending, lines from 1."""


@dataclass
class Reading:
    """One file being read: its place in reports, its limits, and what to do with a bad cell."""

    name: str
    contract: Contract
    columns: tuple[str, ...]
    stats: ReadStats
    on_bad_cells: OnBadCells | None
    row: int = 0
    locate: Locate | None = None
    _since: float | None = None

    @property
    def bounds(self) -> Bounds:
        """The contract's limits on untrusted input."""
        return self.contract.bounds

    def column(self, name: str) -> Column:
        """The contract's words on a column."""
        return self.contract.schema_.columns[name]

    def error(self, message: str, **facts: Any) -> ReadError:
        """A `ReadError` about this file."""
        return ReadError(message, file=self.name, **facts)

    def over(self, what: str, limit: object, found: object, field_name: str) -> ReadError:
        """The error for a limit that is passed."""
        return self.error(
            f"{what} than the contract allows",
            expected=f"at most {limit} (bounds.{field_name})",
            found=found,
            next_step=f"raise bounds.{field_name} in the contract if such a delivery is meant to be",
        )

    def start(self) -> None:
        """Let the clock run."""
        self._since = time.monotonic()

    def pause(self) -> None:
        """Stop the clock: what follows is the caller's time."""
        if self._since is not None:
            self.stats.seconds += time.monotonic() - self._since
            self._since = None

    def check_time(self) -> None:
        """Raise once reading has taken longer than the contract allows.

        Raises:
            ReadError: The time is up.
        """
        running = 0.0 if self._since is None else time.monotonic() - self._since
        limit = self.bounds.timeout.total_seconds()
        if self.stats.seconds + running > limit:
            raise self.over(
                "reading takes longer", f"{limit:g} s", f"{self.stats.seconds + running:.1f} s", "timeout"
            )

    def count_rows(self, rows: int) -> None:
        """Add rows to the count, and raise once there are more than the contract allows.

        Raises:
            ReadError: Too many rows.
        """
        self.stats.rows += rows
        self.row += rows
        if self.stats.rows > self.bounds.max_rows:
            raise self.over("more rows", self.bounds.max_rows, f"more than {self.stats.rows - 1}", "max_rows")

    def count_bytes(self, size: int) -> None:
        """Add bytes to the count, and raise once there are more than the contract allows.

        Raises:
            ReadError: Too many bytes.
        """
        self.stats.bytes += size
        if self.stats.bytes > self.bounds.max_bytes:
            raise self.over(
                "more data", f"{self.bounds.max_bytes} bytes", f"{self.stats.bytes} bytes", "max_bytes"
            )

    def check_names(self, names: list[str]) -> None:
        """Compare the file's column names with the contract's.

        Raises:
            ReadError: A name stands twice, is unknown, or is missing; or there are too many columns.
        """
        if len(names) > self.bounds.max_columns:
            raise self.over("more columns", self.bounds.max_columns, len(names), "max_columns")
        known = list(self.contract.schema_.columns)
        twice = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if twice:
            raise self.error(
                f"columns stand twice: {listing(twice)}", next_step="each column needs a name of its own"
            )
        seen, wanted = set(names), set(known)
        missing = [name for name in known if name not in seen]
        unknown = [name for name in names if name not in wanted]
        if missing or unknown:
            parts = [f"missing: {listing(missing)}"] if missing else []
            parts += [f"not in the contract: {listing(unknown)}"] if unknown else []
            hint = "send the contract's columns under their names, or change schema.columns in the contract"
            if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
                hint = "separate cells by commas, or set csv.delimiter in the contract"
            raise self.error(
                f"columns differ from the contract's; {'; '.join(parts)}",
                expected=listing(known),
                found=listing(names),
                next_step=hint,
            )

    def lines_of(self, records: Sequence[int]) -> list[int]:
        """The lines that records begin in; none where the format has no lines."""
        return [] if self.locate is None else self.locate(records)

    def report(self, column: str, problem: str, where: npt.NDArray[np.int64], examples: list[str]) -> None:
        """Hand bad cells of the current batch to the caller, or raise.

        Args:
            column: Their column.
            problem: What is wrong with them.
            where: Their places in the current batch, ascending.
            examples: The text of the first few.

        Raises:
            ReadError: The caller did not ask for bad cells to be collected.
        """
        rows = where.astype(np.int64) + self.row
        shown = tuple(shorten(text) for text in examples[:EXAMPLES])
        lines = self.lines_of([int(row) + 1 for row in rows[: max(len(shown), 1)]])
        if self.on_bad_cells is not None:
            self.on_bad_cells(BadCells(self.name, column, problem, rows, shown, tuple(lines)))
            return
        raise self.error(
            problem,
            column=column,
            line=lines[0] if lines else None,
            record=int(rows[0]) + 1,
            expected=self.column(column).type,
            found=shown[0] if shown else "null",
            next_step="correct the value at its source, or validate the table to see all such cells",
        )


def shorten(text: str, limit: int = 80) -> str:
    """A text fit for a report: control characters escaped, the end cut off."""
    safe = text if text.isprintable() else text.encode("unicode_escape").decode()
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def listing(names: list[str], limit: int = 12) -> str:
    """Names for a message: the first few, and how many more."""
    shown = ", ".join(shorten(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
