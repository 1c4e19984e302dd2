"""JSON from strangers: one meaning, or none."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

MAX_DEPTH = 64


def strict_json(data: bytes, *, depth: int = MAX_DEPTH) -> Any:
    """Parse UTF-8 JSON with each key once in its object, finite numbers, and texts of whole characters.

    Two readers agree about such a text: RFC 8259 lets them differ about repeated keys, NaN and numbers out of range.

    Args:
        data: The whole text.
        depth: Most levels of objects and lists.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
        ValueError: It is not such JSON, or nested more deeply.
    """
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    # Level by level, for a recursion would go as deep as an attacker likes.
    level = [value]
    for _ in range(depth):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            break
    else:
        raise ValueError("it is nested too deeply")
    if b"\\ud" in data.lower():  # half of a surrogate pair is no character
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _inside(value: Any) -> list[Any]:
    """Objects and lists directly within one."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, dict | list)]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    body = dict(pairs)
    if len(body) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return body


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError(f"{text[:40]} is too large a number")
    return value
