"""Reading tables from outside: bounded, strict and streamed, in the contract's types and order of columns."""

from __future__ import annotations

import stat
from collections.abc import Generator, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

import pyarrow as pa

from assay.contract.models import Contract
from assay.errors import UsageError
from assay.intake import _csv, _parquet
from assay.intake._cast import ARROW_TYPES
from assay.intake._reading import BadCells, OnBadCells, ReadError, Reading, ReadStats

__all__ = [
    "BadCells",
    "ReadError",
    "ReadStats",
    "TableFormat",
    "count_rows",
    "is_table_name",
    "read_batches",
    "read_table",
    "sniff",
    "table_batches",
    "table_schema",
]


class TableFormat(StrEnum):
    """Formats of tables that are read."""

    PARQUET = "parquet"
    CSV = "csv"
    CSV_GZ = "csv.gz"
    CSV_ZST = "csv.zst"


_CODECS = {TableFormat.CSV: None, TableFormat.CSV_GZ: "gzip", TableFormat.CSV_ZST: "zstd"}
_MAGIC = {
    b"PAR1": TableFormat.PARQUET,
    b"\x1f\x8b": TableFormat.CSV_GZ,
    b"\x28\xb5\x2f\xfd": TableFormat.CSV_ZST,
}
_KNOWN = {  # what files that are none of ours may be, for the message
    b"PARE": "Parquet with an encrypted footer",
    b"PK\x03\x04": "a ZIP archive (a spreadsheet?)",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"ARROW1": "an Arrow file",
    b"ORC": "ORC",
    b"\x89HDF": "HDF5",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"SQLite": "an SQLite database",
}


def table_schema(contract: Contract) -> pa.Schema:
    """The Arrow schema of the contract's columns, in their order.

    Every field may hold nulls, so that a batch with bad cells can be kept; whether nulls are allowed is a check.
    """
    return pa.schema([(name, ARROW_TYPES[column.type]) for name, column in contract.schema_.columns.items()])


def is_table_name(name: str) -> bool:
    """Whether a file of a delivery is a table by its name: `.parquet`, `.csv`, `.csv.gz` or `.csv.zst`."""
    return _named(name) is not None


def _named(name: str) -> TableFormat | None:
    lower = name.lower()
    return next((format_ for format_ in TableFormat if lower.endswith("." + format_.value)), None)


def sniff(path: str | Path, *, name: str | None = None) -> TableFormat:
    """The format of a table by its content, held against its name.

    Args:
        path: The file.
        name: The name that it carries in its delivery, where that is not the path's own; a name without one of the
            known endings promises nothing.

    Raises:
        ReadError: It is no file, is empty, is of another format, or is not what its name says.
    """
    path = Path(path)
    name = name or path.name
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ReadError("not a regular file", file=name, next_step="name a Parquet or CSV file")
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise ReadError(
            f"cannot be opened: {error.strerror}",
            file=name,
            found=str(path),
            next_step="check the path and permissions",
        ) from None
    if not head:
        raise ReadError("the file is empty", file=name, expected="Parquet or CSV", next_step="send it again")
    promised = _named(name)
    found = next((format_ for magic, format_ in _MAGIC.items() if head.startswith(magic)), None)
    if found is None:
        other = next((what for magic, what in _KNOWN.items() if head.startswith(magic)), None)
        if other is not None or promised not in {None, TableFormat.CSV}:
            raise ReadError(
                "is not what its name says" if promised else "is no table that can be read",
                file=name,
                expected=promised or "Parquet or CSV",
                found=other or f"content that starts with {head!r}",
                next_step="send Parquet or CSV under its right name",
            )
        found = TableFormat.CSV
    if promised is not None and promised is not found:
        raise ReadError(
            "is not what its name says",
            file=name,
            expected=promised,
            found=f"content of {found}",
            next_step=f"name it *.{found} if that is what it is meant to be",
        )
    return found


