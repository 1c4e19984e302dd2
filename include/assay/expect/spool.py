"""Columns set aside on disk while a delivery streams by, for the expectations that must see all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_PARTITION_ROWS = 1_000_000
_MEMORY = "512MB"


class Spool:
    """A temporary Parquet file of some columns of a delivery, in row order.

    Timestamps lose their zone, which is UTC throughout, on the way in and get it back on the way out, so that DuckDB
    needs no time zone data.

    Args:
        folder: An existing folder of the caller's, for its file and DuckDB's overflow.
        schema: The columns to keep.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.path = folder / "columns.parquet"
        self.rows = 0
        self.bytes = dict.fromkeys(schema.names, 0)
        self._folder = folder
        self._schema = schema
        self._stored = pa.schema([(field.name, _without_zone(field.type)) for field in schema])
        self._writer: pq.ParquetWriter | None = pq.ParquetWriter(
            str(self.path), self._stored, compression="lz4"
        )

    def __enter__(self) -> Self:
        """Use it in a `with`; its file is deleted at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the file."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def add(self, table: pa.Table) -> None:
        """Append the kept columns of the next rows."""
        kept = table.select(self._schema.names)
        for name in kept.column_names:
            self.bytes[name] += kept.column(name).nbytes
        assert self._writer is not None
        self._writer.write_table(kept.cast(self._stored))
        self.rows += kept.num_rows

    def columns(self, names: list[str]) -> pa.Table:
        """All rows of some columns."""
        self._close()
        table = pq.read_table(str(self.path), columns=names, memory_map=True)
        return table.cast(pa.schema([self._schema.field(name) for name in names]))

    def partitions(self, names: list[str]) -> Iterator[tuple[Any, pa.Table]]:
        """The rows, in parts such that rows with the same values in these columns are in the same part.

        Args:
            names: The columns of the key.

        Yields:
            Row numbers (int64, ascending) and the key's columns.
        """
        import duckdb

        self._close()
        parts = max(1, -(-self.rows // _PARTITION_ROWS))
        listed = ", ".join(_quoted(name) for name in names)
        schema = pa.schema([self._schema.field(name) for name in names])
        config: dict[str, Any] = {
            "memory_limit": _MEMORY,
            "threads": 2,
            "temp_directory": str(self._folder / "overflow"),
        }
        with duckdb.connect(":memory:", config=config) as database:
            database.execute("SET autoinstall_known_extensions = false")
            for part in range(parts):
                # The row number is the file's own; the hash spreads the keys and keeps equal ones together.
                found: Any = database.sql(
                    f"SELECT file_row_number, {listed} FROM read_parquet(?, file_row_number = true) "  # noqa: S608
                    f"WHERE hash({listed}) % {parts} = {part} ORDER BY file_row_number",
                    params=[str(self.path)],
                ).to_arrow_table()
                if found.num_rows:
                    rows = found.column(0).to_numpy().astype(np.int64)
                    yield rows, found.select(found.column_names[1:]).rename_columns(names).cast(schema)


def _without_zone(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else kind


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
