"""Dropout's masks, from numbers that only depend on seed, update, layer, row and place.

Nothing is drawn from a running generator, so that two backends have the same masks, a resumed run those of the run that
was killed, and a row the same mask however often its gradient is asked for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014), which spreads every input bit over the whole word."""
    with np.errstate(over="ignore"):
        values = values + _GOLDEN
        values = (values ^ (values >> np.uint64(30))) * _MIX_1
        values = (values ^ (values >> np.uint64(27))) * _MIX_2
    return values ^ (values >> np.uint64(31))


def uniforms(seed: int, step: int, layer: int, rows: int, size: int) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) for each row of a batch and each place of a layer's input.

    With k = mix(mix(mix(seed) xor step) xor layer), the number of row r and place j is the upper 53 bits of
    mix(k + r·size + j), as a fraction; all arithmetic is modulo 2**64.

    Args:
        seed: The run's.
        step: Number of the update, from zero over the whole run.
        layer: Number of the layer, see `assay.train.network.layers.leaves`.
        rows: Rows of the batch; a row is counted by its place in the batch.
        size: Numbers per row; places are counted channel after channel.

    Returns:
        float64 (rows, size).
    """
    key = mix(np.array([seed % 2**64], dtype=np.uint64))
    for word in (step, layer):
        key = mix(key ^ np.uint64(word))
    with np.errstate(over="ignore"):
        counters = np.add(key, np.arange(rows * size, dtype=np.uint64), dtype=np.uint64)
    numbers: npt.NDArray[np.float64] = (mix(counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers.reshape(rows, size)


def keep(seed: int, step: int, layer: int, rows: int, size: int, rate: float) -> npt.NDArray[np.bool_]:
    """Which inputs a dropout layer lets through: those whose number is at least `rate`. Shape (rows, size)."""
    return np.asarray(uniforms(seed, step, layer, rows, size) >= rate)
