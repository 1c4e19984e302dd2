"""Values out of the range, type, categories or missingness of the reference rows.

Each number is asked how far it lies beyond what the reference holds, in units of the reference's own tail, so that a
heavy-tailed column does not cry wolf. Unseen categories, infinities, wrong types and nulls where the reference has none
count by how rare the reference shows them to be. The row's sum is then calibrated, cross-fitted, on the reference.
"""

from __future__ import annotations

import math

import numpy as np

from assay.findings import Finding, Outcome
from assay.screen.calibration import MIN_TAIL, Calibrator
from assay.screen.context import MIN_REFERENCE, Context
from assay.screen.encoding import F64, MISSING, UNSEEN, Block, Encoder

GROSS = 0.01
"""Rows that may lie past a limit by chance, in a whole batch."""

_CELL_CAP = 60.0
_SHAPE = 0.15
_NEW_LEVEL = 3.0
_EXCEPTION = 6.0
_LEAST = 10
# Continuous values do not meet at their end: where this share of the rows stands exactly there, it is a bound.
_AT_BOUND = 0.02


class Ranges:
    """Row score: sum over cells of how far beyond the reference they are, in nats."""

    name = "ranges"
    technique = "AML.T0020"
    decisive = True

    def fit(self, context: Context) -> None:
        """Learn tails per column and fold, then calibrate."""
        self._context = context
        pool = context.pool
        clean = pool.take(context.null)
        self._folds = context.folds
        folds = clean.fold(self._folds)
        self._tails = [_Tails(context, clean.take(folds != k)) for k in range(self._folds)]
        self._null = Calibrator(self._raw(clean).sum(axis=1), floor=1e-12)
        self._limits = _gross_limits(context, clean)

    def _raw(self, block: Block) -> F64:
        out = np.zeros(block.x.shape)
        folds = block.fold(self._folds)
        for k, tails in enumerate(self._tails):
            rows = np.flatnonzero(folds == k)
            if len(rows):
                out[rows] = tails.cells(block.x[rows], block.odd[rows])
        return out

    def score(self, block: Block) -> F64:
        """P-values."""
        return self._null.p_values(self._raw(block).sum(axis=1))

    def decides(self, block: Block) -> np.ndarray:
        """Rows with a cell so far out that not one row of the whole batch should have it."""
        low, high = self._limits
        with np.errstate(invalid="ignore"):
            out = ((block.x < low) | (block.x > high)).any(axis=1) | block.odd.any(axis=1)
        return np.asarray((out | self._unlabelled(block)) & ~block.known)

    def _unlabelled(self, block: Block) -> np.ndarray:
        """Rows whose label is none of the contract's classes, or missing where the contract wants one.

        No model has an opinion on such a label, so that labels alone would let it pass.
        """
        encoder = self._context.encoder
        label = encoder.schema.label
        if label is None or encoder.regression:
            return np.zeros(len(block), dtype=bool)
        wanted = not encoder.schema.columns[label.column].nullable
        return np.asarray((block.y == UNSEEN) | ((block.y == MISSING) & wanted))

    def explain(self, block: Block) -> list[str]:
        """The worst columns, their values and the reference's range."""
        raw = self._raw(block)
        encoder = self._context.encoder
        out = []
        unlabelled = self._unlabelled(block)
        for i in range(len(block)):
            parts = ["the label is none of the contract's classes"] if unlabelled[i] else []
            for j in np.argsort(-raw[i], kind="stable")[:3]:
                if raw[i, j] <= 0:
                    break
                if block.odd[i, j]:
                    parts.append(f"{encoder.columns[j]} holds an infinity or a value of another type")
                    continue
                shown = encoder.describe(int(j), block.x[i, j])
                parts.append(f"{encoder.columns[j]} = {shown} ({self._tails[0].range_of(encoder, int(j))})")
            out.append(f"out of what {self._context.against} show: " + "; ".join(parts))
        return out

    def findings(self) -> list[Finding]:
        """What was compared."""
        return [
            Finding(
                check="screen.ranges",
                outcome=Outcome.PASSED,
                message=f"range, type, category and missingness compared with {self._context.against}",
                evidence={"columns": len(self._context.encoder.columns), "calibration_rows": self._null.size},
            )
        ]


