"""Who may do what, asked of Airflow's own auth manager."""

from __future__ import annotations

from enum import StrEnum

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.configuration import conf
from airflow.models.dag import DagModel

from assay.settings import Settings
from assay_ui.identity import Person

RESOURCE = "Assay Promotion"
"""FAB's resource for promotion and roll-back; the permission is `can_edit` on it."""

ACTION = "can_edit"
_GLOBAL_DAGS = "DAGs"
_ROLES = ("user", "op", "admin")
_UNNAMED = "decisions carry a name: this Airflow lets people in without login, so nobody may decide here"


class Right(StrEnum):
    """What a route demands."""

    READ = "read"
    DECIDE = "decide"
    PROMOTE = "promote"


def dag_of(dataset: str) -> str:
    """The DAG whose rights are the data set's."""
    return f"{dataset}__intake"


def may_look(person: Person) -> bool:
    """Whether the person may see Airflow's site at all."""
    return bool(get_auth_manager().is_authorized_view(access_view=AccessView.WEBSITE, user=person.user))


def reads_all(person: Person) -> bool:
    """Whether no data set is hidden from the person, those of tomorrow included."""
    manager = get_auth_manager()
    if isinstance(manager, SimpleAuthManager):
        return not conf.getboolean("core", "multi_team") and may_read(person, "any")
    return bool(
        _is_fab(manager)
        and manager.is_authorized_custom_view(method="GET", resource_name=_GLOBAL_DAGS, user=person.user)
    )


def may_read(person: Person, dataset: str) -> bool:
    """Whether the person may read a data set: who may read its intake DAG."""
    return bool(
        get_auth_manager().is_authorized_dag(method="GET", details=_details(dataset), user=person.user)
    )


def why_not_decide(person: Person, dataset: str) -> str | None:
    """Why the person may not decide on cases of a data set; None: they may.

    The right is that of answering the intake DAG's required actions; `ASSAY_DECIDE_ROLE` can ask for more.
    """
    role = Settings.from_env().decide_role
    if role not in _ROLES:
        return f"ASSAY_DECIDE_ROLE is {role!r}, which is none of {', '.join(_ROLES)}: nobody may decide"
    if not person.named:
        return _UNNAMED
    manager = get_auth_manager()
    if not manager.is_authorized_dag(
        method="PUT", access_entity=DagAccessEntity.HITL_DETAIL, details=_details(dataset), user=person.user
    ):
        return f"you may not answer the required actions of the DAG {dag_of(dataset)}"
    if role == "op" and not manager.is_authorized_asset(method="PUT", user=person.user):
        return "this installation asks for the role Op, or Admin, to decide (ASSAY_DECIDE_ROLE=op)"
    if role == "admin" and (why := why_not_promote(person)):
        return f"this installation asks for an administrator to decide (ASSAY_DECIDE_ROLE=admin): {why}"
    return None


def why_not_promote(person: Person) -> str | None:
    """Why the person may not promote models or roll back; None: they may."""
    if not person.named:
        return _UNNAMED
    manager = get_auth_manager()
    if isinstance(manager, SimpleAuthManager):
        # Its answer about views of plugins is yes for every viewer and every method.
        role = str(getattr(person.user, "role", None) or "").lower()
        return None if role == "admin" else "only an administrator may promote a model or roll back"
    if manager.is_authorized_custom_view(method="PUT", resource_name=RESOURCE, user=person.user):
        return None
    return (
        f"you lack the permission `{ACTION}` on `{RESOURCE}`; an administrator grants it with "
        f'`airflow roles add-perms ROLE -a {ACTION} -r "{RESOURCE}"`'
    )


def readable(person: Person, datasets: list[str]) -> list[str]:
    """Those of the data sets that the person may read."""
    return [each for each in datasets if may_read(person, each)]


def make_permission() -> None:
    """Make FAB's permission for promotion and grant it to the role Admin, once: what was taken away stays away.

    With another auth manager there is nothing to make. Several api-servers may do this at once.
    """
    if not _is_fab(get_auth_manager()):
        return
    from airflow.providers.fab.www.security_appless import ApplessAirflowSecurityManager
    from airflow.utils.session import create_session

    with create_session() as session:
        security = ApplessAirflowSecurityManager(session=session)
        if security.get_permission(ACTION, RESOURCE) is not None:
            return
        permission = security.create_permission(ACTION, RESOURCE)
        role = security.find_role("Admin")
        if role is not None and permission is not None:
            security.add_permission_to_role(role, permission)


def _is_fab(manager: BaseAuthManager[BaseUser]) -> bool:
    return any(family.__name__ == "FabAuthManager" for family in type(manager).__mro__)


def _details(dataset: str) -> DagDetails:
    dag_id = dag_of(dataset)
    team = DagModel.get_team_name(dag_id) if conf.getboolean("core", "multi_team") else None
    return DagDetails(id=dag_id, team_name=team)
