"""What the reference backend computes for small networks, so that the Julia tests can compare without Python.

`python -m tests.train.golden` writes the file anew; a test holds it against what the reference computes today.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from assay.contract.training import Optimizer
from assay.train.backends import Problem
from assay.train.backends.reference import ACTIVATIONS, ReferenceTrainer
from assay.train.batches import epoch_order, initial_weights
from assay.train.spec import DenseSpec

FILE = Path(__file__).resolve().parents[2] / "include/julia/AssayTrainer/test/golden.toml"
ROWS, FEATURES, BATCH, EPOCHS = 60, 4, 8, 7
LEARNING_RATE = 0.01


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (rows, features) float32, classes of three, and numbers that follow from the features."""
    generator = np.random.Generator(np.random.PCG64(7))
    x = np.round(generator.random((ROWS, FEATURES)) * 4 - 2, 3).astype(np.float32)
    score = x[:, 0] - 0.5 * x[:, 1] * x[:, 2]
    classes = np.digitize(score, [-0.5, 0.5]).astype(np.int64)
    return x, classes, np.round(score.astype(np.float64), 3)


def networks() -> list[tuple[str, str, str, list[DenseSpec]]]:
    """Name, loss, dtype and layers of each case."""
    found = []
    for dtype in ("float32", "float64"):
        for activation in ACTIVATIONS:
            layers = [
                DenseSpec(in_=FEATURES, out=5, activation=activation, dtype=dtype),
                DenseSpec(in_=5, out=3, dtype=dtype),
            ]
            found.append((f"{activation}, {dtype}", "logit_cross_entropy", dtype, layers))
        found.append(
            (
                f"two hidden layers and no bias, {dtype}",
                "logit_cross_entropy",
                dtype,
                [
                    DenseSpec(in_=FEATURES, out=6, activation="tanh", bias=False, dtype=dtype),
                    DenseSpec(in_=6, out=5, activation="relu", dtype=dtype),
                    DenseSpec(in_=5, out=3, bias=False, dtype=dtype),
                ],
            )
        )
        found.append(
            (
                f"no hidden layer, {dtype}",
                "logit_cross_entropy",
                dtype,
                [DenseSpec(in_=FEATURES, out=3, dtype=dtype)],
            )
        )
        found.append(
            (
                f"regression, {dtype}",
                "mse",
                dtype,
                [
                    DenseSpec(in_=FEATURES, out=5, activation="relu", dtype=dtype),
                    DenseSpec(in_=5, out=1, dtype=dtype),
                ],
            )
        )
    return found


def problem(loss: str, dtype: str, layers: list[DenseSpec]) -> Problem:
    """The case as both backends take it."""
    x, classes, numbers = data()
    return Problem(
        layers=tuple(layers),
        weights=initial_weights(layers, 11),
        loss=loss,
        optimizer=Optimizer(learning_rate=LEARNING_RATE),
        x=x,
        y=numbers if loss == "mse" else classes,
        batch_size=BATCH,
        dtype=dtype,
    )


def orders() -> list[np.ndarray]:
    """Row numbers, from zero, of each epoch."""
    return [epoch_order(np.arange(ROWS), 3, epoch) for epoch in range(1, EPOCHS + 1)]


def compute() -> dict[str, Any]:
    """Everything that the file holds."""
    x, classes, numbers = data()
    cases = []
    for name, loss, dtype, layers in networks():
        task = problem(loss, dtype, layers)
        trainer = ReferenceTrainer(task)
        first = _layers(layers, task.weights)
        epochs = []
        for order in orders():
            stats = trainer.run_epoch(order)
            epochs.append(
                {"loss": stats.loss, "gradient_norm": stats.gradient_norm, "updates": stats.updates}
            )
        last = trainer.evaluate(np.arange(ROWS))
        cases.append(
            {
                "name": name,
                "loss": loss,
                "dtype": dtype,
                "learning_rate": LEARNING_RATE,
                "final_loss": last.loss,
                "final_metric": last.metric,
                "layers": first,
                "epochs": epochs,
                "final_layers": _layers(layers, trainer.weights()),
            }
        )
    return {
        "batch_size": BATCH,
        "x": x.astype(np.float64).round(3).tolist(),
        "classes": classes.tolist(),
        "numbers": numbers.tolist(),
        "orders": [order.tolist() for order in orders()],
        "cases": cases,
    }


def _layers(specs: list[DenseSpec], weights: list[Any]) -> list[dict[str, Any]]:
    found = []
    for spec, (weight, bias) in zip(specs, weights, strict=True):
        layer = {"activation": spec.activation, "weight": weight.tolist()}
        if bias is not None:
            layer["bias"] = bias.tolist()
        found.append(layer)
    return found


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def render(content: dict[str, Any]) -> str:
    """The content as TOML."""
    lines = ["# Written by `python -m tests.train.golden`."]
    lines += [f"{key} = {_toml(value)}" for key, value in content.items() if key != "cases"]
    for case in content["cases"]:
        lines += ["", "[[cases]]", *(f"{key} = {_toml(value)}" for key, value in case.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(render(compute()), encoding="utf-8")
