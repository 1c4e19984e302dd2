"""Searching: whatever name somebody has in hand, what goes by it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from assay.console.desk import Desk
from assay.console.errors import BadQuery
from assay.console.rownames import MOST_CASES, find_in_cases, find_row
from assay.console.scope import dataset_of_entry, find_entry
from assay.db import (
    Case,
    Decision,
    Delivery,
    DeliveryFile,
    LedgerEntry,
    LedgerSubject,
    ModelRow,
    Promotion,
    Run,
    Snapshot,
)
from assay.errors import AssayError
from assay.ledger.log.entries import lookup_key
from assay.ledger.rows.lookup import find_hash
from assay.ledger.statements.envelopes import read_unverified
from assay.line.cells import facts

if TYPE_CHECKING:
    from assay.ledger import FoundRow

MOST = 50
_MOST_Q = 300
_EACH = 10
_ID = re.compile(r"([a-z]+)-[0-9a-f]{0,32}")
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_SHORT_HEX = re.compile(r"[0-9a-f]{6,63}")
_TABLES: dict[str, tuple[InstrumentedAttribute[str], InstrumentedAttribute[str]]] = {
    "delivery": (Delivery.id, Delivery.dataset),
    "case": (Case.id, Case.dataset),
    "snapshot": (Snapshot.id, Snapshot.dataset),
    "run": (Run.id, Run.dataset),
    "model": (ModelRow.id, ModelRow.dataset),
    "promotion": (Promotion.id, Promotion.dataset),
}

Hit = dict[str, Any]


def search(desk: Desk, q: str, datasets: Iterable[str] | None = None) -> dict[str, Any]:
    """What goes by a name, at most `MOST` things: ids and their beginnings, digests, publishers, keys, files, rows.

    Args:
        desk: What is looked at.
        q: The name. A row is `dataset:key`, or its key alone.
        datasets: Those that the caller may read.

    Raises:
        BadQuery: There is nothing to search for, or it is too long.
    """
    wanted = q.strip()
    if not wanted or len(wanted) > _MOST_Q:
        raise BadQuery("there is nothing to search for", expected=f"1 to {_MOST_Q} characters")
    readable = set(desk.chosen(None, datasets))
    with desk.session() as session:
        hits = [*_ids(session, wanted), *_digests(session, wanted), *_people(session, wanted, readable)]
    notes: list[str] = []
    if len(hits) < MOST and not _ID.fullmatch(wanted):
        hits += _rows(desk, wanted, sorted(readable), notes)
    shown: dict[tuple[str, str], Hit] = {}
    for hit in hits:
        if hit["dataset"] is None or hit["dataset"] in readable:
            shown.setdefault((hit["kind"], hit["id"]), hit)
    return {"results": list(shown.values())[:MOST], "notes": notes}


def hit(kind: str, name: str, title: str, dataset: str | None) -> Hit:
    """One thing that was found."""
    return {"kind": kind, "id": name, "title": facts(title), "dataset": dataset}


def _ids(session: Session, wanted: str) -> list[Hit]:
    """Things with that id, or with one that begins so."""
    found: list[Hit] = []
    said = _ID.fullmatch(wanted)
    kinds = [said.group(1)] if said else list(_TABLES) if _SHORT_HEX.fullmatch(wanted) else []
    for kind in kinds:
        start = wanted if said else f"{kind}-{wanted}"
        if kind in _TABLES:
            column, dataset = _TABLES[kind]
            query = (
                select(column, dataset)
                .where(column >= start, column < f"{start}g")
                .order_by(column)
                .limit(_EACH)
            )
            found += [hit(kind, name, name, owner) for name, owner in session.execute(query)]
        elif kind == "decision":
            decided = (
                select(Decision.id, Case.dataset, Decision.action, Decision.reviewer)
                .join(Case, Case.id == Decision.case_id)
                .where(Decision.id >= start, Decision.id < f"{start}g")
                .limit(_EACH)
            )
            found += [
                hit("decision", name, f"{reviewer}: {action}", owner)
                for name, owner, action, reviewer in session.execute(decided)
            ]
    if wanted.startswith("statement-") or (wanted.isascii() and wanted.isdecimal() and len(wanted) < 19):
        entry = find_entry(session, wanted)
        if entry is not None:
            found.append(_statement(entry))
    return found


def _statement(entry: LedgerEntry) -> Hit:
    try:
        step = read_unverified(entry.envelope).step
    except (AssayError, ValueError):
        step = entry.predicate_type
    return hit("statement", entry.statement_id, f"entry {entry.position}: {step}", dataset_of_entry(entry))


def _digests(session: Session, wanted: str) -> list[Hit]:
    """Files, deliveries, snapshots and models by a SHA-256."""
    said = _HEX.fullmatch(wanted)
    if said is None:
        return []
    digest = said.group(1)
    files = session.execute(
        select(DeliveryFile.path, Delivery.dataset)
        .join(Delivery, Delivery.id == DeliveryFile.delivery_id)
        .where(DeliveryFile.sha256 == digest)
        .limit(_EACH)
    )
    found = [hit("file", digest, path, dataset) for path, dataset in files]
    manifests = session.execute(
        select(Delivery.id, Delivery.dataset).where(Delivery.manifest_sha256 == digest).limit(_EACH)
    )
    found += [
        hit("delivery", name, f"the delivery of that manifest: {name}", dataset)
        for name, dataset in manifests
    ]
    model = session.get(ModelRow, f"model-{digest[:32]}")
    if model is not None and (model.metrics or {}).get("digest") == digest:
        found.append(hit("model", model.id, model.id, model.dataset))
    told = session.scalars(
        select(LedgerEntry)
        .join(LedgerSubject, LedgerSubject.position == LedgerEntry.position)
        .where(LedgerSubject.name == lookup_key(digest))
        .order_by(LedgerEntry.position)
        .limit(_EACH)
    )
    return [*found, *map(_statement, told)]


def _people(session: Session, wanted: str, readable: set[str]) -> list[Hit]:
    """Publishers, keys and files by name, as far as they delivered to a data set that may be read."""
    found: list[Hit] = []
    mine = select(Delivery.id).where(Delivery.dataset.in_(sorted(readable)))
    if session.scalar(mine.where(Delivery.publisher == wanted).limit(1)) is not None:
        found.append(hit("publisher", wanted, f"publisher {wanted}", None))
    named = session.scalars(
        select(LedgerSubject.position)
        .where(LedgerSubject.name == lookup_key(wanted), LedgerSubject.role == "input")
        .limit(_EACH)
    ).all()
    if ":" in wanted and named and not _HEX.fullmatch(wanted):
        telling = [session.get(LedgerEntry, position) for position in named]
        if any(dataset_of_entry(entry) in readable for entry in telling):
            found.append(hit("key", wanted, f"key {wanted}", None))
    entries = session.scalars(
        select(LedgerEntry)
        .join(LedgerSubject, LedgerSubject.position == LedgerEntry.position)
        .where(LedgerSubject.name == lookup_key(f"file:{wanted}"))
        .order_by(LedgerEntry.position.desc())
        .limit(_EACH)
    )
    for entry in entries:
        try:
            inputs = read_unverified(entry.envelope).inputs
        except (AssayError, ValueError):
            continue
        owner = dataset_of_entry(entry)
        found += [
            hit("file", str(item.sha256), wanted, owner)
            for item in inputs
            if item.name == f"file:{wanted}" and item.sha256
        ]
    return found


def _rows(desk: Desk, wanted: str, readable: list[str], notes: list[str]) -> list[Hit]:
    """Rows by key in the newest snapshots and cases, or by hash."""
    found: list[Hit] = []
    said = _HEX.fullmatch(wanted)
    if said is not None:
        for dataset in readable:
            try:
                rows = find_hash(desk.database, desk.store, said.group(1), dataset=dataset, newest=1)
            except AssayError as error:
                notes.append(f"{dataset}: {error.message}")
                continue
            found += [_of_hash(desk, dataset, row) for row in rows[:_EACH]]
        return found
    named, colon, _ = wanted.partition(":")
    names = [wanted] if colon and named in readable else [f"{dataset}:{wanted}" for dataset in readable]
    for name in names:
        try:
            row = find_row(desk, name)
        except AssayError as error:
            notes.append(f"{name.partition(':')[0]}: {error.message}")
            continue
        dataset = name.partition(":")[0]
        if row is not None:
            found.append(hit("row", name, f"row {name} in version {row.version} of the snapshot", dataset))
        found += [
            hit(
                "case",
                held.case.id,
                f"row {held.row} of the {held.case.status} case, with the key of {name}",
                dataset,
            )
            for held in find_in_cases(desk, name)
        ]
    if not found:
        notes.append(
            f"rows were looked for by key in the newest snapshots and in the {MOST_CASES} newest cases of each data "
            "set; `assay ledger trace DATASET:KEY` looks into all of them"
        )
    return found


def _of_hash(desk: Desk, dataset: str, row: FoundRow) -> Hit:
    known = desk.contracts.of(dataset)
    key = list(known.contract.schema_.key) if known and known.contract else []
    name = ",".join(str(row.values.get(column)) for column in key) if key else f"#{row.index}"
    return hit(
        "row", f"{dataset}:{name}", f"row {dataset}:{name} in version {row.version} of the snapshot", dataset
    )
