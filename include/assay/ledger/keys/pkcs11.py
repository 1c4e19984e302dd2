"""Signing keys that never leave their token: a hardware module, a cloud's key service, or SoftHSM, through PKCS#11.

A key is named by a URI (RFC 7512): `pkcs11:token=assay;object=ledger?module-path=/usr/lib/softhsm/libsofthsm2.so`. The
PIN comes from `ASSAY_PKCS11_PIN` or from the file that `pin-source` names, and is never part of the URI.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self
from urllib.parse import parse_qsl, unquote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.ledger.errors import LedgerKeyError

_SCHEME = "pkcs11:"
_ED25519_BYTES, _P256_POINT_BYTES = 32, 65
_MAX_PIN_BYTES = 1024


@dataclass(frozen=True)
class TokenUri:
    """Where a key is.

    Attributes:
        token: Label of the token.
        label: Label of the key pair's objects (`object=`).
        module: The vendor's library.
        pin_source: File with the PIN; None for `ASSAY_PKCS11_PIN`.
    """

    token: str
    label: str
    module: str
    pin_source: Path | None = None

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Read a PKCS#11 URI.

        Raises:
            LedgerKeyError: It lacks a part, or carries the PIN itself.
        """
        path, _, query = text.removeprefix(_SCHEME).partition("?")
        parts = dict(item.split("=", 1) for item in path.split(";") if "=" in item)
        options = dict(parse_qsl(query))
        missing = [
            name
            for name, group in (("token", parts), ("object", parts), ("module-path", options))
            if name not in group
        ]
        if not text.startswith(_SCHEME) or missing or "pin-value" in options:
            raise LedgerKeyError(
                "a PKCS#11 URI cannot be used",
                expected="pkcs11:token=NAME;object=NAME?module-path=/path/to/library.so, with the PIN elsewhere",
                found=f"no {', '.join(missing)}" if missing else "another scheme, or a PIN in the URI",
                next_step="correct ASSAY_LEDGER_KEY_URI or ASSAY_MODEL_KEY_URI; the PIN goes into ASSAY_PKCS11_PIN",
            )
        source = options.get("pin-source", "").removeprefix("file:")
        return cls(
            unquote(parts["token"]),
            unquote(parts["object"]),
            options["module-path"],
            Path(source) if source else None,
        )


class _OnToken:
    """What keys on a token share: they stay there, and a copy is the key itself."""

    _uri: TokenUri

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        """Refused: the key stays on its token."""
        _stays(self._uri)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        return self


class TokenEd25519(_OnToken, Ed25519PrivateKey):
    """An Ed25519 key on a token: it signs like any other, and cannot be written out."""

    def __init__(self, uri: TokenUri, pin: str | None) -> None:
        self._uri, self._pin = uri, pin
        point = _public_point(uri, pin, "EC_EDWARDS")
        if len(point) != _ED25519_BYTES:
            _wrong_kind(uri, "an Ed25519 key pair")
        self._public = Ed25519PublicKey.from_public_bytes(point)

    def public_key(self) -> Ed25519PublicKey:
        """The public half."""
        return self._public

    def sign(self, data: Any) -> bytes:
        """The token's signature over the data."""
        with _private(self._uri, self._pin) as (key, mechanisms):
            return bytes(key.sign(bytes(data), mechanism=mechanisms.EDDSA))

    def private_bytes_raw(self) -> bytes:
        """Refused: the key stays on its token."""
        _stays(self._uri)


class TokenP256(_OnToken, ec.EllipticCurvePrivateKey):
    """A P-256 key on a token."""

    def __init__(self, uri: TokenUri, pin: str | None) -> None:
        self._uri, self._pin = uri, pin
        point = _public_point(uri, pin, "EC")
        if len(point) != _P256_POINT_BYTES:
            _wrong_kind(uri, "a P-256 key pair")
        self._public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Bits."""
        return self._public.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self._public

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """The token's ECDSA signature (DER) over SHA-256 of the data; the token draws the nonce."""
        from pkcs11.util.ec import encode_ecdsa_signature

        with _private(self._uri, self._pin) as (key, mechanisms):
            raw = key.sign(hashlib.sha256(bytes(data)).digest(), mechanism=mechanisms.ECDSA)
        return bytes(encode_ecdsa_signature(raw))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Refused: the key signs, and does nothing else."""
        _stays(self._uri)

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """Refused: the key stays on its token."""
        _stays(self._uri)


def pin_of(uri: TokenUri, given: str | None) -> str | None:
    """The PIN from the URI's `pin-source`, else the one given.

    Raises:
        LedgerKeyError: The file cannot be read, or others can read it.
    """
    if uri.pin_source is None:
        return given
    try:
        with uri.pin_source.open("rb") as file:
            if stat.S_IMODE(mode := os.fstat(file.fileno()).st_mode) & 0o077:
                raise LedgerKeyError(
                    f"the PIN in {uri.pin_source} can be read by others",
                    expected="mode 0600",
                    found=f"mode {stat.S_IMODE(mode):04o}",
                    next_step=f"chmod 600 {uri.pin_source}; if others may have read it, change the PIN",
                )
            return file.read(_MAX_PIN_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerKeyError(f"the PIN in {uri.pin_source} cannot be read", found=error) from error


# -------------------------------------------------------------------------------------------------------------- private
@contextmanager
def _session(uri: TokenUri, pin: str | None) -> Iterator[tuple[Any, Any]]:
    try:
        import pkcs11
    except ImportError as error:
        raise LedgerKeyError(
            "keys on a token need the package python-pkcs11", next_step="pip install python-pkcs11"
        ) from error
    try:
        token = pkcs11.lib(uri.module).get_token(token_label=uri.token)
        with token.open(user_pin=pin) as session:
            yield session, pkcs11
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        raise LedgerKeyError(
            f"the key {uri.label!r} on the token {uri.token!r} cannot be used",
            found=f"{type(error).__name__} {error}".strip(),
            state="nothing was signed",
            next_step="check the URI's token, object and module-path, and the PIN in ASSAY_PKCS11_PIN",
        ) from error


@contextmanager
def _private(uri: TokenUri, pin: str | None) -> Iterator[tuple[Any, Any]]:
    with _session(uri, pin) as (session, pkcs11):
        yield session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=uri.label), pkcs11.Mechanism


def _public_point(uri: TokenUri, pin: str | None, kind: str) -> bytes:
    """The public key's point: 32 bytes of an Ed25519 key, 65 of a P-256 key."""
    from asn1crypto.core import OctetString

    with _session(uri, pin) as (session, pkcs11):
        key = session.get_key(
            object_class=pkcs11.ObjectClass.PUBLIC_KEY, key_type=pkcs11.KeyType[kind], label=uri.label
        )
        point = bytes(key[pkcs11.Attribute.EC_POINT])
    return (
        bytes(OctetString.load(point).native)
        if point[:1] == b"\x04" and len(point) == point[1] + 2
        else point
    )


def _wrong_kind(uri: TokenUri, expected: str) -> NoReturn:
    raise LedgerKeyError(
        f"the key {uri.label!r} on the token {uri.token!r} is of the wrong kind", expected=expected
    )


def _stays(uri: TokenUri) -> NoReturn:
    raise LedgerKeyError(
        f"the key {uri.label!r} stays on the token {uri.token!r}", state="nothing was written"
    )
