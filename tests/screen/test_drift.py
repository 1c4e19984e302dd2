"""The batch as a whole against trusted and accepted rows: what drifts is named, what does not is left in peace."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from assay.findings import Finding, Outcome, Scope, Severity, Verdict
from assay.screen import ScreenReport, screen
from tests.screen import attacks


def frame(rows: int, seed: int) -> pd.DataFrame:
    """Two classes, numbers with ties, categories with rare levels, a column with gaps, a date."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "x": np.round(rng.normal(size=rows) + label, 3),
            "coarse": rng.poisson(2, rows).astype(float),
            "gaps": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "level": rng.choice(["a", "b", "c", *"defghij"], rows, p=[0.5, 0.3, 0.13, *[0.01] * 7]),
            "label": np.where(label == 1, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def trusted() -> pd.DataFrame:
    return frame(500, 1)


def run(batch: pd.DataFrame, trusted: pd.DataFrame, **policy: object) -> ScreenReport:
    return screen(batch, attacks.contract_for(batch, **policy), trusted=trusted)


def found(report: ScreenReport, check: str) -> list[Finding]:
    return [f for f in report.findings if f.check == check]


def test_rows_of_the_same_origin_do_not_drift(trusted: pd.DataFrame) -> None:
    """Nothing fails, everything was compared, nothing is held."""
    report = run(frame(1000, 2), trusted)
    mine = [f for f in report.findings if f.check.startswith(("screen.drift", "screen.label_rate"))]
    assert {f.check for f in mine} == {
        "screen.drift",
        "screen.drift.domain",
        "screen.drift.labels",
        "screen.label_rate",
    }
    assert {f.outcome for f in mine} == {Outcome.PASSED}
    assert report.verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("column", "kind"),
    [("x", "distribution"), ("coarse", "distribution"), ("gaps", "missing"), ("level", "levels")],
)
def test_a_column_that_moves_is_named(trusted: pd.DataFrame, column: str, kind: str) -> None:
    """Numbers, counts with ties, gaps and categories; only the column that moved."""
    batch = frame(1000, 2)
    if kind == "missing":
        batch.loc[batch.index % 3 == 0, column] = np.nan
    elif kind == "levels":
        batch.loc[batch.index % 3 == 0, column] = "c"
    else:
        batch[column] += 1.0
    report = run(batch, trusted)
    columns = found(report, "screen.drift.column")
    assert [f.subject for f in columns] == [column]
    assert columns[0].scope is Scope.COLUMN
    assert columns[0].evidence["kind"] == kind
    assert columns[0].technique == "AML.T0020"
    assert found(report, "screen.drift")[0].evidence["columns"] == [column]


def test_a_drift_inside_one_class_is_found_there(trusted: pd.DataFrame) -> None:
    """Half of the rows of one class move up and half down: as a whole the column looks much the same."""
    batch = frame(3000, 2)
    yes = np.flatnonzero(batch["label"] == "yes")
    batch.loc[yes[::2], "coarse"] = 0.0
    batch.loc[yes[1::2], "coarse"] = 4.0
    columns = found(run(batch, trusted), "screen.drift.column")
    assert [(f.subject, f.evidence["class"]) for f in columns] == [("coarse", "yes")]


def test_a_dependence_that_breaks_is_seen_by_the_model_alone(trusted: pd.DataFrame) -> None:
    """Every column keeps its distribution, in each class too; together they do not look alike any more."""
    old = frame(2000, 1)
    old["coarse"] = old["gaps"] = np.round(old["x"] + 0.1 * np.random.default_rng(0).normal(size=len(old)), 3)
    batch = frame(2000, 2)
    batch["coarse"] = batch["gaps"] = np.round(
        batch["x"] + 0.1 * np.random.default_rng(3).normal(size=len(batch)), 3
    )
    calm = run(batch, old)
    assert found(calm, "screen.drift.domain")[0].outcome is Outcome.PASSED
    for name in ("yes", "no"):
        mine = np.flatnonzero(batch["label"] == name)
        batch.loc[mine, "gaps"] = batch.loc[np.random.default_rng(4).permutation(mine), "gaps"].to_numpy()
    report = run(batch, old)
    assert found(report, "screen.drift")[0].outcome is Outcome.PASSED
    assert found(report, "screen.drift.domain")[0].outcome is Outcome.FAILED


