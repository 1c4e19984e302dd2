"""Lists and pages: what stands in them, that paging shows each thing once, and that nothing of others shows."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from assay.console import BadQuery, Console
from assay.console.paging import pack
from assay.db import Database, Delivery
from assay.settings import Settings
from tests.console.conftest import STRANGE
from tests.db.rows import a_case, a_delivery, a_model, a_run


@pytest.fixture
def empty(tmp_path, database_url) -> Console:
    """A console on an empty registry, of either kind."""
    home = tmp_path / "home"
    settings = Settings(home, database_url, (home / "store").as_uri(), home / "keys", home / "contracts")
    opened = Console.open(settings)
    yield opened
    opened.close()


def registry(console: Console) -> Database:
    return console._desk.database


def fill(console: Console, cases: int, seed: int = 1) -> None:
    rng = random.Random(seed)
    with registry(console).write() as session:
        for number in range(cases):
            name = f"delivery-{seed}-{number:04}"
            seen = f"2026-03-{rng.randint(1, 28):02}T00:00:00Z"
            source, dataset = rng.choice(["west", "east"]), rng.choice(["adult", "claims"])
            session.add(a_delivery(name, dataset=dataset, source=source, first_seen=seen))
            session.flush()
            session.add(
                a_case(
                    f"case-{seed}-{number:04}",
                    name,
                    dataset=dataset,
                    opened_at=seen,
                    expires_at=rng.choice(
                        [None, "2026-04-01T00:00:00Z", f"2026-05-{rng.randint(1, 9):02}T00:00:00Z"]
                    ),
                    rows=rng.randint(0, 5),
                    status=rng.choice(["open", "open", "released", "rejected"]),
                )
            )
            session.flush()


def pages(ask: Any, **query: Any) -> list[dict[str, Any]]:
    """All items, page by page."""
    items, cursor = [], None
    for _ in range(200):
        page = ask(cursor=cursor, **query)
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("sort", ["opened", "due", "rows"])
@pytest.mark.parametrize("limit", [1, 7, 500])
def test_pages_of_cases_together_are_the_whole_list_in_its_order(empty, sort, limit):
    """Each case comes once, in the order that was asked for, whatever the page's size."""
    fill(empty, 60)
    found = pages(empty.cases, sort=sort, limit=limit)
    assert len(found) == empty.cases()["total"] == len({item["id"] for item in found}) == 60
    keys = {
        "opened": [(c["opened_at"], c["id"]) for c in found],
        "due": [(c["expires_at"] or "~", c["id"]) for c in found],
        "rows": [(c["rows"], c["id"]) for c in found],
    }[sort]
    assert keys == sorted(keys, reverse=sort != "due")


@pytest.mark.parametrize("ask", ["cases", "deliveries"])
def test_what_is_inserted_while_one_pages_neither_repeats_an_item_nor_hides_one(empty, ask):
    """The list as it was at the first page is shown whole, once."""
    fill(empty, 40)
    method = getattr(empty, ask)
    before = {item["id"] for item in pages(method, limit=500)}
    seen, cursor = [], None
    for step in range(200):
        page = method(cursor=cursor, limit=7)
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        fill(empty, 5, seed=100 + step)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_filters_narrow_the_list_and_its_count(empty):
    """Data set, status, source and delivery each take away what they should, and the total says so."""
    fill(empty, 60)
    every = pages(empty.cases)
    for query, keep in (
        ({"dataset": "claims"}, lambda c: c["dataset"] == "claims"),
        ({"status": "open"}, lambda c: c["status"] == "open"),
        ({"source": "west"}, lambda c: c["source"] == "west"),
        ({"kind": "validation"}, lambda c: False),
        ({"delivery": every[0]["delivery_id"]}, lambda c: c["delivery_id"] == every[0]["delivery_id"]),
        (
            {"dataset": "adult", "status": "rejected"},
            lambda c: c["dataset"] == "adult" and c["status"] == "rejected",
        ),
    ):
        found = pages(empty.cases, limit=9, **query)
        assert {c["id"] for c in found} == {c["id"] for c in every if keep(c)}
        assert empty.cases(**query)["total"] == len(found)


