"""Checkpoints of the log as its database keeps them: each must say what its signed note says, and lead to its root."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import LedgerCheckpoint
from assay.ledger.errors import LedgerError, NoteError
from assay.ledger.log.checkpoints import Checkpoint, open_checkpoint
from assay.ledger.log.entries import HEX_DIGEST
from assay.ledger.merkle import StreamingRoot


def newest_row(session: Session) -> LedgerCheckpoint | None:
    """The row of the largest checkpoint; None for an empty log."""
    return session.scalars(select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)).first()


def open_row(row: LedgerCheckpoint, key: Ed25519PublicKey) -> Checkpoint:
    """The checkpoint of a row, whose columns must say what its signed note says.

    Raises:
        LedgerError: They do not, or the note is not the ledger's.
    """
    try:
        checkpoint = open_checkpoint(row.note, key)
    except NoteError as error:
        raise not_ours(f"the checkpoint at {row.size} entries is not ours: {error.message}") from error
    if (checkpoint.size, checkpoint.root.hex()) != (row.size, row.root_hash):
        raise not_ours(f"the checkpoint at {row.size} entries has a note that says something else")
    return checkpoint


def tree_of(row: LedgerCheckpoint) -> StreamingRoot:
    """The tree at a checkpoint, from its right edge.

    Raises:
        LedgerError: The edge is malformed.
    """
    edge: Any = row.edge
    if not isinstance(edge, list) or not all(
        isinstance(node, str) and HEX_DIGEST.fullmatch(node) for node in edge
    ):
        raise not_ours(f"the checkpoint at {row.size} entries has a malformed right edge")
    if len(edge) != row.size.bit_count():
        raise not_ours(f"the checkpoint at {row.size} entries has a right edge of another size")
    return StreamingRoot(row.size, [bytes.fromhex(node) for node in edge])


def not_ours(message: str, expected: object = None, found: object = None) -> LedgerError:
    """The error for a log in the database that is not the one that was signed."""
    return LedgerError(
        message,
        expected=expected,
        found=found,
        state="nothing was added to the ledger",
        next_step="`assay ledger verify` names every entry that was changed; restore the database from a backup",
    )
