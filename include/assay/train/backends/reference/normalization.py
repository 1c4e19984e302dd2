"""Batch and layer normalisation, with Flux's epsilons."""

from __future__ import annotations

import numpy as np

from assay.train.backends import Array
from assay.train.backends.reference.activations import Activated
from assay.train.backends.reference.basic import Back, Pass, Views
from assay.train.backends.reference.gradients import Sink
from assay.train.network.layers import BatchNormSpec, LayerNormSpec


class BatchNorm:
    """See `BatchNormSpec`."""

    def __init__(self, spec: BatchNormSpec, prefix: str, arrays: Views, slopes: Views) -> None:
        self._spec, self._prefix, self._slopes = spec, prefix, slopes
        self._scale, self._bias = arrays[f"{prefix}scale"], arrays[f"{prefix}bias"]
        self._mean, self._variance = arrays[f"{prefix}mean"], arrays[f"{prefix}variance"]

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """By the batch's statistics while training, else by the running ones."""
        axes = (0,) if x.ndim == 2 else (0, 2)
        over = (slice(None),) if x.ndim == 2 else (slice(None), None)
        if run.training:
            mean = x.mean(axis=axes)
            variance = np.square(x - mean[over]).mean(axis=axes)
            self._move(mean, variance, x.size // len(mean), run)
        else:
            mean, variance = self._mean, self._variance
        inverse = 1 / np.sqrt(variance + x.dtype.type(self._spec.epsilon))
        factor = self._scale * inverse
        activated = Activated(self._spec.activation, factor[over] * x + (self._bias - factor * mean)[over])

        def back(delta: Array, sink: Sink) -> Array:
            delta = activated.back(delta)
            normal = (x - mean[over]) * inverse[over]
            by_bias = delta if x.ndim == 2 else delta.sum(axis=2)
            by_scale = delta * normal if x.ndim == 2 else (delta * normal).sum(axis=2)
            sink.direct(self._slopes[f"{self._prefix}bias"], by_bias)
            sink.direct(self._slopes[f"{self._prefix}scale"], by_scale)
            if not run.training:
                return np.asarray(delta * factor[over])
            count = x.dtype.type(x.size // len(mean))
            centred = (
                delta - (by_bias.sum(axis=0) / count)[over] - normal * (by_scale.sum(axis=0) / count)[over]
            )
            return np.asarray(centred * factor[over])

        return activated.output, back

    def _move(self, mean: Array, variance: Array, count: int, run: Pass) -> None:
        """New running statistics; of a single number there is no unbiased variance, which makes it NaN as in Flux."""
        kind = mean.dtype.type
        momentum = kind(self._spec.momentum)
        stay = kind(1) - momentum
        unbiased = np.divide(kind(count), kind(count - 1))
        run.moved[f"{self._prefix}mean"] = stay * self._mean + momentum * mean
        run.moved[f"{self._prefix}variance"] = stay * self._variance + momentum * unbiased * variance


class LayerNorm:
    """See `LayerNormSpec`; as in Flux, the square of epsilon is added to the variance."""

    def __init__(self, spec: LayerNormSpec, prefix: str, arrays: Views, slopes: Views) -> None:
        self._spec, self._prefix, self._slopes = spec, prefix, slopes
        self._scale, self._bias = arrays[f"{prefix}scale"], arrays[f"{prefix}bias"]

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """Each row by its own mean and variance."""
        centred = x - x.mean(axis=1, keepdims=True)
        epsilon = x.dtype.type(self._spec.epsilon)
        deviation = np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + epsilon * epsilon)
        normal = centred / deviation
        activated = Activated(self._spec.activation, self._scale * normal + self._bias)

        def back(delta: Array, sink: Sink) -> Array:
            delta = activated.back(delta)
            sink.direct(self._slopes[f"{self._prefix}bias"], delta)
            sink.direct(self._slopes[f"{self._prefix}scale"], delta * normal)
            delta = delta * self._scale
            delta = (
                delta
                - delta.mean(axis=1, keepdims=True)
                - normal * (delta * normal).mean(axis=1, keepdims=True)
            )
            return np.asarray(delta / deviation)

        return activated.output, back
