"""OpenPGP public keys as a contract holds them: one armored key, and the fingerprint that a person compared.

Only the outer form is read here (RFC 9580, sections 4 to 6): which packets there are, and of the key packets version,
algorithm and size. What a key may sign, until when, and whether its owner revoked it, gpg judges from its signatures.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

_BEGIN, _END = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
_SECRET, _PUBLIC, _SUBKEY = frozenset({5, 7}), 6, 14
_RSA = frozenset({1, 2, 3})
_MIN_RSA = 2048


class NotOpenPGP(ValueError):
    """The text is no OpenPGP public key that can be used; `str()` says why, as the end of a sentence."""


@dataclass(frozen=True)
class PublicKeyBlock:
    """One public key.

    Attributes:
        fingerprint: Of the primary key (version 4), 40 upper-case hexadecimal digits.
        keyring: The key in binary, as gpg reads it.
    """

    fingerprint: str
    keyring: bytes


def read_public_key(text: str) -> PublicKeyBlock:
    """Read an armored block that holds exactly one public key.

    Raises:
        NotOpenPGP: It holds something else, a secret key, or a key that is too short.
    """
    data = _dearmored(text)
    packets = _packets(data)
    tags = [tag for tag, _ in packets]
    if _SECRET & set(tags):
        raise NotOpenPGP("holds a secret key, which must never leave its owner: it needs a new pair")
    if tags[:1] != [_PUBLIC] or tags.count(_PUBLIC) != 1:
        raise NotOpenPGP(f"holds {tags.count(_PUBLIC)} keys, and must hold exactly one")
    for tag, body in packets:
        if tag in {_PUBLIC, _SUBKEY}:
            _check(body)
    body = packets[0][1]
    # By definition a SHA-1; to pass off another key under the same fingerprint would take a second preimage of it.
    digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
    return PublicKeyBlock(digest.hexdigest().upper(), data)


def _dearmored(text: str) -> bytes:
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines or lines[0] != _BEGIN or lines[-1] != _END or lines.count(_BEGIN) != 1:
        raise NotOpenPGP("is not one armored block, from BEGIN PGP PUBLIC KEY BLOCK to its END")
    body = lines[1:-1]
    if "" in body:
        body = body[body.index("") + 1 :]  # after the armor's headers
    if body and body[-1].startswith("="):
        body.pop()  # the armor's checksum, which is optional and guards against noise alone
    try:
        return base64.b64decode("".join(body), validate=True)
    except (binascii.Error, ValueError):
        raise NotOpenPGP("is not base64 inside its armor") from None


def _packets(data: bytes) -> list[tuple[int, bytes]]:
    """All packets, as tag and body."""
    found, at = [], 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise NotOpenPGP("is damaged: a packet does not begin where one should")
        if head & 0x40:
            tag, (length, size) = head & 0x3F, _new_length(data, at + 1)
        else:
            tag, (length, size) = (head >> 2) & 0x0F, _old_length(data, at + 1, head & 0x03)
        start = at + 1 + size
        if start + length > len(data):
            raise NotOpenPGP("is cut short")
        found.append((tag, data[start : start + length]))
        at = start + length
    return found


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    """Length of a packet's body, and how many bytes say so."""
    first = data[at] if at < len(data) else 255
    if first < 192:
        return first, 1
    if first < 224 and at + 1 < len(data):
        return ((first - 192) << 8) + data[at + 1] + 192, 2
    if first == 255:
        return int.from_bytes(data[at + 1 : at + 5], "big"), 5
    raise NotOpenPGP("has a packet of no known length")


def _old_length(data: bytes, at: int, kind: int) -> tuple[int, int]:
    if kind == 3:
        raise NotOpenPGP("has a packet of no known length")
    size = (1, 2, 4)[kind]
    return int.from_bytes(data[at : at + size], "big"), size


def _check(body: bytes) -> None:
    """Version and size of one key packet."""
    if len(body) < 8 or body[0] != 4:
        raise NotOpenPGP(f"is of version {body[0] if body else 'none'}, and only version 4 is understood")
    bits = int.from_bytes(body[6:8], "big")
    if body[5] in _RSA and bits < _MIN_RSA:
        raise NotOpenPGP(f"has an RSA key of {bits} bits, and at least {_MIN_RSA} are needed")
