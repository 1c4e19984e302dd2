"""Signed statements: DSSE envelopes (v1.0), written in one spelling only and checked against the ledger's key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.canonical import canonical_json
from assay.ledger.errors import EnvelopeError
from assay.ledger.keys.ring import KeyRing
from assay.ledger.keys.signing import key_id, parse_public_key, public_pem
from assay.ledger.statements.statement import Statement, load_object, read_payload

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"


def sign_statement(statement: Statement, key: Ed25519PrivateKey) -> str:
    """The statement in a DSSE envelope, as canonical JSON. Ed25519 makes the same signature each time."""
    from securesystemslib.dsse import Envelope  # boto3 comes with it and takes most of a second

    envelope = Envelope(statement.payload, PAYLOAD_TYPE, {})
    envelope.sign(_signer(key))
    return canonical_json(envelope.to_dict()).decode()


def verify_envelope(
    envelope: str,
    public_key: Ed25519PublicKey,
    *,
    position: int | None = None,
    subjects: Mapping[str, str] | None = None,
) -> Statement:
    """Check a signed statement against the pinned key and return it.

    Args:
        envelope: A DSSE envelope as `sign_statement` writes it; any other JSON spelling of it is refused.
        public_key: The key that must have signed it, whatever key id the envelope names; of a ring, the key of its
            position.
        position: Its entry in the log; without one, each key of a ring will do.
        subjects: SHA-256, computed by the caller, of things that must be among the subjects under these names.

    Raises:
        EnvelopeError: It does not stand up; `check` names the step that failed.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    # (1) The form: exactly the bytes that we would write, so that nothing can hide in another spelling.
    try:
        dsse = Envelope.from_dict(load_object(envelope.encode()))
        written = canonical_json(dsse.to_dict()).decode()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UnicodeError) as error:
        raise EnvelopeError("an envelope is not DSSE", check="format", found=type(error).__name__) from error
    if written != envelope:
        raise EnvelopeError(
            "an envelope is not written canonically, or holds more than it should", check="format"
        )
    # (2) The payload's type is signed too, and decides how the payload is read.
    if dsse.payload_type != PAYLOAD_TYPE:
        raise EnvelopeError(
            "an envelope holds something else than a statement",
            check="payload_type",
            expected=PAYLOAD_TYPE,
            found=dsse.payload_type,
        )
    # (3) One signature, by the pinned key.
    chosen = _chosen(public_key, position, list(dsse.signatures))
    key = _verifier(chosen)
    if list(dsse.signatures) != [key.keyid]:
        retired = isinstance(public_key, KeyRing) and any(map(public_key.named, dsse.signatures))
        raise EnvelopeError(
            "a statement is signed by a key that did not sign at its place in the log: it was retired, or not yet made"
            if retired
            else "a statement is not signed by the ledger's key, or not by it alone",
            check="signature",
            expected=key.keyid,
            found=", ".join(dsse.signatures) or "no signature",
        )
    try:
        dsse.verify([key], threshold=1)
    except VerificationError as error:
        raise EnvelopeError(
            "a statement's signature is wrong", check="signature", expected=f"a signature by {key.keyid}"
        ) from error
    # (4) The statement itself, and (5) the digests that the caller knows.
    statement = read_payload(dsse.payload)
    for name, sha256 in (subjects or {}).items():
        found = sorted({str(subject.sha256) for subject in statement.subjects if subject.name == name})
        if found != [sha256]:
            raise EnvelopeError(
                f"the statement is about another {name}",
                check="subject",
                expected=sha256,
                found=", ".join(found) or "no subject of that name",
            )
    return statement


def read_unverified(envelope: str) -> Statement:
    """The statement in an envelope whose signature was checked before, or is checked elsewhere.

    Raises:
        EnvelopeError: It is malformed.
    """
    from securesystemslib.dsse import Envelope

    try:
        return read_payload(Envelope.from_dict(load_object(envelope.encode())).payload)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UnicodeError) as error:
        raise EnvelopeError("an envelope is not DSSE", check="format", found=type(error).__name__) from error


def _chosen(key: Ed25519PublicKey, position: int | None, keyids: list[str]) -> Ed25519PublicKey:
    """The key that must have signed: of a ring the one of the position, else the one that the envelope names."""
    if not isinstance(key, KeyRing):
        return key
    if position is not None:
        return key.at(position)
    return next(filter(None, map(key.named, keyids)), key.newest)


def _signer(key: Ed25519PrivateKey) -> CryptoSigner:
    from securesystemslib.signer import CryptoSigner

    return CryptoSigner(key, _verifier(key.public_key()))


def _verifier(public_key: Ed25519PublicKey) -> SSlibKey:
    return _verifier_of(public_pem(public_key))


@lru_cache(maxsize=16)
def _verifier_of(pem: bytes) -> SSlibKey:
    from securesystemslib.signer import SSlibKey

    key = parse_public_key(pem)
    return SSlibKey.from_crypto(key, keyid=key_id(key), scheme="ed25519")
