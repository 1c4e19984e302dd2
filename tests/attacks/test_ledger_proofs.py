"""Someone hands over a proof that is not one: whatever they changed, it does not stand up.

The attacker sees genuine proofs and makes keys, logs and snapshots of their own. They do not have the ledger's key.
"""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.db import LedgerCheckpoint
from assay.ledger import Ledger, ProofError, verify_proof
from assay.ledger.log.checkpoints import Checkpoint, origin_of, sign_checkpoint
from assay.ledger.log.tree import inclusion_path
from assay.ledger.merkle import leaf_hash
from assay.ledger.outside.tlog import TlogProof
from assay.ledger.statements.envelopes import sign_statement
from tests.attacks import tampering
from tests.ledger.support import KEY, OTHER_KEY, Line, filled, small_line, statement

PUBLIC = KEY.public_key()
Proof = dict[str, Any]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    """A line that ran twice, for reading."""
    folder = tmp_path_factory.mktemp("line")
    return small_line(f"sqlite:///{folder / 'test.db'}", folder)


@pytest.fixture(scope="module")
def genuine(line: Line) -> dict[str, Proof]:
    """Genuine proofs: of an entry, of a model, and of two rows."""
    return {
        "older": older_proof(line.log, line.models[0]),
        "entry": line.log.prove(0),
        "model": line.log.prove(line.models[0]),
        "row": line.log.prove("people:7", store=line.store),
        "other row": line.log.prove("people:27", store=line.store),
    }


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Another log of the same key, with entries of its own: a test system's, say."""
    folder = tmp_path_factory.mktemp("other")
    log = filled(f"sqlite:///{folder / 'test.db'}", folder, 3)
    for number in range(60, 71):
        log.append(statement(number))
    return log


def older_proof(log: Ledger, what: str) -> Proof:
    """A proof of the first statement about a thing, against the checkpoint right after it."""
    position = log.entries(what)[0].position
    with log.database.session() as session:
        note = session.get_one(LedgerCheckpoint, position + 1).note
        path = inclusion_path(session, position, position + 1)
    return {"entries": [{"proof": TlogProof(position, tuple(path), note).text}]}


def set_in(*keys: Any, to: Any) -> Callable[[Proof, dict[str, Proof]], None]:
    """An attack that puts a value in one place of the proof."""

    def attack(proof: Proof, _: dict[str, Proof]) -> None:
        place: Any = proof
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return attack


def bend(text: str) -> str:
    """Base64 with one bit changed."""
    data = bytearray(base64.b64decode(text))
    data[0] ^= 1
    return base64.b64encode(bytes(data)).decode()


def change_line(proof: Proof, number: int, change: Callable[[str], str]) -> None:
    """Change one line of the first entry's tlog-proof."""
    lines = proof["entries"][0]["proof"].split("\n")
    lines[number] = change(lines[number])
    proof["entries"][0]["proof"] = "\n".join(lines)


def with_checkpoint(proof: Proof, note: str) -> None:
    """Put another checkpoint under the first entry's path."""
    head = proof["entries"][0]["proof"].partition("\n\n")[0]
    proof["entries"][0]["proof"] = f"{head}\n\n{note}"


def checkpoint_of(proof: Proof) -> str:
    """The signed checkpoint of a proof."""
    return str(proof["entries"][0]["proof"].partition("\n\n")[2])


def bend_path(proof: Proof, _: dict[str, Proof]) -> None:
    """One bit in an inclusion path."""
    change_line(proof, 2, bend)


def bend_row_path(proof: Proof, _: dict[str, Proof]) -> None:
    """One bit in a row's path."""
    proof["row"]["path"][0] = bend(proof["row"]["path"][0])


def change_index(proof: Proof, _: dict[str, Proof]) -> None:
    """The same path, said to be another entry's."""
    change_line(proof, 1, lambda line: "index 1")


def change_size(proof: Proof, _: dict[str, Proof]) -> None:
    """The checkpoint's size, under the old signature."""
    note = checkpoint_of(proof).split("\n")
    with_checkpoint(proof, "\n".join([note[0], str(int(note[1]) + 1), *note[2:]]))


def change_root(proof: Proof, _: dict[str, Proof]) -> None:
    """The checkpoint's root, under the old signature."""
    note = checkpoint_of(proof).split("\n")
    with_checkpoint(proof, "\n".join([*note[:2], bend(note[2]), *note[3:]]))


def spell_a_hash_differently(proof: Proof, _: dict[str, Proof]) -> None:
    """Base64 with stray bits: the same 32 bytes, other text."""
    change_line(proof, 2, lambda line: f"{line[:-2]}{chr(ord(line[-2]) + 1)}=")


def mix_two_checkpoints(proof: Proof, genuine: dict[str, Proof]) -> None:
    """Entries that were proved at different times, as if they were one log's state."""
    proof["entries"][0]["proof"] = genuine["older"]["entries"][0]["proof"]


