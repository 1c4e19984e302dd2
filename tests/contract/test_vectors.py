"""Columns of vectors in a contract: a length, bounds for every component, and no role that one value must play."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from assay.contract import Contract


def contract(column: dict[str, Any], **schema: Any) -> Contract:
    """A contract with a key, a label and the column `emb`."""
    columns = {
        "id": {"type": "integer"},
        "emb": column,
        "y": {"type": "string"},
    }
    body = {
        "key": ["id"],
        "label": {"column": "y", "classes": ["no", "yes"]},
        "columns": columns,
        **schema,
    }
    return Contract.model_validate({"version": 1, "dataset": "things", "schema": body})


def test_a_vector_has_a_length_and_may_have_bounds() -> None:
    """And is a feature like any other; its cells may be missing."""
    made = contract({"type": "vector", "length": 384, "min": -1, "max": 1, "nullable": True})
    assert made.schema_.features == ("emb",)
    assert made.schema_.columns["emb"].length == 384
    assert contract({"type": "vector", "length": 4}, immutable=["emb"]).schema_.immutable == ("emb",)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"type": "vector"}, "needs its length"),
        ({"type": "vector", "length": 0}, "greater than 0"),
        ({"type": "vector", "length": 10**6}, "less than or equal to 65536"),
        ({"type": "number", "length": 3}, "length makes no sense for type number"),
        ({"type": "vector", "length": 3, "unique": True}, "unique makes no sense"),
        ({"type": "vector", "length": 3, "allowed": ["x"]}, "allowed makes no sense"),
        ({"type": "vector", "length": 3, "pattern": "x"}, "pattern makes no sense"),
        ({"type": "vector", "length": 3, "max_length": 3}, "max_length makes no sense"),
        ({"type": "vector", "length": 3, "role": "text"}, "role makes no sense"),
        ({"type": "vector", "length": 3, "min": 1, "max": 0}, "is above max"),
        ({"type": "vector", "length": 3, "min": "2026-01-01"}, "does not go with type vector"),
    ],
)
def test_what_makes_no_sense_for_vectors_is_said(column: dict[str, Any], told: str) -> None:
    """A length without a vector, a vector without a length, and what only single values can have."""
    with pytest.raises(ValidationError, match=told):
        contract(column)


@pytest.mark.parametrize(
    "schema",
    [
        {"key": ["emb"]},
        {"source": "emb"},
        {"label": {"column": "emb"}},
        {"label": {"column": "emb", "classes": ["a", "b"]}},
    ],
)
def test_a_vector_is_no_key_no_source_and_no_label(schema: dict[str, Any]) -> None:
    """Each of them needs one value per row."""
    with pytest.raises(ValidationError, match="is a vector, and"):
        contract({"type": "vector", "length": 3}, **schema)
