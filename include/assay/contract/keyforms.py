"""How each format writes a public key: what is read from the text, what tells two keys apart, what a key is called."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from assay.contract.openpgp import NotOpenPGP, read_public_key

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

KeyFormat = Literal[
    "minisign", "signify", "ed25519", "pem", "x509", "openssh", "openpgp", "cms", "dsse", "sigstore", "jws"
]
"""How a key is written, and so which kind of signature it may make."""

KEY_FORMATS: tuple[KeyFormat, ...] = get_args(KeyFormat)

MIN_RSA = 2048
"""Fewest bits of an RSA key."""

_PEM_KEY = "write the lines from BEGIN PUBLIC KEY to its END: Ed25519, ECDSA P-256 or P-384, or RSA from 2048 bits on"
_PEM_CHAIN = (
    "write certificates as PEM, the publisher's own or its CA's first, then those that lead up to the root"
)

EXPECTED: dict[KeyFormat, str] = {
    "minisign": "write the second line of the publisher's minisign.pub, which is 56 characters and starts with RW",
    "signify": "write the second line of the publisher's key.pub, which is 56 characters and starts with RW",
    "ed25519": "write the base64 text of the 32 bytes of the Ed25519 public key, which is 44 characters",
    "pem": _PEM_KEY,
    "x509": _PEM_CHAIN,
    "openssh": "write the line of the publisher's id_....pub, such as `ssh-ed25519 AAAA...`",
    "openpgp": "write the output of `gpg --export --armor FINGERPRINT`, for one key alone",
    "cms": _PEM_CHAIN,
    "dsse": _PEM_KEY,
    "sigstore": "write the trusted root as JSON, with certificateAuthorities and tlogs (`trusted_root.json`)",
    "jws": _PEM_KEY,
}
"""What to write for `public_key`, by format."""

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
_SSH_TYPES = frozenset(
    {
        *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
        *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
    }
)


class BadKey(ValueError):
    """The text is no such key; `str()` says why, as the end of a sentence that begins with "the public key"."""


@dataclass(frozen=True)
class Decoded:
    """A key, read.

    Attributes:
        id: Its name for people and records.
        raw: What tells it from others: the bytes of the key itself, whatever format it is written in; where a key is
            one of many under an authority, the authority and the identity.
        number: The eight bytes by which minisign and signify name a key; else empty.
        kind: `ed25519`, `ecdsa`, `rsa` or `other`.
        authority: Whether it is a certificate authority, which vouches for many.
    """

    id: str
    raw: bytes
    number: bytes = b""
    kind: str = "other"
    authority: bool = False


@lru_cache(maxsize=512)
def decode(format: KeyFormat, text: str, identity: str | None = None, issuer: str | None = None) -> Decoded:
    """Read a key.

    Args:
        format: Its format.
        text: `public_key` of the contract.
        identity: Who it belongs to, for formats that know that.
        issuer: Who says so, for sigstore.

    Raises:
        BadKey: The text is not such a key, or a weak one.
    """
    text = text.strip()
    if "PRIVATE KEY" in text:
        raise BadKey(
            "is a secret key, which must never leave its owner: make a new pair, for this one has been seen"
        )
    return _DECODERS[format](text, identity or "", issuer or "", format)


def load_public(text: str) -> Any:
    """The key of a PEM block `BEGIN PUBLIC KEY`, as `cryptography` has it.

    Raises:
        BadKey: It is none, or of a kind or size that is not accepted.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    text = text.strip()
    begin, end = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
    if not text.startswith(begin) or not text.endswith(end) or text.count("-----BEGIN") != 1:
        raise BadKey("is not one PEM block BEGIN PUBLIC KEY")
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadKey(f"cannot be read: {str(error)[:200]}") from None
    _kind(key)
    return key


def load_certificates(text: str) -> list[Certificate]:
    """The certificates of a PEM file, in their order.

    Raises:
        BadKey: It holds none, or something that cannot be read.
    """
    from cryptography import x509

    if len(text) > 1 << 17:
        raise BadKey("is too long for a chain of certificates")
    try:
        found = x509.load_pem_x509_certificates(text.strip().encode())
    except ValueError as error:
        raise BadKey(f"is no certificate: {str(error)[:200]}") from None
    if len(found) > 8:
        raise BadKey(f"is a chain of {len(found)} certificates, and 8 is the most")
    return found


def is_authority(certificate: Certificate) -> bool:
    """Whether a certificate may issue others."""
    from cryptography import x509

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def key_bytes(key: Any) -> bytes:
    """What tells a key from others in every format: 32 bytes of Ed25519, else the SubjectPublicKeyInfo in DER."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(key, Ed25519PublicKey):
        return key.public_bytes_raw()
    data: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return data


def kind_of(key: Any) -> str:
    """`ed25519`, `ecdsa` or `rsa`.

    Raises:
        BadKey: It is of another kind, or of a curve or size that is not accepted.
    """
    return _kind(key)


def short(data: bytes) -> str:
    """The first 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def _kind(key: Any, curves: tuple[str, ...] = ("secp256r1", "secp384r1")) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PublicKey):
        _not_small(key.public_bytes_raw())
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in curves:
            raise BadKey(f"is on the curve {key.curve.name}, and only P-256 and P-384 are accepted")
        return "ecdsa"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA:
            raise BadKey(f"is an RSA key of {key.key_size} bits, and at least {MIN_RSA} are needed")
        return "rsa"
    raise BadKey(f"is of a kind that is not accepted: {type(key).__name__}")


