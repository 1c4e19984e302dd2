"""From a contract to the expectations that are asked, and how much of the data each must see at once.

Nothing here needs Great Expectations: the plan is names and arguments, in the contract's order.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from assay.contract.models import Column, Contract, Expectation
from assay.expect.errors import ExpectError


class Reach(StrEnum):
    """How much of the data an expectation must see to answer about one row."""

    ROW = "row"  # the row alone: it runs chunk by chunk
    KEY = "key"  # all rows with the same key: it runs on partitions by the key
    WHOLE = "whole"  # everything: it runs once, on the columns that it needs


ROW_TYPES = frozenset(
    {
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_pair_values_to_be_in_set",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_dateutil_parseable",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_json_parseable",
        "expect_column_values_to_be_null",
        "expect_column_values_to_match_json_schema",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_match_strftime_format",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
        "expect_multicolumn_sum_to_equal",
        "expect_multicolumn_values_to_be_equal",
        "expect_select_column_values_to_be_unique_within_record",
    }
)
"""Expectations whose answer about a row depends on that row alone. Any other type sees the whole delivery at once."""

KEY_TYPES = frozenset({"expect_column_values_to_be_unique", "expect_compound_columns_to_be_unique"})

NULL_TYPES = frozenset({"expect_column_values_to_not_be_null", "expect_column_values_to_be_null"})
"""Expectations about nulls: their percentage is of all rows, not of the rows that have a value."""

_SHAPE_TYPES = frozenset(
    {
        "expect_column_to_exist",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
    }
)
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B")


@dataclass(frozen=True)
class Planned:
    """One expectation that will be asked.

    Attributes:
        index: Its place in the plan.
        where: Its place in the contract.
        type: Great Expectations' name for it.
        arguments: Great Expectations' arguments.
        reach: How much of the data it must see at once.
        columns: The columns that it needs; empty for the number of rows alone.
        subject: The column or columns that it is about, for reports.
        reason: What is said of a row that fails it.
    """

    index: int
    where: str
    type: str
    reach: Reach
    columns: tuple[str, ...]
    subject: str
    reason: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def mostly(self) -> float:
        """The fraction of rows that must hold, 1 unless the contract says less."""
        value = self.arguments.get("mostly", 1.0)
        return float(value) if isinstance(value, int | float) else 1.0

    @property
    def about_shape(self) -> bool:
        """Whether it asks about the columns' names and number alone."""
        return self.type in _SHAPE_TYPES


def make_plan(contract: Contract) -> tuple[Planned, ...]:
    """All expectations of a contract: those that follow from its schema, then those that it states verbatim.

    Raises:
        ExpectError: An expectation names a column that the contract does not have, or a bound of a column of dates or
            times is neither.
    """
    drafts: list[dict[str, Any]] = []
    schema = contract.schema_
    for name, column in schema.columns.items():
        drafts += _of_column(name, column, required=not column.nullable or name in schema.key)
    label = schema.label
    if label is not None and label.classes is not None and schema.columns[label.column].allowed is None:
        column = schema.columns[label.column]
        drafts.append(
            _in_set(label.column, column, label.classes, "schema.label.classes", "not one of the classes")
        )
    if schema.key:
        drafts.append(_key(schema.key))
    for number, expectation in enumerate(contract.expectations):
        drafts.append(_verbatim(number, expectation, contract))
    return tuple(Planned(index=index, **draft) for index, draft in enumerate(drafts))


def _of_column(name: str, column: Column, *, required: bool) -> Iterator[dict[str, Any]]:
    where = f"schema.columns.{name}"
    alone: dict[str, Any] = {"reach": Reach.ROW, "columns": (name,), "subject": name}
    if required:
        kind = "expect_column_values_to_not_be_null"
        yield alone | {"where": where, "type": kind, "arguments": {"column": name}, "reason": f"{name}: null"}
    # A vector's length, numbers and bounds are held against the contract as it is read.
    if column.type != "vector" and (column.min is not None or column.max is not None):
        yield alone | {
            "where": where,
            "type": "expect_column_values_to_be_between",
            "arguments": {"column": name} | _bounds(where, column),
            "reason": f"{name}: {_outside(column)}",
        }
    if column.allowed is not None:
        yield _in_set(name, column, column.allowed, f"{where}.allowed", "not one of the allowed values")
    if column.pattern is not None:
        yield alone | {
            "where": f"{where}.pattern",
            "type": "expect_column_values_to_match_regex",
            # Anchored to the very ends: a plain `$` would let a line break after the match pass.
            "arguments": {"column": name, "regex": rf"\A(?:{column.pattern})\Z"},
            "reason": f"{name}: does not match the pattern",
        }
    if column.max_length is not None:
        yield alone | {
            "where": f"{where}.max_length",
            "type": "expect_column_value_lengths_to_be_between",
            "arguments": {"column": name, "max_value": column.max_length},
            "reason": f"{name}: longer than {column.max_length} characters",
        }
    if column.unique:
        yield {
            "where": f"{where}.unique",
            "type": "expect_column_values_to_be_unique",
            "arguments": {"column": name},
            "reach": Reach.KEY,
            "columns": (name,),
            "subject": name,
            "reason": f"{name}: not unique",
        }


