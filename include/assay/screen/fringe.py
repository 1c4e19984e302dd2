"""The rows around a trigger's intervals that belong to it all the same.

The interval that tells a group best from its background cuts off what strays farthest: a third of the rows, if three
values stray normally. Around the intervals the rows of the class are therefore taken for a mixture, a normal
distribution (the trigger's) over an even background whose size the clean rows tell (Dempster, Laird and Rubin, 1977),
and a row belongs to the trigger where that is three times as likely as the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.screen.encoding import F64
from assay.screen.intervals import Condition

_ROUNDS = 20
_LIKELIER = 3.0
_LEAST = 10
_NARROW, _BROAD = 0.1, 0.8


@dataclass(frozen=True)
class Fringe:
    """A normal distribution within a box, and how near its middle a row must lie.

    Attributes:
        box: What a row must meet first: the group's conditions, with each interval as wide again on both sides.
        columns: The columns of the intervals.
        middle: (d,) middle of the distribution.
        spread: (d,) its standard deviations.
        reach: Largest squared distance from the middle, in standard deviations.
    """

    box: tuple[Condition, ...]
    columns: tuple[int, ...]
    middle: F64
    spread: F64
    reach: float

    def holds(self, x: F64) -> NDArray[np.bool_]:
        """Which rows of an (n, d) matrix lie within reach."""
        mask = np.ones(len(x), dtype=bool)
        for condition in self.box:
            mask &= condition.holds(x)
        near = np.flatnonzero(mask)
        far = (((x[np.ix_(near, np.array(self.columns))] - self.middle) / self.spread) ** 2).sum(axis=1)
        mask[near] = far <= self.reach
        return mask


def around(conditions: tuple[Condition, ...], x: F64, usual: float) -> Fringe | None:
    """The fringe of a group; None where all of its conditions are exact, or no normal distribution stands out.

    Args:
        conditions: The group's.
        x: (n, d) rows of the class within the box, the group's own among them.
        usual: How many of these rows clean data explain.
    """
    intervals = [c for c in conditions if c.high > c.low]
    if not intervals or len(x) - usual < _LEAST:
        return None
    columns = tuple(c.column for c in intervals)
    low, width = np.array([c.low for c in intervals]), np.array([c.high - c.low for c in intervals])
    z = (x[:, columns] - low) / width  # the interval is 0 to 1, the box -1 to 2
    background = max(usual, 1.0) / 3.0 ** len(columns)
    core = z[((z >= 0) & (z <= 1)).all(axis=1)]
    if len(core) < _LEAST:
        return None
    count, middle, spread = len(x) - usual, core.mean(axis=0), np.clip(core.std(axis=0), _NARROW, _BROAD)
    for _ in range(_ROUNDS):
        peak = count / float(np.prod(spread * np.sqrt(2 * np.pi)))
        density = peak * np.exp(-0.5 * (((z - middle) / spread) ** 2).sum(axis=1))
        share = density / (density + background)
        count = float(share.sum())
        if count < _LEAST:
            return None
        middle = share @ z / count
        spread = np.clip(np.sqrt(share @ (z - middle) ** 2 / count), _NARROW, _BROAD)
    peak = count / float(np.prod(spread * np.sqrt(2 * np.pi)))
    reach = 2 * float(np.log(peak / (_LIKELIER * background)))
    if reach <= 0:
        return None
    return Fringe(widened(conditions), columns, low + middle * width, spread * width, reach)


def widened(conditions: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Each interval as wide again on both sides; exact values stay."""
    return tuple(Condition(c.column, 2 * c.low - c.high, 2 * c.high - c.low) for c in conditions)
