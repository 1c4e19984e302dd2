"""The layers' sizes, arrays and order: what a spec says must hold together, and what does not is named."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    EmbeddedColumn,
    EmbeddingSpec,
    FlattenSpec,
    LayerSpec,
    MaxPoolSpec,
    SkipSpec,
    UnflattenSpec,
    array_specs,
    leaves,
    misfit,
)

EMBEDDING = EmbeddingSpec(
    in_=5,
    dim=3,
    columns=(EmbeddedColumn(feature=1, vocabulary=4), EmbeddedColumn(feature=3, vocabulary=2)),
)
NETWORK: tuple[LayerSpec, ...] = (
    EMBEDDING,
    SkipSpec(layers=(DenseSpec(in_=9, out=9), DropoutSpec(shape=(9,), rate=0.5)), connection="concat"),
    UnflattenSpec(size=18),
    ConvSpec(channels=1, width=18, out=2, kernel=3, stride=2, padding=1),
    MaxPoolSpec(channels=2, width=9, window=2, stride=2),
    BatchNormSpec(shape=(2, 4), momentum=0.1, epsilon=1e-5),
    FlattenSpec(channels=2, width=4),
    DenseSpec(in_=8, out=3, bias=False),
)


def test_every_array_has_its_name_shape_and_order() -> None:
    """Layer by layer, the inner ones of a skip in their place; running statistics are not trainable."""
    arrays = array_specs(NETWORK)
    assert [(array.name, array.shape) for array in arrays] == [
        ("layers.0.table.0", (4, 3)),
        ("layers.0.table.1", (2, 3)),
        ("layers.1.layers.0.weight", (9, 9)),
        ("layers.1.layers.0.bias", (9,)),
        ("layers.3.weight", (2, 1, 3)),
        ("layers.3.bias", (2,)),
        ("layers.5.scale", (2,)),
        ("layers.5.bias", (2,)),
        ("layers.5.mean", (2,)),
        ("layers.5.variance", (2,)),
        ("layers.7.weight", (3, 8)),
    ]
    assert [array.name for array in arrays if not array.trainable] == ["layers.5.mean", "layers.5.variance"]
    assert (
        sum(layer.parameter_count for layer in NETWORK) == sum(a.size for a in arrays if a.trainable) == 144
    )


def test_leaves_are_numbered_depth_first() -> None:
    """Dropout draws its masks by this number, in both backends."""
    assert [path for path, _ in leaves(NETWORK)] == [
        "layers.0",
        "layers.1.layers.0",
        "layers.1.layers.1",
        "layers.2",
        "layers.3",
        "layers.4",
        "layers.5",
        "layers.6",
        "layers.7",
    ]


def test_a_network_that_fits_has_no_misfit() -> None:
    """From five features to three outputs."""
    assert misfit(NETWORK, 5, 3, "float32") == ""


@pytest.mark.parametrize(
    ("layers", "features", "outputs", "dtype", "said"),
    [
        (NETWORK, 6, 3, "float32", "layer 0 takes 5 inputs, but gets 6"),
        (NETWORK, 5, 2, "float32", "the last layer gives 3, but the task needs 2 outputs"),
        (NETWORK, 5, 3, "float64", "layer 0 is float32, but the run is float64"),
        (NETWORK[:1] + NETWORK[2:], 5, 3, "float32", "layer 1 takes 18 inputs, but gets 9"),
        (
            (UnflattenSpec(size=3), ConvSpec(channels=1, width=3, out=1, kernel=5, stride=1, padding=0)),
            3,
            1,
            "float32",
            "layer 1 leaves nothing of its 1 x 3 inputs",
        ),
        (
            (SkipSpec(layers=(DenseSpec(in_=3, out=2),), connection="add"),),
            3,
            2,
            "float32",
            "layer 0 adds 2 outputs to 3 inputs",
        ),
        (
            (
                UnflattenSpec(size=4),
                SkipSpec(layers=(FlattenSpec(channels=1, width=4),), connection="concat"),
            ),
            4,
            1,
            "float32",
            "layer 1 cannot put 4 outputs behind 1 x 4 inputs",
        ),
        (
            (SkipSpec(layers=(DenseSpec(in_=3, out=2), DenseSpec(in_=3, out=3)), connection="add"),),
            3,
            3,
            "float32",
            "layer 0.1 takes 3 inputs, but gets 2",
        ),
        (
            (EMBEDDING.model_copy(update={"columns": EMBEDDING.columns[::-1]}),),
            5,
            9,
            "float32",
            "layer 0 embeds the features [3, 1], which must ascend and be less than 5",
        ),
    ],
)
def test_what_does_not_fit_is_named(
    layers: tuple[LayerSpec, ...], features: int, outputs: int, dtype: str, said: str
) -> None:
    """The first place at which shapes or types part."""
    assert misfit(layers, features, outputs, dtype) == said  # type: ignore[arg-type]


def test_a_spec_survives_json_and_refuses_what_it_does_not_know() -> None:
    """Layers are told apart by their type; an unknown one, or an unknown key, is an error."""
    adapter: TypeAdapter[tuple[LayerSpec, ...]] = TypeAdapter(tuple[LayerSpec, ...])
    assert adapter.validate_json(adapter.dump_json(NETWORK, by_alias=True)) == NETWORK
    for odd in (
        {"type": "lstm"},
        {"type": "dense", "in": 3, "out": 3, "activation": "system"},
        {"type": "dense", "in": 3, "out": 3, "code": "x"},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python([odd])
