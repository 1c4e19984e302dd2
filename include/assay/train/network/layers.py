"""The layers of a network with all their sizes: what `spec.json` holds and both backends build.

Between layers travels either a row of numbers, (rows, size), or channels of neighbours, (rows, channels, width). A row
of channels lies in memory channel after channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from assay.contract.network import Activation, Connection

DType = Literal["float32", "float64"]
Shape = tuple[int, ...]
"""(size,) or (channels, width)."""


class ArraySpec(NamedTuple):
    """One array of a network.

    Attributes:
        name: In `weights.safetensors`, such as `layers.0.weight`.
        shape: As stored, C order.
        trainable: Whether updates change it; the running statistics of a batch normalisation are not.
        fan: Inputs and outputs that Glorot's initialisation counts; `None` for constants.
        fill: What a constant starts as.
    """

    name: str
    shape: Shape
    trainable: bool = True
    fan: tuple[int, int] | None = None
    fill: float = 0.0

    @property
    def size(self) -> int:
        """How many numbers."""
        count = 1
        for length in self.shape:
            count *= length
        return count


class _Layer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @property
    def input_shape(self) -> Shape:
        """What the layer takes, without the rows."""
        raise NotImplementedError

    @property
    def output_shape(self) -> Shape:
        """What the layer gives, without the rows."""
        return self.input_shape

    def arrays(self, prefix: str) -> list[ArraySpec]:
        """The layer's arrays, in the order in which they are flattened."""
        return []

    @property
    def parameter_count(self) -> int:
        """Trainable numbers of the layer."""
        return sum(array.size for array in self.arrays("") if array.trainable)


class DenseSpec(_Layer):
    """`activation(x @ weight.T + bias)` with weight (out, in) and bias (out)."""

    type: Literal["dense"] = "dense"
    in_: int = Field(alias="in", gt=0)
    out: int = Field(gt=0)
    activation: Activation = "identity"
    bias: bool = True
    dtype: DType = "float32"

    @property
    def input_shape(self) -> Shape:
        """(in,)."""
        return (self.in_,)

    @property
    def output_shape(self) -> Shape:
        """(out,)."""
        return (self.out,)

    def arrays(self, prefix: str) -> list[ArraySpec]:
        """Weight (out, in), bias (out)."""
        made = [ArraySpec(f"{prefix}weight", (self.out, self.in_), fan=(self.in_, self.out))]
        return [*made, ArraySpec(f"{prefix}bias", (self.out,))] if self.bias else made


class EmbeddedColumn(_Layer):
    """A feature that holds a category's number, 0 to vocabulary - 1."""

    feature: int = Field(ge=0, description="Its place among the features.")
    vocabulary: int = Field(gt=0)


class EmbeddingSpec(_Layer):
    """Replaces each category's number by its learnt vector: the vectors of all columns first, then the other features.

    Both in the order in which the features stand; table k is (vocabulary, dim) of the k-th embedded column.
    """

    type: Literal["embedding"] = "embedding"
    in_: int = Field(alias="in", gt=0)
    dim: int = Field(gt=0)
    columns: tuple[EmbeddedColumn, ...] = Field(min_length=1)
    dtype: DType = "float32"

    @property
    def input_shape(self) -> Shape:
        """(in,)."""
        return (self.in_,)

    @property
    def rest(self) -> tuple[int, ...]:
        """Places of the features that pass through, ascending."""
        taken = {column.feature for column in self.columns}
        return tuple(feature for feature in range(self.in_) if feature not in taken)

    @property
    def output_shape(self) -> Shape:
        """(dim × columns + other features,)."""
        return (self.dim * len(self.columns) + self.in_ - len(self.columns),)

    def arrays(self, prefix: str) -> list[ArraySpec]:
        """table.<k> (vocabulary, dim)."""
        return [
            ArraySpec(f"{prefix}table.{k}", (c.vocabulary, self.dim), fan=(c.vocabulary, self.dim))
            for k, c in enumerate(self.columns)
        ]


class UnflattenSpec(_Layer):
    """A row of features as one channel of neighbours: (size,) to (1, size)."""

    type: Literal["unflatten"] = "unflatten"
    size: int = Field(gt=0)

    @property
    def input_shape(self) -> Shape:
        """(size,)."""
        return (self.size,)

    @property
    def output_shape(self) -> Shape:
        """(1, size)."""
        return (1, self.size)


