"""Who may do what: every route, with every method, by everybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.plugins import town
from tests.plugins.conftest import Site

NOBODY: frozenset[str] = frozenset()
READERS = frozenset({"viewer", "user", "op", "admin"})
DECIDERS = frozenset({"user", "op", "admin"})
ADMINS = frozenset({"admin"})
EVERYBODY = READERS | {"anonymous", "forged"}
PEOPLE = ("anonymous", "forged", "viewer", "user", "op", "admin")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# Who may get each route, and who may post to it. Written by hand: it is the promise, and the code is held to it.
MAY: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "/": (READERS, NOBODY),
    "/p/{page:path}": (READERS, NOBODY),
    "/static": (EVERYBODY, NOBODY),
    "/api/health": (READERS, NOBODY),
    "/api/me": (READERS, NOBODY),
    "/api/overview": (READERS, NOBODY),
    "/api/open": (READERS, NOBODY),
    "/api/deliveries": (READERS, NOBODY),
    "/api/deliveries/{id}": (READERS, NOBODY),
    "/api/cases": (READERS, NOBODY),
    "/api/cases/{id}": (READERS, NOBODY),
    "/api/cases/{id}/rows": (READERS, NOBODY),
    "/api/cases/{id}/rows/{row}": (READERS, NOBODY),
    "/api/cases/{id}/plots/column/{name:path}": (READERS, NOBODY),
    "/api/cases/{id}/plots/score": (READERS, NOBODY),
    "/api/cases/{id}/plots/sources": (READERS, NOBODY),
    "/api/cases/{id}/plots/group/{group:path}": (READERS, NOBODY),
    "/api/cases/{id}/plots/losses": (READERS, NOBODY),
    "/api/cases/{id}/export.csv": (READERS, NOBODY),
    "/api/cases/{id}/decision": (NOBODY, DECIDERS),
    "/api/runs": (READERS, NOBODY),
    "/api/runs/{id}": (READERS, NOBODY),
    "/api/runs/{id}/curve": (READERS, NOBODY),
    "/api/models": (READERS, NOBODY),
    "/api/models/{id}": (READERS, NOBODY),
    "/api/models/{id}/promote": (NOBODY, ADMINS),
    "/api/models/{id}/refuse": (NOBODY, ADMINS),
    "/api/datasets/{dataset}/rollback": (NOBODY, ADMINS),
    "/api/provenance/search": (READERS, NOBODY),
    "/api/provenance/node": (READERS, NOBODY),
    "/api/provenance/proof": (READERS, NOBODY),
    "/api/provenance/verify": (NOBODY, READERS),
}

QUERY = {
    "/api/open": "?dag_id=adult__intake",
    "/api/provenance/search": "?q={case}",
    "/api/provenance/node": "?kind=case&id={case}",
    "/api/provenance/proof": "?kind=model&id={model}",
}
BODY: dict[str, dict[str, Any]] = {
    "/api/cases/{id}/decision": {"action": "reject", "reason": "the labels were turned"},
    "/api/models/{id}/promote": {"reason": "better on all slices"},
    "/api/models/{id}/refuse": {"reason": "worse on one slice"},
    "/api/datasets/{dataset}/rollback": {"reason": "the new one is worse"},
    "/api/provenance/verify": {},
}
# Held rows were in no training yet: whoever may ask is told so.
NOTHING_TO_SHOW = {"/api/cases/{id}/plots/losses"}
CHANGING = {route for route in BODY if route != "/api/provenance/verify"}


def address(route: str, facts: town.Facts, site: Site) -> str:
    """The route's path with names from the town in it, and a query where it needs one."""
    ids = {"deliveries": facts.delivery, "cases": facts.case, "runs": facts.run, "models": facts.model}
    kind = route.split("/")[2] if route.count("/") > 1 else ""
    own = facts.challenger if route.endswith(("/promote", "/refuse")) else ids.get(kind, "")
    path = route.replace("{id}", own).replace("{row}", str(facts.row)).replace("{dataset}", town.DATASET)
    path = path.replace("{name:path}", "age").replace("{page:path}", "case/x")
    if "{group:path}" in path:
        groups = site.call("GET", f"/api/cases/{facts.case}", "viewer").json()["groups"]
        path = path.replace("{group:path}", groups[0]["id"])
    path = "/static/assets/app-1a2b.js" if path == "/static" else path
    return path + QUERY.get(route, "").format(case=facts.case, model=facts.model)


