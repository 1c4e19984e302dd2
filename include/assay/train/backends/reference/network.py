"""A network at work: its layers over one flat array of weights, and the gradients of some rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from assay.train.backends import Array, Weights
from assay.train.backends.reference.basic import (
    Chain,
    Dense,
    Dropout,
    Embedding,
    Module,
    Reshape,
    Skip,
    Views,
)
from assay.train.backends.reference.convolution import Conv, MaxPool
from assay.train.backends.reference.normalization import BatchNorm, LayerNorm
from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    DType,
    EmbeddingSpec,
    LayerNormSpec,
    LayerSpec,
    MaxPoolSpec,
    SkipSpec,
    array_specs,
    leaves,
)


def build(layers: Sequence[LayerSpec], arrays: Views, slopes: Views) -> Chain:
    """The layers over these arrays; gradients go into `slopes`, which may be empty where none is asked for."""
    numbers = {path: number for number, (path, _) in enumerate(leaves(layers))}
    return _chain(layers, "layers.", numbers, arrays, slopes)


def _chain(
    layers: Sequence[LayerSpec], prefix: str, numbers: Mapping[str, int], arrays: Views, slopes: Views
) -> Chain:
    return Chain([_module(layer, f"{prefix}{i}", numbers, arrays, slopes) for i, layer in enumerate(layers)])


def _module(spec: LayerSpec, path: str, numbers: Mapping[str, int], arrays: Views, slopes: Views) -> Module:
    prefix = f"{path}."
    if isinstance(spec, DenseSpec):
        return Dense(spec, prefix, arrays, slopes)
    if isinstance(spec, EmbeddingSpec):
        return Embedding(spec, prefix, arrays, slopes)
    if isinstance(spec, BatchNormSpec):
        return BatchNorm(spec, prefix, arrays, slopes)
    if isinstance(spec, LayerNormSpec):
        return LayerNorm(spec, prefix, arrays, slopes)
    if isinstance(spec, DropoutSpec):
        return Dropout(spec, numbers[path])
    if isinstance(spec, ConvSpec):
        return Conv(spec, prefix, arrays, slopes)
    if isinstance(spec, MaxPoolSpec):
        return MaxPool(spec)
    if isinstance(spec, SkipSpec):
        return Skip(spec, _chain(spec.layers, f"{prefix}layers.", numbers, arrays, slopes))
    return Reshape(spec)


class Network:
    """A chain whose trainable numbers lie behind each other in one array, and their gradient in another.

    Attributes:
        flat: All trainable numbers, as `array_specs` lists them; the layers' arrays are views of it.
        gradient: As long; what `Sum` wrote last.
        arrays: Every array by name, running statistics included.
        chain: The layers.
    """

    def __init__(self, layers: Sequence[LayerSpec], weights: Mapping[str, Array], dtype: DType) -> None:
        specs = array_specs(layers)
        size = sum(spec.size for spec in specs if spec.trainable)
        self.flat, self.gradient = np.zeros(size, dtype=dtype), np.zeros(size, dtype=dtype)
        self.arrays: Weights = {}
        slopes: Weights = {}
        at = 0
        for spec in specs:
            if spec.trainable:
                self.arrays[spec.name] = self.flat[at : at + spec.size].reshape(spec.shape)
                slopes[spec.name] = self.gradient[at : at + spec.size].reshape(spec.shape)
                at += spec.size
            else:
                self.arrays[spec.name] = np.zeros(spec.shape, dtype=dtype)
        self.load(weights)
        self.chain = build(layers, self.arrays, slopes)

    def load(self, weights: Mapping[str, Array]) -> None:
        """Take these arrays' numbers.

        Raises:
            KeyError: An array is missing.
            ValueError: An array has another shape.
        """
        for name, array in self.arrays.items():
            if weights[name].shape != array.shape:
                raise ValueError(f"{name} has the shape {weights[name].shape} instead of {array.shape}")
            array[...] = weights[name]

    def copies(self) -> Weights:
        """Every array by name, C order, apart from what learns on."""
        return {name: array.copy() for name, array in self.arrays.items()}
