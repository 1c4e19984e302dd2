"""Into what a feature is taken apart: numbers and categories stay whole, others become several columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.contract.columns import Column, Schema
from assay.screen import texts
from assay.screen.cells import F64, I64, MISSING, UNSEEN, counts, numbers, text
from assay.screen.vectors import Basis, matrix

_LEVELS = 1000
_OTHER = "another text"
_COMMON = 0.002
_COMMON_ROWS = 3
_TEXT_ROWS = 50
_TEXT_LENGTH = 16
_DAY = 86_400.0
_WEEKDAYS = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")  # 1970 began so
_MONTHS = tuple(str(np.datetime64(0, "M") + m)[5:] for m in range(12))


@dataclass(frozen=True)
class Part:
    """One column of `Block.x`.

    Attributes:
        column: The contract's column that it is made of.
        aspect: `value`; of a text its aspects (see `texts.ASPECTS`) and `common` (which of the frequent texts); of a
            time `weekday`, `month` and `hour`; of a vector those of its basis (see `vectors.Basis`).
        levels: Names of the codes of a category, None for a number.
        period: Length of the circle on which the values lie; 0 for a line.
        unit: Of a time, how many of the column's units make a day.
    """

    column: str
    aspect: str = "value"
    levels: tuple[str, ...] | None = None
    period: float = 0.0
    unit: float = 1.0

    @property
    def name(self) -> str:
        """What people call it."""
        if self.aspect == "value":
            return self.column
        return f"{self.column} ({texts.ASPECTS.get(self.aspect, self.aspect)})"

    def fold(self, found: I64) -> I64:
        """Codes of the frequent texts, all others as one."""
        if self.aspect != "common" or self.levels is None:
            return found
        return np.where(found == UNSEEN, len(self.levels) - 1, found)

    def of_time(self, values: F64) -> F64:
        """This aspect of times: of days from 1970 where the column is a date, else of seconds; values as they are."""
        if self.aspect == "value":
            return values
        out = np.full(len(values), float(MISSING) if self.levels is not None else np.nan)
        there = np.isfinite(values) & (np.abs(values) < 1e13)
        days = np.floor(values[there] / self.unit)
        if self.aspect == "hour":
            out[there] = (values[there] - days * self.unit) / 3600.0
        elif self.aspect == "weekday":
            out[there] = days % 7
        else:
            months = days.astype(np.int64).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
            out[there] = months % 12
        return out

    def describe(self, value: float, kind: str) -> str:
        """A cell as a person would write it; `kind` is the contract's type of the column."""
        if self.levels is not None:
            code = int(value)
            if code >= 0:
                return repr(self.levels[code]) if self.aspect == "value" else self.levels[code]
            return "missing" if code == MISSING else "unseen" if len(self.levels) < _LEVELS else "rare"
        if np.isnan(value):
            return "missing"
        if self.aspect == "value":
            if kind == "date":
                return str(np.datetime64(0, "D") + int(value))
            if kind == "timestamp":
                return str(np.datetime64(int(value), "s")) if abs(value) < 1e17 else f"{value:.6g} s"
            if kind == "boolean":
                return "true" if value else "false"
        return f"{value:.6g}"


def bases(schema: Schema, tables: Sequence[pa.Table]) -> dict[str, Basis]:
    """What the vectors of each column of vectors are taken apart into, learnt from tables of raw rows."""
    return {
        name: Basis([matrix(table.column(name), column.length)[0] for table in tables], column.length)
        for name, column in schema.columns.items()
        if column.length is not None and name in schema.features
    }


def arrange(schema: Schema, tables: Sequence[pa.Table], vectors: Mapping[str, Basis]) -> tuple[Part, ...]:
    """The parts of all features, learnt from tables of raw rows.

    A string column is free text where the contract says so (`role: text`), or where its values are long and hardly
    ever come twice; else it is a category. `vectors` are the bases of the columns of vectors.
    """
    out: list[Part] = []
    for name in schema.features:
        column = schema.columns[name]
        if column.type == "string":
            out += _strings(name, column, tables)
        elif column.type in {"date", "timestamp"}:
            out += _times(name, column.type, tables)
        elif name in vectors:
            out += [Part(name, aspect) for aspect in vectors[name].aspects]
        else:
            out.append(Part(name))
    return tuple(out)


def _strings(name: str, column: Column, tables: Sequence[pa.Table]) -> list[Part]:
    found = counts(tables, name)
    total = sum(found.values())
    # Frequent first: trees then split rare from common in one cut.
    ordered = sorted(found, key=lambda value: (-found[value], value))
    if not _is_text(name, column, found, total, tables):
        for value in column.allowed or ():
            if str(value) not in found:
                ordered.append(str(value))
        return [Part(name, levels=tuple(ordered[:_LEVELS]))]
    out = [Part(name, aspect) for aspect in texts.ASPECTS]
    least = max(_COMMON_ROWS, _COMMON * total)
    common = [value for value in ordered[:_LEVELS] if found[value] >= least]
    if common:
        out.append(Part(name, "common", (*common, _OTHER)))
    return out


def _is_text(
    name: str, column: Column, found: dict[str, int], total: int, tables: Sequence[pa.Table]
) -> bool:
    if column.role is not None:
        return column.role == "text"
    if column.allowed is not None or total < _TEXT_ROWS or len(found) <= total // 2:
        return False
    if len(found) > _LEVELS:
        return True
    lengths = [pc.mean(pc.utf8_length(text(t.column(name)))).as_py() or 0.0 for t in tables]
    return max(lengths, default=0.0) >= _TEXT_LENGTH


def _times(name: str, kind: str, tables: Sequence[pa.Table]) -> list[Part]:
    """The time itself, and of its circles those that the rows go round at all."""
    out = [Part(name)]
    unit = 1.0 if kind == "date" else _DAY
    parts = [Part(name, "weekday", _WEEKDAYS, unit=unit), Part(name, "month", _MONTHS, unit=unit)]
    if kind == "timestamp":
        parts.append(Part(name, "hour", period=24.0, unit=unit))
    values = np.concatenate([numbers(t.column(name), kind)[0] for t in tables] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    for part in parts:
        seen = np.unique(part.of_time(values))
        if len(seen) > 1:
            out.append(part)
    return out
