"""From the layers of a spec to a blueprint of AssayTrainer, one call per layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.contract.optimization import Optimizer
from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    DType,
    EmbeddingSpec,
    FlattenSpec,
    LayerNormSpec,
    LayerSpec,
    MaxPoolSpec,
    SkipSpec,
    UnflattenSpec,
)


def make_blueprint(module: Any, layers: Sequence[LayerSpec], dtype: DType) -> Any:
    """The network as AssayTrainer takes it; Julia checks that the layers fit each other.

    Args:
        module: AssayTrainer.
        layers: The network.
        dtype: Of weights and arithmetic.
    """
    blueprint = module.Blueprint(dtype)
    for layer in layers:
        _add(module, blueprint, layer)
    return blueprint


def _add(module: Any, blueprint: Any, layer: LayerSpec) -> None:
    match layer:
        case DenseSpec():
            module.dense_b(blueprint, layer.in_, layer.out, layer.bias, layer.activation)
        case EmbeddingSpec():
            features = tuple(column.feature for column in layer.columns)
            vocabularies = tuple(column.vocabulary for column in layer.columns)
            module.embedding_b(blueprint, layer.in_, layer.dim, features, vocabularies)
        case UnflattenSpec():
            module.unflatten_b(blueprint, layer.size)
        case FlattenSpec():
            module.flatten_b(blueprint, layer.channels, layer.width)
        case BatchNormSpec():
            module.batch_norm_b(blueprint, layer.shape, layer.momentum, layer.epsilon, layer.activation)
        case LayerNormSpec():
            module.layer_norm_b(blueprint, layer.size, layer.epsilon, layer.activation)
        case DropoutSpec():
            module.dropout_b(blueprint, layer.shape, layer.rate)
        case ConvSpec():
            module.conv_b(
                blueprint,
                layer.channels,
                layer.width,
                layer.out,
                layer.kernel,
                layer.stride,
                layer.padding,
                layer.bias,
                layer.activation,
            )
        case MaxPoolSpec():
            module.max_pool_b(blueprint, layer.channels, layer.width, layer.window, layer.stride)
        case SkipSpec():
            module.skip_b(blueprint, layer.connection)
            for inner in layer.layers:
                _add(module, blueprint, inner)
            module.done_b(blueprint)


def make_rule(module: Any, settings: Optimizer) -> Any:
    """The contract's optimiser as a rule of Optimisers.jl."""
    decay = settings.weight_decay
    if settings.name in {"adam", "adamw"}:
        make = module.adam if settings.name == "adam" else module.adamw
        return make(beta1=settings.beta1, beta2=settings.beta2, epsilon=settings.epsilon, weight_decay=decay)
    if settings.name == "sgd":
        return module.sgd(momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=decay)
    return module.rmsprop(rho=settings.rho, epsilon=settings.epsilon, weight_decay=decay)


def slot_names(settings: Optimizer) -> tuple[str, ...]:
    """What the rule remembers, in AssayTrainer's order; the reference backend has the same names."""
    if settings.name in {"adam", "adamw"}:
        return "mean", "square", "powers"
    if settings.name == "rmsprop":
        return ("square",)
    return ("velocity",) if settings.momentum else ()
