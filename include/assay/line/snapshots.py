"""Snapshots: how admitted rows are laid down, and how they are read again.

A snapshot is a list of immutable Parquet parts. A row that a later delivery replaced stays in its part and is named in
the manifest's `superseded` list of that part, so that older snapshots stay readable from the same objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assay.db import Snapshot, get_snapshot, latest_snapshot
from assay.intake import table_schema
from assay.ledger import StreamingRoot
from assay.line.context import Line
from assay.line.errors import NoSnapshot

ROW_HASH = "_row_hash"
META = pa.schema(
    [
        pa.field(ROW_HASH, pa.binary(32)),
        pa.field("_delivery", pa.string()),
        pa.field("_source", pa.string()),
        pa.field("_file", pa.string()),
        pa.field("_record", pa.int64()),
        pa.field("_decision", pa.string()),
    ]
)
"""Columns that every part has beside the contract's: the row's hash and where it came from."""


def find_snapshot(line: Line, name: str) -> Snapshot:
    """The snapshot of that id, or the newest one for `latest`.

    Raises:
        NoSnapshot: There is none.
    """
    with line.database.session() as session:
        found = latest_snapshot(session, line.dataset) if name == "latest" else get_snapshot(session, name)
    if found is None or found.dataset != line.dataset:
        raise NoSnapshot(
            f"data set {line.dataset!r} has no snapshot {name!r}",
            next_step=f"run the DAG {line.dataset}__intake, or name a snapshot that `assay ledger trace` knows",
        )
    return found


def manifest_of(line: Line, snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot's manifest: parts, superseded rows, decisions."""
    return dict(json.loads(line.store.get_bytes(snapshot.manifest_object)))


def part_batches(line: Line, manifest: dict[str, Any], columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of a manifest in its order, without superseded ones."""
    for part in manifest["parts"]:
        superseded = np.asarray(part["superseded"], dtype=np.int64)
        first = 0
        with line.store.open(part["sha256"]) as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=65_536, columns=columns):
                here = superseded[(superseded >= first) & (superseded < first + batch.num_rows)] - first
                first += batch.num_rows
                if len(here):
                    keep = np.ones(batch.num_rows, dtype=bool)
                    keep[here] = False
                    batch = batch.filter(pa.array(keep))  # noqa: PLW2901 - the filtered batch takes its place
                if batch.num_rows:
                    yield batch


def merkle_root(line: Line, manifest: dict[str, Any]) -> tuple[str, int]:
    """RFC 9162 root over the hashes of the rows that count, in hex, and their number."""
    tree, rows = StreamingRoot(), 0
    for batch in part_batches(line, manifest, [ROW_HASH]):
        tree.extend(hashes_of(batch.column(0)))
        rows += batch.num_rows
    return tree.root().hex(), rows


def hashes_of(column: pa.Array) -> np.ndarray:
    """A column of binary(32) as uint8 of shape (n, 32), without a copy."""
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return data[column.offset * 32 : (column.offset + len(column)) * 32].reshape(-1, 32)


def snapshot_file(line: Line, snapshot_id: str, target: Path) -> Path:
    """Write the rows of a snapshot, without the added columns, to one Parquet file."""
    manifest = manifest_of(line, find_snapshot(line, snapshot_id))
    schema = table_schema(line.contract)
    with pq.ParquetWriter(target, schema, compression="none") as writer:
        for batch in part_batches(line, manifest, schema.names):
            writer.write_batch(batch.cast(schema))
    return target


def snapshot_table(line: Line, snapshot: Snapshot) -> pa.Table:
    """The rows of a snapshot with the added columns, in memory."""
    manifest = manifest_of(line, snapshot)
    schema = pa.schema([*table_schema(line.contract), *META])
    return pa.Table.from_batches([b.select(schema.names).cast(schema) for b in part_batches(line, manifest)], schema)
