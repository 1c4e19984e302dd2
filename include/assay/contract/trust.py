"""The trust store: publishers' public keys, one file per publisher in `publishers/` beside the contracts.

A key is trusted because a person put it there after comparing it with its owner by another way than the delivery's own.
Nothing here fetches keys, and a revoked key stays listed, so that old signatures can still be judged.
"""

from __future__ import annotations

import base64
import datetime as dt
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from assay.contract.keys import Key, Publisher, decode_key, key_id, minisign_id
from assay.contract.loader import PUBLISHERS, dump_publisher, read_publisher
from assay.errors import Terminal, UsageError

__all__ = [
    "KeyRefused",
    "add_key",
    "decode_key",
    "key_id",
    "list_keys",
    "minisign_id",
    "publishers_dir",
    "read_key",
    "revoke_key",
]

_MAX_FILE = 16_384


class KeyRefused(Terminal):
    """The key cannot be trusted: it is not one, it is a secret one, or it was revoked."""


def publishers_dir(where: str | Path) -> Path:
    """The folder of publishers' files that belongs to a contract's file, or to a folder of contracts."""
    where = Path(where)
    folder = where.parent if where.suffix in {".yaml", ".yml"} else where
    return folder / PUBLISHERS


def read_key(text_or_path: str) -> tuple[Literal["minisign", "ed25519"], str]:
    """A public key as people have it: the key itself, or a file with it.

    Understood are minisign's public keys (the line, or the `.pub` file), Ed25519 keys as base64 of their 32 bytes, as
    PEM (`BEGIN PUBLIC KEY`), as OpenSSH's `ssh-ed25519 AAAA...` line, and as a file of 32 raw bytes.

    Returns:
        Format and text of the key, as a contract holds them.

    Raises:
        KeyRefused: It is none of these, or a secret key.
        OSError: The file cannot be read.
    """
    data = text_or_path.encode()
    path = Path(text_or_path).expanduser()
    if len(text_or_path) < 4096 and "\n" not in text_or_path and path.is_file():
        with path.open("rb") as file:
            data = file.read(_MAX_FILE)
        if len(data) == 32:
            return "ed25519", base64.b64encode(data).decode()
    text = data.decode("utf-8", errors="replace").strip()
    if "PRIVATE KEY" in text or "secret key" in text.partition("\n")[0]:
        raise KeyRefused(
            "this is a secret key, which must never leave its owner",
            state="it was not stored",
            next_step="ask the publisher for the public key; if the secret one came from them, they need a new pair",
        )
    if "BEGIN PUBLIC KEY" in text:
        return "ed25519", _from_pem(text)
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.startswith("untrusted comment:")
    ]
    line = lines[0] if lines else ""
    if line.startswith(("ssh-", "ecdsa-", "sk-")):
        return "ed25519", _from_openssh(line)
    if re.fullmatch(r"[A-Za-z0-9+/]{56}", line):
        return "minisign", line
    if re.fullmatch(r"[A-Za-z0-9+/]{43}=", line):
        return "ed25519", line
    raise KeyRefused(
        "this is not a public key that Assay knows",
        expected="minisign (56 characters, RW...), or Ed25519 as base64 (44 characters), PEM or OpenSSH",
        found=f"{len(line)} characters" + ("" if path.is_file() else "; and there is no file of that name"),
        next_step="check what was given, or the path",
    )


def add_key(
    where: str | Path,
    publisher: str,
    *,
    public_key: str,
    format: Literal["minisign", "ed25519"],
    valid_from: dt.date | None = None,
    valid_until: dt.date | None = None,
) -> Key:
    """Trust a publisher's key; adding it again with the same dates changes nothing.

    Args:
        where: A contract's file, or a folder of contracts.
        publisher: The publisher's id.
        public_key: The key's text.
        format: `minisign` or `ed25519`.
        valid_from: First day on which its signatures count; none: always.
        valid_until: Last such day; none: always.

    Raises:
        KeyRefused: It is no such key, it was revoked before, or it is there with other dates.
        UsageError: The publisher's id is not usable.
        ContractError: The publisher's file is damaged.
        OSError: The file cannot be written.
    """
    try:
        key = Key(
            format=format, public_key=public_key.strip(), valid_from=valid_from, valid_until=valid_until
        )
    except ValidationError as error:
        raise KeyRefused(
            _first(error),
            state="no key was added",
            next_step="check the key against what its owner published",
        ) from None
    with _changing(where, publisher) as (held, write):
        for known in held.keys:
            if known.raw != key.raw:
                continue
            if known.revoked is not None:
                raise KeyRefused(
                    f"{known.id} was revoked on {known.revoked} and cannot be trusted again",
                    found=known.revoked_reason,
                    state="no key was added",
                    next_step="ask the publisher for a new key",
                )
            if (known.valid_from, known.valid_until) == (valid_from, valid_until):
                return known
            raise KeyRefused(
                f"{known.id} is there with other dates",
                expected=f"valid from {known.valid_from or 'always'} until {known.valid_until or 'always'}",
                found=f"valid from {valid_from or 'always'} until {valid_until or 'always'}",
                state="no key was changed",
                next_step="edit the dates in the publisher's file, where the change can be reviewed",
            )
        write((*held.keys, key))
    return key


