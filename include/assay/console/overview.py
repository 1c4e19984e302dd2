"""The first page: how each data set stands, and what waits for somebody."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assay.console.desk import Desk, KnownContract
from assay.db import (
    Case,
    Delivery,
    FindingRow,
    LedgerCheckpoint,
    LedgerCosignature,
    ModelRow,
    Promotion,
    Run,
    champion,
    latest_snapshot,
)
from assay.findings import Finding, Outcome, worst
from assay.line.cells import facts

MOST_WAITING = 50


def overview(desk: Desk, datasets: Iterable[str] | None = None) -> dict[str, Any]:
    """Every data set that the caller may read, what waits, and the ledger's size."""
    contracts = {each.dataset: each for each in desk.contracts.all()}
    names = desk.chosen(None, datasets)
    with desk.session() as session:
        lines = [_dataset(session, name, contracts.get(name)) for name in names]
        waiting = _waiting(session, names, contracts)
        ledger = _ledger(session)
    ledger["last_checkpoint_at"] = _anchored_at(desk)
    return {"datasets": lines, "needs_me": waiting, "ledger": ledger}


def _dataset(session: Session, name: str, known: KnownContract | None) -> dict[str, Any]:
    last = session.scalars(
        select(Delivery)
        .where(Delivery.dataset == name)
        .order_by(Delivery.first_seen.desc(), Delivery.id.desc())
        .limit(1)
    ).first()
    counts = {
        bool(blocking): int(count)
        for blocking, count in session.execute(
            select(Case.blocking, func.count())
            .where(Case.dataset == name, Case.status == "open")
            .group_by(Case.blocking)
        )
    }
    held = session.scalar(
        select(func.count()).where(
            Delivery.dataset == name, Delivery.state == "held", Delivery.verdict == "hold"
        )
    )
    snapshot = latest_snapshot(session, name)
    contract = known.contract if known else None
    return {
        "dataset": name,
        "description": facts(contract.description) if contract else "",
        "owner": contract.owner if contract else "",
        "last_delivery": None
        if last is None
        else {
            "id": last.id,
            "source": last.source,
            "verdict": last.verdict,
            "state": last.state,
            "first_seen": last.first_seen,
        },
        "fresh": _fresh(session, known),
        "open_cases": sum(counts.values()),
        "blocking_cases": counts.get(True, 0),
        "held_deliveries": int(held or 0),
        "snapshot": None
        if snapshot is None
        else {
            "id": snapshot.id,
            "version": snapshot.version,
            "rows": snapshot.rows,
            "admitted_at": snapshot.admitted_at,
        },
        "champion": _champion(session, name),
        "challenger": _challenger(session, name),
        "contract_error": known.error if known else "no contract of this data set is in the contracts folder",
    }


def _fresh(session: Session, known: KnownContract | None) -> dict[str, Any]:
    """Whether the sources still deliver: the worst answer of any."""
    if known is None or known.contract is None:
        return {
            "outcome": "not_checked",
            "message": "there is no readable contract",
            "newest_signed_at": None,
        }
    from assay.intake.freshness import judge_silence

    contract, now = known.contract, dt.datetime.now(dt.UTC)
    newest = session.scalar(
        select(func.max(Delivery.signed_at)).where(
            Delivery.dataset == contract.dataset,
            Delivery.id.in_(
                select(Delivery.id)
                .where(Delivery.dataset == contract.dataset)
                .order_by(Delivery.first_seen.desc(), Delivery.id.desc())
                .limit(50)
            ),
        )
    )
    if contract.freshness.interval is None:
        message = "the contract does not say how often deliveries come; add freshness.interval"
        return {"outcome": "not_checked", "message": message, "newest_signed_at": newest}
    answers: list[Finding] = [judge_silence(session, contract, source, now) for source in contract.sources]
    outcome = worst(answer.outcome for answer in answers)
    said = [answer.message for answer in answers if answer.outcome is outcome]
    if outcome is Outcome.PASSED:
        said = [f"all {len(answers)} sources deliver within {contract.freshness.interval}"]
    return {"outcome": str(outcome), "message": facts("; ".join(said[:5])), "newest_signed_at": newest}


def _champion(session: Session, name: str) -> dict[str, Any] | None:
    model = champion(session, name)
    if model is None:
        return None
    promoted = session.scalar(
        select(Promotion.at).where(Promotion.dataset == name).order_by(Promotion.position.desc()).limit(1)
    )
    return {
        "id": model.id,
        "made_at": model.made_at,
        "promoted_at": promoted,
        "metrics": facts(model.metrics or {}),
    }


