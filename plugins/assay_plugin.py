"""Assay's pages in Airflow: the entry in the navigation, the tabs, and the application behind them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_ICONS = {"icon": "/assay/static/icon.svg", "icon_dark_mode": "/assay/static/icon-dark.svg"}
_OPEN = "/assay/p/open"
_RUN = f"{_OPEN}?dag_id={{DAG_ID}}&run_id={{RUN_ID}}"
_TABS = {
    "dag": f"{_OPEN}?dag_id={{DAG_ID}}",
    "dag_run": _RUN,
    "task": f"{_OPEN}?dag_id={{DAG_ID}}&task_id={{TASK_ID}}",
    "task_instance": f"{_RUN}&task_id={{TASK_ID}}",
}


def _views() -> list[dict[str, Any]]:
    from airflow.api_fastapi.app import API_ROOT_PATH

    root = API_ROOT_PATH.rstrip("/")
    shared = {"name": "Assay", **{kind: f"{root}{path}" for kind, path in _ICONS.items()}}
    nav = {"href": f"{root}/assay/", "destination": "nav", "url_route": "assay", "nav_top_level": True}
    tabs = [
        {**shared, "href": f"{root}{href}", "destination": destination, "url_route": f"assay-{destination}"}
        for destination, href in _TABS.items()
    ]
    return [{**shared, **nav}, *tabs]


class AssayPlugin(AirflowPlugin):
    """One navigation entry, one tab on each DAG, run and task, and the pages and API at `/assay`.

    Airflow makes an instance in every process, workers included. What only the api-server needs is made when it asks:
    elsewhere nobody reads these attributes.
    """

    name = "assay"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The application, built at the first look."""
        from assay_ui.app import build_app

        return [{"app": build_app(), "url_prefix": "/assay", "name": "assay"}]

    @cached_property
    def fastapi_root_middlewares(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The layer that holds Airflow's page of required actions to the rights of ours."""
        from assay_ui.required_actions import RequiredActions

        return [{"middleware": RequiredActions, "args": [], "kwargs": {}, "name": "assay required actions"}]

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Where Airflow shows the pages; the addresses carry the path that Airflow itself is served under."""
        return _views()
