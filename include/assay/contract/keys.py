"""Publishers' public keys: when they count, what is pinned with them, and what they are called."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from assay.contract.base import Complaint, Identifier, Model
from assay.contract.keyforms import EXPECTED, FINGERPRINT, BadKey, Decoded, KeyFormat, decode

Purpose = Literal["code_signing", "email_protection", "client_auth", "document_signing", "any"]
"""What a certificate must be meant for (extended key usage); `any` does not look."""

IN_TOTO = "application/vnd.in-toto+json"
"""The payload type of in-toto statements in DSSE envelopes."""

_PINS = ("identity", "namespace", "issuer", "fingerprint", "purpose", "digest", "payload_type")
_ALLOWED: dict[str, frozenset[str]] = {
    "minisign": frozenset(),
    "signify": frozenset(),
    "ed25519": frozenset(),
    "pem": frozenset({"digest"}),
    "x509": frozenset({"identity", "purpose", "digest"}),
    "openssh": frozenset({"identity", "namespace"}),
    "openpgp": frozenset({"fingerprint"}),
    "cms": frozenset({"identity", "purpose"}),
    "dsse": frozenset({"digest", "payload_type"}),
    "sigstore": frozenset({"identity", "issuer", "payload_type"}),
    "jws": frozenset({"digest"}),
}
_NEEDED = {
    "openssh": ("identity", "namespace"),
    "openpgp": ("fingerprint",),
    "sigstore": ("identity", "issuer"),
}
_SSH_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,126}")
_NAMED = re.compile(r"(email|dns|uri|subject):[\x20-\x7e\u00a0-\uffff]{1,250}")


class Key(Model):
    """One public key of a publisher, what its signatures must be like, and the time in which they count."""

    format: KeyFormat = Field(description="How the key is written and signatures are made.")
    public_key: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        min_length=1,
        max_length=1 << 16,
        description="minisign, signify: the RW... line; ed25519: base64 of 32 bytes; pem, dsse, jws: PEM public key; "
        "x509, cms: PEM certificates; openssh: the ssh-... line; openpgp: the armored key; sigstore: the trusted root.",
    )
    identity: str | None = Field(
        default=None,
        max_length=256,
        description="Who must have signed. openssh: principal; sigstore: identity; x509, cms: email:, dns:, uri: or "
        "subject: and the name in the certificate.",
    )
    namespace: str | None = Field(
        default=None, description="openssh: what the signature is for, such as `file`."
    )
    issuer: str | None = Field(
        default=None, max_length=256, description="sigstore: who vouches for the identity."
    )
    fingerprint: str | None = Field(
        default=None,
        description="openpgp: the primary key's 40 hexadecimal digits, as compared with its owner.",
    )
    purpose: Purpose | None = Field(
        default=None, description="x509, cms: extended key usage of the signer; code_signing if not said."
    )
    digest: Literal["sha256", "sha512"] | None = Field(
        default=None, description="RSA keys: the digest that is signed; sha256 if not said."
    )
    payload_type: str | None = Field(
        default=None,
        max_length=128,
        description=f"dsse, sigstore: type of the envelope's payload; {IN_TOTO} if not said.",
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
        for pin in _PINS:
            if getattr(self, pin) is not None and pin not in _ALLOWED[self.format]:
                raise Complaint(
                    f"{pin} means nothing for keys of the format {self.format}", fix="take it out", at=(pin,)
                )
        for pin in _NEEDED.get(self.format, ()):
            if not getattr(self, pin):
                raise Complaint(
                    f"keys of the format {self.format} need {pin}: without it, signatures made for others would count",
                    fix=f"add `{pin}:`",
                    at=(pin,),
                )
        self._check_pins(self.decoded)
        return self

    def _check_pins(self, decoded: Decoded) -> None:
        if self.format == "openssh":
            for pin in ("identity", "namespace"):
                if not _SSH_WORD.fullmatch(getattr(self, pin)):
                    raise Complaint(
                        f"{getattr(self, pin)!r} is not a plain {pin}",
                        fix="write it without blanks, commas, quotes and wildcards",
                        at=(pin,),
                    )
        if self.format in {"x509", "cms"}:
            if self.identity is not None and not _NAMED.fullmatch(self.identity):
                raise Complaint(
                    f"{self.identity!r} does not say which name of the certificate it is",
                    fix="write it as email:..., dns:..., uri:... or subject:CN=...",
                    at=("identity",),
                )
            if decoded.authority and self.identity is None:
                raise Complaint(
                    "the certificate is an authority's, and identity does not say whose signatures count",
                    fix="add `identity:`, such as email:data@example.org",
                    at=("identity",),
                )
        if self.format == "openpgp" and self.fingerprint is not None:
            if not FINGERPRINT.fullmatch(self.fingerprint):
                raise Complaint(
                    "the fingerprint is not 40 upper-case hexadecimal digits",
                    fix="write it as `gpg --fingerprint` shows it, without blanks",
                    at=("fingerprint",),
                )
            if decoded.id != f"openpgp:{self.fingerprint}":
                raise Complaint(
                    f"the public key is {decoded.id.removeprefix('openpgp:')}, and not the fingerprint",
                    fix="compare both with the publisher again: one of the two is another's",
                    at=("fingerprint",),
                )
        if self.digest is not None and decoded.kind in {"ed25519", "ecdsa"} and not decoded.authority:
            raise Complaint(
                f"digest is for RSA keys, and this is an {decoded.kind} one, which fixes its digest",
                fix="take it out",
                at=("digest",),
            )

    @property
    def decoded(self) -> Decoded:
        """The key as it is read from its text."""
        try:
            return decode(self.format, self.public_key, self.identity, self.issuer)
        except BadKey as error:
            raise Complaint(
                f"the public key {error}", fix=EXPECTED[self.format], at=("public_key",)
            ) from None

    @property
    def id(self) -> str:
        """The key's name, see `key_id`."""
        return self.decoded.id

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
        """What tells the key from others, whatever it is called and in whatever format it is written."""
        return self.decoded.raw

    @property
    def pins(self) -> dict[str, str]:
        """What is pinned beside the key itself, by field; what is not said is left out."""
        return {pin: value for pin in _PINS if (value := getattr(self, pin)) is not None}


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
    """The key's bytes: the 8-byte key number of minisign and signify (else empty), and what tells it from others.

    Raises:
        Complaint: The text is not such a key, or a weak one.
    """
    decoded = key.decoded
    return decoded.number, decoded.raw


def key_id(key: Key) -> str:
    """A short name for a key: its format, a colon, and what people compare.

    minisign: 16 hex digits as minisign prints them; signify: its key number; openpgp: the fingerprint; openssh: the
    SHA-256 as `ssh-keygen -l` prints it; x509, cms: the first 16 hex digits of the certificate's SHA-256, and 8 of the
    identity's under an authority; sigstore: 16 of the SHA-256 of issuer and identity; ed25519: 16 of that of the 32 key
    bytes; pem, dsse, jws: 16 of that of the SubjectPublicKeyInfo. Names are for people and records; keys are compared
    by their bytes.
    """
    return key.id


def minisign_id(raw: bytes) -> str:
    """A minisign key's name from its 8-byte key id, printed as minisign does: as a little-endian number."""
    return f"minisign:{raw[::-1].hex().upper()}"
