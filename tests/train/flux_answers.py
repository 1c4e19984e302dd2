"""What the Flux backend answers to a few questions, as one JSON object: `python -m tests.train.flux_answers FOLDER`.

A process of its own, because Julia is never started inside the test run's.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from assay.contract.optimization import Optimizer
from assay.train.backends import Batches, Clipping, Problem
from assay.train.backends.flux import FluxTrainer
from assay.train.errors import PreconditionError
from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    EmbeddedColumn,
    EmbeddingSpec,
    FlattenSpec,
    LayerNormSpec,
    LayerSpec,
    MaxPoolSpec,
    SkipSpec,
    UnflattenSpec,
)
from assay.train.network.spec import AggregationSpec, LossSpec
from assay.train.programs.native_check import native_layers
from assay.train.run.batches import initial_weights

ROWS, FEATURES = 40, 6


def every_layer() -> tuple[LayerSpec, ...]:
    """A network that has each kind of layer."""
    return (
        EmbeddingSpec(in_=FEATURES, dim=2, columns=(EmbeddedColumn(feature=1, vocabulary=3),)),
        DenseSpec(in_=7, out=8, activation="gelu", bias=False),
        BatchNormSpec(shape=(8,), momentum=0.1, epsilon=1e-5, activation="relu"),
        SkipSpec(layers=(DenseSpec(in_=8, out=8, activation="tanh"), DropoutSpec(shape=(8,), rate=0.3)),
                 connection="add"),
        LayerNormSpec(size=8, epsilon=1e-5),
        UnflattenSpec(size=8),
        ConvSpec(channels=1, width=8, out=3, kernel=3, stride=1, padding=1, activation="swish"),
        SkipSpec(layers=(ConvSpec(channels=3, width=8, out=2, kernel=1, stride=1, padding=0, bias=False),),
                 connection="concat"),
        MaxPoolSpec(channels=5, width=8, window=2, stride=2),
        FlattenSpec(channels=5, width=4),
        DenseSpec(in_=20, out=3),
    )  # fmt: skip


def problem(**options: Any) -> Problem:
    """That network, or another, on data that must not be written to."""
    generator = np.random.Generator(np.random.PCG64(1))
    x = generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
    x[:, 1] = np.arange(ROWS) % 3
    x.setflags(write=False)
    layers = options.pop("layers", every_layer())
    given: dict[str, Any] = {
        "layers": layers,
        "weights": initial_weights(layers, 5),
        "loss": LossSpec(name="logit_cross_entropy"),
        "optimizer": Optimizer(),
        "x": x,
        "y": np.arange(ROWS) % 3,
        "seed": 2**64 - 3,
    }
    return Problem(**given | options)


def batches(first: int = 0, count: int = 10) -> Batches:
    """Updates on eight rows each."""
    rows = np.concatenate([(np.arange(8) * 5 + 3 * i) % ROWS for i in range(first, first + count)])
    return Batches(rows, np.arange(count + 1) * 8, np.full(count, 0.01), first)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Equal to the last bit."""
    return a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def resumed() -> dict[str, Any]:
    """One run in one go, and one that is taken up from its state by another trainer, for each optimiser."""
    found = {}
    for rule in (
        Optimizer(), Optimizer(name="adamw", weight_decay=0.1), Optimizer(name="rmsprop", weight_decay=0.1),
        Optimizer(name="sgd"), Optimizer(name="sgd", momentum=0.9, nesterov=True),
    ):  # fmt: skip
        whole, first, second = (FluxTrainer(problem(optimizer=rule), "cpu") for _ in range(3))
        whole.run(batches(0, 20))
        first.run(batches(0, 10))
        state = first.state()
        first.run(batches(10, 3))
        second.restore(state)
        second.run(batches(10, 10))
        key = f"{rule.name} {rule.momentum} {rule.nesterov}"
        found[key] = {"same": same(whole.state(), second.state()), "state": sorted(state)}
    return found


def weights() -> dict[str, Any]:
    """Whether arrays come back as they went in."""
    task = problem()
    trainer = FluxTrainer(task, "cpu")
    back = trainer.weights()
    other = initial_weights(task.layers, 6)
    trainer.set_weights(other)
    wrong = other | {"layers.1.weight": other["layers.1.weight"].T}
    try:
        trainer.set_weights(wrong)
        refused = ""
    except ValueError as error:
        refused = str(error)
    return {
        "first": same(back, dict(task.weights)),
        "other": same(trainer.weights(), other),
        "c_order": all(array.flags.c_contiguous and array.flags.owndata for array in back.values()),
        "refused": refused,
    }


def refusal(**options: Any) -> str:
    """What is said to a problem, or to its first run."""
    try:
        FluxTrainer(problem(**options), "cpu").run(batches())
    except PreconditionError as error:
        return str(error)
    return ""


def native(folder: Path) -> dict[str, Any]:
    """Saves the model after some updates, beside probes, for a check by another process."""
    trainer = FluxTrainer(problem(), "cpu")
    stats = trainer.run(batches())
    files = trainer.save_native(folder)
    np.save(folder / "probes.npy", trainer._problem.x[:16])
    np.savez(folder / "weights.npz", **trainer.weights())
    evaluation = trainer.evaluate(np.arange(16))
    return {
        "files": files,
        "layers": native_layers(every_layer()),
        "losses": evaluation.row_losses.tolist(),
        "updates": stats.updates,
    }


def main() -> None:
    """Ask all and print the answers."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    plain = (DenseSpec(in_=FEATURES, out=3),)
    krum = AggregationSpec(name="krum", byzantine=1)
    trainer = FluxTrainer(problem(), "auto")
    empty = trainer.evaluate(np.array([], dtype=np.int64))
    answers = {
        "resumed": resumed(),
        "weights": weights(),
        "few sources": refusal(
            layers=plain, aggregation=krum, sources=(np.arange(ROWS) % 4).astype(np.int32)
        ),
        "no noise": refusal(layers=plain, clipping=Clipping(1.0, 1.0, 8.0)),
        "native": native(Path(sys.argv[1])),
        "memory": trainer.device_memory(),
        "device": [trainer.device, trainer.device_name],
        "empty": [np.isnan(empty.loss).item(), np.isnan(empty.metric).item(), len(empty.row_losses)],
        "gram": trainer.gradient_gram([]).shape,
    }
    out.write(json.dumps(answers))
    out.flush()


if __name__ == "__main__":
    main()