def asked(site: Site, who: str, method: str, path: str, body: dict[str, Any]) -> int:
    """The status of a request by one of the people."""
    headers = {"Content-Type": "application/json"}
    if who == "forged":
        header, claims, _ = site.tokens["admin"].split(".")
        headers["Authorization"] = f"Bearer {header}.{claims}.{'A' * 86}"
    content = None if method in {"GET", "HEAD"} else json.dumps(body).encode()
    name = None if who in {"anonymous", "forged"} else who
    return int(site.call(method, path, name, headers=headers, content=content).status_code)


def promote_challenger(facts: town.Facts) -> None:
    """Let the challenger be the champion, so that there is something to roll back."""
    from pathlib import Path

    from assay.line import Line, promote_as

    with Line.open(Path(facts.environment["ASSAY_CONTRACTS_DIR"]) / "adult.yaml") as line:
        promote_as(line, facts.challenger, "founder", "the second model")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", sorted(MAY))
def test_exactly_those_who_may_get_an_answer(
    site: Site,
    own_town: Callable[[], town.Facts],
    town_as_built: town.Facts,
    route: str,
    method: str,
) -> None:
    """Each cell of the table answers 2xx for whoever may, and 401, 403 or 405 for everybody else."""
    getters, posters = MAY[route]
    may = {"GET": getters, "HEAD": getters, "POST": posters}.get(method, NOBODY)
    facts = town_as_built
    found = {}
    for who in PEOPLE:
        if route in CHANGING and who in may:  # each of them finds the town as it was
            facts = own_town()
            if route.endswith("/rollback"):
                promote_challenger(facts)
        found[who] = asked(site, who, method, address(route, facts, site), BODY.get(route, {}))
    let_in = {200, 404} if route in NOTHING_TO_SHOW else {200}
    assert {who for who, status in found.items() if status in let_in} == may, found
    assert {status for who, status in found.items() if who not in may} <= {401, 403, 405}, found
    if getters | posters and method in {"GET", "POST"} and may and may != EVERYBODY:
        assert (found["anonymous"], found["forged"]) == (401, 401)


def test_the_table_names_every_route_and_each_demands_a_right(site: Site) -> None:
    """A route that nobody thought of is in no table, and one without a right is in no application."""
    from fastapi.routing import APIRoute
    from starlette.routing import Mount

    from assay_ui.rights import Right
    from assay_ui.routing import About, GuardedRoute

    walked = list(site.app.routes)
    assert {route.path for route in walked} == set(MAY)
    for route in walked:
        if isinstance(route, Mount):
            assert route.path == "/static"
            continue
        assert isinstance(route, GuardedRoute)
        assert isinstance(route.right, Right)
        assert isinstance(route.about, About)
        demanded = [each.call.__qualname__ for each in route.dependant.dependencies if each.call]
        assert demanded[0] == "_guard.<locals>.check", f"{route.path}: the guard comes first"
        assert isinstance(route, APIRoute)


def test_an_application_with_an_unguarded_route_does_not_start(site: Site) -> None:
    """Whoever adds a route beside the guarded ones learns of it at once."""
    from assay_ui.app import build_app
    from assay_ui.routing import refuse_unguarded

    app = build_app()
    app.add_api_route("/api/secrets", lambda: None)
    with pytest.raises(RuntimeError, match="/api/secrets demands no right"):
        refuse_unguarded(app, frozenset({"/static"}))