class FlattenSpec(_Layer):
    """Channels behind each other: (channels, width) to (channels × width,)."""

    type: Literal["flatten"] = "flatten"
    channels: int = Field(gt=0)
    width: int = Field(gt=0)

    @property
    def input_shape(self) -> Shape:
        """(channels, width)."""
        return (self.channels, self.width)

    @property
    def output_shape(self) -> Shape:
        """(channels × width,)."""
        return (self.channels * self.width,)


class BatchNormSpec(_Layer):
    """`activation(scale · (x - mean) / sqrt(variance + epsilon) + bias)` per feature or channel (Ioffe, Szegedy 2015).

    While training, mean and variance are the batch's, the latter biased; each update moves the running ones by
    `momentum` towards them, the variance unbiased.
    """

    type: Literal["batch_norm"] = "batch_norm"
    shape: Shape = Field(min_length=1, max_length=2)
    momentum: float = Field(gt=0, le=1)
    epsilon: float = Field(gt=0)
    activation: Activation = "identity"
    dtype: DType = "float32"

    @property
    def input_shape(self) -> Shape:
        """As given."""
        return self.shape

    def arrays(self, prefix: str) -> list[ArraySpec]:
        """scale, bias, mean and variance, each (features or channels,)."""
        one = (self.shape[0],)
        return [
            ArraySpec(f"{prefix}scale", one, fill=1.0),
            ArraySpec(f"{prefix}bias", one),
            ArraySpec(f"{prefix}mean", one, trainable=False),
            ArraySpec(f"{prefix}variance", one, trainable=False, fill=1.0),
        ]


class LayerNormSpec(_Layer):
    """`activation(scale · normalised + bias)` over each row's features, as Flux does it (Ba, Kiros and Hinton 2016)."""

    type: Literal["layer_norm"] = "layer_norm"
    size: int = Field(gt=0)
    epsilon: float = Field(gt=0)
    activation: Activation = "identity"
    dtype: DType = "float32"

    @property
    def input_shape(self) -> Shape:
        """(size,)."""
        return (self.size,)

    def arrays(self, prefix: str) -> list[ArraySpec]:
        """Scale and bias, each (size,)."""
        return [
            ArraySpec(f"{prefix}scale", (self.size,), fill=1.0),
            ArraySpec(f"{prefix}bias", (self.size,)),
        ]


class DropoutSpec(_Layer):
    """While training, sets each input to zero with probability `rate` and divides the others by 1 - rate."""

    type: Literal["dropout"] = "dropout"
    shape: Shape = Field(min_length=1, max_length=2)
    rate: float = Field(gt=0, lt=1)

    @property
    def input_shape(self) -> Shape:
        """As given."""
        return self.shape


