"""Proofs: made here, checked anywhere with nothing but the public key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from assay.db import Snapshot, put_snapshot
from assay.ledger import (
    LedgerError,
    NotInLedger,
    ProofError,
    annotate,
    load_public_key,
    make_manifest,
    make_part,
    make_statement,
    prove,
    row_hash,
    verify_proof,
)
from assay.ledger.keys.signing import public_pem
from assay.store import put_table
from tests.ledger.support import (
    COLUMNS,
    KEY,
    Line,
    as_owner,
    content_name,
    copied,
    filled,
    open_log,
    people,
    sha,
    small_line,
    statement,
)

PUBLIC = KEY.public_key()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A line that ran twice, for reading."""
    folder = tmp_path_factory.mktemp("line")
    return small_line(f"sqlite:///{folder / 'test.db'}", folder)


def carried(proof: dict) -> dict:
    """The proof as someone else reads it from a file."""
    return dict(json.loads(json.dumps(proof)))


def test_every_entry_is_proved_by_position_and_by_id(line: Line) -> None:
    """Each with its own path to the one checkpoint."""
    for entry in line.log.entries():
        for what in (entry.position, str(entry.position), entry.statement_id):
            proved = verify_proof(carried(line.log.prove(what)), PUBLIC)
            assert [(position, found.id) for position, found in proved.statements] == [
                (entry.position, entry.statement_id)
            ]
            assert proved.checkpoint.size == line.log.size()


def test_a_name_is_proved_with_all_that_was_stated_about_it(line: Line) -> None:
    """A model: its training, its gates, its promotion. By name or digest."""
    for what in (line.models[1], sha("model 2")):
        proved = verify_proof(carried(line.log.prove(what)), PUBLIC)
        assert [found.step for _, found in proved.statements] == [
            "run-finished",
            "gates-judged",
            "model-promoted",
        ]
    assert proved.as_dict()["origin"] == line.log.origin


@pytest.mark.parametrize("number", [0, 7, 19, 20, 27, 29])
def test_a_row_is_proved_with_its_values(line: Line, number: int) -> None:
    """Its cells, their path to the snapshot's root, and the statement that admitted the snapshot."""
    proof = carried(line.log.prove(f"people:{number}", store=line.store))
    proved = verify_proof(proof, PUBLIC)
    assert proved.row == {"id": number, "name": f"person {number}", "age": number}
    assert proved.snapshot == line.snapshots[1]
    steps = {found.step for _, found in proved.statements}
    assert steps == {"delivery-verified", "snapshot-admitted"} | ({"case-decided"} if number >= 25 else set())
    assert proved.delivery == line.deliveries[0 if number < 20 else 1]
    assert proof["row"]["origin"]["record"] == (number if number < 20 else (number - 20) % 5)


def test_a_rows_proof_is_about_its_canonical_hash(line: Line) -> None:
    """The values in the proof hash to the leaf that the snapshot has."""
    proved = verify_proof(line.log.prove("people:7", store=line.store), PUBLIC)
    assert proved.row is not None
    assert row_hash(proved.row) == row_hash({"id": 7, "name": "person 7", "age": 7.0})


