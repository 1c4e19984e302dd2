"""Spans of time as people write them: `45s`, `30m`, `12h`, `3d`, `2w`."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from assay.contract.base import Complaint

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?[smhdw]$"
_LONGEST = dt.timedelta(days=36_500)


def parse_duration(value: Any) -> dt.timedelta:
    """Read `45s`, `30m`, `12h`, `3d`, `2w`, a number of seconds, ISO 8601 (`P3D`, `PT2H`), or a timedelta.

    Raises:
        Complaint: It is none of these, not above zero, or longer than 100 years.
    """
    if isinstance(value, dt.timedelta):
        span = value
    elif isinstance(value, bool):
        raise _wrong(value)
    elif isinstance(value, int | float):
        span = _seconds(float(value), value)
    elif isinstance(value, str) and re.fullmatch(_PATTERN, value):
        span = _seconds(float(value[:-1]) * _UNITS[value[-1]], value)
    elif isinstance(value, str):
        span = _iso(value)
    else:
        raise _wrong(value)
    if not dt.timedelta(0) < span <= _LONGEST:
        raise Complaint(f"{value} is out of range", fix="write more than zero and at most 100 years")
    return span


def _seconds(seconds: float, value: Any) -> dt.timedelta:
    try:
        return dt.timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise _wrong(value) from None


def _iso(value: str) -> dt.timedelta:
    """ISO 8601 durations of days and smaller, which is also how they are written back to JSON."""
    match = re.fullmatch(r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", value)
    if match is None or not any(match.groups()):
        raise _wrong(value)
    weeks, days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return _seconds((weeks * 7 + days) * 86_400 + hours * 3_600 + minutes * 60 + seconds, value)


def _wrong(value: Any) -> Complaint:
    return Complaint(
        f"{value!r} is not a span of time", fix="write a number and a unit, e.g. 45s, 30m, 12h, 3d or 2w"
    )


Duration = Annotated[
    dt.timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _PATTERN},
                {"type": "string", "pattern": r"^P(?!$)"},
                {"type": "number", "exclusiveMinimum": 0},
            ],
            "examples": ["45s", "30m", "12h", "3d"],
        }
    ),
]
"""A timedelta above zero; in YAML a number and a unit."""


def format_duration(span: dt.timedelta) -> str:
    """A span as `parse_duration` reads it: the largest unit that says it in whole numbers."""
    if span.microseconds:
        return f"{span.total_seconds():.6f}s"
    seconds = int(span.total_seconds())
    for unit in ("d", "h", "m"):
        if seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"
