"""Validation of deliveries: each kind of expectation fires where it must and stays quiet where it must."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.canonical import canonical_json
from assay.errors import UsageError
from assay.expect import ExpectError, FileRows, Validation, validate_files, validate_table
from assay.expect import result as result_module
from assay.expect import spool as spool_module
from assay.expect import validate as validate_module
from assay.findings import Outcome, Scope
from assay.intake.tables import ReadError
from tests.expect.support import contract, only, reasons

DAY = dt.date(2026, 1, 15)
NOON = dt.datetime(2026, 1, 15, 12, tzinfo=dt.UTC)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few rows and partitions of a few keys, so that small tables cross every boundary."""
    monkeypatch.setattr(validate_module, "_CHUNK", (7, 7))
    monkeypatch.setattr(spool_module, "_PARTITION_ROWS", 5)


def one(column: Any, values: list[Any], *expectations: dict[str, Any], **schema: Any) -> Validation:
    """A table of one column `v`, validated."""
    of = contract({"v": column}, *expectations, **schema)
    types = {"integer": pa.int64(), "number": pa.float64(), "string": pa.string(), "boolean": pa.bool_(),
             "date": pa.date32(), "timestamp": pa.timestamp("us", "UTC")}  # fmt: skip
    return validate_table(pa.table({"v": pa.array(values, types[of.schema_.columns["v"].type])}), of)


# ------------------------------------------------------------------------------------- expectations from the schema
@pytest.mark.parametrize(
    ("column", "good", "bad", "check", "reason"),
    [
        ("integer", [1, 2], None, "column_values_to_not_be_null", "v: null"),
        ({"type": "integer", "min": 1, "max": 3}, [1, 3], 4, "column_values_to_be_between", "v: not between 1 and 3"),
        ({"type": "integer", "min": 1, "nullable": True}, [None, 1], 0, "column_values_to_be_between", "v: below 1"),
        ({"type": "number", "max": 1.5}, [-9.0, 1.5], 1.51, "column_values_to_be_between", "v: above 1.5"),
        (
            {"type": "date", "min": DAY, "max": DAY},
            [DAY],
            dt.date(2026, 1, 16),
            "column_values_to_be_between",
            "v: not between 2026-01-15 and 2026-01-15",
        ),
        ({"type": "date", "min": DAY}, [DAY], dt.date(1500, 1, 1), "column_values_to_be_between", None),
        ({"type": "date", "max": DAY}, [DAY], dt.date(9999, 1, 1), "column_values_to_be_between", None),
        (
            {"type": "timestamp", "max": DAY},
            [NOON, dt.datetime(2026, 1, 15, 23, 59, 59, 999_999, dt.UTC)],
            dt.datetime(2026, 1, 16, tzinfo=dt.UTC),
            "column_values_to_be_between",
            None,
        ),
        ({"type": "timestamp", "min": NOON}, [NOON], NOON - dt.timedelta(microseconds=1), "column_values_to_be_between",
         None),
        (
            {"type": "string", "allowed": ["a", "b"]},
            ["a", "b"],
            "B",
            "column_values_to_be_in_set",
            "v: not one of the allowed values",
        ),
        ({"type": "integer", "allowed": [1, 2], "nullable": True}, [1, 2, None], 3, "column_values_to_be_in_set", None),
        ({"type": "number", "allowed": [1, 2.5]}, [1.0, 2.5], 2.0, "column_values_to_be_in_set", None),
        ({"type": "boolean", "allowed": [True], "nullable": True}, [True, None], False, "column_values_to_be_in_set",
         None),
        ({"type": "date", "allowed": ["2026-01-15"]}, [DAY], dt.date(2026, 1, 16), "column_values_to_be_in_set", None),
        ({"type": "timestamp", "allowed": ["2026-01-15T12:00:00Z"]}, [NOON], NOON + dt.timedelta(seconds=1),
         "column_values_to_be_in_set", None),
        ({"type": "string", "pattern": "[a-z]+"}, ["abc"], "abc1", "column_values_to_match_regex",
         "v: does not match the pattern"),
        ({"type": "string", "pattern": "[a-z]+"}, ["abc"], "abc\n", "column_values_to_match_regex", None),
        ({"type": "string", "pattern": "a|b"}, ["a", "b"], "ab", "column_values_to_match_regex", None),
        ({"type": "string", "pattern": "(?=a).{2}"}, ["ab"], "ba", "column_values_to_match_regex", None),
        ({"type": "string", "pattern": r"(.)\1"}, ["aa"], "ab", "column_values_to_match_regex", None),
        ({"type": "string", "max_length": 2}, ["é2", ""], "abc", "column_value_lengths_to_be_between",
         "v: longer than 2 characters"),
    ],
)  # fmt: skip
def test_each_part_of_the_schema_fires_on_the_row_that_breaks_it_and_on_no_other(
    column: Any, good: list[Any], bad: Any, check: str, reason: str | None
) -> None:
    """Bounds are inclusive, patterns match in full, nulls are no other fault."""
    quiet = one(column, good)
    assert only(quiet, check).outcome is Outcome.PASSED
    assert quiet.outcome is Outcome.PASSED
    assert quiet.failing_rows.num_rows == quiet.failing_count == 0
    fired = one(column, [*good, bad, *good])
    finding = only(fired, check)
    assert finding.outcome is fired.outcome is Outcome.FAILED
    assert fired.table_outcome is Outcome.PASSED
    assert (finding.scope, finding.subject, finding.evidence["level"]) == (Scope.COLUMN, "v", "row")
    assert finding.evidence["unexpected_count"] == 1
    assert [example["row"] for example in finding.evidence["examples"]] == [len(good)]
    assert list(reasons(fired)) == [len(good)]
    if reason:
        assert reasons(fired) == {len(good): [reason]}


