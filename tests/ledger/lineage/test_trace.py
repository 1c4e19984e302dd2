"""Lineage: from a model to its sources, from a source to its models, and from a row to both."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import text

from assay.db import Snapshot, put_snapshot
from assay.findings import Outcome
from assay.ledger import (
    Ledger,
    NoLedgerKey,
    NotInLedger,
    Part,
    SnapshotError,
    annotate,
    find_rows,
    make_manifest,
    make_part,
    make_statement,
    row_hash,
    sign_statement,
    trace,
)
from assay.ledger.statements.statement import index_key
from assay.store import put_table
from tests.ledger.support import (
    COLUMNS,
    KEY,
    OTHER_KEY,
    Line,
    as_owner,
    content_name,
    copied,
    people,
    put_people,
    sha,
    small_line,
    statement,
)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A line that ran twice, for reading."""
    folder = tmp_path_factory.mktemp("line")
    return small_line(f"sqlite:///{folder / 'test.db'}", folder)


@pytest.fixture
def own_line(line: Line, tmp_path: Path) -> Line:
    """A copy of it, for changing."""
    return copied(line, tmp_path / "copy")


def steps(line: Line, what: str) -> list[tuple[str, str, int]]:
    """Relation, step and the turn (1 or 2) of each statement of a trace."""
    found = trace(line.log, line.log.database, line.store, what)
    return [(step.relation, step.statement.step, 1 if step.position < 6 else 2) for step in found.steps]


def test_a_model_leads_back_to_the_signed_files_it_was_trained_on(line: Line) -> None:
    """Promotion, gates, run, both snapshots, both deliveries with their files and keys, and the human decision."""
    found = steps(line, line.models[1])
    assert [entry for entry in found if entry[0] == "upstream"] == [
        ("upstream", "delivery-verified", 1),
        ("upstream", "delivery-screened", 1),
        ("upstream", "snapshot-admitted", 1),
        ("upstream", "delivery-verified", 2),
        ("upstream", "delivery-screened", 2),
        ("upstream", "case-decided", 2),
        ("upstream", "snapshot-admitted", 2),
    ]
    assert [entry[1] for entry in found if entry[0] == "about"] == [
        "run-finished",
        "gates-judged",
        "model-promoted",
    ]


def test_the_first_model_knows_nothing_of_the_second_delivery(line: Line) -> None:
    """Its chain ends where its snapshot was made."""
    assert all(turn == 1 for _, _, turn in steps(line, line.models[0]))


def test_a_delivery_leads_on_to_every_model_that_learned_from_it(line: Line) -> None:
    """The first delivery is in both snapshots, hence in both models; the second only in the later one."""
    first = [entry for entry in steps(line, line.deliveries[0]) if entry[1] == "model-promoted"]
    second = [entry for entry in steps(line, line.deliveries[1]) if entry[1] == "model-promoted"]
    assert first == [("downstream", "model-promoted", 1), ("downstream", "model-promoted", 2)]
    assert second == [("downstream", "model-promoted", 2)]


@pytest.mark.parametrize("form", ["{}", "sha256:{}"])
def test_a_files_digest_leads_to_its_delivery_and_models(line: Line, form: str) -> None:
    """A file on someone's disk is enough to ask what became of it."""
    found = steps(line, form.format(sha("file 2")))
    assert ("downstream", "delivery-verified", 2) in found
    assert ("downstream", "model-promoted", 2) in found
    assert all(turn == 2 for _, _, turn in found)


def test_a_key_leads_to_everything_that_was_signed_with_it(line: Line) -> None:
    """After a key was stolen: which deliveries, which models."""
    found = steps(line, "minisign:0123456789ABCDEF")
    assert [turn for _, step, turn in found if step == "delivery-verified"] == [1, 2]
    assert [turn for _, step, turn in found if step == "model-promoted"] == [1, 2]


def test_a_decision_and_its_case_lead_to_each_other(line: Line) -> None:
    """Who released what, and which snapshot took it in."""
    for what in (line.decision, content_name("case", 1)):
        assert ("about", "case-decided", 2) in steps(line, what)
    assert ("downstream", "snapshot-admitted", 2) in steps(line, line.decision)


def test_a_statement_is_followed_by_its_id_and_by_its_position(line: Line) -> None:
    """Either way it is the lineage of what it is about."""
    entry = line.log.entry(2)
    assert entry is not None
    assert steps(line, entry.statement_id) == steps(line, "2") == steps(line, line.snapshots[0])


