"""Stations of the human: answers become decisions on cases, and decided deliveries may go on."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from assay.canonical import canonical_json, sha256_hex
from assay.db import advance_delivery, get_delivery, list_deliveries
from assay.findings import Answer
from assay.line.context import Line
from assay.quarantine import CaseView, DecisionMade, decide_case, expire_case, list_cases


def decide(line: Line, deliveries: list[str], answer: dict[str, Any]) -> dict[str, Any]:
    """Turn one answer about the held deliveries of a run into decisions on their open cases.

    Args:
        line: The open line.
        deliveries: Deliveries of the run.
        answer: What the human-in-the-loop operator returns: `chosen_options`, `params_input`, `responded_by_user`.

    Returns:
        `decisions`: number of cases decided.
    """
    choice = Answer(answer["chosen_options"][0])
    user = answer.get("responded_by_user") or {}
    reviewer = str(user.get("name") or user.get("id") or "timeout")
    reason = str((answer.get("params_input") or {}).get("reason") or "no answer in time")
    actions = {
        Answer.ADMIT_REST: {"delivery": "release", "screening": "reject", "validation": "reject"},
        Answer.ADMIT_ALL: {"delivery": "release", "screening": "release", "validation": "release"},
        Answer.REJECT: {"delivery": "reject", "screening": "reject", "validation": "reject"},
    }[choice]
    decided = 0
    for delivery_id in deliveries:
        with line.database.session() as session:
            delivery = get_delivery(session, delivery_id)
            if delivery is None or delivery.state != "held":
                continue
        for case in list_cases(line.database, dataset=line.dataset, delivery_id=delivery_id, status="open"):
            record_decision(line, case, actions[case.kind], reviewer, reason)
            decided += 1
    settle(line)
    return {"decisions": decided, "choice": str(choice), "reviewer": reviewer}


def record_decision(line: Line, case: CaseView, action: str, reviewer: str, reason: str) -> DecisionMade:
    """Decide one case; decision and ledger entry are one transaction."""
    return decide_case(
        line.database,
        case.id,
        action,
        reviewer=reviewer,
        reason=reason,
        approvals=line.contract.review.approvals,
        on_decision=partial(_enter, line),
    )


def _enter(line: Line, made: DecisionMade, session: Session) -> None:
    """Enter a decision in the ledger; a repeated one makes the same statement."""
    case = made.case
    decided_at = next(each.decided_at for each in case.decisions if each.id == made.decision_id)
    about = [case.id, made.action, made.reviewer, made.reason]
    line.record(
        "case-decided",
        [(case.id, case.digest), (made.decision_id, sha256_hex(canonical_json(about)))],
        {
            "case": case.id,
            "kind": case.kind,
            "decision": made.decision_id,
            "delivery": case.delivery_id,
            "action": made.action,
            "reviewer": made.reviewer,
            "reason": made.reason,
            "decided_at": decided_at,
            "rows": case.rows,
        },
        inputs=[(case.delivery_id, case.manifest_sha256)],
        session=session,
    )


def settle(line: Line) -> None:
    """Apply the review's timeout, then move held deliveries on whose blocking cases are all decided.

    They move to rejection, or to admission; silence never admits.
    """
    for case in list_cases(line.database, dataset=line.dataset, status="open"):
        expire_case(line.database, case.id, on_decision=partial(_enter, line))
    with line.database.session() as session:
        held = [d.id for d in list_deliveries(session, line.dataset, state="held")]
    for delivery_id in held:
        cases = [
            c for c in list_cases(line.database, dataset=line.dataset, delivery_id=delivery_id) if c.blocking
        ]
        if not cases or any(c.status == "open" for c in cases):
            continue
        refused = any(c.kind == "delivery" and c.status == "rejected" for c in cases)
        with line.database.write() as session:
            delivery = get_delivery(session, delivery_id)
            assert delivery is not None
            manifest = delivery.manifest_sha256
            if refused:
                advance_delivery(session, delivery_id, "rejected", verdict="reject")
            else:
                advance_delivery(session, delivery_id, "held", verdict="accept")
            line.record(
                "delivery-decided",
                [(delivery_id, manifest)],
                {"delivery": delivery_id, "verdict": "reject" if refused else "accept"},
                inputs=[(c.id, c.digest) for c in cases],
                session=session,
            )
