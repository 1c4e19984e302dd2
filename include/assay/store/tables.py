"""Tables as objects: the same rows give the same Parquet bytes, however they were cut into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from assay.store.objects import ObjectStore
from assay.store.writer import Stored

ROW_GROUP = 131_072
"""Rows in a row group."""


def put_table(
    store: ObjectStore,
    data: pa.Table | pa.RecordBatch | Iterable[pa.RecordBatch],
    *,
    schema: pa.Schema | None = None,
    sealed: bool = False,
) -> Stored:
    """Store a table as Parquet (zstd, row groups of 131,072 rows), streamed: memory is one row group.

    The schema's metadata is left out, for it carries versions of the tools that made the table.

    Args:
        store: Where to.
        data: A table, a batch, or batches of one schema.
        schema: The schema, needed where there may be no batch at all.
        sealed: Encrypt it.

    Raises:
        ValueError: There is no batch and no schema.
        AssayError: The store refused, see `ObjectStore.writer`.
    """
    if isinstance(data, pa.Table):
        schema, batches = data.schema, iter(data.to_batches())
    elif isinstance(data, pa.RecordBatch):
        schema, batches = data.schema, iter([data])
    else:
        batches = iter(data)
    if schema is None:
        first = next(batches, None)
        if first is None:
            raise ValueError("no batches and no schema: there is nothing to say what the table looks like")
        schema, batches = first.schema, _with_first(first, batches)
    schema = schema.remove_metadata()
    with store.writer(sealed=sealed) as sink, pq.ParquetWriter(sink, schema, **_FORMAT) as writer:
        for group in _row_groups(batches, schema):
            writer.write_table(group, row_group_size=ROW_GROUP)
    assert sink.stored is not None
    return sink.stored


def read_table(store: ObjectStore, sha256: str, columns: list[str] | None = None) -> pa.Table:
    """A stored table, or some of its columns, after its digest was checked.

    Raises:
        ObjectMissing: No object has that digest.
        StoreCorrupt: Its bytes are others.
    """
    with store.open(sha256) as file:
        return pq.read_table(file, columns=columns)


_FORMAT = {
    "compression": "zstd",
    "version": "2.6",
    "data_page_version": "1.0",
    "use_dictionary": True,
    "write_statistics": True,
    "store_schema": True,
}


def _with_first(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _row_groups(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut the rows anew: where a row group ends must not depend on where a batch ended."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch.replace_schema_metadata(None))
        rows += batch.num_rows
        while rows >= ROW_GROUP:
            table = pa.Table.from_batches(waiting, schema)
            yield table.slice(0, ROW_GROUP).combine_chunks()
            rest = table.slice(ROW_GROUP)
            waiting, rows = rest.to_batches(), rest.num_rows
    if rows:
        yield pa.Table.from_batches(waiting, schema).combine_chunks()
