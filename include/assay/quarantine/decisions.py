"""Decisions: what humans say about cases, and what their silence means. Silence never approves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.canonical import content_id, utc_now
from assay.contract import Review
from assay.db import Case, Database, Decision
from assay.quarantine.cases import TIME_FORMAT, CaseView, find_case, view_of, views
from assay.quarantine.closing import after_others, refuse_closed
from assay.quarantine.errors import DecisionRefused
from assay.quarantine.people import (
    TIMEOUT,
    Authors,
    clean_reason,
    clean_reviewer,
    expect_allowed,
    expect_no_silence,
    is_reviewer,
    same,
)
from assay.quarantine.splitting import OnSplit, Rows, SplitMade, apply_split, plan_split
from assay.store import ObjectStore


@dataclass(frozen=True)
class DecisionMade:
    """What a decision did.

    Attributes:
        decision_id: Id of the decision, from case, reviewer and action.
        case: The case as it stands now; after a split, the one with the chosen rows.
        action: `release` or `reject`.
        reviewer: Who.
        reason: Why, as it was recorded.
        repeated: Whether the same reviewer had said the same before; then nothing changed.
        approvals: How many different reviewers have released the case.
        needed: How many must.
        split: The split that the decision made necessary; None where it is about a whole case.
    """

    decision_id: str
    case: CaseView
    action: str
    reviewer: str
    reason: str
    repeated: bool
    approvals: int = 0
    needed: int = 1
    split: SplitMade | None = None

    @property
    def status(self) -> str:
        """The case's status now: `open` while more approvals are needed."""
        return self.case.status


OnDecision = Callable[[DecisionMade, Session], None]


def decide_case(
    database: Database,
    case_id: str,
    action: Literal["release", "reject"] | str,
    *,
    reviewer: str,
    reason: str,
    rows: Rows | None = None,
    store: ObjectStore | None = None,
    review: Review | None = None,
    authors: Authors | None = None,
    via: str = "",
    on_decision: OnDecision | None = None,
    on_split: OnSplit | None = None,
) -> DecisionMade:
    """Record a reviewer's decision, and close the case if that decides it.

    One rejection closes the case. A release closes it once enough different reviewers have said so; names are compared
    without regard to case and spacing. The same decision by the same reviewer again changes nothing, also after the
    case was closed. A decision on some rows splits the case; split and decision are one transaction.

    Args:
        database: The registry.
        case_id: The case, or an unambiguous beginning of its id.
        action: `release` or `reject`.
        reviewer: Who decides.
        reason: Why; must say something.
        rows: Numbers of the rows that are meant; None, or all of them: the case as a whole.
        store: Where the case's rows are; needed with `rows`.
        review: The terms of today; the stricter of these and the case's own count.
        authors: Who changed the contract that the case was judged under; asked only where self-approval is ruled out.
        via: `page`, `cli` or `airflow`.
        on_decision: Called with the result and the open transaction, also for a repeated decision: what it writes there
            stands or falls with the decision.
        on_split: Likewise, for the split, before the decision is made.

    Raises:
        CaseUnknown: There is no such case.
        CaseClosed: Others decided it before.
        DecisionForbidden: The terms do not leave the decision to this reviewer.
        DecisionRefused: The reviewer, the reason or the rows will not do, or silence tries to release.
    """
    if action not in {"release", "reject"}:
        raise DecisionRefused(f"no decision is called {action!r}", expected="release or reject")
    reviewer, reason = clean_reviewer(reviewer), clean_reason(reason)
    expect_no_silence(action, reviewer)
    plan = None
    if rows is not None:
        if store is None:
            raise ValueError("a decision on rows needs the store that they are in")
        plan = plan_split(database, store, case_id, rows)
    with database.write() as session:
        case = find_case(session, case_id)
        split = None
        if plan is not None:
            expect_allowed(views(session, [case])[0], action, reviewer, review, authors)
            split = apply_split(session, plan, reviewer=reviewer, reason=reason, via=via, on_split=on_split)
            case = find_case(session, plan.chosen.id)
        made = _record(session, case, action, reviewer, reason, review, authors, via, split)
        if on_decision is not None:
            on_decision(made, session)
    return made


def expire_case(
    database: Database,
    case_id: str,
    *,
    now: dt.datetime | None = None,
    on_decision: OnDecision | None = None,
) -> DecisionMade | None:
    """Apply the review's timeout to a case: it is rejected, or goes on waiting, as its terms say.

    Args:
        database: The registry.
        case_id: The case.
        now: The time to judge by; default: the clock.
        on_decision: As for `decide_case`.

    Returns:
        The rejection, or None where the case is closed, its time has not come, or it goes on waiting.

    Raises:
        CaseUnknown: There is no such case.
    """
    moment = utc_now() if now is None else now.astimezone(dt.UTC).strftime(TIME_FORMAT)
    with database.write() as session:
        case = find_case(session, case_id)
        due = case.status == "open" and case.expires_at is not None and case.expires_at <= moment
        if not due or case.on_timeout != "reject":
            return None
        reason = f"nobody decided by {case.expires_at}"
        made = _record(session, case, "reject", TIMEOUT, reason)
        if on_decision is not None:
            on_decision(made, session)
    return made


def _record(
    session: Session,
    case: Case,
    action: str,
    reviewer: str,
    reason: str,
    review: Review | None = None,
    authors: Authors | None = None,
    via: str = "",
    split: SplitMade | None = None,
) -> DecisionMade:
    decision_id = content_id("decision", {"case": case.id, "reviewer": same(reviewer), "action": action})
    known = session.get(Decision, decision_id)
    repeated = known is not None
    if known is None:
        if case.status != "open":
            refuse_closed(session, case)
        expect_allowed(views(session, [case])[0], action, reviewer, review, authors)
        known = Decision(
            id=decision_id,
            case_id=case.id,
            action=action,
            reviewer=reviewer,
            reason=reason,
            decided_at=after_others(session, case.id),
            via=via,
        )
        session.add(known)
        session.flush()
    approving, needed = _approvals(session, case, review)
    if case.status == "open":
        _settle(session, case, approving, needed)
    view = views(session, [case])[0]
    said = view_of(known)
    return DecisionMade(
        decision_id, view, said.action, said.reviewer, said.reason, repeated, approving, needed, split
    )


def _approvals(session: Session, case: Case, review: Review | None) -> tuple[int, int]:
    """How many different reviewers have released a case, of those who may decide it today; and how many must."""
    view = views(session, [case])[0]
    released = {
        same(each.reviewer)
        for each in view.decisions
        if each.action == "release"
        and is_reviewer(each.reviewer, view.reviewers, review.reviewers if review else ())
    }
    return len(released), max(view.approvals, review.approvals if review else 1)


def _settle(session: Session, case: Case, approving: int, needed: int) -> None:
    rejected = select(Decision.id).where(Decision.case_id == case.id, Decision.action == "reject").limit(1)
    if session.scalar(rejected) is not None:
        case.status = "rejected"
    elif approving >= needed:
        case.status = "released"
    session.flush()
