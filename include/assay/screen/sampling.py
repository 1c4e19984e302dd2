"""A bounded sample of a stream that depends on what the rows hold, not on where they stand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from assay.screen.encoding import Encoder
from assay.screen.hashing import U64, mix
from assay.screen.rows import Rows

_CELLS = 5_000_000
_LEAST = 2_000


@dataclass
class Sample:
    """What one pass over a table leaves.

    Attributes:
        table: The sampled rows, ordered by their hashes.
        rows: Rows in the whole table.
        position: Where the sampled rows stand in the whole table.
        hashes: For every row of the table: `key`, `features`, `admitted` (see `encoding.Block`).
    """

    table: pa.Table
    rows: int
    position: U64
    hashes: dict[str, U64]


def draw(rows: Rows, encoder: Encoder, size: int, seed: int, batch_rows: int) -> Sample:
    """Keep the `size` rows with the smallest seeded content hashes: a uniform sample, the same in any row order.

    Raises:
        ScreenError: A column is missing, or the table cannot be read.
    """
    kept: list[pa.RecordBatch] = []
    ranks: list[U64] = []
    positions: list[U64] = []
    names = ("key", "features", "admitted")
    hashes: dict[str, list[U64]] = {name: [] for name in names}
    limit: np.uint64 | None = None
    start = 0
    pending = 0
    twist = mix(np.array([seed & (2**64 - 1)], dtype=np.uint64))[0]
    columns = list(encoder.schema.columns)
    size = max(min(size, _CELLS // len(columns)), _LEAST)
    if rows.schema is not None:
        encoder.check_columns(rows.schema, rows.name)  # also where there are no rows to show it
    for batch in rows.batches(batch_rows):
        if start == 0:
            encoder.check_columns(batch.schema, rows.name)
        batch = batch.select(columns)
        found = encoder.hashes(batch)
        for name in names:
            hashes[name].append(found[name])
        rank = mix(found["content"] ^ twist)
        chosen = np.flatnonzero(rank <= limit) if limit is not None else np.arange(batch.num_rows)
        kept.append(batch.take(pa.array(chosen)))
        ranks.append(rank[chosen])
        positions.append((chosen + start).astype(np.uint64))
        start += batch.num_rows
        pending += len(chosen)
        if pending > 3 * size:
            kept, ranks, positions = _shrink(kept, ranks, positions, size)
            pending = len(ranks[0])
            limit = ranks[0].max()
    if start == 0:
        schema = pa.schema([(name, pa.null()) for name in columns])
        return Sample(
            schema.empty_table(), 0, np.zeros(0, np.uint64), {n: np.zeros(0, np.uint64) for n in names}
        )
    kept, _, positions = _shrink(kept, ranks, positions, size)
    return Sample(
        table=pa.Table.from_batches(kept),
        rows=start,
        position=positions[0],
        hashes={name: np.concatenate(parts) for name, parts in hashes.items()},
    )


def _shrink(
    kept: list[pa.RecordBatch], ranks: list[U64], positions: list[U64], size: int
) -> tuple[list[pa.RecordBatch], list[U64], list[U64]]:
    rank = np.concatenate(ranks)
    order = np.argsort(rank, kind="stable")[:size]
    table = pa.Table.from_batches(kept).take(pa.array(order)).combine_chunks()
    return table.to_batches(), [rank[order]], [np.concatenate(positions)[order]]
