"""Finding a row of a snapshot again by its key, with where it came from."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.db import Database, Snapshot, list_snapshots
from assay.ledger.errors import NotInLedger, SnapshotError
from assay.ledger.rows.cells import Cell
from assay.ledger.rows.hashing import row_cells
from assay.ledger.rows.parts import open_part, part_hashes
from assay.ledger.rows.snapshot import (
    DECISION,
    DELIVERY,
    FILE,
    META,
    RECORD,
    ROW_HASH,
    SOURCE,
    SnapshotManifest,
)
from assay.store import ObjectStore

_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class FoundRow:
    """A row in one snapshot.

    Attributes:
        snapshot_id: The snapshot.
        version: Its version.
        part: SHA-256 of the part that holds the row.
        row: Number of the row in that part.
        index: Number of its leaf in the snapshot's tree.
        row_hash: Its hash, as stored beside it.
        delivery: Delivery that brought it.
        source: Source that sent it.
        file: File of the delivery that it stood in.
        record: Its number in that file.
        decision: Decision that released it from quarantine, if one had to.
        values: The row itself.
        cells: The row as it is hashed.
    """

    snapshot_id: str
    version: int
    part: str
    row: int
    index: int
    row_hash: bytes
    delivery: str
    source: str
    file: str
    record: int
    decision: str | None
    values: Mapping[str, Any]
    cells: tuple[Cell, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "snapshot": self.snapshot_id,
            "version": self.version,
            "part": self.part,
            "row": self.row,
            "index": self.index,
            "row_hash": self.row_hash.hex(),
            "delivery": self.delivery,
            "source": self.source,
            "file": self.file,
            "record": self.record,
            "decision": self.decision,
            "values": {name: plain(value) for name, value in self.values.items()},
        }


def split_row_name(database: Database, what: str) -> tuple[str, str] | None:
    """`dataset:key` as its two halves, if there is a snapshot of that data set; else None."""
    dataset, colon, key = what.partition(":")
    if not colon or not dataset or not key:
        return None
    with database.session() as session:
        return (dataset, key) if list_snapshots(session, dataset) else None


def find_rows(
    database: Database, store: ObjectStore, dataset: str, key: str, *, newest: int | None = None
) -> list[FoundRow]:
    """The row with a key, in each snapshot of the data set that has it, newest first.

    Args:
        database: The registry of snapshots.
        store: Where their parts are.
        dataset: Name of the data set.
        key: The key's value; for a key of several columns a JSON list, or the values joined by commas; for a data set
            without a key, `#` and the row's number in the snapshot.
        newest: Look at so many of the newest snapshots only.

    Raises:
        NotInLedger: The data set has no snapshot, no snapshot has the row, or the key is malformed.
        SnapshotError: A snapshot's objects are not what they should be.
    """
    with database.session() as session:
        snapshots = list_snapshots(session, dataset)
    if not snapshots:
        raise NotInLedger(f"the data set {dataset!r} has no snapshot")
    found: list[FoundRow] = []
    # Versions share their parts: each is searched and read once.
    known: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    seen: dict[tuple[str, int], FoundRow] = {}
    for snapshot in reversed(snapshots if newest is None else snapshots[-newest:]):
        manifest = read_manifest(store, snapshot)
        wanted = key_values(manifest, key)
        first = 0
        for part in manifest.parts:
            if wanted is None:
                place_in_part = int(key[1:]) - first
                rows = [part.row_at(place_in_part)] if 0 <= place_in_part < part.kept else []
            else:
                where = (part.sha256, manifest.key)
                if where not in known:
                    known[where] = _matching(store, part.sha256, manifest.key, wanted)
                rows = known[where]
            for row in rows:
                index = part.place(row)
                if index is None:
                    continue
                if (part.sha256, row) not in seen:
                    seen[part.sha256, row] = _found(store, snapshot, manifest, part.sha256, row)
                one = seen[part.sha256, row]
                place = first + index
                found.append(replace(one, snapshot_id=snapshot.id, version=snapshot.version, index=place))
            first += part.kept
    if not found:
        raise NotInLedger(
            f"no snapshot of {dataset!r} has a row with the key {key!r}",
            next_step="check the key; a row in quarantine is in no snapshot (`assay cases list`)",
        )
    return found


def find_hash(
    database: Database,
    store: ObjectStore,
    row_hash: str,
    *,
    dataset: str | None = None,
    newest: int | None = None,
) -> list[FoundRow]:
    """The rows with a hash, in each snapshot of any data set that holds one, newest first.

    Args:
        database: The registry of snapshots.
        store: Where their parts are.
        row_hash: 64 hexadecimal digits.
        dataset: Look at this data set only.
        newest: Look at so many of the newest snapshots only.

    Raises:
        SnapshotError: A snapshot's objects are not what they should be.
    """
    wanted = np.frombuffer(bytes.fromhex(row_hash), dtype=np.uint8)
    with database.session() as session:
        snapshots = list_snapshots(session, dataset)
    found: list[FoundRow] = []
    known: dict[str, list[int]] = {}
    for snapshot in reversed(snapshots if newest is None else snapshots[-newest:]):
        manifest, first = read_manifest(store, snapshot), 0
        for part in manifest.parts:
            if part.sha256 not in known:
                rows, start = [], 0
                for hashes in part_hashes(store, part.model_copy(update={"excluded": ()})):
                    rows += [start + int(row) for row in np.flatnonzero((hashes == wanted).all(axis=1))]
                    start += len(hashes)
                known[part.sha256] = rows
            for row in known[part.sha256]:
                if (place := part.place(row)) is not None:
                    one = _found(store, snapshot, manifest, part.sha256, row)
                    found.append(replace(one, index=first + place))
            first += part.kept
    return found


def read_manifest(store: ObjectStore, snapshot: Snapshot) -> SnapshotManifest:
    """The manifest of a registered snapshot.

    Raises:
        SnapshotError: It is not the manifest of that snapshot.
    """
    manifest = SnapshotManifest.from_json(store.get_bytes(snapshot.manifest_object))
    if manifest.merkle_root != snapshot.merkle_root or manifest.dataset != snapshot.dataset:
        raise SnapshotError(
            f"the manifest of {snapshot.id} is that of another snapshot",
            expected=f"{snapshot.dataset} with the root {snapshot.merkle_root}",
            found=f"{manifest.dataset} with the root {manifest.merkle_root}",
        )
    return manifest


def plain(value: Any) -> Any:
    """A cell's value for JSON: times as ISO 8601, NaN and infinities as text."""
    if isinstance(value, dt.date | dt.datetime):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def key_values(manifest: SnapshotManifest, key: str) -> list[str] | None:
    """One text for each key column; None where the data set has no key.

    Raises:
        NotInLedger: The key does not fit the data set.
    """
    if not manifest.key:
        if key.startswith("#") and key[1:].isdecimal():
            return None
        raise NotInLedger(
            f"the data set {manifest.dataset!r} has no key",
            next_step=f"name a row by its number: {manifest.dataset}:#0",
        )
    if len(manifest.key) == 1:
        return [key]
    try:
        values = json.loads(key) if key.startswith("[") else key.split(",")
    except ValueError as error:
        raise NotInLedger(f"the key {key!r} is not a JSON list", found=error) from error
    if len(values) != len(manifest.key):
        raise NotInLedger(
            f"the key {key!r} does not fit the data set {manifest.dataset!r}",
            expected=", ".join(manifest.key),
        )
    return [str(value) for value in values]


