"""Entries of the log as they are read from the database: one, those that name a thing, or all, some at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import LedgerEntry
from assay.ledger.statements.envelopes import read_unverified
from assay.ledger.statements.statement import Statement, index_key

_BATCH = 1000  # entries read at a time
HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One entry of the log.

    Attributes:
        position: Its index in the Merkle tree, from 0.
        statement_id: Id of its statement.
        predicate_type: What kind of step it tells of.
        envelope: The signed statement: what the leaf's hash is over.
        new: Whether the append that returned it added it.
    """

    position: int
    statement_id: str
    predicate_type: str
    envelope: str
    new: bool = False

    @property
    def statement(self) -> Statement:
        """The statement, without checking its signature."""
        return read_unverified(self.envelope)


def lookup_key(name: str) -> str:
    """A name or digest as the subject index has it."""
    return index_key(f"sha256:{name}" if HEX_DIGEST.fullmatch(name) else name)


def batches(session: Session, size: int) -> Iterator[list[LedgerEntry]]:
    """All entries below position `size`, in order, some at a time; nothing is kept in the session."""
    start = -(2**63)  # a position below zero would be a forgery: it must be seen
    while True:
        query = (
            select(LedgerEntry)
            .where(LedgerEntry.position > start, LedgerEntry.position < size)
            .order_by(LedgerEntry.position)
            .limit(_BATCH)
        )
        rows = list(session.scalars(query))
        if not rows:
            return
        yield rows
        start = rows[-1].position
        session.expunge_all()


def entry_of(row: LedgerEntry, new: bool = False) -> Entry:
    """The entry of a row; `new` if it was added just now."""
    return Entry(row.position, row.statement_id, row.predicate_type, row.envelope, new)
