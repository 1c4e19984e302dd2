"""Many reviewers at once: one decision each, and whoever comes second learns who was first."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.plugins import town
from tests.plugins.conftest import Site

REVIEWERS = [f"reviewer{number:02}" for number in range(20)]


@pytest.fixture
def reviewers(simple_site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Twenty people who may decide, with their tokens."""
    monkeypatch.setenv(
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", ",".join(f"{name}:user" for name in REVIEWERS)
    )
    return {user.username: simple_site.manager.generate_jwt(user) for user in simple_site.manager.get_users()}


def at_once(site: Site, reviewers: dict[str, str], case: str, bodies: dict[str, dict[str, object]]) -> list:
    """All of them post at the same moment, each through a connection of their own."""
    from fastapi.testclient import TestClient

    gate = threading.Barrier(len(reviewers))

    def decide(name: str):
        client = TestClient(site.root, raise_server_exceptions=False)
        gate.wait()
        return name, client.post(
            f"/assay/api/cases/{case}/decision",
            json=bodies[name],
            headers={"Authorization": f"Bearer {reviewers[name]}"},
        )

    with ThreadPoolExecutor(len(reviewers)) as pool:
        return list(pool.map(decide, reviewers))


def test_of_twenty_who_decide_one_case_one_does_and_the_others_are_told_who(
    simple_site: Site, own_town: Callable[[], town.Facts], reviewers: dict[str, str]
) -> None:
    """Exactly one decision is recorded; the others get 409 with the name, the action and the time."""
    facts = own_town()
    bodies = {
        name: {"action": ("release", "reject")[number % 2], "reason": f"because of {name}"}
        for number, name in enumerate(reviewers)
    }
    answers = at_once(simple_site, reviewers, facts.case, bodies)
    assert Counter(answer.status_code for _, answer in answers) == {200: 1, 409: 19}
    first, won = next((name, answer) for name, answer in answers if answer.status_code == 200)
    assert won.json()["decision"]["reviewer"] == first
    for _, answer in answers:
        if answer.status_code == 409:
            error = answer.json()["error"]
            assert error["kind"] == "already_decided"
            assert (error["by"], error["action"]) == (first, bodies[first]["action"])
            assert error["at"]
    headers = {"Authorization": f"Bearer {reviewers[first]}"}
    case = simple_site.call("GET", f"/api/cases/{facts.case}", headers=headers).json()
    assert [each["reviewer"] for each in case["decisions"]] == [first]
    assert case["status"] == {"release": "released", "reject": "rejected"}[bodies[first]["action"]]
    assert case["may_decide"]["allowed"] is False


def test_the_same_decision_sent_twice_is_one(
    simple_site: Site, own_town: Callable[[], town.Facts], reviewers: dict[str, str]
) -> None:
    """A click that was repeated because the answer got lost is no conflict."""
    facts = own_town()
    name = REVIEWERS[0]
    headers = {"Authorization": f"Bearer {reviewers[name]}"}
    path, body = f"/api/cases/{facts.case}/decision", {"action": "reject", "reason": "twice is once"}
    answers = [simple_site.call("POST", path, headers=headers, json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len({answer.json()["decision"]["id"] for answer in answers}) == 1
    case = simple_site.call("GET", f"/api/cases/{facts.case}", headers=headers).json()
    assert len(case["decisions"]) == 1


def test_rows_and_groups_are_decided_apart_and_the_rest_stays_open(
    simple_site: Site, own_town: Callable[[], town.Facts], reviewers: dict[str, str]
) -> None:
    """Some rows by number, others as a group; what nobody spoke of waits on."""
    facts = own_town()
    headers = {"Authorization": f"Bearer {reviewers[REVIEWERS[0]]}"}

    def post(case: str, body: dict[str, object]):
        return simple_site.call("POST", f"/api/cases/{case}/decision", headers=headers, json=body)

    answer = post(facts.case, {"action": "release", "reason": "this row is right", "rows": [facts.row]})
    assert answer.status_code == 200, answer.text
    rest = answer.json()["split"]["rest"]
    line = simple_site.call("GET", f"/api/cases/{rest}", headers=headers).json()
    assert line["status"] == "open"
    groups = [group["id"] for group in line["groups"] if 0 < group["rows"] <= line["rows"]]
    assert groups
    grouped = post(rest, {"action": "reject", "reason": "the whole group is wrong", "group": groups[0]})
    assert grouped.status_code == 200, grouped.text
    assert post(facts.case, {"action": "reject", "reason": "all of it"}).status_code == 409
    unknown = post(rest, {"action": "reject", "reason": "no such rows", "rows": [10**12]})
    assert unknown.status_code in {400, 409}
