"""The versions of snapshots that hold rows of some deliveries, and which of their rows those are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.db import Database, list_snapshots
from assay.ledger.lineage.touched import Held, Touched
from assay.ledger.rows.lookup import read_manifest
from assay.ledger.rows.parts import open_part
from assay.ledger.rows.snapshot import DELIVERY, FILE, RECORD, ROW_HASH, Part
from assay.store import ObjectStore

_BATCH_ROWS = 65_536

ROWS = pa.schema(
    [
        ("dataset", pa.string()),
        ("delivery", pa.string()),
        ("file", pa.string()),
        ("record", pa.int64()),
        ("row_hash", pa.string()),
        ("first_version", pa.int32()),
        ("last_version", pa.int32()),
    ]
)
"""Columns of `affected_rows`: where each row came from, and the first and last snapshot version that hold it."""


class Versions:
    """The parts that hold rows of some deliveries, and in which versions."""

    def __init__(self, database: Database, store: ObjectStore, touched: tuple[Touched, ...]) -> None:
        self._store = store
        self._files: dict[str, set[str]] = defaultdict(set)
        whole = {each.delivery for each in touched if not each.files}
        for each in touched:
            self._files[each.delivery] |= set(each.files)
        for delivery in whole:
            self._files[delivery] = set()
        self._masks: dict[str, npt.NDArray[np.bool_] | None] = {}
        self._versions: list[tuple[str, str, int, int, list[Part]]] = []
        with database.session() as session:
            wanted = [
                snapshot
                for dataset in sorted({each.dataset for each in touched})
                for snapshot in list_snapshots(session, dataset)
            ]
        for snapshot in wanted:
            manifest = read_manifest(store, snapshot)
            parts = [part for part in manifest.parts if part.delivery_id in self._files]
            if parts:
                self._versions.append((snapshot.id, snapshot.dataset, snapshot.version, manifest.rows, parts))

    def held(self) -> tuple[Held, ...]:
        """Each version with how many of its rows are affected."""
        out = []
        for snapshot, dataset, version, rows, parts in self._versions:
            count = sum(self._count(part) for part in parts)
            if count:
                out.append(Held(snapshot, dataset, version, count, rows))
        return tuple(out)

    def distinct_rows(self) -> int:
        """Rows of all versions, each counted once: what a later version leaves out, an earlier one held."""
        total = 0
        for part, places in self._by_part():
            first, _ = _lifetimes(part, places)
            mask = self._mask(part)
            total += int(np.count_nonzero(first if mask is None else first[mask]))
        return total

    def rows(self) -> Iterator[pa.RecordBatch]:
        """Every row, part by part."""
        for part, places in self._by_part():
            dataset = places[0][0]
            first, last = _lifetimes(part, places)
            mask, start = self._mask(part), 0
            with open_part(self._store, part.sha256) as file:
                columns = [DELIVERY, FILE, RECORD, ROW_HASH]
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    stop = start + batch.num_rows
                    keep = first[start:stop] > 0
                    if mask is not None:
                        keep &= mask[start:stop]
                    chosen = batch.filter(pa.array(keep))
                    hashes = [value.hex() for value in chosen.column(ROW_HASH).to_pylist()]
                    yield pa.RecordBatch.from_arrays(
                        [
                            pa.repeat(dataset, chosen.num_rows),
                            chosen.column(DELIVERY),
                            chosen.column(FILE),
                            chosen.column(RECORD),
                            pa.array(hashes, pa.string()),
                            pa.array(first[start:stop][keep], pa.int32()),
                            pa.array(last[start:stop][keep], pa.int32()),
                        ],
                        schema=ROWS,
                    )
                    start = stop

    def _by_part(self) -> Iterator[tuple[Part, list[tuple[str, int, Part]]]]:
        places: dict[str, list[tuple[str, int, Part]]] = defaultdict(list)
        for _, dataset, version, _, parts in self._versions:
            for part in parts:
                places[part.sha256].append((dataset, version, part))
        for found in places.values():
            yield found[0][2], found

    def _count(self, part: Part) -> int:
        mask = self._mask(part)
        return part.kept if mask is None else int(np.count_nonzero(mask & part.mask(0, part.rows)))

    def _mask(self, part: Part) -> npt.NDArray[np.bool_] | None:
        """Which rows of a part came in the files that the question is about; None for all."""
        files = self._files[part.delivery_id]
        if not files:
            return None
        if part.sha256 not in self._masks:
            pieces = [np.zeros(0, dtype=bool)]
            with open_part(self._store, part.sha256) as file:
                for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[FILE]):
                    inside = pc.is_in(batch.column(FILE), value_set=pa.array(sorted(files)))
                    pieces.append(np.asarray(inside))
            self._masks[part.sha256] = np.concatenate(pieces)
        return self._masks[part.sha256]


def _lifetimes(
    part: Part, places: list[tuple[str, int, Part]]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """First and last version that hold each row of a part; 0 for a row that none holds."""
    first, last = np.zeros(part.rows, np.int32), np.zeros(part.rows, np.int32)
    for _, version, each in places:
        keep = each.mask(0, each.rows)
        first[keep & (first == 0)] = version
        last[keep] = version
    return first, last
