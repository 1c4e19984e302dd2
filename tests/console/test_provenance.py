"""The graph, the search, the proofs and the check of everything."""

from __future__ import annotations

import json
import threading

import pytest
from sqlalchemy import text, update

from assay.console import BadQuery, Console, NotFound
from assay.console import proofs as console_proofs
from assay.console.checking import packed, unpacked
from assay.db import Delivery, ModelRow
from assay.ledger import verify_proof
from tests.console.conftest import STRANGE


def walk(console: Console, start: tuple[str, str], datasets=None) -> dict[tuple[str, str], dict]:
    """Everything that can be reached."""
    seen: dict[tuple[str, str], dict] = {}
    waiting = [start]
    while waiting:
        place = waiting.pop()
        if place not in seen:
            seen[place] = console.node(*place, datasets)
            waiting += [(edge["kind"], edge["id"]) for edge in seen[place]["in"] + seen[place]["out"]]
    return seen


def test_one_can_walk_from_a_publisher_to_the_promotion_of_a_model(console, world):
    """Every kind of thing on the way is reached, and every edge leads somewhere."""
    seen = walk(console, ("publisher", "census"), ["adult"])
    kinds = {kind for kind, _ in seen}
    assert {"publisher", "key", "delivery", "file", "case", "snapshot", "run", "model", "promotion"} <= kinds
    assert ("model", world.ids["model"]) in seen
    assert {problem for said in seen.values() for problem in said["problems"]} == set()


def test_an_edge_can_be_walked_back(console, world):
    """What led to a thing names it among what came of it, for the way of the data."""
    seen = walk(console, ("snapshot", world.ids["snapshot"]), ["adult"])
    for place, said in seen.items():
        for edge in said["out"]:
            if edge["kind"] in {"snapshot", "run", "model", "promotion"} and place[0] not in {"row", "file"}:
                back = seen[edge["kind"], edge["id"]]["in"]
                assert place in {(each["kind"], each["id"]) for each in back}


def test_a_row_leads_to_its_signed_file_its_snapshot_and_its_decision(own_world):
    """A released row of the poisoned delivery: from its key to who released it."""
    from assay.findings import Answer
    from assay.line import admit, decide

    with own_world.town.line() as line:
        decide(
            line,
            [own_world.ids["west"]],
            {
                "chosen_options": [str(Answer.ADMIT_ALL)],
                "params_input": {"reason": "they are true"},
                "responded_by_user": {"id": "1", "name": "olga"},
            },
        )
        admit(line, [own_world.ids["west"]])
    console = own_world.console
    key = next(iter(own_world.rounds.poison.backdoored))
    said = console.node("row", f"adult:{key}")
    before = {edge["kind"]: edge for edge in said["in"]}
    assert set(before) >= {"delivery", "file", "decision"}
    assert console.node("file", before["file"]["id"])["in"][0]["id"] == own_world.ids["west"]
    decision = console.node("decision", before["decision"]["id"])
    assert "olga" in decision["node"]["title"]
    assert {edge["kind"] for edge in decision["out"]} == {"snapshot"}
    assert said["problems"] == []


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (lambda w: f"adult:{w.rounds.first['north']['person_id'][3].as_py()}", "row"),
        (lambda w: str(w.rounds.first["north"]["person_id"][3].as_py()), "row"),
        (lambda w: w.ids["west"], "delivery"),
        (lambda w: w.ids["model"][:18], "model"),
        (lambda w: w.ids["run"].removeprefix("run-")[:10], "run"),
        (lambda w: w.ids["west/screening"], "case"),
        (lambda w: w.ids["snapshot"], "snapshot"),
        (lambda w: "census", "publisher"),
        (lambda w: "rows-000.parquet", "file"),
        (lambda w: "3", "statement"),
    ],
)
def test_whatever_name_one_has_in_hand_is_found(console, world, words, kind):
    """Keys, ids and their beginnings, publishers, paths and positions."""
    found = console.search(words(world), ["adult"])["results"]
    assert kind in {hit["kind"] for hit in found}
    for hit in found:
        assert console.node(hit["kind"], hit["id"], ["adult"])["node"]["id"]


def test_digests_find_files_deliveries_models_and_rows(console, world):
    """A SHA-256 of bytes, of a manifest, of a bundle or of a row."""
    delivery = console.delivery(world.ids["west"])
    assert "file" in {hit["kind"] for hit in console.search(delivery["files"][0]["sha256"])["results"]}
    assert "delivery" in {hit["kind"] for hit in console.search(delivery["manifest_sha256"])["results"]}
    digest = console.model(world.ids["model"])["metrics"]["digest"]
    assert "model" in {hit["kind"] for hit in console.search(f"sha256:{digest}")["results"]}
    row = f"adult:{world.rounds.first['north']['person_id'][3].as_py()}"
    facts = {fact["name"]: fact["value"] for fact in console.node("row", row)["node"]["facts"]}
    assert [(h["kind"], h["id"]) for h in console.search(facts["hash"])["results"]] == [("row", row)]


