"""Public keys as people have them: told apart, tidied up, and turned into what a contract holds."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from assay.contract.keyforms import KeyFormat
from assay.errors import Terminal

_MAX_FILE = 1 << 16
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_KNOWN = (
    "minisign or signify (56 characters, RW...), Ed25519 as base64 (44 characters), a PEM public key or certificates, "
    "an OpenSSH line, an armored OpenPGP key, or sigstore's trusted root"
)


class KeyRefused(Terminal):
    """The key cannot be trusted: it is not one, it is a secret one, or it was revoked."""


def read_key(text_or_path: str, format: KeyFormat | None = None) -> tuple[KeyFormat, str]:
    """A public key as people have it: the key itself, or a file with it.

    Understood are the public keys of minisign and signify (the line, or the `.pub` file), Ed25519 keys as base64 of
    their 32 bytes or a file of these, PEM (`BEGIN PUBLIC KEY`), certificates as PEM, OpenSSH's lines, armored OpenPGP
    keys, and sigstore's `trusted_root.json`.

    Args:
        text_or_path: The key, or the path of its file.
        format: What it is to be used for, where its form leaves that open: a PEM key or OpenSSH line of Ed25519 is
            `ed25519` (plain signatures) if not said, other PEM keys `pem`, certificates `x509`.

    Returns:
        Format and text of the key, as a contract holds them.

    Raises:
        KeyRefused: It is none of these, a secret key, or of another format than the one given.
        OSError: The file cannot be read.
    """
    data, is_file = _given(text_or_path)
    if is_file and len(data) == 32:
        return _fitting("ed25519", ("ed25519",), format), base64.b64encode(data).decode()
    text = tidy(data.decode("utf-8", errors="replace"))
    first = text.partition("\n")[0]
    if "PRIVATE KEY" in text or "secret key" in first:
        raise KeyRefused(
            "this is a secret key, which must never leave its owner",
            state="it was not stored",
            next_step="ask the publisher for the public key; if the secret one came from them, they need a new pair",
        )
    if "BEGIN PGP PUBLIC KEY" in text:
        return _fitting("openpgp", ("openpgp",), format), text
    if "BEGIN CERTIFICATE" in text:
        return _fitting("x509", ("x509", "cms"), format), text
    if "BEGIN PUBLIC KEY" in text:
        return _of_pem(text, format)
    if text.startswith("{"):
        return _fitting("sigstore", ("sigstore",), format), text
    line = next(
        (each for each in text.splitlines() if each and not each.startswith("untrusted comment:")), ""
    )
    if line.startswith(("ssh-", "ecdsa-", "sk-")):
        return _of_openssh(line, format)
    if re.fullmatch(r"[A-Za-z0-9+/]{56}", line):
        told: KeyFormat = "signify" if first.startswith("untrusted comment: signify") else "minisign"
        return _fitting(told, ("minisign", "signify"), format), line
    if re.fullmatch(r"[A-Za-z0-9+/]{43}=", line):
        return _fitting("ed25519", ("ed25519",), format), line
    raise KeyRefused(
        "this is not a public key that Assay knows",
        expected=_KNOWN,
        found=f"{len(line)} characters" + ("" if is_file else "; and there is no file of that name"),
        next_step="check what was given, or the path; a binary OpenPGP key is exported with `gpg --export --armor`",
    )


def tidy(text: str) -> str:
    """A key's text without what only people read around certificates, and without blanks at the ends of lines."""
    if (blocks := _CERTIFICATE.findall(text)) and not re.search(r"-----BEGIN (?!CERTIFICATE-----)", text):
        text = "\n".join(blocks)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _given(text_or_path: str) -> tuple[bytes, bool]:
    path = Path(text_or_path).expanduser() if len(text_or_path) < 4096 and "\n" not in text_or_path else None
    if path is None or not path.is_file():
        return text_or_path.encode(), False
    with path.open("rb") as file:
        return file.read(_MAX_FILE), True


def _fitting(usual: KeyFormat, possible: tuple[KeyFormat, ...], wanted: KeyFormat | None) -> KeyFormat:
    """The format that was asked for, if the key can be used for it."""
    if wanted is None:
        return usual
    if wanted not in possible:
        raise KeyRefused(
            f"the key is not one for {wanted}",
            expected=f"one for {' or '.join(possible)}, by what it looks like",
            state="it was not stored",
            next_step="check the key, or the format",
        )
    return wanted


def _of_pem(text: str, wanted: KeyFormat | None) -> tuple[KeyFormat, str]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("the PEM file holds no public key", found=str(error)[:200]) from None
    raw = _ed25519(key)
    usual: KeyFormat = "pem" if raw is None else "ed25519"
    possible: tuple[KeyFormat, ...] = (
        ("pem", "dsse", "jws") if raw is None else ("ed25519", "pem", "dsse", "jws")
    )
    format = _fitting(usual, possible, wanted)
    return (format, raw) if format == "ed25519" and raw is not None else (format, text)


def _of_openssh(line: str, wanted: KeyFormat | None) -> tuple[KeyFormat, str]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    if wanted != "openssh" and line.startswith("ssh-ed25519 "):
        try:
            raw = _ed25519(load_ssh_public_key(line.encode()))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyRefused("the OpenSSH line holds no Ed25519 public key", found=str(error)[:200]) from None
        if raw is not None:
            return _fitting("ed25519", ("ed25519", "openssh"), wanted), raw
    return _fitting("openssh", ("openssh",), wanted), line


def _ed25519(key: Any) -> str | None:
    """The base64 text of an Ed25519 key; None if it is of another kind."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return base64.b64encode(key.public_bytes_raw()).decode() if isinstance(key, Ed25519PublicKey) else None
