"""Features as linear models and distances like them: normal scores, one-hot categories, missing flags."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from assay.screen.encoding import F64, Block, Encoder
from assay.screen.hashing import mix

_KNOTS = 257
_TOP_LEVELS = 12
_MAX_WIDTH = 2000


class Features:
    """A dense float32 view of blocks, learnt from a sample.

    Numbers become normal scores of their rank in the sample (van der Waerden), so that neither units nor heavy tails
    matter; a time of day becomes a place on a circle; a categorical column becomes one column per frequent level; a
    column that has missing values gets a flag.

    Of tables that would be more than 2,000 columns wide the columns are added up, signed at random, into 2,000 (count
    sketch: Charikar, Chen and Farach-Colton, 2002), which keeps distances and products near what they were and leaves
    no column unseen.

    Attributes:
        origin: Of each dense column, the column of `Block.x` that it comes from; of added up ones, the first.
    """

    def __init__(self, encoder: Encoder, sample: Block) -> None:
        self._plan: list[tuple[int, str]] = []
        self._knots: dict[int, tuple[F64, F64]] = {}
        self._levels: dict[int, F64] = {}
        flags: list[int] = []
        origin: list[int] = []
        for j in range(sample.x.shape[1]):
            values = sample.x[:, j]
            if encoder.categorical[j]:
                levels, counts = np.unique(values, return_counts=True)
                order = np.lexsort((levels, -counts))[:_TOP_LEVELS]
                self._levels[j] = levels[order]
                self._plan.append((j, "level"))
                origin += [j] * len(order)
                continue
            finite = values[np.isfinite(values)]
            if len(finite) == 0:
                continue
            if encoder.period[j]:
                self._plan.append((j, "circle"))
                origin += [j, j]
            else:
                self._knots[j] = _normal_scores(finite)
                self._plan.append((j, "number"))
                origin.append(j)
            if len(finite) < len(values):
                flags.append(j)
        self._plan += [(j, "flag") for j in flags]
        self._period = encoder.period
        self._every = np.array(origin + flags, dtype=np.int64)
        self._fold(len(self._every))
        width = min(len(self._every), _MAX_WIDTH)
        self.origin: list[int] = self._every[:width].tolist()

    def _fold(self, width: int) -> None:
        self._folded = width > _MAX_WIDTH
        hashed = mix(np.arange(width, dtype=np.uint64))
        self._place = np.arange(width) % _MAX_WIDTH
        self._sign = np.where(hashed & np.uint64(1), 1.0, -1.0).astype(np.float32)

    def transform(self, block: Block) -> NDArray[np.float32]:
        """(n, width) float32; missing numbers stand at 0, the median."""
        kept = block.__dict__.get("_dense")
        if kept is not None and kept[0] is self:
            return kept[1]  # type: ignore[no-any-return]
        if self._folded:
            out = np.zeros((len(block), _MAX_WIDTH), dtype=np.float32)
            for at, column in enumerate(self._columns(block)):
                out[:, self._place[at]] += self._sign[at] * column
        else:
            out = np.zeros((len(block), len(self.origin)), dtype=np.float32)
            for at, column in enumerate(self._columns(block)):
                out[:, at] = column
        block.__dict__["_dense"] = (self, out)  # several signals ask for the same block
        return out

    def extremes(self, block: Block, most: int) -> list[list[int]]:
        """For each row the columns of `Block.x` in which it lies farthest from the middle, farthest first."""
        best = np.full((len(block), len(self._every)), 0.0, dtype=np.float32)
        for at, column in enumerate(self._columns(block)):
            best[:, at] = np.abs(column)
        order = np.argsort(-best, axis=1, kind="stable")[:, : 2 * most]
        return [list(dict.fromkeys(self._every[places].tolist()))[:most] for places in order]

    def _columns(self, block: Block) -> Iterator[NDArray[np.float32]]:
        """The dense columns one after the other, before any are added up."""
        for j, kind in self._plan:
            values = block.x[:, j]
            if kind == "number":
                xs, ys = self._knots[j]
                yield np.nan_to_num(np.interp(values, xs, ys)).astype(np.float32)
            elif kind == "level":
                for level in self._levels[j]:
                    yield (values == level).astype(np.float32)
            elif kind == "circle":
                angle = np.nan_to_num(values * (2 * np.pi / self._period[j]))
                yield np.sin(angle).astype(np.float32)
                yield np.cos(angle).astype(np.float32)
            else:
                yield (~np.isfinite(values)).astype(np.float32)


def strongest(x: F64, y: F64, limit: int) -> NDArray[np.int64]:
    """The columns that tell most of the label, in their order: all where they are no more than `limit`.

    Trees look at every column for every cut, which thousands of columns make slow; this is one product.

    Args:
        x: (n, d), NaN where missing.
        y: (n,) or (n, classes) target or class indicators.
        limit: Columns to keep.
    """
    if x.shape[1] <= limit:
        return np.arange(x.shape[1])
    there = np.isfinite(x)
    filled = np.where(there, np.clip(x, -1e30, 1e30), 0.0)
    filled = np.where(there, _standard(filled, there), 0.0)
    filled = _standard(np.clip(filled, -5, 5), np.ones_like(there))  # a few far values must not decide
    wanted = y.reshape(len(y), -1).astype(np.float64)
    wanted = (wanted - wanted.mean(axis=0)) / np.maximum(wanted.std(axis=0), 1e-12)
    strength = np.abs(filled.T @ wanted).max(axis=1)
    return np.sort(np.argsort(-strength, kind="stable")[:limit])


def _standard(x: F64, there: NDArray[np.bool_]) -> F64:
    """Columns with mean 0 and spread 1 over the cells that are there."""
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there, x, 0.0).sum(axis=0) / count
    x = x - mean
    spread = np.sqrt((np.where(there, x, 0.0) ** 2).sum(axis=0) / count)
    return np.asarray(x / np.maximum(spread, 1e-12))


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