def read_batches(
    path: str | Path,
    contract: Contract,
    *,
    batch_rows: int = 65_536,
    columns: Sequence[str] | None = None,
    name: str | None = None,
    on_error: Literal["raise", "collect"] = "raise",
    on_bad_cells: OnBadCells | None = None,
    stats: ReadStats | None = None,
) -> Generator[pa.RecordBatch, None, None]:
    """Read a Parquet or CSV file in batches of the contract's types; memory is set by the batch, not by the file.

    Values are never coerced: an integer with a fraction, a 64-bit integer that a float cannot hold, a text in the
    place of a number is a bad cell. Texts of CSV are parsed by the contract's types; an empty cell is null, a quoted
    empty cell is an empty string. A NaN is null where the column is nullable, and a bad cell elsewhere; an infinity is
    a bad cell. Timestamps of Parquet without a zone are taken as UTC, and `stats.assumed_utc` names their columns; so
    are times of CSV without one.

    Args:
        path: The file; its format is told by its content.
        contract: The columns, their types, and the bounds.
        batch_rows: Rows per batch; all batches but the last have this many.
        columns: The columns to hand out, in this order; by default all, in the contract's order. The file must have
            all of the contract's columns, and no others, either way.
        name: The file's name in its delivery, for messages and to hold its content against.
        on_error: `raise` ends reading at the first bad cell. `collect` puts nulls there and goes on.
        on_bad_cells: Called with what `collect` finds, before the batch that holds them is handed out.
        stats: Counts; shared between files, the bounds hold for all of them together.

    Yields:
        Record batches with the fields of `table_schema(contract)` (or of `columns`).

    Raises:
        ReadError: The file is not what its name says, is damaged, has no rows, has other columns or types than the
            contract, holds a bad cell (with `raise`), or passes a bound.
        UsageError: `columns` names one that the contract does not have.
    """
    known = contract.schema_.columns
    wanted = tuple(known) if columns is None else tuple(columns)
    for column in wanted:
        if column not in known:
            raise UsageError(f"the contract has no column {column!r}", expected=", ".join(list(known)[:12]))
    path = Path(path)
    format_ = sniff(path, name=name)
    ignore: OnBadCells = lambda cells: None  # noqa: E731
    handler = None if on_error == "raise" else (on_bad_cells or ignore)
    reading = Reading(
        name or path.name,
        contract,
        wanted or (next(iter(known)),),
        stats if stats is not None else ReadStats(),
        handler,
    )
    if path.stat().st_size > reading.bounds.max_bytes:
        raise reading.over(
            "more data", f"{reading.bounds.max_bytes} bytes", f"{path.stat().st_size} bytes", "max_bytes"
        )
    source: Generator[pa.RecordBatch, None, None]
    if format_ is TableFormat.PARQUET:
        source = _parquet.batches(path, reading, batch_rows)
    else:
        source = _csv.batches(path, _CODECS[format_], reading)
    reading.start()
    try:
        for batch in _rebatch(source, batch_rows):
            reading.pause()
            yield batch
            reading.start()
    finally:
        reading.pause()
        source.close()
    if not reading.row:
        raise reading.error(
            "the table has no rows", expected="at least one record", next_step="send it with its records"
        )
    reading.stats.files += 1


def table_batches(
    table: pa.Table,
    contract: Contract,
    *,
    batch_rows: int = 65_536,
    name: str = "table",
    on_error: Literal["raise", "collect"] = "raise",
    on_bad_cells: OnBadCells | None = None,
    stats: ReadStats | None = None,
) -> Generator[pa.RecordBatch, None, None]:
    """Batches of a table in memory, checked and cast as `read_batches` does with those of a Parquet file.

    Raises:
        ReadError: The table has other columns or types than the contract, a bad cell (with `raise`), or passes a bound.
    """
    ignore: OnBadCells = lambda cells: None  # noqa: E731
    handler = None if on_error == "raise" else (on_bad_cells or ignore)
    known = tuple(contract.schema_.columns)
    reading = Reading(name, contract, known, stats if stats is not None else ReadStats(), handler)
    _parquet.check_schema(table.schema, reading)
    for batch in table.select(known).to_batches(max_chunksize=batch_rows):
        if batch.num_rows:
            yield _parquet.convert(batch, reading)
    if not reading.row:
        raise reading.error(
            "the table has no rows", expected="at least one record", next_step="give it some records"
        )
    reading.stats.files += 1


def read_table(
    path: str | Path, contract: Contract, *, columns: Sequence[str] | None = None, name: str | None = None
) -> pa.Table:
    """Read a whole file that fits in memory, such as the trusted set; strict as `read_batches` is.

    Raises:
        ReadError: As `read_batches` does.
    """
    return pa.Table.from_batches(read_batches(path, contract, columns=columns, name=name))


def count_rows(path: str | Path, contract: Contract, *, name: str | None = None) -> int:
    """The number of rows: from the footer of Parquet, by reading through a CSV.

    Raises:
        ReadError: The file cannot be read as the contract's table; cells are not looked at.
    """
    path = Path(path)
    if sniff(path, name=name) is TableFormat.PARQUET:
        reading = Reading(name or path.name, contract, (), ReadStats(), None)
        with _parquet.open_file(path, reading) as file:
            return int(file.metadata.num_rows)
    first = next(iter(contract.schema_.columns))
    batches = read_batches(path, contract, columns=[first], name=name, on_error="collect")
    return sum(batch.num_rows for batch in batches)


def _rebatch(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """Cut and join batches so that all but the last have `rows` rows, whatever the file's own blocks are."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows).combine_chunks().to_batches()[0]
            rest = table.slice(rows)
            held = rest.to_batches()
            count -= rows
    if count:
        yield pa.Table.from_batches(held).combine_chunks().to_batches()[0]
