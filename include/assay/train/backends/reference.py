"""The reference backend: a multilayer perceptron in NumPy, written to be read, and Flux's independent witness.

Losses, activations and Adam follow Flux's definitions to the letter, so that from the same weights and batches both
backends take the same steps up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.train.backends import Array, EpochStats, Evaluation, Layer, Problem
from assay.train.spec import BundleSpec, DenseSpec, weight_name

EVALUATION_ROWS = 8192

_GELU_CUBIC = 0.044715
_GELU_SLOPE = float(np.sqrt(8 / np.pi))
_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


def _sigmoid(z: Array) -> Array:
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1 / (1 + small), small / (1 + small)))


def _expm1_negative(z: Array) -> Array:
    return np.asarray(np.exp(np.minimum(z, 0)) - 1)


def _gelu_parts(z: Array) -> tuple[Array, Array]:
    gate = _sigmoid(_GELU_SLOPE * z * (1 + _GELU_CUBIC * z * z))
    slope = _GELU_SLOPE * (1 + 3 * _GELU_CUBIC * z * z)
    return gate, np.asarray(slope)


def _gelu_slope(z: Array, _a: Array) -> Array:
    gate, slope = _gelu_parts(z)
    return np.asarray(gate + z * gate * (1 - gate) * slope)


def _swish_slope(z: Array, _a: Array) -> Array:
    gate = _sigmoid(z)
    return np.asarray(gate + z * gate * (1 - gate))


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "identity": (lambda z: z, lambda z, _a: np.ones_like(z)),
    "relu": (lambda z: np.where(z < 0, z.dtype.type(0), z), lambda z, _a: (z > 0).astype(z.dtype)),
    "leakyrelu": (
        lambda z: np.where(z > 0, z, z.dtype.type(0.01) * z),
        lambda z, _a: np.where(z > 0, z.dtype.type(1), z.dtype.type(0.01)),
    ),
    "elu": (
        lambda z: np.where(z >= 0, z, _expm1_negative(z)),
        lambda z, a: np.where(z >= 0, z.dtype.type(1), a + 1),
    ),
    "gelu": (lambda z: z * _gelu_parts(z)[0], _gelu_slope),
    "selu": (
        lambda z: _SELU_SCALE * np.where(z > 0, z, _SELU_ALPHA * _expm1_negative(z)),
        lambda z, a: np.where(z > 0, z.dtype.type(_SELU_SCALE), a + z.dtype.type(_SELU_SCALE * _SELU_ALPHA)),
    ),
    "sigmoid": (_sigmoid, lambda _z, a: a * (1 - a)),
    "softplus": (lambda z: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0), lambda z, _a: _sigmoid(z)),
    "swish": (lambda z: z * _sigmoid(z), _swish_slope),
    "tanh": (np.tanh, lambda _z, a: 1 - a * a),
}
"""Activation and its derivative, the latter from pre-activation z and output a; the names are the contract's."""


def _run(layers: Sequence[DenseSpec], weights: Sequence[Layer], x: Array) -> Array:
    for layer, (weight, bias) in zip(layers, weights, strict=True):
        x = x @ weight.T
        if bias is not None:
            x += bias
        x = ACTIVATIONS[layer.activation][0](x)
    return x


def log_softmax(z: Array) -> Array:
    """Row-wise log-softmax of (rows, classes)."""
    shifted = z - z.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def forward(weights: Mapping[str, Array], spec: BundleSpec, x: Array) -> Array:
    """The network's outputs: logits (rows, classes), or standardised numbers (rows, 1).

    Args:
        weights: Arrays of `weights.safetensors` by name.
        spec: The bundle's spec.
        x: (rows, features), from the bundle's preprocessing.

    Raises:
        KeyError: An array that the spec needs is missing.
    """
    layers = [
        (weights[weight_name(i, "weight")], weights[weight_name(i, "bias")] if layer.bias else None)
        for i, layer in enumerate(spec.layers)
    ]
    with np.errstate(all="ignore"):
        return _run(spec.layers, layers, np.ascontiguousarray(x, dtype=spec.layers[0].dtype))


def predict(weights: Mapping[str, Array], spec: BundleSpec, x: Array) -> npt.NDArray[np.float64]:
    """Probabilities (rows, classes), or numbers (rows,) in the label's own unit.

    Args:
        weights: Arrays of `weights.safetensors` by name.
        spec: The bundle's spec.
        x: (rows, features), from the bundle's preprocessing.
    """
    outputs = forward(weights, spec, x).astype(np.float64)
    if spec.task == "classification":
        return np.asarray(np.exp(log_softmax(outputs)))
    from assay.train.preprocess import load_preprocessing

    return load_preprocessing(spec.preprocessing).inverse_target(outputs[:, 0])


