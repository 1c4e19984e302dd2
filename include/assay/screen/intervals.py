"""Where a group of rows lies: the columns and intervals in which it exceeds what other rows let expect.

A combination of windows finds a trigger, but seldom sits right on it. From there each column's interval is taken anew,
as the one that holds most more of the group than its background explains (the scan statistic: Kulldorff, 1997), while
the others stay; and columns are added in which the group is as narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.screen.encoding import F64

_ROUNDS = 4
_GRID = 64
_BINS = 24
_CONTEXT = 10.0
_PAD = 0.2
_LEAST = 5
_UNUSUAL = 0.35
_USUAL = 0.5
_ADDED = 12.0
_AROUND = 0.4
_WIDE = 1.5


@dataclass(frozen=True)
class Condition:
    """A column's value lies between `low` and `high`, both included."""

    column: int
    low: float
    high: float

    def holds(self, x: F64) -> NDArray[np.bool_]:
        """Which rows of an (n, d) matrix meet it."""
        values = x[:, self.column]
        return np.asarray((values >= self.low) & (values <= self.high))


class Fitter:
    """Fits combinations within one class.

    Args:
        x: (n, d) rows.
        label: (n,) which of them carry the class's label.
        sound: (m, d) reference rows of that label.
        strange: (k, d) rows of other labels.
        categorical: (d,) which columns hold codes instead of numbers.
        most: Most columns that a combination may have.
        gain: By how much a combination exceeds what is expected of it.
    """

    def __init__(
        self,
        x: F64,
        label: NDArray[np.bool_],
        sound: F64,
        strange: F64,
        categorical: NDArray[np.bool_],
        most: int,
        gain: Callable[[tuple[Condition, ...]], float],
    ) -> None:
        self._mine, self._sound, self._strange = x[label], sound, strange
        self._categorical, self._most, self._worth = categorical, most, gain
        self._reach = np.array([_spread(column) for column in np.vstack([self._mine, sound]).T])
        self._edges = [_cells(column, bool(categorical[j])) for j, column in enumerate(self._mine.T)]
        self._bounds = np.array(
            [_bounds(column, edges) for column, edges in zip(self._mine.T, self._edges, strict=True)]
        )
        self._binned = self._bins(self._mine)
        self._binned_sound = self._bins(sound)
        self._binned_strange = self._bins(strange)

    def _bins(self, x: F64) -> NDArray[np.int64]:
        out = np.zeros(x.shape, dtype=np.int64)
        for j, edges in enumerate(self._edges):
            out[:, j] = np.where(np.isfinite(x[:, j]), np.searchsorted(edges, x[:, j], side="right"), _BINS)
        return out

    def fit(self, start: tuple[Condition, ...]) -> tuple[Condition, ...]:
        """The combination that `start` leads to; `start` itself where it leads nowhere."""
        state = {condition.column: condition for condition in start}
        for _ in range(_ROUNDS):
            before = dict(state)
            for column in list(state):
                others = [condition for name, condition in state.items() if name != column]
                found = self._interval(state[column], others)
                if found is None or found[1] > _USUAL:
                    if len(state) > 1:
                        del state[column]
                    continue
                state[column] = found[0]
            if len(state) < self._most:
                added = self._narrowest(list(state.values()))
                # A column that cuts the group in two belongs to some of its rows only.
                if added is not None and self._worth((*state.values(), added)) > self._worth(
                    tuple(state.values())
                ):
                    state[added.column] = added
            if state == before:
                break
        return tuple(state[column] for column in sorted(state)) if state else start

    def moved(self, conditions: tuple[Condition, ...], one: Condition) -> tuple[Condition, ...]:
        """The combination with the interval of one column taken anew."""
        others = [condition for condition in conditions if condition.column != one.column]
        found = self._interval(one, others)
        if found is None:
            return conditions
        return tuple(found[0] if condition.column == one.column else condition for condition in conditions)

    def _meeting(self, x: F64, conditions: list[Condition]) -> NDArray[np.bool_]:
        out = np.ones(len(x), dtype=bool)
        for condition in conditions:
            out &= condition.holds(x)
        return out

    def _interval(self, start: Condition, others: list[Condition]) -> tuple[Condition, float] | None:
        """The interval near a given one that holds most more of the rows that meet the other conditions than expected.

        With it comes the share of rows that it should hold. Classes have regions of their own farther off, and no
        trigger is wide.
        """
        column, reach = start.column, self._reach[start.column]
        here = self._meeting(self._mine, others)
        there = self._meeting(self._strange, others)
        values = self._mine[here, column]
        values = np.sort(values[np.isfinite(values)])
        near = values[(values >= start.low - _AROUND * reach) & (values <= start.high + _AROUND * reach)]
        if len(near) < _LEAST:
            return None
        apart = np.concatenate([self._mine[~here, column], self._sound[:, column]])
        elsewhere = self._strange[:, column]
        grid = np.unique(near)
        if len(grid) > _GRID:
            grid = np.unique(np.quantile(near, np.linspace(0, 1, _GRID), method="nearest"))
        if bool(self._categorical[column]):
            low = high = np.arange(len(grid))
        else:
            low, high = np.triu_indices(len(grid))
        seen = _inside(values, grid, low, high)
        share = _share(
            (_inside(np.sort(apart), grid, low, high), len(apart)),
            (_inside(np.sort(elsewhere), grid, low, high), len(elsewhere)),
            (_inside(np.sort(elsewhere[there]), grid, low, high), int(there.sum())),
        )
        gain = _gain(seen, share, len(values))
        gain[grid[high] - grid[low] > reach] = 0.0
        best = int(np.argmax(gain))
        if gain[best] <= 0:
            return None
        first, last = float(grid[low[best]]), float(grid[high[best]])
        pad = _PAD * (last - first)
        return Condition(column, first - pad, last + pad), float(share[best])

    def _narrowest(self, conditions: list[Condition]) -> Condition | None:
        """One more column in which the rows lie closely together, where others do not."""
        core = self._meeting(self._mine, conditions)
        size = int(core.sum())
        if size < _LEAST:
            return None
        context = self._meeting(self._strange, conditions)
        counts = [
            _histograms(part)
            for part in (
                self._binned[core],
                np.vstack([self._binned[~core], self._binned_sound]),
                self._binned_strange,
                self._binned_strange[context],
            )
        ]
        low, high = np.triu_indices(_BINS)
        sums = [np.cumsum(np.pad(c[:, :_BINS], ((0, 0), (1, 0))), axis=1) for c in counts]
        seen, apart, elsewhere, there = (s[:, high + 1] - s[:, low] for s in sums)
        share = _share(
            (apart, len(self._mine) - size + len(self._sound)),
            (elsewhere, len(self._strange)),
            (there, int(context.sum())),
        )
        gain = _gain(seen, share, size)
        gain[share > _UNUSUAL] = 0.0
        gain[:, low != high] = np.where(self._categorical[:, None], 0.0, gain[:, low != high])
        with np.errstate(invalid="ignore"):  # cells that are not there
            wide = self._bounds[:, high + 1] - self._bounds[:, low] > _WIDE * self._reach[:, None]
        gain[wide & (low != high)] = 0.0
        best = gain.max(axis=1)
        best[[condition.column for condition in conditions]] = 0.0
        column = int(np.argmax(best))
        if best[column] < _ADDED:
            return None
        cell = int(np.argmax(gain[column]))
        start = Condition(column, self._bounds[column, low[cell]], self._bounds[column, high[cell] + 1])
        found = self._interval(start, conditions)
        return None if found is None or found[1] > _UNUSUAL else found[0]


