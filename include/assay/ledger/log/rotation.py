"""The ledger's keys over time: which key had to sign which entry.

A rotation is an entry of the log. The old key signs it; in it the new key signs, over both keys and the log's root
until then, that it takes over. So the chain can be followed from any of its keys, an old key cannot speak for what came
after it, and nobody who holds only an old key can give the log another past.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.canonical import canonical_json
from assay.db import LedgerCheckpoint, LedgerEntry
from assay.errors import AssayError
from assay.ledger.code import code_version
from assay.ledger.errors import LedgerError, LedgerKeyError
from assay.ledger.keys.ring import KeyRing, Tenure
from assay.ledger.keys.signing import key_id, raw_public_key
from assay.ledger.merkle import StreamingRoot
from assay.ledger.statements.envelopes import read_unverified, verify_envelope
from assay.ledger.statements.predicates import check_predicate
from assay.ledger.statements.statement import Statement, make_statement, predicate_type

_STEP = "key-rotated"


def rotation_statement(
    previous: Ed25519PublicKey,
    new: Ed25519PrivateKey,
    *,
    origin: str,
    size: int,
    root: bytes,
    reason: str,
) -> Statement:
    """The statement that a new key takes over.

    Args:
        previous: The key until then.
        new: The key from then on; it signs that it accepts.
        origin: The log's name.
        size: The log's entries until then; the rotation is the next one.
        root: The Merkle root over them.
        reason: Why.

    Raises:
        StatementError: The reason is missing.
    """
    agreed = {
        "previous": _der(previous),
        "new": _der(new.public_key()),
        "log": {"origin": origin, "size": size, "root": root.hex()},
    }
    facts = {
        **agreed,
        "code": code_version(),
        "purpose": "ledger",
        "reason": reason,
        "acceptance": base64.b64encode(new.sign(canonical_json(agreed))).decode(),
    }
    check_predicate(_STEP, facts)
    return make_statement(
        _STEP,
        [(key_id(new.public_key()), _sha256(new.public_key()))],
        facts,
        inputs=[(key_id(previous), _sha256(previous))],
    )


def ring_in(session: Session, trusted: Ed25519PublicKey) -> Ed25519PublicKey:
    """The keys of the log in a database, as its rotations tell; the trusted key itself where there was none.

    Args:
        session: An open session.
        trusted: One key of the chain that is known to be the log's.

    Raises:
        LedgerError: A rotation in the log does not stand up.
        LedgerKeyError: The trusted key is none of the log's.
    """
    query = select(LedgerEntry.position, LedgerEntry.envelope).where(
        LedgerEntry.predicate_type == predicate_type(_STEP)
    )
    rotations = [(position, envelope) for position, envelope in session.execute(query)]
    for position, envelope in rotations:
        if not _rotates(envelope):
            raise LedgerError(
                f"entry {position} is filed as a rotation of the ledger's key, but a rotation of the ledger's key does "
                "not stand up there: it cannot be read as one",
                next_step="restore the database from a backup",
            )

    def root(size: int) -> str | None:
        if not size:
            return StreamingRoot().root().hex()
        return session.scalar(select(LedgerCheckpoint.root_hash).where(LedgerCheckpoint.size == size))

    return ring_of(rotations, trusted, root)


def ring_of(
    entries: Iterable[tuple[int, str]],
    trusted: Ed25519PublicKey,
    root: Callable[[int], str | None] | None = None,
) -> Ed25519PublicKey:
    """The keys of a log, as the rotations among some of its entries tell; the trusted key itself where there is none.

    Args:
        entries: Positions and envelopes; those that are no rotation are passed over.
        trusted: One key of the chain that is known to be the log's.
        root: The log's Merkle root at a size, where it is known; without it, the new keys' word for it counts.

    Raises:
        LedgerError: A rotation does not stand up.
        LedgerKeyError: The trusted key is none of the log's.
    """
    from assay.ledger.log.checkpoints import origin_of  # which imports the ring

    tenures: list[Tenure] = []
    try:
        rotations = sorted((at, envelope) for at, envelope in entries if _rotates(envelope))
        for position, envelope in rotations:
            facts = read_unverified(envelope).predicate
            if not tenures:
                tenures.append(Tenure(_key(facts["previous"]), 0))
            log = {
                "origin": origin_of(tenures[0].key),
                "size": position,
                "root": root(position) if root else facts["log"]["root"],
            }
            tenures.append(Tenure(_follow(envelope, tenures[-1].key, log), position + 1))
    except (AssayError, KeyError, TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        reason = error.message if isinstance(error, AssayError) else f"{type(error).__name__} {error}".strip()
        raise LedgerError(
            f"a rotation of the ledger's key does not stand up: {reason}",
            state="no key of the log can be told from a forged one",
            next_step="restore the database from a backup",
        ) from error
    if not tenures:
        return trusted
    ring = KeyRing(tuple(tenures))
    if (trusted.newest if isinstance(trusted, KeyRing) else trusted) not in ring:
        raise LedgerKeyError(
            "the key that is trusted is none of the keys of this log",
            expected=key_id(trusted),
            found=", ".join(key_id(tenure.key) for tenure in ring.tenures),
        )
    return ring


def _rotates(envelope: str) -> bool:
    """Whether an envelope claims to hold a rotation; one that cannot be read is judged where it is verified."""
    try:
        return read_unverified(envelope).step == _STEP
    except AssayError:
        return False


def _follow(envelope: str, previous: Ed25519PublicKey, log: dict[str, Any]) -> Ed25519PublicKey:
    """The new key of a rotation that the previous key signed and the new one accepted at this place in the log."""
    facts = verify_envelope(envelope, previous).predicate
    check_predicate(_STEP, facts)
    agreed = {"previous": facts["previous"], "new": facts["new"], "log": facts["log"]}
    if facts["previous"] != _der(previous) or facts["log"] != log:
        raise ValueError("it was made for another log, or for another place in it")
    new = _key(facts["new"])
    new.verify(base64.b64decode(facts["acceptance"], validate=True), canonical_json(agreed))
    return new


def _der(key: Ed25519PublicKey) -> str:
    plain = key.newest if isinstance(key, KeyRing) else key
    data = plain.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(data).decode()


def _key(text: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_der_public_key(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise ValueError("a key is not base64") from error
    if not isinstance(key, Ed25519PublicKey):
        raise TypeError("a key is not Ed25519")
    return key


def _sha256(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(raw_public_key(key)).hexdigest()
