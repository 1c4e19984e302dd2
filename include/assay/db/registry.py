"""Reading and writing the registry, inside a session of the caller's.

Every `put_*` may be called again with the same id: what is there stays, and the row in the database is returned. State
moves forward only, so that a task that is run again cannot take back what a later station decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from sqlalchemy import Table, func, insert, select
from sqlalchemy.orm import Session

from assay.canonical import utc_now
from assay.db.tables import (
    Case,
    Delivery,
    DeliveryFile,
    FindingRow,
    ModelRow,
    Promotion,
    Run,
    Snapshot,
    SnapshotDelivery,
)
from assay.findings import Finding

_STATES = ("landed", "verified", "validated", "screened", "held", "admitted", "rejected")
_FINAL = frozenset({"admitted", "rejected"})


# ------------------------------------------------------------------------------------------------------- deliveries
def put_delivery(
    session: Session, delivery: Delivery, files: Iterable[tuple[str, str, int]] = ()
) -> Delivery:
    """Register a delivery and its files, or leave what is registered under its id.

    Args:
        session: An open session.
        delivery: The row; its `id` comes from its content.
        files: Path in the manifest, SHA-256 and size in bytes of each file.
    """
    known = session.get(Delivery, delivery.id)
    if known is not None:
        return known
    session.add(delivery)
    session.flush()  # files refer to it
    rows = [
        {"delivery_id": delivery.id, "path": path, "sha256": sha256, "size": size}
        for path, sha256, size in files
    ]
    if rows:
        # There may be tens of thousands: they go in together, without an object for each.
        session.connection().execute(insert(cast("Table", DeliveryFile.__table__)), rows)
    return delivery


def advance_delivery(
    session: Session,
    delivery_id: str,
    state: str,
    *,
    verdict: str | None = None,
    rows: int | None = None,
    detail: dict[str, Any] | None = None,
) -> Delivery:
    """Move a delivery on to `state`; a step back, or one out of a final state, changes nothing.

    `verdict` and `rows` are set with the step; `detail` is merged into what is there in any case.

    Raises:
        KeyError: No delivery has that id.
        ValueError: There is no such state.
    """
    if state not in _STATES:
        raise ValueError(f"no delivery state {state!r}; one of {', '.join(_STATES)}")
    delivery = session.get(Delivery, delivery_id, with_for_update=True)
    if delivery is None:
        raise KeyError(delivery_id)
    if delivery.state not in _FINAL and _STATES.index(state) >= _STATES.index(delivery.state):
        delivery.state = state
        if verdict is not None:
            delivery.verdict = verdict
        if rows is not None:
            delivery.rows = rows
    if detail:
        delivery.detail = {**(delivery.detail or {}), **detail}
    session.flush()
    return delivery


def get_delivery(session: Session, delivery_id: str) -> Delivery | None:
    """The delivery of that id."""
    return session.get(Delivery, delivery_id)


def delivery_files(session: Session, delivery_id: str) -> list[DeliveryFile]:
    """A delivery's files, by path."""
    query = select(DeliveryFile).where(DeliveryFile.delivery_id == delivery_id).order_by(DeliveryFile.path)
    return list(session.scalars(query))


def list_deliveries(
    session: Session, dataset: str | None = None, *, source: str | None = None, state: str | None = None
) -> list[Delivery]:
    """Deliveries in the order in which they were first seen."""
    query = select(Delivery).order_by(Delivery.first_seen, Delivery.id)
    if dataset is not None:
        query = query.where(Delivery.dataset == dataset)
    if source is not None:
        query = query.where(Delivery.source == source)
    if state is not None:
        query = query.where(Delivery.state == state)
    return list(session.scalars(query))


# --------------------------------------------------------------------------------------------------------- findings
def add_findings(session: Session, subject_id: str, findings: Iterable[Finding]) -> int:
    """Record findings about one delivery, snapshot, run or model; one that is there already stays.

    Returns:
        How many were new.
    """
    wanted = {finding.id: finding for finding in findings}
    if not wanted:
        return 0
    query = select(FindingRow.id).where(FindingRow.subject_id == subject_id)
    fresh = {key: finding for key, finding in wanted.items() if key not in set(session.scalars(query))}
    now = utc_now()
    session.add_all(
        FindingRow(
            id=key,
            subject_id=subject_id,
            check=finding.check,
            outcome=finding.outcome.value,
            severity=finding.severity.value,
            body=finding.model_dump(mode="json"),
            found_at=now,
        )
        for key, finding in fresh.items()
    )
    session.flush()
    return len(fresh)


def findings_of(session: Session, subject_id: str) -> list[Finding]:
    """What was found about one delivery, snapshot, run or model, by check."""
    query = (
        select(FindingRow)
        .where(FindingRow.subject_id == subject_id)
        .order_by(FindingRow.check, FindingRow.found_at, FindingRow.id)
    )
    return [Finding.model_validate(row.body) for row in session.scalars(query)]


# ------------------------------------------------------------------------------------------------------------ cases
def waiting_cases(session: Session, deliveries: Iterable[str]) -> tuple[int, str | None]:
    """How many open cases hold some deliveries, and when the first of them is due (UTC; None: never)."""
    query = select(func.count(), func.min(Case.expires_at)).where(
        Case.delivery_id.in_(list(deliveries)), Case.status == "open", Case.blocking
    )
    count, due = session.execute(query).one()
    return int(count), due


