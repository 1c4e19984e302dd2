"""The pages under Airflow's FAB auth manager: roles, rights per DAG, a permission for promotions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.plugins import town
from tests.plugins.conftest import Site, make_site

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
ROLES = {
    "public": "Public",
    "viewer": "Viewer",
    "user": "User",
    "op": "Op",
    "admin": "Admin",
    "adult reader": "Adult readers",
    "adult reviewer": "Adult reviewers",
}
SEES = [("can_read", "Website"), ("can_read", f"DAG:{town.DATASET}__intake")]
ANSWERS = [("can_edit", f"DAG:{town.DATASET}__intake"), ("can_edit", "HITL Detail")]


@pytest.fixture(scope="module")
def fab_site(
    metadata_database: None, built_pages: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Airflow with FAB's auth manager, a user per role, and the lifespan in which the permission is made."""
    from airflow.api_fastapi.app import purge_cached_app
    from airflow.providers.fab.auth_manager.models.db import FABDBManager
    from airflow.utils.session import create_session

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", FAB)
        patch.setenv("ASSAY_HOME", str(tmp_path_factory.mktemp("nobody")))
        with create_session(scoped=False) as session:
            FABDBManager(session).initdb()
        purge_cached_app()
        site = make_site(built_pages)
        with site.client, site.manager.flask_app.app_context():
            security = site.manager.security_manager
            _roles(security)
            for name, role in ROLES.items():
                user = security.find_user(name) or security.add_user(
                    name,
                    name,
                    "Tester",
                    f"{name.replace(' ', '.')}@example.org",
                    security.find_role(role),
                    "pw",
                )
                site.tokens[name] = site.manager.generate_jwt(user)
        yield site
    purge_cached_app()


def _roles(security: Any) -> None:
    for name, permissions in (("Adult readers", SEES), ("Adult reviewers", SEES + ANSWERS)):
        role = security.find_role(name) or security.add_role(name)
        for action, resource in permissions:
            security.add_permission_to_role(role, security.create_permission(action, resource))


@pytest.fixture
def fab(
    fab_site: Site,
    town_as_built: town.Facts,
    tmp_path: Path,
    settings_of: Callable[[Site, town.Facts], None],
) -> Iterator[Callable[..., town.Facts]]:
    """Lets the site look at the town as built, or at a copy that may be changed."""
    made = 0

    def look(*, own: bool = False) -> town.Facts:
        nonlocal made
        made += 1
        facts = town_as_built.copy_to(tmp_path / f"copy{made}" / "town") if own else town_as_built
        settings_of(fab_site, facts)
        return facts

    yield look
    fab_site.app.state.console.close()


CASES = [
    ("GET", "/api/overview", None, {"viewer", "user", "op", "admin", "adult reader", "adult reviewer"}),
    ("GET", "/api/cases/{case}", None, {"viewer", "user", "op", "admin", "adult reader", "adult reviewer"}),
    (
        "POST",
        "/api/cases/{case}/decision",
        {"action": "reject", "reason": "the labels were turned"},
        {"user", "op", "admin", "adult reviewer"},
    ),
    ("POST", "/api/models/{challenger}/promote", {"reason": "better on all slices"}, {"admin"}),
]


@pytest.mark.parametrize(("method", "path", "body", "may"), CASES)
def test_each_role_of_fab_may_exactly_what_it_may(
    fab: Callable[..., town.Facts], fab_site: Site, method: str, path: str, body: Any, may: set[str]
) -> None:
    """One route of each right, by nobody, by everybody who has a role, and by roles of our own."""
    facts = fab()
    found = {}
    for who in (None, *ROLES):
        if who in may and method == "POST":
            facts = fab(own=True)
        where = path.format(case=facts.case, challenger=facts.challenger)
        found[who] = fab_site.call(method, where, who, **({} if body is None else {"json": body})).status_code
    assert {who for who, status in found.items() if 200 <= status < 300} == may, found
    assert found[None] == 401
    assert {status for who, status in found.items() if who not in may} <= {401, 403}


