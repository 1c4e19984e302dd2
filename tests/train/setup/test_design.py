"""From the contract to a network: sizes, embeddings, losses and what sources a robust aggregation needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from assay.contract import ContractError, parse_contract
from assay.contract.models import Contract
from assay.train import PreconditionError, PrepareError, RequestError, TrainRequest, load_preprocessing
from assay.train.network.layers import EmbeddingSpec
from tests.train import helpers

TOWNS = pa.table(
    {
        "id": np.arange(60),
        "town": ["Aar", "Bex", None, "Aar", "Cham", "Bex"] * 10,
        "age": np.linspace(20, 70, 60),
        "kind": ["x", "y", "z"] * 20,
        "label": ["no", "yes"] * 30,
    }
)


def towns(**training: Any) -> Contract:
    """A contract of the table above."""
    return helpers.contract(
        {
            "id": {"type": "integer"},
            "town": {"type": "string", "nullable": True},
            "age": {"type": "number"},
            "kind": {"type": "string"},
            "label": {"type": "string"},
        },
        classes=["no", "yes"],
        key=["id"],
        **training,
    )


def request_of(folder: Path, **training: Any) -> TrainRequest:
    """A request for the table above."""
    return helpers.ready(folder, TOWNS, towns(**training))[0]


def test_an_embedded_column_is_one_feature_that_holds_the_categorys_number(tmp_path: Path) -> None:
    """Known values by place, then the number of all others, then that of a missing one."""
    request = request_of(tmp_path, layers=[{"embedding": 3, "columns": ["town"]}, {"dense": 4}])
    assert request.features == ("town", "age", "kind=x", "kind=y", "kind=z", "kind:other")
    layer = request.layers[0]
    assert isinstance(layer, EmbeddingSpec)
    assert [(c.feature, c.vocabulary) for c in layer.columns] == [(0, 5)]
    assert layer.output_shape == (3 + 5,)
    x = np.load(request.arrays.x)
    assert x[:6, 0].tolist() == [0, 1, 4, 0, 2, 1]
    state = load_preprocessing(request.preprocessing)
    fresh = pa.table({"town": ["Zug", None, "Cham"], "age": [1.0, 2.0, 3.0], "kind": ["x", "x", "x"]})
    assert state.transform(fresh)[:, 0].tolist() == [3, 4, 2]


def test_an_embedding_takes_all_text_columns_where_none_is_named(tmp_path: Path) -> None:
    """Each with a table of its own."""
    layer = request_of(tmp_path, layers=[{"embedding": 2}]).layers[0]
    assert isinstance(layer, EmbeddingSpec)
    assert [(c.feature, c.vocabulary) for c in layer.columns] == [(0, 5), (2, 4)]


def test_layers_between_features_and_channels_are_put_in(tmp_path: Path) -> None:
    """A convolution takes the features as one channel; a dense layer takes channels behind each other."""
    request = request_of(
        tmp_path, layers=[{"conv": 4, "padding": 1}, {"batch_norm": True}, {"max_pool": 2}, {"dense": 5}]
    )
    assert [layer.type for layer in request.layers] == [
        "unflatten",
        "conv",
        "batch_norm",
        "max_pool",
        "flatten",
        "dense",
        "dense",
    ]
    width = len(request.features)
    assert request.layers[1].output_shape == (4, width)
    assert request.layers[4].output_shape == (4 * (width // 2),)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([{"conv": 4, "kernel": 40}], "conv leaves nothing of the"),
        ([{"max_pool": 2}, {"max_pool": 3}, {"max_pool": 5}], "max_pool leaves nothing"),
        ([{"skip": [{"dense": 3}]}], "a skip with connection add"),
        ([{"conv": 2}, {"skip": [{"flatten": True}], "connection": "concat"}], "connection concat"),
    ],
)
def test_layers_that_do_not_fit_are_refused_before_the_run(
    tmp_path: Path, layers: list[dict[str, Any]], said: str
) -> None:
    """With the place and what to change."""
    with pytest.raises(RequestError, match=said) as caught:
        request_of(tmp_path, layers=layers)
    assert "training.layers" in str(caught.value.next_step)


def test_the_loss_follows_the_label_unless_the_contract_names_one(tmp_path: Path) -> None:
    """The binary loss has one output, cross-entropy one per class."""
    automatic = request_of(tmp_path / "a")
    binary = request_of(tmp_path / "b", loss="binary_logit_cross_entropy")
    assert (automatic.loss.name, automatic.outputs) == ("logit_cross_entropy", 2)
    assert (binary.loss.name, binary.outputs, binary.layers[-1].output_shape) == (
        "binary_logit_cross_entropy",
        1,
        (1,),
    )


def test_balanced_weights_make_every_class_count_alike(tmp_path: Path) -> None:
    """By the training split's counts, with an average of one over its rows; or as the contract gives them by name."""
    table = TOWNS.set_column(4, "label", pa.array(["no"] * 45 + ["yes"] * 15))
    request, _ = helpers.ready(tmp_path / "a", table, towns(class_weights="balanced"))
    assert request.loss.class_weights is not None
    counts = np.bincount(np.load(request.arrays.y)[np.load(request.arrays.train)])
    sums = np.asarray(request.loss.class_weights) * counts
    assert sums[0] == pytest.approx(sums[1])
    assert sums.sum() == pytest.approx(counts.sum())
    named = request_of(tmp_path / "b", class_weights={"yes": 5, "no": 0.5})
    assert named.loss.class_weights == (0.5, 5.0)


