"""What both backends must share to be comparable: the first weights and the order of the rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.train.backends import Layer
from assay.train.errors import RequestError
from assay.train.spec import DenseSpec, weight_name


def initial_weights(layers: Sequence[DenseSpec], seed: int) -> list[Layer]:
    """Glorot's uniform weights (Glorot and Bengio 2010, what Flux's Dense starts from) and zero biases.

    Drawn from PCG64 as doubles, then rounded, so that float32 and float64 runs start from the same numbers.

    Returns:
        Weight (out, in) and bias (out) or None for each layer, in the layer's dtype.
    """
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    weights: list[Layer] = []
    for layer in layers:
        limit = math.sqrt(6.0 / (layer.in_ + layer.out))
        weight = ((generator.random((layer.out, layer.in_)) * 2 - 1) * limit).astype(layer.dtype)
        weights.append((weight, np.zeros(layer.out, dtype=layer.dtype) if layer.bias else None))
    return weights


def epoch_order(rows: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """The training rows in the order of one epoch (counted from 1).

    Each epoch has a generator of its own, so that the order does not depend on how the run came there.
    """
    keys = np.random.Generator(np.random.PCG64([seed, 2, epoch])).random(len(rows))
    return rows[np.argsort(keys, kind="stable")]


def load_weights(path: Path, layers: Sequence[DenseSpec]) -> list[Layer]:
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
    expected: dict[str, tuple[tuple[int, ...], str]] = {}
    for i, layer in enumerate(layers):
        expected[weight_name(i, "weight")] = (layer.out, layer.in_), layer.dtype
        if layer.bias:
            expected[weight_name(i, "bias")] = (layer.out,), layer.dtype
    if set(arrays) != set(expected):
        raise RequestError(
            f"the weights in {path} are of another network",
            expected=", ".join(expected),
            found=", ".join(sorted(arrays)),
        )
    for name, (shape, dtype) in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.dtype(dtype):
            raise RequestError(
                f"{name} in {path} does not fit",
                expected=f"{dtype} {shape}",
                found=f"{array.dtype} {array.shape}",
            )
        if not np.isfinite(array).all():
            raise RequestError(f"{name} in {path} holds numbers that are not finite")
    return [
        (arrays[weight_name(i, "weight")], arrays.get(weight_name(i, "bias"))) for i in range(len(layers))
    ]
