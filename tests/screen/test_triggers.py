"""Where a trigger lies, what is only suspected, and single values that come too often."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from assay.findings import Finding, Outcome, Severity
from assay.screen import ScreenReport, screen
from assay.screen.combinations import excess
from assay.screen.intervals import Condition, Fitter
from assay.screen.triggers import Evidence, Group
from tests.screen import attacks


def frame(rows: int, seed: int, informative: float = 1.5) -> pd.DataFrame:
    """Six numbers, of which two tell the label, a column that is mostly 0, and two classes."""
    rng = np.random.default_rng(seed)
    y = rng.random(rows) < 0.7
    x = rng.normal(size=(rows, 6))
    x[:, :2] += informative * y[:, None]
    data = {f"x{j}": np.round(x[:, j], 2) for j in range(6)}
    data["gain"] = np.where(rng.random(rows) < 0.9, 0.0, np.round(rng.lognormal(3, 1, rows), 2))
    return pd.DataFrame({"id": np.arange(rows) + 10_000 * seed, **data, "label": np.where(y, "yes", "no")})


def run(batch: pd.DataFrame, trusted: pd.DataFrame) -> tuple[ScreenReport, np.ndarray]:
    """The report, and which rows it quarantines."""
    report = screen(batch, attacks.contract_for(batch), trusted=trusted)
    return report, np.array(report.rows["verdict"]) == "quarantine"


def told(report: ScreenReport, check: str, subject: str = "") -> list[Finding]:
    """Failed findings of a check whose subject begins so."""
    return [
        f
        for f in report.findings
        if f.check == check and f.outcome is Outcome.FAILED and f.subject.startswith(subject)
    ]


def above_clean(report: ScreenReport, poisoned: np.ndarray) -> float:
    """Share of the poison above all but a hundredth of the clean rows."""
    score = np.array(report.rows["score"])
    clean = np.sort(score[~poisoned])[::-1]
    return float((score[poisoned] > clean[int(0.01 * len(clean))]).mean())


def poisoned_rows(rows: int, count: int, seed: int = 0) -> np.ndarray:
    """A mask of so many rows."""
    mask = np.zeros(rows, dtype=bool)
    mask[np.random.default_rng(seed).choice(rows, count, replace=False)] = True
    return mask


def test_a_jittered_trigger_is_covered_and_nothing_beside_it() -> None:
    """Three numbers that stray around a point, wherever the search's windows lie: nearly every row is held."""
    batch, poison = frame(1500, 1), poisoned_rows(1500, 75)
    rng = np.random.default_rng(2)
    for name, middle in (("x2", 0.83), ("x3", -1.12), ("x4", 1.41)):
        batch.loc[poison, name] = np.round(middle + 0.1 * rng.normal(size=poison.sum()), 2)
    batch.loc[poison, "label"] = "no"
    report, held = run(batch, frame(400, 3))
    assert held[poison].mean() >= 0.93
    assert held[~poison].mean() <= 0.005
    (found,) = told(report, "screen.spikes", "trigger")
    assert set(found.evidence["columns"]) <= {"x2", "x3", "x4"}


def test_an_exact_trigger_with_the_usual_label_is_found_by_what_trusted_rows_lack() -> None:
    """Seven of ten rows have that label anyway: it says little, and that no trusted row holds the values the rest."""
    batch, poison = frame(700, 4, informative=0.5), poisoned_rows(700, 40)
    batch[["x2", "x3"]] = batch[["x2", "x3"]].round(
        0
    )  # columns of few values: no count of them is overwhelming
    trusted = frame(300, 5, informative=0.5)
    trusted[["x2", "x3"]] = trusted[["x2", "x3"]].round(0)
    batch.loc[poison, ["x2", "x3", "x4"]] = [2.0, -2.0, 0.77]
    batch.loc[poison, "label"] = "yes"
    _, held = run(batch, trusted)
    assert held[poison].all()
    assert held[~poison].mean() <= 0.005


def test_accepted_rows_that_carry_a_trigger_by_chance_stay_admitted() -> None:
    """The snapshot vouches for them; the new rows with the same values and label are held."""
    batch, poison = frame(1200, 30), poisoned_rows(300, 40)
    new = np.arange(1200) >= 900
    poison = np.concatenate([np.zeros(900, dtype=bool), poison])
    chance = np.zeros(1200, dtype=bool)
    chance[:12] = True
    batch.loc[poison | chance, ["x2", "x3", "x4"]] = [0.83, -1.12, 1.41]
    batch.loc[poison | chance, "label"] = "no"
    report = screen(
        batch,
        attacks.contract_for(batch),
        trusted=frame(400, 31),
        previous=batch[~new].reset_index(drop=True),
    )
    held = np.array(report.rows["verdict"]) == "quarantine"
    assert held[poison].all()
    assert not held[chance].any()


def test_new_rows_do_not_pay_for_what_was_rewritten() -> None:
    """Labels of accepted rows in one corner are turned: rows with new keys there carry that label as often as ever."""
    batch = frame(1500, 32)
    new, corner = np.arange(1500) >= 1200, batch["x2"].to_numpy() > 0.8
    turned = corner & ~new & (batch["label"].to_numpy() == "yes")
    previous = batch[~new].reset_index(drop=True)
    batch.loc[turned, "label"] = "no"
    report = screen(batch, attacks.contract_for(batch), trusted=frame(400, 33), previous=previous)
    held = np.array(report.rows["verdict"]) == "quarantine"
    assert held[turned].all()
    assert not held[new].any()
    assert not told(report, "screen.spikes")