def test_classes_of_the_label_are_the_only_values_it_may_have() -> None:
    """Though the column itself lists none."""
    label = {"column": "v", "classes": ["no", "yes"]}
    assert one("string", ["no", "yes"], label=label).outcome is Outcome.PASSED
    assert reasons(one("string", ["no", "maybe"], label=label)) == {1: ["v: not one of the classes"]}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("rows", [2, 8])
def test_a_key_is_unique_through_all_shards_of_a_delivery(tmp_path: Path, rows: int) -> None:
    """Every row of a double key is named, in whichever file and chunk it stands."""
    of = contract({"id": "string", "n": "integer"}, key=["id"])
    paths = []
    for shard in range(3):
        path = tmp_path / f"{shard}.parquet"
        ids = [f"{shard}-{row}" for row in range(rows)]
        ids[-1] = "twice" if shard != 1 else ids[-1]
        pq.write_table(pa.table({"id": ids, "n": range(rows)}), path)
        paths.append(path)
    result = validate_files(paths, of)
    assert reasons(result) == {
        rows - 1: ["id: the key stands more than once"],
        3 * rows - 1: ["id: the key stands more than once"],
    }
    finding = only(result, "column_values_to_be_unique")
    assert finding.evidence["rows"] == 3 * rows
    assert finding.evidence["examples"][0] == {"row": rows - 1, "value": "twice"}
    assert result.files == tuple(FileRows(f"{n}.parquet", n * rows, rows) for n in range(3))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", [2**62, 2**62 + 1, 5, 2**62]),
        ("number", [0.5, 1.5, 2.5, 0.5]),
        ("string", ["a", "", "A", "a"]),
        ("date", [dt.date(1, 1, 1), DAY, dt.date(9999, 12, 31), dt.date(1, 1, 1)]),
        ("timestamp", [NOON, NOON + dt.timedelta(microseconds=1), NOON.replace(year=9999), NOON]),
    ],
)
def test_uniqueness_is_exact_for_every_type_and_nulls_are_no_doubles(kind: str, values: list[Any]) -> None:
    """Neighbouring large integers are two values; a column may be unique and nullable."""
    result = one({"type": kind, "unique": True, "nullable": True}, [*values, None, None] * 1 + [None] * 20)
    assert list(reasons(result)) == [0, 3]


