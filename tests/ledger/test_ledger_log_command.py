"""`assay ledger checkpoint / publish / cosign / consistency`, and what `verify` takes beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from assay.ledger import Ledger, Witness, open_checkpoint, public_key_path
from assay.ledger.outside.cosign import cosign
from tests.ledger import support
from tests.ledger.command import run
from tests.ledger.support import OTHER_KEY, as_owner, statement

WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(7, 39)))
WITNESS = Witness("witness.example/w1", WITNESS_KEY.public_key())


def outcomes(*arguments: str) -> dict[str, str]:
    """Outcome by check of `verify --json`; the worst where a check has several."""
    found: dict[str, str] = {}
    for finding in json.loads(run("verify", "--json", *arguments).output)["findings"]:
        if found.get(finding["check"], "passed") == "passed":
            found[finding["check"]] = finding["outcome"]
    return found


def test_a_checkpoint_is_printed_as_it_is_signed(log: Ledger, tmp_path: Path) -> None:
    """To standard output, to a file, at an earlier size, or with its parts as JSON."""
    assert run("checkpoint").output == log.checkpoint()
    out = tmp_path / "point.txt"
    assert run("checkpoint", "--size", "2", "--out", str(out)).exit_code == 0
    assert open_checkpoint(out.read_text(encoding="utf-8"), log.public_key).size == 2
    told = json.loads(run("checkpoint", "--json").output)
    assert (told["size"], told["origin"], told["note"]) == (4, log.origin, log.checkpoint())
    assert run("checkpoint", "--size", "99").exit_code == 2


def test_publishing_and_verifying_with_the_place(
    log: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named on the command line or in ASSAY_LEDGER_PUBLISH; a rolled-back database is found by it."""
    place = (tmp_path / "audit").as_uri()
    assert run("publish").exit_code == 2
    assert "published" in run("publish", "--place", place).output
    monkeypatch.setenv("ASSAY_LEDGER_PUBLISH", place)
    assert json.loads(run("publish", "--json").output) == {
        "published": [{"place": place, "size": 4, "new": False}]
    }
    assert outcomes()["ledger.published"] == "passed"
    with as_owner(log.database) as connection:
        for change in (
            "ledger_subject WHERE position >= 2",
            "ledger_entry WHERE position >= 2",
            "ledger_checkpoint WHERE size > 2",
        ):
            connection.execute(text(f"DELETE FROM {change}"))
    (support.settings().home / "ledger-head.txt").unlink()
    assert outcomes()["ledger.published"] == "failed"
    refused = run("publish")
    assert refused.exit_code == 1
    assert "were published" in refused.output


def test_cosignatures_are_taken_checked_and_asked_for(
    log: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A witness's answer is kept with the checkpoint; without it the witness's check does not pass."""
    point = open_checkpoint(run("checkpoint").output, log.public_key)
    answer = tmp_path / "answer.txt"
    answer.write_text(cosign(point.text, WITNESS.name, WITNESS_KEY, 1_800_000_000), encoding="utf-8")
    assert outcomes("--witness", WITNESS.vkey)["ledger.witness"] == "not_checked"
    assert run("cosign", str(answer)).exit_code == 2
    assert "cosigned by witness.example/w1" in run("cosign", str(answer), "--witness", WITNESS.vkey).output
    monkeypatch.setenv("ASSAY_LEDGER_WITNESSES", WITNESS.vkey)
    assert json.loads(run("cosign", str(answer), "--json").output) == {
        "size": 4,
        "witnesses": ["witness.example/w1"],
    }
    assert outcomes()["ledger.witness"] == "passed"
    assert f"— {WITNESS.name} " in run("checkpoint").output
    log.append(statement(4))
    assert run("cosign", str(answer)).exit_code == 1  # the line was made for the checkpoint at 4 entries
    assert run("cosign", str(answer), "--size", "4").exit_code == 0
    forged = cosign(point.text, WITNESS.name, OTHER_KEY, 1)
    answer.write_text(forged, encoding="utf-8")
    assert run("cosign", str(answer), "--size", "4").exit_code == 1


@pytest.mark.parametrize(
    "vkey",
    ["", "x", "a+b+c", "w+00000000+BAAA", WITNESS.vkey.replace("+", "+0", 1), WITNESS.vkey[:-4] + "AAAA"],
)
def test_a_malformed_witness_key_is_a_wrong_call(vkey: str, log: Ledger) -> None:
    """Exit code 2, in plain words."""
    assert run("verify", "--witness", vkey).exit_code == 2


def test_consistency_is_proved_and_checked_with_the_older_checkpoint(log: Ledger, tmp_path: Path) -> None:
    """By size or by file; who has the older checkpoint and the key needs no database to check it."""
    old, proof = tmp_path / "old.txt", tmp_path / "proof.txt"
    run("checkpoint", "--size", "3", "--out", str(old))
    assert run("consistency", "3").output == run("consistency", str(old)).output
    assert run("consistency", "3", "--out", str(proof)).exit_code == 0
    assert proof.read_text(encoding="utf-8").startswith("old 3\n")
    key = str(public_key_path(support.settings(), "ledger"))
    checked = run("consistency", str(old), "--check", str(proof), "--public-key", key, "--json")
    assert json.loads(checked.output)["outcome"] == "passed"
    proof.write_text(run("consistency", "2").output, encoding="utf-8")
    assert run("consistency", str(old), "--check", str(proof), "--public-key", key).exit_code == 1
    assert run("consistency", "9").exit_code == 2


def test_verify_says_when_the_store_was_left_out(log: Ledger) -> None:
    """An empty registry has nothing to look at; a stated file that is not in the store is named."""
    assert {check for check in outcomes() if not check.startswith("ledger.")} == set()
    delivery = support.content_name("delivery", 77)
    log.append(
        support.make_statement(
            "delivery-verified",
            [(delivery, support.sha("manifest"))],
            {"delivery": delivery},
            [("file:people.csv", support.sha("people"))],
        )
    )
    found = outcomes()
    assert (found["registry.delivery"], found["store.object"]) == ("failed", "failed")
    assert outcomes("--no-files")["store.object"] == "not_checked"
