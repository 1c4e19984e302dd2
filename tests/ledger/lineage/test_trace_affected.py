"""From a key, a publisher or a file to every row, snapshot and model; from a held row to why it was held."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from assay.cli import app
from assay.db import Snapshot, put_snapshot
from assay.errors import UsageError
from assay.findings import Outcome
from assay.ledger import NotInLedger, make_manifest, trace
from assay.ledger.keys.signing import public_pem
from assay.ledger.lineage.affected import affected, affected_rows
from assay.ledger.lineage.touched import Affected
from assay.ledger.lineage.versions import ROWS
from tests.ledger.support import COLUMNS, as_owner, content_name, sha
from tests.ledger.told import HOSTILE, KEYS, Told, tell


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A line, for reading."""
    folder = tmp_path_factory.mktemp("told")
    return tell(f"sqlite:///{folder / 'test.db'}", folder)


@pytest.fixture
def own(tmp_path: Path) -> Told:
    """A line of the test's own."""
    return tell(f"sqlite:///{tmp_path / 'test.db'}", tmp_path)


def ask(told: Told, what: str, **window: str) -> Affected:
    """What a thing touched."""
    return affected(told.log, told.store, what, **window)


def rows_of(told: Told, found: Affected) -> pa.Table:
    """Every row of it."""
    return pa.Table.from_batches(affected_rows(told.log, told.store, found), ROWS)


def test_a_key_leads_to_its_rows_snapshots_models_and_cases(told: Told) -> None:
    """The second key signed the second delivery: 10 rows of version 2, and the model that learned from it."""
    found = ask(told, KEYS[1])
    assert [each.delivery for each in found.deliveries] == [told.deliveries[1]]
    assert [(each.version, each.rows, each.of) for each in found.snapshots] == [(2, 10, 30)]
    assert [(each.model, each.state, each.rows) for each in found.models] == [
        (told.models[1], "champion", 10)
    ]
    assert (found.cases, found.rows, found.problems) == ((told.case,), 10, ())


def test_the_first_key_is_in_both_snapshots_and_both_models(told: Told) -> None:
    """Its 20 rows are counted once, and stand in two versions."""
    found = ask(told, KEYS[0])
    assert [(each.version, each.rows) for each in found.snapshots] == [(1, 20), (2, 20)]
    assert {each.model for each in found.models} == set(told.models)
    assert found.rows == 20


def test_every_row_is_listed_with_where_it_came_from(told: Told) -> None:
    """File, record, hash, and the first and last version that hold it."""
    table = rows_of(told, ask(told, KEYS[0]))
    assert table.num_rows == 20
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["delivery"], first["file"], first["record"]) == (told.deliveries[0], "census.csv", 0)
    assert (first["first_version"], first["last_version"]) == (1, 2)
    hashed = trace(told.log, told.log.database, told.store, first["row_hash"])
    assert hashed.rows[0].values["id"] == 0


def test_a_window_leaves_out_what_came_in_before_or_after(told: Told) -> None:
    """By our clock; the end is not part of it; a month, a day and a moment may be given."""
    assert [d.delivery for d in ask(told, "census", since="2026-03").deliveries] == [told.deliveries[1]]
    assert [d.delivery for d in ask(told, "census", until="2026-03-01").deliveries] == [told.deliveries[0]]
    assert ask(told, "census", since="2026-03-15T08:00:01Z").deliveries == ()
    assert len(ask(told, "census", since="2026-03-15T08:00:00Z", until="2027").deliveries) == 1
    with pytest.raises(UsageError, match="cannot be read"):
        ask(told, "census", since="last March")


def test_a_stolen_keys_own_date_does_not_move_it_out_of_the_window(own: Told) -> None:
    """A thief may sign any date: what counts is when the delivery came in."""
    found = ask(own, KEYS[1], since="2026-03", until="2026-04")
    assert found.deliveries[0].first_seen.startswith("2026-03")
    assert "first_seen" in json.dumps(found.as_dict())


