"""Which model is the champion: promotion, refusal, rollback. Each change is a row that is never changed again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from assay.canonical import content_id, utc_now
from assay.db import (
    Database,
    ModelRow,
    Promotion,
    champion,
    get_model,
    list_promotions,
    put_promotion,
    set_model_state,
)
from assay.model.errors import NoSuchModel, PromotionRefused

Check = Callable[[ModelRow], object]
"""Called with a model before it becomes champion; raises when it must not."""


@dataclass(frozen=True)
class Change:
    """A change of champion: what `promote` and `rollback` return.

    Attributes:
        promotion_id: Its id.
        action: `promote` or `rollback`.
        model_id: The champion from then on.
        previous_id: The champion until then.
        at: When, UTC.
        by: Who decided.
        reason: Why.
        repeated: Whether the change had been made before, so that nothing was done now.
    """

    promotion_id: str
    action: str
    model_id: str
    previous_id: str | None
    at: str
    by: str
    reason: str
    repeated: bool = False


def find_model(session: Session, dataset: str, name: str) -> ModelRow:
    """The model of that id, or the champion for `champion`.

    Raises:
        NoSuchModel: There is none.
    """
    found = champion(session, dataset) if name == "champion" else get_model(session, name)
    if found is None or found.dataset != dataset:
        what = "no champion yet" if name == "champion" else f"no model {name!r}"
        raise NoSuchModel(f"data set {dataset!r} has {what}", next_step="`assay model show` lists its models")
    return found


def promote(
    database: Database, dataset: str, model_id: str, *, by: str, reason: str, check: Check | None = None
) -> Change:
    """Make a challenger the champion; the champion so far is retired. A champion stays what it is.

    Args:
        database: The registry.
        dataset: Name of the data set.
        model_id: The challenger.
        by: Who decided.
        reason: Why.
        check: Asked about the challenger while nobody else can change the champion; loads its bundle, for example.

    Raises:
        NoSuchModel: There is no such model.
        PromotionRefused: Its gates refused it or were not asked, they held it against another champion than the present
            one, or it was retired: `rollback` brings back an earlier champion.
    """
    with database.write() as session:
        model = find_model(session, dataset, model_id)
        history = list_promotions(session, dataset)
        if history and history[-1].model_id == model.id:
            return _change(history[-1], repeated=True)
        gates = model.metrics.get("gates", "not asked")
        if model.state != "challenger" or gates != "passed":
            raise PromotionRefused(
                f"{model.id} is not promoted: it is {model.state}, its gates: {gates}",
                expected="a challenger whose gates have passed",
                state="the champion is unchanged",
                next_step="train a new challenger, or `assay model rollback` to an earlier champion",
            )
        present = history[-1].model_id if history else None
        against = model.metrics.get("judged_against")
        if against != present:
            raise PromotionRefused(
                f"{model.id} is not promoted: the champion changed after its gates were asked",
                expected=f"gates asked against {present}",
                found=f"gates asked against {against}",
                state="the champion is unchanged",
                next_step=f"run {dataset}__training again: it trains nothing twice, and asks the gates anew",
            )
        if check is not None:
            check(model)
        return _enter(session, dataset, "promote", model, history, by, reason)


def rollback(
    database: Database, dataset: str, *, to: str | None, by: str, reason: str, check: Check | None = None
) -> Change:
    """Bring an earlier champion back. Going back to the present champion changes nothing.

    Args:
        database: The registry.
        dataset: Name of the data set.
        to: Id of an earlier champion; none: the one that the present champion took the place of when it was promoted,
            so that going back twice goes two steps back, not back and forth.
        by: Who decided.
        reason: Why.
        check: Asked about the model while nobody else can change the champion; loads its bundle, for example.

    Raises:
        PromotionRefused: There is no earlier champion, or `to` never was one.
    """
    with database.write() as session:
        history = list_promotions(session, dataset)
        line = _succession(history)
        wanted = to or (line[-2] if len(line) > 1 else None)
        if wanted is not None and history and wanted == history[-1].model_id:
            return _change(history[-1], repeated=True)
        earlier = list(dict.fromkeys(p.model_id for p in history[:-1] if p.model_id != history[-1].model_id))
        if wanted is None or wanted not in earlier:
            raise PromotionRefused(
                f"{wanted} was never champion of {dataset!r}"
                if wanted
                else f"{dataset!r} has no champion to go back to",
                expected=f"one of {', '.join(earlier)}" if earlier else "an earlier champion",
                state="the champion is unchanged",
                next_step="`assay model show` lists the models and who was champion when",
            )
        model = find_model(session, dataset, wanted)
        if check is not None:
            check(model)
        return _enter(session, dataset, "rollback", model, history, by, reason)


def set_judged(database: Database, model_id: str, *, passed: bool, metrics: dict[str, Any]) -> None:
    """Keep what the gates said about a challenger: one that failed is refused.

    A model that is or was champion keeps its state, and one that a human refused stays refused.

    Raises:
        NoSuchModel: There is no such model.
    """
    with database.write() as session:
        model = _known(session, model_id)
        if model.state not in {"challenger", "refused"} or "refused_by" in model.metrics:
            return
        model.metrics = {**model.metrics, **metrics, "gates": "passed" if passed else "failed"}
        set_model_state(session, model_id, "challenger" if passed else "refused")


def refuse(
    database: Database,
    model_id: str,
    *,
    by: str = "a human",
    reason: str = "",
    on_change: Callable[[Session, str], None] | None = None,
) -> bool:
    """Mark a challenger as refused by a human; the gates cannot take that back.

    Args:
        database: The registry.
        model_id: The challenger.
        by: Who refused it.
        reason: Why.
        on_change: Called with the open transaction and the time (UTC) if the model was not refused by a human before.

    Returns:
        Whether it was refused now; not if a human had refused it before, or if it is or was champion.

    Raises:
        NoSuchModel: There is no such model.
    """
    with database.write() as session:
        model = _known(session, model_id)
        if model.state not in {"challenger", "refused"} or "refused_by" in model.metrics:
            return False
        now = utc_now()
        model.metrics = {**model.metrics, "refused_by": by, "refused_because": reason, "refused_at": now}
        set_model_state(session, model_id, "refused")
        if on_change is not None:
            on_change(session, now)
        return True


def _known(session: Session, model_id: str) -> ModelRow:
    model = get_model(session, model_id)
    if model is None:
        raise NoSuchModel(
            f"the registry has no model {model_id!r}", next_step="`assay model show` lists models"
        )
    return model


def _succession(history: list[Promotion]) -> list[str]:
    """Who took whose place, the present champion last: a promotion adds, a rollback takes away what came after."""
    line: list[str] = []
    for change in history:
        if change.action == "rollback" and change.model_id in line:
            del line[line.index(change.model_id) + 1 :]
        else:
            line.append(change.model_id)
    return line


def _enter(
    session: Session,
    dataset: str,
    action: str,
    model: ModelRow,
    history: list[Promotion],
    by: str,
    reason: str,
) -> Change:
    previous = history[-1].model_id if history else None
    facts = {
        "dataset": dataset,
        "action": action,
        "model": model.id,
        "previous": previous,
        "position": len(history),
    }
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


def _change(row: Promotion, *, repeated: bool = False) -> Change:
    return Change(row.id, row.action, row.model_id, row.previous_id, row.at, row.by, row.reason, repeated)
