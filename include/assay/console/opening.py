"""From an Airflow page to ours: which delivery, case, run or model belongs to a DAG, a run of it, or a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.console.desk import Desk
from assay.console.live import live_runs
from assay.db import Case, Delivery, ModelRow, Run

_TRAINING_TASKS = {"train": "run", "judge": "model", "approve": "model", "promote": "model"}
_REVIEW_TASKS = ("held", "review", "decide")


def open_page(
    desk: Desk,
    dag_id: str,
    run_id: str | None = None,
    task_id: str | None = None,
    found: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Where to go, and why there.

    Args:
        desk: What is looked at.
        dag_id: `<dataset>__intake`, `<dataset>__training`, or any other DAG.
        run_id: Airflow's run; without what was found in it, the newest of the data set is shown.
        task_id: Its task.
        found: What stands in the run's results: `deliveries`, `run`, `model`.
    """
    dataset, _, kind = dag_id.rpartition("__")
    seen = dict(found or {})
    with desk.session() as session:
        if kind == "intake":
            return _intake(session, dataset, run_id, task_id, [str(d) for d in seen.get("deliveries") or ()])
        if kind == "training":
            return _training(desk, session, dataset, task_id, seen)
    return _to("overview", f"{dag_id} is no DAG of a data set")


def _intake(
    session: Session, dataset: str, run_id: str | None, task_id: str | None, deliveries: list[str]
) -> dict[str, str]:
    known = [
        d
        for d in (session.get(Delivery, name) for name in deliveries)
        if d is not None and d.dataset == dataset
    ]
    if task_id in _REVIEW_TASKS and known:
        waiting = session.scalars(
            select(Case)
            .where(Case.delivery_id.in_([d.id for d in known]), Case.status == "open")
            .order_by(Case.blocking.desc(), Case.rows.desc(), Case.id)
            .limit(2)
        ).all()
        if len(waiting) == 1:
            return _to(f"case/{waiting[0].id}", "the case that this run waits for")
    held = [d for d in known if d.state == "held"]
    if len(held) == 1:
        return _to(f"delivery/{held[0].id}", "the delivery of this run that is held")
    if len(known) == 1:
        return _to(f"delivery/{known[0].id}", "the delivery of this run")
    if known:
        return _to(f"deliveries?dataset={dataset}", f"this run took in {len(known)} deliveries")
    if run_id:
        return _to(f"deliveries?dataset={dataset}", "this run has landed no delivery (yet)")
    newest = session.scalars(
        select(Delivery)
        .where(Delivery.dataset == dataset)
        .order_by(Delivery.first_seen.desc(), Delivery.id.desc())
        .limit(1)
    ).first()
    if newest is None:
        return _to("overview", f"{dataset} has no delivery yet")
    return _to(f"deliveries?dataset={dataset}", "the deliveries that this DAG took in")


def _training(
    desk: Desk, session: Session, dataset: str, task_id: str | None, seen: Mapping[str, Any]
) -> dict[str, str]:
    model = session.get(ModelRow, str(seen.get("model"))) if seen.get("model") else None
    run = session.get(Run, str(seen.get("run"))) if seen.get("run") else None
    wanted = _TRAINING_TASKS.get(task_id or "", "")
    if model is not None and model.dataset == dataset and wanted != "run":
        return _to(f"model/{model.id}", "the model of this run")
    if run is not None and run.dataset == dataset:
        return _to(f"run/{run.id}", "the training of this run")
    if model is not None and model.dataset == dataset:
        return _to(f"run/{model.run_id}", "the training of this run")
    live = [each for each in live_runs(desk) if each.dataset == dataset]
    if len(live) == 1 and wanted in {"run", ""}:
        return _to(f"run/{live[0].run_id}", "the training that goes on now")
    if wanted == "model":
        return _to(f"models?dataset={dataset}", "this run has made no model (yet)")
    return _to(f"runs?dataset={dataset}", "the trainings of this data set")


def _to(page: str, why: str) -> dict[str, str]:
    return {"to": page, "why": why}
