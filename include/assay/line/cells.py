"""Values that came from data, as JSON: cut where they are long, never lost, never interpreted."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

MAX_TEXT = 500
"""Characters of a long text that are shown; how many there are is told beside them."""
MAX_LIST = 32
_MAX_BYTES = 64
_SAFE = 2**53  # the largest whole number up to which JavaScript counts
_MAX_DEPTH = 8
_MAX_ITEMS = 200


def cell(value: Any) -> Any:
    """One value of a table.

    Returns:
        Null, a boolean, a finite number, or text; of long text `{text, length, truncated}`, of bytes `{hex, length}`,
        of a vector `{list, length}`. What JSON has no number for (NaN, infinities, whole numbers beyond 2^53) is text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _SAFE else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        return {"hex": data[:_MAX_BYTES].hex(), "length": len(data)}
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, list | tuple):
        return {"list": [cell(each) for each in value[:MAX_LIST]], "length": len(value)}
    return text(str(value))


def text(value: str) -> Any:
    """Text, or its first part where it is long."""
    if len(value) <= MAX_TEXT:
        return value
    return {"text": value[:MAX_TEXT], "length": len(value), "truncated": True}


def cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row's values by column."""
    return {name: cell(value) for name, value in row.items()}


def number(value: Any) -> float | int | None:
    """A number, None where there is none or it is not finite."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def facts(value: Any, depth: int = 0) -> Any:
    """Evidence for JSON: numbers finite, texts, lists and nesting bounded."""
    if isinstance(value, Mapping):
        if depth >= _MAX_DEPTH:
            return "…"
        return {
            str(name)[:MAX_TEXT]: facts(each, depth + 1) for name, each in list(value.items())[:_MAX_ITEMS]
        }
    if isinstance(value, list | tuple):
        return "…" if depth >= _MAX_DEPTH else [facts(each, depth + 1) for each in value[:_MAX_ITEMS]]
    if isinstance(value, str):
        return value if len(value) <= 4 * MAX_TEXT else value[: 4 * MAX_TEXT - 1] + "…"
    return cell(value)