@pytest.mark.parametrize("role", ["user", "op", "admin", "owner"])
def test_the_deployment_says_who_decides(
    site: Site, town_as_built: town.Facts, monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    """ASSAY_DECIDE_ROLE moves the line between who decides and who looks; a word it does not know stops all."""
    monkeypatch.setenv("ASSAY_DECIDE_ROLE", role)
    order = ["viewer", "user", "op", "admin"]
    expected = set(order[order.index(role) :]) if role in order else set()
    can = {who: site.call("GET", "/api/me", who).json()["can"]["decide"][town.DATASET] for who in READERS}
    assert {who for who, may in can.items() if may} == expected
    for who in READERS - expected:
        answer = site.call(
            "POST",
            f"/api/cases/{town_as_built.case}/decision",
            who,
            json={"action": "reject", "reason": "not mine to say"},
        )
        assert answer.status_code == 403
        assert answer.json()["error"]["kind"] == "forbidden"


def test_a_user_who_was_removed_is_out_and_one_who_was_demoted_is_what_they_are_now(
    site: Site, town_as_built: town.Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token says who somebody was when it was made; the auth manager says who they are."""
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:viewer,vic:viewer")
    assert site.call("GET", "/api/me", "op").status_code == 401
    assert site.call("GET", "/api/me", "admin").json()["can"]["promote"] is False
    path = f"/api/models/{town_as_built.challenger}/promote"
    assert site.call("POST", path, "admin", json={"reason": "I was an admin"}).status_code == 403


def test_a_token_that_was_revoked_or_has_expired_is_none(site: Site) -> None:
    """Logging out ends the pages too."""
    users = {user.role: user for user in site.manager.get_users()}
    gone = site.manager.generate_jwt(users["viewer"], expiration_time_in_seconds=-60)
    revoked = site.manager.generate_jwt(users["viewer"])
    site.manager.revoke_token(revoked)
    for token in (gone, revoked):
        answer = site.call("GET", "/api/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert answer.json()["error"]["login_url"].startswith("/auth/login")


def test_an_airflow_without_login_lets_nobody_decide(
    site: Site, town_as_built: town.Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where everybody is the same nameless administrator, a decision would have no author."""
    from airflow.api_fastapi.auth.managers.simple.services.login import SimpleAuthManagerLogin

    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")
    headers = {"Authorization": f"Bearer {SimpleAuthManagerLogin.create_token_all_admins()}"}
    assert site.call("GET", "/api/overview", headers=headers).status_code == 200
    body = {"action": "release", "reason": "looks fine to nobody"}
    answer = site.call("POST", f"/api/cases/{town_as_built.case}/decision", headers=headers, json=body)
    assert answer.status_code == 403
    assert "carry a name" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def required_action(metadata_database: None) -> str:
    """Airflow knows the DAGs of a data set, and a DAG of other people with such a name."""
    from airflow.models.dag import DagModel, DagTag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session(scoped=False) as session:
        session.merge(DagBundleModel(name="pages"))
        session.flush()
        for dag_id in ("adult__intake", "adult__training", "theirs__training"):
            session.merge(DagModel(dag_id=dag_id, bundle_name="pages", fileloc="x"))
            session.flush()
            if dag_id.startswith("adult"):
                session.merge(DagTag(dag_id=dag_id, name="assay"))
    return "/api/v2/dags/{}/dagRuns/none/taskInstances/approve/-1/hitlDetails"


@pytest.mark.parametrize(
    ("dag", "role", "let_through"),
    [
        ("adult__intake", "user", {"user", "op", "admin"}),
        ("adult__intake", "op", {"op", "admin"}),
        ("adult__intake", "admin", {"admin"}),
        ("adult__training", "user", {"admin"}),
        ("theirs__training", "user", {"user", "op", "admin"}),
    ],
)
def test_airflow_s_own_page_of_required_actions_asks_for_the_same_rights(
    site: Site,
    required_action: str,
    monkeypatch: pytest.MonkeyPatch,
    dag: str,
    role: str,
    let_through: set[str],
) -> None:
    """Whoever may not decide or promote on our pages cannot do it there; other people's DAGs are theirs."""
    monkeypatch.setenv("ASSAY_DECIDE_ROLE", role)
    answer = {"chosen_options": ["Promote"], "params_input": {}}
    found = {}
    for who in (*READERS, None):
        headers = {} if who is None else {"Authorization": f"Bearer {site.tokens[who]}"}
        found[who] = site.client.patch(required_action.format(dag), json=answer, headers=headers).status_code
    assert found[None] == 401
    assert {who for who, status in found.items() if status == 404} == let_through, found
    assert {status for who, status in found.items() if who and who not in let_through} == {403}
