"""One cell of a row, from a Python value or from JSON: the format of `hashing` as code, value by value."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import struct
from typing import Any, cast

from assay.ledger.errors import RowError

NULL, BOOLEAN, WHOLE, UNSIGNED, DOUBLE, TIME, NANOSECONDS, TEXT, VECTOR = range(9)
SHORT = 0x20  # tag of the empty text; a text of n bytes, up to WIDTH of them, has the tag SHORT + n
WIDTH = 32
NAN_BITS = 0x7FF8_0000_0000_0000
SCALAR = 9  # bytes of a cell that holds no text
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

KINDS = ("null", "boolean", "integer", "unsigned", "double", "time", "nanoseconds", "text", "vector")
"""Names of the tags."""

_COMPONENTS = frozenset({"null", "integer", "unsigned", "double"})

FORMATS = {
    "null": "<q",
    "boolean": "<q",
    "integer": "<q",
    "unsigned": "<Q",
    "double": "<d",
    "time": "<q",
    "nanoseconds": "<q",
}

Cell = tuple[str, str, Any]
"""Column, kind and JSON-ready value of one cell.

A time's value is its number, NaN and infinities are text, and a vector is a list of numbers, such texts and nulls.
"""


def canonical(value: Any, column: str) -> tuple[str, Any]:
    """Kind and value of a Python value, as the table of `hashing` has it."""
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value.is_integer()):
        whole = int(value)
        if -(2**63) <= whole < 2**63:
            return "integer", whole
        if 0 < whole < 2**64:
            return "unsigned", whole
    if isinstance(value, float):
        return "double", json_value("double", value)
    if isinstance(value, str):
        return "text", value
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return "time", (moment - _EPOCH) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return "time", (value - _EPOCH.date()) // dt.timedelta(microseconds=1)
    if isinstance(value, list | tuple):
        parts = [canonical(part, column) for part in value]
        if all(kind in _COMPONENTS for kind, _ in parts):
            return "vector", [part for _, part in parts]
    raise RowError(
        f"a value of the column {column!r} has no canonical form",
        expected="null, boolean, number below 2**64, text, date, timestamp or list of numbers",
        found=type(value).__name__,
    )


def json_value(kind: str, value: Any) -> Any:
    """A cell's value as JSON can carry it: NaN and infinities as text."""
    if kind == "null":
        return None
    if kind == "boolean":
        return bool(value)
    if kind == "double" and not math.isfinite(value):
        return str(value)  # nan, inf or -inf
    return value


def cell_bytes(column: str, kind: str, value: Any) -> bytes:
    """Tag and body of one cell."""
    wanted: Any = {
        "null": type(None),
        "boolean": bool,
        "double": (float, int, str),
        "text": str,
        "vector": list,
    }.get(kind, int)
    if kind not in KINDS or not isinstance(value, wanted):
        raise RowError(f"a cell of the column {column!r} is malformed", expected=", ".join(KINDS), found=kind)
    tag, content = bytes([KINDS.index(kind)]), cast("Any", value)
    try:
        if kind == "text":
            data: bytes = content.encode()
            if len(data) <= WIDTH:
                return bytes([SHORT + len(data)]) + data.ljust(WIDTH, b"\0")
            return tag + hashlib.sha256(data).digest()
        if kind == "vector":
            return tag + hashlib.sha256(b"".join(_component(column, part) for part in content)).digest()
        if kind == "double":
            number = float(content)
            return (
                tag + struct.pack("<Q", NAN_BITS) if math.isnan(number) else tag + struct.pack("<d", number)
            )
        return tag + struct.pack(FORMATS[kind], content or 0)
    except (struct.error, ValueError, OverflowError) as error:
        raise RowError(f"a cell of the column {column!r} does not hold a {kind}", found=error) from error


def _component(column: str, value: Any) -> bytes:
    """The cell of one component of a vector, as JSON has it."""
    if isinstance(value, str):
        if value not in {"nan", "inf", "-inf"}:
            raise RowError(f"a vector of the column {column!r} is malformed", expected="numbers", found=value)
        return cell_bytes(column, "double", value)
    kind, number = canonical(value, column)
    if kind not in _COMPONENTS:
        raise RowError(f"a vector of the column {column!r} is malformed", expected="numbers", found=kind)
    return cell_bytes(column, kind, number)
