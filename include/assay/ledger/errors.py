"""What can go wrong in the ledger, told in words that name the next step."""

from __future__ import annotations

from assay.errors import NotChecked, Terminal, Transient, UsageError


class LedgerError(Terminal):
    """The log itself is not what it should be; nothing was added to it."""


class LedgerKeyError(Terminal):
    """A signing key cannot be used: missing, readable by others, of the wrong kind, or not the one that was pinned."""


class KeyNotWritten(Transient):
    """A new key, or its public half, cannot be written; there is no half key."""


class StatementError(Terminal):
    """A statement cannot be made: its parts are not what in-toto and this log ask for."""


class EnvelopeError(Terminal):
    """A signed statement did not stand up to verification.

    Attributes:
        check: Which step failed: `format`, `payload_type`, `signature`, `statement`, `predicate_type` or `subject`.
    """

    def __init__(self, message: str, *, check: str, expected: object = None, found: object = None) -> None:
        super().__init__(message, expected=expected, found=found)
        self.check = check


class NoteError(Terminal):
    """A checkpoint's signed note is malformed, or not signed by the ledger's key."""


class ProofError(Terminal):
    """A proof does not prove what it says."""


class RowError(Terminal):
    """Rows cannot be hashed: a column is missing, or of a type that has no canonical form."""


class SnapshotError(Terminal):
    """A snapshot's manifest is malformed, or does not fit its parts."""


class NotInLedger(UsageError):
    """Nothing in the ledger goes by that name."""


class NoLedgerKey(NotChecked):
    """There is no public key to check the ledger against."""
