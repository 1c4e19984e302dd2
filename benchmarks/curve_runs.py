"""Healthy and broken trainings for `curves.py`, epoch by epoch, by the same functions that the worker calls.

A fault is a change of the data, of the settings, or of what happens between two epochs; the curve checks see nothing
of it but the epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from curve_data import Data

from assay.contract.optimization import Aggregation, EarlyStopping, Optimizer, Privacy, Schedule
from assay.train.backends import Batches, Noise, Stats, Trainer, Weights, join
from assay.train.network.layers import BatchNormSpec, DenseSpec, DropoutSpec, LayerNormSpec, LayerSpec
from assay.train.network.spec import AggregationSpec, LossSpec, Yardsticks
from assay.train.records.curvefile import CurvePoint
from assay.train.run.inputs import Inputs, yardsticks
from assay.train.run.loop import open_trainer
from assay.train.run.measure import measure, measured
from assay.train.run.plan import Plan, pieces
from assay.train.setup.request import TrainRequest
from assay.train.steps.privacy import NoiseSource

VALIDATION = 0.2
SOURCES = 4
PRIVATE_ROWS = 1000
"""With fewer rows a private training learns nothing, and is no healthy one."""
RARE = 0.05
"""Nor is one with the median of sources where a class is rarer: it drops out of the median."""
WIDE = 10
"""With fewer rows per column a run without early stopping learns by heart."""
PATIENCE = 3
CONSTANT = Schedule()


@dataclass(frozen=True)
class Setup:
    """A network and how it learns, at the rate that suits it."""

    name: str
    hidden: tuple[int, ...]
    optimizer: Optimizer
    activation: str = "relu"
    extra: str = ""
    schedule: Schedule = CONSTANT
    batch: int = 32
    epochs: int = 15
    patience: int = 0
    aggregation: Aggregation = "mean"
    privacy: Privacy | None = None


SETUPS = (
    Setup("adam", (16,), Optimizer(learning_rate=0.01)),
    Setup("adamw, cosine", (32, 16), Optimizer(name="adamw", learning_rate=0.01, weight_decay=0.01), "tanh",
          schedule=Schedule(name="cosine", warmup_epochs=1.0)),
    Setup("momentum", (24,), Optimizer(name="sgd", learning_rate=0.05, momentum=0.9)),
    Setup("rmsprop, layer norm", (24,), Optimizer(name="rmsprop", learning_rate=0.005), extra="layer_norm"),
    Setup("adam, dropout", (32,), Optimizer(learning_rate=0.01), extra="dropout", epochs=20),
    Setup("adam, batch norm", (16,), Optimizer(learning_rate=0.01), "gelu", extra="batch_norm", batch=64),
    Setup("small batches", (16, 16), Optimizer(learning_rate=0.003), "elu", batch=16, epochs=12),
    Setup("early stopping", (24,), Optimizer(learning_rate=0.01), batch=128, epochs=60, patience=5),
    Setup("slow", (16,), Optimizer(learning_rate=0.001), epochs=30),
    Setup("median of sources", (16,), Optimizer(learning_rate=0.01), aggregation="median"),
    Setup("private", (16,), Optimizer(learning_rate=0.003), batch=256, epochs=30, schedule=Schedule(name="cosine"),
          privacy=Privacy(noise_multiplier=0.5, max_grad_norm=1.0, delta=1e-5, seeded_noise=True)),
)  # fmt: skip


def suitable(data: Data) -> list[Setup]:
    """The setups that someone who knows the data set would choose from."""
    shares = np.bincount(data.y.astype(int)) / len(data.y) if data.classes else np.ones(1)
    fitting = [
        each
        for each in SETUPS
        if (each.privacy is None or len(data.x) >= PRIVATE_ROWS)
        and (each.aggregation == "mean" or shares.min() >= RARE)
    ]
    if len(data.x) < WIDE * data.x.shape[1]:
        fitting = [replace(each, patience=PATIENCE) for each in fitting]
    return fitting


class Fault:
    """Nothing is wrong; a subclass says what is."""

    name = "healthy"

    def applies(self, data: Data) -> bool:
        """Whether this can go wrong with such data."""
        return True

    def table(self, run: Run) -> None:
        """Change the columns as they come, before their scales are fitted."""

    def begin(self, run: Run) -> None:
        """Change the run before it begins."""

    def labels(self, run: Run, epoch: int, y: Any) -> Any:
        """The labels of one epoch."""
        return y

    def batches(self, run: Run, epoch: int, batches: Batches) -> Batches:
        """The batches of one epoch."""
        return batches

    def frozen(self, run: Run) -> list[str]:
        """Arrays that no update reaches."""
        return []

    def after(self, run: Run, trainer: Trainer, first: Weights) -> None:
        """Between two epochs."""


class Run:
    """One training to be made; a fault changes what is here.

    A run takes nine tenths of the rows, as snapshots differ, splits them, and fits the scales on the training split.

    Args:
        data: The data set.
        setup: Network and optimiser.
        seed: Of rows, split, weights and batches.
        sources: `none`, `alike` (rows at random) or `unlike` (each has a range of the first column of its own).
        fault: What goes wrong.
    """

    def __init__(self, data: Data, setup: Setup, seed: int, sources: str, fault: Fault) -> None:
        self.data, self.setup, self.seed, self.sources = data, setup, seed, sources
        self.rng = np.random.default_rng([seed, 77])
        rows = self.rng.permutation(len(data.x))[: round(0.9 * len(data.x))]
        table, y, self.classes = data.x[rows], data.y[rows], data.classes
        held = round(VALIDATION * len(rows))
        self.validation, self.train = np.arange(held), np.arange(held, len(rows))
        self.of_source: Any = None
        if sources == "alike":
            self.of_source = self.rng.integers(0, SOURCES, len(rows)).astype(np.int32)
        elif sources == "unlike":
            noisy = table[:, 0] + 0.3 * table[:, 0].std() * self.rng.normal(size=len(rows))
            self.of_source = (np.argsort(np.argsort(noisy)) * SOURCES // len(rows)).astype(np.int32)
        self.x = table.copy()
        fault.table(self)
        mean, scale = self.x[self.train].mean(axis=0), self.x[self.train].std(axis=0)
        self.x = ((self.x - mean) / np.where(scale > 0, scale, 1)).astype(np.float32)
        if self.classes:
            self.y: Any = y.astype(np.int64)
        else:
            self.y = (y - y[self.train].mean()) / y[self.train].std()
        fault.begin(self)

    @property
    def request(self) -> TrainRequest:
        """What the worker would be asked; nothing of it lies on disk, so it is not validated."""
        setup = self.setup
        robust = self.of_source is not None and self.sources != "unlike"
        return TrainRequest.model_construct(
            task="classification" if self.classes else "regression",
            classes=tuple(map(str, range(self.classes))) if self.classes else None,
            source_names=tuple(f"source {i}" for i in range(SOURCES)),
            layers=self.layers,
            loss=LossSpec(name="logit_cross_entropy" if self.classes else "mse"),
            optimizer=setup.optimizer,
            schedule=setup.schedule,
            epochs=setup.epochs,
            early_stopping=EarlyStopping(patience=setup.patience) if setup.patience else None,
            batch_size=setup.batch,
            aggregation=AggregationSpec(name=setup.aggregation if robust else "mean"),
            privacy=setup.privacy,
            seed=self.seed,
            backend="reference",
        )

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """The setup's network for these features."""
        made: list[LayerSpec] = []
        width = self.x.shape[1]
        for hidden in self.setup.hidden:
            made.append(DenseSpec(in_=width, out=hidden, activation=self.setup.activation))
            width = hidden
            if self.setup.extra == "layer_norm":
                made.append(LayerNormSpec(size=width, epsilon=1e-5))
            elif self.setup.extra == "batch_norm":
                made.append(BatchNormSpec(shape=(width,), momentum=0.1, epsilon=1e-5))
            elif self.setup.extra == "dropout":
                made.append(DropoutSpec(shape=(width,), rate=0.2))
        return (*made, DenseSpec(in_=width, out=self.classes or 1))


