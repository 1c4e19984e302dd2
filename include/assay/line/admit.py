"""The station that lets rows in: what was accepted, and what a human released, becomes the next snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from assay.canonical import canonical_json, content_id, utc_now
from assay.db import Delivery, Snapshot, advance_delivery, get_delivery, latest_snapshot, list_deliveries, put_snapshot
from assay.intake import table_schema
from assay.ledger import row_hashes
from assay.line.context import Line
from assay.line.errors import SnapshotConflict
from assay.line.inspect import failing_numbers, quarantined_numbers
from assay.line.review import settle
from assay.line.rows import delivery_batches, without
from assay.line.snapshots import META, ROW_HASH, hashes_of, manifest_of, merkle_root
from assay.quarantine import CaseView, case_rows, list_cases
from assay.store import put_table

_HASH_BYTES = 32


@dataclass
class _Part:
    """Rows that are about to be admitted from one place."""

    origin: str
    delivery: str
    batches: Any
    decision: str | None = None


def admit(line: Line) -> dict[str, Any]:
    """Admit every accepted delivery and every released case of the data set that is not in a snapshot yet.

    Rows that are in the snapshot already are not entered twice; a row whose key is there with other values takes the
    older one's place in the new snapshot, and the older one stays in the older snapshots.

    Returns:
        `snapshot` (id, or None when there was nothing to admit), `version`, `rows`, `admitted` (new rows).

    Raises:
        SnapshotConflict: Another admission came in between; run again.
    """
    settle(line)
    with line.database.session() as session:
        ready = [d for d in list_deliveries(session, line.dataset) if _ready(d)]
        parent = latest_snapshot(session, line.dataset)
    base = manifest_of(line, parent) if parent else {"parts": [], "decisions": []}
    released = _released(line, set(base["decisions"]), {d.id for d in ready})
    parts = [_Part(d.id, d.id, _accepted(line, d)) for d in ready]
    parts += [_Part(case.id, case.delivery_id, _from_case(line, case), decision) for case, decision in released]
    if not parts:
        return {"snapshot": None, "version": parent.version if parent else 0, "rows": 0, "admitted": 0}

    manifest: dict[str, Any] = {
        "format": "assay-snapshot/1",
        "dataset": line.dataset,
        "version": parent.version + 1 if parent else 1,
        "parent": parent.id if parent else None,
        "contract_sha256": line.contract.digest,
        "columns": table_schema(line.contract).names,
        "parts": [dict(part) for part in base["parts"]],
        "decisions": sorted({*base["decisions"], *(decision for _, decision in released)}),
        "deliveries": sorted(d.id for d in ready),
    }
    admitted = sum(_add_part(line, manifest, part) for part in parts)
    manifest["merkle_root"], manifest["rows"] = merkle_root(line, manifest)
    snapshot_id = content_id("snapshot", manifest)
    stored = line.store.put_bytes(canonical_json(manifest))
    with line.database.write() as session:
        newest = latest_snapshot(session, line.dataset)
        if (newest.id if newest else None) not in {parent.id if parent else None, snapshot_id}:
            raise SnapshotConflict(
                f"another snapshot of {line.dataset!r} was admitted in between",
                expected=parent.id if parent else "none",
                found=newest.id if newest else "none",
                next_step="run the station again",
            )
        put_snapshot(
            session,
            Snapshot(
                id=snapshot_id,
                dataset=line.dataset,
                version=manifest["version"],
                parent_id=manifest["parent"],
                merkle_root=manifest["merkle_root"],
                manifest_object=stored.sha256,
                rows=manifest["rows"],
                admitted_at=utc_now(),
            ),
            manifest["deliveries"],
        )
        for delivery in ready:
            advance_delivery(session, delivery.id, "admitted", verdict="accept")
    line.record(
        "snapshot-admitted",
        [(snapshot_id, manifest["merkle_root"]), (f"manifest:{snapshot_id}", stored.sha256)],
        {key: manifest[key] for key in ("version", "parent", "rows", "deliveries", "decisions")} | {"snapshot": snapshot_id},
        inputs=[(d.id, d.manifest_sha256) for d in ready]
        + [(case.id, case.digest) for case, _ in released]
        + ([(parent.id, parent.merkle_root)] if parent else []),
    )
    return {"snapshot": snapshot_id, "version": manifest["version"], "rows": manifest["rows"], "admitted": admitted}


def _ready(delivery: Delivery) -> bool:
    return delivery.verdict == "accept" and delivery.state in {"screened", "held"}


def _released(line: Line, entered: set[str], ready: set[str]) -> list[tuple[CaseView, str]]:
    """Released cases with rows, whose deliveries are in or come in now, with the id of the decision."""
    found = []
    for case in list_cases(line.database, dataset=line.dataset, status="released"):
        if case.rows_object is None or case.decision_id is None or case.decision_id in entered:
            continue
        with line.database.session() as session:
            delivery = get_delivery(session, case.delivery_id)
        if case.delivery_id in ready or (delivery is not None and delivery.state == "admitted"):
            found.append((case, case.decision_id))
    return found


def _accepted(line: Line, delivery: Delivery) -> Iterator[tuple[pa.RecordBatch, pa.Array, pa.Array]]:
    """Rows of a delivery that are neither failing nor quarantined, with their file and record."""
    failing = failing_numbers(line, delivery.detail)
    out = np.union1d(failing, quarantined_numbers(line, delivery.detail, failing))
    for batch in delivery_batches(line, delivery.id):
        rows, numbers = without(batch, out)
        if rows.num_rows:
            files = pa.array([batch.file.path], pa.string()).take(pa.array(np.zeros(rows.num_rows, np.int32)))
            yield rows, files, pa.array(numbers - batch.first + batch.record)


def _from_case(line: Line, case: CaseView) -> Iterator[tuple[pa.RecordBatch, pa.Array, pa.Array]]:
    rows = case_rows(line.database, line.store, case.id)
    schema = table_schema(line.contract)
    for batch in rows.select(schema.names).cast(schema).to_batches():
        yield batch, pa.nulls(batch.num_rows, pa.string()), pa.nulls(batch.num_rows, pa.int64())


def _add_part(line: Line, manifest: dict[str, Any], part: _Part) -> int:
    """Store a part, note which earlier rows it supersedes; returns how many rows are new."""
    key = list(line.contract.schema_.key)
    source = _source_of(line, part.delivery)
    index = _KeyIndex(line, manifest, key) if key and manifest["parts"] else None
    schema = pa.schema([*table_schema(line.contract), *META])
    superseded: dict[int, list[int]] = {}
    tree_rows = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal tree_rows
        for rows, files, records in part.batches:
            hashes = row_hashes(rows, table_schema(line.contract).names)
            keep = slice(None)
            if index is not None:
                keep, replaced = index.compare(row_hashes(rows, key), hashes)
                for position, row in replaced:
                    superseded.setdefault(position, []).append(row)
            count = rows.num_rows
            meta = [
                pa.FixedSizeBinaryArray.from_buffers(pa.binary(_HASH_BYTES), count, [None, pa.py_buffer(hashes.tobytes())]),
                _repeated(part.delivery, count),
                _repeated(source, count),
                files,
                records,
                _repeated(part.decision, count),
            ]
            batch = pa.RecordBatch.from_arrays([*rows.select(table_schema(line.contract).names).columns, *meta], schema=schema)
            if index is not None:
                batch = batch.filter(pa.array(keep))
            tree_rows += batch.num_rows
            if batch.num_rows:
                yield batch

    stored = put_table(line.store, batches(), schema=schema)
    for position, rows in superseded.items():
        merged = {*manifest["parts"][position]["superseded"], *rows}
        manifest["parts"][position]["superseded"] = sorted(merged)
    if tree_rows:
        manifest["parts"].append(
            {"sha256": stored.sha256, "rows": tree_rows, "origin": part.origin, "delivery": part.delivery, "superseded": []}
        )
    return tree_rows


class _KeyIndex:
    """Keys that are in the manifest so far, with the place and hash of each one's row."""

    def __init__(self, line: Line, manifest: dict[str, Any], key: list[str]) -> None:
        keys, hashes, places = [], [], []
        for position, part in enumerate(manifest["parts"]):
            superseded = np.asarray(part["superseded"], dtype=np.int64)
            first = 0
            with line.store.open(part["sha256"]) as file:
                for batch in pq.ParquetFile(file).iter_batches(columns=[*key, ROW_HASH]):
                    rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
                    first += batch.num_rows
                    alive = ~np.isin(rows, superseded)
                    keys.append(_void(row_hashes(batch, key))[alive])
                    hashes.append(_void(hashes_of(batch.column(ROW_HASH)))[alive])
                    places.append(np.stack([np.full(len(rows), position, np.int64), rows], axis=1)[alive])
        order = np.argsort(np.concatenate(keys), kind="stable")
        self._keys = np.concatenate(keys)[order]
        self._hashes = np.concatenate(hashes)[order]
        self._places = np.concatenate(places)[order]

    def compare(self, keys: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Which rows are not there already, and the places of those that they replace.

        Args:
            keys: Hashes of the key columns, uint8, shape (n, 32).
            hashes: Hashes of the whole rows, uint8, shape (n, 32).
        """
        wanted = _void(keys)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        known = self._keys[at] == wanted
        same = known & (self._hashes[at] == _void(hashes))
        replaced = [(int(p), int(r)) for p, r in self._places[at[known & ~same]]]
        return ~same, replaced


def _void(hashes: np.ndarray) -> np.ndarray:
    """Rows of 32 bytes as one sortable value each: fixed-width byte strings, compared as in memory."""
    # A trailing NUL is cut off when numpy compares byte strings, so that a constant byte is added behind.
    padded = np.concatenate([hashes, np.ones((len(hashes), 1), np.uint8)], axis=1)
    return np.ascontiguousarray(padded).view(f"S{_HASH_BYTES + 1}").ravel()


def _repeated(text: str | None, count: int) -> pa.Array:
    return pa.array([text], pa.string()).take(pa.array(np.zeros(count, np.int32)))


def _source_of(line: Line, delivery_id: str) -> str:
    with line.database.session() as session:
        delivery = get_delivery(session, delivery_id)
    return delivery.source if delivery else ""
