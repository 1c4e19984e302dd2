"""Stations of the human: answers become decisions on cases, and decided deliveries may go on."""

from __future__ import annotations

from functools import partial
from typing import Any

from assay.db import advance_delivery, due_cases, get_delivery, list_deliveries, waiting_cases
from assay.errors import UsageError
from assay.findings import Answer
from assay.line.context import Line
from assay.line.decisions import enter_decision, record_decision
from assay.quarantine import (
    TIMEOUT,
    CaseClosed,
    DecisionForbidden,
    DecisionMade,
    DecisionRefused,
    expire_case,
    list_cases,
    where,
)

MEANINGS = {
    Answer.ADMIT_REST: {"delivery": "release", "screening": "reject", "validation": "reject"},
    Answer.ADMIT_ALL: {"delivery": "release", "screening": "release", "validation": "release"},
    Answer.REJECT: {"delivery": "reject", "screening": "reject", "validation": "reject"},
}
"""What each answer about a held delivery says of its open cases, by their kind."""
_TOLD = 3  # of several, how many are named in what travels between tasks


def decide(line: Line, deliveries: list[str], answer: dict[str, Any]) -> dict[str, Any]:
    """Turn one answer about the held deliveries of a run into decisions on their open cases.

    What others decided meanwhile stays as it is, and is told.

    Args:
        line: The open line.
        deliveries: Deliveries of the run.
        answer: What the human-in-the-loop operator returns: `chosen_options`, `params_input`, `responded_by_user`.

    Returns:
        `decisions`: number of decisions that were recorded; `choice`, `reviewer`; `open`: blocking cases that still
        wait; `first`: whom others were before, at most three; `refused`: why decisions were not this reviewer's to
        take, at most three; `approvals` and `needed` of the open ones.
    """
    choice = Answer(answer["chosen_options"][0])
    user = answer.get("responded_by_user") or {}
    reviewer = str(user.get("name") or user.get("id") or TIMEOUT)
    reason = str((answer.get("params_input") or {}).get("reason") or "no answer in time")
    made: list[DecisionMade] = []
    refused: list[str] = []
    if choice is not Answer.AS_DECIDED:
        for delivery_id in deliveries:
            told = answer_delivery(line, delivery_id, choice, reviewer, reason, via="airflow")
            made += told["made"]
            refused += told["refused"]
    settle(line)
    waits = [each for each in made if each.status == "open"]
    return {
        "decisions": len([each for each in made if not each.repeated]),
        "choice": str(choice),
        "reviewer": reviewer,
        **state(line, deliveries, but="" if choice is Answer.AS_DECIDED else reviewer),
        "refused": list(dict.fromkeys(refused))[:_TOLD],
        "approvals": min((each.approvals for each in waits), default=0),
        "needed": max((each.needed for each in waits), default=0),
    }


def answer_delivery(
    line: Line,
    delivery_id: str,
    answer: Answer | str,
    reviewer: str,
    reason: str,
    via: str = "page",
) -> dict[str, Any]:
    """Decide all open cases of a held delivery by one answer; cases that others decide meanwhile are left to them.

    Returns:
        `made`: the decisions; `skipped`: `case`, `by`, `action` and `at` of those that others took meanwhile;
        `refused`: why the rest was not this reviewer's to decide.

    Raises:
        UsageError: No answer is called so, or it decides nothing.
    """
    meanings = MEANINGS.get(Answer(answer)) if answer in set(Answer) else None
    if meanings is None:
        raise UsageError(f"{answer!r} decides nothing", expected=", ".join(MEANINGS))
    made: list[DecisionMade] = []
    skipped: list[dict[str, str]] = []
    refused: list[str] = []
    with line.database.session() as session:
        delivery = get_delivery(session, delivery_id)
    if delivery is None or delivery.state != "held":
        return {"made": made, "skipped": skipped, "refused": refused}
    for case in list_cases(line.database, dataset=line.dataset, delivery_id=delivery_id, status="open"):
        try:
            made.append(record_decision(line, case, meanings[case.kind], reviewer, reason, via=via))
        except CaseClosed as error:
            skipped.append({"case": case.id, "by": error.by, "action": error.action, "at": error.at})
        except (DecisionForbidden, DecisionRefused) as error:
            refused.append(error.message)
    return {"made": made, "skipped": skipped, "refused": refused}


def state(line: Line, deliveries: list[str], *, but: str = "") -> dict[str, Any]:
    """How far the review of some deliveries is: `open` blocking cases, when the first is `due`, who was `first`.

    Args:
        line: The open line.
        deliveries: Ids of deliveries.
        but: A reviewer who is not told of their own decisions.
    """
    with line.database.session() as session:
        count, due = waiting_cases(session, deliveries)
    first: dict[str, None] = {}
    for delivery_id in deliveries:
        for case in list_cases(line.database, dataset=line.dataset, delivery_id=delivery_id):
            closing = case.closing
            if case.blocking and closing is not None and closing.reviewer != but:
                first[f"{closing.reviewer}{where(closing.via)}: {closing.action}"] = None
    return {"open": count, "due": due, "first": list(first)[:_TOLD]}


def settled(line: Line, deliveries: list[str]) -> dict[str, Any]:
    """Apply timeouts, move decided deliveries on, and say how far the review of some deliveries is: see `state`."""
    settle(line)
    return state(line, deliveries)


def settle(line: Line) -> None:
    """Apply the review's timeout, then move held deliveries on whose blocking cases are all decided.

    They move to rejection, or to admission; silence never admits.
    """
    with line.database.session() as session:
        due = due_cases(session, line.dataset)
    for case_id in due:
        expire_case(line.database, case_id, on_decision=partial(enter_decision, line))
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
            if delivery.verdict != "hold":  # settled before; admission takes it from here
                continue
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
    line.ledger.catch_up()  # of a try that was killed behind its last entry nothing is left to enter
