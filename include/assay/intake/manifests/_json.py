"""Manifests in JSON: read strictly and bounded, each key once, nothing guessed."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from assay.intake.digests import LENGTHS, Digest
from assay.intake.manifests._model import Raw
from assay.strictjson import strict_json

_DEPTH = 32
_HEX = re.compile(r"[0-9A-Fa-f]+")


def load(raw: Raw) -> Any:
    """The manifest's value.

    Raises:
        ManifestError: It is no strict JSON in UTF-8, has a key twice in one object, or is nested too deeply.
    """
    if not raw.data.strip():
        raise raw.wrong("is empty: it vouches for no file", "a JSON object", f"{len(raw.data)} bytes")
    if raw.data.startswith(b"\xef\xbb\xbf"):
        raise raw.wrong("begins with a byte order mark", "plain UTF-8 (RFC 8259)", "U+FEFF", line=1)
    try:
        return strict_json(raw.data, depth=_DEPTH)
    except json.JSONDecodeError as error:
        raise raw.wrong(f"is no JSON: {error.msg}", "one JSON value", line=error.lineno) from None
    except UnicodeDecodeError as error:
        line = raw.data[: error.start].count(b"\n") + 1
        raise raw.wrong(
            "is not UTF-8", "UTF-8 text", f"byte 0x{raw.data[error.start]:02x}", line=line
        ) from None
    except ValueError as error:
        raise raw.wrong("is no JSON that can be trusted", "each key once, finite numbers", error) from None


def hex_digest(algorithm: str, text: Any, raw: Raw, path: object) -> Digest:
    """A digest in hexadecimal digits.

    Raises:
        ManifestError: It has not the algorithm's length, or is none.
    """
    if not isinstance(text, str) or not _HEX.fullmatch(text) or len(text) != LENGTHS[algorithm]:
        raise raw.wrong(
            f"has no {algorithm} digest for {str(path)[:80]!r} that can be read",
            f"{LENGTHS[algorithm]} hexadecimal digits",
            text,
        )
    return Digest(algorithm, text.lower())


def base64_digest(algorithm: str, text: Any, raw: Raw, path: object) -> Digest:
    """A digest in base64, as its bytes would be encoded.

    Raises:
        ManifestError: It has not the algorithm's length, or is none.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError, binascii.Error):
        data = b""
    if len(data) * 2 != LENGTHS[algorithm] or base64.b64encode(data).decode() != text:
        raise raw.wrong(
            f"has no {algorithm} checksum for {str(path)[:80]!r} that can be read",
            f"base64 of {LENGTHS[algorithm] // 2} bytes",
            text,
        )
    return Digest(algorithm, data.hex())


def whole_number(value: Any, raw: Raw, what: str) -> int | None:
    """A count of bytes; None where nothing is said.

    Raises:
        ManifestError: It is something else.
    """
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**63:
        raise raw.wrong(f"says no size for {what[:80]!r} that can be read", "a whole number of bytes", value)
    return value


def text_of(value: Any, raw: Raw, what: str) -> str:
    """A text that must be there.

    Raises:
        ManifestError: It is missing or something else.
    """
    if not isinstance(value, str) or not value:
        raise raw.wrong(f"has no {what} where one must be", f"{what} as text", value)
    return value