def test_files_of_the_same_name_do_not_link_deliveries(line: Line) -> None:
    """Both deliveries hold a people.csv; only digests, ids and keys link."""
    assert [turn for _, step, turn in steps(line, line.deliveries[1]) if step == "delivery-verified"] == [2]
    assert {turn for _, _, turn in steps(line, "people.csv")} == {1, 2}


def test_a_row_leads_to_its_file_and_record(line: Line) -> None:
    """Source, file, record, delivery, the versions that have it, and the models that learned from it."""
    found = trace(line.log, line.log.database, line.store, "people:7")
    assert [row.version for row in found.rows] == [2, 1]
    row = found.rows[0]
    assert (row.delivery, row.source, row.file, row.record) == (line.deliveries[0], "west", "people-0.csv", 7)
    assert (row.index, row.decision, row.values) == (7, None, {"id": 7, "name": "person 7", "age": 7})
    relations = [(step.relation, step.statement.step) for step in found.steps]
    assert ("about", "delivery-verified") in relations
    assert relations.count(("downstream", "model-promoted")) == 2


def test_a_released_row_leads_to_the_decision(line: Line) -> None:
    """Who let it in, and why, stands in the chain and in its text."""
    found = trace(line.log, line.log.database, line.store, "people:27")
    assert found.rows[0].decision == line.decision
    assert ("about", "case-decided") in [(step.relation, step.statement.step) for step in found.steps]
    text_ = "\n".join(found.lines())
    assert f"was released from quarantine by {line.decision}" in text_
    assert "reviewer olga" in text_
    assert "people-25.csv, record 2" in text_


def test_the_text_is_in_the_order_of_the_log_and_names_every_step(line: Line) -> None:
    """One line for each statement, with its position and its facts."""
    found = trace(line.log, line.log.database, line.store, line.models[0])
    lines = found.lines()
    assert len(lines) == len(found.steps) == 6
    assert "↑     0  delivery-verified" in lines[0]
    assert "●     4  gates-judged" in lines[4]
    assert "accuracy 0.85" in lines[4]
    assert json.loads(json.dumps(found.as_dict()))["steps"][0]["step"] == "delivery-verified"


def test_a_forged_statement_is_not_believed(own_line: Line) -> None:
    """An entry signed by someone else is shown, and marked; the outcome fails."""
    forged = sign_statement(
        make_statement(
            "delivery-verified", [(own_line.deliveries[0], sha("manifest 1"))], {"outcome": "passed"}
        ),
        OTHER_KEY,
    )
    for envelope, readable in ((forged, True), ("{}", False)):
        with as_owner(own_line.log.database) as connection:
            connection.execute(
                text("UPDATE ledger_entry SET envelope = :e WHERE position = 0"), {"e": envelope}
            )
        found = trace(own_line.log, own_line.log.database, own_line.store, own_line.deliveries[0])
        assert found.findings[0].outcome is Outcome.FAILED
        assert found.findings[0].subject == "entry 0"
        assert any("NOT TO BE BELIEVED" in text_ for text_ in found.lines())
        assert found.steps[0].statement.step == "delivery-verified"
        assert (found.steps[0].statement.subjects[0].name == own_line.deliveries[0]) is readable


def test_what_is_not_in_the_ledger_is_said_not_to_be(line: Line) -> None:
    """Ids, rows, data sets and numbers that are not there; a row without a store."""
    for what in ("model-0", "people:99", "people:x", "cars:7", "77", "people:", ":7", sha("nothing")):
        with pytest.raises(NotInLedger):
            trace(line.log, line.log.database, line.store, what)
    with pytest.raises(NotInLedger, match="need the object store"):
        trace(line.log, line.log.database, None, "people:7")


def test_without_a_key_nothing_is_traced(line: Line) -> None:
    """Signatures could not be checked."""
    found = trace(Ledger(line.log.database, None), line.log.database, line.store, line.models[0])
    assert found.findings[0].outcome is Outcome.FAILED
    with pytest.raises(NoLedgerKey):
        _ = Ledger(line.log.database, None).public_key


def test_long_names_are_traced(own_line: Line) -> None:
    """A path longer than the index's column."""
    path = "data/" * 80 + "file.csv"
    own_line.log.append(make_statement("delivery-verified", [(path, sha("long"))], {}))
    assert own_line.log.entries(path)[0].statement.subjects[0].name == path
    assert len(index_key(path)) <= 256
    assert steps(own_line, path) == [("about", "delivery-verified", 2)]


