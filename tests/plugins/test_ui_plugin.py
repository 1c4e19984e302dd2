"""How Airflow finds the pages, and what that costs the processes that do not serve them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.plugins.conftest import Site

PROJECT = Path(__file__).resolve().parents[2]

LOADED = """
import json, sys
import airflow.settings
from airflow import plugins_manager
before = set(sys.modules)
plugins, errors = plugins_manager._get_plugins()
plugins_manager.get_operator_extra_links()
new = set(sys.modules) - before
print("ANSWER " + json.dumps({
    "plugins": {plugin.name: str(plugin.source) for plugin in plugins},
    "errors": errors,
    "ours": sorted(n for n in sys.modules if n.startswith(("assay", "__init__")) or n in
                   {"app", "cases", "errors", "identity", "lists", "models", "pages", "rights", "routing", "runs"}),
    "heavy": sorted({"fastapi", "starlette", "sqlalchemy", "assay"} & new),
}))
"""


def test_a_worker_loads_the_plugin_and_nothing_behind_it() -> None:
    """Each process of Airflow imports plugins; the application and its modules are for the api-server alone."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=120, check=True, cwd=PROJECT
    )
    answer = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER "))
    found = json.loads(answer.removeprefix("ANSWER "))
    assert found["plugins"]["assay"] == "$PLUGINS_FOLDER/assay_plugin.py"
    assert found["errors"] == {}
    assert [name for name in found["ours"] if not name.startswith("assay")] == []
    assert not any(name.startswith("assay_ui") for name in found["ours"])
    assert found["heavy"] == []


def test_airflow_s_walk_of_the_plugins_stays_out_of_the_pages_folders() -> None:
    """Node's modules may lie below, with Python files of their own: none is looked at."""
    from airflow._shared.module_loading import find_path_from_directory

    for syntax in ("glob", "regexp"):
        walked = {
            Path(each).relative_to(PROJECT / "plugins").as_posix()
            for each in find_path_from_directory(str(PROJECT / "plugins"), ".airflowignore", syntax)
            if each.endswith(".py")
        }
        assert "assay_plugin.py" in walked
        assert not any(each.startswith("assay_ui/") for each in walked), syntax


def test_airflow_lists_one_entry_and_a_tab_on_each_of_its_own_pages(site: Site) -> None:
    """As its user interface asks for them."""
    answer = site.client.get("/api/v2/plugins", headers={"Authorization": f"Bearer {site.tokens['admin']}"})
    plugin = next(each for each in answer.json()["plugins"] if each["name"] == "assay")
    assert plugin["fastapi_apps"] == [
        {"app": "fastapi.applications.FastAPI", "url_prefix": "/assay", "name": "assay"}
    ]
    views = {view["destination"]: view for view in plugin["external_views"]}
    assert set(views) == {"nav", "dag", "dag_run", "task", "task_instance"}
    assert (views["nav"]["href"], views["nav"]["url_route"]) == ("/assay/", "assay")
    assert views["nav"]["nav_top_level"] is True
    assert len({view["url_route"] for view in views.values()}) == len(views)
    wanted = {
        "dag": {"dag_id": ["{DAG_ID}"]},
        "dag_run": {"dag_id": ["{DAG_ID}"], "run_id": ["{RUN_ID}"]},
        "task": {"dag_id": ["{DAG_ID}"], "task_id": ["{TASK_ID}"]},
        "task_instance": {"dag_id": ["{DAG_ID}"], "run_id": ["{RUN_ID}"], "task_id": ["{TASK_ID}"]},
    }
    for destination, query in wanted.items():
        assert urlsplit(views[destination]["href"]).path == "/assay/p/open"
        assert parse_qs(urlsplit(views[destination]["href"]).query) == query


def test_the_addresses_carry_the_path_that_airflow_is_served_under(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a proxy Airflow lives below a path; so do the pages in it."""
    import airflow.api_fastapi.app

    import assay_plugin

    monkeypatch.setattr(airflow.api_fastapi.app, "API_ROOT_PATH", "/team/airflow/")
    views = assay_plugin.AssayPlugin().external_views
    assert {view["href"].split("?")[0] for view in views} == {
        "/team/airflow/assay/",
        "/team/airflow/assay/p/open",
    }
    assert {view["icon"] for view in views} == {"/team/airflow/assay/static/icon.svg"}
    static = PROJECT / "plugins" / "assay_ui" / "static"
    for view in views:
        for icon in (view["icon"], view["icon_dark_mode"]):
            assert (static / icon.rpartition("/")[2]).is_file()
