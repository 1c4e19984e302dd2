"""`assay cases`, as reviewers and scripts call it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from assay.cli import app
from assay.contract import Review
from assay.db import open_database, put_delivery
from assay.ledger import open_ledger
from assay.quarantine import open_case
from assay.settings import Settings
from assay.store import open_store
from tests.contract.examples import DESIGN
from tests.db.rows import a_delivery

ROWS = pa.table(
    {
        "age": [30, 40],
        "workclass": ["Private", "\x1b[31mred[/] [bold]x"],
        "_row": pa.array([1, 2], pa.int64()),
        "_score": [0.7, 0.2],
        "_p_value": [0.01234567, 0.02],
        "_reasons": [["label: rare for its neighbours"], []],
    }
)


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, ["cases", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def case_id(assay_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    contracts = tmp_path / "contracts"
    contracts.mkdir()
    (contracts / "adult.yaml").write_text(DESIGN)
    (contracts / "broken.yaml").write_text("a: [")
    monkeypatch.setenv("ASSAY_CONTRACTS_DIR", str(contracts))
    settings = Settings.from_env()
    database = open_database(settings)
    with database.write() as session:
        put_delivery(session, a_delivery("delivery-1", state="held"))
    made = open_case(
        database,
        open_store(settings),
        dataset="adult",
        delivery_id="delivery-1",
        kind="screening",
        rows=ROWS,
        summary="2 rows look poisoned",
        evidence={"reasons": {"label": 1}},
        review=Review(),
    )
    database.dispose()
    return made


def ledger_steps() -> list[str]:
    settings = Settings.from_env()
    database = open_database(settings)
    entries = open_ledger(settings, database).entries()
    database.dispose()
    return [entry.statement.step for entry in entries]


def test_open_cases_are_listed(case_id: str) -> None:
    """By default those that wait; closed ones on request."""
    assert case_id[:13] in run("list").output
    assert "no released cases" in run("list", "--status", "released").output
    payload = json.loads(run("list", "--status", "all", "--dataset", "adult", "--json").output)
    assert [case["id"] for case in payload["cases"]] == [case_id]
    assert json.loads(run("list", "--delivery", "other", "--json").output) == {"cases": []}


def test_a_case_is_shown_with_evidence_and_first_rows(case_id: str) -> None:
    """What a stranger wrote into the rows is shown, not obeyed."""
    shown = run("show", case_id).output
    assert "2 rows look poisoned" in shown
    assert '{"reasons": {"label": 1}}' in shown
    assert "label: rare" in shown
    assert "\x1b[31m" not in shown
    assert "\\x1b" in shown
    assert "First 1 of 2 rows" in run("show", case_id, "--rows", "1").output
    payload = json.loads(run("show", case_id[:12], "--json").output)
    assert payload["status"] == "open"
    assert payload["first_rows"][0]["age"] == 30
    assert json.loads(run("show", case_id, "--rows", "0", "--json").output)["first_rows"] == []


def test_a_release_is_decided_and_entered_in_the_ledger(case_id: str) -> None:
    """Running the command again changes nothing and enters nothing twice."""
    for repeated in (False, True):
        result = run("release", case_id, "--reason", "known customers", "--reviewer", "olga", "--json")
        assert result.exit_code == 0
        payload = json.loads(result.output)
        assert (payload["status"], payload["reviewer"], payload["repeated"]) == ("released", "olga", repeated)
    assert ledger_steps().count("case-decided") == 1
    shown = run("show", case_id).output
    assert "olga on the command line at" in shown
    assert "known customers" in shown


def test_a_rejection_takes_the_systems_user_as_reviewer(
    case_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless one is named."""
    monkeypatch.setenv("LOGNAME", "ursula")
    result = run("reject", case_id, "--reason", "flipped labels")
    assert result.exit_code == 0
    assert "ursula decided to reject 2 rows" in result.output
    later = run("release", case_id, "--reason", "no", "--reviewer", "olga")
    assert later.exit_code == 1
    assert "ursula decided to reject it" in later.output


def test_a_release_that_needs_more_people_exits_1(case_id: str, tmp_path: Path) -> None:
    """The case is still held."""
    strict = tmp_path / "strict.yaml"
    strict.write_text(DESIGN.replace("approvals: 1", "approvals: 2"))
    first = run("release", case_id, "--reason", "fine", "--reviewer", "olga", "--contract", strict)
    assert first.exit_code == 1
    assert "stays open" in first.output
    second = run("release", case_id, "--reason", "fine", "--reviewer", "vic", "--contract", strict)
    assert second.exit_code == 0
    assert second.output.startswith("released")


def test_mistakes_are_answered_with_exit_2(
    case_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No reason, no such case, the wrong contract, no contract."""
    assert run("release", case_id).exit_code == 2
    assert run("release", case_id, "--reason", "  ").exit_code == 2
    assert run("show", "case-nowhere").exit_code == 2
    other = tmp_path / "other.yaml"
    other.write_text(DESIGN.replace("dataset: adult", "dataset: other"))
    assert run("release", case_id, "--reason", "fine", "--contract", other).exit_code == 2
    assert run("release", case_id, "--reason", "fine", "--contract", tmp_path / "nowhere").exit_code == 2
    monkeypatch.setenv("ASSAY_CONTRACTS_DIR", str(tmp_path / "empty"))
    missing = run("release", case_id, "--reason", "fine")
    assert missing.exit_code == 2
    assert "name it with --contract" in missing.output
    assert json.loads(run("list", "--json").output)["cases"][0]["status"] == "open"


def test_a_broken_contract_of_the_data_set_decides_nothing(case_id: str, tmp_path: Path) -> None:
    """Its terms of review cannot be read."""
    (tmp_path / "contracts" / "adult.yaml").write_text("version: 1\nversion: 1\n")
    result = run("release", case_id, "--reason", "fine")
    assert result.exit_code == 2
    assert "stands twice" in result.output


def test_an_empty_quarantine_says_so(assay_home: Path) -> None:
    """On a machine where nothing happened yet."""
    assert "no open cases" in run("list").output