@pytest.mark.parametrize("what", [sha("file 2"), f"sha256:{sha('file 2')}"])
def test_a_files_digest_leads_to_its_rows(what: str, told: Told) -> None:
    """Only the rows that stood in that file."""
    found = ask(told, what)
    assert found.deliveries[0].files == ("census.csv",)
    assert (found.rows, rows_of(told, found).num_rows) == (10, 10)


def test_a_files_path_leads_to_every_delivery_that_has_one(told: Told) -> None:
    """Both deliveries hold a file of that name."""
    assert ask(told, "census.csv").rows == 30


def test_a_publisher_leads_to_all_its_deliveries(told: Told) -> None:
    """By name, whatever key signed."""
    assert [each.delivery for each in ask(told, "census").deliveries] == list(told.deliveries)


def test_a_row_that_a_later_version_leaves_out_is_still_affected(own: Told) -> None:
    """It was in the first snapshot, and a model learned from it."""
    with own.log.database.session() as session:
        from assay.db import list_snapshots

        newest = list_snapshots(session, "people")[-1]
    from assay.ledger import make_part, read_manifest

    parent = read_manifest(own.store, newest)
    part = make_part(own.store, parent.parts[0].sha256, parent.parts[0].delivery_id, [(0, 5)])
    manifest = make_manifest(
        own.store,
        dataset="people",
        contract_sha256=sha("contract"),
        columns=COLUMNS,
        key=["id"],
        parts=[part, *parent.parts[1:]],
        parent=parent,
    )
    stored = own.store.put_bytes(manifest.to_json()).sha256
    with own.log.database.write() as session:
        put_snapshot(
            session,
            Snapshot(
                id=manifest.id,
                dataset="people",
                version=3,
                parent_id=manifest.parent,
                merkle_root=manifest.merkle_root,
                manifest_object=stored,
                rows=manifest.rows,
                admitted_at="2026-04-01T00:00:00Z",
            ),
        )
    found = ask(own, KEYS[0])
    assert [(each.version, each.rows) for each in found.snapshots] == [(1, 20), (2, 20), (3, 15)]
    assert found.rows == 20
    table = rows_of(own, found).to_pylist()
    assert [row["last_version"] for row in table[:6]] == [2, 2, 2, 2, 2, 3]


def test_a_forged_statement_is_named_and_not_followed(own: Told) -> None:
    """What it says of deliveries counts for nothing; that it is there is said, and the trace fails."""
    with as_owner(own.log.database) as connection:
        connection.execute(
            text("UPDATE ledger_entry SET envelope = replace(envelope, 'sig', 'gis') WHERE position = 0")
        )
    found = ask(own, KEYS[0])
    assert found.deliveries == ()
    assert found.problems[0].startswith("entry 0")
    told = trace(own.log, own.log.database, own.store, KEYS[0])
    assert told.findings[0].outcome is Outcome.FAILED
    assert any("NOT TO BE BELIEVED" in line for line in told.lines())


def test_a_held_row_leads_to_its_case_reasons_and_decision(told: Told) -> None:
    """Released rows are in a snapshot and in a case: both are told, with score, p-value and reasons."""
    found = trace(told.log, told.log.database, told.store, "people:27")
    assert found.rows[0].decision == told.decision
    held = found.held[0]
    assert (held.case, held.status, held.row) == (told.case, "released", 7)
    assert (held.score, held.p_value, held.reasons) == (3.5, 0.001, ("census",))
    assert held.decisions == (told.decision,)
    steps = [step.statement.step for step in found.steps]
    assert "case-decided" in steps
    assert "delivery-screened" in steps


def test_a_row_that_is_only_in_quarantine_is_found(own: Told) -> None:
    """It is in no snapshot: its delivery, its case and what screening said are told all the same."""
    with as_owner(own.log.database) as connection:
        connection.execute(text("DELETE FROM snapshot WHERE version = 2"))
    found = trace(own.log, own.log.database, own.store, "people:27")
    assert found.rows == ()
    assert found.held[0].delivery == own.deliveries[1]
    lines = "\n".join(found.lines())
    assert f"is in {own.case} (screening, released, score 3.5, p-value 0.001)" in lines
    with pytest.raises(NotInLedger):
        trace(own.log, own.log.database, own.store, "people:4711")