def test_a_search_finds_cases_by_the_beginning_of_an_id_and_by_source(console, world):
    """The first digits of a case or a delivery, and a part of a source's name, are enough."""
    wanted = world.ids["west/screening"]
    assert [c["id"] for c in console.cases(q=wanted[:15])["items"]] == [wanted]
    by_delivery = console.cases(q=world.ids["west"].removeprefix("delivery-")[:12])["items"]
    assert wanted in {c["id"] for c in by_delivery}
    assert {c["source"] for c in console.cases(q="ort")["items"]} == {"north"}
    assert console.cases(q="zzz")["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 501},
        {"sort": "colour"},
        {"status": "half-open"},
        {"kind": "strange"},
        {"cursor": "///"},
        {"cursor": "x" * 5000},
        {"cursor": "W10"},
        {"cursor": pack("opened", ("2026-01-01T00:00:00Z",))},
        {"cursor": pack("opened", (1, "case-1"))},
        {"cursor": pack("rows", (1, "case-1"))},
        {"cursor": pack("rows", (True, "case-1")), "sort": "rows"},
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(empty, query):
    """A bad limit, order, filter or cursor is told, never guessed at."""
    with pytest.raises(BadQuery):
        empty.cases(**query)


def test_the_overview_tells_of_each_data_set_and_of_what_waits(console, world):
    """Counts, champion, snapshot and deadlines are those of the registry."""
    said = console.overview()
    mine = next(each for each in said["datasets"] if each["dataset"] == "adult")
    assert mine["champion"]["id"] == world.ids["model"]
    assert mine["champion"]["metrics"]["accuracy"] > 0.7
    assert (mine["open_cases"], mine["held_deliveries"]) == (3, 1)
    assert mine["blocking_cases"] == 2
    assert mine["snapshot"]["version"] == 1
    assert mine["fresh"]["outcome"] == "not_checked"
    assert mine["contract_error"] is None
    assert said["ledger"]["entries"] > 10
    assert said["ledger"]["last_checkpoint_at"].startswith("20")
    waiting = {(item["what"], item["id"]) for item in said["needs_me"]}
    assert ("case", world.ids["west/screening"]) in waiting
    due = [item["due"] or "~" for item in said["needs_me"]]
    assert due == sorted(due)


def test_a_contract_that_cannot_be_read_is_told_and_waits_for_somebody(own_world):
    """Its data set stands in the overview with what is wrong."""
    (own_world.town.stage.contract.parent / "torn.yaml").write_text("version: 1\ndataset: [")
    said = own_world.console.overview()
    assert next(each for each in said["datasets"] if each["dataset"] == "torn")["contract_error"]
    assert ("contract", "torn") in {(item["what"], item["id"]) for item in said["needs_me"]}


def test_a_silent_source_is_not_fresh(own_world):
    """With an interval in the contract the overview judges each source by its last delivery."""
    own_world.town.change(freshness={"interval": "1s"})
    fresh = own_world.console.overview(["adult"])["datasets"][0]["fresh"]
    assert fresh["outcome"] == "failed"
    assert "longer ago" in fresh["message"]


def test_the_newest_run_with_a_failed_curve_waits_for_somebody(empty):
    """It stands among what needs somebody, with the check's words where there are any."""
    with registry(empty).write() as session:
        session.add(a_run("run-1", curve_outcome="failed"))
        session.flush()
        session.add(a_model("model-1", "run-1", metrics={"gates": "passed"}))
    waiting = {(item["what"], item["id"]) for item in empty.overview()["needs_me"]}
    assert {("curve", "run-1"), ("challenger", "model-1")} <= waiting


def test_a_case_gets_the_source_of_its_delivery_by_itself(empty):
    """Whoever opens a case need not name it, and the list can be narrowed by it."""
    with registry(empty).write() as session:
        session.add(a_delivery("one", source="harbour"))
        session.flush()
        session.add(a_case("case-1", "one"))
    assert [c["source"] for c in empty.cases(source="harbour")["items"]] == ["harbour"]


@pytest.mark.parametrize("method", ["overview", "deliveries", "cases", "runs", "models"])
def test_no_list_shows_anything_of_a_data_set_that_the_reader_may_not_see(console, method):
    """With `datasets` the strange data set is not in the answer, not even in a count; without, it is."""
    ask = getattr(console, method)
    everything, mine = json.dumps(ask()), json.dumps(ask(datasets=["adult"]))
    assert "strange" in everything
    for word in ("strange", STRANGE, "hidden", "nobody"):
        assert word not in mine
    if method != "overview":
        assert ask()["total"] == ask(datasets=["adult"])["total"] + ask(datasets=[STRANGE])["total"]
        assert ask(datasets=["adult"], dataset=STRANGE) == {"items": [], "next": None, "total": 0}
        assert ask(datasets=[])["items"] == []


def test_all_data_sets_are_those_of_contracts_and_of_the_registry(console):
    """A data set without a contract is there, too."""
    assert console.datasets() == ["adult", STRANGE]


def test_a_long_history_is_read_from_its_newest_end(empty):
    """The first page of deliveries is the newest ones."""
    fill(empty, 30)
    with registry(empty).session() as session:
        seen = sorted((row.first_seen for row in session.query(Delivery)), reverse=True)
    assert [item["first_seen"] for item in empty.deliveries(limit=5)["items"]] == seen[:5]
