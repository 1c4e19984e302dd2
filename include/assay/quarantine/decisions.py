"""Decisions: what humans say about cases, and what their silence means. Silence never approves."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.canonical import content_id, utc_now
from assay.db import Case, Database, Decision
from assay.quarantine.cases import TIME_FORMAT, CaseView, find_case, view_of, views
from assay.quarantine.errors import CaseClosed, DecisionRefused

TIMEOUT = "timeout"
"""The reviewer's name under which silence decides; it can reject, never release."""

_MAX_REASON = 4_000


@dataclass(frozen=True)
class DecisionMade:
    """What a decision did.

    Attributes:
        decision_id: Id of the decision, from case, reviewer and action.
        case: The case as it stands now.
        action: `release` or `reject`.
        reviewer: Who.
        reason: Why, as it was recorded.
        repeated: Whether the same reviewer had said the same before; then nothing changed.
    """

    decision_id: str
    case: CaseView
    action: str
    reviewer: str
    reason: str
    repeated: bool

    @property
    def status(self) -> str:
        """The case's status now: `open` while more approvals are needed."""
        return self.case.status

    @property
    def approvals(self) -> int:
        """How many different reviewers have released the case."""
        return sum(each.action == "release" for each in self.case.decisions)


def decide_case(
    database: Database,
    case_id: str,
    action: Literal["release", "reject"] | str,
    *,
    reviewer: str,
    reason: str,
    approvals: int | None = None,
    on_decision: Callable[[DecisionMade, Session], None] | None = None,
) -> DecisionMade:
    """Record a reviewer's decision, and close the case if that decides it.

    One rejection closes the case. A release closes it once enough different reviewers have said so; names are compared
    without regard to case and spacing. The same decision by the same reviewer again changes nothing, also after the
    case was closed.

    Args:
        database: The registry.
        case_id: The case, or an unambiguous beginning of its id.
        action: `release` or `reject`.
        reviewer: Who decides.
        reason: Why; must say something.
        approvals: Releases needed by the contract of today; the stricter of this and the case's own terms counts.
        on_decision: Called with the result and the open transaction, also for a repeated decision: what it writes there
            stands or falls with the decision.

    Raises:
        CaseUnknown: There is no such case.
        CaseClosed: Others decided it before.
        DecisionRefused: The reviewer or the reason is missing, or silence tries to release.
    """
    if action not in {"release", "reject"}:
        raise DecisionRefused(f"no decision is called {action!r}", expected="release or reject")
    reviewer, reason = _clean_reviewer(reviewer), _clean_reason(reason)
    if action == "release" and _same(reviewer) == TIMEOUT:
        raise DecisionRefused(
            "silence cannot release a case",
            expected="a person's name as the reviewer",
            found=reviewer,
            state="the case stays as it is",
            next_step="decide it yourself with `assay cases release` or `assay cases reject`",
        )
    with database.write() as session:
        case = find_case(session, case_id)
        made = _record(session, case, action, reviewer, reason, approvals or 1)
        if on_decision is not None:
            on_decision(made, session)
    return made


def expire_case(
    database: Database,
    case_id: str,
    *,
    now: dt.datetime | None = None,
    on_decision: Callable[[DecisionMade, Session], None] | None = None,
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
        made = _record(session, case, "reject", TIMEOUT, reason, 1)
        if on_decision is not None:
            on_decision(made, session)
    return made


def _record(
    session: Session, case: Case, action: str, reviewer: str, reason: str, approvals: int
) -> DecisionMade:
    decision_id = content_id("decision", {"case": case.id, "reviewer": _same(reviewer), "action": action})
    known = session.get(Decision, decision_id)
    if known is None:
        if case.status != "open":
            _refuse_closed(session, case)
        known = Decision(
            id=decision_id,
            case_id=case.id,
            action=action,
            reviewer=reviewer,
            reason=reason,
            decided_at=_after_others(session, case.id),
        )
        session.add(known)
        session.flush()
        repeated = False
    else:
        repeated = True
    if case.status == "open":
        _settle(session, case, approvals)
    view = views(session, [case])[0]
    said = view_of(known)
    return DecisionMade(decision_id, view, said.action, said.reviewer, said.reason, repeated)


def _settle(session: Session, case: Case, approvals: int) -> None:
    made = session.scalars(select(Decision).where(Decision.case_id == case.id)).all()
    if any(each.action == "reject" for each in made):
        case.status = "rejected"
    elif len({_same(each.reviewer) for each in made}) >= max(case.approvals, approvals):
        case.status = "released"
    session.flush()


def _after_others(session: Session, case_id: str) -> str:
    """The time now, and never before an earlier decision on the case, whatever the clocks of the machines say."""
    others = session.scalars(select(Decision.decided_at).where(Decision.case_id == case_id)).all()
    return max([utc_now(), *others])


def _refuse_closed(session: Session, case: Case) -> None:
    view = views(session, [case])[0]
    closing = next(each for each in view.decisions if each.id == view.decision_id)
    raise CaseClosed(
        f"case {case.id} was {case.status} before",
        expected="an open case",
        found=f"{closing.reviewer} decided to {closing.action} it at {closing.decided_at}: {closing.reason}",
        state="nothing was changed; decisions stand",
        next_step="if that decision was wrong, have the rows delivered anew",
    )


def _clean_reviewer(reviewer: str) -> str:
    name = " ".join(unicodedata.normalize("NFKC", reviewer).split())
    if not name or len(name) > 128 or not name.isprintable():
        raise DecisionRefused(
            "a decision needs a reviewer",
            expected="a name of 1 to 128 printable characters",
            found=ascii(reviewer[:128]),
            next_step="name yourself with --reviewer",
        )
    return name


def _clean_reason(reason: str) -> str:
    # What a terminal would obey instead of show has no place in a record that people read there.
    text = "".join(each if each.isprintable() or each == "\n" else " " for each in reason).strip()
    if not text:
        raise DecisionRefused(
            "a decision needs a reason", state="the case stays as it is", next_step="say why with --reason"
        )
    if len(text) > _MAX_REASON:
        raise DecisionRefused(
            f"the reason is longer than {_MAX_REASON} characters", found=f"{len(text)} characters"
        )
    return text


def _same(reviewer: str) -> str:
    """What makes two spellings of a name one reviewer."""
    return unicodedata.normalize("NFKC", reviewer).casefold().strip()