class ReferenceTrainer:
    """A training in progress, in this process, on the CPU.

    All weights live in one flat array and the layers are views of it, so that one Adam step is a handful of vector
    operations whatever the number of layers.
    """

    def __init__(self, problem: Problem) -> None:
        self.device = "cpu"
        self.device_name: str | None = None
        self.versions = {"numpy": np.__version__}
        self._problem = problem
        self._type = np.dtype(problem.dtype).type
        size = sum(layer.parameter_count for layer in problem.layers)
        self._flat = np.empty(size, dtype=self._type)
        self._gradient = np.zeros_like(self._flat)
        self._layers = self._views(self._flat)
        self._slopes = self._views(self._gradient)
        for (weight, bias), (first, first_bias) in zip(self._layers, problem.weights, strict=True):
            weight[...] = first
            if bias is not None and first_bias is not None:
                bias[...] = first_bias
        self._mean = np.zeros_like(self._flat)
        self._square = np.zeros_like(self._flat)
        optimizer = problem.optimizer
        self._decay = [self._type(optimizer.beta1), self._type(optimizer.beta2)]
        self._decayed = list(self._decay)

    def _views(self, flat: Array) -> list[Layer]:
        views: list[Layer] = []
        at = 0
        for layer in self._problem.layers:
            weight = flat[at : at + layer.in_ * layer.out].reshape(layer.out, layer.in_)
            at += weight.size
            bias = None
            if layer.bias:
                bias = flat[at : at + layer.out]
                at += layer.out
            views.append((weight, bias))
        return views

    def gradient(self, rows: npt.NDArray[np.int64]) -> tuple[float, Array]:
        """Mean loss over the rows and its gradient, flat, in the order weight, bias of each layer. No update."""
        x = self._problem.x[rows].astype(self._type, copy=False)
        y = self._problem.y[rows]
        inputs: list[Array] = []
        before: list[Array] = []
        after: list[Array] = []
        for layer, (weight, bias) in zip(self._problem.layers, self._layers, strict=True):
            inputs.append(x)
            z = x @ weight.T
            if bias is not None:
                z += bias
            x = ACTIVATIONS[layer.activation][0](z)
            before.append(z)
            after.append(x)
        loss, delta = self._loss(x, y)
        for i in range(len(self._layers) - 1, -1, -1):
            name = self._problem.layers[i].activation
            if name != "identity":
                delta = delta * ACTIVATIONS[name][1](before[i], after[i])
            slope, bias_slope = self._slopes[i]
            np.matmul(delta.T, inputs[i], out=slope)
            if bias_slope is not None:
                delta.sum(axis=0, out=bias_slope)
            if i:
                delta = delta @ self._layers[i][0]
        return loss, self._gradient

    def _loss(self, outputs: Array, y: Array) -> tuple[float, Array]:
        """Mean loss and its derivative with respect to the outputs."""
        count = self._type(len(y))
        if self._problem.loss == "logit_cross_entropy":
            logs = log_softmax(outputs)
            picked = np.arange(len(y)), y
            loss = -logs[picked].mean()
            delta = np.exp(logs)
            delta[picked] -= 1
            return float(loss), delta / count
        error = outputs - y.astype(self._type)[:, None]
        return float((error * error).mean()), error * (self._type(2) / self._type(error.size))

    def step(self, rows: npt.NDArray[np.int64]) -> tuple[float, float, bool]:
        """One update on these rows.

        Returns:
            Loss before the update, norm of the gradient, and whether the update was made: it is not where either of the
            two is not finite.
        """
        with np.errstate(all="ignore"):
            loss, gradient = self.gradient(rows)
            wide = gradient.astype(np.float64)
            norm = float(np.sqrt(wide @ wide))
            if not (np.isfinite(loss) and np.isfinite(norm)):
                return loss, norm, False
            self._adam(gradient)
        return loss, norm, True

    def _adam(self, gradient: Array) -> None:
        """Adam (Kingma and Ba 2015) in the form and order of operations of Optimisers.jl, running powers included."""
        one = self._type(1)
        (beta1, beta2), (power1, power2) = self._decay, self._decayed
        self._mean *= beta1
        self._mean += (one - beta1) * gradient
        self._square *= beta2
        self._square += (one - beta2) * (gradient * gradient)
        root = np.sqrt(self._square / (one - power2))
        root += self._type(self._problem.optimizer.epsilon)
        update = self._mean / (one - power1)
        update /= root
        update *= self._type(self._problem.optimizer.learning_rate)
        self._flat -= update
        self._decayed = [power1 * beta1, power2 * beta2]

    def run_epoch(self, order: npt.NDArray[np.int64]) -> EpochStats:
        """Learn from the rows in this order, in batches."""
        total = norms = 0.0
        seen = updates = skipped = 0
        size = self._problem.batch_size
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            loss, norm, applied = self.step(rows)
            if not applied:
                skipped += 1
                continue
            total += loss * len(rows)
            norms += norm
            seen += len(rows)
            updates += 1
        nothing = float("nan")
        return EpochStats(
            total / seen if seen else nothing, norms / updates if updates else nothing, updates, skipped
        )

    def evaluate(self, rows: npt.NDArray[np.int64]) -> Evaluation:
        """Measure on these rows without learning; sums are in float64."""
        if not len(rows):
            return Evaluation(float("nan"), float("nan"))
        losses = hits = squares = 0.0
        with np.errstate(all="ignore"):
            for start in range(0, len(rows), EVALUATION_ROWS):
                part = rows[start : start + EVALUATION_ROWS]
                x = self._problem.x[part].astype(self._type, copy=False)
                outputs = _run(self._problem.layers, self._layers, x).astype(np.float64)
                y = self._problem.y[part]
                if self._problem.loss == "logit_cross_entropy":
                    losses -= float(log_softmax(outputs)[np.arange(len(y)), y].sum())
                    hits += float((outputs.argmax(axis=1) == y).sum())
                else:
                    squares += float(((outputs[:, 0] - y) ** 2).sum())
        if self._problem.loss == "logit_cross_entropy":
            return Evaluation(losses / len(rows), hits / len(rows))
        y = self._problem.y[rows].astype(np.float64)
        spread = float(((y - y.mean()) ** 2).sum())
        return Evaluation(squares / len(rows), 1 - squares / spread if spread > 0 else float("nan"))

    def weights(self) -> list[Layer]:
        """Copies of the weights as they are now."""
        return [(w.copy(), None if b is None else b.copy()) for w, b in self._layers]

    def save_native(self, directory: Path) -> list[str]:
        """The reference backend has no model file of its own."""
        return []