def cut_path(proof: Proof, _: dict[str, Proof]) -> None:
    """A path that ends too early."""
    head, gap, checkpoint = proof["entries"][0]["proof"].partition("\n\n")
    proof["entries"][0]["proof"] = head.rpartition("\n")[0] + gap + checkpoint


def bend_signature(proof: Proof, _: dict[str, Proof]) -> None:
    """One bit in the statement's signature."""
    signature = proof["entries"][0]["envelope"]["signatures"][0]
    signature["sig"] = bend(signature["sig"])


def bend_payload(proof: Proof, _: dict[str, Proof]) -> None:
    """Another outcome in the statement."""
    envelope = proof["entries"][0]["envelope"]
    text = base64.b64decode(envelope["payload"]).decode()
    envelope["payload"] = base64.b64encode(
        text.replace("passed", "failed").replace("sources", "source").encode()
    ).decode()
    assert "payload" in envelope


def change_payload_type(proof: Proof, _: dict[str, Proof]) -> None:
    """The same bytes as something else."""
    proof["entries"][0]["envelope"]["payloadType"] = "text/plain"


def take_anothers_statement(proof: Proof, genuine: dict[str, Proof]) -> None:
    """A genuine statement under another entry's path."""
    proof["entries"][0]["envelope"] = genuine["model"]["entries"][1]["envelope"]


def take_anothers_position(proof: Proof, genuine: dict[str, Proof]) -> None:
    """A genuine statement under another entry's position and path."""
    proof["entries"][0]["proof"] = genuine["model"]["entries"][1]["proof"]


def sign_checkpoint_myself(proof: Proof, _: dict[str, Proof]) -> None:
    """A tree of one leaf, signed by the attacker under the log's name."""
    envelope = sign_statement(statement(1), KEY)
    point = Checkpoint(origin_of(PUBLIC), 1, leaf_hash(envelope.encode()))
    forged = TlogProof(0, (), sign_checkpoint(point, OTHER_KEY)).text
    proof["entries"] = [{"envelope": json.loads(envelope), "proof": forged}]


def sign_statement_myself(proof: Proof, _: dict[str, Proof]) -> None:
    """A statement of the attacker's in a genuine place."""
    proof["entries"][0]["envelope"] = json.loads(sign_statement(statement(1), OTHER_KEY))


def take_anothers_cells(proof: Proof, genuine: dict[str, Proof]) -> None:
    """Another row's values under this row's path."""
    proof["row"]["cells"] = genuine["other row"]["row"]["cells"]


def take_anothers_path(proof: Proof, genuine: dict[str, Proof]) -> None:
    """This row's values in another row's place."""
    for key in ("index", "path"):
        proof["row"][key] = genuine["other row"]["row"][key]


def drop_a_cell(proof: Proof, _: dict[str, Proof]) -> None:
    """A column is left out."""
    proof["row"]["cells"].pop()


def add_a_cell(proof: Proof, _: dict[str, Proof]) -> None:
    """A column is added."""
    proof["row"]["cells"].append(["vip", "boolean", True])


def rename_a_cell(proof: Proof, _: dict[str, Proof]) -> None:
    """The age stands under the name, and the name under the age."""
    cells = {cell[0]: cell for cell in proof["row"]["cells"]}
    cells["age"][0], cells["name"][0] = "name", "age"


def make_a_snapshot_of_one_row(proof: Proof, _: dict[str, Proof]) -> None:
    """A manifest of the attacker's with a root over a row of the attacker's."""
    from assay.ledger.rows.hashing import hash_cells
    from assay.ledger.rows.snapshot import SnapshotManifest

    manifest = SnapshotManifest.from_json(proof["row"]["manifest"].encode())
    proof["row"]["cells"][0][2] = 99
    root = hash_cells([tuple(cell) for cell in proof["row"]["cells"]]).hex()
    part = manifest.parts[0].model_copy(update={"rows": 1, "root": root})
    forged = manifest.model_copy(update={"parts": (part,), "rows": 1, "merkle_root": root, "edge": (root,)})
    proof["row"].update(manifest=forged.to_json().decode(), index=0, path=[])


def claim_another_snapshot(proof: Proof, _: dict[str, Proof]) -> None:
    """The row is said to stand in another snapshot."""
    proof["row"]["snapshot"] = "snapshot-" + "0" * 32


def claim_another_delivery(proof: Proof, genuine: dict[str, Proof]) -> None:
    """A row of one publisher is said to have come from another."""
    proof["row"]["origin"] = genuine["other row"]["row"]["origin"]


def leave_out_the_admission(proof: Proof, genuine: dict[str, Proof]) -> None:
    """A snapshot's row, with a statement about something else."""
    proof["entries"] = genuine["model"]["entries"]


