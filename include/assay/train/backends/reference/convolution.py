"""Convolution and max-pooling along the width of (rows, channels, width)."""

from __future__ import annotations

from functools import reduce

import numpy as np

from assay.train.backends import Array
from assay.train.backends.reference.activations import Activated
from assay.train.backends.reference.basic import Back, Pass, Views
from assay.train.backends.reference.gradients import Sink
from assay.train.network.layers import ConvSpec, MaxPoolSpec


def _windows(x: Array, length: int, stride: int) -> Array:
    """Views (rows, channels, places, length) of neighbours."""
    return np.lib.stride_tricks.sliding_window_view(x, length, axis=2)[:, :, ::stride]


class Conv:
    """See `ConvSpec`."""

    def __init__(self, spec: ConvSpec, prefix: str, arrays: Views, slopes: Views) -> None:
        self._spec, self._prefix, self._slopes = spec, prefix, slopes
        self._weight, self._bias = arrays[f"{prefix}weight"], arrays.get(f"{prefix}bias")

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """One matrix product with the windows laid out as rows."""
        spec = self._spec
        padded = np.pad(x, ((0, 0), (0, 0), (spec.padding, spec.padding)))
        windows = _windows(padded, spec.kernel, spec.stride).transpose(0, 2, 1, 3)
        inputs = windows.reshape(len(x), windows.shape[1], spec.channels * spec.kernel)
        matrix = self._weight.reshape(spec.out, -1)
        z = inputs @ matrix.T
        if self._bias is not None:
            z += self._bias
        activated = Activated(spec.activation, z)

        def back(delta: Array, sink: Sink) -> Array:
            delta = activated.back(delta.transpose(0, 2, 1))
            sink.product(self._slopes[f"{self._prefix}weight"], inputs, delta)
            if self._bias is not None:
                sink.direct(self._slopes[f"{self._prefix}bias"], delta.sum(axis=1))
            by_window = (delta @ matrix).reshape(windows.shape)
            slope = np.zeros_like(padded)
            for at in range(spec.kernel):
                stop = at + spec.stride * (windows.shape[1] - 1) + 1
                slope[:, :, at : stop : spec.stride] += by_window[..., at].transpose(0, 2, 1)
            return slope[:, :, spec.padding : spec.padding + spec.width]

        return np.ascontiguousarray(activated.output.transpose(0, 2, 1)), back


class MaxPool:
    """See `MaxPoolSpec`."""

    def __init__(self, spec: MaxPoolSpec) -> None:
        self._spec = spec

    def forward(self, x: Array, run: Pass) -> tuple[Array, Back]:
        """The largest of each window."""
        windows = _windows(x, self._spec.window, self._spec.stride)
        # Windows are short: a few maxima of whole arrays are much quicker than very many of a few numbers.
        largest = reduce(np.maximum, [windows[..., at] for at in range(self._spec.window)])

        def back(delta: Array, sink: Sink) -> Array:
            # NNlib gives the slope to the first number of the window that equals the largest up to half the digits.
            near = np.sqrt(np.finfo(x.dtype).eps) * np.maximum(np.abs(windows), np.abs(largest)[..., None])
            equal = np.abs(windows - largest[..., None]) <= near
            slope, free = np.zeros_like(x), np.ones(largest.shape, dtype=bool)
            for at in range(self._spec.window):
                stop = at + self._spec.stride * (largest.shape[2] - 1) + 1
                slope[:, :, at : stop : self._spec.stride] += delta * (equal[..., at] & free)
                free &= ~equal[..., at]
            return slope

        return largest, back
