"""How each kind of thing is found, and who its neighbours are: from publishers to decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from assay.console.nodes_models import model_node, promotion_node, run_node, snapshot_node, statement_node
from assay.console.provenance import MOST_EDGES, Maker, Node, Walk
from assay.console.rownames import find_in_cases, find_row
from assay.console.statements import read_entry
from assay.db import (
    Case,
    Decision,
    Delivery,
    DeliveryFile,
    LedgerEntry,
    LedgerSubject,
    Snapshot,
    SnapshotDelivery,
)
from assay.errors import AssayError
from assay.ledger.log.entries import lookup_key
from assay.ledger.statements.envelopes import read_unverified
from assay.line.cells import cells

if TYPE_CHECKING:
    from assay.ledger import FoundRow

_MORE = MOST_EDGES + 1


def _publisher(walk: Walk, name: str) -> Node | None:
    mine = select(Delivery).where(Delivery.publisher == name, Delivery.dataset.in_(sorted(walk.readable)))
    newest = walk.session.scalars(mine.order_by(Delivery.first_seen.desc()).limit(_MORE)).all()
    if not newest:
        return None
    made = Node("publisher", name, f"publisher {name}", None)
    count = walk.session.scalar(mine.with_only_columns(func.count(), maintain_column_froms=True)) or 0
    made.fact("deliveries", count)
    for key in dict.fromkeys(each.key_id for each in newest if each.key_id):
        made.led_to("key", key, key, "signs with")
    for each in newest:
        made.led_to("delivery", each.id, f"{each.source}, {each.first_seen}", "delivered")
    made.more_after = max(made.more_after, count - len(newest))
    return made


def _key(walk: Walk, name: str) -> Node | None:
    verified = walk.session.scalars(
        select(LedgerEntry)
        .join(LedgerSubject, LedgerSubject.position == LedgerEntry.position)
        .where(
            LedgerSubject.name == lookup_key(name),
            LedgerSubject.role == "input",
            LedgerEntry.predicate_type.like("%/delivery-verified/%"),
        )
        .order_by(LedgerEntry.position.desc())
        .limit(4 * _MORE)
    )
    made = Node("key", name, f"key {name}", None)
    publishers: dict[str, None] = {}
    ledger = walk.desk.ledger()
    seen = 0
    for entry in verified:
        try:
            statement = read_entry(ledger, entry)
        except AssayError as error:
            made.problems.append(f"entry {entry.position} cannot be believed: {error.message}")
            continue
        told = statement.predicate
        if told.get("dataset") not in walk.readable:
            continue
        seen += 1
        publishers[str(told.get("publisher"))] = None
        made.led_to(
            "delivery",
            statement.subjects[0].name,
            f"{told.get('source')}, {told.get('first_seen')}",
            "signed",
        )
    if not seen:
        return None
    for publisher in publishers:
        made.came_from("publisher", publisher, publisher, "key of")
    made.fact("deliveries in the ledger", seen)
    return made


def _delivery(walk: Walk, name: str) -> Node | None:
    row = walk.session.get(Delivery, name)
    if row is None:
        return None
    made = Node(
        "delivery", row.id, f"delivery of {row.source}, {row.first_seen}", row.dataset, row.manifest_sha256
    )
    made.add_facts(
        ("data set", row.dataset),
        ("source", row.source),
        ("state", row.state),
        ("verdict", row.verdict),
        ("rows", row.rows),
        ("number", row.sequence),
        ("signed", row.signed_at),
        ("came in", row.first_seen),
        ("manifest", row.manifest_sha256),
    )
    made.came_from("publisher", row.publisher, row.publisher, "delivered by")
    if row.key_id:
        made.came_from("key", row.key_id, row.key_id, "signed with")
    files = walk.session.scalars(
        select(DeliveryFile)
        .where(DeliveryFile.delivery_id == row.id)
        .order_by(DeliveryFile.path)
        .limit(_MORE)
    )
    cases = walk.session.scalars(
        select(Case).where(Case.delivery_id == row.id).order_by(Case.opened_at, Case.id).limit(_MORE)
    )
    for case in cases:
        made.led_to("case", case.id, f"{case.kind} case: {case.summary}", f"held in ({case.status})")
    for snapshot in walk.session.scalars(
        select(Snapshot)
        .join(SnapshotDelivery, SnapshotDelivery.snapshot_id == Snapshot.id)
        .where(SnapshotDelivery.delivery_id == row.id)
        .order_by(Snapshot.version)
        .limit(_MORE)
    ):
        made.led_to("snapshot", snapshot.id, f"version {snapshot.version}", "admitted to")
    for file in files:
        made.led_to("file", file.sha256, file.path, "contains")
    return made


def _file(walk: Walk, name: str) -> Node | None:
    digest = name.removeprefix("sha256:")
    rows = walk.session.execute(
        select(DeliveryFile, Delivery)
        .join(Delivery, Delivery.id == DeliveryFile.delivery_id)
        .where(DeliveryFile.sha256 == digest, Delivery.dataset.in_(sorted(walk.readable)))
        .order_by(Delivery.first_seen, Delivery.id)
        .limit(_MORE)
    ).all()
    if not rows:
        return None
    first = rows[0][0]
    made = Node("file", digest, first.path, None, digest)
    made.fact("SHA-256", digest)
    made.fact("bytes", first.size)
    for file, delivery in rows:
        made.came_from(
            "delivery", delivery.id, f"{delivery.source}, {delivery.first_seen}: {file.path}", "came with"
        )
    told = walk.session.scalar(
        select(func.count())
        .select_from(LedgerSubject)
        .where(LedgerSubject.name == lookup_key(digest), LedgerSubject.role == "input")
    )
    made.fact("statements that name it", int(told or 0))
    if not told:
        made.problems.append("not checked: no statement in the ledger names it")
    return made


def _row(walk: Walk, name: str) -> Node | None:
    dataset, _, _ = name.partition(":")
    if dataset not in walk.readable:
        return None
    found = find_row(walk.desk, name)
    held = find_in_cases(walk.desk, name)
    if found is None and not held:
        return None
    made = Node("row", name, f"row {name}", dataset)
    if found is not None:
        made.fact("hash", found.row_hash.hex())
        made.fact("stood in", f"{found.file}, record {found.record}")
        made.fact("source", found.source)
        for column, value in cells(dict(found.values)).items():
            made.fact(column, value)
        made.came_from("delivery", found.delivery, f"delivery of {found.source}", "came with")
        file = walk.session.get(DeliveryFile, (found.delivery, found.file))
        if file is not None:
            made.came_from("file", file.sha256, file.path, f"record {found.record} of")
        else:
            made.problems.append(f"the registry has no file {found.file} of {found.delivery}")
        if found.decision:
            made.came_from("decision", found.decision, found.decision, "released by")
        made.led_to("snapshot", found.snapshot_id, f"version {found.version}", f"leaf {found.index} of")
        _recount(made, found)
    for each in held:
        made.led_to(
            "case", each.case.id, f"row {each.row}: {each.case.summary}", f"held in ({each.case.status})"
        )
    return made


def _recount(made: Node, found: FoundRow) -> None:
    """Compute a row's hash again from its values."""
    from assay.ledger.rows.hashing import hash_cells

    if hash_cells(found.cells) != found.row_hash:
        made.problems.append(f"the row in {found.snapshot_id} does not have the hash that is kept beside it")


