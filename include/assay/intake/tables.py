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
from assay.intake import _arrow, _csv, _jsonl, _parquet
from assay.intake._cast import ARROW_TYPES
from assay.intake._reading import BadCells, OnBadCells, ReadError, Reading, ReadStats
from assay.intake._textfile import unpacked

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
    """Formats of tables that are read, each plain or compressed by gzip or Zstandard."""

    PARQUET = "parquet"
    PARQUET_GZ = "parquet.gz"
    PARQUET_ZST = "parquet.zst"
    ARROW = "arrow"
    ARROW_GZ = "arrow.gz"
    ARROW_ZST = "arrow.zst"
    ARROWS = "arrows"
    ARROWS_GZ = "arrows.gz"
    ARROWS_ZST = "arrows.zst"
    CSV = "csv"
    CSV_GZ = "csv.gz"
    CSV_ZST = "csv.zst"
    JSONL = "jsonl"
    JSONL_GZ = "jsonl.gz"
    JSONL_ZST = "jsonl.zst"

    @property
    def plain(self) -> TableFormat:
        """The format without its compression."""
        return TableFormat(self.value.partition(".")[0])

    @property
    def codec(self) -> str | None:
        """`gzip`, `zstd` or None."""
        return {"": None, "gz": "gzip", "zst": "zstd"}[self.value.partition(".")[2]]

    @property
    def text(self) -> bool:
        """Whether it consists of lines."""
        return self.plain in {TableFormat.CSV, TableFormat.JSONL}


_ENDINGS = {format_.value: format_ for format_ in TableFormat} | {
    f"{name}{packed}": TableFormat(f"{format_.value}{packed}")
    for name, format_ in {"ndjson": TableFormat.JSONL, "feather": TableFormat.ARROW}.items()
    for packed in ("", ".gz", ".zst")
}
_CODECS = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst"}
_MAGIC = {
    b"PAR1": TableFormat.PARQUET,
    _arrow.MAGIC: TableFormat.ARROW,
    _arrow.CONTINUES: TableFormat.ARROWS,
}
_KNOWN = {  # what files that are none of ours may be, for the message
    b"PARE": "Parquet with an encrypted footer",
    b"PK\x03\x04": "a ZIP archive (a spreadsheet?)",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x1f\x8b": "compressed twice",
    b"\x28\xb5\x2f\xfd": "compressed twice",
    b"FEA1": "Feather of version 1",
    b"ORC": "ORC",
    b"\x89HDF": "HDF5",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"SQLite": "an SQLite database",
    b"version https://git-lfs": "a Git LFS pointer, and not the data that it points to",
}
_HEAD = 32
_READABLE = "Parquet, Arrow IPC, CSV or JSON Lines"


def table_schema(contract: Contract) -> pa.Schema:
    """The Arrow schema of the contract's columns, in their order.

    Every field may hold nulls, so that a batch with bad cells can be kept; whether nulls are allowed is a check.
    """
    return pa.schema([(name, ARROW_TYPES[column.type]) for name, column in contract.schema_.columns.items()])


def is_table_name(name: str) -> bool:
    """Whether a file of a delivery is a table by its name.

    `.parquet`, `.arrow`, `.feather`, `.arrows`, `.csv`, `.jsonl` or `.ndjson`, each perhaps with `.gz` or `.zst`.
    """
    return _named(name) is not None


def _named(name: str) -> TableFormat | None:
    lower = name.lower()
    return next((format_ for ending, format_ in _ENDINGS.items() if lower.endswith("." + ending)), None)


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
            raise ReadError("not a regular file", file=name, next_step=f"name a file of {_READABLE}")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise ReadError(
            f"cannot be opened: {error.strerror}",
            file=name,
            found=str(path),
            next_step="check the path and permissions",
        ) from None
    if not head:
        raise ReadError("the file is empty", file=name, expected=_READABLE, next_step="send it again")
    promised = _named(name)
    packed = next((ending for magic, ending in _CODECS.items() if head.startswith(magic)), "")
    if packed:
        head = _inner(path, packed)
        if not head and promised is not None and promised.value.endswith(packed):
            return promised  # its reader says what is wrong with the stream
    plain = next((format_ for magic, format_ in _MAGIC.items() if head.startswith(magic)), None)
    if plain is None:
        other = next((what for magic, what in _KNOWN.items() if head.startswith(magic)), None)
        if other is not None or (promised is not None and not promised.text):
            raise ReadError(
                "is not what its name says" if promised else "is no table that can be read",
                file=name,
                expected=promised or _READABLE,
                found=other or f"content that starts with {head[:8]!r}",
                next_step=f"send {_READABLE} under its right name",
            )
        # Both are text: the name tells them apart, and where it promises nothing, an object is no header of a CSV.
        guessed = TableFormat.JSONL if head.lstrip()[:1] == b"{" else TableFormat.CSV
        plain = promised.plain if promised is not None else guessed
    found = TableFormat(plain.value + packed)
    if promised is not None and promised is not found:
        raise ReadError(
            "is not what its name says",
            file=name,
            expected=promised,
            found=f"content of {found}",
            next_step=f"name it *.{found} if that is what it is meant to be",
        )
    return found


def _inner(path: Path, packed: str) -> bytes:
    """The first bytes of a compressed file; none where it cannot be decompressed, which its reader will say."""
    codec = TableFormat(f"csv{packed}").codec
    try:
        with pa.OSFile(str(path), "rb") as raw, pa.CompressedInputStream(raw, codec) as text:
            data: bytes = text.read(_HEAD)
            return data
    except (OSError, pa.ArrowException):
        return b""


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
    """Read a table in batches of the contract's types; memory is set by the batch, not by the file.

    Values are never coerced: an integer with a fraction, a 64-bit integer that a float cannot hold, a text in the
    place of a number is a bad cell. Texts of CSV and numbers of JSON are parsed by the contract's types; an empty cell
    of CSV is null, a quoted empty cell is an empty string. A NaN is null where the column is nullable, and a bad cell
    elsewhere; an infinity is a bad cell. Timestamps of Parquet and Arrow without a zone are taken as UTC, and
    `stats.assumed_utc` names their columns; so are times of CSV and JSON without one.

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
    source = _source(path, format_, reading, batch_rows)
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


def _source(
    path: Path, format_: TableFormat, reading: Reading, batch_rows: int
) -> Generator[pa.RecordBatch, None, None]:
    """The file's batches, as its own reader makes them."""
    if format_.text:
        reader = _csv if format_.plain is TableFormat.CSV else _jsonl
        yield from reader.batches(path, format_.codec, reading)
        return
    with unpacked(path, format_.codec, reading) as plain:
        if format_.plain is TableFormat.PARQUET:
            yield from _parquet.batches(plain, reading, batch_rows)
        else:
            yield from _arrow.batches(plain, format_.plain is TableFormat.ARROW, reading, batch_rows)


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
    """The number of rows: from the footer of Parquet, by reading through other formats.

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
