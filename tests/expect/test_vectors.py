"""Vectors in validation: bad cells fail their rows, and no expectation passes by not looking into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assay.contract import Contract
from assay.expect import ExpectError, validate_table
from assay.findings import Outcome


def contract(expectations: tuple[dict[str, Any], ...] = (), **column: Any) -> Contract:
    """A key and a vector of two components."""
    columns = {"id": {"type": "integer"}, "emb": {"type": "vector", "length": 2, **column}}
    body = {"schema": {"key": ["id"], "columns": columns}, "expectations": list(expectations)}
    return Contract.model_validate({"version": 1, "dataset": "things", **body})


def table(rows: list[Any]) -> pa.Table:
    """Rows numbered from 0."""
    return pa.table({"id": list(range(len(rows))), "emb": pa.array(rows, pa.list_(pa.float64()))})


def test_good_vectors_pass_and_bad_ones_fail_their_rows() -> None:
    """Length, bounds, gaps and nulls, each with the column's name."""
    assert validate_table(table([[0.0, 1.0], [0.5, 0.5]]), contract()).outcome is Outcome.PASSED
    rows = [[0.0, 1.0], [0.0], [0.0, 9.0], [None, 1.0], None, [1.0, 1.0]]
    result = validate_table(table(rows), contract(min=0, max=1))
    assert result.outcome is Outcome.FAILED
    assert np.flatnonzero(result.failing_mask()).tolist() == [1, 2, 3, 4]
    types = next(f for f in result.findings if f.check == "expect.types" and f.outcome is Outcome.FAILED)
    assert types.subject == "emb"
    assert "3 of 6 cells are no vector" in types.message


def test_a_nullable_vector_may_be_missing() -> None:
    """And is asked about as any column is."""
    asked = ({"type": "expect_column_values_to_not_be_null", "column": "emb", "mostly": 0.5},)
    assert validate_table(table([None, [0.0, 1.0]]), contract(asked, nullable=True)).outcome is Outcome.PASSED
    assert validate_table(table([None, None]), contract(asked, nullable=True)).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "expectation",
    [
        {"type": "expect_column_values_to_be_between", "column": "emb", "min_value": 0},
        {"type": "expect_column_mean_to_be_between", "column": "emb", "min_value": 0},
        {"type": "expect_column_pair_values_to_be_equal", "column_A": "emb", "column_B": "id"},
    ],
)
def test_an_expectation_that_cannot_look_into_vectors_is_refused(expectation: dict[str, Any]) -> None:
    """It would compare lists with numbers, or be silent."""
    with pytest.raises(ExpectError, match="does not look into vectors"):
        validate_table(table([[0.0, 1.0]]), contract((expectation,)))
