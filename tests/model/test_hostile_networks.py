"""Networks that an attacker with every key would describe: too large, nested without end, or not fitting each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.train.network.limits import MAX_LAYERS, MAX_NESTING
from tests.model import support
from tests.model.support import Keys, arrays_of, edit_spec, failures, forge, refused, write_arrays

Edit = Callable[[Path], object]


def _spec(change: Callable[[dict[str, Any]], object]) -> Edit:
    return lambda bundle: edit_spec(bundle, change)


def _described(layers: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Edit:
    """The spec with other layers, and a list of arrays and a number of parameters that fit them."""
    from assay.train.network.layers import array_specs
    from assay.train.network.spec import BundleSpec

    def change(spec: dict[str, Any]) -> None:
        spec["layers"] = layers(spec)
        parsed = BundleSpec.model_validate(spec)
        arrays = array_specs(parsed.layers)
        spec["weights"] = [
            {"name": a.name, "shape": list(a.shape), "dtype": parsed.dtype, "sha256": "0" * 64}
            for a in arrays
        ]
        spec["parameter_count"] = sum(a.size for a in arrays if a.trainable)

    return _spec(change)


def _wide(units: int) -> Edit:
    """A hidden layer of so many units."""
    return _described(lambda spec: [{**spec["layers"][0], "out": units}, {**spec["layers"][1], "in": units}])


def _padded(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """A convolution that needs two weights, and makes a billion numbers of each row."""
    size, last = len(spec["features"]), spec["layers"][-1]
    width = size + 2 * 10**9
    return [
        {"type": "unflatten", "size": size},
        {"type": "conv", "channels": 1, "width": size, "out": 1, "kernel": 1, "stride": 1, "padding": 10**9},
        {"type": "max_pool", "channels": 1, "width": width, "window": width, "stride": 1},
        {"type": "flatten", "channels": 1, "width": 1},
        {**last, "in": 1},
    ]


def _doubling(times: int) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """Skips without a single weight, each of which doubles a row."""

    def made(spec: dict[str, Any]) -> list[dict[str, Any]]:
        width, layers = len(spec["features"]), []
        for _ in range(times):
            inner = {"type": "dropout", "shape": [width], "rate": 0.5}
            layers.append({"type": "skip", "connection": "concat", "layers": [inner]})
            width *= 2
        return [*layers, {**spec["layers"][-1], "in": width}]

    return made


def _dropouts(count: int) -> Edit:
    return _spec(
        lambda spec: spec.update(
            layers=[
                *({"type": "dropout", "shape": [len(spec["features"])], "rate": 0.5} for _ in range(count)),
                *spec["layers"],
            ]
        )
    )


def _nested(depth: int) -> Edit:
    """A dropout within so many skips."""

    def change(bundle: Path) -> None:
        spec = json.loads((bundle / "spec.json").read_bytes())
        inner = json.dumps({"type": "dropout", "shape": [len(spec["features"])], "rate": 0.5})
        text = '{"type": "skip", "connection": "add", "layers": [' * depth + inner + "]}" * depth
        rest = json.dumps(spec["layers"])[1:]
        spec["layers"] = "HERE"
        (bundle / "spec.json").write_text(json.dumps(spec).replace('"HERE"', f"[{text}, {rest}"))

    return change


def _skip_that_misfits(spec: dict[str, Any]) -> list[dict[str, Any]]:
    first = spec["layers"][0]
    return [{"type": "skip", "connection": "add", "layers": [first]}, *spec["layers"][1:]]


PLAIN: dict[str, tuple[Edit, str, str]] = {
    "a billion units": (_wide(10**9), "network", "1000000000 numbers per row"),
    "more units than a machine word counts": (_wide(10**30), "network", "numbers per row"),
    "padding of a billion": (_described(_padded), "network", "numbers per row"),
    "thirty doublings": (_described(_doubling(30)), "network", "numbers per row"),
    "thousands of layers": (_dropouts(MAX_LAYERS), "network", f"more than {MAX_LAYERS} layers"),
    "skips a little too deep": (_nested(MAX_NESTING + 1), "network", f"nested more than {MAX_NESTING} deep"),
    "a thousand nested skips": (_nested(1000), "spec", "nested too deeply"),
    "a hundred thousand nested skips": (_nested(100_000), "spec", "nested too deeply"),
    "a skip whose ways do not fit": (_described(_skip_that_misfits), "network", "adds 8 outputs"),
    "a run of another type than its layers": (
        _spec(lambda s: s.update(dtype="float64")),
        "network",
        "is float32, but the run is float64",
    ),
    "a network that does not end in a dense layer": (
        _spec(lambda s: s["layers"].append({"type": "layer_norm", "size": 2, "epsilon": 1e-5})),
        "network",
        "the last layer is layer_norm",
    ),
    "a layer that leaves nothing": (
        _described(
            lambda s: [
                {"type": "unflatten", "size": len(s["features"])},
                {
                    "type": "conv",
                    "channels": 1,
                    "width": len(s["features"]),
                    "out": 1,
                    "kernel": 99,
                    "stride": 1,
                    "padding": 0,
                },
                *s["layers"],
            ]
        ),
        "network",
        "leaves nothing",
    ),
    "an array listed twice": (
        _spec(lambda s: s["weights"].append(s["weights"][0])),
        "network",
        "lists an array twice",
    ),
    "a shape with a negative length": (
        _spec(lambda s: s["weights"][0].update(shape=[-8, -6])),
        "network",
        "[-8, -6]",
    ),
    "no layers": (_spec(lambda s: s.update(layers=[])), "spec", "layers"),
    "zero units": (_spec(lambda s: s["layers"][0].update(out=0)), "spec", "out"),
    "a dropout of everything": (
        _spec(lambda s: s["layers"].insert(0, {"type": "dropout", "shape": [6], "rate": 1})),
        "spec",
        "rate",
    ),
    "a layer with code": (_spec(lambda s: s["layers"][0].update(init="Base.run")), "spec", "init"),
    "an infinite learning rate": (
        lambda b: (b / "spec.json").write_text(
            (b / "spec.json").read_text().replace('"learning_rate": 0.01', '"learning_rate": 1e999')
        ),
        "spec",
        "1e999 is too large a number",
    ),
    "weights for more classes than there are": (
        _spec(lambda s: s["loss"].update(class_weights=[1.0, 1.0, 1.0])),
        "network",
        "3 class weights for 2 classes",
    ),
    "a negative class weight": (
        _spec(lambda s: s["loss"].update(class_weights=[-1.0, 3.0])),
        "network",
        "not below zero",
    ),
    "a binary loss over three classes": (
        _spec(lambda s: s.update(loss={"name": "binary_logit_cross_entropy"}, classes=["a", "b", "c"])),
        "network",
        "needs two classes, found 3",
    ),
    "an embedding of what is no category": (
        _described(
            lambda s: [
                {
                    "type": "embedding",
                    "in": len(s["features"]),
                    "dim": 1,
                    "columns": [{"feature": 0, "vocabulary": 4}],
                },
                *s["layers"],
            ]
        ),
        "preprocessing",
        "embeds 0 (4 values)",
    ),
    "an embedding behind the first layer": (
        _described(
            lambda s: [
                {"type": "dropout", "shape": [len(s["features"])], "rate": 0.5},
                {
                    "type": "embedding",
                    "in": len(s["features"]),
                    "dim": 1,
                    "columns": [{"feature": 0, "vocabulary": 4}],
                },
                *s["layers"],
            ]
        ),
        "network",
        "only the first layer can be an embedding",
    ),
}


def _tables_swapped(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    one, other = arrays["layers.0.table.0"], arrays["layers.0.table.1"]
    assert one.shape == other.shape
    write_arrays(bundle, {**arrays, "layers.0.table.0": other, "layers.0.table.1": one}, describe=False)


def _statistics_exchanged(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    mean, variance = arrays["layers.2.mean"], arrays["layers.2.variance"]
    write_arrays(bundle, {**arrays, "layers.2.mean": variance, "layers.2.variance": mean}, describe=False)


def _statistics_exchanged_in_full(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    mean, variance = arrays["layers.2.mean"], arrays["layers.2.variance"]
    assert (mean < 0).any()
    write_arrays(bundle, {**arrays, "layers.2.mean": variance, "layers.2.variance": mean})


def _negative_variance(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    arrays["layers.2.variance"][0] = -1e-9
    write_arrays(bundle, arrays)


def _statistics_that_learn(bundle: Path) -> None:
    edit_spec(bundle, lambda spec: spec.update(parameter_count=spec["parameter_count"] + 16))


def _larger_vocabulary(bundle: Path) -> None:
    """A category that no row of the training had."""
    arrays = arrays_of(bundle)
    table = arrays["layers.0.table.0"]
    longer = np.concatenate([table, np.full((1, table.shape[1]), 9, table.dtype)])
    edit_spec(
        bundle,
        lambda spec: (
            spec["layers"][0]["columns"][0].update(vocabulary=len(longer)),
            spec.update(parameter_count=spec["parameter_count"] + table.shape[1]),
        ),
    )
    write_arrays(bundle, {**arrays, "layers.0.table.0": longer})


RICH: dict[str, tuple[Edit, str, str]] = {
    "the tables of an embedding, swapped": (_tables_swapped, "weights", "layers.0.table.0: its numbers"),
    "running mean and variance, exchanged": (_statistics_exchanged, "weights", "layers.2.mean: its numbers"),
    "running mean and variance, exchanged, with digests": (
        _statistics_exchanged_in_full,
        "finite",
        "a variance is never below zero: layers.2.variance",
    ),
    "a negative variance": (_negative_variance, "finite", "never below zero: layers.2.variance"),
    "running statistics counted as parameters": (_statistics_that_learn, "network", "parameters declared"),
    "a category more than the preprocessing knows": (
        _larger_vocabulary,
        "preprocessing",
        "the network embeds",
    ),
    "embedded features in another order": (
        _spec(lambda s: s["layers"][0]["columns"].reverse()),
        "network",
        "must ascend",
    ),
    "an embedding of another feature": (
        _spec(lambda s: s["layers"][0]["columns"][0].update(feature=0)),
        "preprocessing",
        "the network embeds 0",
    ),
    "categories that are no longer numbered": (
        _spec(lambda s: s["preprocessing"]["columns"][-1].update(embedded=False)),
        "preprocessing",
        "other features",
    ),
    "another momentum than can be": (
        _spec(lambda s: s["layers"][2].update(momentum=1.5)),
        "spec",
        "momentum",
    ),
    "no epsilon": (_spec(lambda s: s["layers"][2].update(epsilon=0)), "spec", "epsilon"),
    "another connection": (_spec(lambda s: s["layers"][4].update(connection="mul")), "spec", "connection"),
    "a layer more within the skip": (
        _spec(lambda s: s["layers"][4]["layers"].append(s["layers"][1])),
        "network",
        "layer 4.2 takes",
    ),
}


def _refused(bundle: Path, keys: Keys, case: tuple[Edit, str, str]) -> None:
    edit, check, words = case
    run = json.loads((bundle / "spec.json").read_bytes())["run_id"]
    edit(bundle)
    (bundle / "statement.dsse.json").write_text(support.statement_over(bundle, keys.ledger, run=run))
    forge(bundle, keys, statement=False)
    refused(bundle, keys, check, words, ledger_key=keys.ledger.public_key())


@pytest.mark.parametrize("case", PLAIN)
def test_a_description_that_cannot_be_is_refused(bundle: Path, keys: Keys, case: str):
    """With every signature in order; no array is made of what is too large."""
    _refused(bundle, keys, PLAIN[case])


@pytest.mark.parametrize("case", RICH)
def test_embeddings_and_normalisations_must_be_what_was_trained(rich: Path, keys: Keys, case: str):
    """Tables, running statistics and skips are held against spec and preprocessing."""
    _refused(rich, keys, RICH[case])


@pytest.mark.parametrize("case", ["a billion units", "padding of a billion", "thirty doublings"])
def test_nothing_is_read_or_made_for_a_network_that_is_too_large(
    bundle: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, case: str
):
    """The description alone decides: the weights are not even opened."""

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("the weights were read")

    PLAIN[case][0](bundle)
    forge(bundle, keys)
    monkeypatch.setattr("assay.model.structure.read_weights", opened)
    assert "model.network" in {finding.check for finding in failures(bundle, keys)}


def test_a_rich_bundle_forged_without_a_change_loads(rich: Path, keys: Keys):
    """So that it is the change that falls."""
    forge(rich, keys)
    assert failures(rich, keys, ledger_key=keys.ledger.public_key()) == []


def test_a_skip_as_deep_as_may_be_is_not_refused_for_its_depth(bundle: Path, keys: Keys):
    """The limit is where it is said to be."""
    _nested(MAX_NESTING)(bundle)
    forge(bundle, keys)
    assert all("nested" not in finding.message for finding in failures(bundle, keys))
