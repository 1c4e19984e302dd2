"""Columns to features: fitted on what it may see, the same at inference, and plain JSON in between."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest

from assay.train import PreprocessError, load_preprocessing
from assay.train.errors import PrepareError
from assay.train.setup.preprocess import CLIP, fit
from tests.train.helpers import contract

COLUMNS = {
    "age": {"type": "integer", "nullable": True},
    "income": {"type": "number"},
    "city": {"type": "string", "nullable": True},
    "member": {"type": "boolean", "nullable": True},
    "since": {"type": "date"},
    "seen": {"type": "timestamp"},
    "label": {"type": "string"},
}


def table() -> pa.Table:
    """Six rows with something missing of everything that may be."""
    return pa.table(
        {
            "age": pa.array([20, 30, None, 40, 50, 60]),
            "income": [1.0, 2.0, 3.0, 4.0, float("nan"), 6.0],
            "city": ["Rome", "Oslo", "Rome", None, "Bern", "Oslo"],
            "member": [True, False, None, True, False, True],
            "since": [dt.date(2020, 1, day) for day in range(1, 7)],
            "seen": pa.array([3_600_000 * hour for hour in range(6)], type=pa.timestamp("ms")),
            "label": ["a", "b", "a", "b", "a", "b"],
        }
    )


@pytest.fixture
def agreed():
    """The contract of `table`."""
    return contract(COLUMNS, classes=["a", "b"])


def test_features_have_names_and_stand_in_the_contracts_order(agreed):
    """One per number, one per known category, `other`, and `missing` where a value may be."""
    assert fit(table(), agreed).features == (
        "age",
        "age:missing",
        "income",
        "income:missing",
        "city=Bern",
        "city=Oslo",
        "city=Rome",
        "city:other",
        "city:missing",
        "member",
        "member:missing",
        "since",
        "seen",
    )


def test_numbers_are_standardised_and_missing_ones_become_the_median(agreed):
    """By the mean and deviation of the values that are there."""
    state = fit(table(), agreed)
    matrix = state.transform(table())
    ages = np.array([20, 30, 40, 50, 60])
    np.testing.assert_allclose(
        matrix[[0, 1, 3, 4, 5], 0], (ages - ages.mean()) / ages.std(), rtol=1e-6, atol=1e-7
    )
    assert matrix[2, 0] == pytest.approx((np.median(ages) - ages.mean()) / ages.std())
    np.testing.assert_array_equal(matrix[:, 1], [0, 0, 1, 0, 0, 0])
    np.testing.assert_array_equal(matrix[:, 3], [0, 0, 0, 0, 1, 0])


def test_categories_are_one_hot_and_each_row_has_exactly_one(agreed):
    """Known, other or missing."""
    state = fit(table(), agreed)
    strange = table().set_column(2, "city", pa.array(["Rome", "Paris", None, "Oslo", "Bern", "rome"]))
    np.testing.assert_array_equal(
        state.transform(strange)[:, 4:9],
        [
            [0, 0, 1, 0, 0],
            [0, 0, 0, 1, 0],
            [0, 0, 0, 0, 1],
            [0, 1, 0, 0, 0],
            [1, 0, 0, 0, 0],
            [0, 0, 0, 1, 0],
        ],
    )


def test_dates_and_times_are_numbers_in_their_own_order(agreed):
    """Equal steps in time are equal steps in the feature."""
    matrix = fit(table(), agreed).transform(table())
    for column in (11, 12):
        steps = np.diff(matrix[:, column])
        assert (steps > 0).all()
        np.testing.assert_allclose(steps, steps[0], rtol=1e-5)


def test_the_state_survives_json_and_gives_the_same_matrix(agreed):
    """What stands in spec.json is all that inference needs."""
    state = fit(table(), agreed)
    again = load_preprocessing(json.loads(json.dumps(state.model_dump(mode="json"))))
    assert again == state
    np.testing.assert_array_equal(again.transform(table()), state.transform(table()))


def test_batches_of_rows_give_the_rows_of_the_whole(agreed):
    """Nothing is fitted at transform time; record batches and other column orders are fine."""
    state = fit(table(), agreed)
    whole = state.transform(table())
    parts = [
        state.transform(batch)
        for batch in table().select(table().column_names[::-1]).to_batches(max_chunksize=2)
    ]
    np.testing.assert_array_equal(np.vstack(parts), whole)
    assert whole.dtype == np.float32
    assert whole.flags.c_contiguous


def test_columns_may_come_in_other_types_of_the_same_meaning(agreed):
    """Dictionary strings, 32-bit integers, integers for numbers."""
    state = fit(table(), agreed)
    other = (
        table()
        .set_column(0, "age", table()["age"].cast(pa.int16()))
        .set_column(2, "city", table()["city"].combine_chunks().dictionary_encode())
        .set_column(5, "seen", table()["seen"].cast(pa.timestamp("us")))
    )
    np.testing.assert_array_equal(state.transform(other), state.transform(table()))


def test_infinite_and_huge_numbers_give_a_finite_matrix(agreed):
    """An infinity counts as missing; a huge number is held at the edge."""
    state = fit(table(), agreed)
    wild = table().set_column(1, "income", pa.array([np.inf, -np.inf, 1e300, -1e300, 1.0, None]))
    matrix = state.transform(wild)
    assert np.isfinite(matrix).all()
    np.testing.assert_array_equal(matrix[:, 3], [1, 1, 0, 0, 0, 1])
    assert matrix[2, 2] == pytest.approx(CLIP)
    assert matrix[3, 2] == pytest.approx(-CLIP)


def test_a_constant_and_an_empty_column_do_not_divide_by_zero(agreed):
    """Both become zeros."""
    flat = table().set_column(1, "income", pa.array([7.0] * 6)).set_column(0, "age", pa.nulls(6, pa.int64()))
    matrix = fit(flat, agreed).transform(flat)
    assert not matrix[:, 0].any()
    assert (matrix[:, 1] == 1).all()
    assert not matrix[:, 2].any()


def test_rare_categories_share_other_beyond_the_cap(agreed):
    """The most frequent keep features of their own; ties go by name."""
    many = pa.table({**{n: table()[n] for n in table().column_names}, "city": ["b", "a", "b", "c", "d", "a"]})
    state = fit(many, agreed, max_categories=3)
    assert state.columns[2].values == ("a", "b", "c")
    assert state.transform(many)[4, 7] == 1


def test_a_missing_column_is_named(agreed):
    """At inference, and at fitting."""
    state = fit(table(), agreed)
    with pytest.raises(PreprocessError, match="without city, seen"):
        state.transform(table().drop_columns(["city", "seen"]))
    with pytest.raises(PrepareError, match="'seen'"):
        fit(table().drop_columns(["seen"]), agreed)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("income", pa.array(["much"] * 6)),
        ("since", pa.array([[1]] * 6)),
        ("city", pa.array([{"a": 1}] * 6)),
        ("member", pa.array(["perhaps"] * 6)),
    ],
)
def test_a_column_of_the_wrong_kind_is_named(agreed, column, values):
    """With what was found there."""
    state = fit(table(), agreed)
    wrong = table().set_column(table().column_names.index(column), column, values)
    with pytest.raises(PreprocessError, match=f"column '{column}' cannot be read"):
        state.transform(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "assay-preprocessing/2"},
        {"columns": []},
        {"columns": [{"name": "a", "kind": "pickle"}]},
        {"columns": [{"name": "a", "kind": "number", "scale": 0.0}]},
        {"columns": [{"name": "a", "kind": "number", "mean": float("nan")}]},
        {"run": "code"},
    ],
)
def test_a_state_that_is_not_one_is_refused(agreed, change):
    """Unknown formats, kinds and keys, and numbers that would poison the matrix."""
    state = fit(table(), agreed).model_dump(mode="json") | change
    with pytest.raises(PreprocessError, match="cannot be used"):
        load_preprocessing(state)


def test_a_contract_without_features_cannot_be_fitted():
    """Key and label alone are nothing to learn from."""
    empty = contract({"id": {"type": "integer"}, "label": {"type": "string"}}, classes=["a", "b"], key=["id"])
    with pytest.raises(PrepareError, match="no column to learn from"):
        fit(pa.table({"id": [1], "label": ["a"]}), empty)
