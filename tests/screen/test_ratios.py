"""Columns that go together: a row in which one is off by a factor is decided, and nothing else is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from assay.findings import Finding, Outcome
from assay.screen import ScreenReport, screen
from tests.screen import attacks


def stones(rows: int, seed: int) -> pd.DataFrame:
    """Length and width within a few per cent of one another, a height that goes with them, and a price."""
    rng = np.random.default_rng(seed)
    length = rng.lognormal(1.7, 0.25, rows)
    data = {
        "id": np.arange(rows) + 10_000 * seed,
        "length": np.round(length, 2),
        "width": np.round(length * np.exp(0.01 * rng.standard_t(8, rows)), 2),
        "height": np.round(0.62 * length * np.exp(0.03 * rng.normal(size=rows)), 2),
        "price": np.round(20 * length**3 * np.exp(0.2 * rng.normal(size=rows)), 0),
    }
    return pd.DataFrame({**data, "label": np.where(rng.random(rows) < 0.5, "a", "b")})


def run(batch: pd.DataFrame, trusted: pd.DataFrame) -> tuple[ScreenReport, np.ndarray]:
    """The report, and which rows it quarantines."""
    report = screen(batch, attacks.contract_for(batch), trusted=trusted)
    return report, np.flatnonzero(np.array(report.rows["verdict"]) == "quarantine")


def about(report: ScreenReport) -> list[Finding]:
    """What is said of ratios."""
    return [f for f in report.findings if f.check == "screen.ratios"]


def test_dimensions_that_contradict_one_another_are_decided_one_by_one() -> None:
    """A zero, a factor of ten, columns in other units: five rows in 4,000."""
    batch = stones(4000, 1)
    batch.loc[5, "width"] = 0.0
    batch.loc[6, "height"] = 0.0
    batch.loc[7, "width"] = round(10 * batch.loc[7, "length"], 2)
    batch.loc[8, "height"] = round(batch.loc[8, "length"] * 3, 2)
    batch.loc[9, ["length", "width"]] = [4.0, 8.0]
    report, held = run(batch, stones(400, 2))
    assert {5, 6, 7, 8, 9} <= set(held.tolist())
    assert len(held) <= 5 + 0.005 * 4000
    assert "columns contradict each other: length = 4 beside width = 8" in " ".join(
        report.rows["reasons"][9].as_py()
    )
    assert {f.outcome for f in about(report)} == {Outcome.FAILED}


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_clean_ratios_break_nothing(seed: int) -> None:
    """Tails heavier than normal are how ratios are."""
    report, held = run(stones(4000, seed), stones(300, seed + 10))
    assert len(held) <= 0.005 * 4000
    (found,) = about(report)
    assert found.outcome is Outcome.PASSED


def test_without_columns_that_go_together_nothing_is_checked() -> None:
    """And with too few trusted rows neither: both are said."""
    alone = stones(600, 6)[["id", "price", "label"]]
    report, _ = run(alone, stones(300, 7)[["id", "price", "label"]])
    (found,) = about(report)
    assert found.outcome is Outcome.NOT_CHECKED
    assert "no two columns" in found.message
    report, _ = run(stones(600, 8), stones(30, 9))
    (found,) = about(report)
    assert found.outcome is Outcome.NOT_CHECKED
    assert "30 reference rows are too few" in found.message


def test_a_missing_dimension_contradicts_nothing() -> None:
    """A null is for other signals to weigh."""
    batch = stones(600, 10)
    batch.loc[3, "width"] = np.nan
    report, _ = run(batch, stones(300, 11))
    assert all(f.outcome is Outcome.PASSED for f in about(report))