def test_a_long_chain_is_followed_in_portions(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """More names than a query takes."""
    expected = steps(line, line.models[1])
    monkeypatch.setattr("assay.ledger.lineage.graph._CHUNK", 2)
    assert steps(line, line.models[1]) == expected


def put(line: Line, dataset: str, key: list[str], excluded: list[tuple[int, int]]) -> None:
    """A snapshot of ten people."""
    part = put_people(line.store, 0, 10)
    part = make_part(line.store, part.sha256, part.delivery_id, excluded=excluded)
    register(line, dataset, key, [part, part])


def register(line: Line, dataset: str, key: list[str], parts: list[Part]) -> None:
    """A snapshot in the registry."""
    manifest = make_manifest(
        line.store, dataset=dataset, contract_sha256=sha("c"), columns=COLUMNS, key=key, parts=parts
    )
    row = Snapshot(
        id=manifest.id,
        dataset=dataset,
        version=1,
        merkle_root=manifest.merkle_root,
        manifest_object=line.store.put_bytes(manifest.to_json()).sha256,
        rows=manifest.rows,
        admitted_at="2026-03-01T00:00:00Z",
    )
    with line.log.database.write() as session:
        put_snapshot(session, row)


def test_rows_of_a_data_set_without_a_key_are_named_by_number(own_line: Line) -> None:
    """Rows that do not count are skipped in the count."""
    put(own_line, "keyless", [], [(2, 5)])
    database = own_line.log.database
    assert find_rows(database, own_line.store, "keyless", "#2")[0].values["id"] == 5
    assert find_rows(database, own_line.store, "keyless", "#7")[0].values["id"] == 0
    assert find_rows(database, own_line.store, "keyless", "#13")[0].index == 13
    for key in ("#14", "7", "#x"):
        with pytest.raises(NotInLedger):
            find_rows(database, own_line.store, "keyless", key)


def test_keys_of_several_columns_are_given_joined_or_as_json(own_line: Line) -> None:
    """A row stands once for each part that has it; one that does not count is not found."""
    put(own_line, "pairs", ["name", "id"], [(2, 5)])
    database = own_line.log.database
    for key in ("person 6,6", '["person 6", 6]'):
        assert [row.index for row in find_rows(database, own_line.store, "pairs", key)] == [3, 10]
    for key in ("person 6", "person 6,7", "person 3,3", "[1", '["person 6"]'):
        with pytest.raises(NotInLedger):
            find_rows(database, own_line.store, "pairs", key)


def test_a_row_far_down_a_part_is_read_from_its_row_group(
    own_line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts have row groups; only the row's own is read. Odd values are told as text."""
    monkeypatch.setattr("assay.store.tables.ROW_GROUP", 100)
    rows = (
        people(0, 350)
        .set_column(2, "age", pa.array([float("nan")] * 350))
        .set_column(1, "name", pa.array([dt.date(2026, 3, 1)] * 350))
    )
    part = annotate(rows, COLUMNS, delivery="d", source="s", file="f", record=pa.array(range(350)))
    register(
        own_line, "long", ["id"], [make_part(own_line.store, put_table(own_line.store, part).sha256, "d")]
    )
    (row,) = find_rows(own_line.log.database, own_line.store, "long", "237")
    assert (row.row, row.index, row.record) == (237, 237, 237)
    assert row.as_dict()["values"] == {"id": 237, "name": "2026-03-01", "age": "nan"}
    assert row.row_hash == row_hash(row.values)
    with pytest.raises(NotInLedger, match="has no snapshot"):
        find_rows(own_line.log.database, own_line.store, "none", "1")


def test_a_manifest_of_another_snapshot_is_not_taken(own_line: Line) -> None:
    """The registry's root and the manifest's must agree."""
    with as_owner(own_line.log.database) as connection:
        connection.execute(text("UPDATE snapshot SET merkle_root = :r"), {"r": sha("other")})
    with pytest.raises(SnapshotError, match="that of another snapshot"):
        find_rows(own_line.log.database, own_line.store, "people", "7")


def test_tracing_works_on_every_database(database_url: str, tmp_path: Path) -> None:
    """The same chain on SQLite and PostgreSQL."""
    line = small_line(database_url, tmp_path)
    assert len(steps(line, line.models[1])) == 10
    assert len(steps(line, "people:27")) == 7
    assert line.log.append(statement(1)).new
    assert line.log.public_key == KEY.public_key()