def epochs(run: Run, fault: Fault) -> Iterator[Yardsticks | CurvePoint]:
    """Train; the yardsticks come first, then one point per epoch."""
    request, inputs = run.request, Inputs(run.x, run.y, run.train, run.validation, run.of_source)
    trainer = open_trainer(request, inputs)
    first = trainer.weights()
    yield yardsticks(request, inputs, trainer)
    private = request.privacy is not None
    on = measured(
        request.task, run.y, run.train, run.validation, classes=request.classes, sources=run.of_source,
        source_names=request.source_names, private=private, seed=run.seed,
    )  # fmt: skip
    key = np.random.default_rng(run.seed).bytes(32) if private else None
    noise = NoiseSource(key, request.parameter_count) if key else None
    plan, frozen = Plan(request, inputs, key), fault.frozen(run)
    best, since = math.inf, 0
    for epoch in range(1, request.epochs + 1):
        labels = fault.labels(run, epoch, on.y)
        if labels is not on.y:
            state = trainer.state()
            trainer, on = open_trainer(request, inputs._replace(y=labels)), on._replace(y=labels)
            trainer.restore(state)
        batches = fault.batches(run, epoch, plan.batches(epoch))
        if frozen:
            stats = _frozen(trainer, batches, noise, {name: first[name] for name in frozen})
        else:
            stats = trainer.run(batches, noise)
        point = CurvePoint.of(
            measure(
                on, epoch=epoch, batches=batches, stats=stats, seen=trainer.evaluate(run.validation),
                gram=trainer.gradient_gram(on.samples) if on.samples else None,
            )
        )  # fmt: skip
        yield point
        fault.after(run, trainer, first)
        loss = math.inf if point.validation_loss is None else point.validation_loss
        best, since = min(best, loss), 0 if loss < best else since + 1
        if request.early_stopping is not None and since >= request.early_stopping.patience:
            return


def _frozen(trainer: Trainer, batches: Batches, noise: Noise | None, kept: Weights) -> Stats:
    """Updates that leave some arrays as they were."""
    parts = []
    for one in pieces(batches, 1):
        parts.append(trainer.run(one, noise))
        trainer.set_weights(trainer.weights() | kept)
    return join(parts)