def test_a_row_tells_every_check_of_its_deliveries(told: Told) -> None:
    """Passed ones are counted, the others are named with their words."""
    found = trace(told.log, told.log.database, told.store, "people:3")
    outcomes = {(check["check"], check["outcome"]) for check in found.checks}
    assert ("delivery-verified.fine", "passed") in outcomes
    assert ("delivery-screened.tool", "not_checked") in outcomes
    lines = "\n".join(found.lines())
    assert "checks of its deliveries: 3 not_checked, 3 passed" in lines
    assert "not_checked delivery-validated.tool: no tool for census" in lines


def test_a_row_is_found_by_its_hash_in_every_version(told: Told) -> None:
    """64 hexadecimal digits that are no object's digest."""
    by_key = trace(told.log, told.log.database, told.store, "people:3")
    by_hash = trace(told.log, told.log.database, told.store, by_key.rows[0].row_hash.hex())
    assert [(row.version, row.index) for row in by_hash.rows] == [(2, 3), (1, 3)]
    assert [step.position for step in by_hash.steps] == [step.position for step in by_key.steps]


def test_the_command_answers_what_a_stolen_key_touched(
    own: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text, JSON and a file with every row; a window that cannot be read is a wrong call."""
    (tmp_path / "keys").mkdir(exist_ok=True)
    (tmp_path / "keys" / "ledger.pub.pem").write_bytes(public_pem(own.log.public_key))
    monkeypatch.setenv("ASSAY_DATABASE_URL", f"sqlite:///{tmp_path / 'test.db'}")
    monkeypatch.setenv("ASSAY_STORE_URI", str(tmp_path / "store"))
    monkeypatch.setenv("ASSAY_KEYS_DIR", str(tmp_path / "keys"))

    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["ledger", "trace", *arguments])
        return result.exit_code, result.output

    out = tmp_path / "rows.parquet"
    code, said = run(KEYS[1], "--since", "2026-03", "--until", "2026-04", "--rows", str(out))
    assert code == 0
    assert "1 deliveries, 10 rows, 1 snapshots, 1 models, 1 cases" in said
    assert pq.read_table(out).num_rows == 10
    answer = json.loads(run(KEYS[0], "--json")[1])
    assert answer["affected"]["models"][0]["model"] in own.models
    assert run(KEYS[0], "--since", "soon")[0] == 2
    assert run(own.models[0], "--rows", str(out))[0] == 2
    assert [path for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_hostile_names_are_asked_for_and_told_as_they_are(tmp_path: Path) -> None:
    """A publisher whose name is an attack is a publisher like any other."""
    told = tell(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, HOSTILE)
    assert ask(told, f"{HOSTILE}.csv").rows == 30
    assert ask(told, content_name("delivery", 7)).deliveries == ()


def test_a_terminal_is_shown_nothing_that_it_would_obey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escape sequences and text-direction marks in reviewers' and files' names are written out."""
    told = tell(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, "olga\x1b[2Jx\u202e")
    (tmp_path / "keys").mkdir(exist_ok=True)
    (tmp_path / "keys" / "ledger.pub.pem").write_bytes(public_pem(told.log.public_key))
    monkeypatch.setenv("ASSAY_DATABASE_URL", f"sqlite:///{tmp_path / 'test.db'}")
    monkeypatch.setenv("ASSAY_STORE_URI", str(tmp_path / "store"))
    monkeypatch.setenv("ASSAY_KEYS_DIR", str(tmp_path / "keys"))
    said = CliRunner().invoke(app, ["ledger", "trace", "people:27"]).output
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "olga[U+001B][2Jx[U+202E]" in said
