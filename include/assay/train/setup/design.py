"""From the contract's training section and the fitted preprocessing to a network and its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from assay.contract.models import Contract
from assay.contract.network import (
    BatchNormLayer,
    ConvLayer,
    DenseLayer,
    DropoutLayer,
    EmbeddingLayer,
    FlattenLayer,
    Layer,
    LayerNormLayer,
    MaxPoolLayer,
    SkipLayer,
)
from assay.train.errors import RequestError
from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    DType,
    EmbeddedColumn,
    EmbeddingSpec,
    FlattenSpec,
    LayerNormSpec,
    LayerSpec,
    MaxPoolSpec,
    Shape,
    SkipSpec,
    UnflattenSpec,
)
from assay.train.network.limits import oversize
from assay.train.network.spec import Class, LossSpec
from assay.train.setup.preprocess import Preprocessing

if TYPE_CHECKING:
    from assay.train.setup.arrays import PreparedData


def network_layers(
    layers: Sequence[Layer], state: Preprocessing, outputs: int, dtype: DType = "float32"
) -> tuple[LayerSpec, ...]:
    """The contract's layers with their sizes, and the output layer that the task needs.

    Where a convolution or a pooling follows a row of features, the row is taken as one channel; before a dense layer,
    a layer normalisation or the end, channels are put behind each other.

    Raises:
        RequestError: The layers leave nothing to go on with, a skip's two ways do not fit, or all is too large.
    """
    made, shape = _sized(layers, (len(state.features),), state, dtype)
    if wrong := oversize(made):
        raise RequestError(
            f"the network is too large: {wrong}", next_step="use a smaller one in training.layers"
        )
    if len(shape) == 2:
        made.append(FlattenSpec(channels=shape[0], width=shape[1]))
        shape = made[-1].output_shape
    made.append(DenseSpec(in_=shape[0], out=outputs, activation="identity", bias=True, dtype=dtype))
    return tuple(made)


def _sized(
    layers: Sequence[Layer], shape: Shape, state: Preprocessing, dtype: DType
) -> tuple[list[LayerSpec], Shape]:
    made: list[LayerSpec] = []
    for layer in layers:
        if isinstance(layer, ConvLayer | MaxPoolLayer) and len(shape) == 1:
            made.append(UnflattenSpec(size=shape[0]))
            shape = made[-1].output_shape
        if isinstance(layer, DenseLayer | LayerNormLayer | FlattenLayer) and len(shape) == 2:
            made.append(FlattenSpec(channels=shape[0], width=shape[1]))
            shape = made[-1].output_shape
        if isinstance(layer, FlattenLayer):
            continue
        sized = _one(layer, shape, state, dtype)
        if min(sized.output_shape) < 1:
            raise RequestError(
                f"the layer {_named(layer)} leaves nothing of the {shape[-1]} neighbours that it gets",
                next_step="use a smaller kernel, window or stride, or more padding, in training.layers",
            )
        made.append(sized)
        shape = sized.output_shape
    return made, shape


def _one(layer: Layer, shape: Shape, state: Preprocessing, dtype: DType) -> LayerSpec:
    size = shape[0]
    if isinstance(layer, DenseLayer):
        return DenseSpec(in_=size, out=layer.dense, activation=layer.activation, bias=layer.bias, dtype=dtype)
    if isinstance(layer, EmbeddingLayer):
        columns = tuple(
            EmbeddedColumn(feature=place, vocabulary=vocabulary) for place, vocabulary in state.embedded
        )
        return EmbeddingSpec(in_=size, dim=layer.embedding, columns=columns, dtype=dtype)
    if isinstance(layer, BatchNormLayer):
        return BatchNormSpec(
            shape=shape,
            momentum=layer.momentum,
            epsilon=layer.epsilon,
            activation=layer.activation,
            dtype=dtype,
        )
    if isinstance(layer, LayerNormLayer):
        return LayerNormSpec(size=size, epsilon=layer.epsilon, activation=layer.activation, dtype=dtype)
    if isinstance(layer, DropoutLayer):
        return DropoutSpec(shape=shape, rate=layer.dropout)
    if isinstance(layer, ConvLayer):
        return ConvSpec(
            channels=size,
            width=shape[1],
            out=layer.conv,
            kernel=layer.kernel,
            stride=layer.stride,
            padding=layer.padding,
            activation=layer.activation,
            bias=layer.bias,
            dtype=dtype,
        )
    if isinstance(layer, MaxPoolLayer):
        return MaxPoolSpec(
            channels=size, width=shape[1], window=layer.max_pool, stride=layer.stride or layer.max_pool
        )
    assert isinstance(layer, SkipLayer)
    inner, out = _sized(layer.skip, shape, state, dtype)
    fits = out == shape if layer.connection == "add" else (len(out), out[1:]) == (len(shape), shape[1:])
    if not inner or not fits:
        raise RequestError(
            f"a skip with connection {layer.connection} gets {shape} and its layers make {out} of it",
            expected="the same shape"
            if layer.connection == "add"
            else "the same shape but for the first number",
            next_step="change the sizes of the layers within the skip, in training.layers",
        )
    return SkipSpec(layers=tuple(inner), connection=layer.connection)


def _named(layer: Layer) -> str:
    return next(iter(layer.model_dump()))


def outputs_of(loss: LossSpec, classes: Sequence[Class] | None) -> int:
    """Numbers that the network gives per row: logits of all classes, or one."""
    return len(classes or ()) if loss.name == "logit_cross_entropy" else 1


def loss_of(contract: Contract, prepared: PreparedData) -> LossSpec:
    """The loss that the contract means for this label, class weights included.

    Raises:
        RequestError: The loss does not belong to the label.
    """
    training, classes = contract.training, prepared.classes
    name = training.loss
    if name == "auto":
        name = "logit_cross_entropy" if classes else "mse"
    loss = LossSpec(name=name, huber_delta=training.huber_delta)
    if loss.of_classes != bool(classes):
        raise RequestError(
            f"training.loss {name} does not belong to the label {prepared.label!r}",
            expected="logit_cross_entropy or binary_logit_cross_entropy" if classes else "mse or huber",
            next_step="set training.loss to auto",
        )
    if name == "binary_logit_cross_entropy" and len(classes or ()) != 2:
        raise RequestError(
            f"training.loss {name} needs two classes",
            found=f"{len(classes or ())} classes",
            next_step="use logit_cross_entropy",
        )
    if training.class_weights == "none" or classes is None:
        return loss
    if training.class_weights == "balanced":
        counts = np.maximum(np.bincount(prepared.train_labels, minlength=len(classes)), 1)
        weights = counts.sum() / (len(classes) * counts)
    else:
        weights = np.array([training.class_weights[str(each)] for each in classes])
    return loss.model_copy(update={"class_weights": tuple(float(weight) for weight in weights)})
