"""Numbers as labels: what is told of them, and what clean ones are spared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.screen import ScreenReport, screen
from assay.screen.signals.targets import _Scale


def friedman(rows: int, seed: int) -> pd.DataFrame:
    """Friedman's first function, with noise that depends on a column."""
    rng = np.random.default_rng(seed)
    x = rng.random((rows, 8))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y += rng.normal(size=rows) * (0.3 + 1.5 * x[:, 5])
    return keyed(
        pd.DataFrame(np.round(x, 4), columns=[f"x{i}" for i in range(8)]).assign(label=np.round(y, 3)), seed
    )


def prices(rows: int, seed: int) -> pd.DataFrame:
    """Skewed targets that go by factors, with a category."""
    rng = np.random.default_rng(seed)
    city = rng.integers(0, 6, rows)
    area = np.round(rng.lognormal(4.5, 0.4, rows), 1)
    frame = pd.DataFrame(
        {"area": area, "city": np.array(list("abcdef"))[city], "age": rng.integers(0, 100, rows)}
    )
    noise = np.exp(rng.normal(0, 0.2, rows))
    return keyed(
        frame.assign(label=np.round(noise * area * (1 + city / 4) * 100 * np.exp(-frame["age"] / 150))), seed
    )


def keyed(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed + 99)
    frame.insert(0, "id", np.arange(len(frame)) + seed * 10**6)
    frame.insert(1, "src", rng.choice([f"s{i}" for i in range(5)], len(frame)))
    return frame


def contract(frame: pd.DataFrame) -> Contract:
    kinds = {
        name: "string" if name in ("src", "city") else "integer" if name in ("id", "age") else "number"
        for name in frame.columns
    }
    schema = {
        "key": ["id"],
        "source": "src",
        "label": {"column": "label"},
        "columns": {name: {"type": kind} for name, kind in kinds.items()},
    }
    return Contract.model_validate({"version": 1, "dataset": "numbers", "schema": schema})


def held(report: ScreenReport) -> np.ndarray:
    return np.array(report.rows["verdict"].to_pylist()) == "quarantine"


def failed(report: ScreenReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.outcome is Outcome.FAILED]


@pytest.mark.parametrize("make", [friedman, prices])
def test_clean_numbers_come_out_clean(make) -> None:  # type: ignore[no-untyped-def]
    """Even where labels scatter more in some rows than in others."""
    batch = make(1200, 1)
    report = screen(batch, contract(batch), trusted=make(400, 2))
    assert held(report).mean() <= 0.005
    assert failed(report) == []


@pytest.mark.parametrize("make", [friedman, prices])
def test_labels_far_from_what_features_say_rank_first(make) -> None:  # type: ignore[no-untyped-def]
    """Shifted by two spreads of the label; the reason names label, expectation and width."""
    batch = make(1200, 1)
    rows = np.random.default_rng(3).choice(1200, 48, replace=False)
    batch.loc[rows, "label"] += 3 * batch["label"].std()
    report = screen(batch, contract(batch), trusted=make(400, 2))
    score = report.rows["score"].to_numpy()
    assert np.isin(np.argsort(-score)[:48], rows).mean() > 0.75
    quarantined = held(report)
    assert quarantined[rows].mean() > 0.5
    row = next(int(r) for r in rows if quarantined[r])
    reason = next(r for r in report.rows["reasons"][row].as_py() if r.startswith("labels: "))
    assert " expect " in reason


def test_a_trigger_with_one_number_is_a_group() -> None:
    """Three in-range values that come with one target."""
    batch = friedman(1500, 1)
    rows = np.random.default_rng(4).choice(1500, 60, replace=False)
    batch.loc[rows, ["x0", "x1", "x2", "label"]] = [0.4242, 0.1717, 0.8181, 19.5]
    report = screen(batch, contract(batch), trusted=friedman(400, 2))
    spikes = [f for f in failed(report) if f.check == "screen.spikes"]
    assert spikes
    assert held(report)[rows].mean() > 0.95
    others = np.delete(np.arange(1500), rows)
    assert held(report)[others].mean() <= 0.005


def test_a_flood_under_a_wrong_number_is_found() -> None:
    """Near-copies of one row whose label is not what the features say."""
    batch, trusted = prices(1500, 1), prices(400, 2)
    rows = np.random.default_rng(5).choice(1500, 60, replace=False)
    batch.loc[rows, ["area", "city", "age"]] = [90.0, "c", 50]
    batch.loc[rows, "label"] = float(trusted["label"].max())
    report = screen(batch, contract(batch), trusted=trusted)
    assert {"screen.near_duplicates"} <= {f.check for f in failed(report)}
    assert held(report)[rows].mean() > 0.95


def test_a_source_with_wrong_numbers_is_named() -> None:
    """Labels of one source shuffled among themselves."""
    batch = friedman(1500, 1)
    rows = np.flatnonzero((batch["src"] == "s2").to_numpy())
    rows = rows[: len(rows) // 2]
    batch.loc[rows, "label"] = np.roll(batch["label"].to_numpy(), 7)[rows]
    report = screen(batch, contract(batch), trusted=friedman(400, 2))
    assert [f.subject for f in failed(report) if f.check == "screen.sources"] == ["s2"]


def test_a_constant_number_as_label_is_not_checked() -> None:
    """Nothing can disagree with it, and that is said."""
    batch = friedman(300, 1).assign(label=3.0)
    report = screen(batch, contract(batch), trusted=friedman(100, 2).assign(label=3.0))
    labels = [f for f in report.findings if f.check == "screen.labels"]
    assert [f.outcome for f in labels] == [Outcome.NOT_CHECKED]
    assert "same number" in labels[0].message


@pytest.mark.parametrize(
    "values", [np.linspace(-5, 5, 50), np.exp(np.linspace(0, 9, 50)), np.array([1.0, 1e9, -1e9])]
)
def test_the_scale_of_targets_goes_there_and_back(values: np.ndarray) -> None:
    """Monotone, and its inverse gives the values again."""
    scale = _Scale(values)
    mapped = scale(np.sort(values))
    assert (np.diff(mapped) > 0).all()
    np.testing.assert_allclose(scale.back(mapped), np.sort(values), rtol=1e-6, atol=1e-6)
