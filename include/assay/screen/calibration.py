"""From scores to p-values, from many p-values to one, and from p-values to verdicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

F64 = NDArray[np.float64]

MIN_TAIL = 20
"""Fewer null scores than this support no tail."""


class Calibrator:
    """Turns scores (higher: more suspicious) into p-values against a null sample.

    Inside the null sample's range this follows the conformal p-value (1 + number of null scores at least as high) /
    (m + 1) (Vovk, Gammerman and Shafer, 2005), which is valid for any score when null and tested rows are exchangeable.
    Between two null scores it falls log-linearly from the value at the lower one, so it is never below the conformal
    value and leaves no ties. Past the last null score a generalised Pareto tail (Pickands, 1975; fitted to the top
    tenth by probability-weighted moments, Hosking and Wallis, 1987) goes on, with the shape held at 0 or above so that
    the tail is never thinner than exponential. That part orders rows; it is an extrapolation, and verdicts that
    rest on it need `excess` to show more rows there than the null sample can explain.

    Args:
        null: Scores of rows taken as clean, none of which was used to fit the score. NaN are left out.
        floor: Smallest p-value that the tail may give.
    """

    def __init__(self, null: F64, floor: float = 1e-9) -> None:
        self.null = np.sort(null[np.isfinite(null)])
        self.floor = floor
        self.size = m = len(self.null)
        self.shape, self.scale, self.start = 0.0, 1.0, 0.0
        if m == 0:
            return
        self._values, first = np.unique(self.null, return_index=True)
        self._logs = np.log((1.0 + m - first) / (m + 1.0))
        k = min(max(10, m // 10), m - 1)
        self.start = float(self.null[m - k - 1])
        above = self.null[m - k :] - self.start
        mean = float(above.mean()) if k else 0.0
        weighted = float((above * (1 - (np.arange(1, k + 1) - 0.35) / max(k, 1))).mean()) if k else 0.0
        if mean - 2 * weighted > 0:
            # A short tail sample often looks thinner than it is; thinner than exponential is never believed.
            self.shape = float(np.clip(2 - mean / (mean - 2 * weighted), 0.0, 0.5))
        self.scale = max(mean * (1 - self.shape), 1e-12)

    def _tail(self, scores: F64) -> F64:
        """Log survival of the fitted tail at and past its start."""
        z = np.maximum(scores - self.start, 0.0) / self.scale
        if self.shape > 1e-6:
            return np.asarray(-np.log1p(self.shape * z) / self.shape)
        return np.asarray(-z)

    def p_values(self, scores: F64) -> F64:
        """One p-value per score, falling with the score; 1 for a NaN."""
        if self.size == 0:
            return np.ones(len(scores))
        clean = np.nan_to_num(np.asarray(scores, dtype=np.float64), nan=-1e300, neginf=-1e300, posinf=1e300)
        log_p = np.interp(clean, self._values, self._logs, left=0.0)
        beyond = np.flatnonzero(clean > self._values[-1])
        if self.size >= MIN_TAIL and len(beyond):
            last = self._tail(self._values[-1:])
            left = np.minimum(self._tail(clean[beyond]) - last, 0.0)
            # From 2 / (m + 1) at the last null score, over to 1 / (m + 1) times what the tail leaves of it.
            log_p[beyond] = left + np.log1p(np.exp(left)) - np.log(self.size + 1.0)
        return np.asarray(np.clip(np.exp(log_p), self.floor, 1.0))


def combine(p_values: F64, weights: F64) -> F64:
    """Weighted harmonic mean of dependent p-values, one row per case (Good, 1958; Wilson, PNAS 2019).

    One small p-value is enough, however many large ones stand beside it, and dependence hardly matters. The result is a
    score rather than a p-value: it is calibrated again on clean rows before a verdict rests on it.

    Args:
        p_values: (n, k).
        weights: (k,), non-negative; scaled to sum 1.
    """
    w = weights / weights.sum()
    return np.asarray(1.0 / ((1.0 / np.clip(p_values, 1e-15, 1.0)) @ w))


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
    return beta_binomial_tail(tested_above, tested, null_above + 1.0, float(null - null_above))


def beta_binomial_tail(least: int, trials: int, a: float, b: float) -> float:
    """P(X >= least) for X beta-binomial with `trials` and parameters a and b."""
    k = np.arange(max(least, 0), trials + 1)
    choose = special.gammaln(trials + 1) - special.gammaln(k + 1) - special.gammaln(trials - k + 1)
    logs = choose + special.betaln(k + a, trials - k + b) - special.betaln(a, b)
    return float(min(np.exp(logs).sum(), 1.0))


def negative_binomial_tail(least: int, shape: float, pace: float, exposure: float) -> float:
    """Log P(X >= least) for a Poisson count over `exposure`; its rate is gamma with this shape and pace (1 / scale)."""
    if least <= 0:
        return 0.0
    return float(np.log(max(special.betainc(least, shape, exposure / (pace + exposure)), 1e-300)))


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
