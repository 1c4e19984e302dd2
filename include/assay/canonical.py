"""Canonical JSON, digests and content ids: the same content has the same name on every machine."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Encode JSON-ready data with sorted keys, no spaces, UTF-8, and no NaN or infinity.

    Raises:
        ValueError: The value holds NaN or an infinity.
        TypeError: The value holds something that JSON cannot hold.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256_hex(data: bytes) -> str:
    """SHA-256 of bytes, as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in pieces, as 64 lower-case hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_id(kind: str, value: Any) -> str:
    """Id of a thing from its content: `<kind>-<first 32 hex digits of SHA-256 over kind and canonical JSON>`."""
    digest = sha256_hex(kind.encode() + b"\0" + canonical_json(value))
    return f"{kind}-{digest[:32]}"


def utc_now() -> str:
    """The time now in UTC as ISO 8601 with seconds, e.g. `2026-03-01T12:00:00Z`."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
