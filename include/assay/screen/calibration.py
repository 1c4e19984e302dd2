"""From scores to p-values, from many p-values to one, and from p-values to verdicts."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

F64 = NDArray[np.float64]

_TINY = 1e-300


class Calibrator:
    """Turns scores (higher: more suspicious) into p-values against a null sample.

    Inside the null sample's range this is the conformal p-value (1 + number of null scores at least as high) / (m + 1)
    (Vovk, Gammerman and Shafer, 2005), which is valid for any score when null and tested rows are exchangeable. It
    cannot go below 1 / (m + 1). Beyond the null's top tenth a generalised Pareto tail (Pickands, 1975; fitted by
    probability-weighted moments, Hosking and Wallis, 1987) goes on, with the shape held at 0 or above so that the tail
    is never thinner than exponential. That part orders rows; it is an extrapolation, and verdicts that rest on it alone
    need `excess` to show more rows there than the null sample can explain.

    Args:
        null: Scores of rows taken as clean, none of which was used to fit the score. NaN are left out.
        floor: Smallest p-value that the tail may give.
    """

    def __init__(self, null: F64, floor: float = 1e-9) -> None:
        self.null = np.sort(null[np.isfinite(null)])
        self.floor = floor
        m = len(self.null)
        self.size = m
        self._start = math.inf
        if m < 20:
            return
        k = max(10, m // 10)
        self._start = float(self.null[m - k])
        above = self.null[m - k :] - self._start
        self._k = k
        mean = float(above.mean())
        weighted = float((above * (1 - (np.arange(1, k + 1) - 0.35) / k)).mean())
        if mean <= 0 or mean - 2 * weighted <= 0:
            shape, scale = 0.0, max(mean, 1e-12)
        else:
            shape = float(np.clip(2 - mean / (mean - 2 * weighted), 0.0, 0.5))
            scale = mean * (1 - shape)
        self.shape, self.scale = shape, max(scale, 1e-12)

    def p_values(self, scores: F64) -> F64:
        """One p-value per score, non-increasing in the score; 1 for a NaN."""
        m = self.size
        clean = np.nan_to_num(scores, nan=-np.inf, posinf=1e300)
        if m == 0:
            return np.ones(len(scores))
        above = m - np.searchsorted(self.null, clean, side="left")
        p = (1.0 + above) / (m + 1.0)
        if m >= 20:
            beyond = clean > self._start
            excess = (clean[beyond] - self._start) / self.scale
            if self.shape > 1e-6:
                tail = np.power(1 + self.shape * excess, -1 / self.shape)
            else:
                tail = np.exp(-excess)
            tail = (self._k / (m + 1.0)) * tail
            # Conformal while null rows lie above; extrapolated only past the last of them.
            top = clean[beyond] > self.null[-1]
            p[beyond] = np.where(top, np.minimum(p[beyond], np.maximum(tail, self.floor)), p[beyond])
        return np.asarray(np.clip(p, self.floor, 1.0))


def combine(p_values: F64, weights: F64) -> F64:
    """Cauchy combination of dependent p-values, one row per case (Liu and Xie, JASA 2020).

    The tail of the combined statistic is right under arbitrary correlation, and a single small p-value is enough.

    Args:
        p_values: (n, k).
        weights: (k,), non-negative; scaled to sum 1.
    """
    w = weights / weights.sum()
    p = np.clip(p_values, 1e-15, 1 - 1e-6)
    # tan((0.5 - p) pi) loses all digits for small p; there it is 1 / (p pi).
    t = np.where(p < 1e-5, 1 / (p * np.pi), np.tan((0.5 - p) * np.pi))
    total = t @ w
    with np.errstate(divide="ignore"):
        out = np.where(total > 1e5, 1 / (total * np.pi), 0.5 - np.arctan(total) / np.pi)
    return np.asarray(np.clip(out, 1e-15, 1.0))


def false_discovery_cut(p_values: F64, rate: float) -> float:
    """Largest p-value that the step-up rule of Benjamini and Hochberg (1995) rejects at this rate; -1 for none."""
    n = len(p_values)
    if n == 0:
        return -1.0
    # Only p-values below the rate can matter, and those are few: sorting them alone keeps millions of rows cheap.
    small = np.sort(p_values[p_values <= rate])
    passing = np.flatnonzero(small <= rate * np.arange(1, len(small) + 1) / n)
    return float(small[passing[-1]]) if len(passing) else -1.0


def excess(tested_above: int, tested: int, null_above: int, null: int) -> float:
    """P-value of seeing so many tested rows above a threshold when tested and null rows are exchangeable.

    With `null_above` of `null` clean rows above it, the number among `tested` others is beta-binomial with parameters
    `null_above + 1` and `null - null_above` (the exact predictive law of order statistics).
    """
    if null <= null_above:
        return 1.0
    law = stats.betabinom(tested, null_above + 1, null - null_above)
    return float(law.sf(tested_above - 1))


def binomial_excess(hits: int, trials: int, rate: float) -> float:
    """P-value of at least `hits` in `trials` when each has probability `rate`."""
    return float(stats.binom.sf(hits - 1, trials, min(max(rate, 0.0), 1.0)))


def poisson_excess(counts: F64, expected: F64) -> F64:
    """Natural log of P(Poisson(expected) >= counts), finite far beyond the smallest float."""
    counts = np.asarray(counts, dtype=np.float64)
    expected = np.maximum(np.asarray(expected, dtype=np.float64), 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = stats.poisson.logsf(counts - 1, expected)
        # The Chernoff bound, where the exact tail has no digits left.
        bound = counts - expected + counts * np.log(expected / np.maximum(counts, 1e-12))
    return np.asarray(np.where(np.isfinite(exact), exact, np.minimum(bound, 0.0)))


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values that control the chance of any false claim (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def wilson_upper(hits: F64, trials: F64, z: float = 2.0) -> F64:
    """Upper end of the Wilson (1927) interval of a proportion; 1 where there were no trials."""
    trials = np.maximum(np.asarray(trials, dtype=np.float64), 1e-9)
    rate = hits / trials
    centre = rate + z * z / (2 * trials)
    spread = z * np.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return np.asarray(np.minimum((centre + spread) / (1 + z * z / trials), 1.0))