def test_a_proof_is_checked_by_a_program_that_has_nothing_else(line: Line, tmp_path: Path) -> None:
    """Another process, an empty home: proof and public key are enough."""
    (tmp_path / "proof.json").write_text(
        json.dumps(line.log.prove("people:7", store=line.store)), encoding="utf-8"
    )
    (tmp_path / "key.pem").write_bytes(public_pem(PUBLIC))
    code = (
        "import json, pathlib, sys; from assay.ledger import load_public_key, verify_proof;"
        "proof, key = map(pathlib.Path, sys.argv[1:]);"
        "print(verify_proof(json.loads(proof.read_text()), load_public_key(key)).row['name'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "proof.json"), str(tmp_path / "key.pem")],
        env={**os.environ, "PYTHONPATH": "include"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "person 7"
    assert load_public_key(tmp_path / "key.pem") == PUBLIC


def test_an_old_proof_stays_good_when_the_log_grows(tmp_path: Path) -> None:
    """It is proved against the checkpoint that it carries."""
    log = filled(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, 3)
    proof = log.prove(1)
    log.append(statement(3))
    assert verify_proof(proof, PUBLIC).checkpoint.size == 3
    assert verify_proof(log.prove(1), PUBLIC).checkpoint.size == 4


def test_what_is_not_in_the_ledger_cannot_be_proved(line: Line, tmp_path: Path) -> None:
    """Unknown names, an empty log, a row without a store, things that are only inputs."""
    for what in (
        99,
        "99",
        "statement-none",
        "model-none",
        "people:99",
        "cars:1",
        "minisign:0123456789ABCDEF",
    ):
        with pytest.raises(NotInLedger):
            line.log.prove(what, store=line.store)
    with pytest.raises(NotInLedger, match="need the object store"):
        line.log.prove("people:7")
    with pytest.raises(NotInLedger):
        open_log(f"sqlite:///{tmp_path / 'empty.db'}", tmp_path).prove(0)


def test_a_row_of_a_snapshot_that_was_never_admitted_cannot_be_proved(line: Line, tmp_path: Path) -> None:
    """The registry has it, the ledger does not."""
    own = copied(line, tmp_path / "copy")
    with as_owner(own.log.database) as connection:
        connection.execute(text("DELETE FROM ledger_subject WHERE name = :n"), {"n": own.snapshots[1]})
    with pytest.raises(NotInLedger, match="no statement in the ledger admits"):
        own.log.prove("people:7", store=own.store)


def test_too_many_statements_for_one_proof_are_refused(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to ask for fewer."""
    monkeypatch.setattr("assay.ledger.outside.proofs.MAX_STATEMENTS", 2)
    with pytest.raises(NotInLedger, match="a proof holds 2"):
        line.log.prove(line.models[1])


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ledger_entry SET envelope = replace(envelope, 'A', 'B') WHERE position = 1",
        "DELETE FROM ledger_entry WHERE position = 1",
        "DELETE FROM ledger_checkpoint",
        "UPDATE ledger_checkpoint SET note = 'x'",
    ],
)
def test_no_proof_leaves_a_log_that_was_tampered_with(line: Line, tmp_path: Path, change: str) -> None:
    """A proof is checked before it is given out."""
    own = copied(line, tmp_path / "copy")
    with as_owner(own.log.database) as connection:
        connection.execute(text(change))
    with pytest.raises((LedgerError, ProofError)):
        own.log.prove(0)


def test_a_row_that_was_changed_in_the_store_is_not_proved(line: Line, tmp_path: Path) -> None:
    """A snapshot whose part was written by someone else, under hashes of other rows."""
    own = copied(line, tmp_path / "copy")
    table = annotate(people(0, 9), COLUMNS, delivery="d", source="s", file="f", record=people(0, 9)["id"])
    forged = table.set_column(2, "age", people(1, 9)["age"])
    part = make_part(own.store, put_table(own.store, forged).sha256, "d")
    manifest = make_manifest(
        own.store, dataset="forged", contract_sha256=sha("c"), columns=COLUMNS, key=["id"], parts=[part]
    )
    stored = own.store.put_bytes(manifest.to_json()).sha256
    with own.log.database.write() as session:
        put_snapshot(
            session,
            Snapshot(
                id=manifest.id,
                dataset="forged",
                version=1,
                merkle_root=manifest.merkle_root,
                manifest_object=stored,
                rows=9,
                admitted_at="2026-03-01T00:00:00Z",
            ),
        )
    own.log.append(make_statement("snapshot-admitted", [(manifest.id, stored)], {}))
    with pytest.raises(ProofError, match="does not lead to the root"):
        own.log.prove("forged:3", store=own.store)


def test_proofs_work_on_every_database(database_url: str, tmp_path: Path) -> None:
    """The same proof from SQLite and PostgreSQL."""
    log = filled(database_url, tmp_path, 5)
    proof = prove(log, content_name("delivery", 3))
    assert verify_proof(carried(proof), PUBLIC).statements[0][0] == 3