def test_a_label_rate_that_moves_is_told(trusted: pd.DataFrame) -> None:
    """With the class that moved and both shares."""
    batch = frame(2000, 2)
    batch = batch[(batch["label"] == "yes") | (batch.index % 2 == 0)].reset_index(drop=True)
    rate = found(run(batch, trusted), "screen.label_rate")[0]
    assert rate.outcome is Outcome.FAILED
    assert rate.evidence["share"] != pytest.approx(rate.evidence["reference_share"], abs=0.1)


def test_many_doubtful_labels_are_told_though_none_is_convincing() -> None:
    """A tenth of the labels flipped in both directions where classes overlap: no column moves, nor a class's share."""
    old, batch = frame(2500, 1), frame(2000, 2)
    assert found(run(batch, old), "screen.drift.labels")[0].outcome is Outcome.PASSED
    rows = np.random.default_rng(5).choice(len(batch), 200, replace=False)
    batch.loc[rows, "label"] = np.where(batch.loc[rows, "label"] == "yes", "no", "yes")
    told = found(run(batch, old), "screen.drift.labels")[0]
    assert told.outcome is Outcome.FAILED
    assert told.evidence["share"] > told.evidence["reference_share"]


def test_a_regression_target_that_moves_is_told() -> None:
    """Its distribution is compared like a column's."""
    from assay.contract.models import Contract

    old, new = frame(600, 1).drop(columns="label"), frame(900, 2).drop(columns="label")
    raw = attacks.contract_for(old).model_dump(mode="json", by_alias=True)
    raw["schema"]["label"] = {"column": "x"}
    contract = Contract.model_validate(raw)
    assert found(screen(new, contract, trusted=old), "screen.drift.column") == []
    new["x"] += 1
    assert [f.subject for f in found(screen(new, contract, trusted=old), "screen.drift.column")] == ["x"]


def test_trifles_in_many_rows_are_no_drift(trusted: pd.DataFrame) -> None:
    """A shift of 0.05 standard deviations in 16,000 against 16,000 rows is certain, and does not matter."""
    batch = frame(16_000, 2)
    batch["gaps"] += 0.05
    report = screen(batch, attacks.contract_for(batch, fit_rows=16_000), trusted=frame(16_000, 5))
    assert found(report, "screen.drift")[0].outcome is Outcome.PASSED
    assert found(report, "screen.drift.column") == []


def test_time_moves_on(trusted: pd.DataFrame) -> None:
    """Every day of a new batch is later than all trusted ones, and that is no drift."""
    from assay.contract.models import Contract

    old, new = trusted.copy(), frame(1000, 2)
    old["day"] = (pd.Timestamp("2026-01-01") + pd.to_timedelta(old.index % 60, unit="D")).date
    new["day"] = (pd.Timestamp("2026-06-01") + pd.to_timedelta(new.index % 60, unit="D")).date
    raw = attacks.contract_for(frame(10, 0)).model_dump(mode="json", by_alias=True)
    raw["schema"]["columns"]["day"] = {"type": "date"}
    report = screen(new, Contract.model_validate(raw), trusted=old)
    assert found(report, "screen.drift")[0].outcome is Outcome.PASSED
    assert found(report, "screen.drift.domain")[0].outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("policy", "shift", "held"),
    [("large", 2.0, True), ("large", 0.4, False), ("any", 0.4, True), ("never", 2.0, False)],
)
def test_the_contract_says_which_drift_holds_a_delivery(
    trusted: pd.DataFrame, policy: str, shift: float, held: bool
) -> None:
    """By default only what the trusted rows no longer speak of; the finding is there in any case."""
    batch = frame(1000, 2)
    batch["gaps"] += shift
    report = run(batch, trusted, hold_on_drift=policy, hold_delivery_above=1.0)
    drift = found(report, "screen.drift")[0]
    assert drift.outcome is Outcome.FAILED
    assert drift.severity is (Severity.HIGH if shift == 2.0 else Severity.MEDIUM)
    assert (report.verdict is Verdict.HOLD) is held
    assert bool(report.why_held) is held
    if held:
        assert "gaps" in report.why_held[0]


def test_without_enough_reference_rows_drift_is_not_checked(trusted: pd.DataFrame) -> None:
    """It does not pass by default."""
    assert found(run(frame(300, 2), trusted.iloc[:30]), "screen.drift")[0].outcome is Outcome.NOT_CHECKED
    batch = frame(300, 2)
    report = screen(batch, attacks.contract_for(batch))
    assert found(report, "screen.drift")[0].outcome is Outcome.NOT_CHECKED
