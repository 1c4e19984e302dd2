"""Tables in whatever form they come, read in bounded pieces and as often as needed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from assay.contract.models import Contract
from assay.screen.errors import ScreenError, ScreenUsageError

if TYPE_CHECKING:
    import pandas as pd

_ARROW_TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "vector": pa.string(),  # a JSON list in a cell of CSV
}


_CELLS = 1 << 23
_LEAST_ROWS = 256


_UNSUITED = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError)
"""What pyarrow raises on columns of mixed Python objects."""


class Rows:
    """A table that can be read again and again, a record batch at a time.

    Args:
        opener: Called for each pass with the number of rows wanted per batch; yields the batches in row order.
        name: What messages call the table.
        schema: The table's schema, where it is known before the first batch.
        width: How many values a row holds at least; a vector holds as many as it is long.
    """

    def __init__(
        self,
        opener: Callable[[int], Iterable[pa.RecordBatch]],
        name: str,
        schema: pa.Schema | None = None,
        width: int = 1,
    ) -> None:
        self._opener = opener
        self.name = name
        self.schema = schema
        self.width = width

    def batches(self, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """The rows in order, in batches of `batch_rows` rows, however the table is cut; the last may be shorter.

        Of a table with thousands of columns fewer rows come at a time, so that a batch stays within memory.

        Raises:
            ScreenError: The table cannot be read.
        """
        try:
            most = max(min(batch_rows, _CELLS // self.width), min(batch_rows, _LEAST_ROWS))
            yield from _even(self._opener(most), most)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError) as error:
            raise ScreenError(
                f"{self.name} cannot be read: {error}",
                expected="a whole Parquet or CSV table with the contract's columns",
                next_step="check the file; fetch it again if it was cut short",
            ) from error

    def picked(
        self, chosen: NDArray[np.integer], columns: list[str], batch_rows: int
    ) -> Iterator[tuple[NDArray[np.integer], pa.RecordBatch]]:
        """The chosen rows alone, read again, with where they stand.

        Args:
            chosen: Row numbers, ascending.
            columns: The columns wanted.
            batch_rows: Rows read at a time.
        """
        start = 0
        for batch in self.batches(batch_rows):
            low, high = np.searchsorted(chosen, [start, start + batch.num_rows])
            if high > low:
                here = chosen[low:high]
                yield here, batch.select(columns).take(pa.array(here - start))
            start += batch.num_rows


def _even(batches: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of one size."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        step = max(min(batch_rows, _CELLS // max(batch.num_columns, 1)), min(batch_rows, _LEAST_ROWS))
        start = 0
        while start < batch.num_rows:
            part = batch.slice(start, step - rows)
            part.validate(full=True)  # a text that is not UTF-8 would fail somewhere further on
            start += part.num_rows
            rows += part.num_rows
            waiting.append(part)
            if rows == step:
                yield _one(waiting)
                waiting, rows = [], 0
    if rows:
        yield _one(waiting)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.concat_batches(batches)


if TYPE_CHECKING:
    Tabular: TypeAlias = pa.Table | pa.RecordBatch | pa.RecordBatchReader | pd.DataFrame | str | Path | Rows


def width(contract: Contract) -> int:
    """How many values a row of the contract's columns holds."""
    return sum(column.length or 1 for column in contract.schema_.columns.values())


def as_rows(table: Any, contract: Contract, name: str) -> Rows:
    """Make any supported form of table re-readable.

    A `pa.RecordBatchReader` can be read only once, so it is first written to a temporary Arrow file that goes away
    with the returned object.

    Raises:
        ScreenUsageError: The object is no table.
        ScreenError: The path is missing or is neither Parquet nor CSV.
    """
    rows = _rows(table, contract, name)
    rows.width = max(rows.width, width(contract))
    return rows


def _rows(table: Any, contract: Contract, name: str) -> Rows:
    if isinstance(table, Rows):
        return table
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table):
        whole = table
        return Rows(lambda size: whole.to_batches(max_chunksize=size), name, whole.schema)
    if isinstance(table, pa.RecordBatchReader):
        return _spooled(table, name)
    if isinstance(table, str | Path):
        return _file(Path(str(table).removeprefix("file://")), contract, name)
    if type(table).__module__.split(".")[0] == "pandas":
        try:
            frame = pa.Table.from_pandas(table, preserve_index=False)
        except _UNSUITED:
            frame = _mixed_frame(table)
        return Rows(lambda size: frame.to_batches(max_chunksize=size), name, frame.schema)
    raise ScreenUsageError(
        f"the {name} is no table",
        expected="a pyarrow Table or RecordBatchReader, a pandas DataFrame, or the path of a Parquet or CSV file",
        found=type(table).__name__,
    )


def _mixed_frame(frame: Any) -> pa.Table:
    """A data frame with columns of mixed Python types: such columns become text, which is then read by the contract."""
    columns = {}
    for column in frame.columns:
        values = frame[column]
        try:
            columns[str(column)] = pa.Array.from_pandas(values)
        except _UNSUITED:
            gone = values.isna()
            text = [None if missing else _shown(value) for value, missing in zip(values, gone, strict=True)]
            columns[str(column)] = pa.array(text, pa.string())
    return pa.table(columns)


def _shown(value: object) -> str:
    """A value as text that can be written in UTF-8."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _spooled(reader: pa.RecordBatchReader, name: str) -> Rows:
    """Write a one-pass stream to a temporary file and read it memory-mapped."""
    folder = tempfile.TemporaryDirectory(prefix="assay-screen-")
    path = Path(folder.name) / "batch.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)

    def batches(_size: int) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(path)) as source:
            file = pa.ipc.open_file(source)
            for index in range(file.num_record_batches):
                yield file.get_batch(index)

    rows = Rows(batches, name, reader.schema)
    rows.folder = folder  # type: ignore[attr-defined] # keeps the file for as long as the rows are in use
    return rows


def _file(path: Path, contract: Contract, name: str) -> Rows:
    if not path.is_file():
        raise ScreenError(
            f"no {name} at {path}", expected="a Parquet or CSV file", next_step="check the path"
        )
    with path.open("rb") as file:
        magic = file.read(4)
    wanted = list(contract.schema_.columns)
    if magic == b"PAR1":

        def parquet(size: int) -> Iterator[pa.RecordBatch]:
            with pq.ParquetFile(path) as source:
                there = [column for column in source.schema_arrow.names if column in wanted]
                yield from source.iter_batches(batch_size=size, columns=there)

        return Rows(parquet, name)

    types = {column: _ARROW_TYPES[spec.type] for column, spec in contract.schema_.columns.items()}

    def csv(_size: int) -> Iterator[pa.RecordBatch]:
        convert = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True)
        with pacsv.open_csv(path, convert_options=convert) as source:
            yield from source

    return Rows(csv, name)