@pytest.mark.parametrize("reader", ["adult reader", "adult reviewer"])
def test_who_may_read_one_data_set_sees_nothing_of_another(
    fab: Callable[..., town.Facts], fab_site: Site, reader: str
) -> None:
    """Lists leave it out, totals do not count it, and each of its things is as if it were not there."""
    facts = fab()

    def seen(who: str) -> dict[str, set[str]]:
        lists = {
            name: fab_site.call("GET", f"/api/{name}", who).json()
            for name in ("deliveries", "cases", "runs", "models")
        }
        for found in lists.values():
            assert found["total"] == len(found["items"])
        overview = fab_site.call("GET", "/api/overview", who).json()
        needs = {each["dataset"] for each in overview["needs_me"]}
        return {
            "overview": {each["dataset"] for each in overview["datasets"]},
            "needs me": needs,
            "me": set(fab_site.call("GET", "/api/me", who).json()["can"]["decide"]),
            **{name: {each["dataset"] for each in found["items"]} for name, found in lists.items()},
        }

    assert all(found == {town.DATASET} for found in seen(reader).values()), seen(reader)
    assert all(found == {town.DATASET, town.OTHER} for found in seen("viewer").values()), seen("viewer")
    other = facts.other
    hidden = [
        f"/api/deliveries/{other['delivery']}",
        f"/api/cases/{other['case']}",
        f"/api/cases/{other['case']}/rows",
        f"/api/cases/{other['case']}/rows/{facts.row}",
        f"/api/cases/{other['case']}/plots/column/age",
        f"/api/cases/{other['case']}/export.csv",
        f"/api/runs/{other['run']}",
        f"/api/runs/{other['run']}/curve",
        f"/api/runs/{facts.run}/curve?compare={other['run']}",
        f"/api/models/{other['model']}",
        f"/api/provenance/node?kind=case&id={other['case']}",
        f"/api/provenance/node?kind=delivery&id={other['delivery']}",
        f"/api/provenance/proof?kind=model&id={other['model']}",
    ]
    for path in hidden:
        answer = fab_site.call("GET", path, reader)
        assert answer.status_code == 404, path
        assert town.OTHER not in answer.json()["error"]["message"].replace(f"-{town.OTHER}", "")
    assert fab_site.call("GET", f"/api/cases?dataset={town.OTHER}", reader).json()["total"] == 0
    found = fab_site.call("GET", f"/api/provenance/search?q={other['case']}", reader)
    assert found.json()["results"] == []
    assert fab_site.call("GET", f"/api/open?dag_id={town.OTHER}__intake", reader).json()["to"] == "overview"


def test_what_may_not_be_seen_cannot_be_told_from_what_is_not_there(
    fab: Callable[..., town.Facts], fab_site: Site
) -> None:
    """The same answer, but for the name that was asked for."""
    facts = fab()
    hidden = fab_site.call("GET", f"/api/cases/{facts.other['case']}", "adult reader")
    absent = fab_site.call("GET", "/api/cases/case-none", "adult reader")
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text.replace(facts.other["case"], "X") == absent.text.replace("case-none", "X")


def test_a_reviewer_of_one_data_set_decides_there_and_nowhere_else(
    fab: Callable[..., town.Facts], fab_site: Site
) -> None:
    """The right to decide is the right to answer that data set's required actions."""
    facts = fab(own=True)
    body = {"action": "reject", "reason": "the labels were turned"}
    there = fab_site.call("POST", f"/api/cases/{facts.case}/decision", "adult reviewer", json=body)
    elsewhere = fab_site.call(
        "POST", f"/api/cases/{facts.other['case']}/decision", "adult reviewer", json=body
    )
    assert (there.status_code, elsewhere.status_code) == (200, 404)
    assert there.json()["decision"]["reviewer"] == "adult reviewer"


