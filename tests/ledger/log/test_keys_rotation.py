"""The ledger's key changes: the log goes on, what was signed stays verifiable, and the old key speaks no more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from typer.testing import CliRunner

from assay.cli import app
from assay.db import Database, open_database
from assay.errors import UsageError
from assay.findings import Outcome, worst
from assay.ledger import (
    EnvelopeError,
    KeyNotWritten,
    KeyRing,
    Ledger,
    LedgerError,
    LedgerKeyError,
    StatementError,
    key_id,
    open_ledger,
    rotate_key,
    sign_statement,
    signing_key,
    verify_envelope,
)
from assay.ledger.log.checkpoints import Checkpoint, open_checkpoint, sign_checkpoint
from assay.ledger.merkle import StreamingRoot, leaf_hash
from tests.ledger.support import KEY, OTHER_KEY, as_owner, failures, filled, open_log, settings, statement

THIRD = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))


@pytest.fixture
def rotated(tmp_path: Path) -> Ledger:
    """Three entries by the first key, the rotation as entry 3, three entries by the second."""
    log = filled(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, 3)
    assert log.rotate(OTHER_KEY, reason="the yearly change").position == 3
    for number in range(3, 6):
        log.append(statement(number))
    return log


def reopened(log: Ledger, key: object) -> Ledger:
    """The same log for someone who trusts a key."""
    assert log.anchor is not None
    return Ledger(
        Database(log.database.url.render_as_string(hide_password=False)), key, anchor=log.anchor.path
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("trusted", [KEY.public_key(), OTHER_KEY.public_key()])
def test_a_rotated_log_verifies_from_any_of_its_keys(rotated: Ledger, trusted: object) -> None:
    """An auditor with the first key, and one with the newest, both find it whole."""
    log = reopened(rotated, trusted)
    assert worst(finding.outcome for finding in log.verify()) is Outcome.PASSED
    assert isinstance(log.public_key, KeyRing)
    assert log.public_key == OTHER_KEY.public_key()
    assert [log.read(entry).step for entry in log.entries()].count("key-rotated") == 1


def test_the_log_keeps_its_name_and_its_old_checkpoints(tmp_path: Path) -> None:
    """The origin is the first key's; a checkpoint that was published before the rotation is still contained."""
    log = filled(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, 3)
    origin, published = log.origin, log.checkpoint()
    log.rotate(OTHER_KEY, reason="changed")
    log.append(statement(9))
    again = reopened(log, OTHER_KEY.public_key())
    assert again.origin == origin
    assert worst(f.outcome for f in again.verify([published or ""])) is Outcome.PASSED
    assert open_checkpoint(again.checkpoint() or "", again.public_key).size == 5


def test_a_key_can_be_changed_again_and_again(rotated: Ledger) -> None:
    """Three keys in a row, each for its own entries."""
    rotated.rotate(THIRD, reason="changed again")
    rotated.append(statement(10))
    log = reopened(rotated, KEY.public_key())
    assert worst(f.outcome for f in log.verify()) is Outcome.PASSED
    assert isinstance(log.public_key, KeyRing)
    ring = log.public_key
    assert [tenure.since for tenure in ring.tenures] == [0, 4, 8]
    assert [key_id(ring.at(n)) for n in (0, 3, 4, 7, 8)] == [
        key_id(k.public_key()) for k in (KEY, KEY, OTHER_KEY, OTHER_KEY, THIRD)
    ]


def test_the_retired_key_can_append_nothing(rotated: Ledger) -> None:
    """A process that still has the old key is told so, and nothing is added."""
    late = reopened(rotated, KEY)
    with pytest.raises(LedgerKeyError, match="was retired"):
        late.append(statement(20))
    assert rotated.size() == 7


def test_a_statement_signed_with_the_retired_key_after_its_rotation_is_found(rotated: Ledger) -> None:
    """Someone with the old key and the database puts an entry and its checkpoint in place: verify names both."""
    forged = sign_statement(statement(77), KEY)
    tree = StreamingRoot()
    for entry in rotated.entries()[:-1]:
        tree.append(leaf_hash(entry.envelope.encode()))
    tree.append(leaf_hash(forged.encode()))
    note = sign_checkpoint(Checkpoint(rotated.origin, 7, tree.root()), KEY)
    with as_owner(rotated.database) as connection:
        connection.execute(
            text(
                "UPDATE ledger_entry SET envelope = :e, statement_id = :s, leaf_hash = :l WHERE position = 6"
            ),
            {"e": forged, "s": statement(77).id, "l": leaf_hash(forged.encode()).hex()},
        )
        connection.execute(
            text("UPDATE ledger_checkpoint SET note = :n, root_hash = :r, edge = :g WHERE size = 7"),
            {"n": note, "r": tree.root().hex(), "g": json.dumps([node.hex() for node in tree.edge])},
        )
    found = reopened(rotated, OTHER_KEY.public_key()).verify()
    assert "entry 6" in failures(found)["ledger.signature"]
    assert any("it was retired" in finding.message for finding in found)
    assert "checkpoint 7" in failures(found)["ledger.checkpoint_signature"]