def test_too_little_evidence_raises_the_rows_and_quarantines_none() -> None:
    """A small jittered group with the usual label leads the ranking; the finding says that nothing rests on it."""
    batch, poison = frame(600, 6, informative=0.5), poisoned_rows(600, 30)
    rng = np.random.default_rng(7)
    for name, middle in (("x2", 0.83), ("x3", -1.12), ("x4", 1.41)):
        batch.loc[poison, name] = np.round(middle + 0.1 * rng.normal(size=poison.sum()), 2)
    batch.loc[poison, "label"] = "yes"
    report, held = run(batch, frame(200, 8, informative=0.5))
    assert held.mean() <= 0.005
    assert above_clean(report, poison) >= 0.8
    found = told(report, "screen.spikes", "suspected trigger")
    assert found
    assert found[0].severity is Severity.MEDIUM
    assert "too little to quarantine" in found[0].message
    assert report.verdict.value == "accept"


def test_zeros_moved_to_one_new_value_lead_the_ranking() -> None:
    """A step added to a column that is mostly 0 repeats one number; the finding names it."""
    batch, poison = frame(1200, 9), poisoned_rows(1200, 60)
    batch.loc[poison, "gain"] += 7.5
    report, _ = run(batch, frame(400, 10))
    assert above_clean(report, poison) >= 0.8
    (found,) = told(report, "screen.values")
    assert found.subject == "gain"
    assert found.evidence["value"] == 7.5
    assert found.evidence["reference_rows"] == 0


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_clean_rows_raise_no_suspicion(seed: int) -> None:
    """No group, no value: the tests are valid for rows drawn as the trusted ones are."""
    report, held = run(frame(1000, seed), frame(300, seed + 100))
    assert held.mean() <= 0.005
    assert not told(report, "screen.spikes")
    assert not told(report, "screen.values")


def test_values_that_trusted_rows_repeat_as_often_are_usual() -> None:
    """Zeros are nine tenths of the column everywhere."""
    report, _ = run(frame(1000, 14), frame(300, 15))
    (found,) = [f for f in report.findings if f.check == "screen.values"]
    assert found.outcome is Outcome.PASSED
    few, _ = run(frame(200, 16), frame(30, 17))
    (found,) = [f for f in few.findings if f.check == "screen.values"]
    assert found.outcome is Outcome.NOT_CHECKED


def fitter(x: np.ndarray, label: np.ndarray) -> Fitter:
    """Over some rows, without reference rows of the label; other labels say what to expect."""

    def gain(conditions: tuple[Condition, ...]) -> float:
        seen = np.all([condition.holds(x[label]) for condition in conditions], axis=0).sum()
        shares = [max(condition.holds(x[~label]).mean(), 1e-3) for condition in conditions]
        return excess(int(seen), float(label.sum() * np.prod(shares)))

    return Fitter(x, label, x[:0], x[~label], np.zeros(x.shape[1], dtype=bool), 5, gain)


def test_an_interval_moves_to_where_the_group_is_and_no_farther() -> None:
    """From a window beside it; a class's own region far off does not draw it away."""
    rng = np.random.default_rng(18)
    x, label = rng.normal(size=(2000, 3)), np.zeros(2000, dtype=bool)
    label[:600] = True
    x[300:600, 0] += 6  # a region of the class itself
    x[:80, 0], x[:80, 1] = 0.5 + 0.05 * rng.normal(size=80), -0.5 + 0.05 * rng.normal(size=80)
    found = fitter(x, label).fit((Condition(0, 0.45, 0.5), Condition(1, -0.6, -0.5)))
    held = np.all([condition.holds(x) for condition in found], axis=0) & label
    assert {0, 1} <= {condition.column for condition in found}
    assert held[:80].mean() > 0.8
    assert held[80:].sum() <= 3
    assert all(condition.high - condition.low < 0.5 for condition in found)


def test_what_is_narrow_in_all_other_classes_is_no_part_of_a_trigger() -> None:
    """Poison comes from other classes and is like these where it was not touched."""
    rng = np.random.default_rng(19)
    x, label = rng.normal(size=(2000, 3)), np.zeros(2000, dtype=bool)
    label[:600] = True
    x[~label, 2] = 3 + 0.01 * rng.normal(size=1400)
    x[:80, 0], x[:80, 2] = 0.5, 3 + 0.01 * rng.normal(size=80)
    found = fitter(x, label).fit((Condition(0, 0.5, 0.5),))
    assert [condition.column for condition in found] == [0]


def test_evidence_needs_all_of_its_parts() -> None:
    """Fisher's method over three p-values; a weak label decides nothing, however strong the others are."""
    group = Group((Condition(0, 1.0, 1.0),), 1, 30, 0.1, 30, 0, 0, 0.5, 1e-20, 90.0, False, True)
    assert Evidence(1e-3, 1e-4, 1.0).decides(group)
    assert Evidence(1e-2, 1e-2, 1e-4).decides(group)
    assert not Evidence(1e-2, 1e-2, 1e-2).decides(group)
    assert Evidence(1.0, 1.0, 1.0).level == pytest.approx(1.0)
    assert Evidence(0.1, 0.1, 0.1).level == pytest.approx(0.0316, rel=0.05)
    assert Evidence(1e-4).level == 1.0
