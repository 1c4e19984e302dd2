"""`assay ledger` as people and programs call it: text, JSON, exit codes, no tracebacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text

from assay.ledger import Ledger, check_export, load_public_key, public_key_path, signing_key
from assay.ledger.keys.signing import public_pem
from tests.ledger import support
from tests.ledger.command import run
from tests.ledger.support import OTHER_KEY, as_owner, content_name, sha


def test_verify_on_an_empty_ledger_is_not_checked(assay_home: Path) -> None:
    """Exit code 3, and no key is made by looking."""
    result = run("verify")
    assert result.exit_code == 3
    assert "not_checked" in result.output
    assert not (assay_home / "keys").exists()


def test_verify_passes_on_a_whole_ledger(log: Ledger) -> None:
    """Exit code 0; every check is listed."""
    result = run("verify")
    assert result.exit_code == 0
    assert "the ledger is whole" in result.output
    answer = json.loads(run("verify", "--json").output)
    assert (answer["outcome"], answer["entries"], len(answer["findings"])) == ("passed", 4, 10)


def test_verify_fails_on_a_forged_ledger_and_names_the_entry(log: Ledger) -> None:
    """Exit code 1."""
    with as_owner(log.database) as connection:
        connection.execute(text("UPDATE ledger_entry SET leaf_hash = 'x' WHERE position = 2"))
    result = run("verify", "--json")
    assert result.exit_code == 1
    failed = [finding for finding in json.loads(result.output)["findings"] if finding["outcome"] == "failed"]
    assert [(finding["check"], finding["subject"]) for finding in failed] == [("ledger.leaf_hash", "entry 2")]
    assert "entry 2 was changed" in run("verify").output


def test_verify_takes_published_checkpoints_and_a_published_key(log: Ledger, tmp_path: Path) -> None:
    """What an auditor brings along."""
    (tmp_path / "point.txt").write_text(log.checkpoint() or "", encoding="utf-8")
    (tmp_path / "key.pem").write_bytes(public_pem(log.public_key))
    good = run(
        "verify", "--checkpoint", str(tmp_path / "point.txt"), "--public-key", str(tmp_path / "key.pem")
    )
    assert good.exit_code == 0
    assert "ledger.published" in good.output
    (tmp_path / "key.pem").write_bytes(public_pem(OTHER_KEY.public_key()))
    assert run("verify", "--public-key", str(tmp_path / "key.pem")).exit_code == 1
    (tmp_path / "point.txt").write_bytes(b"\xff")
    assert run("verify", "--checkpoint", str(tmp_path / "point.txt")).exit_code == 1
    for option in ("--checkpoint", "--public-key"):
        missing = run("verify", option, str(tmp_path / "nothing"))
        assert missing.exit_code == 2
        assert "check the path" in missing.output


def test_prove_writes_a_proof_that_check_accepts(log: Ledger, tmp_path: Path) -> None:
    """To a file or to standard output; checked with the home's key or a published one."""
    out = tmp_path / "proof.json"
    written = run("prove", content_name("delivery", 2), "--out", str(out))
    assert written.exit_code == 0
    assert "proves 1 statements" in written.output
    assert (
        json.loads(run("prove", content_name("delivery", 2), "--out", str(out), "--json").output)["size"] == 4
    )
    assert json.loads(run("prove", "2").output)["entries"][0]["proof"].split("\n")[1] == "index 2"
    checked = run("check", str(out))
    assert checked.exit_code == 0
    assert "entry 2: delivery-verified" in checked.output
    assert json.loads(run("check", str(out), "--json").output)["outcome"] == "passed"


def test_check_refuses_what_is_not_a_proof(log: Ledger, tmp_path: Path) -> None:
    """A forged proof is a failure (1), a file that is none is a wrong call (2), no key is not checked (3)."""
    out = tmp_path / "proof.json"
    proof = json.loads(run("prove", "2").output)
    proof["entries"][0]["proof"] = proof["entries"][0]["proof"].replace("index 2", "index 1")
    out.write_text(json.dumps(proof), encoding="utf-8")
    assert run("check", str(out)).exit_code == 1
    for content in ("no JSON", "[]", "[" * 100_000):
        out.write_text(content, encoding="utf-8")
        assert run("check", str(out)).exit_code == 2
    assert run("check", str(tmp_path / "nothing")).exit_code == 2


