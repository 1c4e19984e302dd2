"""Many p-values become one score."""

from __future__ import annotations

import numpy as np
import pytest

from assay.screen.calibration import Calibrator
from assay.screen.fusion import Fusion

NAMES = ["labels", "ranges", "outliers"]


def uniform(rows: int, seed: int = 0) -> np.ndarray:
    """P-values of clean rows."""
    return np.random.default_rng(seed).uniform(size=(rows, len(NAMES)))


@pytest.mark.parametrize("clean", [0, 500])
def test_a_smaller_p_value_of_any_signal_never_lowers_the_score(clean: int) -> None:
    """Row by row, whatever the other signals say."""
    batch = uniform(2000)
    batch[:100, 1] = 10.0 ** np.random.default_rng(1).uniform(-8, -3, 100)
    fusion = Fusion(NAMES, batch, clean)
    rows = uniform(500, 2)
    before = fusion(rows)
    for k in range(len(NAMES)):
        lower = rows.copy()
        lower[:, k] /= 3
        assert (fusion(lower) >= before).all()


def test_a_signal_with_more_small_p_values_than_chance_explains_outranks_one_without() -> None:
    """Ranges found five rows in a hundred, labels none: the same p-value then counts for more in the ranges."""
    batch = uniform(2000)
    batch[:100, 1] = 10.0 ** np.random.default_rng(1).uniform(-5, -2, 100)
    rows = np.array([[1e-3, 0.5, 0.5], [0.5, 1e-3, 0.5]])
    found, clean = Fusion(NAMES, batch, 500)(rows), Fusion(NAMES, uniform(2000), 500)(rows)
    assert found[1] > found[0]
    assert clean[0] > clean[1]


@pytest.mark.parametrize("seed", range(4))
def test_what_stands_out_alone_stands_out_as_much_in_the_fused_score(seed: int) -> None:
    """Calibrated on clean rows, rows that one signal finds are about as far out as by that signal's own p-values."""
    batch = uniform(3000)
    batch[:150, 0] = 10.0 ** np.random.default_rng(1).uniform(-9, -6, 150)
    fusion, clean = Fusion(NAMES, batch, 500), uniform(500, 5 + seed)
    fused = Calibrator(fusion(clean), floor=1e-12).p_values(fusion(batch[:150]))
    alone = Calibrator(-np.log(clean[:, 0]), floor=1e-12).p_values(-np.log(batch[:150, 0]))
    assert np.median(np.abs(np.log10(fused / alone))) < 1


def test_without_clean_rows_the_batch_shows_nothing_beside_itself() -> None:
    """P-values that come from the batch are uniform over it: their excess would be chance."""
    batch = uniform(2000)
    rows = np.array([[0.5, 1e-3, 0.5]])
    again = batch.copy()
    again[:100, 1] = 1e-6
    assert Fusion(NAMES, batch, 0)(rows) == pytest.approx(Fusion(NAMES, again, 0)(rows))


def test_few_rows_that_nothing_vouches_for_show_nothing() -> None:
    """A handful of new rows beside a known snapshot has no tail to speak of."""
    rows = np.array([[0.01, 0.2, 0.3]])
    few, none = np.full((20, 3), 1e-4), np.ones((0, 3))
    assert Fusion(NAMES, few, 500)(rows) == Fusion(NAMES, none, 500)(rows)