class _Tails:
    """Tails of each column, learnt from clean rows."""

    def __init__(self, context: Context, clean: Block) -> None:
        encoder = context.encoder
        self._clean = clean
        self._n = len(clean)
        d = len(encoder.columns)
        self._categorical = np.flatnonzero(encoder.categorical)
        self._numeric = np.flatnonzero(~encoder.categorical)
        # Of the upper and the lower tail: the generalised Pareto law's shape, scale and start, and the last value.
        self._shape, self._scale, self._start, self._last = (np.zeros((2, d)) for _ in range(4))
        self._size = np.zeros(d)
        self._fitted = np.zeros(d, dtype=bool)
        # Of the upper and the lower end: whether the column is bounded there.
        self._bounded = np.zeros((2, d), dtype=bool)
        self._levels: dict[int, _Levels] = {}
        self._low, self._high = np.full(d, -np.inf), np.full(d, np.inf)
        numbers = clean.x[:, self._numeric]
        self._complete = np.zeros(d, dtype=bool)
        self._complete[self._numeric] = np.isfinite(numbers).all(axis=0)
        for j in self._categorical.tolist():
            self._levels[j] = _Levels(clean.x[:, j])
        for j in self._numeric.tolist():
            values = clean.x[:, j]
            finite = values if self._complete[j] else values[np.isfinite(values)]
            if len(finite) >= _LEAST:
                self._low[j], self._high[j] = finite.min(), finite.max()
                self._bounded[:, j] = _bounded(finite), _bounded(-finite)

    def _fit(self, columns: np.ndarray) -> None:
        """Fit the tails of columns, once, when the first cell lies beyond them."""
        for j in columns[~self._fitted[columns]]:
            values = self._clean.x[:, j]
            finite = values[np.isfinite(values)]
            for side, sample in enumerate((finite, -finite)):
                tail = _tail(sample)
                self._shape[side, j], self._scale[side, j], self._last[side, j] = (
                    tail.shape,
                    tail.scale,
                    sample.max(),
                )
                self._start[side, j] = tail.start
                self._size[j] = tail.size
            self._fitted[j] = True

    def _log_p(self, values: F64, j: np.ndarray, side: np.ndarray) -> F64:
        """Log p-values of values past the last of their columns (the law of `Calibrator.p_values` there)."""

        def survival(at: F64) -> F64:
            z = np.maximum(at - self._start[side, j], 0.0) / self._scale[side, j]
            shape = self._shape[side, j]
            heavy = -np.log1p(shape * z) / np.maximum(shape, 1e-12)
            return np.asarray(np.where(shape > 1e-6, heavy, -z))

        left = np.minimum(survival(values) - survival(self._last[side, j]), 0.0)
        left = np.where(self._size[j] >= MIN_TAIL, left, 0.0)
        return np.asarray(left + np.log1p(np.exp(left)) - np.log(self._size[j] + 1.0))

    def cells(self, x: F64, odd: np.ndarray) -> F64:
        """(n, d) nats beyond the reference; 0 for cells like the reference's."""
        out = np.zeros(x.shape)
        base = math.log(self._n + 1.0)
        for j in self._categorical.tolist():
            out[:, j] = self._levels[j].cells(x[:, j])
        with np.errstate(invalid="ignore"):
            beyond = (x > self._high) | (x < self._low)
        beyond[:, self._categorical] = False
        rows, columns = np.nonzero(beyond)
        if len(rows):
            self._fit(np.unique(columns))
            values = x[rows, columns]
            side = (values < self._low[columns]).astype(np.int64)
            found = self._log_p(np.where(side, -values, values), columns, side)
            # Of a column that never varied nothing tells how far its exceptions go: they are only as rare as unseen.
            most = np.where(self._low[columns] == self._high[columns], _EXCEPTION, _CELL_CAP)
            # Past a bound no distance is small: the tail's scale says nothing there.
            least = np.where(self._bounded[side, columns], _EXCEPTION, 0.0)
            out[rows, columns] = np.clip(-found - base, least, most) + 0.5
        numeric = np.flatnonzero(self._complete)
        out[:, numeric] += 2.0 * np.isnan(x[:, numeric])
        out[odd] = 12.0
        return out

    def range_of(self, encoder: Encoder, j: int) -> str:
        """The reference's range in words."""
        if j in self._levels:
            return f"seen there: {self._levels[j].count} levels"
        low, high = (encoder.describe(j, float(v[j])) for v in (self._low, self._high))
        return f"seen there: {low} to {high}" if np.isfinite(self._low[j]) else "hardly any value there"


