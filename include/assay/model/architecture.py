"""Does the network make sense: task, loss, layers, preprocessing and arrays, held against each other."""

from __future__ import annotations

import math

import numpy as np

from assay.canonical import sha256_hex
from assay.errors import AssayError
from assay.findings import Finding
from assay.model.answers import failed, passed
from assay.model.strict import Weights, first_line
from assay.train import BundleSpec, load_preprocessing
from assay.train.network.layers import BatchNormSpec, DenseSpec, EmbeddingSpec, array_specs, leaves, misfit
from assay.train.network.limits import oversize
from assay.train.setup.design import outputs_of


def check_network(spec: BundleSpec) -> Finding:
    """Whether layers, task, loss, and the arrays that the spec lists fit each other; no array is needed for it."""
    for wrong in (oversize(spec.layers), _task(spec), _layers(spec), _listed(spec)):
        if wrong:
            return failed("network", wrong)
    return passed(
        "network", f"{len(spec.layers)} layers, {spec.parameter_count:,} parameters, all fit each other"
    )


def check_weights(spec: BundleSpec, weights: Weights) -> Finding:
    """Whether the file has the arrays that the spec lists: names, shapes, types, and the digest of their numbers."""
    listed = {array.name: array for array in spec.weights}
    if set(listed) != set(weights) or len(listed) != len(spec.weights):
        odd = sorted(set(listed) ^ set(weights)) or sorted(array.name for array in spec.weights)
        return failed("weights", f"spec and weights name different arrays: {_few(odd)}")
    for name, said in listed.items():
        array = weights[name]
        if tuple(array.shape) != said.shape or str(array.dtype) != said.dtype:
            found = f"{array.dtype}{list(array.shape)}"
            return failed("weights", f"{name}: expected {said.dtype}{list(said.shape)}, found {found}")
        if sha256_hex(np.ascontiguousarray(array).tobytes()) != said.sha256:
            return failed("weights", f"{name}: its numbers are not those of the spec's digest")
    return passed("weights", f"{len(weights)} arrays with the spec's names, shapes, types and digests")


def check_numbers(spec: BundleSpec, weights: Weights) -> Finding:
    """Whether every weight is a finite number, and no running variance is below zero."""
    if bad := sorted(name for name, array in weights.items() if not np.isfinite(array).all()):
        return failed("finite", f"not finite: {_few(bad)}")
    variances = [
        f"{path}.variance" for path, layer in leaves(spec.layers) if isinstance(layer, BatchNormSpec)
    ]
    if bad := [name for name in variances if name in weights and (weights[name] < 0).any()]:
        return failed("finite", f"a variance is never below zero: {_few(bad)}")
    return passed("finite", "every weight is a finite number, no variance is below zero")


def check_preprocessing(spec: BundleSpec) -> Finding:
    """Whether the stored preprocessing makes the features that the network takes, embedded ones included."""
    try:
        state = load_preprocessing(spec.preprocessing)
    except AssayError as error:
        return failed("preprocessing", first_line(error))
    if state.features != spec.features:
        return failed("preprocessing", "it makes other features than the network was trained on")
    first = spec.layers[0]
    wanted = (
        tuple((column.feature, column.vocabulary) for column in first.columns)
        if isinstance(first, EmbeddingSpec)
        else ()
    )
    if state.embedded != wanted:
        return failed(
            "preprocessing",
            f"it numbers the categories of the features {_places(state.embedded)}, "
            f"the network embeds {_places(wanted)}",
        )
    return passed("preprocessing", f"{len(state.columns)} columns to {len(state.features)} features")


def _task(spec: BundleSpec) -> str:
    """What of task, loss, classes and features contradicts the rest; empty when nothing does."""
    loss, classes = spec.loss, spec.classes or ()
    if loss.of_classes != (spec.task == "classification"):
        return f"the loss {loss.name} does not belong to {spec.task}"
    if spec.task == "classification" and (len(classes) < 2 or len(set(classes)) != len(classes)):
        return f"a classification needs two or more different classes, found {spec.classes}"
    if spec.task == "regression" and spec.classes is not None:
        return "a regression has no classes"
    if loss.name == "binary_logit_cross_entropy" and len(classes) != 2:
        return f"the loss {loss.name} needs two classes, found {len(classes)}"
    weights = loss.class_weights
    if weights is not None:
        if len(weights) != len(classes):
            return f"there are {len(weights)} class weights for {len(classes)} classes"
        if min(weights) < 0 or not 0 < math.fsum(weights) < math.inf:
            return "class weights are not below zero, and not all zero"
    if len(set(spec.features)) != len(spec.features):
        return "a feature stands twice"
    return ""


def _layers(spec: BundleSpec) -> str:
    if wrong := misfit(spec.layers, len(spec.features), outputs_of(spec.loss, spec.classes), spec.dtype):
        return wrong
    last = spec.layers[-1]
    if not isinstance(last, DenseSpec):
        return f"the last layer is {last.type}, but {spec.loss.name} needs a dense one"
    if last.activation != "identity":
        return f"the last layer has the activation {last.activation}, but {spec.loss.name} needs identity"
    late = [path for path, layer in leaves(spec.layers) if isinstance(layer, EmbeddingSpec)]
    if late and late != ["layers.0"]:
        return f"only the first layer can be an embedding, found one at {late[-1]}"
    return ""


def _listed(spec: BundleSpec) -> str:
    """What the spec's list of arrays has otherwise than its layers; empty when nothing."""
    arrays = array_specs(spec.layers)
    wanted = {array.name: (spec.dtype, array.shape) for array in arrays}
    listed = {weight.name: (weight.dtype, weight.shape) for weight in spec.weights}
    for name in sorted({*wanted, *listed}):
        if listed.get(name) != wanted.get(name):
            return f"{name}: the layers need {_array(wanted.get(name))}, the spec lists {_array(listed.get(name))}"
    if len(listed) != len(spec.weights):
        return "the spec lists an array twice"
    count = sum(array.size for array in arrays if array.trainable)
    if count != spec.parameter_count:
        return f"{spec.parameter_count} parameters declared, {count} there"
    return ""


def _array(found: tuple[str, tuple[int, ...]] | None) -> str:
    return "none" if found is None else f"{found[0]}{list(found[1])}"


def _places(embedded: tuple[tuple[int, int], ...]) -> str:
    return _few([f"{feature} ({vocabulary} values)" for feature, vocabulary in embedded]) or "none"


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