def _key(key: tuple[str, ...]) -> dict[str, Any]:
    names = ", ".join(key)
    single = len(key) == 1
    return {
        "where": "schema.key",
        "type": "expect_column_values_to_be_unique" if single else "expect_compound_columns_to_be_unique",
        "arguments": {"column": key[0]} if single else {"column_list": list(key)},
        "reach": Reach.KEY,
        "columns": key,
        "subject": names,
        "reason": f"{names}: the key stands more than once",
    }


def _in_set(name: str, column: Column, values: tuple[Any, ...], where: str, reason: str) -> dict[str, Any]:
    given: list[Any] = list(values)
    if column.type in {"date", "timestamp"}:
        given = [dt.datetime.fromisoformat(_moment(value, column.type, where)) for value in given]
    return {
        "where": where,
        "type": "expect_column_values_to_be_in_set",
        "arguments": {"column": name, "value_set": given},
        "reach": Reach.ROW,
        "columns": (name,),
        "subject": name,
        "reason": f"{name}: {reason}",
    }


def _bounds(where: str, column: Column) -> dict[str, Any]:
    """The range of a column as Great Expectations takes it.

    A day that bounds a timestamp means the whole day: `max: 2026-01-31` still takes the last second of that day.
    """
    given: dict[str, Any] = {}
    for side, value in (("min", column.min), ("max", column.max)):
        if value is None:
            continue
        if not isinstance(value, dt.date):
            given[f"{side}_value"] = value
            continue
        day = not isinstance(value, dt.datetime)
        if side == "max" and day and column.type == "timestamp" and value < dt.date.max:
            value, given["strict_max"] = value + dt.timedelta(days=1), True
        given[f"{side}_value"] = _moment(value, column.type, f"{where}.{side}")
    return given


def _outside(column: Column) -> str:
    low, high = (
        value if isinstance(value, dt.date) else _number(value) for value in (column.min, column.max)
    )
    if column.min is None:
        return f"above {high}"
    return f"below {low}" if column.max is None else f"not between {low} and {high}"


def _number(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _moment(value: Any, kind: str, where: str) -> str:
    """A day or time as text with a time of day: a plain day would be compared as another type than the data's."""
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = value.isoformat()
    try:
        moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise ExpectError(
            where, "not a date or time in ISO 8601", found=value, next_step="write it as YYYY-MM-DD"
        ) from None
    if kind == "date":
        return moment.replace(tzinfo=None).isoformat()
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).isoformat()


def _verbatim(number: int, expectation: Expectation, contract: Contract) -> dict[str, Any]:
    where = f"expectations[{number}]"
    known = contract.schema_.columns
    arguments = expectation.arguments
    named = [arguments[key] for key in _COLUMN_ARGUMENTS if isinstance(arguments.get(key), str)]
    listed = arguments.get("column_list")
    named += [name for name in listed if isinstance(name, str)] if isinstance(listed, list | tuple) else []
    for name in named:
        if name not in known:
            raise ExpectError(
                f"{where} ({expectation.type})",
                f"names the column {name!r}, which schema.columns does not have",
                expected=", ".join(list(known)[:12]),
                next_step="add the column to schema.columns or correct the name",
            )
    kind = expectation.type
    vectors = [name for name in named if known[name].type == "vector"]
    if vectors and kind not in NULL_TYPES | _SHAPE_TYPES:
        raise ExpectError(
            f"{where} ({kind})",
            f"asks about {vectors[0]!r}, and Great Expectations does not look into vectors",
            expected=", ".join(sorted(NULL_TYPES)),
            next_step="use length, min and max of the column instead",
        )
    if kind == "expect_column_to_exist" and arguments.get("column_index") == 0:
        raise ExpectError(
            f"{where} ({kind})",
            "Great Expectations takes column_index 0 for none and passes wherever the column stands",
            next_step="state expect_table_columns_to_match_ordered_list instead",
        )
    condition = str(arguments.get("row_condition") or "")
    columns = dict.fromkeys(named) | dict.fromkeys(name for name in known if condition and name in condition)
    if kind in _SHAPE_TYPES:
        columns = dict.fromkeys(known)
    if not columns and kind not in {
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    }:
        columns = dict.fromkeys(known)
    reach = Reach.ROW if kind in ROW_TYPES else Reach.WHOLE
    if kind in KEY_TYPES and not condition:
        reach = Reach.KEY
    if len(named) == 1 and known[named[0]].type in {"date", "timestamp"}:
        arguments = _timed(arguments, known[named[0]].type, f"{where} ({kind})")
    subject = ", ".join(named)
    return {
        "where": where,
        "type": kind,
        "arguments": arguments,
        "reach": reach,
        "columns": tuple(columns),
        "subject": subject,
        "reason": f"{subject}: {kind}" if subject else kind,
    }


def _timed(arguments: dict[str, Any], kind: str, where: str) -> dict[str, Any]:
    """Bounds and sets of a column of dates or times, in the forms that Great Expectations compares with them."""
    timed = dict(arguments)
    for key in ("min_value", "max_value"):
        if isinstance(timed.get(key), str | dt.date):
            timed[key] = _moment(timed[key], kind, where)
    if isinstance(timed.get("value_set"), list | tuple):
        timed["value_set"] = [
            dt.datetime.fromisoformat(_moment(value, kind, where))
            if isinstance(value, str | dt.date)
            else value
            for value in timed["value_set"]
        ]
    return timed
