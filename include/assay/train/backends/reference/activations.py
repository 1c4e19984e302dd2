"""Activations and their derivatives, as NNlib defines them, in the dtype of their argument."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from assay.train.backends import Array

_GELU_CUBIC = 0.044715
_GELU_SLOPE = float(np.sqrt(8 / np.pi))
_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow on either side."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1 / (1 + small), small / (1 + small)))


def softplus(z: Array) -> Array:
    """log(1 + exp(z)), without overflow."""
    return np.asarray(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0))


def _expm1_negative(z: Array) -> Array:
    return np.asarray(np.exp(np.minimum(z, 0)) - 1)


def _gelu_gate(z: Array) -> Array:
    return sigmoid(_GELU_SLOPE * z * (1 + _GELU_CUBIC * z * z))


def _gelu_slope(z: Array, _a: Array) -> Array:
    gate = _gelu_gate(z)
    return np.asarray(gate + z * gate * (1 - gate) * _GELU_SLOPE * (1 + 3 * _GELU_CUBIC * z * z))


def _swish_slope(z: Array, a: Array) -> Array:
    return np.asarray(a + sigmoid(z) * (1 - a))


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "identity": (lambda z: z, lambda z, _a: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, z.dtype.type(0)), lambda z, _a: (z > 0).astype(z.dtype)),
    "leakyrelu": (
        lambda z: np.where(z > 0, z, z.dtype.type(0.01) * z),
        lambda z, _a: np.where(z > 0, z.dtype.type(1), z.dtype.type(0.01)),
    ),
    "elu": (
        lambda z: np.where(z >= 0, z, _expm1_negative(z)),
        lambda z, a: np.where(z >= 0, z.dtype.type(1), a + 1),
    ),
    "gelu": (lambda z: z * _gelu_gate(z), _gelu_slope),
    "selu": (
        lambda z: _SELU_SCALE * np.where(z > 0, z, _SELU_ALPHA * _expm1_negative(z)),
        lambda z, a: np.where(z > 0, z.dtype.type(_SELU_SCALE), a + z.dtype.type(_SELU_SCALE * _SELU_ALPHA)),
    ),
    "sigmoid": (sigmoid, lambda _z, a: a * (1 - a)),
    "softplus": (softplus, lambda z, _a: sigmoid(z)),
    "swish": (lambda z: z * sigmoid(z), _swish_slope),
    "tanh": (np.tanh, lambda _z, a: 1 - a * a),
}
"""Activation and its derivative, the latter from pre-activation z and output a; the names are the contract's."""


class Activated:
    """One use of an activation: the output, and the way back from its slope to the pre-activation's."""

    def __init__(self, name: str, z: Array) -> None:
        self._slope = None if name == "identity" else ACTIVATIONS[name][1]
        self._z = z
        self.output = ACTIVATIONS[name][0](z)

    def back(self, delta: Array) -> Array:
        """From the loss's slope by the output to the one by the pre-activation."""
        return delta if self._slope is None else np.asarray(delta * self._slope(self._z, self.output))
