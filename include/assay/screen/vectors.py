"""Vectors (embeddings, images) as a bounded number of columns.

A short vector stands as it is, one column per component. Of a longer one the signals get its place along the principal
directions of the sample (Pearson, 1901), its distance from the space that these span, and those few components that a
trigger would stand in: one value comes back although hardly any other does (numbers that a model made seldom repeat),
or far more often than in the reference rows, or rows leave the range that these keep to (a corner that is else dark).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.screen.calibration import excess
from assay.screen.cells import F64, Mask, whole
from assay.screen.hashing import U64, mix, salt

SHORT = 24
"""Vectors of at most this many components stand as they are."""

_DIRECTIONS = 24
_FIT_ROWS = 2_000
_TELLING = 8
_LEAST_REPEATS = 6
_REPEAT_SHARE = 0.002
_DISTINCT = 0.5
_UNLIKELY = 0.01
_LONG = 2.0
_FAR = 1e30
_DECIMALS = 6
_EXACT = 500


def matrix(column: pa.Array | pa.ChunkedArray, length: int) -> tuple[F64, Mask]:
    """Vectors as numbers.

    Args:
        column: Lists of numbers, or texts that hold JSON lists.
        length: Components that each vector must have.

    Returns:
        (n, length) float64, NaN throughout where a cell is null or no such vector; (n,) mask of the latter.
    """
    column = whole(column)
    found = column.type
    out = np.full((len(column), length), np.nan)
    if pa.types.is_null(found):
        return out, np.zeros(len(column), dtype=bool)
    there = np.asarray(column.is_valid())
    if pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found):
        lists = [_parsed(cell) for cell in column.to_pylist()]
        column = pa.array(lists, pa.list_(pa.float64()))
        found = column.type
    nested = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
    numeric = nested and (pa.types.is_floating(found.value_type) or pa.types.is_integer(found.value_type))
    if not numeric:
        return out, there
    sized = np.asarray(pc.fill_null(pc.list_value_length(column), -1)) == length
    flat = column.filter(pa.array(sized)).flatten()
    values = pc.cast(flat, pa.float64(), safe=False).to_numpy(zero_copy_only=False).reshape(-1, length)
    sound = np.isfinite(values).all(axis=1)
    good = sized.copy()
    good[np.flatnonzero(sized)[~sound]] = False
    out[good] = np.clip(values[sound], -_FAR, _FAR)
    return out, there & ~good


def _parsed(cell: str | None) -> list[float] | None:
    """The numbers of a JSON list; None for anything else."""
    try:
        found = json.loads(cell) if cell is not None else None
        if isinstance(found, list) and all(type(part) in (int, float) for part in found):
            return [float(part) for part in found]
    except (ValueError, RecursionError, OverflowError):
        pass
    return None


def hashes(values: F64, name: str) -> U64:
    """One hash per vector; all that hold a NaN are one value, and -0.0 is 0.0."""
    out = np.zeros(len(values), dtype=np.uint64)
    own = salt(name)
    with np.errstate(over="ignore"):
        places = mix(np.arange(values.shape[1], dtype=np.uint64) ^ own)
        for j in range(values.shape[1]):
            out += mix((values[:, j] + 0.0).view(np.uint64) ^ places[j])
    out[np.isnan(values).any(axis=1)] = own
    return mix(out)


class Basis:
    """What the vectors of one column are taken apart into.

    Args:
        samples: (n, length) vectors of the batch, then of each set of reference rows.
        length: Components of each vector.

    Attributes:
        aspects: Names of the parts, in order.
    """

    def __init__(self, samples: Sequence[F64], length: int) -> None:
        self._length = length
        self._kept: list[int] = list(range(length))
        self._directions: F64 | None = None
        self._centre, self._scale = np.zeros(length), 1.0
        if length > SHORT:
            # Of each table a part: a large batch must not outvote the trusted rows, nor they it.
            parts = [_sound(sample)[:_FIT_ROWS] for sample in samples]
            z = np.vstack([np.zeros((0, length)), *parts])
            self._kept = _telling(z, z[: len(parts[0])], z[len(parts[0]) :]) if parts else []
            self._directions = self._learn(z)
        self.aspects = tuple(f"component {j + 1}" for j in self._kept)
        if self._directions is not None:
            self.aspects += tuple(f"direction {k + 1}" for k in range(len(self._directions)))
            self.aspects += ("distance from all directions",)

    def _learn(self, z: F64) -> F64:
        """(k, length) principal directions, each with its largest component positive."""
        if len(z) < 2:
            return np.zeros((0, self._length))
        self._centre = np.median(z, axis=0)
        z = z - self._centre
        # A few vectors far out must not turn the directions towards themselves (spherical principal components:
        # Locantore et al., 1999; here only the long ones are shortened).
        lengths = np.sqrt((z**2).sum(axis=1))
        most = _LONG * float(np.median(lengths))
        z = z * np.minimum(1.0, most / np.maximum(lengths, 1e-300))[:, None]
        self._scale = max(float(np.sqrt((z**2).mean())), 1e-300)
        z = z / self._scale
        count = min(_DIRECTIONS, self._length, len(z) - 1)
        if self._length <= _EXACT:
            directions: F64 = np.linalg.eigh(z.T @ z)[1][:, ::-1][:, :count].T
        else:
            from sklearn.utils.extmath import randomized_svd

            directions = randomized_svd(z, count, n_iter=3, random_state=0)[2]
        loudest = np.abs(directions).argmax(axis=1)
        turned = np.where(directions[np.arange(len(directions)), loudest] < 0, -1.0, 1.0)
        return np.asarray(directions * turned[:, None])

    def parts(self, values: F64) -> F64:
        """(n, aspects) parts of (n, length) vectors."""
        out = values[:, self._kept]
        if self._directions is None:
            return out
        z = np.clip((values - self._centre) / self._scale, -_FAR, _FAR)
        along = z @ self._directions.T
        squares = (z**2).sum(axis=1) - (along**2).sum(axis=1)
        beside = np.sqrt(np.maximum(squares, 0.0))
        # The last bits of a product depend on the rows beside it; without them a row's rank does not.
        return np.column_stack([out, np.round(along, _DECIMALS), np.round(beside, _DECIMALS)])


def _sound(values: F64) -> F64:
    return values[~np.isnan(values).any(axis=1)]


def _telling(every: F64, batch: F64, reference: F64) -> list[int]:
    """The components that a trigger may stand in, at most eight of them: those that chance explains least."""
    low, high = (reference.min(axis=0), reference.max(axis=0)) if len(reference) else (0.0, 0.0)
    beyond = ((batch < low) | (batch > high)).sum(axis=0)
    found = []
    for j in range(every.shape[1]):
        likely = _repeats(every[:, j])
        if len(reference):
            # Either end of the range may be left by as many rows as the reference has there: one each.
            left = excess(int(beyond[j]), len(batch), 2, len(reference))
            likely = min(likely, left, _more(batch[:, j], reference[:, j]))
        if likely * every.shape[1] <= _UNLIKELY:
            found.append((likely, j))
    return sorted(j for _, j in sorted(found)[:_TELLING])


def _repeats(values: F64) -> float:
    """P-value of the most frequent value, where hardly any other comes twice; else 1."""
    from scipy.stats import poisson

    _, counts = np.unique(values, return_counts=True)
    most = int(counts.max(initial=0))
    if len(counts) < _DISTINCT * len(values) or most < max(_LEAST_REPEATS, _REPEAT_SHARE * len(values)):
        return 1.0
    return float(poisson.sf(most - 1, len(values) / len(counts)))


def _more(batch: F64, reference: F64) -> float:
    """P-value of the value whose share grew most from the reference rows to the batch."""
    distinct, counts = np.unique(batch, return_counts=True)
    known, seen = np.unique(reference, return_counts=True)
    usual = np.where(
        np.isin(distinct, known), seen[np.searchsorted(known, distinct).clip(max=len(seen) - 1)], 0
    )
    grown = counts / len(batch) - usual / len(reference)
    if not len(grown):
        return 1.0
    top = int(grown.argmax())
    return excess(int(counts[top]), len(batch), int(usual[top]), len(reference))