def _challenger(session: Session, name: str) -> dict[str, Any] | None:
    newest = session.scalars(
        select(ModelRow)
        .where(ModelRow.dataset == name, ModelRow.state == "challenger")
        .order_by(ModelRow.made_at.desc(), ModelRow.id.desc())
        .limit(1)
    ).first()
    return None if newest is None else {"id": newest.id, "made_at": newest.made_at}


def _waiting(session: Session, names: list[str], contracts: dict[str, KnownContract]) -> list[dict[str, Any]]:
    """What waits for somebody: the nearest deadline first, what has none last."""
    found = [
        _item("contract", name, name, "the contract cannot be read", "", None)
        for name in names
        if name in contracts and contracts[name].error
    ]
    for name in names:
        found += _waiting_of(session, name, contracts.get(name))
    found.sort(key=lambda item: (item["due"] or "~", item["since"], item["id"]))
    return found[:MOST_WAITING]


def _waiting_of(session: Session, name: str, known: KnownContract | None) -> list[dict[str, Any]]:
    # Only as many as are shown are read, in the order of an index.
    due = (
        select(Case)
        .where(Case.dataset == name, Case.status == "open", Case.expires_at.is_not(None))
        .order_by(Case.expires_at, Case.id)
        .limit(MOST_WAITING)
    )
    cases = list(session.scalars(due))
    if len(cases) < MOST_WAITING:
        endless = (
            select(Case)
            .where(Case.dataset == name, Case.status == "open", Case.expires_at.is_(None))
            .order_by(Case.id)
            .limit(MOST_WAITING - len(cases))
        )
        cases += session.scalars(endless)
    found = [_item("case", c.id, name, c.summary, c.opened_at, c.expires_at) for c in cases]
    told = {case.delivery_id for case in cases}
    held = session.scalars(
        select(Delivery)
        .where(Delivery.dataset == name, Delivery.state == "held", Delivery.verdict == "hold")
        .order_by(Delivery.first_seen.desc(), Delivery.id.desc())
        .limit(MOST_WAITING)
    )
    found += [
        _item("delivery", d.id, name, f"the delivery of {d.source} is held", d.first_seen, None)
        for d in held
        if d.id not in told
    ]
    if known is None or known.contract is None or known.contract.review.promotion == "manual":
        challengers = session.scalars(
            select(ModelRow)
            .where(ModelRow.dataset == name, ModelRow.state == "challenger")
            .order_by(ModelRow.made_at.desc(), ModelRow.id.desc())
            .limit(5)
        )
        found += [
            _item("challenger", m.id, name, "a challenger whose gates passed waits", m.made_at, None)
            for m in challengers
            if (m.metrics or {}).get("gates") == "passed"
        ]
    newest = session.scalars(
        select(Run).where(Run.dataset == name).order_by(Run.finished_at.desc(), Run.id.desc()).limit(1)
    ).first()
    if newest is not None and newest.curve_outcome == "failed":
        said = session.scalars(
            select(FindingRow)
            .where(FindingRow.subject_id == newest.id, FindingRow.outcome == "failed")
            .order_by(FindingRow.check)
            .limit(1)
        ).first()
        why = str((said.body or {}).get("message", "")) if said is not None else "a curve check failed"
        found.append(_item("curve", newest.id, name, f"the newest run: {why}", newest.finished_at, None))
    return found


def _item(what: str, name: str, dataset: str, title: str, since: str, due: str | None) -> dict[str, Any]:
    return {"what": what, "id": name, "dataset": dataset, "title": facts(title), "since": since, "due": due}


def _ledger(session: Session) -> dict[str, Any]:
    size = session.scalar(select(func.max(LedgerCheckpoint.size)))
    newest = session.scalar(select(func.max(LedgerCosignature.size)))
    witnesses = (
        0
        if newest is None
        else session.scalar(
            select(func.count(func.distinct(LedgerCosignature.witness))).where(
                LedgerCosignature.size == newest
            )
        )
    )
    return {"entries": int(size or 0), "witnesses": int(witnesses or 0)}


def _anchored_at(desk: Desk) -> str | None:
    """When the anchor beside the database took in the newest checkpoint; checkpoints themselves carry no clock."""
    anchor = desk.settings.ledger_head_file or desk.settings.home / "ledger-head.txt"
    try:
        written = anchor.stat().st_mtime
    except OSError:
        return None
    return dt.datetime.fromtimestamp(written, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
