"""Which model is the champion: promotion, refusal, rollback. Each change is a row that is never changed again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from assay.canonical import content_id, utc_now
from assay.db import Database, ModelRow, Promotion, champion, get_model, list_promotions, put_promotion, set_model_state
from assay.model.errors import NoSuchModel, PromotionRefused


@dataclass(frozen=True)
class Change:
    """A change of champion: what `promote` and `rollback` return."""

    promotion_id: str
    action: str
    model_id: str
    previous_id: str | None
    at: str


def find_model(session: Session, dataset: str, name: str) -> ModelRow:
    """The model of that id, or the champion for `champion`.

    Raises:
        NoSuchModel: There is none.
    """
    found = champion(session, dataset) if name == "champion" else get_model(session, name)
    if found is None or found.dataset != dataset:
        raise NoSuchModel(f"data set {dataset!r} has no model {name!r}", next_step="`assay model show` lists models")
    return found


def promote(database: Database, dataset: str, model_id: str, *, by: str, reason: str) -> Change:
    """Make a challenger the champion; the champion so far is retired. A champion stays what it is.

    Raises:
        NoSuchModel: There is no such model.
        PromotionRefused: Its gates refused it, or it was retired: `rollback` brings back an earlier champion.
    """
    with database.write() as session:
        model = find_model(session, dataset, model_id)
        newest = list_promotions(session, dataset)
        if newest and newest[-1].model_id == model.id:
            return _change(newest[-1])
        if model.state != "challenger" or model.metrics.get("gates") != "passed":
            raise PromotionRefused(
                f"{model.id} is {model.state}, its gates: {model.metrics.get('gates', 'not judged')}",
                expected="a challenger whose gates have passed",
                state="the champion is unchanged",
                next_step="train a new challenger, or `assay model rollback` to an earlier champion",
            )
        return _enter(session, dataset, "promote", model, newest, by, reason)


def rollback(database: Database, dataset: str, *, to: str | None, by: str, reason: str) -> Change:
    """Bring an earlier champion back.

    Args:
        database: The registry.
        dataset: Name of the data set.
        to: Id of an earlier champion; none: the one before the present champion.
        by: Who decided.
        reason: Why.

    Raises:
        PromotionRefused: There is no earlier champion, or `to` never was one, or it is the champion now.
    """
    with database.write() as session:
        history = list_promotions(session, dataset)
        now = history[-1].model_id if history else None
        earlier = [p.model_id for p in history if p.model_id != now]
        wanted = to or (history[-1].previous_id if history and history[-1].previous_id else (earlier or [None])[-1])
        if wanted is None or wanted not in earlier:
            raise PromotionRefused(
                f"{wanted or 'nothing'} cannot be brought back: it was no earlier champion of {dataset!r}",
                expected=f"one of {', '.join(dict.fromkeys(earlier)) or 'none yet'}",
                state="the champion is unchanged",
            )
        return _enter(session, dataset, "rollback", find_model(session, dataset, wanted), history, by, reason)


def set_judged(database: Database, model_id: str, *, passed: bool, metrics: dict[str, Any]) -> None:
    """Keep what the gates said; a challenger that failed is refused, a model that is or was champion keeps its state."""
    with database.write() as session:
        model = get_model(session, model_id)
        if model is None or model.state not in {"challenger", "refused"}:
            return
        model.metrics = {**model.metrics, **metrics, "gates": "passed" if passed else "failed"}
        set_model_state(session, model_id, "challenger" if passed else "refused")


def refuse(database: Database, model_id: str) -> None:
    """Mark a challenger as refused by a human."""
    with database.write() as session:
        model = get_model(session, model_id)
        if model is not None and model.state == "challenger":
            set_model_state(session, model_id, "refused")


def _enter(
    session: Session, dataset: str, action: str, model: ModelRow, history: list[Promotion], by: str, reason: str
) -> Change:
    previous = history[-1].model_id if history else None
    facts = {"dataset": dataset, "action": action, "model": model.id, "previous": previous, "position": len(history)}
    row = Promotion(
        id=content_id("promotion", facts),
        dataset=dataset,
        action=action,
        model_id=model.id,
        previous_id=previous,
        by=by,
        reason=reason,
        at=utc_now(),
    )
    put_promotion(session, row)
    if previous is not None:
        set_model_state(session, previous, "retired")
    set_model_state(session, model.id, "champion")
    return _change(row)


def _change(row: Promotion) -> Change:
    return Change(row.id, row.action, row.model_id, row.previous_id, row.at)