class ConvSpec(_Layer):
    """A cross-correlation along the width, weight (out channels, in channels, kernel), zeros as padding."""

    type: Literal["conv"] = "conv"
    channels: int = Field(gt=0, description="In.")
    width: int = Field(gt=0, description="In.")
    out: int = Field(gt=0, description="Channels out.")
    kernel: int = Field(gt=0)
    stride: int = Field(gt=0)
    padding: int = Field(ge=0)
    activation: Activation = "identity"
    bias: bool = True
    dtype: DType = "float32"

    @property
    def input_shape(self) -> Shape:
        """(channels, width)."""
        return (self.channels, self.width)

    @property
    def output_shape(self) -> Shape:
        """(out, width out)."""
        return (self.out, (self.width + 2 * self.padding - self.kernel) // self.stride + 1)

    def arrays(self, prefix: str) -> list[ArraySpec]:
        """Weight (out, channels, kernel), bias (out)."""
        fan = (self.channels * self.kernel, self.out * self.kernel)
        made = [ArraySpec(f"{prefix}weight", (self.out, self.channels, self.kernel), fan=fan)]
        return [*made, ArraySpec(f"{prefix}bias", (self.out,))] if self.bias else made


class MaxPoolSpec(_Layer):
    """The largest of each window of neighbours, per channel; a window that does not fit at the end is left out."""

    type: Literal["max_pool"] = "max_pool"
    channels: int = Field(gt=0)
    width: int = Field(gt=0)
    window: int = Field(gt=1)
    stride: int = Field(gt=0)

    @property
    def input_shape(self) -> Shape:
        """(channels, width)."""
        return (self.channels, self.width)

    @property
    def output_shape(self) -> Shape:
        """(channels, width out)."""
        return (self.channels, (self.width - self.window) // self.stride + 1)


class SkipSpec(_Layer):
    """Inner layers whose output is added to their input, or put behind it (first the output, then the input)."""

    type: Literal["skip"] = "skip"
    layers: tuple[LayerSpec, ...] = Field(min_length=1)
    connection: Connection

    @property
    def input_shape(self) -> Shape:
        """What the first inner layer takes."""
        return self.layers[0].input_shape

    @property
    def output_shape(self) -> Shape:
        """The inner output's shape for `add`; for `concat` the two behind each other, by feature or channel."""
        inner = self.layers[-1].output_shape
        return inner if self.connection == "add" else (inner[0] + self.input_shape[0], *inner[1:])

    def arrays(self, prefix: str) -> list[ArraySpec]:
        """Those of the inner layers."""
        return [
            array for i, layer in enumerate(self.layers) for array in layer.arrays(f"{prefix}layers.{i}.")
        ]


LayerSpec = Annotated[
    DenseSpec
    | EmbeddingSpec
    | UnflattenSpec
    | FlattenSpec
    | BatchNormSpec
    | LayerNormSpec
    | DropoutSpec
    | ConvSpec
    | MaxPoolSpec
    | SkipSpec,
    Field(discriminator="type"),
]

SkipSpec.model_rebuild()


def array_specs(layers: Sequence[LayerSpec]) -> list[ArraySpec]:
    """All arrays of a network in the order of flattening: layer by layer, inner layers in their place."""
    return [array for i, layer in enumerate(layers) for array in layer.arrays(f"layers.{i}.")]


def leaves(layers: Sequence[LayerSpec], prefix: str = "layers.") -> Iterator[tuple[str, LayerSpec]]:
    """Each layer that is not a skip with its path, such as `layers.2.layers.0`, depth first.

    A layer's place in this order, from zero, is its number, of which dropout draws its masks.
    """
    for i, layer in enumerate(layers):
        if isinstance(layer, SkipSpec):
            yield from leaves(layer.layers, f"{prefix}{i}.layers.")
        else:
            yield f"{prefix}{i}", layer


def misfit(layers: Sequence[LayerSpec], features: int, outputs: int, dtype: DType) -> str:
    """What does not fit: shapes that do not follow each other, or another dtype; empty where all does."""
    shape: Shape = (features,)
    if wrong := _chain(layers, shape, dtype, "layer "):
        return wrong
    last = layers[-1].output_shape
    return (
        ""
        if last == (outputs,)
        else f"the last layer gives {_shown(last)}, but the task needs {outputs} outputs"
    )


def _chain(layers: Sequence[LayerSpec], shape: Shape, dtype: DType, name: str) -> str:
    for i, layer in enumerate(layers):
        where = f"{name}{i}"
        if layer.input_shape != shape:
            return f"{where} takes {_shown(layer.input_shape)} inputs, but gets {_shown(shape)}"
        if getattr(layer, "dtype", dtype) != dtype:
            return f"{where} is {getattr(layer, 'dtype', dtype)}, but the run is {dtype}"
        if min(layer.output_shape) < 1:
            return f"{where} leaves nothing of its {_shown(shape)} inputs"
        if isinstance(layer, EmbeddingSpec) and (wrong := _embedding(layer)):
            return f"{where} {wrong}"
        if isinstance(layer, SkipSpec):
            if wrong := _chain(layer.layers, shape, dtype, f"{where}."):
                return wrong
            inner = layer.layers[-1].output_shape
            if layer.connection == "add" and inner != shape:
                return f"{where} adds {_shown(inner)} outputs to {_shown(shape)} inputs"
            if layer.connection == "concat" and (len(inner), inner[1:]) != (len(shape), shape[1:]):
                return f"{where} cannot put {_shown(inner)} outputs behind {_shown(shape)} inputs"
        shape = layer.output_shape
    return ""


def _embedding(layer: EmbeddingSpec) -> str:
    places = [column.feature for column in layer.columns]
    if places != sorted(set(places)) or places[-1] >= layer.in_:
        return f"embeds the features {places}, which must ascend and be less than {layer.in_}"
    return ""


def _shown(shape: Shape) -> str:
    return " x ".join(map(str, shape))
