"""What both backends must share to be comparable: the first weights, the batches, and their learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.contract.optimization import Schedule
from assay.train.backends import Batches, Rows, Weights
from assay.train.errors import RequestError
from assay.train.network.layers import DType, LayerSpec, array_specs

_WEIGHTS, _ORDER, _POISSON = 1, 2, 3
"""Streams of random numbers that never meet."""


def initial_weights(layers: Sequence[LayerSpec], seed: int, dtype: DType = "float32") -> Weights:
    """Glorot's uniform weights (Glorot and Bengio 2010, what Flux's Dense starts from), and constants for the rest.

    Drawn from PCG64 as doubles, then rounded, so that float32 and float64 runs start from the same numbers.

    Returns:
        Every array by name.
    """
    generator = np.random.Generator(np.random.PCG64([seed % 2**64, _WEIGHTS]))
    weights: Weights = {}
    for array in array_specs(layers):
        if array.fan is None:
            weights[array.name] = np.full(array.shape, array.fill, dtype=dtype)
        else:
            limit = math.sqrt(6.0 / sum(array.fan))
            weights[array.name] = ((generator.random(array.shape) * 2 - 1) * limit).astype(dtype)
    return weights


def updates_per_epoch(rows: int, batch_size: int) -> int:
    """Updates in one epoch, whatever way the batches are made."""
    return -(-rows // batch_size)


def learning_rates(
    schedule: Schedule, full: float, *, epoch: int, epochs: int, updates: int
) -> npt.NDArray[np.float64]:
    """The learning rate of each update of one epoch.

    Args:
        schedule: How it changes.
        full: The optimiser's learning rate.
        epoch: Counted from 1.
        epochs: Of the whole run.
        updates: Per epoch.

    Returns:
        float64 (updates,).
    """
    at = (np.arange(updates) + (epoch - 1) * updates) / updates  # epochs that are done before each update
    warm = schedule.warmup_epochs
    after = np.maximum(at - warm, 0.0)
    if schedule.name == "cosine":
        share = np.minimum(after / max(epochs - warm, 1e-12), 1.0)
        factor = schedule.min_factor + (1 - schedule.min_factor) * 0.5 * (1 + np.cos(np.pi * share))
    elif schedule.name == "step":
        factor = schedule.factor ** np.floor(after / schedule.every)
    else:
        factor = np.ones(updates)
    if warm:
        # The first update has a rate above zero, the first one after the warm-up the full rate.
        factor = np.where(at < warm, (at + 1 / updates) / (warm + 1 / updates), factor)
    return np.asarray(full * factor, dtype=np.float64)


def epoch_order(rows: Rows, seed: int, epoch: int) -> Rows:
    """The training rows in the order of one epoch (counted from 1).

    Each epoch has a generator of its own, so that the order does not depend on how the run came there.
    """
    keys = np.random.Generator(np.random.PCG64([seed % 2**64, _ORDER, epoch])).random(len(rows))
    return rows[np.argsort(keys, kind="stable")]


def shuffled_batches(
    rows: Rows, batch_size: int, seed: int, epoch: int, rates: npt.NDArray[np.float64]
) -> Batches:
    """Every row once, in batches of `batch_size`; the last one may be smaller.

    A last row that would be left alone gets one more from the batch before it: of one row alone, batch normalisation
    cannot tell a variance.
    """
    offsets = np.minimum(np.arange(len(rates) + 1, dtype=np.int64) * batch_size, len(rows))
    if batch_size > 2 and len(offsets) > 2 and offsets[-1] - offsets[-2] == 1:
        offsets[-2] -= 1
    return Batches(epoch_order(rows, seed, epoch), offsets, rates, (epoch - 1) * len(rates))


def poisson_batches(
    rows: Rows, batch_size: int, key: Sequence[int], epoch: int, rates: npt.NDArray[np.float64]
) -> Batches:
    """Batches in which each row is with probability `batch_size / len(rows)`, independently of all else.

    That, and no batch of a fixed size, is what the amplification of differential privacy by sampling is proved for.

    Args:
        rows: The training rows.
        batch_size: Expected rows of a batch.
        key: Words that the numbers are drawn from; secret, unless the run has to be repeatable.
        epoch: Counted from 1.
        rates: One per update.
    """
    share = min(batch_size / len(rows), 1.0)
    updates = len(rates)
    batches = []
    for update in range(updates):
        generator = np.random.Generator(np.random.PCG64([*key, _POISSON, (epoch - 1) * updates + update]))
        # As many as coins would give, then which: the same as one coin per row, without looking at every row.
        count = generator.binomial(len(rows), share)
        batches.append(rows[np.sort(generator.choice(len(rows), count, replace=False, shuffle=False))])
    offsets = np.concatenate([[0], np.cumsum([len(batch) for batch in batches])]).astype(np.int64)
    return Batches(np.concatenate(batches).astype(np.int64), offsets, rates, (epoch - 1) * updates)


def balanced_batches(
    rows: Rows,
    sources: npt.NDArray[np.int32],
    batch_size: int,
    seed: int,
    epoch: int,
    rates: npt.NDArray[np.float64],
) -> Batches:
    """Batches in which every source has equally many rows, as the workers of a robust aggregation do.

    A source with few rows shows them several times in an epoch, one with many not all of them; each goes through its
    rows in an order of its own that goes on from epoch to epoch.

    Args:
        rows: The training rows.
        sources: (all rows,) source numbers.
        batch_size: Rows of a batch; each source has its share, at least one row.
        seed: The run's.
        epoch: Counted from 1.
        rates: One per update.
    """
    of_source = [rows[sources[rows] == number] for number in np.unique(sources[rows])]
    share = max(batch_size // len(of_source), 1)
    updates = len(rates)
    wanted = np.arange(updates * share) + (epoch - 1) * updates * share
    drawn = []
    for number, own in enumerate(of_source):
        rounds = wanted // len(own)
        picked = np.empty(len(wanted), dtype=np.int64)
        for turn in np.unique(rounds):
            here = rounds == turn
            order = np.random.Generator(
                np.random.PCG64([seed % 2**64, _ORDER, number + 1, int(turn)])
            ).permutation(own)
            picked[here] = order[wanted[here] % len(own)]
        drawn.append(picked.reshape(updates, share))
    together = np.concatenate(drawn, axis=1)
    offsets = np.arange(updates + 1, dtype=np.int64) * together.shape[1]
    return Batches(together.reshape(-1), offsets, rates, (epoch - 1) * updates)


def load_weights(path: Path, layers: Sequence[LayerSpec], dtype: DType = "float32") -> Weights:
    """Read weights from a safetensors file and hold them against the layers.

    Raises:
        RequestError: The file cannot be read, or holds other names, shapes or dtypes, or numbers that are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise RequestError(f"the weights in {path} cannot be read: {error}") from error
    expected = {array.name: array.shape for array in array_specs(layers)}
    if set(arrays) != set(expected):
        raise RequestError(
            f"the weights in {path} are of another network",
            expected=", ".join(expected),
            found=", ".join(sorted(arrays)),
        )
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.dtype(dtype):
            raise RequestError(
                f"{name} in {path} does not fit",
                expected=f"{dtype} {shape}",
                found=f"{array.dtype} {array.shape}",
            )
        if not np.isfinite(array).all():
            raise RequestError(f"{name} in {path} holds numbers that are not finite")
    return {name: arrays[name] for name in expected}
