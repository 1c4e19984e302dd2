"""What the api-server knows of the questions that wait in Required Actions, and how a decision on a page answers them.

Imported by the routes of the pages; everything of Airflow's own is reached through its models and its own route for
answers, so that checks, locks and resumption are Airflow's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy.orm import Session

log = structlog.get_logger(__name__)

_SETTLED_SECONDS = 8.0
"""A task that was put aside less than this ago is left to its trigger: the local executor may still be at it."""


@dataclass(frozen=True)
class _Kind:
    """Where a question is asked, and which task says what it is about."""

    dag: str
    task: str
    about: str


_REVIEW = _Kind("{}__intake", "review", "proved")
_APPROVAL = _Kind("{}__training", "approve", "judge")


def waiting_for(
    dataset: str, *, delivery: str | None = None, model: str | None = None
) -> dict[str, Any] | None:
    """The required action that a held delivery or a challenger waits in.

    Returns:
        `dag_id`, `run_id`, `task_id`, `map_index`, `url` (a path), `options`, `since`, and `answered` (`by`, `option`,
        `at`) where somebody answered and the task has not recorded it yet; None where nothing waits.
    """
    from airflow.utils.session import create_session

    try:
        with create_session() as session:
            found = _find(session, dataset, delivery, model)
            return None if found is None else _told(*found[:2])
    except Exception:
        log.warning("Airflow's questions cannot be read now", dataset=dataset, exc_info=True)
        return None


def record_answers(dataset: str, *, delivery: str | None = None, model: str | None = None) -> None:
    """Record an answer that was given in Required Actions and that the task has not recorded yet.

    After this a decision on a page that comes second is told so. Answers that cannot be recorded stay with the task.
    """
    from airflow.utils.session import create_session

    try:
        with create_session() as session:
            found = _find(session, dataset, delivery, model)
            if found is None or not found[0].response_received or found[0].responded_by_user is None:
                return
            detail, _, about = found
            answer = {
                "chosen_options": list(detail.chosen_options or []),
                "params_input": dict(detail.params_input or {}),
                "responded_by_user": dict(detail.responded_by_user),
            }
        from assay import line

        with line.Line.open(line.contract_of(dataset)) as opened:
            if model is None:
                line.decide(opened, about, answer)
            else:
                line.answer_model(opened, model, answer)
    except Exception:
        log.warning("an answer was left to its task", dataset=dataset, exc_info=True)


def resume(
    dataset: str, user: BaseUser, *, delivery: str | None = None, model: str | None = None
) -> dict[str, Any] | None:
    """Let the run go on that waits for what was just decided on a page.

    The question is answered through Airflow's own route: same checks, same locks, same entry in the event log. Where
    Airflow does not take it from here (the user may not answer it there, or the task was put aside a moment ago), the
    question's trigger sees the decision within seconds.

    Args:
        dataset: Name of the data set.
        user: Who decided.
        delivery: The delivery whose case was decided.
        model: The challenger that was decided.

    Returns:
        `dag_id`, `run_id`, `task_id`, `map_index` and `when`: `now`, or `soon`. None where nothing waits, or something
        that it waits for is still open.
    """
    from airflow.utils.session import create_session

    try:
        with create_session() as session:
            found = _find(session, dataset, delivery, model)
            if found is None or _still_open(found[2], model):
                return None
            detail, instance, _ = found
            place = _place(instance)
            ready = not detail.response_received and _settled(instance) and _may_answer(user, instance)
            option = list(detail.options)[-1]
        return {**place, "when": "now" if ready and _answer(place, option, user) else "soon"}
    except Exception:
        log.warning("the waiting run is left to its trigger", dataset=dataset, exc_info=True)
        return None


def _find(
    session: Session, dataset: str, delivery: str | None, model: str | None
) -> tuple[HITLDetail, TaskInstance, list[str]] | None:
    """The newest unfinished question about a delivery or a model, with all ids that it is about."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
    from airflow.utils.state import State
    from sqlalchemy import select

    kind, wanted = (_APPROVAL, model) if model is not None else (_REVIEW, delivery)
    query = (
        select(HITLDetail, TaskInstance)
        .join(TaskInstance, HITLDetail.ti_id == TaskInstance.id)
        .where(
            TaskInstance.dag_id == kind.dag.format(dataset),
            TaskInstance.task_id == kind.task,
            TaskInstance.state.in_(State.unfinished),
        )
        .order_by(HITLDetail.created_at.desc())
    )
    for detail, instance in session.execute(query).all():
        told = session.scalars(
            select(XComModel).where(
                XComModel.dag_id == instance.dag_id,
                XComModel.run_id == instance.run_id,
                XComModel.task_id == kind.about,
                XComModel.key == XCOM_RETURN_KEY,
            )
        ).first()
        value = None if told is None else XComModel.deserialize_value(told)
        about = [str(value["model"])] if isinstance(value, dict) else [str(each) for each in value or ()]
        if wanted in about:
            return detail, instance, about
    return None


