"""Training runs and their curves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from assay_ui.answers import Json
from assay_ui.rights import Right
from assay_ui.routes.lists import Filter, Page
from assay_ui.routing import About, CallerDep, Routes, dataset_of, missing

routes = Routes("/api/runs")


@routes.get("", right=Right.READ, about=About.READABLE)
def runs(caller: CallerDep, page: Page, dataset: Filter = None) -> Json:
    """Training runs, newest first."""
    return Json(caller.console.runs(**page.as_arguments(caller), dataset=dataset))


@routes.get("/{id}", right=Right.READ, about=About.RUN)
def run(caller: CallerDep, id: str) -> Json:
    """One run with every curve check's outcome."""
    return Json(caller.console.run(id))


@routes.get("/{id}/curve", right=Right.READ, about=About.RUN)
def curve(
    caller: CallerDep, id: str, compare: Filter = None, since: Annotated[int | None, Query(ge=0)] = None
) -> Json:
    """The curves of a run, also while it trains; beside them those of another run of the same data set."""
    if compare is not None and dataset_of(caller.console, "run", compare) != caller.dataset:
        raise missing("run", compare)
    return Json(caller.console.curve(id, compare=compare, since=since))
