"""Tests of two samples: are new values like the old ones? Each tells the size of the difference and a p-value."""

from __future__ import annotations

import numpy as np

from assay.screen.encoding import F64, I64, MISSING

_EXPECTED = 10


def smirnov(new: F64, old: F64) -> tuple[float, float]:
    """Largest distance of two empirical distributions, and its asymptotic p-value (Stephens' correction, 1970)."""
    from scipy.special import kolmogorov

    new, old = np.sort(new), np.sort(old)
    every = np.unique(np.concatenate([new, old]))
    gap = np.searchsorted(new, every, side="right") / len(new) - np.searchsorted(
        old, every, side="right"
    ) / len(old)
    distance = float(np.abs(gap).max())
    root = np.sqrt(len(new) * len(old) / (len(new) + len(old)))
    return distance, float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def levels(new: F64, old: F64) -> tuple[float, float, float]:
    """Total variation of two samples of codes, p-value with rare levels pooled, and the level that moved most."""
    values, place = np.unique(np.concatenate([new, old]), return_inverse=True)
    counts = np.array(
        [np.bincount(part, minlength=len(values)) for part in (place[: len(new)], place[len(new) :])]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    known = values >= MISSING  # levels that no sample held are one code, and say nothing of each other
    moved = np.where(known, np.abs(shares[0] - shares[1]), -1.0)
    level = float(values[int(np.argmax(moved))])
    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / counts.sum()
    rare = expected < _EXPECTED
    pooled = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    parts = pooled / pooled.sum(axis=1, keepdims=True)
    return float(np.abs(parts[0] - parts[1]).sum() / 2), homogeneity(pooled), level


def homogeneity(counts: I64) -> float:
    """P-value that two rows of counts are alike: exact for two columns, else Pearson's, rare columns pooled."""
    from scipy.stats import chi2, hypergeom

    counts = counts[:, counts.sum(axis=0) > 0].astype(np.float64)
    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / max(counts.sum(), 1.0)
    small = expected < _EXPECTED
    if small.any() and counts.shape[1] > 2:
        counts = np.column_stack([counts[:, ~small], counts[:, small].sum(axis=1)])
    if counts.shape[1] < 2:
        return 1.0
    if counts.shape[1] == 2:
        law = hypergeom(int(counts.sum()), int(counts[:, 0].sum()), int(counts[0].sum()))
        first = int(counts[0, 0])
        return float(min(1.0, 2 * min(law.cdf(first), law.sf(first - 1))))
    fitted = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    return float(chi2.sf(((counts - fitted) ** 2 / fitted).sum(), counts.shape[1] - 1))


def medians(new: F64, old: F64) -> str:
    """Both medians in words."""
    return f"median {np.median(new):.6g} in new and {np.median(old):.6g} in reference rows"
