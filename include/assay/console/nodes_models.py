"""How the things that follow from admitted rows are found: snapshots, runs, models, promotions; and statements."""

from __future__ import annotations

from sqlalchemy import select

from assay.console.provenance import MOST_EDGES, Node, Walk
from assay.console.scope import dataset_of_entry, find_entry
from assay.console.statements import read_entry
from assay.db import (
    Case,
    Delivery,
    LedgerSubject,
    ModelRow,
    Promotion,
    Run,
    Snapshot,
    SnapshotDelivery,
    champion,
)
from assay.errors import AssayError
from assay.ledger.log.entries import lookup_key

_MORE = MOST_EDGES + 1


def snapshot_node(walk: Walk, name: str) -> Node | None:
    """A snapshot between what it took in and what learnt from it."""
    row = walk.session.get(Snapshot, name)
    if row is None:
        return None
    made = Node(
        "snapshot", row.id, f"version {row.version} of {row.dataset}", row.dataset, row.manifest_object
    )
    made.add_facts(
        ("data set", row.dataset),
        ("version", row.version),
        ("rows", row.rows),
        ("admitted", row.admitted_at),
        ("Merkle root", row.merkle_root),
    )
    if row.parent_id:
        made.came_from("snapshot", row.parent_id, f"version {row.version - 1}", "follows")
    for delivery in walk.session.scalars(
        select(Delivery)
        .join(SnapshotDelivery, SnapshotDelivery.delivery_id == Delivery.id)
        .where(SnapshotDelivery.snapshot_id == row.id)
        .order_by(Delivery.first_seen, Delivery.id)
        .limit(_MORE)
    ):
        made.came_from("delivery", delivery.id, f"{delivery.source}, {delivery.first_seen}", "took in")
    cases = walk.session.scalars(
        select(Case).where(Case.id.in_(_inputs(walk, row.id, "case-"))).order_by(Case.id).limit(_MORE)
    )
    for case in cases:
        made.came_from("case", case.id, case.summary, "took in released rows of")
    for child in walk.session.scalars(
        select(Snapshot).where(Snapshot.dataset == row.dataset, Snapshot.version == row.version + 1)
    ):
        made.led_to("snapshot", child.id, f"version {child.version}", "followed by")
    for run in walk.session.scalars(
        select(Run).where(Run.snapshot_id == row.id).order_by(Run.finished_at).limit(_MORE)
    ):
        made.led_to("run", run.id, f"{run.status}, {run.finished_at}", "learnt by")
    return made


def _inputs(walk: Walk, name: str, prefix: str) -> list[str]:
    """The names with a beginning that the statements about a thing were made from."""
    positions = select(LedgerSubject.position).where(
        LedgerSubject.name == lookup_key(name), LedgerSubject.role == "subject"
    )
    query = select(LedgerSubject.name).where(
        LedgerSubject.position.in_(positions),
        LedgerSubject.role == "input",
        LedgerSubject.name >= prefix,
        LedgerSubject.name < f"{prefix}g",
    )
    return list(walk.session.scalars(query.limit(_MORE)))


def run_node(walk: Walk, name: str) -> Node | None:
    """A run between its snapshot and its model."""
    row = walk.session.get(Run, name)
    if row is None:
        return None
    made = Node("run", row.id, f"run on {row.backend}, {row.finished_at}", row.dataset)
    detail = row.detail or {}
    made.add_facts(
        ("data set", row.dataset),
        ("status", row.status),
        ("curve", row.curve_outcome),
        ("epochs", detail.get("epochs")),
        ("device", detail.get("device")),
        ("validation loss", row.final_validation_loss),
    )
    snapshot = walk.session.get(Snapshot, row.snapshot_id)
    if snapshot is None:
        made.problems.append(f"the registry has no snapshot {row.snapshot_id}, which it learnt from")
    else:
        made.came_from("snapshot", snapshot.id, f"version {snapshot.version}", "learnt from")
    for model in walk.session.scalars(select(ModelRow).where(ModelRow.run_id == row.id).limit(_MORE)):
        made.led_to("model", model.id, f"model, {model.state}", "made")
    return made


def model_node(walk: Walk, name: str) -> Node | None:
    """A model between its run and its promotions."""
    row = walk.session.get(ModelRow, name)
    if row is None:
        return None
    digest = (row.metrics or {}).get("digest")
    made = Node("model", row.id, f"model of {row.dataset}, {row.state}", row.dataset, digest)
    made.add_facts(
        ("data set", row.dataset),
        ("state", row.state),
        ("made", row.made_at),
        ("digest", digest),
        ("accuracy", (row.metrics or {}).get("accuracy")),
        ("gates", (row.metrics or {}).get("gates")),
    )
    best = champion(walk.session, row.dataset)
    if (row.state == "champion") != (best is not None and best.id == row.id):
        made.problems.append(
            f"it is {row.state}, but the last promotion made {best.id if best else 'no model'} champion"
        )
    made.came_from("run", row.run_id, row.run_id, "made by")
    made.came_from("snapshot", row.snapshot_id, row.snapshot_id, "learnt from")
    for each in walk.session.scalars(
        select(Promotion)
        .where(Promotion.dataset == row.dataset, Promotion.model_id == row.id)
        .order_by(Promotion.position)
        .limit(_MORE)
    ):
        made.led_to("promotion", each.id, f"{each.action} by {each.by}, {each.at}", "became champion by")
    return made


def promotion_node(walk: Walk, name: str) -> Node | None:
    """A promotion with the models that it concerns."""
    row = walk.session.scalars(select(Promotion).where(Promotion.id == name)).first()
    if row is None:
        return None
    made = Node("promotion", row.id, f"{row.action} by {row.by}, {row.at}", row.dataset)
    made.add_facts(("action", row.action), ("by", row.by), ("reason", row.reason), ("at", row.at))
    made.came_from("model", row.model_id, row.model_id, "made champion")
    if row.previous_id:
        made.came_from("model", row.previous_id, row.previous_id, "took the place of")
    return made


def statement_node(walk: Walk, name: str) -> Node | None:
    """A signed statement between what it was made from and what it is about."""
    entry = find_entry(walk.session, name)
    if entry is None:
        return None
    made = Node("statement", entry.statement_id, f"entry {entry.position}", dataset_of_entry(entry))
    ledger = walk.desk.ledger()
    try:
        statement = read_entry(ledger, entry)
    except AssayError as error:
        made.problems.append(f"it cannot be believed: {error.message}")
        return made
    if not ledger.has_key:
        made.problems.append("not checked: there is no public key to check the ledger with")
    made.title = f"entry {entry.position}: {statement.step}"
    made.fact("step", statement.step)
    made.fact("position", entry.position)
    for what, value in statement.predicate.items():
        if isinstance(value, str | int | float | bool):
            made.fact(what, value)
    for resources, add in ((statement.inputs, made.came_from), (statement.subjects, made.led_to)):
        for item in resources:
            kind, known = _kind_of(item.name, item.sha256)
            if kind:
                add(kind, known, item.name, "was made from" if add == made.came_from else "is about")
    return made


def _kind_of(name: str, sha256: str | None) -> tuple[str, str]:
    """The kind of a thing that a statement names, and its id; empty for what is no node."""
    kind = name.partition("-")[0]
    if kind in {"delivery", "case", "decision", "snapshot", "run", "model", "promotion"}:
        return kind, name
    if name.startswith("file:") and sha256:
        return "file", sha256
    if ":" in name and not name.startswith(("sha256:", "contract:")) and sha256 is None:
        return "key", name
    return "", ""
