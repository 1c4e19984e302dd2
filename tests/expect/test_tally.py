"""Adding up answers on parts of a delivery."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.canonical import canonical_json
from assay.expect.engine import Answer
from assay.expect.plan import make_plan
from assay.expect.tally import RowSet, Tally, plain
from assay.findings import Outcome
from tests.expect.support import contract


def _tally(**arguments: float) -> Tally:
    asked = {"type": "expect_column_values_to_be_between", "column": "v", "min_value": 0, **arguments}
    return Tally(make_plan(contract({"v": {"type": "integer", "nullable": True}}, asked))[-1])


def _answer(elements: int, failing: list[int], missing: int = 0, raised: str | None = None) -> Answer:
    rows = np.array(failing, dtype=np.int64)
    return Answer(0, success=not failing, raised=raised, elements=elements, missing=missing, rows=rows)


@given(
    parts=st.lists(st.sets(st.integers(0, 400)), max_size=6),
    start=st.integers(0, 400),
    length=st.integers(1, 200),
    spread=st.sampled_from([1, 7, 1000]),
)
def test_a_row_set_holds_just_the_rows_put_into_it(
    parts: list[set[int]], start: int, length: int, spread: int
) -> None:
    """Dense or sparse, seen through any window."""
    rows = RowSet()
    seen: set[int] = set()
    for part in parts:
        new = sorted(row * spread for row in part - seen)
        rows.add(np.array(new, dtype=np.int64))
        seen |= part
    mask = np.zeros(length, dtype=bool)
    rows.mark(mask, start)
    assert {start + int(place) for place in np.flatnonzero(mask)} == {
        row * spread for row in seen if start <= row * spread < start + length
    }
    assert rows.count == len(seen)


def test_an_expectation_that_raised_on_one_part_is_not_checked_whatever_the_others_said() -> None:
    """Neither passed, because a part was not seen, nor failed, because nothing was said of the data."""
    for others in ([], [3]):
        tally = _tally()
        tally.add(_answer(10, others), np.array(others, dtype=np.int64), [])
        tally.add(_answer(0, [], raised="TypeError: no"), None, [])
        tally.add(_answer(10, []), np.array([], dtype=np.int64), [])
        finding = tally.finding()
        assert finding.outcome is Outcome.NOT_CHECKED
        assert "TypeError: no" in finding.message
        assert finding.evidence["raised"] == "TypeError: no"


def test_an_expectation_that_was_never_asked_is_not_checked() -> None:
    """Silence is no answer."""
    assert _tally().finding().outcome is Outcome.NOT_CHECKED


@pytest.mark.parametrize(("failing", "outcome"), [(1, Outcome.PASSED), (2, Outcome.FAILED)])
def test_mostly_counts_over_all_parts_and_over_rows_with_a_value(failing: int, outcome: Outcome) -> None:
    """One of ten rows with a value may fail at 0.9, however the rows are cut and however many nulls there are."""
    tally = _tally(mostly=0.9)
    rows = list(range(failing))
    tally.add(_answer(55, rows, missing=50), np.array(rows, dtype=np.int64), [])
    tally.add(_answer(55, [], missing=50), np.array([], dtype=np.int64), [])
    assert tally.outcome is outcome
    assert tally.fails_rows is (outcome is Outcome.FAILED)
    assert tally.percent == pytest.approx(10 * failing)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.dates()
        | st.binary(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.integers() | st.text(), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_evidence_is_always_json(value: object) -> None:
    """NaN, infinities, dates, bytes and NumPy's numbers included."""
    canonical_json(plain(value))
    canonical_json(plain(np.array([1.5, math.nan])))
    assert plain(np.float64(2.0)) == 2.0
    assert plain(dt.date(2026, 1, 2)) == "2026-01-02"


def test_evidence_is_bounded() -> None:
    """However long a set in a contract or a text in a cell is."""
    assert len(plain(list(range(10_000)))) == 50
    assert len(plain("y" * 10_000)) == 200
    assert len(canonical_json(plain({str(i): [list(range(99))] * 99 for i in range(99)}))) < 1_000_000
    nested: list[object] = []
    for _ in range(100):
        nested = [nested]
    assert len(canonical_json(plain(nested))) < 200
