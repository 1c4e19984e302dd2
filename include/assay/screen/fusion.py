"""Many p-values of a row become one score: the odds that it is poison, as far as the batch itself tells.

A signal says more where the batch has more small p-values of it than clean rows explain: of rows at or below p, the
share p / F(p) is clean, F being the share of the batch's rows at or below p (the tail false-discovery rate: Storey,
2002; Efron, 2004). So the odds of a row are the sum of two parts per signal: what is believed before the batch was
seen, which falls with p, and the odds F(p) / p - 1 that the batch shows, less what chance explains. A signal that finds
nothing in a batch then hardly moves the order in which the others put its rows.
"""

from __future__ import annotations

import numpy as np

from assay.screen.calibration import F64

# How much of what is believed before the batch was seen is each signal's: labels are what attackers change most.
_BELIEVED = {
    "labels": 0.80,
    "reference_labels": 0.04,
    "ranges": 0.06,
    "outliers": 0.03,
    "invariants": 0.05,
    "residuals": 0.02,
}
# How much of the false alarms each signal may use with what the batch shows.
_SHOWN = {
    "labels": 0.65,
    "reference_labels": 0.20,
    "ranges": 0.20,
    "outliers": 0.10,
    "invariants": 0.20,
    "residuals": 0.05,
}
_POISON = 0.0015
_CHANCE = 3.0
_LEAST_ROWS = 50
_SMALLEST = 1e-15
_SCALE = np.linspace(0, -np.log(_SMALLEST), 1000)


class Fusion:
    """Scores of rows, from the p-values of all soft signals.

    Args:
        names: The signals.
        p_values: (n, k) of rows of the batch that nothing vouches for. Fewer than fifty show nothing.
        clean: Clean rows that the p-values are calibrated on: their number limits how well small p-values are known.
            0 if p-values come from the batch itself, which then shows nothing beside them.
    """

    def __init__(self, names: list[str], p_values: F64, clean: int) -> None:
        self._believed = np.array([_BELIEVED[name] for name in names])
        self._shown = np.array([_SHOWN[name] for name in names])
        rows = len(p_values)
        self._steps: list[tuple[F64, F64]] = []
        for p in np.sort(np.maximum(p_values, _SMALLEST), axis=0).T if rows >= _LEAST_ROWS and clean else ():
            chance = _CHANCE * np.sqrt(p / rows + p / clean) + 2.0 / rows
            odds = np.maximum((np.arange(1, rows + 1) / rows - p - chance) / p, 0.0)
            # A smaller p-value never speaks less.
            self._steps.append((p, np.maximum.accumulate(odds[::-1])[::-1]))
        same = np.repeat(np.exp(-_SCALE)[:, None], len(names), axis=1)
        self._scale = self._odds(same)

    def __call__(self, p_values: F64) -> F64:
        """(n,) scores from (n, k) p-values, higher for poison: -log of the p-value with the same odds, if all had it.

        In that scale clean rows have the exponential tail that p-values have, whatever the batch shows.
        """
        return np.asarray(np.interp(self._odds(p_values), self._scale, _SCALE))

    def _odds(self, p_values: F64) -> F64:
        """(n,) logarithms of the odds."""
        p = np.maximum(p_values, _SMALLEST)
        total = _POISON * ((1.0 / p) @ self._believed)
        for k, (seen, odds) in enumerate(self._steps):
            places = np.searchsorted(seen, p[:, k], side="left")
            total += self._shown[k] * np.append(odds, 0.0)[places]
        return np.asarray(np.log(total))
