"""Which signed statements tell of a thing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import LedgerEntry, LedgerSubject
from assay.errors import AssayError
from assay.ledger import Ledger, Statement
from assay.ledger.log.entries import lookup_key
from assay.ledger.statements.envelopes import read_unverified, verify_envelope

MAX_STATEMENTS = 100
_TIMES = ("decided_at", "first_seen", "signed_at")


def statements(session: Session, name: str) -> list[dict[str, Any]]:
    """The entries of the log that are about a thing, oldest first, at most `MAX_STATEMENTS`.

    A statement carries no clock of its own; `at` is a time that it tells of, None where it tells of none.
    """
    query = (
        select(LedgerEntry)
        .join(LedgerSubject, LedgerSubject.position == LedgerEntry.position)
        .where(LedgerSubject.name == lookup_key(name), LedgerSubject.role == "subject")
        .order_by(LedgerEntry.position)
        .limit(MAX_STATEMENTS)
    )
    return [_line(entry) for entry in session.scalars(query)]


def read_entry(ledger: Ledger, entry: LedgerEntry) -> Statement:
    """The statement of an entry: its signature is checked, but where there is no public key to check it with.

    Raises:
        EnvelopeError: The signature or the statement does not stand up.
        LedgerError: The log's key cannot be told.
    """
    if not ledger.has_key:
        return read_unverified(entry.envelope)
    return verify_envelope(entry.envelope, ledger.public_key, position=entry.position)


def _line(entry: LedgerEntry) -> dict[str, Any]:
    try:
        statement = read_unverified(entry.envelope)
        step, told = statement.step, statement.predicate
    except (AssayError, ValueError):  # the log's own check names an entry that is none
        step, told = entry.predicate_type, {}
    at = next((told[name] for name in _TIMES if isinstance(told.get(name), str)), None)
    return {"position": entry.position, "type": step, "at": at, "id": entry.statement_id}
