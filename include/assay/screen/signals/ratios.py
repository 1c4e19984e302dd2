"""Columns that go together, and rows in which one of them is off by a factor.

A length of 0 or a width ten times the length is no odd number by itself where lengths vary widely; beside the other
dimension it is. Pairs of positive columns whose ratio hardly varies, though they themselves do, are looked for among
the reference rows. Like a single column's (see `assay.screen.signals.ranges`), the ratio's tails are taken from
quantiles and as heavier than exponential, and a row past what not one row in a hundred batches should reach is
decided; what lies nearer is left to the signals that weigh it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable
from assay.screen.signals.ranges import GROSS, far

_LEAST = 50
_MAX_COLUMNS = 40
_TIGHT = 0.4
_SMALLER = 0.3
_SURE = 1e-6
_NEVER = 700.0


@dataclass(frozen=True)
class _Pair:
    """Two columns and the limits of the logarithm of the first over the second."""

    first: int
    second: int
    low: float
    high: float
    usual: tuple[float, float]

    def broken(self, x: F64) -> NDArray[np.bool_]:
        """Rows past the limits; one that lacks either number breaks nothing."""
        logs = _log_ratio(x[:, self.first], x[:, self.second])
        with np.errstate(invalid="ignore"):
            return np.asarray((logs < self.low) | (logs > self.high))


class Ratios:
    """Decides rows in which two columns contradict each other by a factor."""

    name = "ratios"
    technique = "AML.T0020"
    decisive = True

    def fit(self, context: Context) -> None:
        """Find the pairs and their limits.

        Raises:
            NotApplicable: Too few reference rows, or no two columns go together.
        """
        clean = context.pool.x[context.reference]
        if len(clean) < _LEAST:
            raise NotApplicable(
                f"{len(clean)} reference rows are too few to tell columns that go together ({_LEAST} needed)"
            )
        self._context = context
        columns = _positive(context, clean)
        pairs = [(a, b) for i, a in enumerate(columns) for b in columns[i + 1 :]]
        aim = float(np.log(GROSS / (max(context.rows, 1) * max(len(pairs), 1))))
        found = (_pair(a, b, clean, context.pool.x, aim) for a, b in pairs)
        self._pairs = [pair for pair in found if pair is not None]
        if not self._pairs:
            raise NotApplicable("no two columns of positive numbers go together")
        fresh = context.pool.take(context.fresh)
        self._hits = [int(pair.broken(fresh.x).sum()) for pair in self._pairs]

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """Rows past the limits of a pair."""
        out = np.zeros(len(block), dtype=bool)
        for pair in self._pairs:
            out |= pair.broken(block.x)
        return np.asarray(out & ~block.known)

    def score(self, block: Block) -> F64:
        """Next to 0 for decided rows, 1 for all others."""
        return np.where(self.decides(block), _SURE, 1.0)

    def explain(self, block: Block) -> list[str]:
        """The columns, their values, and what their ratio usually is."""
        encoder = self._context.encoder
        out: list[list[str]] = [[] for _ in range(len(block))]
        for pair in self._pairs:
            for i in np.flatnonzero(pair.broken(block.x)):
                shown = [
                    f"{encoder.columns[j]} = {encoder.describe(j, block.x[i, j])}"
                    for j in (pair.first, pair.second)
                ]
                out[i].append(f"{' beside '.join(shown)} ({self._words(pair)})")
        return ["columns contradict each other: " + "; ".join(parts[:2]) for parts in out]

    def _words(self, pair: _Pair) -> str:
        first, second = (self._context.encoder.columns[j] for j in (pair.first, pair.second))
        low, high = (float(np.exp(v)) for v in pair.usual)
        return f"{first} / {second} is {low:.3g} to {high:.3g} in {self._context.against}"

    def findings(self) -> list[Finding]:
        """One finding per pair that rows contradict."""
        out = [
            Finding(
                check="screen.ratios",
                outcome=Outcome.FAILED,
                severity=Severity.MEDIUM,
                scope=Scope.COLUMN,
                subject=", ".join(self._context.encoder.columns[j] for j in (pair.first, pair.second)),
                message=f"{hits} of the rows looked at lie far from it: {self._words(pair)}",
                evidence={"rows": hits, "ratio": [float(np.exp(v)) for v in pair.usual]},
                technique=self.technique,
            )
            for pair, hits in zip(self._pairs, self._hits, strict=True)
            if hits
        ]
        told = f"in no row looked at do columns that go together contradict each other ({len(self._pairs)} pairs)"
        return out or [Finding(check="screen.ratios", outcome=Outcome.PASSED, message=told)]


def _positive(context: Context, clean: F64) -> list[int]:
    """Columns of numbers that are positive in all reference rows, at most 40."""
    encoder = context.encoder
    out = []
    for j, part in enumerate(encoder.parts):
        kind = encoder.schema.columns[part.column].type
        if part.aspect != "value" or kind not in {"integer", "number"} or encoder.categorical[j]:
            continue
        values = clean[np.isfinite(clean[:, j]), j]
        if len(values) >= _LEAST and values.min() > 0:
            out.append(j)
    return out[:_MAX_COLUMNS]


def _pair(a: int, b: int, clean: F64, pool: F64, aim: float) -> _Pair | None:
    logs = _log_ratio(clean[:, a], clean[:, b])
    logs = logs[np.isfinite(logs)]
    if len(logs) < _LEAST:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = min(_width(np.log(clean[:, a])), _width(np.log(clean[:, b])))
    width = _width(logs)
    if width <= 0 or width > min(_TIGHT, _SMALLER * alone):
        return None
    every = _log_ratio(pool[:, a], pool[:, b])
    every = every[np.isfinite(every)]
    low, high = -far(-every, aim), far(every, aim)
    if not (np.isfinite(low) and np.isfinite(high)):
        return None
    usual = float(logs.min()), float(logs.max())
    return _Pair(a, b, min(low, usual[0]), max(high, usual[1]), usual)


def _width(values: F64) -> float:
    """Between the 2.5 % and the 97.5 % quantile."""
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return float(high - low)


def _log_ratio(a: F64, b: F64) -> F64:
    """Log of a / b; far off where one of them is not positive, NaN where one is missing or both are not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.log(a) - np.log(b)
    out = np.where((a <= 0) & (b > 0), -_NEVER, np.where((b <= 0) & (a > 0), _NEVER, out))
    return np.asarray(np.where((a <= 0) & (b <= 0), np.nan, out))
