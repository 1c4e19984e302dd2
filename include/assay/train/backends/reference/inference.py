"""Outputs of a finished network, from the arrays of a bundle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from assay.train.backends import Array
from assay.train.backends.reference.activations import sigmoid
from assay.train.backends.reference.basic import Pass
from assay.train.backends.reference.losses import log_softmax
from assay.train.backends.reference.network import build
from assay.train.network.spec import BundleSpec


def forward(weights: Mapping[str, Array], spec: BundleSpec, x: Array) -> Array:
    """The network's outputs: logits (rows, classes) or (rows, 1), or standardised numbers (rows, 1).

    Args:
        weights: Arrays of `weights.safetensors` by name.
        spec: The bundle's spec.
        x: (rows, features), from the bundle's preprocessing.

    Raises:
        KeyError: An array that the spec needs is missing.
    """
    chain = build(spec.layers, weights, {})
    with np.errstate(all="ignore"):
        return chain.forward(np.ascontiguousarray(x, dtype=spec.dtype), Pass(training=False))[0]


def predict(weights: Mapping[str, Array], spec: BundleSpec, x: Array) -> npt.NDArray[np.float64]:
    """Probabilities (rows, classes), or numbers (rows,) in the label's own unit.

    Args:
        weights: Arrays of `weights.safetensors` by name.
        spec: The bundle's spec.
        x: (rows, features), from the bundle's preprocessing.
    """
    outputs = forward(weights, spec, x).astype(np.float64)
    if spec.loss.name == "binary_logit_cross_entropy":
        return np.concatenate([sigmoid(-outputs), sigmoid(outputs)], axis=1)
    if spec.task == "classification":
        return np.asarray(np.exp(log_softmax(outputs)))
    from assay.train.setup.preprocess import load_preprocessing

    return load_preprocessing(spec.preprocessing).inverse_target(outputs[:, 0])