@pytest.mark.usefixtures("small_chunks")
def test_a_compound_key_is_compared_as_a_whole() -> None:
    """The same value in one of its columns is no double."""
    of = contract({"a": "integer", "b": "timestamp", "c": "string"}, key=["a", "b"])
    count = 30
    a, b = [i % 5 for i in range(count)], [NOON + dt.timedelta(hours=i // 5) for i in range(count)]
    a[29], b[29] = a[3], b[3]
    result = validate_table(
        pa.table({"a": a, "b": pa.array(b, pa.timestamp("us", "UTC")), "c": ["x"] * count}), of
    )
    assert reasons(result) == {row: ["a, b: the key stands more than once"] for row in (3, 29)}
    example = only(result, "compound_columns_to_be_unique").evidence["examples"][0]
    assert example == {"row": 3, "value": {"a": 3, "b": NOON.isoformat()}}


# ----------------------------------------------------------------------------------------- expectations verbatim
TABLE = pa.table(
    {
        "i": pa.array([1, 2, 3, 4, None, 6], pa.int64()),
        "j": [2, 3, 4, 5, 6, 7],
        "x": [0.5, 1.5, 2.5, 3.5, 4.5, 5.5],
        "s": ["a", "bb", "a", None, "bb", "a"],
        "d": pa.array([DAY + dt.timedelta(days=i) for i in range(6)]),
        "t": pa.array([NOON + dt.timedelta(hours=i) for i in range(6)], pa.timestamp("us", "UTC")),
        "k": ['{"n": 1}', '{"n": 2}', "{}", "[]", "1", "null"],
        "c": [1] * 6,
    }
)
OF_TABLE = {
    "i": {"type": "integer", "nullable": True},
    "j": "integer",
    "x": "number",
    "s": {"type": "string", "nullable": True},
    "d": "date",
    "t": "timestamp",
    "k": "string",
    "c": "integer",
}
Args = dict[str, Any]

ROW_LEVEL: list[tuple[str, Args, Args, list[int]]] = [
    ("column_values_to_be_between", {"column": "i", "max_value": 6}, {"column": "i", "max_value": 3}, [3, 5]),
    ("column_values_to_be_between", {"column": "d", "min_value": "2026-01-15"},
     {"column": "d", "min_value": "2026-01-17"}, [0, 1]),
    ("column_values_to_be_between", {"column": "t", "max_value": "2026-01-15T17:00:00Z"},
     {"column": "t", "max_value": "2026-01-15T16:59:59Z"}, [5]),
    ("column_values_to_be_in_set", {"column": "s", "value_set": ["a", "bb"]},
     {"column": "s", "value_set": ["a"]}, [1, 4]),
    ("column_values_to_be_in_set", {"column": "d", "value_set": [f"2026-01-{day}" for day in range(15, 21)]},
     {"column": "d", "value_set": [f"2026-01-{day}" for day in range(15, 20)]}, [5]),
    ("column_values_to_not_be_in_set", {"column": "s", "value_set": ["z"]},
     {"column": "s", "value_set": ["a"]}, [0, 2, 5]),
    ("column_values_to_not_be_null", {"column": "j"}, {"column": "s"}, [3]),
    ("column_values_to_be_null", {"column": "i", "mostly": 0.1}, {"column": "i"}, [0, 1, 2, 3, 5]),
    ("column_values_to_match_regex", {"column": "s", "regex": "^[ab]+$"}, {"column": "s", "regex": "^a"}, [1, 4]),
    ("column_values_to_not_match_regex", {"column": "s", "regex": "z"}, {"column": "s", "regex": "b"}, [1, 4]),
    ("column_values_to_match_regex_list", {"column": "s", "regex_list": ["a", "b"]},
     {"column": "s", "regex_list": ["a", "c"]}, [1, 4]),
    ("column_values_to_not_match_regex_list", {"column": "s", "regex_list": ["y", "z"]},
     {"column": "s", "regex_list": ["b", "z"]}, [1, 4]),
    ("column_value_lengths_to_be_between", {"column": "s", "max_value": 2}, {"column": "s", "min_value": 2}, [0, 2, 5]),
    ("column_value_lengths_to_equal", {"column": "s", "value": 1, "mostly": 0.5},
     {"column": "s", "value": 2}, [0, 2, 5]),
    ("column_values_to_be_json_parseable", {"column": "k"}, {"column": "s"}, [0, 1, 2, 4, 5]),
    ("column_values_to_match_json_schema", {"column": "k", "json_schema": {}},
     {"column": "k", "json_schema": {"type": "object"}}, [3, 4, 5]),
    ("column_values_to_be_dateutil_parseable", {"column": "s", "mostly": 0}, {"column": "k"}, [0, 1, 2, 3, 5]),
    ("column_values_to_match_strftime_format", {"column": "s", "strftime_format": "%Y", "mostly": 0},
     {"column": "s", "strftime_format": "%Y"}, [0, 1, 2, 4, 5]),
    ("column_pair_values_a_to_be_greater_than_b", {"column_A": "j", "column_B": "x"},
     {"column_A": "x", "column_B": "j"}, [0, 1, 2, 3, 4, 5]),
    ("column_pair_values_to_be_equal", {"column_A": "j", "column_B": "j"},
     {"column_A": "i", "column_B": "j", "ignore_row_if": "either_value_is_missing"}, [0, 1, 2, 3, 5]),
    ("column_pair_values_to_be_in_set", {"column_A": "j", "column_B": "s", "value_pairs_set": [], "mostly": 0},
     {"column_A": "j", "column_B": "s", "value_pairs_set": [(2, "a"), (3, "bb"), (4, "a")],
      "ignore_row_if": "either_value_is_missing"}, [4, 5]),
    ("multicolumn_sum_to_equal", {"column_list": ["j", "x"], "sum_total": 2.5, "mostly": 0.1},
     {"column_list": ["j", "x"], "sum_total": 2.5}, [1, 2, 3, 4, 5]),
    ("multicolumn_values_to_be_equal", {"column_list": ["j", "j"]}, {"column_list": ["j", "x"]}, [0, 1, 2, 3, 4, 5]),
    ("select_column_values_to_be_unique_within_record", {"column_list": ["j", "x"]},
     {"column_list": ["j", "j"]}, [0, 1, 2, 3, 4, 5]),
    ("column_values_to_be_unique", {"column": "j"}, {"column": "s"}, [0, 1, 2, 4, 5]),
    ("column_values_to_be_unique", {"column": "s", "row_condition": "j < 4", "condition_parser": "pandas"},
     {"column": "s", "row_condition": "j < 5", "condition_parser": "pandas"}, [0, 2]),
    ("compound_columns_to_be_unique", {"column_list": ["j", "s"]},
     {"column_list": ["s", "c"], "ignore_row_if": "any_value_is_missing"}, [0, 1, 2, 4, 5]),
    ("column_value_z_scores_to_be_less_than", {"column": "x", "threshold": 2, "double_sided": True},
     {"column": "x", "threshold": 1, "double_sided": False}, [5]),
]  # fmt: skip

TABLE_LEVEL: list[tuple[str, Args, Args]] = [
    ("column_mean_to_be_between", {"column": "x", "min_value": 3, "max_value": 3}, {"column": "x", "min_value": 3.1}),
    ("column_median_to_be_between", {"column": "j", "max_value": 4.5}, {"column": "j", "max_value": 4}),
    ("column_stdev_to_be_between", {"column": "x", "min_value": 1.8, "max_value": 1.9},
     {"column": "x", "max_value": 1}),
    ("column_sum_to_be_between", {"column": "i", "max_value": 16, "min_value": 16}, {"column": "i", "max_value": 15}),
    ("column_min_to_be_between", {"column": "x", "min_value": 0.5}, {"column": "x", "min_value": 0.6}),
    ("column_max_to_be_between", {"column": "d", "max_value": "2026-01-20"},
     {"column": "d", "max_value": "2026-01-19"}),
    ("column_max_to_be_between", {"column": "t", "max_value": "2026-01-16"},
     {"column": "t", "max_value": "2026-01-15"}),
    ("column_quantile_values_to_be_between",
     {"column": "x", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[2, 4]]}},
     {"column": "x", "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[4, 5]]}}),
    ("column_distinct_values_to_be_in_set", {"column": "s", "value_set": ["a", "bb", "c"]},
     {"column": "s", "value_set": ["a"]}),
    ("column_distinct_values_to_equal_set", {"column": "s", "value_set": ["a", "bb"]},
     {"column": "s", "value_set": ["a", "bb", "c"]}),
    ("column_distinct_values_to_contain_set", {"column": "s", "value_set": ["a"]}, {"column": "s", "value_set": ["c"]}),
    ("column_most_common_value_to_be_in_set", {"column": "s", "value_set": ["a"]},
     {"column": "s", "value_set": ["bb"]}),
    ("column_unique_value_count_to_be_between", {"column": "s", "max_value": 2}, {"column": "s", "max_value": 1}),
    ("column_proportion_of_unique_values_to_be_between", {"column": "j", "min_value": 1},
     {"column": "s", "min_value": 1}),
    ("column_proportion_of_non_null_values_to_be_between", {"column": "i", "max_value": 0.9},
     {"column": "i", "min_value": 0.9}),
    ("column_kl_divergence_to_be_less_than",
     {"column": "s", "partition_object": {"values": ["a", "bb"], "weights": [0.6, 0.4]}, "threshold": 0.01},
     {"column": "s", "partition_object": {"values": ["a", "bb"], "weights": [0.1, 0.9]}, "threshold": 0.01}),
    ("column_to_exist", {"column": "s"}, {"column": "s", "column_index": 1}),
    ("table_row_count_to_be_between", {"min_value": 6}, {"min_value": 7}),
    ("table_row_count_to_equal", {"value": 6}, {"value": 5}),
    ("table_column_count_to_equal", {"value": 8}, {"value": 6}),
    ("table_column_count_to_be_between", {"max_value": 8}, {"max_value": 6}),
    ("table_columns_to_match_set", {"column_set": list("ijxsdtkc")}, {"column_set": ["i"]}),
    ("table_columns_to_match_ordered_list", {"column_list": list("ijxsdtkc")}, {"column_list": list("jixsdtkc")}),
]  # fmt: skip


def _asked(*checks: tuple[str, Args]) -> Any:
    """A contract that states these expectations."""
    return contract(OF_TABLE, *({"type": f"expect_{check}", **arguments} for check, arguments in checks))


@pytest.fixture(scope="module", params=["one chunk", "many chunks"])
def verbatim(request: pytest.FixtureRequest) -> dict[tuple[str, str], Any]:
    """All verbatim expectations, good and bad, asked of the same table: in one chunk, or cut after every second row."""
    patch = pytest.MonkeyPatch()
    if request.param == "many chunks":
        patch.setattr(validate_module, "_CHUNK", (2, 2))
        patch.setattr(spool_module, "_PARTITION_ROWS", 2)
    answers: dict[tuple[str, str], Any] = {}
    everything = [*((check, good, bad) for check, good, bad, _ in ROW_LEVEL), *TABLE_LEVEL]
    checks = [(check, arguments) for check, good, bad in everything for arguments in (good, bad)]
    try:
        result = validate_table(TABLE, _asked(*checks))
    finally:
        patch.undo()
    stated = [finding for finding in result.findings if finding.evidence["where"].startswith("expectations[")]
    for (check, arguments), finding in zip(checks, stated, strict=True):
        answers[check, repr(arguments)] = finding
    return answers


@pytest.mark.parametrize(
    ("check", "good", "bad", "rows"), ROW_LEVEL, ids=[f"{c[0]}-{i}" for i, c in enumerate(ROW_LEVEL)]
)
def test_each_row_level_expectation_fires_and_does_not_fire(
    verbatim: dict[tuple[str, str], Any], check: str, good: Args, bad: Args, rows: list[int]
) -> None:
    """With the rows that it names, through chunks as well as at once."""
    quiet, fired = verbatim[check, repr(good)], verbatim[check, repr(bad)]
    assert quiet.outcome is Outcome.PASSED, quiet.message
    assert fired.outcome is Outcome.FAILED, fired.message
    assert fired.evidence["level"] == "row"
    assert fired.evidence["unexpected_count"] == len(rows)
    assert [example["row"] for example in fired.evidence["examples"]] == rows[:5]


@pytest.mark.parametrize(
    ("check", "good", "bad"), TABLE_LEVEL, ids=[f"{c[0]}-{i}" for i, c in enumerate(TABLE_LEVEL)]
)
def test_each_table_level_expectation_fires_and_does_not_fire(
    verbatim: dict[tuple[str, str], Any], check: str, good: Args, bad: Args
) -> None:
    """On the whole delivery, never on a chunk of it."""
    quiet, fired = verbatim[check, repr(good)], verbatim[check, repr(bad)]
    assert quiet.outcome is Outcome.PASSED, quiet.message
    assert fired.outcome is Outcome.FAILED, fired.message
    assert fired.evidence["level"] == quiet.evidence["level"] == "table"


def test_a_failed_table_level_expectation_is_not_answered_by_leaving_rows_out() -> None:
    """It fails the delivery, and no row."""
    result = validate_table(TABLE, _asked(("column_mean_to_be_between", {"column": "x", "min_value": 9})))
    assert result.outcome is result.table_outcome is Outcome.FAILED
    assert result.failing_count == 0
    assert only(result, "column_mean_to_be_between").evidence["observed"] == 3.0


def test_mostly_lets_a_share_of_rows_fail_and_then_names_none() -> None:
    """What the contract allows is no reason to hold a row; one row more, and all that fail are named."""
    asked = {"type": "expect_column_values_to_be_between", "column": "v", "min_value": 0, "mostly": 0.75}
    allowed = one("integer", [1, 2, 3, -1], asked)
    assert allowed.outcome is Outcome.PASSED
    assert only(allowed, "column_values_to_be_between").evidence["unexpected_count"] == 1
    assert reasons(allowed) == {}
    assert list(reasons(one("integer", [1, 2, -3, -1], asked))) == [2, 3]


# --------------------------------------------------------------------------------------------------- silent passes
@pytest.mark.parametrize("chunk", [(7, 7), (100, 100)])
def test_an_expectation_that_raised_is_not_checked_and_is_no_verdict_on_the_data(
    monkeypatch: pytest.MonkeyPatch, chunk: tuple[int, int]
) -> None:
    """A mean of text, a bound on times in numbers, SQL on a table in memory: the check is broken, not the delivery."""
    monkeypatch.setattr(validate_module, "_CHUNK", chunk)
    of = contract(
        {"s": "string", "t": "timestamp", "n": "integer"},
        {"type": "expect_column_mean_to_be_between", "column": "s", "min_value": 0},
        {"type": "expect_column_values_to_be_between", "column": "t", "min_value": 5},
        {"type": "expect_table_row_count_to_equal_other_table", "other_table_name": "elsewhere"},
        {"type": "expect_column_values_to_be_between", "column": "n", "min_value": {"$PARAMETER": "lowest"}},
        {"type": "expect_column_values_to_match_regex", "column": "s", "regex": "("},
        {"type": "expect_column_values_to_match_like_pattern", "column": "s", "like_pattern": "x%"},
        {"type": "expect_column_values_to_be_between", "column": "n", "min_value": 0},
    )
    count = 20
    times = pa.array([NOON] * count, pa.timestamp("us", "UTC"))
    result = validate_table(pa.table({"s": ["x"] * count, "t": times, "n": range(count)}), of)
    broken = [finding for finding in result.findings if finding.evidence["where"].startswith("expectations[")]
    assert [finding.outcome for finding in broken] == [Outcome.NOT_CHECKED] * 6 + [Outcome.PASSED]
    assert all("could not be evaluated: " in finding.message for finding in broken[:6])
    assert all(finding.evidence["raised"] for finding in broken[:6])
    assert result.outcome is result.table_outcome is Outcome.NOT_CHECKED
    assert result.failing_count == 0


@pytest.mark.usefixtures("small_chunks")
def test_an_expectation_that_raises_on_one_chunk_alone_has_not_been_checked(tmp_path: Path) -> None:
    """Whatever the other chunks said; rows that are known to fail are named all the same."""
    days = [DAY] * 30
    days[20] = dt.date(9999, 1, 1)  # beyond what nanoseconds count: compared with text, it raises
    asked = {"type": "expect_column_pair_values_a_to_be_greater_than_b", "column_A": "v", "column_B": "w"}
    of = contract(
        {"v": "date", "w": {"type": "string", "nullable": True}},
        asked | {"ignore_row_if": "either_value_is_missing"},
    )
    texts = [None] * 30
    texts[20] = "text"
    result = validate_table(pa.table({"v": days, "w": pa.array(texts, pa.string())}), of)
    assert only(result, "column_pair_values_a_to_be_greater_than_b").outcome is Outcome.NOT_CHECKED


def test_an_expectation_that_needs_more_than_may_be_held_is_not_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rather than take all memory, or be asked of a part."""
    monkeypatch.setattr(validate_module, "_CHUNK", (7, 7))
    monkeypatch.setattr(validate_module, "_WHOLE_BYTES", 100)
    asked = {"type": "expect_column_median_to_be_between", "column": "v", "min_value": 0}
    finding = only(one("integer", list(range(50)), asked), "column_median_to_be_between")
    assert finding.outcome is Outcome.NOT_CHECKED
    assert "at once: 400 bytes" in finding.message


def test_a_wrong_expectation_is_found_before_any_data_is_read(tmp_path: Path) -> None:
    """The contract's fault comes before the delivery's."""
    of = contract({"v": "integer"}, {"type": "expect_column_values_to_be_odd", "column": "v"})
    with pytest.raises(ExpectError, match="no expectation of this name"):
        validate_files([tmp_path / "missing.parquet"], of)


def test_a_delivery_without_tables_does_not_pass() -> None:
    """Expectations hold for all rows of nothing, which proves nothing."""
    with pytest.raises(UsageError, match="no table to validate"):
        validate_files([], contract({"v": "integer"}))
    with pytest.raises(ReadError, match="no rows"):
        validate_table(pa.table({"v": pa.array([], pa.int64())}), contract({"v": "integer"}))


def test_nothing_is_sent_anywhere() -> None:
    """Telemetry is off before the library is imported."""
    one("integer", [1])
    assert os.environ["GX_ANALYTICS_ENABLED"] == "False"


# -------------------------------------------------------------------------------------------------------- bad cells
def test_cells_of_another_type_fail_their_rows_and_not_the_file(tmp_path: Path) -> None:
    """They are failing rows with the reader's reason, and are not blamed a second time for being null."""
    path = tmp_path / "t.csv"
    path.write_text("id,age,pay\n1,39,1.5\n2,abc,2.5\n3,,inf\n4,200,x\n")
    of = contract(
        {"id": "integer", "age": {"type": "integer", "min": 17, "max": 90}, "pay": "number"}, key=["id"]
    )
    result = validate_table(path, of)
    assert reasons(result) == {
        1: ["age: not an integer of 64 bits"],
        2: ["pay: infinite", "age: null"],
        3: ["pay: not a number", "age: not between 17 and 90"],
    }
    types = {finding.subject: finding for finding in result.findings if finding.check == "expect.types"}
    assert set(types) == {"age", "pay"}
    assert types["pay"].evidence["problems"] == {"not a number": 1, "infinite": 1}
    assert types["age"].evidence["examples"] == [
        {"row": 1, "value": "abc", "problem": "not an integer of 64 bits", "file": "t.csv", "line": 3}
    ]
    assert only(result, "column_values_to_not_be_null", "age").evidence["unexpected_count"] == 1
    assert only(result, "column_values_to_not_be_null", "pay").outcome is Outcome.PASSED
    assert result.table_outcome is Outcome.PASSED


def test_nan_and_times_without_a_zone_are_noted(tmp_path: Path) -> None:
    """What was read as something is said, also where all is well."""
    table = pa.table({"x": [1.0, math.nan], "t": pa.array([0, 1], pa.timestamp("ms"))})
    result = validate_table(table, contract({"x": {"type": "number", "nullable": True}, "t": "timestamp"}))
    finding = only(result, "types")
    assert finding.outcome is Outcome.PASSED
    assert finding.evidence["nan_as_null"] == {"x": 1}
    assert finding.evidence["assumed_utc"] == ["t"]
    assert "1 NaN read as null" in finding.message


@pytest.mark.parametrize("content", [b"", b"v\n", b"w\n1\n", b"PAR1abc"])
def test_a_file_that_cannot_be_read_is_an_error_of_the_reader(tmp_path: Path, content: bytes) -> None:
    """Not a finding among others, and never passed."""
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"t\.csv"):
        validate_table(path, contract({"v": "integer"}))


# ---------------------------------------------------------------------------------------------------------- streaming
_WIDE = {
    "id": "integer",
    "n": {"type": "integer", "min": 0, "max": 80, "nullable": True},
    "x": {"type": "number", "min": -1.5},
    "s": {"type": "string", "allowed": ["a", "b"], "nullable": True},
    "d": {"type": "date", "max": DAY},
    "b": "boolean",
}
_STATED = [
    {"type": "expect_column_mean_to_be_between", "column": "x", "min_value": 0},
    {"type": "expect_column_values_to_be_between", "column": "n", "max_value": 50, "mostly": 0.5},
    {"type": "expect_table_row_count_to_be_between", "min_value": 30},
    {
        "type": "expect_column_value_z_scores_to_be_less_than",
        "column": "x",
        "threshold": 2,
        "double_sided": True,
    },
    {"type": "expect_column_sum_to_be_between", "column": "n", "min_value": 500},
]


def _wide(rows: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    holes = random.random(rows) < 0.2
    return pa.table(
        {
            "id": random.integers(0, max(2, rows * 4), rows),
            "n": pa.array(random.integers(-10, 100, rows), mask=holes),
            "x": random.normal(size=rows),
            "s": pa.array(
                random.choice(["a", "b", "c"], rows, p=[0.5, 0.4, 0.1]), mask=random.random(rows) < 0.1
            ),
            "d": pa.array([DAY + dt.timedelta(days=int(day)) for day in random.integers(-9, 3, rows)]),
            "b": random.random(rows) < 0.5,
        }
    )


@given(
    rows=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(1, 59), max_size=3),
    chunk=st.sampled_from([9, 25]),
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_answer_does_not_depend_on_how_a_delivery_is_cut(
    tmp_path: Path, rows: int, seed: int, cuts: list[int], chunk: int
) -> None:
    """Into files, formats, batches, chunks and partitions: same findings, same failing rows, same numbers."""
    table = _wide(rows, seed)
    of = contract(_WIDE, *_STATED, key=["id"])
    whole = validate_table(table, of)
    paths = []
    edges = sorted({0, rows, *(cut for cut in cuts if cut < rows)})
    for number, (start, stop) in enumerate(itertools.pairwise(edges)):
        part = table.slice(start, stop - start)
        path = tmp_path / f"{number}.{'csv' if number % 2 else 'parquet'}"
        if number % 2:
            pacsv.write_csv(part, path)
        else:
            pq.write_table(part, path)
        paths.append(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate_module, "_CHUNK", (chunk, chunk))
        patch.setattr(spool_module, "_PARTITION_ROWS", 20)
        cut = validate_files(paths, of)
    assert [_rounded(finding) for finding in cut.findings] == [
        _rounded(finding) for finding in whole.findings
    ]
    assert cut.failing_rows.equals(whole.failing_rows)
    assert np.flatnonzero(cut.failing_mask()).tolist() == cut.failing_rows["row"].to_pylist()
    assert cut.failing_count == cut.failing_rows.num_rows


def _rounded(finding: Any) -> bytes:
    """A finding without the last digits of what was measured, which depend on the order of additions."""
    facts = finding.model_dump(mode="json")
    if isinstance(facts["evidence"].get("observed"), float):
        facts["evidence"]["observed"] = round(facts["evidence"]["observed"], 9)
    return canonical_json(facts)


def test_rows_are_numbered_through_chunks_of_real_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last row of a chunk, the first of the next, and the last of all."""
    monkeypatch.setattr(validate_module, "_CHUNK", (65_536, 65_536))
    monkeypatch.setattr(result_module, "_WINDOW", 50_000)
    values = np.zeros(200_000, dtype=np.int64)
    wrong = [0, 65_535, 65_536, 131_071, 131_072, 199_999]
    values[wrong] = 1
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"v": values}), path, row_group_size=70_000)
    told: list[tuple[int, int | None]] = []
    result = validate_table(
        path,
        contract({"v": {"type": "integer", "max": 0}}),
        on_progress=lambda done, of: told.append((done, of)),
    )
    assert list(reasons(result)) == wrong
    assert result.failing_count == len(wrong)
    assert told == [
        (65_536, 200_000),
        (131_072, 200_000),
        (196_608, 200_000),
        (200_000, 200_000),
        (200_000, 200_000),
    ]


def test_validation_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are set aside in the folder given, while it works and no longer."""
    monkeypatch.setattr(validate_module, "_CHUNK", (7, 7))
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"v": range(50)}), path)
    work = tmp_path / "work"
    work.mkdir()
    seen: list[list[str]] = []
    validate_table(
        path,
        contract({"v": "integer"}, key=["v"]),
        work_dir=work,
        on_progress=lambda done, of: seen.append([each.name for each in work.rglob("*.parquet")]),
    )
    assert seen[0] == ["columns.parquet"]
    assert list(work.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------- Data Docs
def test_data_docs_show_every_expectation_and_ask_no_other_host(tmp_path: Path) -> None:
    """Values, outcomes, what raised; and a policy that keeps browsers from loading anything from elsewhere."""
    of = contract(
        {"v": {"type": "integer", "max": 5}, "s": "string"},
        {"type": "expect_column_mean_to_be_between", "column": "v", "min_value": 100},
        {"type": "expect_column_mean_to_be_between", "column": "s", "min_value": 100},
    )
    folder = tmp_path / "deep" / "docs"
    table = pa.table({"v": [1, 2, 77], "s": ["a", "b", "c"]})
    result = validate_table(table, of, docs_dir=folder, title="census: delivery 7/b")
    assert result.docs == folder / "index.html"
    pages = list(folder.rglob("*.html"))
    assert len(pages) == 3
    (page,) = (folder / "validations").rglob("*.html")
    text = page.read_text()
    assert "77" in text
    assert "Cannot perform reduction" in text
    for each in pages:
        head = each.read_text().split("<head>")[1]
        assert head.startswith('<meta http-equiv="Content-Security-Policy" content="default-src \'none\';')
    again = validate_table(table, of, docs_dir=folder, title="census: delivery 7/b")
    assert again.docs is not None
    assert len(list(folder.rglob("*.html"))) == 3
    assert [each.name for each in folder.parent.iterdir()] == ["docs"]


def test_data_docs_never_replace_a_folder_of_another_kind(tmp_path: Path) -> None:
    """Found before the work, and nothing is touched."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else"):
        validate_table(pa.table({"v": [1]}), contract({"v": "integer"}), docs_dir=tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]
