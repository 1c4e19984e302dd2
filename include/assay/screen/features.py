"""Features as linear models and distances like them: normal scores, one-hot categories, missing flags."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from assay.screen.encoding import F64, Block, Encoder

_KNOTS = 257
_TOP_LEVELS = 12
_MAX_WIDTH = 2000


class Features:
    """A dense float32 view of blocks, learnt from a sample.

    Numbers become normal scores of their rank in the sample (van der Waerden), so that neither units nor heavy tails
    matter; a categorical column becomes one column per frequent level; a column that has missing values gets a flag.
    """

    def __init__(self, encoder: Encoder, sample: Block) -> None:
        self._knots: dict[int, tuple[F64, F64]] = {}
        self._levels: dict[int, F64] = {}
        self._flags: list[int] = []
        self.origin: list[int] = []
        for j in range(sample.x.shape[1]):
            values = sample.x[:, j]
            if encoder.categorical[j]:
                levels, counts = np.unique(values, return_counts=True)
                order = np.lexsort((levels, -counts))[:_TOP_LEVELS]
                self._levels[j] = levels[order]
                self.origin += [j] * len(order)
            else:
                finite = values[np.isfinite(values)]
                if len(finite) == 0:
                    continue
                self._knots[j] = _normal_scores(finite)
                self.origin.append(j)
                if len(finite) < len(values):
                    self._flags.append(j)
            if len(self.origin) > _MAX_WIDTH:
                break
        self.origin += self._flags

    def transform(self, block: Block) -> NDArray[np.float32]:
        """(n, width) float32; missing numbers stand at 0, the median."""
        kept = block.__dict__.get("_dense")
        if kept is not None and kept[0] is self:
            return kept[1]  # type: ignore[no-any-return]
        n = len(block)
        out = np.zeros((n, len(self.origin)), dtype=np.float32)
        at = 0
        for j in range(block.x.shape[1]):
            values = block.x[:, j]
            if j in self._knots:
                xs, ys = self._knots[j]
                out[:, at] = np.nan_to_num(np.interp(values, xs, ys))
                at += 1
            elif j in self._levels:
                for level in self._levels[j]:
                    out[:, at] = values == level
                    at += 1
        for j in self._flags:
            out[:, at] = ~np.isfinite(block.x[:, j])
            at += 1
        block.__dict__["_dense"] = (self, out)  # several signals ask for the same block
        return out


class Distances:
    """A dense float32 view in which nearly equal rows are close: numbers in units of their spread, categories apart.

    Unlike normal scores it does not tear 0 and 0.001 apart where half the column is 0.
    """

    def __init__(self, encoder: Encoder, sample: Block) -> None:
        self._categorical = encoder.categorical
        self._centre = np.zeros(sample.x.shape[1])
        self._spread = np.ones(sample.x.shape[1])
        for j in range(sample.x.shape[1]):
            finite = sample.x[np.isfinite(sample.x[:, j]), j]
            if len(finite) and not encoder.categorical[j]:
                low, high = np.quantile(finite, [0.002, 0.998])
                self._centre[j] = np.median(finite)
                # A column that is nearly always one value has no clipped spread, yet its exceptions have a size.
                self._spread[j] = max(
                    float(np.std(np.clip(finite, low, high))), 0.3 * float(np.std(finite)), 1e-9
                )

    def transform(self, block: Block) -> NDArray[np.float32]:
        """(n, d) float32; a missing number stands 5 spreads off, a category at a place that its code alone decides."""
        out = np.clip((block.x - self._centre) / self._spread, -20, 20)
        out[~np.isfinite(block.x)] = -5.0
        codes = block.x[:, self._categorical]
        # Irrational steps keep any two of the frequent codes at least a third of a spread apart.
        out[:, self._categorical] = 4.0 * np.mod((codes + 3) * 0.6180339887, 1.0)
        return np.asarray(out, dtype=np.float32)


def _normal_scores(values: F64) -> tuple[F64, F64]:
    """Knots of the map from a value to the normal score of its mid-rank."""
    values = np.sort(values)
    n = len(values)
    distinct, first, counts = np.unique(values, return_index=True, return_counts=True)
    if len(distinct) > _KNOTS:
        keep = np.unique(np.linspace(0, len(distinct) - 1, _KNOTS).astype(np.int64))
        distinct, first, counts = distinct[keep], first[keep], counts[keep]
    middle = first + counts / 2
    return distinct, ndtri((middle + 0.25) / (n + 0.5))
