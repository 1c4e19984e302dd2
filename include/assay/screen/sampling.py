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

    The hashes are seeded with what all rows hold together as well. Whoever makes the batch could otherwise work out
    which of its rows will be looked at, and put poison into the others; now each change to suit the sample draws
    another one.

    Raises:
        ScreenError: A column is missing, or the table cannot be read.
    """
    names = ("key", "features", "admitted", "content")
    hashes: dict[str, list[U64]] = {name: [] for name in names}
    columns = list(encoder.schema.columns)
    size = max(min(size, _CELLS // max(rows.width, len(columns))), _LEAST)
    first: list[pa.RecordBatch] = []
    start = 0
    if rows.schema is not None:
        encoder.check_columns(rows.schema, rows.name)  # also where there are no rows to show it
    for batch in rows.batches(batch_rows):
        if start == 0:
            encoder.check_columns(batch.schema, rows.name)
        batch = batch.select(columns)
        for name, found in encoder.hashes(batch).items():
            hashes[name].append(found)
        start += batch.num_rows
        first = [*first, batch] if start <= size else []
    if start == 0:
        schema = pa.schema([(name, pa.null()) for name in columns])
        return Sample(
            schema.empty_table(), 0, np.zeros(0, np.uint64), {n: np.zeros(0, np.uint64) for n in names[:3]}
        )
    every = {name: np.concatenate(parts) for name, parts in hashes.items()}
    content = every.pop("content")
    rank = mix(content ^ _twist(content, seed))
    chosen = np.argsort(rank, kind="stable")[:size]
    if first:
        table = pa.Table.from_batches(first)
    else:
        table = pa.Table.from_batches([b for _, b in rows.picked(np.sort(chosen), columns, batch_rows)])
    # Picked rows come in the order in which they stand.
    place = chosen if first else np.searchsorted(np.sort(chosen), chosen)
    return Sample(
        table=table.take(pa.array(place)).combine_chunks(),
        rows=start,
        position=chosen.astype(np.uint64),
        hashes=every,
    )


def _twist(content: U64, seed: int) -> np.uint64:
    """What the ranks are mixed with: the seed and all rows together, in any order."""
    with np.errstate(over="ignore"):
        total = mix(content).sum(dtype=np.uint64)
    start = mix(np.array([seed & (2**64 - 1)], dtype=np.uint64))
    return np.uint64(mix(start ^ total)[0])
