"""What all signature formats share: the case to judge, what comes of it, and the words of a refusal."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from assay.contract import Key, Publisher
from assay.intake.errors import SignatureRefused

MAX_SIGNATURE = 256 * 1024
"""Largest signature file in bytes; one that is the manifest as well may be as large as a manifest."""


@dataclass(frozen=True)
class SignedBy:
    """Who signed, and what.

    Attributes:
        key_id: The key's id as the contract knows it; of several, the first.
        trusted_comment: minisign's trusted comment, which is signed as well; of several signatures only what all of
            those that count say.
        payload: The bytes that were signed. They, and nothing else, may be parsed.
        payload_type: Type of the payload, where the format signs one (DSSE).
        key_ids: Ids of all keys whose signatures count.
        vouched_at: When it was signed, as somebody else than the signer vouches for (a transparency log).
        claimed_at: When it was signed, as the signer says (OpenPGP); of several signatures the oldest.
    """

    key_id: str
    trusted_comment: str | None = None
    payload: bytes = b""
    payload_type: str | None = None
    key_ids: tuple[str, ...] = ()
    vouched_at: dt.datetime | None = None
    claimed_at: dt.datetime | None = None


@dataclass(frozen=True)
class Case:
    """One signature file to judge.

    Attributes:
        manifest: The manifest as it was fetched; the same bytes as `signature` where one file is both.
        signature: The signature file as it was fetched.
        publisher: Whose keys count.
        on: The day to judge on.
        certificate: The signer's certificates (PEM) as they were delivered.
    """

    manifest: bytes
    signature: bytes
    publisher: Publisher
    on: dt.date
    certificate: bytes | None = None

    @property
    def inline(self) -> bool:
        """Whether the signature file carries what it signs."""
        return self.manifest == self.signature

    @property
    def moment(self) -> dt.datetime:
        """The time to judge at: now, or the end of another day."""
        now = dt.datetime.now(dt.UTC)
        return now if now.date() == self.on else dt.datetime.combine(self.on, dt.time(23, 59, 59), dt.UTC)

    def keys(self, *formats: str) -> list[Key]:
        """The publisher's keys of these formats."""
        return [key for key in self.publisher.keys if key.format in formats]


@dataclass(frozen=True)
class Made:
    """One signature that fits; whether it counts on the day is judged afterwards.

    Attributes:
        key: The contract's key that vouches for it.
        payload: What was signed.
        signer: What tells the signing key from others; under an authority it is not the contract's own.
        trusted_comment: minisign's.
        payload_type: DSSE's.
        vouched_at: See `SignedBy`.
        claimed_at: See `SignedBy`.
    """

    key: Key
    payload: bytes
    signer: bytes
    trusted_comment: str | None = None
    payload_type: str | None = None
    vouched_at: dt.datetime | None = None
    claimed_at: dt.datetime | None = None


def strict_base64(text: bytes, *, url: bool = False) -> bytes | None:
    """The bytes that a base64 text stands for; None if it is not exactly what encoding them gives.

    Args:
        text: The text, without line ends.
        url: Whether it is base64url without padding (RFC 7515).
    """
    try:
        if url:
            data = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            again = base64.urlsafe_b64encode(data).rstrip(b"=")
        else:
            data = base64.b64decode(text, validate=True)
            again = base64.b64encode(data)
    except (ValueError, binascii.Error):
        return None
    return data if again == text else None


def bad_format(
    what: str, *, expected: str, found: object = None, next_step: str | None = None
) -> SignatureRefused:
    """The file is not a whole signature of its kind."""
    return SignatureRefused(
        what,
        reason="format",
        expected=expected,
        found=found,
        next_step=next_step or "fetch it again, or have the publisher sign again",
    )


def unknown_key(publisher: Publisher, found: str, expected: str | None = None) -> SignatureRefused:
    """It is signed with a key that the contract does not list."""
    return SignatureRefused(
        f"the signature is by a key that {publisher.id!r} does not have in the contract",
        reason="unknown_key",
        expected=expected or known(publisher.keys),
        found=found,
        next_step="if the publisher has a new key, compare it with them by another way, then `assay trust add` it",
    )


def other_identity(what: str, expected: object, found: object) -> SignatureRefused:
    """It is signed by, or meant for, somebody or something else than the contract pins."""
    return SignatureRefused(
        what,
        reason="identity",
        expected=expected,
        found=found,
        next_step="have the publisher sign as the contract says; change the contract only after asking them",
    )


def weak(what: str, expected: str, found: object = None) -> SignatureRefused:
    """It is made with an algorithm that no longer protects."""
    return SignatureRefused(
        what,
        reason="weak",
        expected=expected,
        found=found,
        next_step="have the publisher sign with a current algorithm",
    )


def wrong_bytes(keys: Sequence[Key]) -> SignatureRefused:
    """It does not fit."""
    return SignatureRefused(
        "the signature does not fit the manifest: one of the two was changed, or another key made it",
        reason="wrong_bytes",
        expected=f"a signature by {known(keys)} over these bytes",
        next_step="fetch the delivery again; if it stays so, ask the publisher, and treat the way as compromised",
    )


def known(keys: Sequence[Key]) -> str:
    """Keys by name."""
    return ", ".join(key.id for key in keys) or "none is listed"


def shown(data: bytes, most: int = 16) -> str:
    """The first bytes of a file, for people."""
    return f"{len(data)} bytes that begin with {ascii(data[:most])[2:-1]!r}"