def list_keys(where: str | Path, publisher: str | None = None) -> dict[str, tuple[Key, ...]]:
    """Keys of all publishers, or of one, by the publisher's id.

    Raises:
        ContractError: A publisher's file is damaged.
        OSError: A file cannot be read.
    """
    folder = publishers_dir(where)
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    return {file.stem: read_publisher(file).keys for file in files if publisher in {None, file.stem}}


def revoke_key(where: str | Path, publisher: str, key: str, *, on: dt.date, reason: str) -> Key:
    """Let signatures of a key no longer count from a day on; the key stays listed.

    An earlier revocation stands: a later day cannot loosen it.

    Args:
        where: A contract's file, or a folder of contracts.
        publisher: The publisher's id.
        key: The key's id (see `key_id`), or the key itself.
        on: First day on which its signatures do not count.
        reason: Why; must say something.

    Raises:
        UsageError: The publisher has no such key, or the reason is empty.
        ContractError: The publisher's file is damaged.
        OSError: The file cannot be written.
    """
    if not reason.strip():
        raise UsageError("a revocation needs a reason", next_step="say why with --reason")
    with _changing(where, publisher) as (held, write):
        found = [
            known
            for known in held.keys
            if key.strip().lower() in {known.id.lower(), known.public_key.lower()}
        ]
        if not found:
            raise UsageError(
                f"publisher {publisher!r} has no key {key!r} in the trust store",
                expected=", ".join(known.id for known in held.keys) or "none is listed",
                state="no key was changed",
                next_step="`assay trust list` shows the keys; one that stands in a contract itself is revoked there",
            )
        known = found[0]
        if known.revoked is not None and known.revoked <= on:
            return known
        revoked = known.model_copy(update={"revoked": on, "revoked_reason": reason.strip()})
        write(tuple(revoked if each is known else each for each in held.keys))
    return revoked


@contextmanager
def _changing(where: str | Path, publisher: str) -> Iterator[tuple[Publisher, Any]]:
    """A publisher as its file has it, and a function that replaces its keys; one process at a time."""
    try:
        empty = Publisher(id=publisher)
    except ValidationError:
        raise UsageError(
            f"{publisher!r} is not a usable publisher id",
            expected="a lower-case letter, then lower-case letters, digits, _ or -, at most 63 characters",
        ) from None
    folder = publishers_dir(where)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{publisher}.yaml"
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        held = read_publisher(path) if path.is_file() else empty

        def write(keys: tuple[Key, ...]) -> None:
            temporary = folder / f".{publisher}.{secrets.token_hex(8)}"
            try:
                with temporary.open("w", encoding="utf-8") as file:
                    file.write(dump_publisher(Publisher(id=publisher, keys=keys)))
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

        yield held, write
    finally:
        os.close(handle)


def _first(error: ValidationError) -> str:
    cause = error.errors()[0].get("ctx", {}).get("error")
    return str(cause) if cause is not None else str(error.errors()[0]["msg"])


def _from_pem(text: str) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return _raw(load_pem_public_key(text.encode()))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("the PEM file holds no Ed25519 public key", found=str(error)) from None


def _from_openssh(line: str) -> str:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        return _raw(load_ssh_public_key(line.encode()))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyRefused("the OpenSSH line holds no Ed25519 public key", found=str(error)) from None


def _raw(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(key, Ed25519PublicKey):
        raise KeyRefused(
            "the key is not an Ed25519 one",
            found=type(key).__name__.removeprefix("_"),
            next_step="have the publisher sign with an Ed25519 or minisign key",
        )
    return base64.b64encode(key.public_bytes_raw()).decode()
