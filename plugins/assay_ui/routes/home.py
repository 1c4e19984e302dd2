"""Who I am, what needs me, and where a DAG, run or task leads."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request

from assay_ui.airflow_runs import made_by
from assay_ui.answers import Json
from assay_ui.identity import login_url
from assay_ui.rights import Right, may_read, why_not_decide, why_not_promote
from assay_ui.routing import About, Caller, CallerDep, Routes, dataset_of

routes = Routes("/api")

Name = Annotated[str, Query(max_length=250)]


@routes.get("/health", right=Right.READ, about=About.NOBODY)
def health() -> Json:
    """Whether the application answers."""
    return Json({"ok": True})


@routes.get("/me", right=Right.READ, about=About.READABLE)
def me(request: Request, caller: CallerDep) -> Json:
    """Name and rights of the person who asks."""
    from airflow import __version__ as airflow_version

    from assay import __version__ as assay_version

    known = [each for each in caller.console.datasets() if caller.speaks_of(each)]
    person = caller.person
    return Json(
        {
            "name": person.name,
            "id": str(person.user.get_id()),
            "can": {
                "read": True,
                "decide": {dataset: why_not_decide(person, dataset) is None for dataset in known},
                "promote": why_not_promote(person) is None,
            },
            "csrf": None,
            "login_url": login_url(request),
            "airflow_version": airflow_version,
            "assay_version": assay_version,
        }
    )


@routes.get("/overview", right=Right.READ, about=About.READABLE)
def overview(caller: CallerDep) -> Json:
    """All data sets, and what needs a person."""
    return Json(caller.console.overview(datasets=caller.datasets))


@routes.get("/open", right=Right.READ, about=About.READABLE)
def open_(caller: CallerDep, dag_id: Name, run_id: Name = "", task_id: Name = "") -> Json:
    """The page that a DAG, a run or a task stands for."""
    dataset = dag_id.rpartition("__")[0]
    nowhere = {"to": "overview", "why": f"the DAG {dag_id} is none of Assay's, or not yours to see"}
    if not dataset or not caller.speaks_of(dataset) or not may_read(caller.person, dataset):
        return Json(nowhere)
    made = _of_dataset(caller, dataset, made_by(dag_id, run_id)) if run_id else None
    return Json(caller.console.open_page(dag_id, run_id or None, task_id or None, found=made))


def _of_dataset(caller: Caller, dataset: str, made: dict[str, Any]) -> dict[str, Any]:
    """What a run handed on, without what is not the data set's: tasks write it, and tasks are not believed."""

    def ours(kind: str, name: str | None) -> bool:
        return name is not None and dataset_of(caller.console, kind, name) == dataset

    return {
        "deliveries": [each for each in made["deliveries"] if ours("delivery", each)],
        **{kind: made[kind] if ours(kind, made[kind]) else None for kind in ("run", "model")},
    }