ATTACKS: list[tuple[str, Callable[[Proof, dict[str, Proof]], None]]] = [
    ("entry", bend_path),
    ("entry", cut_path),
    ("entry", change_index),
    ("entry", change_size),
    ("entry", change_root),
    ("entry", spell_a_hash_differently),
    ("model", mix_two_checkpoints),
    ("entry", bend_signature),
    ("entry", bend_payload),
    ("entry", change_payload_type),
    ("entry", take_anothers_statement),
    ("entry", take_anothers_position),
    ("entry", sign_checkpoint_myself),
    ("entry", sign_statement_myself),
    ("row", bend_row_path),
    ("row", take_anothers_cells),
    ("row", take_anothers_path),
    ("row", drop_a_cell),
    ("row", add_a_cell),
    ("row", rename_a_cell),
    ("row", make_a_snapshot_of_one_row),
    ("row", claim_another_snapshot),
    ("row", claim_another_delivery),
    ("row", leave_out_the_admission),
]


@pytest.mark.parametrize(("kind", "attack"), ATTACKS, ids=[attack.__name__ for _, attack in ATTACKS])
def test_a_changed_proof_does_not_stand_up(
    kind: str, attack: Callable[[Proof, dict[str, Proof]], None], genuine: dict[str, Proof]
) -> None:
    """The genuine one does; after the attack it does not."""
    proof = copy.deepcopy(genuine[kind])
    verify_proof(proof, PUBLIC)
    attack(proof, genuine)
    with pytest.raises(ProofError) as caught:
        verify_proof(proof, PUBLIC)
    tampering.found(f"{kind} proof: {attack.__name__.replace('_', ' ')}", caught.value.message[:70])


MALFORMED: list[Callable[[Proof, dict[str, Proof]], None]] = [
    set_in("format", to="https://assay.dev/proof/v0"),
    set_in("entries", to=[]),
    set_in("entries", to={}),
    set_in("entries", to=None),
    set_in("entries", to=[7]),
    set_in("entries", 0, "proof", to=None),
    set_in("entries", 0, "proof", to=7),
    set_in("entries", 0, "proof", to=""),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1\n\n"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v2\nindex 0\n\nnote"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1\nindex -1\n\nnote"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1\nindex 01\n\nnote"),
    set_in("entries", 0, "proof", to=f"c2sp.org/tlog-proof@v1\nindex {10**30}\n\nnote"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1\nextra ?\nindex 0\n\nnote"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1\nindex 0\n?\n\nnote"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nnote"),
    set_in("entries", 0, "proof", to="c2sp.org/tlog-proof@v1\nindex 0\n" + "AAAA\n" * 100_000 + "\nnote"),
    set_in("entries", 0, "envelope", to="text"),
    set_in("entries", 0, "envelope", to={"payload": float("nan")}),
    set_in("row", to=7),
    set_in("row", to={}),
    set_in("row", "cells", to=None),
    set_in("row", "cells", to=[[1]]),
    set_in("row", "cells", 0, 1, to="bytes"),
    set_in("row", "cells", 0, 2, to=[]),
    set_in("row", "origin", to=None),
    set_in("row", "manifest", to="{}"),
    set_in("row", "manifest", to=None),
    set_in("row", "index", to=1.0),
    set_in("row", "index", to=30),
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_a_malformed_proof_is_refused_in_plain_words(number: int, genuine: dict[str, Proof]) -> None:
    """No other kind of error escapes, whatever stands in the file."""
    proof = copy.deepcopy(genuine["row"])
    MALFORMED[number](proof, genuine)
    with pytest.raises(ProofError):
        verify_proof(proof, PUBLIC)


def test_a_proof_that_lacks_a_part_is_refused(genuine: dict[str, Proof]) -> None:
    """Each part is needed."""
    for key in ("format", "entries"):
        proof = {name: value for name, value in genuine["row"].items() if name != key}
        with pytest.raises(ProofError, match="malformed"):
            verify_proof(proof, PUBLIC)


def test_a_proof_for_another_tree_does_not_prove_this_one(genuine: dict[str, Proof], other: Ledger) -> None:
    """Entries of one log under the checkpoint of another log of the same key."""
    proof = copy.deepcopy(genuine["entry"])
    with_checkpoint(proof, checkpoint_of(other.prove(5)))
    with pytest.raises(ProofError, match="does not lead to the root"):
        verify_proof(proof, PUBLIC)
    tampering.found("entry proof: for another tree of the same key", "the inclusion path")


def test_an_older_checkpoint_does_not_prove_a_newer_entry(line: Line, tmp_path: Path) -> None:
    """An entry beyond the checkpoint's size."""
    log = filled(f"sqlite:///{tmp_path / 'test.db'}", tmp_path, 3)
    old = log.checkpoint()
    log.append(statement(3))
    proof = log.prove(3)
    assert old is not None
    with_checkpoint(proof, old)
    with pytest.raises(ProofError, match="outside the tree"):
        verify_proof(proof, PUBLIC)
    tampering.found("entry proof: an older checkpoint for a newer entry", "the inclusion path")


def test_a_proof_does_not_bring_its_own_key(genuine: dict[str, Proof]) -> None:
    """The key named in the proof is for people; only the one that the verifier holds counts."""
    with pytest.raises(ProofError):
        verify_proof(genuine["entry"], OTHER_KEY.public_key())
    renamed = {**genuine["entry"], "key": "assay.local/other+00000000+AAAA"}
    assert verify_proof(renamed, PUBLIC).statements
