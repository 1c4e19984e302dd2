"""Columns that a contract names but does not describe: they are taken to be there, as plainly as can be.

A key, a source column, an immutable column or a slice that `schema.columns` leaves out is text; the label is of its
classes' type, or a number where it has none. A name that is one slip away from a described column is not taken so: it
is left for the check that asks `did you mean`.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

_SLIP = 0.85


def with_implied(schema: Any, slices: Any = ()) -> Any:
    """A contract's `schema` section, as it came from YAML, with the columns added that it only names.

    Args:
        schema: The section; returned as it is where it is not of the shape that the models will ask for.
        slices: The contract's `gates.slices`.
    """
    if (
        not isinstance(schema, Mapping)
        or not isinstance(schema.get("columns"), Mapping)
        or not schema["columns"]
    ):
        return schema
    described = schema["columns"]
    added: dict[str, Any] = {}

    def imply(name: Any, column: dict[str, Any]) -> None:
        if isinstance(name, str) and name not in described and name not in added:
            slips = get_close_matches(name, [str(each) for each in described], 1, cutoff=_SLIP)
            if not slips:
                added[name] = column

    for name in _list(schema.get("key")):
        imply(name, {"type": "string"})
    label = schema.get("label")
    if isinstance(label, Mapping):
        imply(label.get("column"), {"type": _label_type(label.get("classes"))})
    for name in [schema.get("source"), *_list(schema.get("immutable")), *_list(slices)]:
        imply(name, {"type": "string", "nullable": True})
    return {**schema, "columns": {**described, **added}} if added else schema


def _label_type(classes: Any) -> str:
    values = _list(classes)
    if not values:
        return "number"
    if all(isinstance(value, bool) for value in values):
        return "boolean"
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return "integer"
    return "string"


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
