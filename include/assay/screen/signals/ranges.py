"""Values out of the range, type, categories or missingness of the reference rows.

Each number is asked how far it lies beyond what the reference holds, in units of the reference's own tail, so that a
heavy-tailed column does not cry wolf. Unseen categories, infinities, wrong types and nulls where the reference has none
count by how rare the reference shows them to be. The row's sum is then calibrated, cross-fitted, on the reference.
"""

from __future__ import annotations

import math

import numpy as np

from assay.findings import Finding, Outcome
from assay.screen.calibration import Calibrator
from assay.screen.context import Context
from assay.screen.encoding import F64, MISSING, UNSEEN, Block, Encoder

_CELL_CAP = 60.0
_GROSS = 0.01
_SHAPE = 0.15


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
        return np.asarray(out & ~block.known)

    def explain(self, block: Block) -> list[str]:
        """The worst columns, their values and the reference's range."""
        raw = self._raw(block)
        encoder = self._context.encoder
        out = []
        for i in range(len(block)):
            parts = []
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
        self._n = len(clean)
        self._categorical = encoder.categorical
        self._upper: list[Calibrator | None] = []
        self._lower: list[Calibrator | None] = []
        self._rare: list[dict[float, float]] = []
        self._missing = np.zeros(len(encoder.columns))
        self._span: list[tuple[float, float]] = []
        for j in range(len(encoder.columns)):
            values = clean.x[:, j]
            finite = values[np.isfinite(values)]
            if self._categorical[j]:
                levels, counts = np.unique(values, return_counts=True)
                self._rare.append({float(v): float(c) for v, c in zip(levels, counts, strict=True)})
                self._upper.append(None)
                self._lower.append(None)
                self._span.append((math.nan, math.nan))
                continue
            self._rare.append({})
            self._missing[j] = len(values) - len(finite)
            if len(finite) < 10:
                self._upper.append(None)
                self._lower.append(None)
                self._span.append((math.nan, math.nan))
                continue
            self._span.append((float(finite.min()), float(finite.max())))
            self._upper.append(_tail(finite))
            self._lower.append(_tail(-finite))

    def cells(self, x: F64, odd: np.ndarray) -> F64:
        """(n, d) nats beyond the reference; 0 for cells like the reference's."""
        out = np.zeros(x.shape)
        base = math.log(self._n + 1.0)
        for j in range(x.shape[1]):
            values = x[:, j]
            if self._categorical[j]:
                known = self._rare[j]
                unseen = (
                    ~np.isin(values, np.array(list(known))) if known else np.zeros(len(values), dtype=bool)
                )
                # A level that the whole pool lacks is rarer than one that only this fold lacks.
                out[:, j] = np.where(unseen, np.where(values == UNSEEN, 3.0, 1.0), 0.0)
                out[values == MISSING, j] = 0.0 if known.get(float(MISSING)) else 2.0
                continue
            upper, lower = self._upper[j], self._lower[j]
            if upper is not None and lower is not None:
                low, high = self._span[j]
                rows = np.flatnonzero((values > high) | (values < low))
                if len(rows):
                    found = np.minimum(upper.p_values(values[rows]), lower.p_values(-values[rows]))
                    out[rows, j] = np.clip(-np.log(found) - base, 0, _CELL_CAP) + 0.5
            if not self._missing[j]:
                out[np.isnan(values), j] = 2.0
            out[odd[:, j], j] = 12.0
        return out

    def range_of(self, encoder: Encoder, j: int) -> str:
        """The reference's range in words."""
        if self._categorical[j]:
            return f"seen there: {len(self._rare[j])} levels"
        low, high = self._span[j]
        return f"seen there: {low:.6g} to {high:.6g}"


def _gross_limits(context: Context, clean: Block) -> tuple[F64, F64]:
    """Per column, the values past which less than one row in a hundred batches is expected.

    The tail's shape comes from quantiles of the pooled rows (Pickands, 1975), which a few per cent of garbage cannot
    move, and is always taken as heavier than exponential; the reference's own range is always inside.
    """
    d = len(context.encoder.columns)
    low, high = np.full(d, -np.inf), np.full(d, np.inf)
    if len(context.pool) < 200:
        return low, high
    aim = np.log(_GROSS / (max(context.rows, 1) * max(d, 1)))
    for j in range(d):
        if context.encoder.categorical[j]:
            continue
        values = context.pool.x[:, j]
        values = values[np.isfinite(values)]
        sound = clean.x[np.isfinite(clean.x[:, j]), j]
        if len(values) < 200 or not len(sound):
            continue
        high[j] = max(_far(values, aim), float(sound.max()))
        low[j] = -max(_far(-values, aim), float((-sound).max()))
    return low, high


def _far(values: F64, aim: float) -> float:
    """The value that the upper tail exceeds with probability exp(aim)."""
    q = np.quantile(values, [0.5, 0.8, 0.9, 0.95, 0.975])
    steps = np.diff(q)
    if steps[1] <= 0 or steps[2] <= 0 or steps[3] <= 0:
        return float("inf")  # mostly one value: nothing says how far its exceptions may go
    shape = max(np.log(steps[2] / steps[1]) / np.log(2.0), np.log(steps[3] / steps[2]) / np.log(2.0), _SHAPE)
    # From the 97.5 % quantile on; one halving of the tail went from q[3] to q[4].
    halvings = (np.log(0.025) - aim) / np.log(2.0)
    ratio = 2.0**shape
    return float(q[4] + steps[3] * ratio * (ratio**halvings - 1) / (ratio - 1))


def _tail(values: F64) -> Calibrator:
    """The upper tail of a column; a constant column gets the scale of its own size, so that any change counts."""
    tail = Calibrator(values, floor=1e-30)
    if tail.size >= 20 and tail.scale <= 1e-9:
        spread = float(np.std(values))
        tail.scale = max(spread, 1e-3 * float(np.abs(values).max()), 1e-6) / 3
    return tail