class _Levels:
    """Which levels of one categorical column clean rows hold, and how likely a new one is (Good, 1953)."""

    def __init__(self, values: F64) -> None:
        levels, counts = np.unique(values, return_counts=True)
        self.count = int((levels >= 0).sum())
        # One place for each code from UNSEEN on; codes past the last were not there.
        self._seen = np.zeros(int(max(levels.max(initial=0), 0)) - UNSEEN + 2, dtype=bool)
        self._seen[levels.astype(np.int64) - UNSEEN] = True
        single = int((counts == 1).sum())
        self._new = min(_NEW_LEVEL, -math.log((single + 1) / (len(values) + 1)) / 2)

    def cells(self, values: F64) -> F64:
        """Nats of each cell; 0 for a level that clean rows hold."""
        codes = np.minimum(values.astype(np.int64) - UNSEEN, len(self._seen) - 1)
        out = np.where(self._seen[codes], 0.0, self._new)
        out[(codes == 0) & ~self._seen[0]] += 1.0  # in none of the sampled rows at all
        if not self._seen[MISSING - UNSEEN]:
            out[codes == MISSING - UNSEEN] = 2.0
        return out


def _gross_limits(context: Context, clean: Block) -> tuple[F64, F64]:
    """Per column, the values past which less than one row in a hundred batches is expected.

    The tail's shape comes from quantiles of the pooled rows (Pickands, 1975), which a few per cent of garbage cannot
    move, and is always taken as heavier than exponential; the reference's own range is always inside. Where quantiles
    coincide (counts, columns that are mostly one value) only what no tail could hold is gross.
    """
    d = len(context.encoder.columns)
    low, high = np.full(d, -np.inf), np.full(d, np.inf)
    aim = np.log(GROSS / (max(context.rows, 1) * max(d, 1)))
    for j in range(d):
        if context.encoder.categorical[j]:
            continue
        values = context.pool.x[:, j]
        values = values[np.isfinite(values)]
        sound = clean.x[np.isfinite(clean.x[:, j]), j]
        if len(sound) < MIN_REFERENCE:
            continue
        middle = float(np.median(sound))
        reach = max(float(np.abs(sound - middle).max()), abs(middle), 1.0)
        # With a tail as heavy as one over the distance, one row in `exp(-aim)` lies this much farther than the
        # farthest of the reference rows: no real column goes beyond that.
        farthest = reach * float(np.exp(-aim)) / len(sound)
        up, down = middle + farthest, middle - farthest
        if len(values) >= 200:
            up, down = min(up, far(values, aim)), max(down, -far(-values, aim))
        high[j], low[j] = max(up, float(sound.max())), min(down, float(sound.min()))
    return low, high


def far(values: F64, aim: float) -> float:
    """The value that the upper tail exceeds with probability exp(aim)."""
    q = np.quantile(values, [0.5, 0.8, 0.9, 0.95, 0.975])
    steps = np.diff(q)
    if steps[1] <= 0 or steps[2] <= 0 or steps[3] <= 0:
        return float("inf")  # mostly one value: nothing says how far its exceptions may go
    shape = max(np.log(steps[2] / steps[1]) / np.log(2.0), np.log(steps[3] / steps[2]) / np.log(2.0), _SHAPE)
    # From the 97.5 % quantile on; one halving of the tail went from q[3] to q[4].
    halvings = (np.log(0.025) - aim) / np.log(2.0)
    ratio = 2.0**shape
    with np.errstate(over="ignore"):  # a tail so heavy ends nowhere
        return float(q[4] + steps[3] * ratio * (ratio**halvings - 1) / (ratio - 1))


def _bounded(values: F64) -> bool:
    """Whether the column ends at its largest value: many rows stand there, or it is zero, as of counts and amounts."""
    last = float(values.max())
    at_end = int((values == last).sum())
    return (
        float(values.min()) < last and at_end >= _LEAST and (last == 0 or at_end >= _AT_BOUND * len(values))
    )


def _tail(values: F64) -> Calibrator:
    """The upper tail of a column; a constant column gets the scale of its own size, so that any change counts."""
    tail = Calibrator(values, floor=1e-30)
    if tail.size >= 20 and tail.scale <= 1e-9:
        spread = float(np.std(values))
        tail.scale = max(spread, 1e-3 * float(np.abs(values).max()), 1e-6) / 3
    return tail
