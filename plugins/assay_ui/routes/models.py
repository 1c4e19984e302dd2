"""Models: gates and bundle, promotion and roll-back."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from assay_ui import decisions
from assay_ui.answers import Json
from assay_ui.bodies import PromotionBody, RollbackBody
from assay_ui.rights import Right, why_not_promote
from assay_ui.routes.lists import Filter, Page
from assay_ui.routing import About, CallerDep, Routes, body_of

routes = Routes("/api")


@routes.get("/models", right=Right.READ, about=About.READABLE)
def models(caller: CallerDep, page: Page, dataset: Filter = None) -> Json:
    """Models, newest first."""
    return Json(caller.console.models(**page.as_arguments(caller), dataset=dataset))


@routes.get("/models/{id}", right=Right.READ, about=About.MODEL)
def model(caller: CallerDep, id: str) -> Json:
    """One model, where Airflow waits for it, and what the person may do with it."""
    found = caller.console.model(id)
    why = why_not_promote(caller.person)
    past = {each["model_id"] for each in found["history"]}
    return Json(
        {
            **found,
            "may_promote": _may(why or decisions.why_not_promote(caller, id)),
            "may_refuse": _may(why or (None if found["state"] == "challenger" else "it is no challenger")),
            "may_rollback": _may(why or (None if id in past else "this model was never champion")),
            "waiting": decisions.waiting_for(caller.dataset, model=id),
        }
    )


@routes.post("/models/{id}/promote", right=Right.PROMOTE, about=About.MODEL)
def promote(
    caller: CallerDep, id: str, body: Annotated[PromotionBody, Depends(body_of(PromotionBody))]
) -> Json:
    """Make a challenger that passed its gates the champion."""
    return Json(decisions.promote(caller, id, body))


@routes.post("/models/{id}/refuse", right=Right.PROMOTE, about=About.MODEL)
def refuse(
    caller: CallerDep, id: str, body: Annotated[PromotionBody, Depends(body_of(PromotionBody))]
) -> Json:
    """Refuse a challenger."""
    return Json(decisions.refuse(caller, id, body))


@routes.post("/datasets/{dataset}/rollback", right=Right.PROMOTE, about=About.DATASET)
def roll_back(
    caller: CallerDep, dataset: str, body: Annotated[RollbackBody, Depends(body_of(RollbackBody))]
) -> Json:
    """Bring an earlier champion back."""
    return Json(decisions.roll_back(caller, dataset, body))


def _may(why: str | None) -> dict[str, object]:
    return {"allowed": why is None, "why_not": why}
