"""The layers of a network, as a contract writes them: one mapping each, told apart by the key that names its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from assay.contract.base import Model

Activation = Literal[
    "identity", "relu", "leakyrelu", "elu", "gelu", "selu", "sigmoid", "softplus", "swish", "tanh"
]
"""Activations that a model may use; anything else is refused, also when a bundle is loaded."""

Connection = Literal["add", "concat"]


class DenseLayer(Model):
    """A fully connected layer of `dense` units."""

    dense: int = Field(gt=0, le=65_536)
    activation: Activation = "relu"
    bias: bool = True


class EmbeddingLayer(Model):
    """A learnt vector of `embedding` numbers for each value of a text column; only the first layer can be one."""

    embedding: int = Field(gt=0, le=4096, description="Numbers per value.")
    columns: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="Which text columns; all of them if it is left out."
    )


class BatchNormLayer(Model):
    """Batch normalisation, per feature or, behind a convolution, per channel."""

    batch_norm: Literal[True]
    activation: Activation = "identity"
    momentum: float = Field(default=0.1, gt=0, le=1)
    epsilon: float = Field(default=1e-5, gt=0)


class LayerNormLayer(Model):
    """Layer normalisation over the features of a row."""

    layer_norm: Literal[True]
    activation: Activation = "identity"
    epsilon: float = Field(default=1e-5, gt=0)


class DropoutLayer(Model):
    """Sets a share of its inputs to zero while training, and scales up the rest."""

    dropout: float = Field(gt=0, lt=1)


class ConvLayer(Model):
    """A convolution over the features in their order, with `conv` output channels."""

    conv: int = Field(gt=0, le=4096)
    kernel: int = Field(default=3, gt=0, le=1024)
    stride: int = Field(default=1, gt=0, le=1024)
    padding: int = Field(default=0, ge=0, le=1024)
    activation: Activation = "relu"
    bias: bool = True


class MaxPoolLayer(Model):
    """The largest of each `max_pool` neighbours, per channel."""

    max_pool: int = Field(gt=1, le=1024)
    stride: int | None = Field(default=None, gt=0, le=1024, description="The window's width if left out.")


class FlattenLayer(Model):
    """From channels back to a row of features, channel after channel."""

    flatten: Literal[True]


class SkipLayer(Model):
    """Layers whose output is joined with their input: added to it, or put behind it."""

    skip: tuple[Layer, ...] = Field(min_length=1, max_length=64)
    connection: Connection = "add"


_KINDS: dict[str, type[Model]] = {
    "dense": DenseLayer,
    "embedding": EmbeddingLayer,
    "batch_norm": BatchNormLayer,
    "layer_norm": LayerNormLayer,
    "dropout": DropoutLayer,
    "conv": ConvLayer,
    "max_pool": MaxPoolLayer,
    "flatten": FlattenLayer,
    "skip": SkipLayer,
}


def _kind(value: Any) -> str | None:
    """Which kind of layer this is: the one key that names a kind."""
    if isinstance(value, Model):
        named = [kind for kind, model in _KINDS.items() if type(value) is model]
    else:
        named = [kind for kind in _KINDS if isinstance(value, Mapping) and kind in value]
    return named[0] if len(named) == 1 else None


Layer = Annotated[
    Annotated[DenseLayer, Tag("dense")]
    | Annotated[EmbeddingLayer, Tag("embedding")]
    | Annotated[BatchNormLayer, Tag("batch_norm")]
    | Annotated[LayerNormLayer, Tag("layer_norm")]
    | Annotated[DropoutLayer, Tag("dropout")]
    | Annotated[ConvLayer, Tag("conv")]
    | Annotated[MaxPoolLayer, Tag("max_pool")]
    | Annotated[FlattenLayer, Tag("flatten")]
    | Annotated[SkipLayer, Tag("skip")],
    Discriminator(
        _kind,
        custom_error_type="layer_kind",
        custom_error_message=f"must name exactly one kind of layer: {', '.join(_KINDS)}",
    ),
]

SkipLayer.model_rebuild()


def all_layers(layers: tuple[Layer, ...]) -> Iterator[Layer]:
    """The layers and those within skips, outer before inner."""
    for layer in layers:
        yield layer
        if isinstance(layer, SkipLayer):
            yield from all_layers(layer.skip)
