"""The station that lets rows in: what was accepted, and what a human released, becomes the next snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assay.canonical import utc_now
from assay.db import (
    Delivery,
    Snapshot,
    advance_delivery,
    get_delivery,
    latest_snapshot,
    list_deliveries,
    put_snapshot,
    snapshot_deliveries,
)
from assay.intake.tables import table_schema
from assay.ledger import META_FIELDS, Part, annotate, make_manifest, make_part, row_hashes
from assay.ledger.rows.snapshot import ROW_HASH
from assay.line.context import Line
from assay.line.errors import SnapshotConflict
from assay.line.inspect import failing_numbers, quarantined_numbers
from assay.line.review import settle
from assay.line.rows import Batch, delivery_batches, only, without
from assay.line.snapshots import manifest_of, part_batches
from assay.quarantine import CaseView, case_numbers, list_cases
from assay.store import put_table

Numbers = npt.NDArray[np.int64]


@dataclass
class _Incoming:
    """Rows that are about to be admitted from one delivery, in batches with their row numbers."""

    delivery: Delivery
    batches: Iterator[tuple[Batch, pa.RecordBatch, Numbers]]
    decision: str | None = None


def admit(line: Line, deliveries: list[str] | None = None) -> dict[str, Any]:
    """Admit every accepted delivery and every released case of the data set that is not in a snapshot yet.

    Rows that are in the snapshot already are not entered twice; a row whose key is there with other values takes the
    older one's place in the new snapshot, and the older one stays in the older snapshots.

    Args:
        line: The open line.
        deliveries: Deliveries of this run: if they are in the newest snapshot already, that one is the answer again.

    Returns:
        `snapshot` (id, or None when there was nothing to admit), `version`, `rows`, `admitted` (new rows).

    Raises:
        SnapshotConflict: Another admission came in between; run again.
        StoreCorrupt: The registry names other rows for a case than those that were held.
    """
    settle(line)
    with line.database.session() as session:
        ready = [d for d in list_deliveries(session, line.dataset) if _ready(d)]
        parent = latest_snapshot(session, line.dataset)
        entered = set(snapshot_deliveries(session, parent.id)) if parent else set()
    cases = _released(line, {d.id for d in ready})
    if not ready and not cases:
        if parent is not None and entered & set(deliveries or ()):
            return {"snapshot": parent.id, "version": parent.version, "rows": parent.rows, "admitted": 0}
        return {"snapshot": None, "version": parent.version if parent else 0, "rows": 0, "admitted": 0}

    before = manifest_of(line, parent) if parent else None
    parts = list(before.parts) if before else []
    for delivery in ready:
        _add(line, parts, _Incoming(delivery, _accepted(line, delivery)))
    for case, delivery in cases:
        _add(line, parts, _Incoming(delivery, _from_case(line, case), case.decision_id))
    manifest = make_manifest(
        line.store,
        dataset=line.dataset,
        contract_sha256=line.contract.digest,
        columns=table_schema(line.contract).names,
        key=line.contract.schema_.key,
        parts=parts,
        parent=before,
    )
    stored = line.store.put_bytes(manifest.to_json())
    with line.database.write() as session:
        newest = latest_snapshot(session, line.dataset)
        if (newest.id if newest else None) != manifest.parent:
            raise SnapshotConflict(
                f"another snapshot of {line.dataset!r} was admitted in between",
                expected=manifest.parent or "none",
                found=newest.id if newest else "none",
                next_step="run the station again",
            )
        put_snapshot(
            session,
            Snapshot(
                id=manifest.id,
                dataset=line.dataset,
                version=manifest.version,
                parent_id=manifest.parent,
                merkle_root=manifest.merkle_root,
                manifest_object=stored.sha256,
                rows=manifest.rows,
                admitted_at=utc_now(),
            ),
            [d.id for d in ready],
        )
        for delivery in ready:
            advance_delivery(session, delivery.id, "admitted", verdict="accept")
        for case, delivery in cases:
            known = get_delivery(session, delivery.id)
            done = set(known.detail.get("admitted_cases", []) if known else [])
            advance_delivery(
                session, delivery.id, "admitted", detail={"admitted_cases": sorted(done | {case.id})}
            )
        line.record(
            "snapshot-admitted",
            [(manifest.id, stored.sha256)],
            {
                "snapshot": manifest.id,
                "merkle_root": manifest.merkle_root,
                "version": manifest.version,
                "parent": manifest.parent,
                "rows": manifest.rows,
                "deliveries": [d.id for d in ready],
                "decisions": [case.decision_id for case, _ in cases],
            },
            inputs=[
                *((d.id, d.manifest_sha256) for d in ready),
                *((case.id, case.digest) for case, _ in cases),
                *([(parent.id, parent.manifest_object)] if parent else []),
            ],
            session=session,
        )
    return {
        "snapshot": manifest.id,
        "version": manifest.version,
        "rows": manifest.rows,
        "admitted": sum(part.rows for part in parts[len(before.parts) if before else 0 :]),
    }


def _ready(delivery: Delivery) -> bool:
    return delivery.verdict == "accept" and delivery.state in {"screened", "held"}


def _released(line: Line, ready: set[str]) -> list[tuple[CaseView, Delivery]]:
    """Released cases with rows that are in no snapshot, whose deliveries are in one or come in now."""
    found = []
    for case in list_cases(line.database, dataset=line.dataset, status="released"):
        if case.rows_object is None:
            continue
        with line.database.session() as session:
            delivery = get_delivery(session, case.delivery_id)
        if delivery is None or case.id in delivery.detail.get("admitted_cases", []):
            continue
        if case.delivery_id in ready or delivery.state == "admitted":
            found.append((case, delivery))
    return found


def _accepted(line: Line, delivery: Delivery) -> Iterator[tuple[Batch, pa.RecordBatch, Numbers]]:
    """Rows of a delivery that are neither failing nor quarantined."""
    failing = failing_numbers(line, delivery.detail)
    out = np.union1d(failing, quarantined_numbers(line, delivery.detail, failing))
    for batch in delivery_batches(line, delivery.id):
        yield batch, *without(batch, out)


def _from_case(line: Line, case: CaseView) -> Iterator[tuple[Batch, pa.RecordBatch, Numbers]]:
    """Rows of a released case, from the delivery that they came with."""
    wanted = case_numbers(line.store, case)
    for batch in delivery_batches(line, case.delivery_id):
        yield batch, *only(batch, wanted)


def _add(line: Line, parts: list[Part], incoming: _Incoming) -> None:
    """Store rows as a new part, and exclude those that they replace from the parts before."""
    schema = table_schema(line.contract)
    key = list(line.contract.schema_.key)
    index = _KeyIndex(line, parts, key) if key and parts else None
    replaced: dict[int, list[int]] = {}
    count = 0

    def tables() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for batch, rows, numbers in incoming.batches:
            if index is not None and rows.num_rows:
                keep, older = index.compare(row_hashes(rows, key), row_hashes(rows, schema.names))
                for number, row in older:
                    replaced.setdefault(number, []).append(row)
                rows, numbers = rows.filter(pa.array(keep)), numbers[keep]
            if not rows.num_rows:
                continue
            count += rows.num_rows
            yield from annotate(
                rows,
                schema.names,
                delivery=incoming.delivery.id,
                source=incoming.delivery.source,
                file=batch.file.path,
                record=pa.array(numbers - batch.first + batch.record),
                decision=incoming.decision,
            ).to_batches()

    stored = put_table(line.store, tables(), schema=pa.schema([*schema, *META_FIELDS]))
    for number, rows in replaced.items():
        old = parts[number]
        gone = {row for first, last in old.excluded for row in range(first, last)} | set(rows)
        parts[number] = make_part(line.store, old.sha256, old.delivery_id, _ranges(sorted(gone)))
    if count:
        parts.append(make_part(line.store, stored.sha256, incoming.delivery.id))


class _KeyIndex:
    """Keys that are in the parts so far, with the place and hash of each one's row."""

    def __init__(self, line: Line, parts: list[Part], key: list[str]) -> None:
        keys, hashes, places = [], [], []
        for number, first, batch, keep in part_batches(line, parts, [*key, ROW_HASH]):
            mask = keep.to_numpy(zero_copy_only=False)
            rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
            keys.append(_sortable(row_hashes(batch, key))[mask])
            hashes.append(_sortable(np.array(batch.column(ROW_HASH).to_numpy(zero_copy_only=False)))[mask])
            places.append(np.stack([np.full(len(rows), number, np.int64), rows], axis=1)[mask])
        order = np.argsort(np.concatenate(keys), kind="stable")
        self._keys = np.concatenate(keys)[order]
        self._hashes = np.concatenate(hashes)[order]
        self._places = np.concatenate(places)[order]

    def compare(
        self, keys: npt.NDArray[np.uint8], hashes: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.bool_], list[tuple[int, int]]]:
        """Which rows are not there already, and the places of those that they replace.

        Args:
            keys: Hashes of the key columns, shape (n, 32).
            hashes: Hashes of the whole rows, shape (n, 32).
        """
        if not len(self._keys):
            return np.ones(len(keys), dtype=bool), []
        wanted = _sortable(keys)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        known = self._keys[at] == wanted
        same = known & (self._hashes[at] == _sortable(hashes))
        return ~same, [(int(number), int(row)) for number, row in self._places[at[known & ~same]]]


def _sortable(hashes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Hashes as one sortable value each.

    NumPy cuts trailing NUL bytes off byte strings when it compares them, so that a constant byte goes behind each.
    """
    if hashes.dtype != np.uint8:  # an object array of bytes
        hashes = np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(len(hashes), -1)
    padded = np.concatenate([hashes, np.ones((len(hashes), 1), np.uint8)], axis=1)
    return np.ascontiguousarray(padded).view(f"S{padded.shape[1]}").ravel()


def _ranges(rows: list[int]) -> list[tuple[int, int]]:
    """Ascending row numbers as ranges [first, last)."""
    ranges: list[tuple[int, int]] = []
    for row in rows:
        if ranges and ranges[-1][1] == row:
            ranges[-1] = (ranges[-1][0], row + 1)
        else:
            ranges.append((row, row + 1))
    return ranges
