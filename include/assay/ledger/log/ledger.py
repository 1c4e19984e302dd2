"""The log: signed statements as leaves of a Merkle tree, in the database, one writer at a time.

Each append checks the newest checkpoint's signature, adds one leaf, and signs a checkpoint for the larger tree. It
needs the hashes at the tree's right edge only, which the newest checkpoint's row carries and its signed root vouches
for, so that the cost grows with the logarithm of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from assay.db import Database, LedgerCheckpoint, LedgerEntry, LedgerSubject
from assay.findings import Finding
from assay.ledger.errors import EnvelopeError, LedgerError, LedgerKeyError, NoLedgerKey
from assay.ledger.keys.signing import key_id, ledger_public_key, signing_key
from assay.ledger.log.anchor import Anchor
from assay.ledger.log.checkpoints import Checkpoint, origin_of, sign_checkpoint
from assay.ledger.log.entries import Entry, entry_of, lookup_key
from assay.ledger.log.heads import newest_row, not_ours, open_row, tree_of
from assay.ledger.log.rotation import ring_in, rotation_statement
from assay.ledger.merkle import StreamingRoot, leaf_hash
from assay.ledger.statements.envelopes import sign_statement, verify_envelope
from assay.ledger.statements.statement import Statement
from assay.settings import Settings


class Ledger:
    """The append-only log of one database.

    Args:
        database: Where the entries are.
        key: Private key to append with, or public key to check with; None where there is none yet.
        anchor: File that keeps the newest checkpoint outside the database; None to go without.
        make_key: Makes the private key at the first append, where `key` is not one.
    """

    def __init__(
        self,
        database: Database,
        key: Ed25519PrivateKey | Ed25519PublicKey | None,
        *,
        anchor: Path | None = None,
        make_key: Callable[[], Ed25519PrivateKey] | None = None,
    ) -> None:
        self.database = database
        self.anchor = None if anchor is None else Anchor(anchor)
        self._private = key if isinstance(key, Ed25519PrivateKey) else None
        self._public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
        self._make_key = make_key
        self._ring: Ed25519PublicKey | None = None

    @property
    def has_key(self) -> bool:
        """Whether there is a key to check signatures with."""
        return self._public is not None

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key that all entries and checkpoints must be signed with; a `KeyRing` where it was rotated.

        Raises:
            LedgerError: A rotation in the log does not stand up.
            LedgerKeyError: The key that is trusted is none of the log's.
            NoLedgerKey: There is none: nothing was ever appended here, and no key was given.
        """
        if self._public is None:
            raise NoLedgerKey(
                "there is no public key to check the ledger with",
                next_step="name the published one with --public-key, or bring back ledger.pub.pem",
            )
        if self._ring is None:
            with self.database.session() as session:
                self._ring = ring_in(session, self._public)
        return self._ring

    def forget_rotations(self) -> None:
        """Read the log's rotations again at the next use of the key."""
        self._ring = None

    @property
    def origin(self) -> str:
        """The log's name in its checkpoints."""
        return origin_of(self.public_key)

    # ----------------------------------------------------------------------------------------------------- writing
    def append(self, statement: Statement, *, session: Session | None = None) -> Entry:
        """Add a statement, or return the entry that has it already.

        Args:
            statement: From `make_statement`.
            session: A session of `Database.write()`, to append in the caller's transaction; by default one of its own.

        Raises:
            LedgerError: The log in the database is not the one that was signed; nothing is added.
            LedgerKeyError: The private key cannot be used.
            AnchorNotWritten: The entry is in, but the anchor file is behind; the same call again mends it.
        """
        if session is not None:
            entry, note, size = self._append(session, statement)
            self._advance_after_commit(session, note, size)
            return entry
        with self.database.write() as own:
            entry, note, size = self._append(own, statement)
        self._advance(note, size)
        return entry

    def catch_up(self) -> None:
        """Move the anchor to the newest checkpoint where a process died before it did, as the next append would.

        Raises:
            LedgerError: The log in the database is not the one that was signed; the anchor stays.
            AnchorNotWritten: The anchor file is behind; the same call again mends it.
        """
        if self.anchor is None or not self.has_key:
            return
        with self.database.session() as session:
            newest = newest_row(session)
            if newest is None:
                return
            self._tree(session, newest)
            note, size = newest.note, newest.size
        self._advance(note, size)

    def rotate(self, new: Ed25519PrivateKey, *, reason: str) -> Entry:
        """Let a new key take over: the present key signs the entry, the new one signs all that come after it.

        Args:
            new: The new private key.
            reason: Why.

        Raises:
            LedgerError: The log in the database is not the one that was signed; nothing is added.
            LedgerKeyError: The private key cannot be used.
            StatementError: The reason is missing.
        """
        with self.database.write() as session:
            key = self._signing_key()
            self._ring = ring_in(session, key.public_key())
            newest = session.scalars(
                select(LedgerCheckpoint).order_by(LedgerCheckpoint.size.desc()).limit(1)
            ).first()
            tree = self._tree(session, newest)
            statement = rotation_statement(
                key.public_key(), new, origin=self.origin, size=tree.size, root=tree.root(), reason=reason
            )
            entry, note, size = self._append(session, statement)
        self._private, self._public, self._ring = new, new.public_key(), None
        self._advance(note, size)
        return entry

    def _append(self, session: Session, statement: Statement) -> tuple[Entry, str, int]:
        key = self._signing_key()
        self._ring = ring_in(session, key.public_key())
        if self._ring != key.public_key():
            raise LedgerKeyError(
                "the private key was retired by a rotation of the ledger's key",
                expected=key_id(self._ring),
                found=key_id(key.public_key()),
                state="nothing was added to the ledger",
                next_step="sign with the new key; if `assay ledger rotate-key` was interrupted, run it again",
            )
        newest = newest_row(session)
        tree = self._tree(session, newest)
        known = session.scalars(
            select(LedgerEntry).where(LedgerEntry.statement_id == statement.id).limit(1)
        ).first()
        if known is not None and newest is not None:
            self._same(known, statement)
            return entry_of(known), newest.note, newest.size
        envelope = sign_statement(statement, key)
        leaf = leaf_hash(envelope.encode())
        row = LedgerEntry(
            position=tree.size,
            statement_id=statement.id,
            leaf_hash=leaf.hex(),
            predicate_type=statement.predicate_type,
            envelope=envelope,
        )
        tree.append(leaf)
        checkpoint = Checkpoint(self.origin, tree.size, tree.root())
        note = sign_checkpoint(checkpoint, key)
        session.add(row)
        session.flush()  # the index refers to it
        session.add_all(
            LedgerSubject(position=row.position, name=name, role=role)
            for name, role in sorted(statement.index)
        )
        session.add(
            LedgerCheckpoint(
                size=tree.size,
                root_hash=checkpoint.root.hex(),
                edge=[node.hex() for node in tree.edge],
                note=note,
            )
        )
        session.flush()
        return entry_of(row, new=True), note, tree.size

    def _signing_key(self) -> Ed25519PrivateKey:
        if self._private is None:
            if self._make_key is None:
                raise LedgerError(
                    "this ledger was opened for reading", next_step="open it with its private key to append"
                )
            private = self._make_key()
            if self._public is not None and self._public != private.public_key():
                raise LedgerKeyError(
                    "the private key is not the one that this ledger was signed with",
                    expected=key_id(self._public),
                    found=key_id(private.public_key()),
                    state="nothing was added to the ledger",
                )
            self._private, self._public = private, private.public_key()
        return self._private

    def _tree(self, session: Session, newest: LedgerCheckpoint | None) -> StreamingRoot:
        """The tree so far, from the newest checkpoint, which must be ours and fit the entries and the anchor."""
        last = session.scalar(select(func.max(LedgerEntry.position)))
        size = 0 if last is None else last + 1
        if newest is None:
            tree = StreamingRoot()
        else:
            checkpoint = open_row(newest, self.public_key)
            tree = tree_of(newest)
            if tree.root() != checkpoint.root:
                raise not_ours("the newest checkpoint's right edge does not lead to its root")
        if tree.size != size:
            raise not_ours("the newest checkpoint does not cover the newest entry", tree.size, size)
        anchored = self.anchor.read(self.public_key) if self.anchor else None
        if anchored is not None and anchored.size > 0:
            row = session.get(LedgerCheckpoint, anchored.size)
            if row is None or row.root_hash != anchored.root.hex():
                raise not_ours(
                    "the ledger in the database is not the one that the anchor names",
                    f"a log that had the root {anchored.root.hex()[:16]}… at {anchored.size} entries",
                    f"{size} entries" if row is None else f"the root {row.root_hash[:16]}…",
                )
        return tree

    def _same(self, known: LedgerEntry, statement: Statement) -> None:
        try:
            same = verify_envelope(known.envelope, self.public_key).payload == statement.payload
        except EnvelopeError:
            same = False
        if not same:
            raise not_ours(f"entry {known.position} claims the id {statement.id}, but holds something else")

    def _advance_after_commit(self, session: Session, note: str, size: int) -> None:
        """Move the anchor once, with the last checkpoint of the caller's transaction."""
        waiting: dict[int, tuple[str, int]] = session.info.setdefault("assay_checkpoints", {})
        if id(self) not in waiting:
            _after_commit(session, lambda: self._advance(*waiting.pop(id(self))))
        waiting[id(self)] = note, size

    def _advance(self, note: str, size: int) -> None:
        if self.anchor is not None:
            self.anchor.advance(note, size, self.public_key)

    # ----------------------------------------------------------------------------------------------------- reading
    def size(self) -> int:
        """Number of entries."""
        with self.database.session() as session:
            last = session.scalar(select(func.max(LedgerEntry.position)))
        return 0 if last is None else last + 1

    def checkpoint(self) -> str | None:
        """The newest checkpoint's signed note, or None for an empty log."""
        with self.database.session() as session:
            return session.scalar(
                select(LedgerCheckpoint.note).order_by(LedgerCheckpoint.size.desc()).limit(1)
            )

    def entries(self, name: str | None = None, *, role: str | None = None) -> list[Entry]:
        """Entries in order; those that name a thing, if `name` is given.

        Args:
            name: An id, a path, or a digest (64 hexadecimal digits, with or without `sha256:`).
            role: `subject` or `input`, to take only entries in which it plays that part.
        """
        query = select(LedgerEntry).order_by(LedgerEntry.position)
        if name is not None:
            named = select(LedgerSubject.position).where(LedgerSubject.name == lookup_key(name))
            if role is not None:
                named = named.where(LedgerSubject.role == role)
            query = query.where(LedgerEntry.position.in_(named))
        with self.database.session() as session:
            return [entry_of(row) for row in session.scalars(query)]

    def entry(self, what: int | str) -> Entry | None:
        """The entry at a position, or the one with a statement id."""
        column = LedgerEntry.position if isinstance(what, int) else LedgerEntry.statement_id
        with self.database.session() as session:
            row = session.scalars(select(LedgerEntry).where(column == what)).first()
            return None if row is None else entry_of(row)

    def read(self, entry: Entry) -> Statement:
        """The statement of an entry, its signature checked.

        Raises:
            EnvelopeError: The signature or the statement does not stand up.
        """
        return verify_envelope(entry.envelope, self.public_key, position=entry.position)

    # ---------------------------------------------------------------------------------------------------- checking
    def verify(self, published: Sequence[str] = (), **options: Any) -> list[Finding]:
        """Check everything: see `assay.ledger.audit.verify.verify_log`."""
        from assay.ledger.audit.verify import verify_log

        return verify_log(self, published, **options)

    def prove(self, what: int | str, **options: Any) -> dict[str, Any]:
        """A proof that needs no database to check: see `assay.ledger.outside.proofs.prove`."""
        from assay.ledger.outside.proofs import prove

        return prove(self, what, **options)


def open_ledger(settings: Settings, database: Database) -> Ledger:
    """The ledger of a database, with the keys and the anchor that the settings name. Makes no key before an append.

    Raises:
        LedgerKeyError: There is a key, but it cannot be used.
    """
    return Ledger(
        database,
        ledger_public_key(settings),
        anchor=settings.ledger_head_file or settings.home / "ledger-head.txt",
        make_key=partial(signing_key, settings),
    )


def _after_commit(session: Session, action: Callable[[], None]) -> None:
    """Run `action` once the session's transaction is committed, and not if it is rolled back."""
    waiting = True

    def rolled_back(_: Session) -> None:
        nonlocal waiting
        waiting = False

    def committed(_: Session) -> None:
        if waiting:
            action()

    event.listen(session, "after_commit", committed, once=True)
    event.listen(session, "after_rollback", rolled_back, once=True)
