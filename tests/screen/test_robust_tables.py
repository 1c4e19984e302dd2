"""Odd cells, odd shapes, many columns, mixed kinds: a report or a clear error, and the same for the same rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from assay.contract.models import Contract
from assay.findings import Outcome
from assay.screen import ScreenError, ScreenReport, screen

CLASSES = ("no", "yes")


def mixed(rows: int, seed: int = 0, regression: bool = False) -> pd.DataFrame:
    """One column of every kind that a contract knows."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), "D")
    frame = pd.DataFrame(
        {
            "id": np.arange(rows) + seed * 10**6,
            "src": rng.choice(["a", "b", "c"], rows),
            "x": rng.normal(size=rows) + y,
            "z": rng.normal(size=rows) + y,
            "k": rng.integers(0, 5, rows),
            "c": rng.choice(list("pqrs"), rows),
            "b": rng.random(rows) < 0.5,
            "d": days.date,
            "t": pd.to_datetime("2020-01-01", utc=True)
            + pd.to_timedelta(rng.integers(0, 9 * 10**7, rows), "s"),
        }
    )
    frame["label"] = frame["x"] * 2 + rng.normal(size=rows) if regression else np.array(CLASSES)[y]
    return frame


def contract(regression: bool = False, classes: tuple[str, ...] = CLASSES, **screening: Any) -> Contract:
    kinds = {
        "id": "integer",
        "src": "string",
        "x": "number",
        "z": "number",
        "k": "integer",
        "c": "string",
        "b": "boolean",
        "d": "date",
        "t": "timestamp",
        "label": "number" if regression else "string",
    }
    label = {"column": "label"} if regression else {"column": "label", "classes": list(classes)}
    schema = {
        "key": ["id"],
        "source": "src",
        "label": label,
        "columns": {name: {"type": kind, "nullable": name != "id"} for name, kind in kinds.items()},
    }
    return Contract.model_validate({"version": 1, "dataset": "odd", "schema": schema, "screen": screening})


def sound(report: ScreenReport, rows: int) -> None:
    """What holds of every report."""
    assert report.rows["row"].to_pylist() == list(range(rows))
    p = report.rows["p_value"].to_numpy()
    score = report.rows["score"].to_numpy()
    assert np.isfinite(score).all()
    assert ((p > 0) & (p <= 1)).all()
    held = [v == "quarantine" for v in report.rows["verdict"].to_pylist()]
    assert sum(held) == report.quarantined
    assert [bool(r) for r in report.rows["reasons"].to_pylist()] == held
    assert report.findings
    assert all(finding.message and finding.id for finding in report.findings)


def quarantined(report: ScreenReport) -> list[int]:
    return [i for i, v in enumerate(report.rows["verdict"].to_pylist()) if v == "quarantine"]