def _not_small(raw: bytes) -> None:
    if raw[:31] + bytes([raw[31] & 0x7F]) in _SMALL_ORDER:
        raise BadKey("is a point of small order: anyone could sign for it")


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadKey("is not base64") from None
    if base64.b64encode(data).decode() != text:
        raise BadKey("is base64 that is written in another way than it would be encoded")
    if data[:2] == b"Ed" and len(data) > 100:
        raise BadKey(
            "is a secret key, which must never leave its owner: make a new pair, for this one has been seen"
        )
    return data


def _numbered(text: str, identity: str, issuer: str, format: KeyFormat) -> Decoded:
    data = _base64(text)
    if len(data) != 42 or data[:2] != b"Ed":
        raise BadKey(f"is not a {format} public key: {len(data)} bytes, starting with {data[:2]!r}")
    number, raw = data[2:10], data[10:]
    _not_small(raw)
    # minisign prints the number as a little-endian one, signify never prints it.
    digits = (number[::-1] if format == "minisign" else number).hex().upper()
    return Decoded(f"{format}:{digits}", raw, number, "ed25519")


def _ed25519(text: str, identity: str, issuer: str, format: KeyFormat) -> Decoded:
    raw = _base64(text)
    if len(raw) != 32:
        hint = " (this looks like a minisign key: set format to minisign)" if raw[:2] == b"Ed" else ""
        raise BadKey(f"has {len(raw)} bytes{hint}")
    _not_small(raw)
    return Decoded(f"ed25519:{short(raw)}", raw, b"", "ed25519")


def _pem(text: str, identity: str, issuer: str, format: KeyFormat) -> Decoded:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = load_public(text)
    name = short(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return Decoded(f"{format}:{name}", key_bytes(key), b"", _kind(key))


def _certificates(text: str, identity: str, issuer: str, format: KeyFormat) -> Decoded:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding

    first = load_certificates(text)[0]
    try:
        key = first.public_key()
        authority = is_authority(first)
        kind = _kind(
            key, ("secp256r1", "secp384r1", "secp521r1") if authority else ("secp256r1", "secp384r1")
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise error if isinstance(error, BadKey) else BadKey(f"cannot be read: {str(error)[:200]}") from None
    name, raw = f"{format}:{short(first.public_bytes(Encoding.DER))}", key_bytes(key)
    if authority:
        name, raw = f"{name}:{short(identity.encode())[:8]}", raw + b"\0" + identity.encode()
    return Decoded(name, raw, b"", kind, authority)


def _openssh(text: str, identity: str, issuer: str, format: KeyFormat) -> Decoded:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    parts = text.split(None, 2)
    if "\n" in text or len(parts) < 2 or parts[0] not in _SSH_TYPES:
        raise BadKey(f"is not one line that begins with one of {', '.join(sorted(_SSH_TYPES))}")
    blob = _base64(parts[1])
    name = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    kind = parts[0].encode()
    if blob[: 4 + len(kind)] != len(kind).to_bytes(4, "big") + kind:
        raise BadKey("says one type in its first word and another in its second")
    raw = blob
    if not parts[0].startswith("sk-"):  # a security key signs more than the bytes: it is a key of its own
        try:
            key = load_ssh_public_key(f"{parts[0]} {parts[1]}".encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise BadKey(f"cannot be read: {str(error)[:200]}") from None
        _kind(key, ("secp256r1", "secp384r1", "secp521r1"))
        raw = key_bytes(key)
    return Decoded(f"openssh:SHA256:{name}", raw)


def _openpgp(text: str, identity: str, issuer: str, format: KeyFormat) -> Decoded:
    try:
        block = read_public_key(text)
    except NotOpenPGP as error:
        raise BadKey(str(error)) from None
    return Decoded(f"openpgp:{block.fingerprint}", b"openpgp" + bytes.fromhex(block.fingerprint))


def _sigstore(text: str, identity: str, issuer: str, format: KeyFormat) -> Decoded:
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):
        raise BadKey("is not JSON") from None
    for part in ("certificateAuthorities", "tlogs"):
        if not isinstance(root, dict) or not isinstance(root.get(part), list) or not root[part]:
            raise BadKey(f"is a trusted root without {part}")
    raw = b"sigstore\0" + issuer.encode() + b"\0" + identity.encode()
    return Decoded(f"sigstore:{short(raw)}", raw)


_DECODERS: dict[KeyFormat, Callable[[str, str, str, KeyFormat], Decoded]] = {
    "minisign": _numbered,
    "signify": _numbered,
    "ed25519": _ed25519,
    "pem": _pem,
    "x509": _certificates,
    "openssh": _openssh,
    "openpgp": _openpgp,
    "cms": _certificates,
    "dsse": _pem,
    "sigstore": _sigstore,
    "jws": _pem,
}

FINGERPRINT = re.compile(r"[0-9A-F]{40}")
"""An OpenPGP fingerprint of version 4 as a contract holds it."""
