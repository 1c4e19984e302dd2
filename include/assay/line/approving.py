"""Humans on challengers: who approves, who refuses, and when that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from assay.canonical import canonical_json, content_id, sha256_hex, utc_now
from assay.db import ModelRow, list_promotions
from assay.errors import AssayError
from assay.findings import Approval
from assay.line.authors import authors_of
from assay.line.context import Line
from assay.line.errors import ChallengerRefused, ModelDecided, Undecided
from assay.line.judging import digest_of, load_model, promote_as
from assay.model import PromotionRefused, find_model, refuse
from assay.quarantine import TIMEOUT, where
from assay.quarantine.people import (
    clean_reason,
    clean_reviewer,
    expect_no_silence,
    expect_other_author,
    expect_reviewer,
    is_reviewer,
    same,
)

_STEP = "challenger-decided"
_GATES = "gates"


def approve_model(line: Line, model_id: str, by: str, reason: str, via: str = "page") -> dict[str, Any]:
    """Record one approval of a challenger, and promote it once there are enough.

    Enough are the contract's `review.approvals` different people where `review.promotion` is manual, else one.

    Returns:
        `model`, `state` (`champion`, or `challenger` while approvals lack), `approvals`, `needed`, `previous` champion,
        `repeated` (the same person had approved it before), `message`; once it is champion also `action`, `by` and
        `reason`.

    Raises:
        BundleRefused: The bundle does not stand.
        DecisionForbidden: The contract does not leave the approval to this person.
        DecisionRefused: The name or the reason will not do.
        ModelDecided: It was refused, or others made it champion before.
        PromotionRefused: Its gates have not passed, or the champion changed meanwhile.
    """
    by, reason = clean_reviewer(by), clean_reason(reason)
    expect_no_silence("promote", by, "a challenger")
    with line.database.session() as session:
        row = find_model(session, line.dataset, model_id)
    if row.state == "challenger" and row.metrics.get("gates") == "passed":
        load_model(line, row)  # nobody approves what cannot be promoted
    with line.database.write() as session:
        row = find_model(session, line.dataset, model_id)
        approving = _approvals(line, row)
        known = next((each for each in approving if same(each["by"]) == same(by)), None)
        if known is None:
            _expect_undecided(line, session, row)
            _expect_allowed(line, row, by)
            if row.state != "challenger" or row.metrics.get("gates") != "passed":
                raise PromotionRefused(
                    f"{row.id} is not promoted: it is {row.state}, its gates: {row.metrics.get('gates', 'not asked')}",
                    expected="a challenger whose gates have passed",
                    state="the champion is unchanged",
                    next_step="train a new challenger, or `assay model rollback` to an earlier champion",
                )
            _enter(line, session, row, "approve", by, reason, via, utc_now())
            approving.append({"by": by})
    count, needed = len(approving), _needed(line)
    told = {"model": row.id, "approvals": count, "needed": needed, "repeated": known is not None}
    if count < needed:
        more = needed - count
        again = f"{by} had approved {row.id} before; nothing changed" if known else f"{by} approved {row.id}"
        message = f"{again}; {more} more approval{'s' if more != 1 else ''} by other reviewers needed"
        return {**told, "state": row.state, "previous": None, "message": message}
    change = promote_as(line, row.id, by, reason)
    return {
        **change,
        **told,
        "state": "champion",
        "message": f"{row.id} is the champion, promoted by {change['by']}",
    }


def refuse_model(line: Line, model_id: str, by: str, reason: str, via: str = "page") -> dict[str, Any]:
    """Refuse a challenger for good; one refusal is enough.

    Returns:
        `model`, `state`, `repeated`, `message`.

    Raises:
        DecisionForbidden: The contract does not leave the decision to this person.
        DecisionRefused: The name or the reason will not do.
        ModelDecided: Others refused it before, or it is or was champion.
    """
    by, reason = clean_reviewer(by), clean_reason(reason)
    with line.database.session() as session:
        row = find_model(session, line.dataset, model_id)
        mine = same(str(row.metrics.get("refused_by", ""))) == same(by)
        if not mine:
            _expect_undecided(line, session, row, refusing=True)
    if same(by) != TIMEOUT:
        expect_reviewer(by, line.contract.review.reviewers, what=f"the challenger {row.id}")

    def record(open_session: Session, now: str) -> None:
        _enter(line, open_session, row, "refuse", by, reason, via, now)

    done = refuse(line.database, row.id, by=by, reason=reason, on_change=record)
    if not done and not mine:  # somebody was faster
        with line.database.session() as session:
            _expect_undecided(line, session, find_model(session, line.dataset, row.id), refusing=True)
    said = f"{by} refused {row.id}" if done else f"{by} had refused {row.id} before; nothing changed"
    return {"model": row.id, "state": "refused", "repeated": not done, "message": said}


def may_promote(line: Line, model_id: str, reviewer: str) -> tuple[bool, str | None]:
    """Whether a person may approve a challenger now, and why not.

    Raises:
        NoSuchModel: There is no such model.
    """
    with line.database.session() as session:
        row = find_model(session, line.dataset, model_id)
        try:
            _expect_undecided(line, session, row)
            if row.metrics.get("gates") != "passed":
                return False, f"its gates: {row.metrics.get('gates', 'not asked')}"
            if any(same(each["by"]) == same(reviewer) for each in _approvals(line, row)):
                return False, "you have approved it already; another reviewer must agree"
            _expect_allowed(line, row, reviewer)
        except AssayError as error:
            return False, error.message
    return True, None


def model_state(line: Line, model_id: str) -> dict[str, Any]:
    """How far humans are with a challenger: `open` (0 or 1), `first` (who decided), `approvals` and `needed`."""
    with line.database.session() as session:
        row = find_model(session, line.dataset, model_id)
        first: list[str] = []
        try:
            _expect_undecided(line, session, row)
        except ModelDecided as error:
            first = [f"{error.by}: {error.action}"]
        count = len(_approvals(line, row))
    return {
        "open": int(row.state == "challenger"),
        "due": None,
        "first": first,
        "approvals": count,
        "needed": _needed(line),
    }


def answer_model(line: Line, model_id: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Turn one answer about a challenger into an approval or a refusal; what others decided stays as it is.

    Args:
        line: The open line.
        model_id: The challenger.
        answer: What the human-in-the-loop operator returns.

    Returns:
        As `model_state`, with `choice`, `reviewer` and `refused`: why it was not this person's to decide.
    """
    choice = Approval((answer.get("chosen_options") or [""])[0])
    user = answer.get("responded_by_user") or {}
    by = str(user.get("name") or user.get("id") or TIMEOUT)
    reason = str((answer.get("params_input") or {}).get("reason") or "no answer in time")
    refused: list[str] = []
    try:
        if choice is Approval.PROMOTE:
            approve_model(line, model_id, by, reason, via="airflow")
        elif choice is Approval.REFUSE:
            refuse_model(line, model_id, by, reason, via="airflow")
    except ModelDecided:
        pass  # told as `first`
    except AssayError as error:
        refused = [error.message]
    return {"choice": str(choice), "reviewer": by, **model_state(line, model_id), "refused": refused}