def change(column: str, *values: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The first rows of a column get these values."""

    def changed(frame: pd.DataFrame) -> pd.DataFrame:
        cells = list(frame[column])
        cells[: len(values)] = values
        return frame.assign(**{column: pd.Series(cells, index=frame.index, dtype=object)})

    return changed


ODD: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], list[int] | None]] = {
    "huge integers": (change("k", 2**62, -(2**63), 10**15), [0, 1, 2]),
    "an integer beyond 64 bits": (change("k", 10**40), [0]),
    "floats at the end of their range": (change("x", 1e308, -1e308, np.inf, -np.inf), [0, 1, 2, 3]),
    "text among numbers": (change("x", "abc"), [0]),
    "text among dates": (change("d", "some day"), [0]),
    "lists for numbers": (lambda f: f.assign(x=[[1.0, 2.0]] * len(f)), None),
    "dictionaries for text": (lambda f: f.assign(c=[{"a": 1}] * len(f)), None),
    "bytes that are not UTF-8": (lambda f: f.assign(c=[b"\xff\x00"] * len(f)), None),
    "half a surrogate": (change("c", "\ud800"), None),
    "a NUL in a text": (change("c", "\0"), None),
    "empty texts": (lambda f: f.assign(c=""), None),
    "the first and the last day": (change("d", dt.date(1, 1, 1), dt.date(9999, 12, 31)), None),
    "no source": (lambda f: f.assign(src=None), []),
    "the same row again and again": (lambda f: pd.concat([f.iloc[:1]] * 150), None),
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_cells_get_a_report_and_gross_ones_are_quarantined(odd: str) -> None:
    """Whatever stands in a cell; where it is grossly wrong, just these rows are held."""
    turn, expected = ODD[odd]
    report = screen(turn(mixed(150)), contract(), trusted=mixed(100, 1))
    sound(report, 150)
    if expected is not None:
        assert quarantined(report) == expected


@pytest.mark.parametrize("regression", [False, True])
@pytest.mark.parametrize("trusted", [None, 0, 1, 25])
@pytest.mark.parametrize("rows", [1, 20, 60])
def test_few_rows_and_few_trusted_rows_accuse_nobody(
    rows: int, trusted: int | None, regression: bool
) -> None:
    """Classes or numbers as labels."""
    reference = None if trusted is None else mixed(trusted, 1, regression)
    report = screen(mixed(rows, 0, regression), contract(regression), trusted=reference)
    sound(report, rows)
    assert report.quarantined == 0


def test_trusted_rows_with_other_classes_are_a_weaker_reference_not_an_error() -> None:
    """Labels that the contract does not name."""
    trusted = mixed(100, 1).assign(label="maybe")
    sound(screen(mixed(150), contract(), trusted=trusted), 150)


def test_dates_as_text_times_or_dates_are_the_same() -> None:
    """A batch from a CSV beside trusted rows from Parquet."""
    batch, trusted = mixed(200), mixed(100, 1)
    expected = screen(batch, contract(), trusted=trusted).rows
    text = batch.assign(d=batch["d"].astype(str), t=batch["t"].astype(str))
    moment = batch.assign(d=pd.to_datetime(batch["d"]))
    for form in (text, moment):
        assert screen(form, contract(), trusted=trusted).rows.equals(expected)


def test_integers_that_a_float_cannot_hold_are_told_apart() -> None:
    """Two keys beyond 2^53 that differ by one are two keys: neither is a rewritten row."""
    batch = mixed(100).assign(id=2**60 + np.arange(100))
    report = screen(batch, contract(), trusted=mixed(100, 1), previous=batch.iloc[:50])
    assert report.quarantined == 0
    assert not [
        f for f in report.findings if f.check.startswith("screen.history") and f.outcome is Outcome.FAILED
    ]


def test_a_table_without_columns_or_rows_still_must_have_the_columns() -> None:
    """No rows is no excuse for another schema."""
    for table in (pd.DataFrame(index=range(3)), mixed(0).drop(columns="x"), pa.table({"id": [1]}).slice(1)):
        with pytest.raises(ScreenError, match="is missing"):
            screen(table, contract())


def test_text_that_is_not_utf8_inside_a_string_column_is_an_error() -> None:
    """As a damaged file may hold."""
    table = pa.Table.from_pandas(mixed(50), preserve_index=False)
    broken = pa.Array.from_buffers(
        pa.string(),
        50,
        [None, pa.py_buffer(np.arange(51, dtype=np.int32).tobytes()), pa.py_buffer(b"\xff" * 50)],
    )
    table = table.set_column(table.schema.get_field_index("c"), "c", broken)
    with pytest.raises(ScreenError, match="cannot be read"):
        screen(table, contract())


def wide(rows: int, columns: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    x = rng.normal(size=(rows, columns))
    x[:, -3:] += 2.5 * y[:, None]
    named = {f"p{i}": x[:, i] for i in range(columns)}
    return pa.table({"id": np.arange(rows), **named, "label": np.where(y, "yes", "no")})


def wide_contract(columns: int) -> Contract:
    kinds = {"id": {"type": "integer"}, **{f"p{i}": {"type": "number"} for i in range(columns)}}
    schema = {
        "key": ["id"],
        "label": {"column": "label", "classes": list(CLASSES)},
        "columns": {**kinds, "label": {"type": "string"}},
    }
    return Contract.model_validate({"version": 1, "dataset": "wide", "schema": schema})


def test_columns_past_the_two_thousandth_are_looked_at_too() -> None:
    """3,000 columns, of which only the last three say anything of the label: flipped labels still rank high."""
    columns = 3000
    batch, trusted = wide(240, columns, 1), wide(120, columns, 2)
    labels = batch["label"].to_pylist()
    flipped = np.random.default_rng(3).choice(240, 12, replace=False)
    for row in flipped:
        labels[row] = "yes" if labels[row] == "no" else "no"
    batch = batch.set_column(batch.schema.get_field_index("label"), "label", pa.array(labels))
    report = screen(batch, wide_contract(columns), trusted=trusted)
    sound(report, 240)
    score = report.rows["score"].to_numpy()
    assert np.isin(np.argsort(-score)[:24], flipped).sum() >= 8


def test_many_classes_are_screened() -> None:
    """A hundred classes, each far from the others: a row with another's label is the most suspicious."""
    rng = np.random.default_rng(0)
    names = tuple(f"c{i:02}" for i in range(60))

    def make(rows: int, seed: int) -> pd.DataFrame:
        frame = mixed(rows, seed)
        y = np.random.default_rng(seed).integers(0, 60, rows)
        return frame.assign(
            x=(y % 8) * 4 + 0.3 * frame["x"], z=(y // 8) * 4 + 0.3 * frame["z"], label=np.array(names)[y]
        )

    batch, trusted = make(1200, 0), make(400, 1)
    flipped = rng.choice(1200, 12, replace=False)
    batch.loc[flipped, "label"] = [names[(names.index(v) + 30) % 60] for v in batch.loc[flipped, "label"]]
    report = screen(batch, contract(classes=names), trusted=trusted)
    sound(report, 1200)
    assert np.isin(np.argsort(-report.rows["score"].to_numpy())[:24], flipped).sum() >= 9
