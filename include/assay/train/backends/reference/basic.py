"""Layers on rows of features: dense, embedding, dropout, changes of shape, and skips."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from assay.train.backends import Array
from assay.train.backends.reference.activations import Activated
from assay.train.backends.reference.gradients import Sink
from assay.train.network.layers import (
    DenseSpec,
    DropoutSpec,
    EmbeddingSpec,
    FlattenSpec,
    SkipSpec,
    UnflattenSpec,
)
from assay.train.steps import masks

Back = Callable[[Array, Sink], Array]
"""From the loss's slope by a layer's output to the one by its input; the sink hears of the weights."""


@dataclass
class Pass:
    """What a forward pass must know besides its input.

    Attributes:
        training: Whether dropout drops and batch normalisation looks at the batch.
        seed: Of dropout's masks.
        step: Number of the update.
        moved: New running statistics by array name, to be kept only if the update is made.
    """

    training: bool
    seed: int = 0
    step: int = 0
    moved: dict[str, Array] = field(default_factory=dict)


class Module(Protocol):
    """One layer at work: its arrays are views of the network's, its slopes views of the gradient."""

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """The output, and the way back."""
        ...


Views = Mapping[str, Array]


class Dense:
    """See `DenseSpec`."""

    def __init__(self, spec: DenseSpec, prefix: str, arrays: Views, slopes: Views) -> None:
        self._activation, self._prefix, self._slopes = spec.activation, prefix, slopes
        self._weight, self._bias = arrays[f"{prefix}weight"], arrays.get(f"{prefix}bias")

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """Product, bias, activation."""
        z = x @ self._weight.T
        if self._bias is not None:
            z += self._bias
        activated = Activated(self._activation, z)

        def back(delta: Array, sink: Sink) -> Array:
            delta = activated.back(delta)
            sink.product(self._slopes[f"{self._prefix}weight"], x[:, None, :], delta[:, None, :])
            if self._bias is not None:
                sink.direct(self._slopes[f"{self._prefix}bias"], delta)
            return np.asarray(delta @ self._weight)

        return activated.output, back


class Embedding:
    """See `EmbeddingSpec`."""

    def __init__(self, spec: EmbeddingSpec, prefix: str, arrays: Views, slopes: Views) -> None:
        self._spec, self._slopes = spec, slopes
        self._names = [f"{prefix}table.{k}" for k in range(len(spec.columns))]
        self._tables = [arrays[name] for name in self._names]

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """Look up, and put the other features behind.

        What is no category's number becomes NaN, so that such a batch is skipped rather than learnt from as another
        category.
        """
        parts, looked_up = [], []
        for column, table in zip(self._spec.columns, self._tables, strict=True):
            numbers = x[:, column.feature]
            known = (numbers >= 0) & (numbers < column.vocabulary) & (numbers == np.floor(numbers))
            codes = np.where(known, numbers, 0).astype(np.int64)
            looked_up.append(codes)
            parts.append(np.where(known[:, None], table[codes], table.dtype.type(np.nan)))
        output = np.concatenate([*parts, x[:, list(self._spec.rest)]], axis=1)

        def back(delta: Array, sink: Sink) -> Array:
            for k, (codes, name) in enumerate(zip(looked_up, self._names, strict=True)):
                sink.lookup(
                    self._slopes[name], codes, delta[:, k * self._spec.dim : (k + 1) * self._spec.dim]
                )
            # Nothing comes before an embedding that could learn, and a category's number has no slope.
            return np.zeros_like(x)

        return output, back


class Reshape:
    """See `FlattenSpec` and `UnflattenSpec`: the numbers lie in memory as they are."""

    def __init__(self, spec: FlattenSpec | UnflattenSpec) -> None:
        self._in, self._out = spec.input_shape, spec.output_shape

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """Only the shape changes."""
        return x.reshape(len(x), *self._out), lambda delta, sink: delta.reshape(len(delta), *self._in)


class Dropout:
    """See `DropoutSpec`; the masks are those of `assay.train.steps.masks`."""

    def __init__(self, spec: DropoutSpec, number: int) -> None:
        self._spec, self._number = spec, number

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """Mask and scale while training; nothing else."""
        if not run.training:
            return x, lambda delta, sink: delta
        size = int(np.prod(self._spec.shape))
        kept = masks.keep(run.seed, run.step, self._number, len(x), size, self._spec.rate)
        scaled = kept.reshape(x.shape).astype(x.dtype) / x.dtype.type(1 - self._spec.rate)
        return x * scaled, lambda delta, sink: np.asarray(delta * scaled)


class Skip:
    """See `SkipSpec`."""

    def __init__(self, spec: SkipSpec, inner: Chain) -> None:
        self._inner, self._add = inner, spec.connection == "add"
        self._split = spec.layers[-1].output_shape[0]

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """The inner layers' output and the input, joined by feature or channel."""
        y, inner_back = self._inner.forward(x, run)
        if self._add:
            return y + x, lambda delta, sink: np.asarray(inner_back(delta, sink) + delta)

        def back(delta: Array, sink: Sink) -> Array:
            return np.asarray(inner_back(delta[:, : self._split], sink) + delta[:, self._split :])

        return np.concatenate([y, x], axis=1), back


class Chain:
    """Layers one after the other."""

    def __init__(self, modules: list[Any]) -> None:
        self._modules: list[Module] = modules

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """Through all of them."""
        backs: list[Back] = []
        for module in self._modules:
            x, back = module.forward(x, run)
            backs.append(back)

        def all_back(delta: Array, sink: Sink) -> Array:
            for back in reversed(backs):
                delta = back(delta, sink)
            return delta

        return x, all_back