def test_a_row_in_quarantine_leads_to_its_case(console, world):
    """It is in no snapshot; its case is found by its key."""
    key = next(iter(world.rounds.poison.backdoored))
    found = console.search(str(key), ["adult"])
    assert world.ids["west/screening"] in {hit["id"] for hit in found["results"] if hit["kind"] == "case"}


@pytest.mark.parametrize("q", ["", "   ", "x" * 301])
def test_a_search_for_nothing_is_refused(console, q):
    """So is one for far too much."""
    with pytest.raises(BadQuery):
        console.search(q)


def test_nothing_found_says_where_was_looked(console):
    """The command that looks everywhere is named."""
    said = console.search("no-such-thing")
    assert said["results"] == []
    assert "assay ledger trace" in said["notes"][-1]


def test_no_search_and_no_walk_leaves_the_data_sets_that_may_be_read(console):
    """Things of the strange data set are neither found nor reached; their data set is named to whoever asks rights."""
    for q in (
        "delivery-strange",
        "case-strange",
        "run-strange",
        "model-strange",
        "nobody",
        "cd" * 32,
        "secret.csv",
    ):
        assert console.search(q, ["adult"])["results"] == []
    for kind, name in (
        ("delivery", "delivery-strange"),
        ("case", "case-strange"),
        ("snapshot", "snapshot-strange"),
        ("run", "run-strange"),
        ("model", "model-strange"),
        ("publisher", "nobody"),
        ("file", "cd" * 32),
    ):
        assert console.node(kind, name, [STRANGE])
        with pytest.raises(NotFound):
            console.node(kind, name, ["adult"])
        if kind != "publisher":
            assert console.dataset_of(kind, name) == STRANGE
    reached = json.dumps([*walk(console, ("publisher", "census"), ["adult"]).values()])
    assert "strange" not in reached


def test_each_thing_of_the_line_belongs_to_its_data_set(console):
    """Whatever can be reached names its data set; publishers and keys belong to none alone."""
    for kind, name in walk(console, ("publisher", "census"), ["adult"]):
        assert console.dataset_of(kind, name) == (None if kind in {"publisher", "key"} else "adult")
    with pytest.raises(BadQuery):
        console.dataset_of("planet", "mars")


def test_a_registry_that_says_something_else_than_the_ledger_is_a_problem(own_world):
    """A digest that was changed in SQL is told on the page of the thing."""
    console = own_world.console
    with console._desk.database.write() as session:
        session.execute(
            update(Delivery).where(Delivery.id == own_world.ids["west"]).values(manifest_sha256="00" * 32)
        )
    problems = console.node("delivery", own_world.ids["west"])["problems"]
    assert any("the registry has 0000" in problem for problem in problems)


def test_a_thing_that_no_statement_tells_of_is_not_checked(console):
    """A row that somebody put into the registry stands there without a statement."""
    problems = console.node("delivery", "delivery-strange")["problems"]
    assert problems == ["not checked: no statement in the ledger tells of it"]


def test_a_statement_that_was_changed_cannot_be_believed(own_world):
    """Its signature does not stand up; the page of what it is about says which entry."""
    console = own_world.console
    entry = console.delivery(own_world.ids["west"])["statements"][0]["position"]
    with console._desk.database.engine.begin() as connection:
        for action in ("update", "delete"):
            connection.execute(text(f"DROP TRIGGER ledger_entry_no_{action}"))
        said = connection.execute(
            text("SELECT envelope FROM ledger_entry WHERE position = :p"), {"p": entry}
        ).scalar()
        body = json.loads(said)
        body["signatures"][0]["sig"] = body["signatures"][0]["sig"][::-1]
        connection.execute(
            text("UPDATE ledger_entry SET envelope = :e WHERE position = :p"),
            {"e": json.dumps(body, sort_keys=True, separators=(",", ":")), "p": entry},
        )
    problems = console.node("delivery", own_world.ids["west"])["problems"]
    assert any(f"entry {entry} cannot be believed" in problem for problem in problems)
    said = console.verify(60)
    assert said["outcome"] == "failed"
    assert said["problems"]


