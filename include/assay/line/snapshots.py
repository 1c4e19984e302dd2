"""Snapshots as the line reads them: found by name, streamed in their own order, without rows that were replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assay.db import Snapshot, get_snapshot, latest_snapshot
from assay.intake.tables import table_schema
from assay.ledger import META_FIELDS, Part, SnapshotManifest
from assay.ledger.rows.parts import open_part
from assay.line.context import Line
from assay.line.errors import NoSnapshot

_BATCH_ROWS = 65_536


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


def manifest_of(line: Line, snapshot: Snapshot) -> SnapshotManifest:
    """The snapshot's manifest, after its digest was checked."""
    return SnapshotManifest.from_json(line.store.get_bytes(snapshot.manifest_object))


def part_batches(
    line: Line, parts: Sequence[Part], columns: Sequence[str]
) -> Iterator[tuple[int, int, pa.RecordBatch, pa.Array]]:
    """Some columns of a snapshot, part by part.

    Yields:
        Number of the part, number of the first row in it, rows, and which of them count (boolean).
    """
    for number, part in enumerate(parts):
        first = 0
        with open_part(line.store, part.sha256) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                yield number, first, batch, pa.array(part.mask(first, first + batch.num_rows))
                first += batch.num_rows


def snapshot_file(line: Line, snapshot: Snapshot, target: Path, schema: pa.Schema) -> Path:
    """Write the rows of a snapshot to one Parquet file, with the columns of `schema`: the contract's or ours."""
    with pq.ParquetWriter(target, schema, compression="none") as writer:
        for _, _, batch, keep in part_batches(line, manifest_of(line, snapshot).parts, schema.names):
            writer.write_batch(batch.filter(keep).select(schema.names).cast(schema))
    return target


def snapshot_table(line: Line, snapshot: Snapshot) -> pa.Table:
    """The rows of a snapshot with the added columns, in memory."""
    schema = pa.schema([*table_schema(line.contract), *META_FIELDS])
    batches = [
        batch.filter(keep).select(schema.names).cast(schema)
        for _, _, batch, keep in part_batches(line, manifest_of(line, snapshot).parts, schema.names)
    ]
    return pa.Table.from_batches(batches, schema)
