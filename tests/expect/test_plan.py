"""From a contract to the expectations that are asked of a delivery."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from assay.expect import ExpectError, Reach, check_expectations, make_plan
from tests.expect.support import contract


def test_the_schema_becomes_expectations_in_its_own_order() -> None:
    """Nulls, ranges, sets, patterns, lengths, uniqueness, the label's classes and the key."""
    of = contract(
        {
            "id": "integer",
            "age": {"type": "integer", "min": 17, "max": 90},
            "job": {
                "type": "string",
                "nullable": True,
                "allowed": ["a", "b"],
                "pattern": "[ab]",
                "max_length": 3,
            },
            "mail": {"type": "string", "unique": True},
            "pay": "string",
        },
        key=["id"],
        label={"column": "pay", "classes": ["low", "high"]},
    )
    asked = [(p.type.removeprefix("expect_"), p.subject, p.where, p.reach) for p in make_plan(of)]
    assert asked == [
        ("column_values_to_not_be_null", "id", "schema.columns.id", Reach.ROW),
        ("column_values_to_not_be_null", "age", "schema.columns.age", Reach.ROW),
        ("column_values_to_be_between", "age", "schema.columns.age", Reach.ROW),
        ("column_values_to_be_in_set", "job", "schema.columns.job.allowed", Reach.ROW),
        ("column_values_to_match_regex", "job", "schema.columns.job.pattern", Reach.ROW),
        ("column_value_lengths_to_be_between", "job", "schema.columns.job.max_length", Reach.ROW),
        ("column_values_to_not_be_null", "mail", "schema.columns.mail", Reach.ROW),
        ("column_values_to_be_unique", "mail", "schema.columns.mail.unique", Reach.KEY),
        ("column_values_to_not_be_null", "pay", "schema.columns.pay", Reach.ROW),
        ("column_values_to_be_in_set", "pay", "schema.label.classes", Reach.ROW),
        ("column_values_to_be_unique", "id", "schema.key", Reach.KEY),
    ]


def test_a_key_of_several_columns_is_unique_as_a_whole() -> None:
    """Not each column alone."""
    planned = make_plan(contract({"a": "integer", "b": "integer"}, key=["a", "b"]))[-1]
    assert planned.type == "expect_compound_columns_to_be_unique"
    assert planned.arguments == {"column_list": ["a", "b"]}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"min": 17, "max": 90.5}, "v: not between 17 and 90.5"),
        ({"min": 17}, "v: below 17"),
        ({"max": 90}, "v: above 90"),
    ],
)
def test_a_range_is_told_in_words(limits: dict[str, Any], reason: str) -> None:
    """Reasons stand beside rows in front of a reviewer."""
    assert make_plan(contract({"v": {"type": "number", **limits}}))[-1].reason == reason


def test_a_day_that_bounds_a_moment_means_the_whole_day() -> None:
    """And a moment means itself."""
    days = {"min": dt.date(2026, 1, 1), "max": dt.date(2026, 1, 31)}
    assert make_plan(contract({"v": {"type": "timestamp", **days}}))[-1].arguments == {
        "column": "v",
        "min_value": "2026-01-01T00:00:00+00:00",
        "max_value": "2026-02-01T00:00:00+00:00",
        "strict_max": True,
    }
    assert (
        make_plan(contract({"v": {"type": "date", **days}}))[-1].arguments["max_value"]
        == "2026-01-31T00:00:00"
    )
    moment = {"max": dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)}
    assert make_plan(contract({"v": {"type": "timestamp", **moment}}))[-1].arguments == {
        "column": "v",
        "max_value": "2026-01-31T12:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("expectation", "reach", "columns"),
    [
        ({"type": "expect_column_values_to_be_between", "column": "a", "min_value": 1}, Reach.ROW, ("a",)),
        ({"type": "expect_column_values_to_be_unique", "column": "a"}, Reach.KEY, ("a",)),
        (
            {"type": "expect_column_values_to_be_unique", "column": "a", "row_condition": 'b == "x"'},
            Reach.WHOLE,
            ("a", "b"),
        ),
        ({"type": "expect_column_mean_to_be_between", "column": "a", "min_value": 1}, Reach.WHOLE, ("a",)),
        ({"type": "expect_column_value_z_scores_to_be_less_than", "column": "a"}, Reach.WHOLE, ("a",)),
        ({"type": "expect_column_values_to_be_increasing", "column": "a"}, Reach.WHOLE, ("a",)),
        ({"type": "expect_table_row_count_to_equal", "value": 3}, Reach.WHOLE, ()),
        ({"type": "expect_table_columns_to_match_set", "column_set": ["a"]}, Reach.WHOLE, ("a", "b")),
        ({"type": "expect_something_of_a_plugin"}, Reach.WHOLE, ("a", "b")),
    ],
)
def test_an_expectation_sees_as_much_as_it_needs_and_what_is_not_known_sees_all(
    expectation: dict[str, Any], reach: Reach, columns: tuple[str, ...]
) -> None:
    """Only what is known to look at one row at a time runs chunk by chunk: anything else would pass by accident."""
    planned = make_plan(contract({"a": "integer", "b": "string"}, expectation))[-1]
    assert (planned.reach, planned.columns) == (reach, columns)


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        (
            {"type": "expect_column_values_to_be_betwen", "column": "a"},
            ["no expectation of this name", "betwen"],
        ),
        (
            {"type": "expect_column_values_to_be_between", "column": "a", "min_value": 1, "maximum": 2},
            ["does not take these arguments", "maximum", "extra fields not permitted"],
        ),
        ({"type": "expect_column_mean_to_be_between", "min_value": 1}, ["column: field required"]),
        (
            {"type": "expect_column_values_to_be_between", "column": "a", "min_value": 1, "mostly": 2},
            ["mostly", "less than or equal to 1"],
        ),
        (
            {"type": "expect_compound_columns_to_be_unique", "column_list": ["a", "c"]},
            ["names the column 'c'", "schema.columns does not have"],
        ),
        (
            {"type": "expect_column_values_to_be_between", "column": "d", "min_value": "soon"},
            ["not a date", "soon"],
        ),
    ],
)
def test_an_expectation_that_cannot_be_meant_is_an_error_that_names_it(
    expectation: dict[str, Any], words: list[str]
) -> None:
    """Found without any data, as a fault of the contract."""
    of = contract(
        {"a": "integer", "d": "date"}, {"type": "expect_table_row_count_to_equal", "value": 1}, expectation
    )
    with pytest.raises(ExpectError) as caught:
        check_expectations(of)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.where == f"expectations[1] ({expectation['type']})"
    assert all(word in text for word in [*words, "next:"]), text