def test_a_robust_aggregation_without_enough_sources_is_refused(tmp_path: Path) -> None:
    """Krum needs 2f + 3 of them, the others a majority; without source names there are none."""
    table = TOWNS.append_column("from", pa.array(["a", "b", "c", "d", "e", "f"] * 10))
    for name, byzantine, fits in (
        ("krum", 1, True),
        ("multi_krum", 2, False),
        ("trimmed_mean", 2, True),
        ("trimmed_mean", 3, False),
        ("median", 3, False),
    ):
        agreed = towns(aggregation=name, byzantine_sources=byzantine)
        from assay.train import make_request, prepare

        prepared = prepare(table, agreed, tmp_path / f"{name}{byzantine}", source_column="from")
        if fits:
            request = make_request(prepared, agreed, snapshot_id="s", out_dir=tmp_path / "bundle")
            assert request.aggregation.name == name
            continue
        with pytest.raises(PreconditionError, match="cannot stand"):
            make_request(prepared, agreed, snapshot_id="s", out_dir=tmp_path / "bundle")
    with pytest.raises(PreconditionError, match="of 0 sources"):
        request_of(tmp_path / "none", aggregation="median")


def test_an_embedding_of_a_column_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """Already when the contract is read, and again when a table is prepared under a contract made in code."""
    agreed = towns(layers=[{"embedding": 2}])
    odd = agreed.training.model_copy(
        update={"layers": (agreed.training.layers[0].model_copy(update={"columns": ("age",)}),)}
    )
    with pytest.raises(PrepareError, match="cannot take 'age'"):
        helpers.ready(tmp_path, TOWNS, agreed.model_copy(update={"training": odd}))
    text = "version: 1\ndataset: t\nschema: {columns: {age: {type: number}}}\ntraining: {layers: [{embedding: 2}]}\n"
    with pytest.raises(ContractError, match="no text column to embed"):
        parse_contract(text)


def test_a_network_without_end_is_refused(tmp_path: Path) -> None:
    """Skips within skips, deeper than anybody needs."""
    layer: dict[str, Any] = {"dropout": 0.5}
    for _ in range(20):
        layer = {"skip": [layer]}
    with pytest.raises(RequestError, match="nested more than 16 deep"):
        request_of(tmp_path, layers=[layer])


def test_a_source_whose_name_is_markup_is_refused(tmp_path: Path) -> None:
    """It would be shown in the card, the curve and the UI."""
    from assay.train import prepare

    table = TOWNS.append_column("from", pa.array(["<script>", "b"] * 30))
    with pytest.raises(PrepareError, match="cannot be shown"):
        prepare(table, towns(), tmp_path, source_column="from")


def test_raising_a_limit_does_not_make_another_run(tmp_path: Path) -> None:
    """A run that met its time limit goes on from its checkpoint; another learning rate is another run."""
    first = request_of(tmp_path / "a").run_id
    assert request_of(tmp_path / "b", timeout="9h", checkpoint_every=1, heartbeat="1h").run_id == first
    assert request_of(tmp_path / "c", optimizer={"learning_rate": 0.5}).run_id != first
