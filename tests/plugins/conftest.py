"""Airflow's own api-server application in this process, with the pages mounted as Airflow mounts them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.plugins import town

USERS = {"vic": "viewer", "ursula": "user", "olga": "op", "ada": "admin"}


@dataclass
class Site:
    """An Airflow with the pages, as a browser or a script reaches it."""

    root: Any
    app: Any
    client: Any
    tokens: dict[str, str]
    manager: Any

    def call(self, method: str, path: str, who: str | None = None, **request: Any) -> Any:
        """One request with the bearer token of a user, or without any."""
        headers = dict(request.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        return self.client.request(method, f"/assay{path}", headers=headers, **request)

    def by_cookie(self, method: str, path: str, who: str, **request: Any) -> Any:
        """One request as a browser sends it: with the cookie alone."""
        headers = {**request.pop("headers", {}), "Cookie": f"_token={self.tokens[who]}"}
        return self.client.request(method, f"/assay{path}", headers=headers, **request)


def make_site(static: Path) -> Site:
    """Airflow's application as configured now; the pages come from a folder of the test's own."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from fastapi.testclient import TestClient

    from assay_ui.app import build_app

    root = create_app(apps="core")
    mount = next(route for route in root.routes if getattr(route, "path", None) == "/assay")
    mount.app = build_app(static=static)
    client = TestClient(root, raise_server_exceptions=False)
    return Site(root, mount.app, client, {}, get_auth_manager())


@pytest.fixture(scope="session")
def airflow_settings() -> Iterator[pytest.MonkeyPatch]:
    """Airflow's configuration for the whole session; modules change it and put it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a secret of the tests, long enough for HS512 " * 2)
        patch.setenv("AIRFLOW__API__SECRET_KEY", "another secret of the tests")
        patch.setenv(
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", ",".join(f"{n}:{r}" for n, r in USERS.items())
        )
        yield patch


@pytest.fixture(scope="session")
def metadata_database(airflow_settings: pytest.MonkeyPatch) -> None:
    """Airflow's tables in SQLite, made once."""
    from airflow.utils.db import initdb

    level = logging.getLogger("alembic").level
    initdb()
    logging.getLogger("alembic").setLevel(level)


@pytest.fixture(scope="session")
def built_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages as the build leaves them: a shell, a script, an icon."""
    folder = tmp_path_factory.mktemp("static")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text(
        '<!doctype html><html><head><title>Assay</title><script type="module" src="static/assets/app-1a2b.js">'
        "</script></head><body></body></html>"
    )
    (folder / "assets" / "app-1a2b.js").write_text("export const page = 1;\n")
    (folder / "assets" / "app-1a2b.css").write_text("body { margin: 0 }\n")
    (folder / "icon.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (folder / "notes.py").write_text("not for browsers\n")
    return folder


@pytest.fixture(scope="session")
def town_as_built(tmp_path_factory: pytest.TempPathFactory) -> town.Facts:
    """Two data sets, each with a held delivery, a champion and a challenger; nobody changes this one."""
    return town.build(tmp_path_factory.mktemp("pages") / "town")


@pytest.fixture(scope="session")
def simple_site(metadata_database: None, built_pages: Path) -> Iterator[Site]:
    """Airflow with its simple auth manager; tokens are made by the auth manager itself."""
    from airflow.api_fastapi.app import purge_cached_app

    site = make_site(built_pages)
    site.tokens = dict.fromkeys((), "")
    for user in site.manager.get_users():
        site.tokens[USERS[user.username]] = site.manager.generate_jwt(user)
    yield site
    purge_cached_app()


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Site, town.Facts], None]:
    """Let a site look at a town."""

    def look(site: Site, facts: town.Facts) -> None:
        monkeypatch.setattr("airflow.api_fastapi.app._AuthManagerState.instance", site.manager)
        for name, value in facts.environment.items():
            monkeypatch.setenv(name, value)
        site.app.state.console.close()

    return look


@pytest.fixture
def site(
    simple_site: Site, town_as_built: town.Facts, settings_of: Callable[[Site, town.Facts], None]
) -> Iterator[Site]:
    """The site at the town that nobody changes."""
    settings_of(simple_site, town_as_built)
    yield simple_site
    simple_site.app.state.console.close()


@pytest.fixture
def own_town(
    simple_site: Site,
    town_as_built: town.Facts,
    tmp_path: Path,
    settings_of: Callable[[Site, town.Facts], None],
) -> Iterator[Callable[[], town.Facts]]:
    """Makes a copy of the town, to be changed, and lets the site look at it."""
    made = 0

    def copy() -> town.Facts:
        nonlocal made
        made += 1
        facts = town_as_built.copy_to(tmp_path / f"copy{made}" / "town")
        settings_of(simple_site, facts)
        return facts

    yield copy
    simple_site.app.state.console.close()
