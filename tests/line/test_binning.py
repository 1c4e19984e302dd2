"""Bins are chosen once, and whatever is counted in them is counted whole."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from assay.line.binning import MAX_BARS, Bins, choose, edges_for_people

DAY = dt.date(2026, 3, 1)
COLUMNS = {
    "whole": pa.array([1, 2, 2, 90, None]),
    "large": pa.array([1, 10**15, -(10**15), None]),
    "decimal": pa.array([0.5, float("nan"), float("inf"), 1e300, -1e300, None]),
    "same": pa.array([7.0] * 20),
    "huge and same": pa.array([1e18, 1e18]),
    "boolean": pa.array([True, False, None]),
    "words": pa.array(["a", "b", "a", None, "<script>"]),
    "nothing": pa.array([None, None], pa.string()),
    "no rows": pa.array([], pa.int64()),
    "days": pa.array([DAY, DAY + dt.timedelta(days=9), None]),
    "moments": pa.array(["2026-03-01T12:00:00", None]).cast(pa.timestamp("us")),
    "zoned": pa.array([dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC), None], pa.timestamp("ms", "UTC")),
    "vectors": pa.array([[1.0, 2.0], [3.0, 4.0], None], pa.list_(pa.float32())),
    "null type": pa.nulls(3),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_every_value_is_counted_once(name):
    """In a bin, as other, or as missing; NaN and infinities have no place on an axis and count as missing."""
    values = COLUMNS[name]
    bins = choose([values])
    said = bins.count(values)
    assert sum(said["counts"]) + said.get("other", 0) + said["nulls"] == len(values)
    assert Bins.from_dict(bins.as_dict()) == bins
    assert len(said["counts"]) == (
        len(bins.categories) if bins.kind == "bars" else max(0, len(bins.edges) - 1)
    )
    assert list(bins.edges) == sorted(set(bins.edges))


def test_rows_beyond_the_edges_count_in_the_outermost_bins():
    """A case's rows may be more extreme than what the bins were chosen from."""
    bins = choose([pa.array([1.0, 2.0, 3.0])])
    said = bins.count(pa.array([-100.0, 2.0, 900.0]))
    assert said["counts"][0] == 1
    assert said["counts"][-1] == 1


def test_an_outlier_does_not_squeeze_all_others_into_one_bin():
    """The core keeps its bins, the outermost ones reach to the extremes."""
    values = pa.array([float(i % 97) / 7 for i in range(5_000)] + [1e12])
    said = choose([values]).count(values)
    assert sum(count > 0 for count in said["counts"]) > 20


def test_categories_of_the_suspicious_rows_are_named_however_rare_they_are():
    """The common ones and the suspicious ones have bars; the rest is other."""
    batch = pa.array([f"common {i % 20}" for i in range(2_000)])
    bins = choose([batch, pa.array(["rare and bad"])])
    assert "rare and bad" in bins.categories
    assert len(bins.categories) <= MAX_BARS
    assert bins.count(batch)["other"] > 0


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([f"note number {i}" for i in range(500)]), False),
        (pa.array(["x" * 100] * 9), False),
        (pa.array(["a", "b"]), True),
    ],
)
def test_text_is_counted_by_its_length(values, text):
    """Where values are many or long, or the contract says that it is text."""
    bins = choose([values], text=text)
    assert bins.kind == "lengths"
    assert sum(bins.count(values)["counts"]) == len(values)


def test_days_and_moments_have_edges_that_people_read():
    """ISO 8601, and a word instead of a number where a moment is beyond the calendar."""
    edges = edges_for_people(choose([COLUMNS["days"]]))
    assert edges[0] == "2026-03-01"
    assert edges[-1] == "2026-03-10"
    assert edges_for_people(Bins("histogram", (0.0, 1e30), moment="date"))[1] == "1e+30"
