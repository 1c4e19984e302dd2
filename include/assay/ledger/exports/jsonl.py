"""The whole ledger as JSON lines, for archives, for auditors and for other tools."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select

from assay.canonical import canonical_json
from assay.db import LedgerCheckpoint
from assay.ledger.errors import ProofError
from assay.ledger.keys.signing import parse_public_key, public_pem
from assay.ledger.log.checkpoints import open_checkpoint, verifier_key
from assay.ledger.log.entries import batches
from assay.ledger.log.ledger import Ledger
from assay.ledger.merkle import StreamingRoot, leaf_hash
from assay.ledger.statements.envelopes import verify_envelope

FORMAT = "https://assay.dev/ledger/v1"


def export_lines(ledger: Ledger) -> Iterator[str]:
    """The ledger, one JSON object per line.

    The first line is a header (format, origin, public key), then comes one line for each entry (`position` and
    `envelope`), and the newest checkpoint's signed note is last. `check_export` checks such a file without a database.

    Raises:
        NoLedgerKey: There is no public key, because nothing was ever appended.
    """
    header = {
        "format": FORMAT,
        "origin": ledger.origin,
        "key": verifier_key(ledger.public_key),
        "public_key": public_pem(ledger.public_key).decode(),
    }
    yield canonical_json(header).decode()
    with ledger.database.session() as session:
        newest = session.scalars(
            select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)
        ).first()
        size, note = (newest.size, newest.note) if newest is not None else (0, None)
        for rows in batches(session, size):
            for row in rows:
                line = {"position": row.position, "envelope": json.loads(row.envelope)}
                yield canonical_json(line).decode()
    yield canonical_json({"checkpoint": note}).decode()


def check_export(lines: Iterable[str], public_key: Ed25519PublicKey) -> int:
    """Check an export against the ledger's public key: every envelope, and the checkpoint over all of them.

    Returns:
        Number of entries.

    Raises:
        ProofError: An entry was changed, dropped, added or moved.
        EnvelopeError: A statement does not stand up.
        NoteError: The checkpoint is not the ledger's.
    """
    tree, note, stated = StreamingRoot(), None, None
    for number, line in enumerate(lines):
        try:
            item = json.loads(line)
            if number == 0:
                stated = item["public_key"]
                continue
            if note is not None:
                raise ProofError("the export goes on after its checkpoint")
            if "checkpoint" in item:
                note = str(item["checkpoint"])
                continue
            envelope = canonical_json(item["envelope"]).decode()
            position = item["position"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ProofError(
                f"line {number + 1} of the export is malformed", found=repr(error)[:200]
            ) from error
        if position != tree.size:
            raise ProofError(
                f"line {number + 1} of the export is out of order", expected=tree.size, found=position
            )
        verify_envelope(envelope, public_key)
        tree.append(leaf_hash(envelope.encode()))
    if note is None or stated is None:
        raise ProofError("the export is cut off", expected="a header, entries, and a checkpoint")
    if parse_public_key(str(stated).encode()) != public_key:
        raise ProofError("the export is of another ledger, signed with another key")
    checkpoint = open_checkpoint(note, public_key)
    if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
        raise ProofError(
            "the export does not have the root that its checkpoint signs",
            expected=f"{checkpoint.size} entries, {checkpoint.root.hex()}",
            found=f"{tree.size} entries, {tree.root().hex()}",
        )
    return tree.size