def _case(walk: Walk, name: str) -> Node | None:
    row = walk.session.get(Case, name)
    if row is None:
        return None
    made = Node("case", row.id, f"{row.kind} case of {row.source}: {row.summary}", row.dataset, row.digest)
    made.add_facts(
        ("data set", row.dataset),
        ("status", row.status),
        ("rows", row.rows),
        ("opened", row.opened_at),
        ("due", row.expires_at),
    )
    made.came_from("delivery", row.delivery_id, f"delivery of {row.source}", "rows of")
    if row.parent_id:
        made.came_from("case", row.parent_id, row.parent_id, "split from")
    for decision in walk.session.scalars(
        select(Decision)
        .where(Decision.case_id == row.id)
        .order_by(Decision.decided_at, Decision.id)
        .limit(_MORE)
    ):
        made.led_to("decision", decision.id, f"{decision.reviewer}: {decision.action}", "decided by")
    parted = select(Case).where(Case.parent_id == row.id).order_by(Case.opened_at, Case.id).limit(_MORE)
    for child in walk.session.scalars(parted) if row.status == "split" else ():
        made.led_to("case", child.id, child.summary, f"split into ({child.status})")
    for snapshot in _taken_in(walk, row.id):
        made.led_to("snapshot", snapshot.id, f"version {snapshot.version}", "admitted to")
    return made


def _decision(walk: Walk, name: str) -> Node | None:
    row = walk.session.get(Decision, name)
    case = None if row is None else walk.session.get(Case, row.case_id)
    if row is None or case is None:
        return None
    made = Node("decision", row.id, f"{row.reviewer} decided to {row.action}", case.dataset)
    made.add_facts(
        ("reviewer", row.reviewer),
        ("action", row.action),
        ("reason", row.reason),
        ("at", row.decided_at),
    )
    made.came_from("case", case.id, case.summary, "on")
    for snapshot in _taken_in(walk, case.id) if row.action == "release" else ():
        made.led_to("snapshot", snapshot.id, f"version {snapshot.version}", "let rows into")
    return made


def _taken_in(walk: Walk, case_id: str) -> list[Snapshot]:
    """The snapshots whose signed statements say that they took in a case's rows."""
    entries = walk.session.scalars(
        select(LedgerEntry)
        .join(LedgerSubject, LedgerSubject.position == LedgerEntry.position)
        .where(
            LedgerSubject.name == lookup_key(case_id),
            LedgerSubject.role == "input",
            LedgerEntry.predicate_type.like("%/snapshot-admitted/%"),
        )
        .order_by(LedgerEntry.position)
        .limit(_MORE)
    )
    found = []
    for entry in entries:
        try:
            named = read_unverified(entry.envelope).subjects[0].name
        except (AssayError, IndexError):
            continue
        snapshot = walk.session.get(Snapshot, named)
        if snapshot is not None:
            found.append(snapshot)
    return found


MAKERS: dict[str, Maker] = {
    "publisher": _publisher,
    "key": _key,
    "delivery": _delivery,
    "file": _file,
    "row": _row,
    "case": _case,
    "decision": _decision,
    "snapshot": snapshot_node,
    "run": run_node,
    "model": model_node,
    "promotion": promotion_node,
    "statement": statement_node,
}
"""How a node of each kind is made."""
