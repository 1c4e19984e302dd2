"""Signatures over a manifest: minisign, and raw Ed25519.

Only keys that the contract pins to the publisher count, in their validity window and before their revocation; the key's
format says which kind of signature it may make. What is returned was signed: of a minisign signature that includes the
trusted comment, never the untrusted one.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.contract import Key, Publisher, decode_key
from assay.intake.errors import KeysMissing, SignatureRefused

MAX_SIGNATURE = 16 * 1024
"""Largest signature file in bytes."""

_MINISIGN = b"untrusted comment:"


@dataclass(frozen=True)
class SignedBy:
    """Who signed: the key's id as the contract knows it, and minisign's trusted comment, which is signed as well."""

    key_id: str
    trusted_comment: str | None = None


def verify_signature(manifest: bytes, signature: bytes, publisher: Publisher, on: dt.date) -> SignedBy:
    """Check a detached signature over the exact bytes of a manifest.

    minisign (https://jedisct1.github.io/minisign) in both its forms, `Ed` over the bytes and `ED` over their BLAKE2b
    digest, with its second signature over the trusted comment; or Ed25519 (RFC 8032): 64 bytes, raw or in base64.

    Args:
        manifest: The manifest as it was fetched; it need not be parsed before.
        signature: The signature file as it was fetched.
        publisher: Whose keys count.
        on: The day on which a key has to be valid.

    Raises:
        SignatureRefused: It is no signature by a key that counts, over these bytes.
        KeysMissing: The publisher has no key.
    """
    if not publisher.keys:
        raise KeysMissing(
            f"the publisher {publisher.id!r} has no key, so that no signature can be checked",
            expected="at least one key in the contract or in publishers/ beside it",
            next_step=f"add it with `assay trust add {publisher.id} ...` after comparing it with the publisher",
        )
    if len(signature) > MAX_SIGNATURE:
        raise SignatureRefused(
            "the signature file is too large",
            reason="format",
            expected=f"at most {MAX_SIGNATURE} bytes",
            found=f"{len(signature)} bytes",
            next_step="name the file that holds the signature in the source's `signature`",
        )
    if signature.startswith(_MINISIGN):
        return _minisign(manifest, signature, publisher, on)
    return _ed25519(manifest, signature, publisher, on)


def _minisign(manifest: bytes, signature: bytes, publisher: Publisher, on: dt.date) -> SignedBy:
    from minisign import ParseError, PublicKey, Signature, VerifyError

    try:
        parsed = Signature.from_bytes(signature)
        lines = signature.splitlines()
        if not all(_base64(lines[number]) for number in (1, 3)):
            raise ParseError("base64 that is written in another way than it would be encoded")
    except ParseError as error:
        raise SignatureRefused(
            "the signature file is not a whole minisign signature",
            reason="format",
            expected="four lines: untrusted comment, signature, trusted comment, signature over that",
            found=str(error),
            next_step="fetch it again, or have the publisher sign again",
        ) from error
    signer = bytes(parsed._key_id)
    named = [key for key in publisher.keys if key.format == "minisign" and decode_key(key)[0] == signer]
    if not named:
        raise SignatureRefused(
            f"the signature is by a key that {publisher.id!r} does not have in the contract",
            reason="unknown_key",
            expected=_known(publisher),
            found=f"minisign:{signer[::-1].hex().upper()}",
            next_step="if the publisher has a new key, compare it with them by another way, then `assay trust add` it",
        )
    for key in named:  # key ids can be forged, so that several keys may carry the same
        try:
            PublicKey.from_base64(key.public_key.strip()).verify(manifest, parsed)
        except VerifyError:
            continue
        _must_count(key, publisher, on)
        return SignedBy(key.id, parsed.trusted_comment)
    raise _wrong_bytes(named[0].id)


def _ed25519(manifest: bytes, signature: bytes, publisher: Publisher, on: dt.date) -> SignedBy:
    raw = _raw_signature(signature)
    keys = [key for key in publisher.keys if key.format == "ed25519"]
    if not keys:
        raise SignatureRefused(
            f"the signature is a raw Ed25519 one, and the publisher {publisher.id!r} has no key of that format",
            reason="unknown_key",
            expected=f"a signature by one of {_known(publisher)}",
            next_step="check the source's `signature` and the publisher's keys in the contract",
        )
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key.raw).verify(raw, manifest)
        except InvalidSignature:
            continue
        _must_count(key, publisher, on)
        return SignedBy(key.id)
    raise _wrong_bytes(_known(publisher))


def _raw_signature(signature: bytes) -> bytes:
    if len(signature) == 64:
        return signature
    raw = _base64(signature.strip())
    if len(raw) != 64:
        raise SignatureRefused(
            "the signature file is neither a minisign nor an Ed25519 signature",
            reason="format",
            expected="minisign's four lines, or 64 bytes, raw or in base64",
            found=f"{len(signature)} bytes that begin with {ascii(signature[:16])[2:-1]!r}",
            next_step="check the source's `signature` in the contract; OpenPGP signatures are not supported",
        )
    return raw


def _base64(text: bytes) -> bytes:
    """The bytes that a base64 text stands for; none if it is not exactly what encoding them gives."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""
    return data if base64.b64encode(data) == text else b""


def _must_count(key: Key, publisher: Publisher, on: dt.date) -> None:
    """The key made this signature; does it count on that day?"""
    name = key.id
    if key.revoked is not None and on >= key.revoked:
        because = f" ({key.revoked_reason})" if key.revoked_reason else ""
        raise SignatureRefused(
            f"the signature is by {name}, which was revoked on {key.revoked}{because}",
            reason="revoked",
            expected=f"a key of {publisher.id!r} that counts on {on}",
            next_step="have the publisher sign with a current key",
        )
    if key.valid_from is not None and on < key.valid_from:
        raise SignatureRefused(
            f"the signature is by {name}, which counts from {key.valid_from} on",
            reason="not_yet_valid",
            expected=f"a key of {publisher.id!r} that counts on {on}",
            next_step="wait for that day, or have the publisher sign with a current key",
        )
    if key.valid_until is not None and on > key.valid_until:
        raise SignatureRefused(
            f"the signature is by {name}, which counted until {key.valid_until}",
            reason="expired",
            expected=f"a key of {publisher.id!r} that counts on {on}",
            next_step="have the publisher sign with a current key, or extend the key's valid_until",
        )


def _known(publisher: Publisher) -> str:
    return ", ".join(key.id for key in publisher.keys)


def _wrong_bytes(name: str) -> SignatureRefused:
    return SignatureRefused(
        "the signature does not fit the manifest: one of the two was changed, or another key made it",
        reason="wrong_bytes",
        expected=f"a signature by {name} over these bytes",
        next_step="fetch the delivery again; if it stays so, ask the publisher, and treat the way as compromised",
    )