def test_check_without_a_key_is_not_checked(tmp_path: Path) -> None:
    """An empty home and no published key."""
    (tmp_path / "proof.json").write_text("{}", encoding="utf-8")
    result = run("check", str(tmp_path / "proof.json"))
    assert result.exit_code == 3
    assert "--public-key" in result.output


def test_rows_are_proved_and_traced(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way by the command line: a row's proof, its check, its lineage."""
    folder = tmp_path_factory.mktemp("line")
    line = support.small_line(f"sqlite:///{folder / 'test.db'}", folder)
    monkeypatch.setenv("ASSAY_DATABASE_URL", f"sqlite:///{folder / 'test.db'}")
    monkeypatch.setenv("ASSAY_STORE_URI", str(folder / "store"))
    monkeypatch.setenv("ASSAY_LEDGER_HEAD_FILE", str(folder / "ledger-head.txt"))
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "ledger.pub.pem").write_bytes(public_pem(line.log.public_key))
    monkeypatch.setenv("ASSAY_KEYS_DIR", str(keys))
    out = tmp_path / "row.json"
    assert run("prove", "people:27", "--out", str(out)).exit_code == 0
    checked = run("check", str(out), "--public-key", str(keys / "ledger.pub.pem"))
    assert "name: person 27" in checked.output
    traced = run("trace", "people:27")
    assert traced.exit_code == 0
    assert f"was released from quarantine by {line.decision}" in traced.output
    assert "statements are signed by the ledger's key" in traced.output
    answer = json.loads(run("trace", line.models[1], "--json").output)
    assert (answer["outcome"], len(answer["steps"])) == ("passed", 10)
    assert run("verify").exit_code == 0


def test_a_trace_through_a_forged_statement_fails(log: Ledger) -> None:
    """Exit code 1, and the statement is marked."""
    with as_owner(log.database) as connection:
        connection.execute(text("UPDATE ledger_entry SET envelope = 'x' WHERE position = 2"))
    result = run("trace", content_name("delivery", 2))
    assert result.exit_code == 1
    assert "NOT TO BE BELIEVED" in result.output


@pytest.mark.parametrize("command", ["prove", "trace"])
def test_an_unknown_name_is_a_wrong_call(command: str, log: Ledger) -> None:
    """Exit code 2, with what can be asked for; as JSON, too."""
    result = run(command, "model-unknown")
    assert result.exit_code == 2
    assert "nothing in the ledger goes by" in result.output
    assert json.loads(run(command, "model-unknown", "--json").output)["error"] == "NotInLedger"


def test_export_writes_json_lines(log: Ledger, tmp_path: Path) -> None:
    """To standard output or whole into a file."""
    key = load_public_key(public_key_path(support.settings(), "ledger"))
    assert key == signing_key(support.settings()).public_key()
    assert check_export(run("export").output.splitlines(), key) == 4
    out = tmp_path / "ledger.jsonl"
    assert "4 entries" in run("export", "--out", str(out)).output
    assert check_export(out.read_text(encoding="utf-8").splitlines(), key) == 4
    assert json.loads(run("export", "--out", str(out), "--json").output)["entries"] == 4
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_export_into_a_place_that_is_not_there_is_refused(log: Ledger, tmp_path: Path) -> None:
    """One message, exit code 1."""
    for command in (["export"], ["prove", sha("manifest 2")]):
        result = run(*command, "--out", str(tmp_path / "none" / "x"))
        assert result.exit_code == 1
        assert "No such file or directory" in result.output


def test_export_of_an_empty_ledger_is_not_checked(assay_home: Path) -> None:
    """There is no key and nothing to export."""
    assert run("export").exit_code == 3
