"""What a publisher signed about a delivery: for whom it is, and what tells it from an older one.

It stands in `delivery.json`, which the manifest lists, or in minisign's trusted comment.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, replace
from typing import Any

from assay.intake.errors import ClaimsError
from assay.strictjson import strict_json

NOTE = "delivery.json"
"""The file in which a delivery says what it is."""

MAX_NOTE = 64 * 1024
"""Its largest size in bytes."""

_TOKEN = re.compile(r"(dataset|source|sequence|timestamp):(\S+)")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Claims:
    """What a publisher signed about a delivery; None where nothing was said.

    Attributes:
        dataset: The data set that it is meant for.
        source: The source that it comes from.
        sequence: Its number, higher for each delivery of the source.
        created: When it was made (`delivery.json`, or a field of the manifest), UTC.
        signed: When it was signed (minisign's trusted comment), UTC.
        valid_until: Until when it may be used (a field of the manifest), UTC.
    """

    dataset: str | None = None
    source: str | None = None
    sequence: int | None = None
    created: dt.datetime | None = None
    signed: dt.datetime | None = None
    valid_until: dt.datetime | None = None

    @property
    def date(self) -> dt.datetime | None:
        """The date that orders deliveries: that of signing, else that of making."""
        return self.signed or self.created

    @property
    def date_text(self) -> str | None:
        """`date` as the registry keeps it."""
        return None if self.date is None else utc_text(self.date)

    @property
    def ordered(self) -> bool:
        """Whether there is anything to tell old from new by."""
        return self.sequence is not None or self.date is not None


def read_claims(trusted_comment: str | None, note: bytes | None) -> Claims:
    """Join what the trusted comment and `delivery.json` say.

    Args:
        trusted_comment: Of a minisign signature that was checked; tokens `sequence:N`, `timestamp:SECONDS`,
            `dataset:NAME`, `source:ID`, separated by spaces or tabs; anything else in it is passed over.
        note: The bytes of `delivery.json`, whose digest was checked; an object with `dataset` and `source`, and
            `sequence` and/or `created` (ISO 8601 date or time; UTC where it names no zone).

    Raises:
        ClaimsError: One of them cannot be read, or they contradict each other.
    """
    said = _from_comment(trusted_comment or "")
    if note is None:
        return said
    written = _from_note(note)
    for field in ("dataset", "source", "sequence"):
        one, other = getattr(said, field), getattr(written, field)
        if one is not None and other is not None and one != other:
            raise ClaimsError(
                f"the signature's trusted comment and {NOTE} contradict each other about the {field}",
                expected=f"{field} {other} in both",
                found=f"{one} in the trusted comment",
                next_step="have the publisher sign the delivery again",
            )
    return replace(
        written,
        sequence=written.sequence if written.sequence is not None else said.sequence,
        signed=said.signed,
    )


def utc_text(moment: dt.datetime) -> str:
    """A time as the registry keeps it: UTC, ISO 8601, whole seconds."""
    return moment.astimezone(dt.UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def _from_comment(comment: str) -> Claims:
    found: dict[str, str] = {}
    for token in comment.split():
        if match := _TOKEN.fullmatch(token):
            if match[1] in found and found[match[1]] != match[2]:
                raise _unreadable("the trusted comment", f"one {match[1]}", token)
            found[match[1]] = match[2]
    for field in ("dataset", "source"):
        if field in found and not _NAME.fullmatch(found[field]):
            raise _unreadable("the trusted comment", f"{field}:<name>", ascii(found[field])[:80])
    numbers = {}
    for field in ("sequence", "timestamp"):
        if field in found:
            if not re.fullmatch(r"[0-9]{1,18}", found[field]):
                raise _unreadable("the trusted comment", f"{field}:<whole number>", f"{field}:{found[field]}")
            numbers[field] = int(found[field])
    signed = None
    if "timestamp" in numbers:
        try:
            signed = dt.datetime.fromtimestamp(numbers["timestamp"], dt.UTC)
        except (ValueError, OverflowError, OSError):
            raise _unreadable("the trusted comment", "seconds since 1970", found["timestamp"]) from None
    return Claims(found.get("dataset"), found.get("source"), numbers.get("sequence"), None, signed)


def _from_note(data: bytes) -> Claims:
    if len(data) > MAX_NOTE:
        raise _unreadable(NOTE, f"at most {MAX_NOTE} bytes", f"{len(data)} bytes")
    try:
        body = strict_json(data)
    except ValueError as error:
        raise _unreadable(NOTE, "one JSON object in UTF-8", str(error)[:200]) from error
    if not isinstance(body, dict):
        raise _unreadable(NOTE, "a JSON object", type(body).__name__)
    for field in ("dataset", "source"):
        if not isinstance(body.get(field), str) or not _NAME.fullmatch(body[field]):
            raise _unreadable(
                NOTE, f"{field!r} as a name like those in contracts", ascii(body.get(field))[:80]
            )
    sequence = body.get("sequence")
    if sequence is not None and (type(sequence) is not int or not 0 <= sequence < 2**63):
        raise _unreadable(NOTE, "sequence as a whole number from 0 on", ascii(sequence)[:80])
    return Claims(body["dataset"], body["source"], sequence, _date(body.get("created")))


def _date(value: Any) -> dt.datetime | None:
    if value is None:
        return None
    try:
        parsed = dt.datetime.fromisoformat(value)
        zoned = parsed.replace(tzinfo=dt.UTC) if parsed.tzinfo is None else parsed.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        raise _unreadable(
            NOTE, "created as ISO 8601 date or time, e.g. 2026-03-01T12:00:00Z", ascii(value)[:80]
        ) from None
    return zoned


def _unreadable(where: str, expected: str, found: str) -> ClaimsError:
    return ClaimsError(
        f"{where} does not say clearly what the delivery is",
        expected=expected,
        found=found,
        next_step="have the publisher correct it and sign the delivery again",
    )