def promote(line: Line, model_id: str, answer: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make a challenger that passed its gates the champion, or say what humans decided instead.

    Args:
        line: The open line.
        model_id: The challenger.
        answer: What the human-in-the-loop operator returned, where the contract asks for a human.

    Raises:
        ChallengerRefused: A human refused it, or nobody answered in time.
        Undecided: Approvals lack, or silence keeps it waiting.
    """
    if line.contract.review.promotion != "manual":
        return promote_as(line, model_id, _GATES, "all gates passed")
    told = model_state(line, model_id)
    options = (answer or {}).get("chosen_options") or []
    answered = options[0] if options and options[0] in set(Approval) else None
    if told["open"] and answered is not None:
        told = answer_model(line, model_id, answer or {})
    elif told["open"] and line.contract.review.on_timeout == "reject":
        refuse_model(line, model_id, TIMEOUT, "no answer in time", via="")
        told = model_state(line, model_id)
    with line.database.session() as session:
        row = find_model(session, line.dataset, model_id)
    if row.state in {"champion", "retired"}:
        made = next(change for change in reversed(_changes(line, model_id)))
        return (
            promote_as(line, model_id, made.by, made.reason)
            if row.state == "champion"
            else {"model": model_id}
        )
    if row.state == "refused":
        by, because = row.metrics.get("refused_by", _GATES), row.metrics.get("refused_because", "")
        raise ChallengerRefused(
            f"{by} refused the challenger {model_id}: {because}", state="the champion is unchanged"
        )
    why = "; ".join(told.get("refused") or ()) or f"{told['approvals']} of {told['needed']} approvals"
    raise Undecided(
        f"the challenger {model_id} still waits for humans: {why}",
        state="the champion is unchanged",
        next_step="approve or refuse it on its page, or with `assay model promote`",
    )


def _changes(line: Line, model_id: str) -> list[Any]:
    with line.database.session() as session:
        return [each for each in list_promotions(session, line.dataset) if each.model_id == model_id]


def _needed(line: Line) -> int:
    review = line.contract.review
    return review.approvals if review.promotion == "manual" else 1


def _approvals(line: Line, row: ModelRow) -> list[dict[str, Any]]:
    """The approvals of a model that count today, oldest first."""
    told = [line.ledger.read(entry) for entry in line.ledger.entries(row.id, role="subject")]
    said = [each.predicate for each in told if each.step == _STEP and each.predicate["action"] == "approve"]
    return [each for each in said if is_reviewer(str(each["by"]), line.contract.review.reviewers)]


def _expect_undecided(line: Line, session: Session, row: ModelRow, *, refusing: bool = False) -> None:
    """Refuse to decide what is decided.

    Raises:
        ModelDecided: A human refused it, or it is or was champion.
    """
    by, action, at, reason = "", "", "", ""
    if "refused_by" in row.metrics:
        by, action = str(row.metrics["refused_by"]), "refuse"
        at, reason = str(row.metrics.get("refused_at", "")), str(row.metrics.get("refused_because", ""))
    elif row.state in {"champion", "retired"}:
        changes: Sequence[Any] = [c for c in list_promotions(session, line.dataset) if c.model_id == row.id]
        by, action, at, reason = changes[-1].by, "promote", changes[-1].at, changes[-1].reason
    elif refusing and row.state == "refused":
        by, action, reason = _GATES, "refuse", "its gates did not pass"
    if by:
        raise ModelDecided(
            f"already decided by {by}{where(_via(line, row, by, action))}: {row.id} is {row.state}",
            by=by,
            action=action,
            at=at,
            expected="a challenger",
            found=f"{by} decided to {action} it at {at or 'an unknown time'}: {reason}",
            state="nothing was changed; decisions stand",
            next_step="`assay model rollback` brings back an earlier champion; else train a new challenger",
        )


def _via(line: Line, row: ModelRow, by: str, action: str) -> str:
    wanted = "approve" if action == "promote" else action
    told = [line.ledger.read(entry) for entry in line.ledger.entries(row.id, role="subject")]
    for each in reversed([statement.predicate for statement in told if statement.step == _STEP]):
        if each["action"] == wanted and same(str(each["by"])) == same(by):
            return str(each.get("via") or "")
    return ""


def _expect_allowed(line: Line, row: ModelRow, by: str) -> None:
    review, what = line.contract.review, f"the challenger {row.id}"
    expect_reviewer(by, review.reviewers, what=what)
    if review.no_self_approval:
        expect_other_author(by, partial(authors_of, line, row.id, row.run_id), what=what)


def _enter(
    line: Line, session: Session, row: ModelRow, action: str, by: str, reason: str, via: str, at: str
) -> None:
    about = {"model": row.id, "action": action, "by": same(by)}
    line.record(
        _STEP,
        [
            (row.id, digest_of(row)),
            (content_id("approval", about), sha256_hex(canonical_json([row.id, action, by, reason]))),
        ],
        {
            "model": row.id,
            "action": action,
            "by": by,
            "reason": reason,
            "decided_at": at,
            "via": via or None,
        },
        session=session,
    )