# -------------------------------------------------------------------------------------------------------------- private
def _matching(store: ObjectStore, sha256: str, columns: tuple[str, ...], wanted: list[str]) -> list[int]:
    """Numbers of the rows of a part whose key columns have the wanted values."""
    rows: list[int] = []
    with open_part(store, sha256) as file:
        scalars = [
            scalar_of(text, file.schema_arrow.field(name).type)
            for name, text in zip(columns, wanted, strict=True)
        ]
        if any(scalar is None for scalar in scalars):  # the column's type cannot hold such a value
            return rows
        start = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
            same = np.ones(batch.num_rows, dtype=bool)
            for name, scalar in zip(columns, scalars, strict=True):
                equal = pc.fill_null(pc.equal(batch.column(name), scalar), False)
                same &= np.asarray(equal)
            rows += [start + int(row) for row in np.flatnonzero(same)]
            start += batch.num_rows
    return rows


def scalar_of(text: str, kind: pa.DataType) -> pa.Scalar | None:
    """A text as a value of a column's type; None where the type cannot hold such a value."""
    value_type = kind.value_type if pa.types.is_dictionary(kind) else kind
    try:
        return pa.scalar(text).cast(value_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _found(
    store: ObjectStore, snapshot: Snapshot, manifest: SnapshotManifest, sha256: str, row: int
) -> FoundRow:
    with open_part(store, sha256) as file:
        group, first = 0, 0
        while row >= first + file.metadata.row_group(group).num_rows:
            first += file.metadata.row_group(group).num_rows
            group += 1
        names = [*manifest.columns, *META]
        table = file.read_row_group(group, columns=names).slice(row - first, 1)
    facts = table.to_pylist()[0]
    return FoundRow(
        snapshot_id=snapshot.id,
        version=snapshot.version,
        part=sha256,
        row=row,
        index=row,  # in the part; each version has its own
        row_hash=facts[ROW_HASH],
        delivery=facts[DELIVERY],
        source=facts[SOURCE],
        file=facts[FILE],
        record=facts[RECORD],
        decision=facts[DECISION],
        values={name: facts[name] for name in manifest.columns},
        cells=tuple(row_cells(table, manifest.columns)),
    )