def test_the_permission_is_granted_by_airflow_s_own_command_and_what_was_taken_away_stays_away(
    fab: Callable[..., town.Facts], fab_site: Site
) -> None:
    """It is made once at the start, with a word on how to grant it; a restart gives nothing back."""
    from assay_ui.rights import ACTION, RESOURCE, make_permission

    facts = fab()
    refused = fab_site.call("POST", f"/api/models/{facts.challenger}/promote", "op", json={"reason": "may I"})
    assert refused.status_code == 403
    assert f'airflow roles add-perms ROLE -a {ACTION} -r "{RESOURCE}"' in refused.json()["error"]["message"]
    with fab_site.manager.flask_app.app_context():
        security = fab_site.manager.security_manager
        permission = security.get_permission(ACTION, RESOURCE)
        security.add_permission_to_role(security.find_role("Op"), permission)
        security.remove_permission_from_role(security.find_role("Admin"), permission)
    try:
        make_permission()
        fab_site.manager.cache.clear()
        may = {who: fab_site.call("GET", "/api/me", who).json()["can"]["promote"] for who in ("op", "admin")}
        assert may == {"op": True, "admin": False}
    finally:
        with fab_site.manager.flask_app.app_context():
            permission = security.get_permission(ACTION, RESOURCE)
            security.remove_permission_from_role(security.find_role("Op"), permission)
            security.add_permission_to_role(security.find_role("Admin"), permission)
        fab_site.manager.cache.clear()


def test_without_the_permission_nobody_promotes(fab: Callable[..., town.Facts], fab_site: Site) -> None:
    """Where it was never made, even an administrator is told how it comes about."""
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    from assay_ui.rights import ACTION, RESOURCE, make_permission

    facts = fab()
    with fab_site.manager.flask_app.app_context():
        security = fab_site.manager.security_manager
        security.remove_permission_from_role(
            security.find_role("Admin"), security.get_permission(ACTION, RESOURCE)
        )
    with create_session(scoped=False) as session:
        resource = security.get_resource(RESOURCE).id
        session.execute(
            delete(security.permission_model).where(security.permission_model.resource_id == resource)
        )
        session.execute(delete(security.resource_model).where(security.resource_model.id == resource))
    fab_site.manager.cache.clear()
    answer = fab_site.call(
        "POST", f"/api/models/{facts.challenger}/promote", "admin", json={"reason": "may I"}
    )
    assert answer.status_code == 403
    assert RESOURCE in answer.json()["error"]["message"]
    make_permission()
    make_permission()
    fab_site.manager.cache.clear()
    assert fab_site.call("GET", "/api/me", "admin").json()["can"]["promote"] is True


def test_a_user_who_was_disabled_is_out_at_the_next_change_and_within_the_cache_s_time_of_reading(
    fab: Callable[..., town.Facts], fab_site: Site
) -> None:
    """FAB keeps users in memory for a while; what changes something is not judged by that memory."""
    facts = fab()
    assert fab_site.call("GET", "/api/me", "op").status_code == 200
    with fab_site.manager.flask_app.app_context():
        security = fab_site.manager.security_manager
        user = security.find_user("op")
        user.active = False
        security.update_user(user)
    body = {"action": "reject", "reason": "one last word"}
    try:
        path = f"/api/cases/{facts.case}/decision"
        assert fab_site.call("POST", path, "op", json=body).status_code == 401
        ours = {"X-Assay": "1", "Sec-Fetch-Site": "same-origin"}
        assert fab_site.by_cookie("POST", path, "op", json=body, headers=ours).status_code == 401
        assert fab_site.call("GET", "/api/me", "op").status_code == 401
    finally:
        with fab_site.manager.flask_app.app_context():
            user = security.find_user("op")
            user.active = True
            security.update_user(user)
        fab_site.manager.cache.clear()


def test_visitors_whom_fab_gives_a_role_are_still_nobody_here(
    fab: Callable[..., town.Facts], fab_site: Site
) -> None:
    """A public role opens Airflow's pages to the world; quarantined rows stay for people who logged in."""
    from airflow.providers.fab.auth_manager.middleware import FabAuthRolePublicMiddleware
    from fastapi.testclient import TestClient

    fab()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__FAB__AUTH_ROLE_PUBLIC", "Admin")
        with fab_site.manager.flask_app.app_context():
            assert fab_site.manager.build_public_user() is not None
        client = TestClient(FabAuthRolePublicMiddleware(fab_site.root), raise_server_exceptions=False)
        answer = client.get("/assay/api/overview")
    assert answer.status_code == 401
    assert answer.json()["error"]["kind"] == "not_logged_in"
