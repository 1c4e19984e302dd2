"""Proofs from a log whose key was rotated: they carry the rotations, and stand up for whoever has any of its keys."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.canonical import canonical_json
from assay.ledger import Ledger, ProofError, prove, sign_statement, verify_proof
from assay.ledger.keys.signing import public_pem
from tests.ledger.support import KEY, OTHER_KEY, filled, sha, statement

VERIFIER = Path(__file__).resolve().parents[3] / "docs" / "verify" / "verify.py"
THIRD = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Entries 0 to 2, a rotation, entries 4 to 6, a rotation, entry 8."""
    folder = tmp_path_factory.mktemp("rotated")
    log = filled(f"sqlite:///{folder / 'test.db'}", folder, 3)
    log.rotate(OTHER_KEY, reason="changed")
    for number in range(3, 6):
        log.append(statement(number))
    log.rotate(THIRD, reason="changed again")
    log.append(statement(6))
    return log


def standalone(proof: dict, key: Ed25519PublicKey, folder: Path) -> tuple[int, str]:
    """What the stand-alone verifier says, in an interpreter that cannot import Assay."""
    (folder / "proof.json").write_text(json.dumps(proof), encoding="utf-8")
    (folder / "key.pem").write_bytes(public_pem(key))
    command = [sys.executable, "-I", str(VERIFIER), str(folder / "proof.json"), str(folder / "key.pem")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("trusted", [KEY, OTHER_KEY, THIRD], ids=["first", "second", "newest"])
@pytest.mark.parametrize("number", [1, 4, 6])
def test_any_entry_is_proved_to_whoever_has_any_key(
    number: int, trusted: Ed25519PrivateKey, rotated: Ledger, tmp_path: Path
) -> None:
    """By us and by the stand-alone verifier; the rotations are part of the proof."""
    proof = prove(rotated, sha(f"manifest {number}"))
    proved = verify_proof(proof, trusted.public_key())
    assert [found.step for _, found in proved.statements].count("key-rotated") == 2
    code, said = standalone(proof, trusted.public_key(), tmp_path)
    assert (code, said.splitlines()[0]) == (0, "passed"), said


def test_a_strangers_key_proves_nothing(rotated: Ledger, tmp_path: Path) -> None:
    """The chain does not hold it."""
    proof, stranger = prove(rotated, 1), Ed25519PrivateKey.generate().public_key()
    with pytest.raises(ProofError, match="none of the keys"):
        verify_proof(proof, stranger)
    assert standalone(proof, stranger, tmp_path)[0] == 1


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_a_proof_that_lacks_a_rotation_does_not_stand_up(
    left_out: int, rotated: Ledger, tmp_path: Path
) -> None:
    """Without the first, the second, or both, someone with the newest or the first key cannot follow."""
    proof = copy.deepcopy(prove(rotated, 1))
    rotations = [
        n for n, e in enumerate(proof["entries"]) if "index 3\n" in e["proof"] or "index 7\n" in e["proof"]
    ]
    for place in reversed(rotations if left_out == 2 else [rotations[left_out]]):
        del proof["entries"][place]
    for trusted in (KEY, THIRD):
        with pytest.raises(ProofError):
            verify_proof(proof, trusted.public_key())
        assert standalone(proof, trusted.public_key(), tmp_path)[0] == 1


def test_an_entry_signed_by_the_retired_key_in_the_place_of_a_later_one_is_refused(
    rotated: Ledger, tmp_path: Path
) -> None:
    """The old key signs entry 8 anew: a good signature by the wrong key."""
    proof = copy.deepcopy(prove(rotated, 8))
    forged = json.loads(sign_statement(statement(6), KEY))
    for entry in proof["entries"]:
        if "index 8\n" in entry["proof"]:
            entry["envelope"] = forged
    for trusted in (KEY, THIRD):
        with pytest.raises(ProofError):
            verify_proof(proof, trusted.public_key())
        assert standalone(proof, trusted.public_key(), tmp_path)[0] == 1


def test_a_rotation_that_names_another_key_is_refused(rotated: Ledger, tmp_path: Path) -> None:
    """Each field of a rotation, changed and signed anew with the old key, which is all that a thief of it has."""
    import base64

    genuine = prove(rotated, 8)
    for field in ("new", "previous", "acceptance", "log"):
        proof = copy.deepcopy(genuine)
        entry = next(e for e in proof["entries"] if "index 3\n" in e["proof"])
        document = json.loads(base64.b64decode(entry["envelope"]["payload"]))
        other = next(e for e in proof["entries"] if "index 7\n" in e["proof"])
        strange = json.loads(base64.b64decode(other["envelope"]["payload"]))
        document["predicate"][field] = strange["predicate"][field]
        payload = canonical_json(document)
        pae = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
        entry["envelope"]["payload"] = base64.b64encode(payload).decode()
        entry["envelope"]["signatures"][0]["sig"] = base64.b64encode(KEY.sign(pae)).decode()
        with pytest.raises(ProofError):
            verify_proof(proof, THIRD.public_key())
        assert standalone(proof, THIRD.public_key(), tmp_path)[0] == 1
