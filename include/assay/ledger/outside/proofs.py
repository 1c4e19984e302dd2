"""Proofs that need no database, no store and no Assay account: a JSON file and the ledger's public key.

A proof holds signed statements, each with a C2SP tlog-proof: its path and the signed checkpoint, the same for all of
them. A row's proof also holds the row's cells with their path to the snapshot's root, and the snapshot's manifest,
which states that root and which delivery brought the row; its statements are those that admitted the snapshot,
verified the delivery and released the row. File and record number are hints: whoever has the delivered file, whose
digest the delivery's statement names, can hash that record again.

`docs/ledger-format.md` has the format; `docs/verify/verify.py` checks it without any code of ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.canonical import canonical_json
from assay.db import LedgerCheckpoint, LedgerEntry, LedgerSubject, Snapshot
from assay.errors import AssayError
from assay.ledger.errors import LedgerError, NotInLedger, ProofError
from assay.ledger.keys.ring import KeyRing
from assay.ledger.log.checkpoints import Checkpoint, verifier_key
from assay.ledger.log.entries import lookup_key
from assay.ledger.log.heads import open_row
from assay.ledger.log.ledger import Ledger
from assay.ledger.log.rotation import ring_of
from assay.ledger.log.tree import consistency_path, inclusion_path
from assay.ledger.merkle import Hashes, inclusion_proof, leaf_hash, verify_inclusion
from assay.ledger.outside.tlog import ConsistencyProof, TlogProof
from assay.ledger.outside.witnesses import cosigned_note
from assay.ledger.rows.hashing import hash_cells
from assay.ledger.rows.lookup import FoundRow, find_rows, read_manifest, split_row_name
from assay.ledger.rows.parts import part_hashes
from assay.ledger.rows.snapshot import SnapshotManifest
from assay.ledger.statements.envelopes import verify_envelope
from assay.ledger.statements.statement import Statement, predicate_type
from assay.store import ObjectStore

FORMAT = "https://assay.dev/proof/v2"
MAX_STATEMENTS = 200
_ADMITTED = "snapshot-admitted"


@dataclass(frozen=True)
class Proved:
    """What a proof that stood up says.

    Attributes:
        checkpoint: The log's state that everything is proved against.
        statements: The proved statements, with their positions in the log.
        row: Column to value of the proved row, if it is one.
        snapshot: Id of the snapshot that holds the row.
        delivery: Id of the delivery that brought the row.
    """

    checkpoint: Checkpoint
    statements: tuple[tuple[int, Statement], ...]
    row: Mapping[str, Any] | None = None
    snapshot: str | None = None
    delivery: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "origin": self.checkpoint.origin,
            "size": self.checkpoint.size,
            "root": self.checkpoint.root.hex(),
            "statements": [
                {"position": position, "step": statement.step, "id": statement.id}
                for position, statement in self.statements
            ],
            "snapshot": self.snapshot,
            "delivery": self.delivery,
            "row": self.row,
        }


def prove(ledger: Ledger, what: int | str, *, store: ObjectStore | None = None) -> dict[str, Any]:
    """Make a proof, JSON-ready.

    Args:
        ledger: The log.
        what: A position, a statement's id, a name or digest (then all statements about it), or `dataset:key` for a row.
        store: The object store; only rows need it.

    Raises:
        NotInLedger: Nothing goes by that name.
        LedgerError: The log's newest checkpoint is not in order, so that nothing can be proved against it.
    """
    with ledger.database.session() as session:
        positions = _positions(session, what)
        if positions:
            return {**_log_proof(ledger, session, positions, str(what)), "about": str(what)}
    name = split_row_name(ledger.database, what) if isinstance(what, str) else None
    if name is None:
        raise NotInLedger(
            f"nothing in the ledger goes by {what!r}",
            next_step="give a position, a statement's id, another id, a SHA-256, or dataset:key for a row",
        )
    if store is None:
        raise NotInLedger(f"{what!r} is a row, and rows need the object store")
    found = find_rows(ledger.database, store, *name)[0]
    row = _row_proof(ledger, store, found)
    with ledger.database.session() as session:
        proof = _log_proof(ledger, session, _row_positions(session, found), str(what))
    made = {**proof, "about": str(what), "row": row}
    verify_proof(made, ledger.public_key)
    return made


def prove_consistency(ledger: Ledger, first: int, second: int | None = None) -> ConsistencyProof:
    """A proof that the log at `first` entries is the beginning of the log at `second` entries (the newest).

    Its text is also what a C2SP witness takes to cosign the newer checkpoint.

    Raises:
        NotInLedger: There is no checkpoint at one of these sizes.
        LedgerError: The log is not in order, so that nothing can be proved.
    """
    with ledger.database.session() as session:
        new = _checkpoint_row(ledger, session, second)
        if first > new.size:
            raise NotInLedger(f"the checkpoint at {new.size} entries is older than the one at {first}")
        path = consistency_path(session, first, new.size)
        old = open_row(_checkpoint_row(ledger, session, first), ledger.public_key) if first else None
        proof = ConsistencyProof(first, tuple(path), new.note)
    if old is not None:
        try:
            proof.verify(old, ledger.public_key)
        except ProofError as error:
            raise LedgerError(
                f"the ledger does not prove that it only grew: {error.message}",
                expected=error.expected,
                found=error.found,
                next_step="`assay ledger verify` names what was changed",
            ) from error
    return proof


def signed_checkpoint(ledger: Ledger, size: int | None = None) -> str:
    """The newest checkpoint, or the one at a size, as a signed note with the witnesses' cosignatures.

    Raises:
        NotInLedger: There is no checkpoint at that size.
        LedgerError: The log is empty, or its checkpoint is not in order.
    """
    with ledger.database.session() as session:
        return cosigned_note(session, _checkpoint_row(ledger, session, size))


def verify_proof(proof: Mapping[str, Any], public_key: Ed25519PublicKey) -> Proved:
    """Check a proof against the ledger's public key; nothing else is needed.

    Raises:
        ProofError: It does not prove what it says.
    """
    try:
        return _verify(proof, public_key)
    except ProofError:
        raise
    except AssayError as error:
        raise ProofError(
            f"the proof does not stand up: {error.message}", expected=error.expected, found=error.found
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise ProofError("the proof is malformed", expected=FORMAT, found=repr(error)[:200]) from error


# --------------------------------------------------------------------------------------------------------------- making
def _positions(session: Session, what: int | str) -> list[int]:
    query = select(LedgerEntry.position)
    if isinstance(what, int) or (what.isdecimal() and len(what) < 19):
        query = query.where(LedgerEntry.position == int(what))
    elif what.startswith("statement-"):
        query = query.where(LedgerEntry.statement_id == what)
    else:
        query = select(LedgerSubject.position).where(
            LedgerSubject.name == lookup_key(what), LedgerSubject.role == "subject"
        )
    return sorted(set(session.scalars(query)))


def _row_positions(session: Session, found: FoundRow) -> list[int]:
    """Entries that say how a row came in: the snapshot's admission, the delivery's verification, the decision."""
    wanted = [(found.snapshot_id, _ADMITTED), (found.delivery, "delivery-verified")]
    if found.decision:
        wanted.append((found.decision, "case-decided"))
    positions = []
    for name, step in wanted:
        for position in _positions(session, name):
            entry = session.get(LedgerEntry, position)
            if entry is not None and entry.predicate_type == predicate_type(step):
                positions.append((step, position))
    if _ADMITTED not in {step for step, _ in positions}:
        raise NotInLedger(f"no statement in the ledger admits {found.snapshot_id}, which holds the row")
    return sorted({position for _, position in positions})


def _log_proof(ledger: Ledger, session: Session, positions: Sequence[int], what: str) -> dict[str, Any]:
    if len(positions) > MAX_STATEMENTS:
        raise NotInLedger(
            f"{len(positions)} statements are about {what!r}; a proof holds {MAX_STATEMENTS}",
            next_step="name a statement's id or position",
        )
    if isinstance(
        ledger.public_key, KeyRing
    ):  # whoever checks it follows the rotations from the key that they have
        rotations = {tenure.since - 1 for tenure in ledger.public_key.tenures[1:]}
        positions = sorted({*positions, *rotations})
    newest = _checkpoint_row(ledger, session)
    note = cosigned_note(session, newest)
    entries = []
    for position in positions:
        row = session.get(LedgerEntry, position)
        if row is None or position >= newest.size:
            raise LedgerError(
                f"the newest checkpoint does not cover entry {position}",
                next_step="`assay ledger verify` says what is wrong",
            )
        path = inclusion_path(session, position, newest.size)
        proof = TlogProof(position, tuple(path), note)
        entries.append({"envelope": _envelope(row), "proof": proof.text})
    made = {"format": FORMAT, "key": verifier_key(ledger.public_key), "entries": entries}
    try:
        verify_proof(made, ledger.public_key)  # a proof that does not stand up must not leave the house
    except ProofError as error:
        raise LedgerError(
            f"the ledger does not prove what it holds: {error.message}",
            expected=error.expected,
            found=error.found,
            next_step="`assay ledger verify` names what was changed",
        ) from error
    return made


def _envelope(row: LedgerEntry) -> Any:
    try:
        return json.loads(row.envelope)
    except (ValueError, RecursionError) as error:
        raise LedgerError(
            f"entry {row.position} holds no envelope",
            next_step="`assay ledger verify` names what was changed",
        ) from error


def _checkpoint_row(ledger: Ledger, session: Session, size: int | None = None) -> LedgerCheckpoint:
    """The checkpoint at a size, or the newest, in order."""
    query = select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)
    if size is not None:
        query = query.where(LedgerCheckpoint.size == size)
    row = session.scalars(query).first()
    if row is None and size is not None:
        raise NotInLedger(f"the ledger has no checkpoint at {size} entries")
    if row is None:
        raise LedgerError(
            "the ledger has no checkpoint", next_step="`assay ledger verify` says what is wrong"
        )
    open_row(row, ledger.public_key)
    return row


def _row_proof(ledger: Ledger, store: ObjectStore, found: FoundRow) -> dict[str, Any]:
    with ledger.database.session() as session:
        snapshot = session.get_one(Snapshot, found.snapshot_id)
    manifest = read_manifest(store, snapshot)
    path = inclusion_proof(found.index, manifest.rows, _all_hashes(store, manifest))
    root = bytes.fromhex(manifest.merkle_root)
    verify_inclusion(hash_cells(found.cells), found.index, manifest.rows, path, root)
    return {
        "snapshot": found.snapshot_id,
        "manifest": manifest.to_json().decode(),
        "index": found.index,
        "cells": [list(cell) for cell in found.cells],
        "path": [_encode(node) for node in path],
        "origin": {
            "delivery": found.delivery,
            "source": found.source,
            "file": found.file,
            "record": found.record,
            "decision": found.decision,
        },
    }


def _all_hashes(store: ObjectStore, manifest: SnapshotManifest) -> Iterator[Hashes]:
    for part in manifest.parts:
        yield from part_hashes(store, part)


# ------------------------------------------------------------------------------------------------------------- checking
def _verify(proof: Mapping[str, Any], public_key: Ed25519PublicKey) -> Proved:
    if proof["format"] != FORMAT:
        raise ProofError("this is not a proof of Assay's", expected=FORMAT, found=proof["format"])
    entries = proof["entries"]
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_STATEMENTS:
        raise ProofError(
            "a proof has at least one entry", expected=f"1 to {MAX_STATEMENTS}", found=len(entries)
        )
    opened = [(canonical_json(e["envelope"]).decode(), TlogProof.parse(e["proof"])) for e in entries]
    keys = ring_of([(tlog.index, envelope) for envelope, tlog in opened], public_key)
    statements = []
    checkpoints = set()
    for envelope, tlog in opened:
        statement = verify_envelope(envelope, keys, position=tlog.index)
        checkpoints.add(tlog.verify(leaf_hash(envelope.encode()), keys))
        statements.append((tlog.index, statement))
    if len(checkpoints) != 1:
        raise ProofError("the entries are proved against different checkpoints")
    (checkpoint,) = checkpoints
    row = proof.get("row")
    if row is None:
        return Proved(checkpoint, tuple(statements))
    snapshot, delivery = _verify_row(row, [statement for _, statement in statements])
    values = {name: value for name, _, value in row["cells"]}
    return Proved(checkpoint, tuple(statements), values, snapshot, delivery)


def _verify_row(row: Mapping[str, Any], statements: Sequence[Statement]) -> tuple[str, str]:
    """Check a row against the snapshot's manifest; returns snapshot and delivery."""
    data = row["manifest"].encode()
    manifest, digest = SnapshotManifest.from_json(data), hashlib.sha256(data).hexdigest()
    admitted = {
        subject.name
        for statement in statements
        if statement.step == _ADMITTED
        for subject in statement.subjects
        if subject.sha256 == digest
    }
    if row["snapshot"] not in admitted:
        raise ProofError(
            "no statement in the proof admits the snapshot that holds the row",
            expected=f"{row['snapshot']} with the manifest {digest}",
            found=", ".join(sorted(admitted)) or "none",
        )
    cells = [(str(name), str(kind), value) for name, kind, value in row["cells"]]
    if sorted(name for name, _, _ in cells) != sorted(manifest.columns):
        raise ProofError("the row does not have the snapshot's columns", expected=", ".join(manifest.columns))
    root, index = bytes.fromhex(manifest.merkle_root), _whole(row["index"])
    verify_inclusion(hash_cells(cells), index, manifest.rows, _path(row["path"]), root)
    delivery = manifest.delivery_of(index)
    if row["origin"]["delivery"] != delivery:
        raise ProofError(
            "the row came with another delivery", expected=delivery, found=row["origin"]["delivery"]
        )
    return str(row["snapshot"]), delivery


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProofError("a position in the proof is not a whole number", found=value)
    return value


def _path(listed: Any) -> list[bytes]:
    try:
        return [base64.b64decode(node, validate=True) for node in listed]
    except binascii.Error as error:
        raise ProofError("a path in the proof is not base64") from error


def _encode(node: bytes) -> str:
    return base64.b64encode(node).decode()
