"""Answers of Great Expectations, told apart: holds, does not hold, could not be evaluated."""

from __future__ import annotations

import datetime as dt
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from assay.expect.engine import Answer, Engine, load
from assay.expect.frames import to_frame
from assay.expect.plan import make_plan
from assay.findings import Outcome
from tests.expect.support import contract


@pytest.fixture(scope="module", autouse=True)
def plugins() -> Iterator[None]:
    """Two expectations as a plugin might bring them: one raises where nobody expects it, one is of two minds."""
    load()
    from great_expectations.expectations import registry
    from great_expectations.expectations.expectation import ColumnMapExpectation

    class ExpectColumnValuesToSulk(ColumnMapExpectation):
        map_metric = "column_values.nonnull"

        def get_validation_dependencies(self, *given: Any, **more: Any) -> Any:
            raise RuntimeError("no mood for it\nat all")

    class ExpectColumnValuesToWaver(ColumnMapExpectation):
        map_metric = "column_values.nonnull"

        def _validate(self, *given: Any, **more: Any) -> Any:
            return {"success": False, "result": {"element_count": 3, "unexpected_count": 0}}

    yield
    for name in ("expect_column_values_to_sulk", "expect_column_values_to_waver"):
        registry._registered_expectations.pop(name, None)


def _ask(table: pa.Table, *expectations: dict[str, Any], start: int = 0) -> list[Answer]:
    plan = make_plan(contract({"v": {"type": "integer", "nullable": True}}, *expectations))
    return list(Engine(plan).ask(to_frame(table, range(start, start + table.num_rows)), plan))


def test_one_expectation_that_breaks_the_run_does_not_silence_the_others() -> None:
    """Those beside it are asked again on their own; it is not checked, with what it said."""
    between = {"type": "expect_column_values_to_be_between", "column": "v", "max_value": 2}
    sulk = {"type": "expect_column_values_to_sulk", "column": "v"}
    answers = _ask(pa.table({"v": [1, 2, 3]}), between, sulk, between, start=100)
    assert [answer.raised for answer in answers] == [None, "RuntimeError: no mood for it", None]
    assert [answer.index for answer in answers] == [0, 1, 2]
    for answer in (answers[0], answers[2]):
        assert answer.rows is not None
        assert answer.rows.tolist() == [102]


def test_an_answer_that_fails_and_names_no_row_is_not_checked() -> None:
    """Its rows could not be quarantined, so it must not look as if there were none."""
    (answer,) = _ask(pa.table({"v": [1, 2, 3]}), {"type": "expect_column_values_to_waver", "column": "v"})
    assert answer.raised == "it counts 0 failing rows, and names 0"


def test_a_frame_is_let_go_as_soon_as_it_was_asked() -> None:
    """Memory stays flat over chunks without waiting for the garbage collector."""
    plan = make_plan(contract({"v": {"type": "integer", "min": 0}}))
    engine = Engine(plan)
    gc.collect()
    gc.disable()
    try:
        before = pa.total_allocated_bytes()
        for _ in range(4):
            frame = to_frame(
                pa.table({"v": pa.array(np.zeros(200_000, np.int64)).take(pa.array(range(200_000)))}),
                range(200_000),
            )
            assert all(answer.success for answer in engine.ask(frame, plan))
            del frame
        assert pa.total_allocated_bytes() - before < 2 * 1_600_000
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pa.array([1, 2]), "int64"),
        (pa.array([1, None]), "float64"),
        (pa.array([2**53 + 1, None]), "Int64"),
        (pa.array([1.5, None]), "float64"),
        (pa.array(["a", None]), "str"),
        (pa.array([True, False]), "bool"),
        (pa.array([0, 1], pa.date32()), "datetime64[ns]"),
        (pa.array([0, 2_932_896], pa.date32()), "datetime64[us]"),
        (pa.array([None, None], pa.date32()), "datetime64[ns]"),
        (pa.array([0, None], pa.timestamp("us", "UTC")), "datetime64[us, UTC]"),
    ],
)
def test_values_reach_pandas_without_loss(values: pa.Array, dtype: str) -> None:
    """A large integer beside a null stays an integer; a late day stays itself."""
    frame = to_frame(pa.table({"a": ["x", "y"], "v": values}), np.array([7, 9]))
    assert str(frame["v"].dtype) == dtype
    assert list(frame.columns) == ["a", "v"]
    assert list(frame.index) == [7, 9]
    for value, wanted in zip(frame["v"].astype(object), values.to_pylist(), strict=True):
        if wanted is None:
            assert pd.isna(value)
        elif isinstance(wanted, dt.date):
            assert (value.year, value.month, value.day) == (wanted.year, wanted.month, wanted.day)
        else:
            assert value == wanted


def test_findings_of_a_plugin_are_findings_like_others() -> None:
    """Through the whole way: what raised holds nothing and fails nothing."""
    from assay.expect import validate_table

    of = contract({"v": "integer"}, {"type": "expect_column_values_to_sulk", "column": "v"})
    result = validate_table(pa.table({"v": [1]}), of)
    assert [finding.outcome for finding in result.findings][-1] is Outcome.NOT_CHECKED
    assert result.outcome is Outcome.NOT_CHECKED