def _told(detail: HITLDetail, instance: TaskInstance) -> dict[str, Any]:
    by = detail.responded_by_user
    answered = None
    if detail.response_received:
        answered = {
            "by": by["name"] if by else "nobody",
            "option": ", ".join(detail.chosen_options or []),
            "at": detail.responded_at.isoformat() if detail.responded_at else None,
        }
    return {
        **_place(instance),
        "url": f"/dags/{instance.dag_id}/runs/{instance.run_id}/tasks/{instance.task_id}/required_actions",
        "options": list(detail.options),
        "since": detail.created_at.isoformat(),
        "answered": answered,
    }


def _place(instance: TaskInstance) -> dict[str, Any]:
    return {
        "dag_id": instance.dag_id,
        "run_id": instance.run_id,
        "task_id": instance.task_id,
        "map_index": instance.map_index,
    }


def _still_open(about: list[str], model: str | None) -> bool:
    from assay.db import Database, get_model, waiting_cases
    from assay.settings import Settings

    database = Database(Settings.from_env().database_url)
    try:
        with database.session() as session:
            if model is None:
                return waiting_cases(session, about)[0] > 0
            row = get_model(session, model)
            return row is not None and row.state == "challenger"
    finally:
        database.dispose()


def _settled(instance: TaskInstance) -> bool:
    """Whether the task has been put aside for long enough that nobody is still at it."""
    from airflow._shared.timezones import timezone
    from airflow.utils.state import TaskInstanceState

    if instance.state not in {TaskInstanceState.DEFERRED, TaskInstanceState.AWAITING_INPUT}:
        return False
    since = instance.updated_at or instance.start_date
    return since is not None and (timezone.utcnow() - since).total_seconds() >= _SETTLED_SECONDS


def _may_answer(user: BaseUser, instance: TaskInstance) -> bool:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails

    return bool(
        get_auth_manager().is_authorized_dag(
            method="PUT",
            access_entity=DagAccessEntity.HITL_DETAIL,
            details=DagDetails(id=instance.dag_id),
            user=user,
        )
    )


def _answer(place: dict[str, Any], option: str, user: BaseUser) -> bool:
    """Answer as the user would in Required Actions; False where Airflow does not take it (any more)."""
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from fastapi import HTTPException

    payload = UpdateHITLDetailPayload(chosen_options=[option], params_input={})
    try:
        with create_session() as session:
            update_hitl_detail(
                dag_id=place["dag_id"],
                dag_run_id=place["run_id"],
                task_id=place["task_id"],
                update_hitl_detail_payload=payload,
                user=user,
                session=session,
                map_index=place["map_index"],
            )
            session.add(
                Log(
                    event="update_hitl_detail",
                    owner=user.get_name(),
                    owner_display_name=user.get_name(),
                    extra=f'{{"chosen_options": ["{option}"], "from": "assay"}}',
                    dag_id=place["dag_id"],
                    run_id=place["run_id"],
                    task_id=place["task_id"],
                    map_index=place["map_index"],
                )
            )
    except HTTPException as error:
        log.info("Airflow did not take the answer; the trigger will", detail=str(error.detail), **place)
        return False
    return True
