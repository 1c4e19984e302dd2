"""Publishers' public keys: how they are written, what makes one valid, and what it is called."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
from typing import Literal, Self

from pydantic import Field, model_validator

from assay.contract.base import Complaint, Identifier, Model

# Ed25519 points of small order, with which anyone can make signatures that pass a careless verifier. The sign bit is
# masked before the comparison.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


class Key(Model):
    """One public key of a publisher, with the time in which its signatures count."""

    format: Literal["minisign", "ed25519"] = Field(
        description="How the key is written and signatures are made."
    )
    public_key: str = Field(
        min_length=1, max_length=512, description="minisign: the RW... line; ed25519: base64 of 32 bytes."
    )
    valid_from: dt.date | None = Field(default=None, description="First day on which its signatures count.")
    valid_until: dt.date | None = Field(default=None, description="Last day on which its signatures count.")
    revoked: dt.date | None = Field(default=None, description="Signatures from this day on do not count.")
    revoked_reason: str | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise Complaint(
                f"valid_until {self.valid_until} is before valid_from {self.valid_from}",
                fix="swap them",
                at=("valid_until",),
            )
        decode_key(self)
        return self

    @property
    def id(self) -> str:
        """The key's name, see `key_id`."""
        return key_id(self)

    def status(self, on: dt.date) -> Literal["valid", "not_yet_valid", "expired", "revoked"]:
        """Whether signatures that are judged on that day count, and if not, why."""
        if self.revoked is not None and on >= self.revoked:
            return "revoked"
        if self.valid_from is not None and on < self.valid_from:
            return "not_yet_valid"
        if self.valid_until is not None and on > self.valid_until:
            return "expired"
        return "valid"

    @property
    def raw(self) -> bytes:
        """The Ed25519 public key itself, 32 bytes."""
        return decode_key(self)[1]


class Publisher(Model):
    """Who signs. Keys may also stand in `publishers/<id>.yaml` beside the contract."""

    id: Identifier
    keys: tuple[Key, ...] = Field(default=(), max_length=64)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        seen: set[bytes] = set()
        for number, key in enumerate(self.keys):
            if key.raw in seen:
                raise Complaint(
                    f"publisher {self.id!r} lists the key {key.id} twice",
                    fix="keep one of the two",
                    at=("keys", number),
                )
            seen.add(key.raw)
        return self


def decode_key(key: Key) -> tuple[bytes, bytes]:
    """The key's bytes: minisign's 8-byte key id (empty for ed25519) and the 32 bytes of the Ed25519 public key.

    Raises:
        Complaint: The text is not such a key, or a weak one.
    """
    text = key.public_key.strip()
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _bad(key, "is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise _bad(key, "is base64 that is written in another way than it would be encoded")
    if data[:2] == b"Ed" and len(data) > 100:
        raise _bad(
            key,
            "is a secret key, which must never leave its owner: make a new pair, for this one has been seen",
        )
    if key.format == "minisign":
        if len(data) != 42 or data[:2] != b"Ed":
            raise _bad(key, f"is not a minisign public key: {len(data)} bytes, starting with {data[:2]!r}")
        name, raw = data[2:10], data[10:]
    else:
        if len(data) != 32:
            hint = " (this looks like a minisign key: set format to minisign)" if data[:2] == b"Ed" else ""
            raise _bad(key, f"has {len(data)} bytes{hint}")
        name, raw = b"", data
    if raw[:31] + bytes([raw[31] & 0x7F]) in _SMALL_ORDER:
        raise _bad(key, "is a point of small order: anyone could sign for it")
    return name, raw


def key_id(key: Key) -> str:
    """A short name for a key: `minisign:<16 hex digits, as minisign prints them>` or `ed25519:<16 hex digits>`.

    For ed25519 the digits are the first of the SHA-256 of the 32 key bytes. Names are for people and records; keys are
    compared by their bytes.
    """
    name, raw = decode_key(key)
    if key.format == "minisign":
        return minisign_id(name)
    return f"ed25519:{hashlib.sha256(raw).hexdigest()[:16]}"


def minisign_id(raw: bytes) -> str:
    """A minisign key's name from its 8-byte key id, printed as minisign does: as a little-endian number."""
    return f"minisign:{raw[::-1].hex().upper()}"


def _bad(key: Key, found: str) -> Complaint:
    expected = {
        "minisign": "write the second line of the publisher's minisign.pub, which is 56 characters and starts with RW",
        "ed25519": "write the base64 text of the 32 bytes of the Ed25519 public key, which is 44 characters",
    }[key.format]
    return Complaint(f"the public key {found}", fix=expected, at=("public_key",))