def test_a_champion_that_was_made_in_sql_is_a_problem(own_world):
    """The model's state must be what the last promotion says."""
    console = own_world.console
    with console._desk.database.write() as session:
        session.execute(update(ModelRow).where(ModelRow.id == own_world.ids["model"]).values(state="retired"))
    assert any("champion" in problem for problem in console.node("model", own_world.ids["model"])["problems"])


@pytest.mark.parametrize("kind", ["row", "model", "statement"])
def test_a_proof_can_be_checked_with_the_public_key_alone(console, world, kind):
    """Its file has a plain name, and what is in it stands up."""
    name = {
        "row": f"adult:{world.rounds.first['north']['person_id'][3].as_py()}",
        "model": world.ids["model"],
        "statement": "3",
    }[kind]
    file, data = console.proof(kind, name)
    assert file.startswith(f"proof-{kind}-")
    assert file.endswith(".json")
    assert not set(file) & set('/\\:"<> ')
    proved = verify_proof(json.loads(data), console._desk.ledger().public_key)
    assert proved.statements
    with pytest.raises(BadQuery):
        console.proof("publisher", "census")


def test_the_check_of_everything_passes_on_a_line_that_nobody_touched(own_world):
    """Log, registry and store were looked at, and the number of entries is told."""
    console = own_world.console
    with console._desk.database.write() as session:  # the strange data set was never stated
        for table in ("model", "run", "snapshot_delivery", "snapshot", '"case"', "delivery_file", "delivery"):
            column = {"snapshot_delivery": "snapshot_id", "delivery_file": "delivery_id"}.get(table, "id")
            session.execute(text(f"DROP TRIGGER IF EXISTS {table.strip(chr(34))}_no_delete"))
            session.execute(text(f"DELETE FROM {table} WHERE {column} LIKE '%strange'"))
    said = console.verify(120)
    assert said["problems"] == []
    assert said["outcome"] == "passed"
    assert said["entries"] > 10


def test_rows_that_were_never_stated_fail_the_check(console):
    """The strange data set's snapshot is in no statement."""
    said = console.verify(120)
    assert said["outcome"] == "failed"
    assert any("snapshot-strange" in problem for problem in said["problems"])


def test_a_check_that_is_not_finished_in_time_is_not_checked(console):
    """It is ended, it never passes, and the command that takes its time is named."""
    said = console.verify(0.01)
    assert said["outcome"] == "not_checked"
    assert "0.01 s" in said["problems"][0]
    assert said["reproduce"][0]["command"].endswith("assay ledger verify")


def test_two_checks_at_once_are_one(console):
    """The second is told that one goes on."""
    assert console_proofs._checking.acquire(blocking=False)
    try:
        said = console.verify(60)
    finally:
        console_proofs._checking.release()
    assert said["outcome"] == "not_checked"
    assert "another check" in said["problems"][0]


def test_settings_survive_their_way_to_the_checking_process(world):
    """Paths, tuples and what is missing come out as they went in."""
    assert unpacked(packed(world.town.settings)) == world.town.settings


def test_many_threads_read_the_same_case_at_once(world):
    """The rows are unsealed once, and each thread gets the same page."""
    console = world.console
    pages: list[dict] = []
    threads = [
        threading.Thread(target=lambda: pages.append(console.case_rows(world.ids["west/screening"], limit=3)))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pages) == 12
    assert all(page == pages[0] for page in pages)
    assert len(console._desk.shelf["rows"]) == 1
    console.close()


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (("adult__intake",), "deliveries?dataset=adult"),
        (("adult__training",), "runs?dataset=adult"),
        (("something_else",), "overview"),
        (("nowhere__intake",), "overview"),
    ],
)
def test_an_airflow_page_opens_ours(console, arguments, page):
    """DAGs of a data set lead to it, others to the overview."""
    assert console.open_page(*arguments)["to"] == page


def test_a_run_of_airflow_opens_what_it_made(console, world):
    """The held delivery for an intake, the case for its review where only one waits, run or model for a training."""
    ids = world.ids
    found = {"deliveries": [ids["west"], ids["north"]]}
    assert console.open_page("adult__intake", "r", "screen", found)["to"] == f"delivery/{ids['west']}"
    only = {"deliveries": [ids["north"]]}
    assert console.open_page("adult__intake", "r", "review", only)["to"] == f"case/{ids['north/validation']}"
    trained = {"run": ids["run"], "model": ids["model"]}
    assert console.open_page("adult__training", "r", "train", trained)["to"] == f"run/{ids['run']}"
    assert console.open_page("adult__training", "r", "approve", trained)["to"] == f"model/{ids['model']}"
    foreign = {"deliveries": ["delivery-strange"]}
    assert console.open_page("adult__intake", "r", None, foreign)["to"] == "deliveries?dataset=adult"
