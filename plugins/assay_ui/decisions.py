"""Decisions and promotions: from a request that was let in to the line, under the name of the login."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.line import Line
    from assay_ui.bodies import DecisionBody, PromotionBody, RollbackBody
    from assay_ui.routing import Caller


def decide(caller: Caller, case_id: str, body: DecisionBody) -> dict[str, Any]:
    """Record what the person said about a case, some of its rows or a group, and let the waiting run go on.

    Raises:
        AssayError: The decision cannot be made; one that others made before is named.
    """
    from assay.line import decide_case
    from assay_hitl import record_answers, resume

    rows = body.rows if body.group is None else caller.console.rows_of_group(case_id, body.group)
    delivery = caller.console.case(case_id)["delivery_id"]
    record_answers(caller.dataset, delivery=delivery)
    line = caller.console.line(caller.dataset)
    made = decide_case(line, case_id, body.action, caller.person.name, body.reason, rows=rows)
    return {**made.as_dict(), "resumed": resume(caller.dataset, caller.person.user, delivery=delivery)}


def promote(caller: Caller, model_id: str, body: PromotionBody) -> dict[str, Any]:
    """Approve a challenger; with enough approvals it is the champion, and the waiting run goes on.

    Raises:
        AssayError: A gate or a person stands against it.
    """
    from assay.line import approve_model

    return _settle(approve_model, caller, model_id, body)


def refuse(caller: Caller, model_id: str, body: PromotionBody) -> dict[str, Any]:
    """Refuse a challenger for good; the waiting run ends.

    Raises:
        AssayError: It is decided.
    """
    from assay.line import refuse_model

    return _settle(refuse_model, caller, model_id, body)


def roll_back(caller: Caller, dataset: str, body: RollbackBody) -> dict[str, Any]:
    """Bring an earlier champion back.

    Raises:
        AssayError: There is none, or its bundle does not stand.
    """
    from assay.line import roll_back as bring_back

    made = bring_back(caller.console.line(dataset), body.to, caller.person.name, body.reason)
    return {
        "model": caller.console.model(made["model"]),
        "message": f"{made['model']} is the champion again; before, it was {made['previous']}",
    }


def why_not_decide(caller: Caller, case_id: str) -> str | None:
    """Why the person may not decide this case by the contract's terms; None: they may."""
    from assay.line import may_decide

    return _ask(may_decide, caller, case_id)


def why_not_promote(caller: Caller, model_id: str) -> str | None:
    """Why the person may not promote this model now; None: they may."""
    from assay.line import may_promote

    return _ask(may_promote, caller, model_id)


def waiting_for(
    dataset: str, *, delivery: str | None = None, model: str | None = None
) -> dict[str, Any] | None:
    """Airflow's required action that a held delivery or a challenger waits in."""
    from assay_hitl import waiting_for as find

    found: dict[str, Any] | None = find(dataset, delivery=delivery, model=model)
    return found


def _settle(
    say: Callable[[Line, str, str, str], dict[str, Any]], caller: Caller, model_id: str, body: PromotionBody
) -> dict[str, Any]:
    """Say something about a challenger, after what others answered in Airflow; then the waiting run goes on."""
    from assay_hitl import record_answers, resume

    record_answers(caller.dataset, model=model_id)
    made = say(caller.console.line(caller.dataset), model_id, caller.person.name, body.reason)
    resumed = resume(caller.dataset, caller.person.user, model=model_id)
    return {**made, "model": caller.console.model(model_id), "resumed": resumed}


def _ask(
    question: Callable[[Line, str, str], tuple[bool, str | None]], caller: Caller, name: str
) -> str | None:
    """An answer in words; a contract or a registry that cannot be asked means no."""
    try:
        allowed, why = question(caller.console.line(caller.dataset), name, caller.person.name)
    except AssayError as error:
        return error.message
    return None if allowed else why or "the contract does not allow it"
