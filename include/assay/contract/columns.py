"""The contract's schema section: columns, keys and the label."""

from __future__ import annotations

import datetime as dt
import re
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from assay.contract.base import Complaint, Model
from assay.contract.implied import with_implied

MAX_LENGTH = 65_536
"""Most components that a vector may have."""

RESERVED_COLUMNS = frozenset({"_row", "_score", "_p_value", "_reasons", "_source", "_delivery", "_decision"})
"""Names of columns that Assay adds to tables of its own."""


class Column(Model):
    """One column: its type and what its values may be."""

    type: Literal["integer", "number", "string", "boolean", "date", "timestamp", "vector"] = Field(
        description="`vector`: a list of finite numbers, such as an embedding; see `length`."
    )
    nullable: bool = False
    unique: bool = False
    min: float | dt.datetime | dt.date | None = Field(default=None, description="Smallest value that may be.")
    max: float | dt.datetime | dt.date | None = Field(default=None, description="Largest value that may be.")
    allowed: tuple[str | int | float | bool, ...] | None = None
    pattern: str | None = Field(
        default=None, description="Regular expression that each string must match in full."
    )
    max_length: int | None = Field(default=None, gt=0)
    length: int | None = Field(
        default=None, gt=0, le=MAX_LENGTH, description="How many components each vector has."
    )
    role: Literal["category", "text"] | None = Field(
        default=None,
        description="What strings are: one of some values, or free text. By default the values decide.",
    )

    @field_validator("min", "max", mode="before")
    @classmethod
    def _bound(cls, value: Any) -> Any:
        """A day in quotes, as JSON has it, stays a day; `true` is not the number 1."""
        if isinstance(value, bool):
            raise Complaint(f"{str(value).lower()} is no limit", fix="write a number or a day")
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            return dt.date.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_bounds()
        if self.pattern is not None:
            if self.type != "string":
                raise Complaint(
                    f"pattern makes no sense for type {self.type}", fix="leave it out", at=("pattern",)
                )
            try:
                re.compile(self.pattern)
            except re.error as error:
                raise Complaint(
                    f"not a regular expression: {error}", fix="correct it; quote it in YAML", at=("pattern",)
                ) from error
        if self.max_length is not None and self.type != "string":
            raise Complaint(
                f"max_length makes no sense for type {self.type}", fix="leave it out", at=("max_length",)
            )
        self._check_vector()
        if self.role is not None and self.type != "string":
            raise Complaint(f"role makes no sense for type {self.type}", fix="leave it out", at=("role",))
        for number, value in enumerate(self.allowed or ()):
            _check_value(value, self.type, ("allowed", number))
        return self

    def _check_vector(self) -> None:
        if self.type != "vector":
            if self.length is not None:
                raise Complaint(
                    f"length makes no sense for type {self.type}",
                    fix="leave it out; for text it is max_length",
                    at=("length",),
                )
            return
        if self.length is None:
            raise Complaint(
                "a vector needs its length",
                fix="say how many components each has, e.g. length: 384",
                at=("length",),
            )
        for field in ("unique", "allowed"):
            if getattr(self, field):
                raise Complaint(f"{field} makes no sense for type vector", fix="leave it out", at=(field,))

    def _check_bounds(self) -> None:
        for field, bound in (("min", self.min), ("max", self.max)):
            if bound is None:
                continue
            if self.type in {"string", "boolean"}:
                raise Complaint(
                    f"{field} makes no sense for type {self.type}",
                    fix="use allowed, pattern or max_length",
                    at=(field,),
                )
            if not _fits_bound(bound, self.type):
                wanted = {
                    "date": "a day such as 2026-01-31",
                    "timestamp": "a day or a moment such as 2026-01-31T12:00:00Z",
                }.get(self.type, "a number")
                raise Complaint(
                    f"{field} {bound} does not go with type {self.type}", fix=f"write {wanted}", at=(field,)
                )
        if self.min is not None and self.max is not None and _ordered(self.min) > _ordered(self.max):
            raise Complaint(f"min {self.min} is above max {self.max}", fix="swap them", at=("min",))


class Label(Model):
    """What the model learns to predict; no `classes` means a number (regression)."""

    column: str
    classes: tuple[str | int | bool, ...] | None = Field(default=None, min_length=2)


