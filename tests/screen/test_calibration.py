"""P-values are valid, their combination keeps what matters, and the cut keeps its rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from assay.screen.calibration import (
    Calibrator,
    beta_binomial_tail,
    combine,
    excess,
    false_discovery_cut,
    holm,
    negative_binomial_tail,
    wilson_upper,
)


def test_p_values_of_clean_scores_are_not_too_small() -> None:
    """Super-uniform at every level down to the null's size, for light and heavy tails."""
    rng = np.random.default_rng(0)
    for draw in (rng.normal, rng.standard_exponential, lambda size: rng.standard_t(2, size)):
        levels = np.array([0.2, 0.05, 0.01])
        shares = np.zeros(3)
        for _ in range(40):
            p = Calibrator(draw(size=300)).p_values(draw(size=2000))
            shares += [(p <= level).mean() / 40 for level in levels]
        assert (shares <= levels * 1.1 + 0.002).all()


def test_p_values_fall_with_the_score_and_never_tie_beyond_the_null() -> None:
    """Rows past the last null score are still ranked."""
    p = Calibrator(np.random.default_rng(0).normal(size=100)).p_values(
        np.array([-9.0, 0.0, 5.0, 6.0, 9.0, np.nan])
    )
    assert (np.diff(p[:5]) < 0).all()
    assert p[5] == 1
    assert (Calibrator(np.zeros(0)).p_values(np.array([5.0])) == 1).all()


def test_one_small_p_value_survives_many_large_ones() -> None:
    """And many ones do not hide it."""
    p = combine(np.array([[1e-6, 1.0, 1.0], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0]]), np.ones(3))
    assert p[0] < 1e-5
    assert p[1] == pytest.approx(0.5)
    assert p[2] == 1


def test_the_false_discovery_cut_is_the_step_up_rule() -> None:
    """Against SciPy's adjustment."""
    rng = np.random.default_rng(0)
    p = np.concatenate([rng.random(500), rng.random(40) * 1e-3])
    expected = p[stats.false_discovery_control(p) <= 0.05].max()
    assert false_discovery_cut(p, 0.05) == expected
    assert false_discovery_cut(rng.random(500) * 0.5 + 0.5, 0.05) == -1
    assert false_discovery_cut(np.zeros(0), 0.05) == -1


def test_the_gate_needs_more_rows_than_few_null_rows_explain() -> None:
    """Six rows past all of 500 null rows are expected among 3000; sixty are not."""
    assert excess(6, 3000, 0, 500) > 0.1
    assert excess(60, 3000, 0, 500) < 1e-3
    assert excess(5, 100, 10, 10) == 1


def test_tails_agree_with_scipy() -> None:
    """Beta-binomial and negative binomial."""
    assert beta_binomial_tail(7, 20, 2.0, 5.0) == pytest.approx(stats.betabinom(20, 2, 5).sf(6))
    assert negative_binomial_tail(9, 2.0, 3.0, 5.0) == pytest.approx(stats.nbinom.logsf(8, 2, 3 / 8))
    assert negative_binomial_tail(0, 2.0, 3.0, 5.0) == 0


def test_holm_is_monotone_and_capped() -> None:
    """The textbook example."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_wilson_upper_covers_none_seen() -> None:
    """No hit in 100 still allows a few per cent; no trial allows everything."""
    assert 0.02 < wilson_upper(np.array([0]), np.array([100]))[0] < 0.05
    assert wilson_upper(np.array([0]), np.array([0]))[0] == pytest.approx(1)