def test_the_new_key_cannot_speak_for_what_came_before_it(rotated: Ledger) -> None:
    """An old entry signed anew with the new key is found: it had to be the old one."""
    forged = sign_statement(statement(1), OTHER_KEY)
    with as_owner(rotated.database) as connection:
        connection.execute(text("UPDATE ledger_entry SET envelope = :e WHERE position = 1"), {"e": forged})
    found = reopened(rotated, OTHER_KEY.public_key()).verify()
    assert "entry 1" in failures(found)["ledger.signature"]


def test_a_statement_out_of_the_log_may_be_signed_by_any_of_its_keys(rotated: Ledger) -> None:
    """A bundle's statement from before the rotation still stands, with no place in the log to ask for."""
    ring = reopened(rotated, OTHER_KEY.public_key()).public_key
    for key in (KEY, OTHER_KEY):
        assert verify_envelope(sign_statement(statement(1), key), ring).id == statement(1).id
    with pytest.raises(EnvelopeError):
        verify_envelope(sign_statement(statement(1), THIRD), ring)
    with pytest.raises(EnvelopeError, match="was retired"):
        verify_envelope(sign_statement(statement(1), KEY), ring, position=5)


def test_a_rotation_that_the_new_key_did_not_accept_is_found(rotated: Ledger, tmp_path: Path) -> None:
    """Whoever has the old key alone cannot hand the log on to a key that is not theirs, nor to one at another place."""
    from assay.ledger.log.rotation import rotation_statement

    entry = rotated.entry(3)
    assert entry is not None
    document = json.loads(rotated.read(entry).payload)
    log = document["predicate"]["log"]
    elsewhere = rotation_statement(
        KEY.public_key(), THIRD, origin=log["origin"], size=2, root=bytes(32), reason="moved"
    )
    document["predicate"]["new"] = json.loads(elsewhere.payload)["predicate"]["new"]
    from assay.canonical import canonical_json
    from assay.ledger.statements.statement import Statement

    unaccepted = Statement(entry.predicate_type, (), (), canonical_json(document))
    for forged in (sign_statement(unaccepted, KEY), sign_statement(elsewhere, KEY), entry.envelope[:-5]):
        with as_owner(rotated.database) as connection:
            connection.execute(
                text("UPDATE ledger_entry SET envelope = :e WHERE position = 3"), {"e": forged}
            )
        log_again = reopened(rotated, KEY.public_key())
        found = log_again.verify()
        assert list(failures(found)) == ["ledger.keys"]
        assert "rotation of the ledger's key does not stand up" in found[0].message
        with pytest.raises(LedgerError):
            reopened(rotated, OTHER_KEY).append(statement(30))


def test_a_log_of_strangers_with_our_key_as_its_past_is_not_ours(tmp_path: Path) -> None:
    """A log whose chain does not hold the trusted key is refused, and nothing is appended to it."""
    log = open_log(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, THIRD)
    log.append(statement(0))
    log.rotate(OTHER_KEY, reason="theirs")
    found = reopened(log, KEY.public_key()).verify()
    assert list(failures(found)) == ["ledger.keys"]
    assert "none of the keys of this log" in found[0].message
    with pytest.raises(LedgerKeyError):
        reopened(log, KEY).append(statement(1))


def test_a_rotation_needs_a_reason(tmp_path: Path) -> None:
    """An empty one is refused; the log is as it was."""
    log = filled(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, 1)
    with pytest.raises(StatementError):
        log.rotate(OTHER_KEY, reason="")
    assert log.size() == 1
    log.append(statement(1))


