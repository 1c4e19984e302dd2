"""`assay ledger export` and `schema` as people and programs call them: whole files, exit codes, no tracebacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from assay.cli import app
from assay.ledger import STEPS, check_export
from assay.ledger.keys.signing import public_pem
from tests.ledger.support import as_owner
from tests.ledger.told import Told, tell


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """A line where the environment points to."""
    line = tell(f"sqlite:///{tmp_path / 'test.db'}", tmp_path)
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "ledger.pub.pem").write_bytes(public_pem(line.log.public_key))
    monkeypatch.setenv("ASSAY_DATABASE_URL", f"sqlite:///{tmp_path / 'test.db'}")
    monkeypatch.setenv("ASSAY_STORE_URI", str(tmp_path / "store"))
    monkeypatch.setenv("ASSAY_KEYS_DIR", str(tmp_path / "published"))
    return line


def run(*arguments: str) -> Result:
    """The command, in this process."""
    result = CliRunner().invoke(app, ["ledger", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_each_format_is_written_to_standard_output_or_whole_into_a_file(told: Told, tmp_path: Path) -> None:
    """The same bytes either way; nothing else is left in the folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    for format_, what in (
        ("jsonl", None),
        ("openlineage", None),
        ("openlineage", told.snapshots[0]),
        ("prov", told.models[0]),
        ("cyclonedx", told.models[1]),
        ("croissant", told.snapshots[1]),
        ("html", told.models[1]),
        ("pdf", told.models[1]),
    ):
        arguments = ["export", format_, *([what] if what else [])]
        out = folder / f"it.{format_}"
        done = run(*arguments, "--out", str(out), "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.output)["format"] == format_
        assert run(*arguments).stdout_bytes == out.read_bytes()
        assert out.stat().st_mode & 0o777 == 0o644
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {"it"}
    lines = (folder / "it.jsonl").read_text(encoding="utf-8").splitlines()
    assert check_export(lines, told.log.public_key) == told.log.size()


def test_a_data_sets_name_stands_for_its_champion_and_its_newest_snapshot(told: Told) -> None:
    """`people`: the second model, the second snapshot."""
    bom = json.loads(run("export", "cyclonedx", "people").output)
    assert bom["metadata"]["component"]["bom-ref"] == told.models[1]
    assert told.snapshots[1] in json.loads(run("export", "croissant", "people").output)["description"]
    assert told.models[1] in run("export", "html", "people").output


@pytest.mark.parametrize(
    "arguments",
    [
        ["export", "cyclonedx"],
        ["export", "croissant"],
        ["export", "html"],
        ["export", "pdf", "model-unknown"],
        ["export", "prov", "nothing"],
        ["export", "excel"],
        ["export", "prov", "--emit"],
    ],
)
def test_a_wrong_call_says_what_is_missing(arguments: list[str], told: Told) -> None:
    """Exit code 2; a refusal names the next step."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.output


def test_nothing_is_written_through_a_forged_statement(told: Told, tmp_path: Path) -> None:
    """Exit code 1, and an older file stays as it was."""
    out = tmp_path / "dossier.html"
    out.write_text("older", encoding="utf-8")
    with as_owner(told.log.database) as connection:
        connection.execute(
            text("UPDATE ledger_entry SET envelope = replace(envelope, 'sig', 'gis') WHERE position = 1")
        )
    assert run("export", "html", "people", "--out", str(out)).exit_code == 1
    assert out.read_text(encoding="utf-8") == "older"
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".dossier")] == []


def test_a_server_that_does_not_answer_is_said(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--emit` without a server: exit code 1 with the next step; no event is printed as sent."""
    monkeypatch.setenv(
        "OPENLINEAGE__TRANSPORT",
        '{"type": "http", "url": "http://127.0.0.1:9", "timeout": 1, "retry": {"total": 0}}',
    )
    monkeypatch.setenv("NO_PROXY", "*")
    done = run("export", "openlineage", told.snapshots[0], "--emit")
    assert done.exit_code == 1
    assert "0 events were sent" in done.output


def test_schemas_are_printed_and_written(told: Told, tmp_path: Path) -> None:
    """One, all, or a folder of them; an unknown step is refused."""
    assert json.loads(run("schema", "case-decided").output)["title"] == "case-decided"
    assert set(json.loads(run("schema").output)) == set(STEPS)
    run("schema", "--out", str(tmp_path / "schemas"))
    assert len(list((tmp_path / "schemas").iterdir())) == len(STEPS)
    assert run("schema", "model-blessed").exit_code == 1