class Schema(Model):
    """Columns, keys and the label."""

    key: tuple[str, ...] = ()
    source: str | None = Field(default=None, description="Column that names each row's source.")
    immutable: tuple[str, ...] = Field(
        default=(), description="Columns that must not change under the same key."
    )
    label: Label | None = None
    ignore: tuple[str, ...] = Field(
        default=(), description="Columns that neither screening nor training uses."
    )
    columns: dict[str, Column] = Field(
        min_length=1,
        description="What each column holds; one that is only named elsewhere is taken to be text.",
    )

    @model_validator(mode="before")
    @classmethod
    def _imply(cls, data: Any) -> Any:
        return with_implied(data)

    @model_validator(mode="after")
    def _names(self) -> Self:
        self._check_column_names()
        named: list[tuple[tuple[str | int, ...], str]] = []
        for field in ("key", "immutable", "ignore"):
            named += [((field, number), name) for number, name in enumerate(getattr(self, field))]
        if self.label:
            named.append((("label", "column"), self.label.column))
        if self.source is not None:
            named.append((("source",), self.source))
        for at, column in named:
            check_known(column, self.columns, at)
        self._check_roles()
        for number, column in enumerate(self.key):
            if self.columns[column].nullable:
                raise Complaint(
                    f"key column {column!r} is nullable, and a row without its key cannot be told from others",
                    fix="set nullable to false, or choose another key",
                    at=("key", number),
                )
        if self.immutable and not self.key:
            raise Complaint(
                "immutable needs a key to tell which row is which",
                fix="name the key column(s) in `key`",
                at=("immutable",),
            )
        if self.label:
            self._check_label(self.label)
        return self

    def _check_roles(self) -> None:
        """What names a row, its source or its class is one value."""
        named: list[tuple[tuple[str | int, ...], str]] = [
            (("key", number), name) for number, name in enumerate(self.key)
        ]
        if self.source is not None:
            named.append((("source",), self.source))
        if self.label is not None:
            named.append((("label", "column"), self.label.column))
        for at, name in named:
            if self.columns[name].type == "vector":
                raise Complaint(
                    f"{name!r} is a vector, and {at[0]} needs one value per row",
                    fix="choose another column",
                    at=at,
                )

    def _check_column_names(self) -> None:
        lowered: dict[str, str] = {}
        for name in self.columns:
            if not name.strip() or len(name) > 200 or not name.isprintable():
                raise Complaint(
                    f"{name!r} is no usable column name",
                    fix="use 1 to 200 printable characters",
                    at=("columns",),
                )
            if name in RESERVED_COLUMNS:
                raise Complaint(
                    f"{name!r} is a column that Assay adds itself",
                    fix="rename it in the data",
                    at=("columns", name),
                )
            if (twin := lowered.setdefault(name.lower(), name)) != name:
                raise Complaint(
                    f"columns {twin!r} and {name!r} differ only in case, and SQL would take them for one",
                    fix="rename one of them in the data",
                    at=("columns", name),
                )

    def _check_label(self, label: Label) -> None:
        column = self.columns[label.column]
        at: tuple[str | int, ...] = ("label", "column")
        for field in ("key", "ignore"):
            if label.column in getattr(self, field):
                raise Complaint(
                    f"the label {label.column!r} also stands in {field}", fix="take it out there", at=at
                )
        if label.column == self.source:
            raise Complaint(
                f"the label {label.column!r} is also the source column", fix="choose another", at=at
            )
        if label.classes is None:
            if column.type not in {"integer", "number"}:
                raise Complaint(
                    f"the label {label.column!r} is of type {column.type} and names no classes",
                    fix='list them, e.g. classes: ["no", "yes"]',
                    at=("label",),
                )
            return
        for number, value in enumerate(label.classes):
            _check_value(value, column.type, ("label", "classes", number))
            if column.allowed is not None and value not in column.allowed:
                raise Complaint(
                    f"class {value!r} is not among the values that columns.{label.column}.allowed lists",
                    fix="add it there or take it out here",
                    at=("label", "classes", number),
                )
        if len(set(label.classes)) != len(label.classes):
            raise Complaint("a class stands twice", fix="list each class once", at=("label", "classes"))

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that a model may learn from: not key, source, label or ignored, in the contract's order."""
        skip = {*self.key, *self.ignore, self.source, self.label.column if self.label else None}
        return tuple(name for name in self.columns if name not in skip)


def _fits_bound(bound: float | dt.date, column_type: str) -> bool:
    if column_type in {"integer", "number", "vector"}:
        return isinstance(bound, float)
    return isinstance(bound, dt.date) and (column_type == "timestamp" or not isinstance(bound, dt.datetime))


def _ordered(bound: float | dt.date) -> float:
    """A number by which bounds of one column compare: days count from their midnight, in UTC unless they say."""
    if isinstance(bound, float):
        return bound
    moment = (
        bound
        if isinstance(bound, dt.datetime)
        else dt.datetime(bound.year, bound.month, bound.day, tzinfo=dt.UTC)
    )
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def check_known(column: str, columns: dict[str, Column], at: tuple[str | int, ...]) -> None:
    """Complain if there is no such column, with the likeliest one that is meant."""
    if column in columns:
        return
    near = get_close_matches(column, list(columns), 1)
    raise Complaint(
        f"schema.columns has no column {column!r}",
        fix=f"did you mean {near[0]!r}?"
        if near
        else f"add it there, or use one of: {', '.join(list(columns)[:12])}",
        at=at,
    )


def _check_value(value: object, column_type: str, at: tuple[str | int, ...]) -> None:
    """A listed value must be of the column's type; YAML reads an unquoted `no` or `1` as something else than text."""
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }.get(column_type, isinstance(value, str))
    if not fits:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        fix = "put it in quotes (YAML reads unquoted yes, no, on, off and numbers as other things than text)"
        raise Complaint(
            f"{shown} is not of the column's type {column_type}",
            fix=fix
            if column_type not in {"boolean", "integer", "number"}
            else f"write a value of type {column_type}",
            at=at,
        )
