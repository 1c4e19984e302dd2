"""The loss of each row, and its slope by the outputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from assay.train.backends import Array
from assay.train.backends.reference.activations import sigmoid, softplus
from assay.train.network.spec import LossSpec


class RowLosses(NamedTuple):
    """Losses of some rows, in the outputs' dtype.

    Attributes:
        losses: (rows,), not weighted.
        weights: (rows,), the weight of each row's class.
        slopes: By the outputs, (rows, outputs), weighted, of the sum over the rows.
    """

    losses: Array
    weights: Array
    slopes: Array


def log_softmax(z: Array) -> Array:
    """Row-wise log-softmax of (rows, classes)."""
    shifted = z - z.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def row_losses(loss: LossSpec, outputs: Array, y: Array) -> RowLosses:
    """The losses of Flux with the weights of the rows' classes.

    Args:
        loss: Which one.
        outputs: (rows, outputs) of the network.
        y: int64 class numbers or standardised numbers, (rows,).
    """
    kind = outputs.dtype.type
    weights = np.ones(len(y), dtype=outputs.dtype)
    if loss.class_weights is not None:
        weights = np.asarray(loss.class_weights, dtype=outputs.dtype)[y]
    if loss.name == "logit_cross_entropy":
        logs = log_softmax(outputs)
        picked = np.arange(len(y)), y
        losses, slopes = -logs[picked], np.exp(logs)
        slopes[picked] -= 1
    elif loss.name == "binary_logit_cross_entropy":
        z, second = outputs[:, 0], y.astype(outputs.dtype)
        losses = (1 - second) * z + softplus(-z)
        slopes = (sigmoid(z) - second)[:, None]
    else:
        error = outputs - y.astype(outputs.dtype)[:, None]
        if loss.name == "mse":
            losses, slopes = np.square(error[:, 0]), 2 * error
        else:
            delta, size = kind(loss.huber_delta), np.abs(error)
            near = size < delta
            losses = np.where(near, kind(0.5) * size * size, delta * (size - kind(0.5) * delta))[:, 0]
            slopes = np.where(near, error, delta * np.sign(error))
    return RowLosses(losses, weights, slopes * weights[:, None])


def hits_or_squares(loss: LossSpec, outputs: Array, y: Array) -> float:
    """Rows whose class is right, or the sum of the squared errors."""
    if loss.name == "logit_cross_entropy":
        return float((outputs.argmax(axis=1) == y).sum())
    if loss.name == "binary_logit_cross_entropy":
        return float(((outputs[:, 0] > 0) == (y == 1)).sum())
    return float(np.square(outputs[:, 0] - y).sum())