def due_cases(session: Session, dataset: str) -> list[str]:
    """Ids of the open cases of a data set whose time is over, and that silence rejects."""
    query = select(Case.id).where(
        Case.dataset == dataset,
        Case.status == "open",
        Case.expires_at <= utc_now(),
        Case.on_timeout == "reject",
    )
    return list(session.scalars(query.order_by(Case.expires_at, Case.id)))


# -------------------------------------------------------------------------------------------------------- snapshots
def put_snapshot(session: Session, snapshot: Snapshot, deliveries: Iterable[str] = ()) -> Snapshot:
    """Register a snapshot with the deliveries it admitted, or leave what is registered under its id.

    A `version` of None or 0 becomes the data set's next one: call this inside `Database.write()`.
    """
    known = session.get(Snapshot, snapshot.id)
    if known is not None:
        return known
    if not snapshot.version:
        newest = select(func.max(Snapshot.version)).where(Snapshot.dataset == snapshot.dataset)
        snapshot.version = (session.scalar(newest) or 0) + 1
    session.add(snapshot)
    session.flush()
    session.add_all(
        SnapshotDelivery(snapshot_id=snapshot.id, delivery_id=delivery_id)
        for delivery_id in sorted(set(deliveries))
    )
    session.flush()
    return snapshot


def get_snapshot(session: Session, snapshot_id: str) -> Snapshot | None:
    """The snapshot of that id."""
    return session.get(Snapshot, snapshot_id)


def latest_snapshot(session: Session, dataset: str) -> Snapshot | None:
    """The data set's newest snapshot."""
    query = select(Snapshot).where(Snapshot.dataset == dataset).order_by(Snapshot.version.desc()).limit(1)
    return session.scalars(query).first()


def list_snapshots(session: Session, dataset: str | None = None) -> list[Snapshot]:
    """Snapshots by data set and version."""
    query = select(Snapshot).order_by(Snapshot.dataset, Snapshot.version)
    if dataset is not None:
        query = query.where(Snapshot.dataset == dataset)
    return list(session.scalars(query))


def snapshot_deliveries(session: Session, snapshot_id: str) -> list[str]:
    """Ids of the deliveries that a snapshot admitted rows of, beyond its parent's."""
    query = select(SnapshotDelivery.delivery_id).where(SnapshotDelivery.snapshot_id == snapshot_id)
    return sorted(session.scalars(query))


# --------------------------------------------------------------------------------------------------- runs and models
def put_run(session: Session, run: Run) -> Run:
    """Register a run, or leave what is registered under its id."""
    known = session.get(Run, run.id)
    if known is not None:
        return known
    session.add(run)
    session.flush()
    return run


def get_run(session: Session, run_id: str) -> Run | None:
    """The run of that id."""
    return session.get(Run, run_id)


def list_runs(session: Session, dataset: str | None = None) -> list[Run]:
    """Runs in the order in which they finished."""
    query = select(Run).order_by(Run.finished_at, Run.id)
    if dataset is not None:
        query = query.where(Run.dataset == dataset)
    return list(session.scalars(query))


def put_model(session: Session, model: ModelRow) -> ModelRow:
    """Register a model, or leave what is registered under its id."""
    known = session.get(ModelRow, model.id)
    if known is not None:
        return known
    session.add(model)
    session.flush()
    return model


def get_model(session: Session, model_id: str) -> ModelRow | None:
    """The model of that id."""
    return session.get(ModelRow, model_id)


def set_model_state(session: Session, model_id: str, state: str) -> ModelRow:
    """Set a model's state: challenger, champion, refused or retired.

    Raises:
        KeyError: No model has that id.
    """
    model = session.get(ModelRow, model_id)
    if model is None:
        raise KeyError(model_id)
    model.state = state
    session.flush()
    return model


def list_models(session: Session, dataset: str | None = None, *, state: str | None = None) -> list[ModelRow]:
    """Models in the order in which they were made."""
    query = select(ModelRow).order_by(ModelRow.made_at, ModelRow.id)
    if dataset is not None:
        query = query.where(ModelRow.dataset == dataset)
    if state is not None:
        query = query.where(ModelRow.state == state)
    return list(session.scalars(query))


def put_promotion(session: Session, promotion: Promotion) -> Promotion:
    """Record a change of champion, or leave what is recorded under its id; call inside `Database.write()`."""
    known = session.scalars(select(Promotion).where(Promotion.id == promotion.id)).first()
    if known is not None:
        return known
    session.add(promotion)
    session.flush()
    return promotion


def list_promotions(session: Session, dataset: str | None = None) -> list[Promotion]:
    """Changes of champion, oldest first."""
    query = select(Promotion).order_by(Promotion.position)
    if dataset is not None:
        query = query.where(Promotion.dataset == dataset)
    return list(session.scalars(query))


def champion(session: Session, dataset: str) -> ModelRow | None:
    """The data set's promoted model: that of its newest promotion."""
    query = select(Promotion).where(Promotion.dataset == dataset).order_by(Promotion.position.desc()).limit(1)
    newest = session.scalars(query).first()
    return None if newest is None else session.get(ModelRow, newest.model_id)
