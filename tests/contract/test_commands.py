"""`assay contract` and `assay trust`, as people and scripts call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from assay.cli import app
from tests.contract.examples import DESIGN, ED25519, MINISIGN, plain, text
from tests.contract.test_importers import ODCS


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "contracts"
    made.mkdir()
    (made / "adult.yaml").write_text(DESIGN)
    return made


def test_a_valid_contract_is_shown_with_what_it_leaves_unchecked(folder: Path) -> None:
    """Exit 0; what is not checked later is no secret now."""
    (folder / "bare.yaml").write_text(
        text(plain(publishers=[{"id": "p"}], sources=[{"id": "west", "publisher": "p", "uri": "x"}]))
    )
    good = run("contract", "check", folder / "adult.yaml")
    assert good.exit_code == 0
    assert "valid" in good.output
    assert "west by census (minisign:E7620F1842B4E81F)" in good.output
    notes = json.loads(run("contract", "check", folder / "bare.yaml", "--json").output)["notes"]
    assert [note.partition(":")[0] for note in notes] == [
        "sources",
        "publishers",
        "schema.label",
        "schema.key",
        "trusted",
        "gates",
    ]


def test_keys_that_no_longer_count_are_told(folder: Path) -> None:
    """Before every delivery is refused."""
    key = {"format": "ed25519", "public_key": ED25519, "valid_until": "2020-01-01"}
    source = {"id": "west", "publisher": "p", "uri": "x", "signature": "s"}
    (folder / "old.yaml").write_text(text(plain(publishers=[{"id": "p", "keys": [key]}], sources=[source])))
    assert "no key of p counts today: ed25519:21fe31dfa154a261 is expired" in run(
        "contract", "check", folder / "old.yaml"
    ).output.replace("\n", " ")
    (folder / "none.yaml").write_text(text(plain()))
    assert "nothing can be delivered" in run("contract", "check", folder / "none.yaml").output


def test_an_invalid_contract_exits_1_with_every_problem(folder: Path) -> None:
    """As text and as JSON."""
    (folder / "bad.yaml").write_text(text(plain(screan={}, review={"approvals": 0})))
    shown = run("contract", "check", folder / "bad.yaml")
    assert shown.exit_code == 1
    assert "did you mean `screen`?" in shown.output
    answer = run("contract", "check", folder / "bad.yaml", "--json")
    assert answer.exit_code == 1
    payload = json.loads(answer.output)
    assert payload["valid"] is False
    assert [(each["field"], each["line"]) for each in payload["problems"]] == [
        ("screan", 7),
        ("review.approvals", 9),
    ]


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    """So is a folder."""
    assert run("contract", "check", tmp_path / "nowhere.yaml").exit_code == 2
    assert run("contract", "check", tmp_path).exit_code == 2


def test_the_schema_is_printed_as_json() -> None:
    """With or without --json."""
    assert json.loads(run("contract", "schema").output)["title"] == "Assay contract"
    assert run("contract", "schema", "--json").output == run("contract", "schema").output


def test_an_import_is_printed_or_written_to_a_new_file(tmp_path: Path) -> None:
    """A file that is there is not overwritten."""
    source, out = tmp_path / "seller.yaml", tmp_path / "new.yaml"
    source.write_text(ODCS)
    printed = run("contract", "import", "odcs", source)
    assert printed.exit_code == 0
    written = run("contract", "import", "odcs", source, "--out", out)
    assert "7 columns" in written.output
    assert "servers was left out" in written.output
    assert out.read_text() == printed.output
    assert run("contract", "check", out).exit_code == 0
    again = run("contract", "import", "odcs", source, "--out", out)
    assert again.exit_code == 2
    assert out.read_text() == printed.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.yaml", "seller.yaml"]
    payload = json.loads(run("contract", "import", "odcs", source, "--json").output)
    assert payload["contract"]["dataset"] == "seller_payments_v1"
    assert payload["notes"]


def test_an_import_of_the_wrong_format_or_file_fails(tmp_path: Path) -> None:
    """Exit 2 for an unknown format or file, 1 for a file that is not of the format."""
    source = tmp_path / "seller.yaml"
    source.write_text(ODCS)
    assert run("contract", "import", "csvw", source).exit_code == 2
    assert run("contract", "import", "odcs", tmp_path / "nowhere").exit_code == 2
    assert run("contract", "import", "croissant", source).exit_code == 1


def test_keys_are_added_listed_and_revoked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder that the settings name."""
    monkeypatch.setenv("ASSAY_CONTRACTS_DIR", str(folder))
    (folder / "broken.yaml").write_text("a: [")
    added = run("trust", "add", "survey", ED25519, "--valid-from", "2026-01-01")
    assert added.exit_code == 0
    assert "ed25519:21fe31dfa154a261" in added.output
    listed = json.loads(run("trust", "list", "--json").output)
    assert [(row["publisher"], row["in"], row["status"]) for row in listed["keys"]] == [
        ("survey", "publishers/survey.yaml", "valid"),
        ("census", "adult.yaml", "valid"),
    ]
    assert listed["left_out"] == ["broken.yaml"]
    revoked = run(
        "trust", "revoke", "survey", "ed25519:21fe31dfa154a261", "--reason", "stolen", "--on", "2026-02-01"
    )
    assert revoked.exit_code == 0
    assert "stolen" in revoked.output
    shown = run("trust", "list", "survey").output
    assert "revoked" in shown
    assert "census" not in shown
    assert run("trust", "add", "survey", ED25519).exit_code == 1


def test_a_key_is_added_beside_a_contract_that_is_named(folder: Path, tmp_path: Path) -> None:
    """From a file, too."""
    file = tmp_path / "minisign.pub"
    file.write_text(f"untrusted comment: key\n{MINISIGN}\n")
    payload = json.loads(
        run("trust", "add", "other", file, "--contracts", folder / "adult.yaml", "--json").output
    )
    assert payload["key"]["id"] == "minisign:E7620F1842B4E81F"
    assert Path(payload["file"]) == folder / "publishers" / "other.yaml"
    keys = json.loads(run("trust", "list", "--contracts", folder / "adult.yaml", "--json").output)["keys"]
    assert [row["publisher"] for row in keys] == ["other", "census"]


def test_mistakes_with_keys_are_answered(folder: Path, tmp_path: Path) -> None:
    """With the exit codes of all commands."""
    where = ("--contracts", folder)
    assert run("trust", "add", "survey", "nonsense", *where).exit_code == 1
    assert run("trust", "add", "survey", ED25519, "--valid-from", "soon", *where).exit_code == 2
    assert run("trust", "add", "Survey", ED25519, *where).exit_code == 2
    assert run("trust", "revoke", "survey", "x", "--reason", "stolen", *where).exit_code == 2
    assert run("trust", "revoke", "survey", "x", *where).exit_code == 2
    missing = run("trust", "list", "--contracts", tmp_path / "nowhere")
    assert missing.exit_code == 2
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no key is trusted yet" in run("trust", "list", "--contracts", empty).output
