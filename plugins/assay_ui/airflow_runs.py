"""What a run of one of Assay's DAGs has made so far, from the references that its tasks handed on."""

from __future__ import annotations

import json
from typing import Any

from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

_TASKS = ("land", "proved", "train", "judge")
_MOST = 200


def made_by(dag_id: str, run_id: str) -> dict[str, Any]:
    """Deliveries, training run and model of a DAG run.

    Args:
        dag_id: The DAG.
        run_id: Its run.

    Returns:
        `deliveries`: ids in the order of landing; `run` and `model`: an id, or None.
    """
    wanted = (
        select(XComModel.task_id, XComModel.value)
        .where(
            XComModel.dag_id == dag_id,
            XComModel.run_id == run_id,
            XComModel.task_id.in_(_TASKS),
            XComModel.key == "return_value",
        )
        .order_by(XComModel.task_id, XComModel.map_index)
        .limit(_MOST)
    )
    with create_session(scoped=False) as session:
        handed_on = [(task, _read(value)) for task, value in session.execute(wanted)]
    deliveries: dict[str, None] = {}
    made: dict[str, Any] = {"run": None, "model": None}
    for task, value in handed_on:
        if task == "proved" and isinstance(value, list):
            deliveries |= dict.fromkeys(each for each in value if isinstance(each, str))
        elif task == "land" and isinstance(value, dict) and isinstance(value.get("delivery"), str):
            deliveries[value["delivery"]] = None
        elif isinstance(value, dict):
            made |= {name: value[name] for name in made if isinstance(value.get(name), str)}
    return {"deliveries": list(deliveries), **made}


def _read(value: Any) -> Any:
    """What a task returned; Airflow keeps it as JSON, which some databases hand over as text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None