def _cells(values: F64, categorical: bool) -> F64:
    """Inner edges of at most 24 cells: quantiles of numbers, codes one by one."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(0)
    if categorical:
        codes, counts = np.unique(finite, return_counts=True)
        return np.sort(codes[np.argsort(-counts, kind="stable")][: _BINS - 1])
    return np.unique(np.quantile(finite, np.linspace(0, 1, _BINS + 1)[1:-1]))


def _bounds(values: F64, edges: F64) -> F64:
    """(25,) where the cells begin and end; cells that are not there begin and end at infinity."""
    out = np.full(_BINS + 1, np.inf)
    finite = values[np.isfinite(values)]
    if len(finite):
        out[: len(edges) + 2] = [min(finite.min(), *edges[:1]), *edges, max(finite.max(), *edges[-1:])]
    return out


def _spread(values: F64) -> float:
    """The clipped standard deviation."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0
    low, high = np.quantile(finite, [0.001, 0.999])
    return float(np.std(np.clip(finite, low, high)))


def _histograms(binned: NDArray[np.int64]) -> F64:
    """(d, bins + 1) counts of (n, d) cells; the last is of missing values."""
    width = binned.shape[1]
    flat = binned + np.arange(width) * (_BINS + 1)
    return (
        np.bincount(flat.ravel(), minlength=width * (_BINS + 1)).reshape(width, _BINS + 1).astype(np.float64)
    )


def _inside(values: F64, grid: F64, low: NDArray[np.int64], high: NDArray[np.int64]) -> F64:
    """How many of the sorted values lie between two points of the grid, both included."""
    left, right = np.searchsorted(values, grid, side="left"), np.searchsorted(values, grid, side="right")
    return (right[high] - left[low]).astype(np.float64)


def _share(apart: tuple[F64, int], elsewhere: tuple[F64, int], there: tuple[F64, int]) -> F64:
    """The share of rows that an interval should hold.

    Rows with a trigger come from other classes and are like these: what is narrow beside their own label alone is none.

    Args:
        apart: How many rows of the class it holds, and of how many, the group left out.
        elsewhere: The same for rows of other labels.
        there: The same for those of them that meet the other conditions.
    """
    alone = np.maximum(*((count + 0.5) / (rows + 1.0) for count, rows in (apart, elsewhere)))
    return np.asarray(np.minimum((_CONTEXT * alone + there[0]) / (_CONTEXT + there[1]), 1.0))


def _gain(seen: F64, share: F64, rows: int) -> F64:
    """Log likelihood ratio of counts against their shares; 0 where no more are seen."""
    expected = np.clip(share * rows, 1e-9, rows - 1e-9)
    rest = rows - seen
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = seen * np.log(seen / expected)
        outside = np.where(rest > 0, rest * np.log(rest / (rows - expected)), 0.0)
    return np.asarray(np.where(seen > expected, inside + outside, 0.0))
