"""A case: its rows filtered, sorted and exported, its groups, and each row beside the trusted ones."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from assay.console import BadQuery, NotFound
from assay.console.exporting import plain
from assay.console.rowindex import RowIndex
from assay.line import Line
from assay.quarantine import case_rows, list_cases
from assay.quarantine.rows import keep_rows
from tests.console.conftest import poisoned, suspicious


def everything(ask, **query):
    items, cursor = [], None
    while True:
        page = ask(limit=7, cursor=cursor, **query)
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items


@pytest.fixture
def case_id(world) -> str:
    """The case of the rows that look poisoned."""
    return world.ids["west/screening"]


def test_a_case_tells_what_it_is_about_with_its_groups_and_its_terms(console, world, case_id):
    """Evidence, groups of screening, what can be drawn, and the statements that tell of it."""
    said = console.case(case_id)
    assert said["kind"] == "screening"
    assert said["blocking"]
    assert "exhibits" not in said["evidence"]
    kinds = {group["kind"] for group in said["groups"]}
    assert {"trigger", "source", "signal"} <= kinds
    trigger = next(g for g in said["groups"] if "Hungary" in g["message"])
    assert "native_country" in trigger["columns"]
    assert said["plots"]["columns"][0] == "income"
    assert said["plots"]["score"]
    assert said["plots"]["sources"]
    assert said["plots"]["losses"] == {
        "available": False,
        "why_not": "its rows are in no snapshot: no run has learnt from them",
        "runs": [],
    }
    roles = {column["name"]: column["role"] for column in said["columns"]}
    assert (roles["person_id"], roles["income"]) == ("key", "label")
    assert [step["type"] for step in said["statements"]] == ["delivery-screened"]
    outcomes = [finding["outcome"] for finding in said["findings"]]
    assert outcomes == sorted(outcomes, key=["failed", "not_checked", "passed"].index)
    assert json.loads(json.dumps(said, allow_nan=False)) == said


def test_the_rows_of_a_trigger_are_the_ones_that_were_poisoned(console, world, case_id):
    """Selecting the group selects the backdoored rows, and nothing else."""
    group = next(g for g in console.case(case_id)["groups"] if "Hungary" in g["message"])
    rows = everything(lambda **q: console.case_rows(case_id, **q), group=group["id"])
    assert {row["values"]["person_id"] for row in rows} == poisoned(world)
    assert all(group["id"] in row["group_ids"] for row in rows)
    assert sorted(row["row"] for row in rows) == console.rows_of_group(case_id, group["id"]).tolist()


@pytest.mark.parametrize(
    ("sort", "order"),
    [("score", None), ("row", "desc"), ("age", "asc"), ("native_country", "desc"), ("p_value", "asc")],
)
def test_pages_of_rows_together_are_all_rows_in_the_order_that_was_asked_for(
    console, world, case_id, sort, order
):
    """Each row once; equal values by row number; rows without a value last."""
    rows = everything(lambda **q: console.case_rows(case_id, **q), sort=sort, order=order)
    assert len(rows) == console.case_rows(case_id)["total"] == len({row["row"] for row in rows})
    assert len(rows) == suspicious(world)
    values = [row[sort] if sort in {"score", "row", "p_value"} else row["values"][sort] for row in rows]
    known = [value for value in values if value is not None]
    falling = order == "desc" or order is None
    assert known == sorted(known, reverse=falling)
    assert values[len(known) :] == [None] * (len(values) - len(known))
    ties = [
        (a["row"], b["row"]) for a, b, x, y in zip(rows, rows[1:], values, values[1:], strict=False) if x == y
    ]
    assert all(first < second for first, second in ties)


def test_rows_are_searched_by_value_by_number_and_by_what_a_signal_said(console, case_id):
    """A text in any column, without regard to case; a whole number also as a row number."""
    found = everything(lambda **q: console.case_rows(case_id, **q), q="HUNGAR")
    assert found
    assert {row["values"]["native_country"] for row in found} == {"Hungary"}
    number = found[0]["row"]
    assert number in {row["row"] for row in console.case_rows(case_id, q=str(number))["items"]}
    labelled = everything(lambda **q: console.case_rows(case_id, **q), reason="labels")
    assert labelled
    assert all("labels" in {reason["signal"] for reason in row["reasons"]} for row in labelled)
    assert console.case_rows(case_id, q="no such words")["items"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "colour"},
        {"sort": "_reasons"},
        {"order": "up"},
        {"reason": "magic"},
        {"q": "x" * 201},
        {"cursor": "WzFd"},
    ],
)
def test_a_question_about_rows_that_cannot_be_understood_is_refused(console, case_id, query):
    """Nothing is guessed."""
    with pytest.raises(BadQuery):
        console.case_rows(case_id, **query)


def test_a_cursor_of_another_order_or_filter_is_refused(console, case_id):
    """A place in one list is none in another."""
    cursor = console.case_rows(case_id, limit=5)["next"]
    for query in ({"sort": "age"}, {"q": "Hungary"}, {"reason": "labels"}):
        with pytest.raises(BadQuery, match="cursor"):
            console.case_rows(case_id, cursor=cursor, **query)


def test_a_row_stands_beside_the_nearest_trusted_rows_and_names_its_record(console, world, case_id):
    """The nearest trusted rows differ where it says so, and the signed file has the row at that record."""
    number = console.case_rows(case_id, limit=1)["items"][0]["row"]
    row = console.case_row(case_id, number)
    assert 3 <= len(row["nearest"]) <= 5
    distances = [near["distance"] for near in row["nearest"]]
    assert distances == sorted(distances)
    labels = {near["values"]["income"] for near in row["nearest"]}
    assert labels == {"<=50K", ">50K"}
    for near in row["nearest"]:
        differs = {name for name in row["values"] if near["values"][name] != row["values"][name]}
        assert set(near["differs"]) == differs
        assert world.rounds.trusted["person_id"][near["trusted_row"]].as_py() == near["values"]["person_id"]
    origin = row["origin"]
    sent = pq.read_table(world.town.stage.sent / "west-2" / origin["file"])
    assert sent["person_id"][origin["record"]].as_py() == row["values"]["person_id"]
    assert origin["publisher"] == "census"


def test_rows_that_failed_validation_say_what_they_broke(console, world):
    """A validation case has the expectations among its reasons, and groups by them."""
    case_id = world.ids["north/validation"]
    rows = console.case_rows(case_id)["items"]
    assert [row["values"]["age"] for row in rows] == [400, 401, 402]
    assert all(row["reasons"] for row in rows)
    assert any("age" in reason["columns"] for row in rows for reason in row["reasons"])
    said = console.case(case_id)
    assert sum(group["rows"] for group in said["groups"]) >= 3
    assert {finding["check"].split(".")[0] for finding in said["findings"]} == {"expect"}


def test_a_case_about_a_delivery_has_no_rows_but_says_why_it_is_held(console, world):
    """Its rows are not found; its evidence and its plots are there."""
    case_id = world.ids["west/delivery"]
    said = console.case(case_id)
    assert said["rows"] == 0
    assert said["evidence"]["why"]
    assert said["plots"]["sources"]
    assert said["groups"] == []
    with pytest.raises(NotFound):
        console.case_rows(case_id)


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.case("case-none"),
        lambda c: c.delivery("delivery-none"),
        lambda c: c.case_rows("case-none"),
        lambda c: c.case_row("case-none", 0),
        lambda c: c.plot_column("case-none", "age"),
        lambda c: c.plot_score("case-none"),
        lambda c: c.plot_sources("case-none"),
        lambda c: c.plot_group("case-none", "x"),
        lambda c: c.plot_losses("case-none"),
        lambda c: c.export_csv("case-none"),
        lambda c: c.run("run-none"),
        lambda c: c.curve("run-none"),
        lambda c: c.model("model-none"),
        lambda c: c.node("case", "case-none"),
        lambda c: c.proof("model", "model-none"),
        lambda c: c.dataset_of("delivery", "delivery-none"),
        lambda c: c.dataset_of("row", "nowhere:1"),
    ],
)
def test_an_id_that_nothing_has_is_not_found(console, ask):
    """Each way in says so in the same way."""
    with pytest.raises(NotFound):
        ask(console)


def test_unknown_rows_and_groups_of_a_known_case_are_not_found(console, case_id):
    """The message names what was asked for."""
    with pytest.raises(NotFound, match="999999"):
        console.case_row(case_id, 999_999)
    with pytest.raises(NotFound, match="finding-none"):
        console.case_rows(case_id, group="finding-none")
    with pytest.raises(NotFound):
        console.plot_group(case_id, "signal:magic")


def test_the_export_has_every_row_whole_and_in_the_order_asked_for(console, case_id):
    """Read back, the CSV says what the pages say."""
    text = b"".join(console.export_csv(case_id, sort="row")).decode()
    read = list(csv.DictReader(io.StringIO(text)))
    rows = everything(lambda **q: console.case_rows(case_id, **q), sort="row")
    assert [int(each["row"]) for each in read] == [row["row"] for row in rows]
    assert [int(each["age"]) for each in read] == [row["values"]["age"] for row in rows]
    assert all(float(each["score"]) > 0 for each in read)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1", " =1", "\ufeff=1"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_made_text(text):
    """An apostrophe stands before it."""
    assert plain(text) == f"'{text}"


@pytest.mark.parametrize("value", ["plain", "a=b", "", None, -5, -1.5, True, "3"])
def test_other_cells_are_exported_as_they_are(value):
    """A negative number is no formula."""
    assert plain(value) == value


def test_hostile_cells_come_back_as_text_cut_where_they_are_long(own_world):
    """Markup, direction marks, NUL, a megabyte of text and huge numbers: all are JSON text, and nothing is lost."""
    hostile = ["<script>alert(1)</script>", "javascript:alert(1)", "\u202eabc\x00def", "x" * 1_000_000]
    with own_world.town.line() as line:
        found = next(c for c in list_cases(line.database, kind="screening") if c.source == "west")
        rows = case_rows(line.database, line.store, found.id)
        texts = rows["workclass"].to_pylist()
        texts[: len(hostile)] = hostile
        import pyarrow as pa

        changed = rows.set_column(rows.column_names.index("workclass"), "workclass", pa.array(texts))
        changed = changed.append_column("big", pa.array([2**60] * rows.num_rows))
        changed = changed.append_column("bytes", pa.array([b"\x00\xff" * 100] * rows.num_rows))
        index = RowIndex(line.store, keep_rows(line.store, changed).sha256, line.settings.work_dir)
    shown = index.read(range(4))
    assert [each["values"]["workclass"] for each in shown[:3]] == hostile[:3]
    assert shown[3]["values"]["workclass"] == {"text": "x" * 500, "length": 1_000_000, "truncated": True}
    assert shown[0]["values"]["big"] == str(2**60)
    assert shown[0]["values"]["bytes"]["length"] == 200
    assert json.loads(json.dumps(shown)) == shown


def test_unsealed_rows_leave_no_file_behind(own_world):
    """What is mapped has no name in the scratch space."""
    console = own_world.console
    console.case_rows(own_world.ids["west/screening"])
    assert not list(own_world.town.settings.work_dir.glob(".rows-*"))
    console.close()


def test_rows_that_were_changed_in_the_store_are_not_shown(own_world):
    """A sealed object that does not open is an error, never an empty page."""
    from assay.store import StoreCorrupt

    with own_world.town.line() as line:
        stored = next(
            c for c in list_cases(line.database, kind="screening") if c.source == "west"
        ).rows_object
        path = Path(line.store.uri_of(stored).removeprefix("file://"))
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        own_world.console.case_rows(own_world.ids["west/screening"])


def test_what_was_decided_on_single_rows_is_shown_on_the_whole_and_on_the_parts(own_world):
    """After a decision on some rows the first case shows it on these, and its parts are linked."""
    from assay.line import decide_case

    case_id = own_world.ids["west/screening"]
    with Line.open(own_world.town.stage.contract, own_world.town.settings) as line:
        numbers = own_world.console.case_rows(case_id, sort="row", limit=3)["items"]
        chosen = [row["row"] for row in numbers]
        left = suspicious(own_world) - len(chosen)
        made = decide_case(line, case_id, "reject", "olga", "these three", rows=np.array(chosen)).as_dict()
    console = own_world.console
    whole = console.case(case_id)
    assert whole["status"] == "split"
    assert set(whole["children"]) == {made["split"]["chosen"], made["split"]["rest"]}
    decided = {r["row"]: r["decided"] for r in everything(lambda **q: console.case_rows(case_id, **q))}
    assert {row for row, said in decided.items() if said == "reject"} == set(chosen)
    assert {said for row, said in decided.items() if row not in chosen} == {None}
    rest = console.case(made["split"]["rest"])
    assert rest["parent"] == case_id
    assert rest["rows"] == left
    assert sum(group["rows"] for group in rest["groups"] if group["kind"] == "source") == left
    assert console.plot_column(rest["id"], "age")["nulls"]["suspicious"] == 0
    assert sum(console.plot_column(rest["id"], "age")["suspicious"]) == left


def test_a_case_that_was_opened_before_exhibits_were_kept_says_so(own_world):
    """Its rows are shown; its plots are not there, with the reason."""
    from sqlalchemy import update

    from assay.db import Case

    case_id = own_world.ids["west/screening"]
    console = own_world.console
    with console._desk.database.write() as session:
        session.execute(update(Case).where(Case.id == case_id).values(evidence={"reasons": {"labels": 5}}))
    said = console.case(case_id)
    assert said["plots"]["why_not"]
    assert said["plots"]["columns"] == []
    assert [group["id"] for group in said["groups"]] == ["signal:labels"]
    assert console.case_rows(case_id)["total"] == suspicious(own_world)
    with pytest.raises(NotFound, match="before such counts were kept"):
        console.plot_column(case_id, "age")


def test_a_delivery_shows_each_check_its_steps_and_why_it_is_held(console, world):
    """Failed checks first, nothing left out, and the steps that it has not reached are not checked."""
    said = console.delivery(world.ids["west"])
    assert [step["name"] for step in said["steps"]] == ["verify", "validate", "screen", "review", "admit"]
    assert [step["outcome"] for step in said["steps"]] == [
        "passed",
        "passed",
        "failed",
        "not_checked",
        "not_checked",
    ]
    assert {file["path"] for file in said["files"]} == {
        "delivery.json",
        "rows-000.parquet",
        "rows-001.parquet",
    }
    checks = {finding["check"] for finding in said["findings"]}
    assert {"intake.signature", "expect.types", "screen.sources", "screen.spikes"} <= checks
    assert said["why_held"]
    assert {case["kind"] for case in said["cases"]} == {"screening", "delivery"}
    assert [step["type"] for step in said["statements"]] == [
        "delivery-verified",
        "delivery-validated",
        "delivery-screened",
    ]
    assert said["statements"][0]["at"]


def test_a_rejected_delivery_says_what_rejected_it(own_world):
    """A changed byte: verification failed, nothing later was reached, and the reason stands above."""
    from assay.line import DeliveryRejected, land

    town = own_world.town
    town.stage.deliver("east", own_world.rounds.second["east"], 3)
    town.stage.tamper("east")
    with town.line() as line, pytest.raises(DeliveryRejected):
        land(line, "east")
    console = own_world.console
    newest = console.deliveries(dataset="adult", source="east", state="rejected")["items"][0]
    said = console.delivery(newest["id"])
    assert [step["outcome"] for step in said["steps"]] == [
        "failed",
        "not_checked",
        "not_checked",
        "not_checked",
        "failed",
    ]
    assert any("intake.checksums" in reason for reason in said["why_held"])


def test_what_was_not_checked_is_shown_as_such(console, world):
    """A finding that could not be asked keeps its outcome, and stands before those that passed."""
    with console._desk.session() as session:
        from assay.console.lines import finding_lines, finding_rows

        lines = finding_lines(finding_rows(session, world.ids["run"]))
    unchecked = [each for each in lines if each["outcome"] == "not_checked"]
    assert unchecked
    assert lines.index(unchecked[-1]) < min(i for i, each in enumerate(lines) if each["outcome"] == "passed")
