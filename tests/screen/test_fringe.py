"""Rows around a trigger's intervals, and where they end."""

from __future__ import annotations

import numpy as np
import pytest

from assay.screen.fringe import around, widened
from assay.screen.intervals import Condition

BOX = (Condition(0, -1.2, 1.2), Condition(1, -1.2, 1.2), Condition(2, 0.0, 0.0))


def rows(group: int, background: int, seed: int, shape: str = "normal") -> tuple[np.ndarray, np.ndarray]:
    """Rows of a group around 0 with spread 1 in two columns, among even ones; and which are the group's."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(group, 2)) if shape == "normal" else rng.uniform(-1.7, 1.7, (group, 2))
    x = np.vstack([own, rng.uniform(-3.6, 3.6, (background, 2))])
    return np.column_stack([x, np.zeros(len(x))]), np.arange(len(x)) < group


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", ["normal", "uniform"])
def test_rows_that_the_intervals_cut_off_are_covered(seed: int, shape: str) -> None:
    """Intervals of 1.2 spreads hold three fifths of them; the fringe four fifths at least, and few of the others."""
    x, own = rows(150, 30, seed, shape)
    found = around(BOX, x, 30)
    assert found is not None
    inside = found.holds(x)
    core = np.logical_and.reduce([c.holds(x) for c in BOX])
    assert inside[own].mean() > max(0.8, core[own].mean() + 0.15)
    assert inside[~own].mean() < 0.5


def test_among_many_clean_rows_it_ends_sooner() -> None:
    """The more clean rows lie there, the nearer to the middle a row must be."""
    few, many = (around(BOX, rows(150, count, 1)[0], count) for count in (20, 600))
    assert few is not None
    assert many is not None
    assert few.reach > many.reach + 2


def test_exact_values_and_chance_have_none() -> None:
    """Nothing lies around a single value, and where clean rows explain all there is no group."""
    x, _ = rows(0, 300, 2)
    assert around((Condition(2, 0.0, 0.0),), x, 1) is None
    assert around(BOX, x, 300) is None


def test_exact_columns_stay_exact() -> None:
    """A row that differs in a column with one value is no member, however near in the others."""
    x, _ = rows(150, 60, 3)
    found = around(BOX, x, 60)
    assert found is not None
    x[:, 2] = 0.01
    assert not found.holds(x).any()
    assert widened(BOX)[2] == BOX[2]
