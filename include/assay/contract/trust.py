"""The trust store: publishers' public keys, one file per publisher in `publishers/` beside the contracts.

A key is trusted because a person put it there after comparing it with its owner by another way than the delivery's own.
Nothing here fetches keys, and a revoked key stays listed, so that old signatures can still be judged.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from assay.contract.keyfiles import KeyRefused, read_key, tidy
from assay.contract.keyforms import KeyFormat
from assay.contract.keys import Key, Publisher, decode_key, key_id, minisign_id
from assay.contract.loader import PUBLISHERS, dump_publisher, read_publisher
from assay.errors import UsageError

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


def publishers_dir(where: str | Path) -> Path:
    """The folder of publishers' files that belongs to a contract's file, or to a folder of contracts."""
    where = Path(where)
    folder = where.parent if where.suffix in {".yaml", ".yml"} else where
    return folder / PUBLISHERS


def add_key(
    where: str | Path,
    publisher: str,
    *,
    public_key: str,
    format: KeyFormat,
    valid_from: dt.date | None = None,
    valid_until: dt.date | None = None,
    pins: Mapping[str, str] | None = None,
    replaces: str | None = None,
    overlap_until: dt.date | None = None,
) -> Key:
    """Trust a publisher's key; adding it again with the same settings changes nothing.

    Args:
        where: A contract's file, or a folder of contracts.
        publisher: The publisher's id.
        public_key: The key's text.
        format: Its format.
        valid_from: First day on which its signatures count; none: always.
        valid_until: Last such day; none: always.
        pins: What is pinned with it (`identity`, `namespace`, `issuer`, `fingerprint`, `purpose`, `digest`,
            `payload_type`).
        replaces: The key that it follows (id, or the key itself), which gets an end.
        overlap_until: Last day on which the replaced key still counts; needed with `replaces`.

    Raises:
        KeyRefused: It is no such key, it was revoked before, or it is there with other settings.
        UsageError: The publisher's id is not usable, or there is no key to replace.
        ContractError: The publisher's file is damaged.
        OSError: The file cannot be written.
    """
    if (replaces is None) != (overlap_until is None):
        raise UsageError(
            "a key that replaces another needs the last day of the old one, and the other way round",
            state="no key was added",
            next_step="give both",
        )
    try:
        key = Key.model_validate(
            {
                "format": format,
                "public_key": tidy(public_key),
                "valid_from": valid_from,
                "valid_until": valid_until,
                **(pins or {}),
            }
        )
    except ValidationError as error:
        raise KeyRefused(
            _first(error),
            state="no key was added",
            next_step="check the key against what its owner published",
        ) from None
    with _changing(where, publisher) as (held, write):
        keys = held.keys
        if replaces is not None and overlap_until is not None:
            keys = _ended(publisher, keys, replaces, overlap_until)
        for known in keys:
            if known.raw == key.raw:
                _same(known, key)
                return known
        write((*keys, key))
    return key


def _ended(publisher: str, keys: tuple[Key, ...], replaced: str, until: dt.date) -> tuple[Key, ...]:
    """The keys, one of them with an end that is no later than it was."""
    old = _named(publisher, keys, replaced)
    last = until if old.valid_until is None else min(until, old.valid_until)
    if old.valid_from is not None and last < old.valid_from:
        raise UsageError(
            f"{old.id} counts from {old.valid_from} on, and cannot end on {last}",
            state="no key was changed",
            next_step="give a later day",
        )
    ended = old.model_copy(update={"valid_until": last})
    return tuple(ended if each is old else each for each in keys)


def _same(known: Key, key: Key) -> None:
    """A key that is there already must be there in the same way."""
    if known.revoked is not None:
        raise KeyRefused(
            f"{known.id} was revoked on {known.revoked} and cannot be trusted again",
            found=known.revoked_reason,
            state="no key was added",
            next_step="ask the publisher for a new key",
        )
    if (known.valid_from, known.valid_until) != (key.valid_from, key.valid_until):
        raise KeyRefused(
            f"{known.id} is there with other dates",
            expected=f"valid from {known.valid_from or 'always'} until {known.valid_until or 'always'}",
            found=f"valid from {key.valid_from or 'always'} until {key.valid_until or 'always'}",
            state="no key was changed",
            next_step="edit the dates in the publisher's file, where the change can be reviewed",
        )
    if (known.format, known.pins) != (key.format, key.pins):
        raise KeyRefused(
            f"{known.id} is there in another format, or with other pins",
            expected=_settings(known),
            found=_settings(key),
            state="no key was changed",
            next_step="edit the publisher's file, where the change can be reviewed",
        )


def _settings(key: Key) -> str:
    return ", ".join([key.format, *(f"{pin} {value}" for pin, value in key.pins.items())])


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
        known = _named(publisher, held.keys, key)
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


def _named(publisher: str, keys: tuple[Key, ...], name: str) -> Key:
    """The key of that id, or that is written so."""
    wanted = name.strip().lower()
    for known in keys:
        if wanted in {known.id.lower(), known.id.partition(":")[2].lower(), known.public_key.strip().lower()}:
            return known
    raise UsageError(
        f"publisher {publisher!r} has no key {name.strip()[:100]!r} in the trust store",
        expected=", ".join(known.id for known in keys) or "none is listed",
        state="no key was changed",
        next_step="`assay trust list` shows the keys; one that stands in a contract itself is revoked there",
    )


def _first(error: ValidationError) -> str:
    cause = error.errors()[0].get("ctx", {}).get("error")
    return str(cause) if cause is not None else str(error.errors()[0]["msg"])