def test_an_empty_log_can_begin_with_a_rotation(tmp_path: Path) -> None:
    """Entry 0 hands on; the chain starts from the first key."""
    log = open_log(f"sqlite:///{tmp_path / 'test.db'}", tmp_path)
    log.rotate(OTHER_KEY, reason="before anything else")
    log.append(statement(0))
    assert worst(f.outcome for f in reopened(log, OTHER_KEY.public_key()).verify()) is Outcome.PASSED


# ---------------------------------------------------------------------------------------------------------------- files
def own_ledger() -> Ledger:
    """The ledger of the test's own home."""
    chosen = settings()
    return open_ledger(chosen, open_database(chosen))


def test_the_files_follow_the_rotation(assay_home: Path) -> None:
    """New keys in the old one's place, mode 0600; the old public key is kept, the old private one is gone."""
    log, chosen = own_ledger(), settings()
    log.append(statement(0))
    old = signing_key(chosen)
    done = rotate_key(chosen, log, reason="left the company")
    assert done.entry is not None
    assert done.entry.position == 1
    assert signing_key(chosen).public_key() != old.public_key()
    names = {path.name for path in chosen.keys_dir.iterdir()}
    kept = f"ledger.{done.previous.replace(':', '-')}.pub.pem"
    assert names == {".lock", "ledger.pem", "ledger.pub.pem", kept}
    assert (chosen.keys_dir / "ledger.pem").stat().st_mode & 0o777 == 0o600
    again = own_ledger()
    again.append(statement(1))
    assert worst(f.outcome for f in again.verify()) is Outcome.PASSED


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_rotation_that_was_killed_is_finished_by_the_next_try(
    writes: int, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entered, but the files did not follow, or not all: the old key signs nothing, the same call puts it right."""
    chosen = settings()
    log = own_ledger()
    log.append(statement(0))
    real, left = Path.replace, [writes]

    def full(self: Path, target: object) -> Path:
        if self.parent == chosen.keys_dir:
            if not left[0]:
                raise OSError(28, "No space left on device")
            left[0] -= 1
        return real(self, target)  # type: ignore[arg-type]

    (chosen.keys_dir / "ledger.next.pem").write_bytes(
        THIRD.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    os.chmod(chosen.keys_dir / "ledger.next.pem", 0o600)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(KeyNotWritten, match="could not follow"):
            rotate_key(chosen, own_ledger(), reason="changed")
    with pytest.raises(LedgerKeyError):
        own_ledger().append(statement(1))
    done = rotate_key(chosen, own_ledger(), reason="changed")
    assert done.entry is None
    assert signing_key(chosen).public_key() == THIRD.public_key()
    own_ledger().append(statement(1))
    assert own_ledger().size() == 3


def test_a_key_from_elsewhere_needs_its_successor_by_name(
    assay_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mounted key is not ours to replace: the new one is named, and the mount must follow."""
    forms = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for name, key in (("old.pem", KEY), ("new.pem", OTHER_KEY)):
        (tmp_path / name).write_bytes(key.private_bytes(*forms))
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("ASSAY_LEDGER_KEY_FILE", str(tmp_path / "old.pem"))
    own_ledger().append(statement(0))
    with pytest.raises(UsageError, match="must be named"):
        rotate_key(settings(), own_ledger(), reason="changed")
    rotate_key(settings(), own_ledger(), reason="changed", new_key=tmp_path / "new.pem")
    with pytest.raises(LedgerKeyError, match="does not belong"):
        own_ledger().append(statement(1))
    monkeypatch.setenv("ASSAY_LEDGER_KEY_FILE", str(tmp_path / "new.pem"))
    own_ledger().append(statement(1))
    with pytest.raises(UsageError, match="already"):
        rotate_key(settings(), own_ledger(), reason="changed", new_key=tmp_path / "new.pem")
    assert worst(f.outcome for f in own_ledger().verify()) is Outcome.PASSED


def test_the_command_rotates_and_says_what_to_publish(assay_home: Path) -> None:
    """Text and JSON; without a reason it is a wrong call."""
    own_ledger().append(statement(0))
    runner = CliRunner()
    assert runner.invoke(app, ["ledger", "rotate-key"]).exit_code == 2
    said = runner.invoke(app, ["ledger", "rotate-key", "--reason", "yearly"])
    assert said.exit_code == 0
    assert "publish the new public key" in said.output
    answer = json.loads(runner.invoke(app, ["ledger", "rotate-key", "--reason", "again", "--json"]).output)
    assert answer["position"] == 2
    assert runner.invoke(app, ["ledger", "verify"]).exit_code == 0
