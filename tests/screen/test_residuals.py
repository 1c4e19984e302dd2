"""Values that lie within their range and still do not fit their row."""

from __future__ import annotations

import numpy as np
import pandas as pd

from assay.findings import Outcome, Scope
from assay.screen import ScreenReport, screen
from tests.screen import attacks

MOVED = ("x02", "x05")


def chained(rows: int, seed: int) -> pd.DataFrame:
    """Columns of which each nearly follows from its neighbours, as in spectra and images."""
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(size=(rows, 8)), axis=1)
    values = walk + rng.normal(size=(rows, 1)) * 2 + 0.2 * rng.normal(size=(rows, 8))
    frame = pd.DataFrame(np.round(values, 3), columns=[f"x{i:02d}" for i in range(8)])
    frame["label"] = np.where(values.mean(axis=1) + rng.normal(size=rows) > 0, "yes", "no")
    return frame


def screened(moved: float, seed: int = 0) -> tuple[ScreenReport, np.ndarray]:
    """The report on 1,500 rows, in a tenth of which two columns are moved by so much, and which rows those are."""
    batch, trusted, _ = attacks.split(chained(2000, seed), 1500, 500, seed)
    rows = np.random.default_rng(seed).choice(len(batch), 150, replace=False)
    for name in MOVED:
        batch.loc[rows, name] += moved
    truth = np.zeros(len(batch), dtype=bool)
    truth[rows] = True
    report = screen(attacks.to_table(batch), attacks.contract_for(batch), trusted=attacks.to_table(trusted))
    return report, truth


def test_a_shift_within_the_range_is_seen_where_columns_depend_on_one_another() -> None:
    """No value is out of range, yet most moved rows lead the ranking, and the moved columns are named."""
    report, truth = screened(3.0)
    score = report.rows["score"].to_numpy()
    assert attacks.recall_at(score, truth, 0.05) > 0.7
    told = [f for f in report.findings if f.check == "screen.residuals" and f.outcome is Outcome.FAILED]
    assert set(MOVED) <= {f.subject for f in told}
    assert {f.scope for f in told} == {Scope.COLUMN}


def test_rows_that_fit_are_left_alone() -> None:
    """The same table without the shift: no column is named, hardly a row is quarantined."""
    report, _ = screened(0.0)
    assert [f.outcome for f in report.findings if f.check == "screen.residuals"] == [Outcome.PASSED]
    assert report.quarantined <= 0.005 * report.rows.num_rows


def test_the_reason_names_the_column_and_the_side() -> None:
    """Whoever reviews a moved row reads which column is higher than the rest of the row lets expect."""
    report, truth = screened(6.0)
    held = np.array(report.rows["verdict"].to_pylist()) == "quarantine"
    assert (held & truth).sum() > 0.5 * truth.sum()
    texts = [" ".join(report.rows["reasons"][int(row)].as_py()) for row in np.flatnonzero(held & truth)]
    named = [text for text in texts if "is higher than the rest of the row lets expect" in text]
    assert len(named) > 0.5 * len(texts)
