"""What can go wrong with a training: each fault changes a healthy run in one way, before or while it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from curve_data import Data
from curve_runs import SOURCES, Fault, Run
from typing_extensions import override

from assay.contract.optimization import Optimizer
from assay.train.backends import Batches, Trainer, Weights

TINY_ROWS = 12
SYMMETRIC = {"circles", "quantiles"}
"""Data in which any order of the columns is as good as another."""


class RateTooHigh(Fault):
    """Thirty times the rate."""

    name = "learning rate x30"

    @override
    def begin(self, run: Run) -> None:
        rate = run.setup.optimizer.learning_rate * 30
        optimizer = run.setup.optimizer.model_copy(update={"learning_rate": rate})
        run.setup = replace(run.setup, optimizer=optimizer)


class FlippedLabels(Fault):
    """A quarter of all labels, the validation rows' too, is the next class, or has the other sign."""

    name = "25 % flipped labels"

    @override
    def begin(self, run: Run) -> None:
        run.y = flipped(run, run.rng.random(len(run.y)) < 0.25)


class ShuffledLabels(Fault):
    """From some epoch on the training labels are those of other rows."""

    name = "mid-run label shuffle"

    @override
    def labels(self, run: Run, epoch: int, y: Any) -> Any:
        if epoch != min(run.setup.epochs // 2, 6):
            return y
        y = y.copy()
        y[run.train] = run.rng.permutation(y[run.train])
        return y


class NotNumbers(Fault):
    """Three training rows have a NaN."""

    name = "NaN rows"

    @override
    def begin(self, run: Run) -> None:
        run.x[run.rng.choice(run.train, 3), 0] = np.nan


class HugeRows(Fault):
    """One row in a hundred is a million times as large, and the scales are fitted on it too."""

    name = "huge rows"

    @override
    def table(self, run: Run) -> None:
        run.x[::100] *= 1e6


class HugeScaledRows(Fault):
    """One training row in fifty is a thousand times as large, after the scales were fitted."""

    name = "huge rows past scaling"

    @override
    def begin(self, run: Run) -> None:
        run.x[run.train[::50]] *= 1000


class InvertedSource(Fault):
    """One of four sources has its labels the wrong way round: the next class, or the other sign."""

    name = "source with inverted labels"

    @override
    def begin(self, run: Run) -> None:
        if run.of_source is None:
            run.of_source = run.rng.integers(0, SOURCES, len(run.y)).astype(np.int32)
        run.y = flipped(run, run.of_source == 1)


class FrozenFirst(Fault):
    """Updates do not reach the first layer."""

    name = "frozen first layer"

    @override
    def frozen(self, run: Run) -> list[str]:
        return ["layers.0.weight", "layers.0.bias"]


class FrozenAll(Fault):
    """Updates reach nothing but the last bias: the graph is cut above it."""

    name = "frozen but for a bias"

    @override
    def frozen(self, run: Run) -> list[str]:
        last = f"layers.{len(run.layers) - 1}.bias"
        arrays = (array for i, layer in enumerate(run.layers) for array in layer.arrays(f"layers.{i}."))
        return [array.name for array in arrays if array.name != last]


class DuplicatedBatch(Fault):
    """The loader gives the same batch again and again."""

    name = "duplicated batch"

    @override
    def batches(self, run: Run, epoch: int, batches: Batches) -> Batches:
        updates = len(batches.learning_rates)
        one = np.sort(run.train)[: run.setup.batch]
        return batches._replace(rows=np.tile(one, updates), offsets=np.arange(updates + 1) * len(one))


class Exploding(Fault):
    """Plain descent at an absurd rate."""

    name = "exploding loss"

    @override
    def begin(self, run: Run) -> None:
        run.setup = replace(run.setup, optimizer=Optimizer(name="sgd", learning_rate=20.0, momentum=0.9))


class Creeping(Fault):
    """The rate doubles every epoch."""

    name = "rate doubles every epoch"

    @override
    def batches(self, run: Run, epoch: int, batches: Batches) -> Batches:
        return batches._replace(learning_rates=batches.learning_rates * 2.0 ** (epoch - 1))


class TinyTraining(Fault):
    """A filter lets a dozen training rows through."""

    name = "tiny training set"

    @override
    def begin(self, run: Run) -> None:
        run.train = run.train[:TINY_ROWS]


class TinyTable(Fault):
    """The whole table has forty rows."""

    name = "tiny table"

    @override
    def begin(self, run: Run) -> None:
        run.validation, run.train = run.validation[:8], run.train[:32]


class OtherOrder(Fault):
    """Training rows have their columns in another order than those measured on."""

    name = "columns in another order"

    @override
    def applies(self, data: Data) -> bool:
        return data.name not in SYMMETRIC

    @override
    def begin(self, run: Run) -> None:
        run.x[run.train] = np.roll(run.x[run.train], 1, axis=1)


class NotScaled(Fault):
    """Columns come as they are, up to ten thousand times as large."""

    name = "columns not scaled"

    @override
    def begin(self, run: Run) -> None:
        run.x *= np.geomspace(1, 1e4, run.x.shape[1], dtype=np.float32)


class EmptyColumns(Fault):
    """All columns are nothing but their filling value."""

    name = "columns lost"

    @override
    def begin(self, run: Run) -> None:
        run.x[:] = 0


class Misaligned(Fault):
    """Labels belong to the row before."""

    name = "rows out of step"

    @override
    def begin(self, run: Run) -> None:
        run.y = np.roll(run.y, 1)


class Leak(Fault):
    """The label stands among the features: as a number, or one column per class."""

    name = "leaked label"

    @override
    def begin(self, run: Run) -> None:
        told = np.eye(run.classes)[run.y] if run.classes > 2 else np.asarray(run.y, dtype=float)[:, None]
        told = (told - told.mean(axis=0)) / told.std(axis=0)
        columns = min(told.shape[1], run.x.shape[1])
        run.x[:, :columns] = told[:, :columns]


class LostClass(Fault):
    """From some epoch on the training rows of the rarest class are called another."""

    name = "a class goes wrong mid-run"

    @override
    def applies(self, data: Data) -> bool:
        return data.classes > 0

    @override
    def labels(self, run: Run, epoch: int, y: Any) -> Any:
        if epoch != min(max(run.setup.epochs // 3, 2), 5):
            return y
        rare = int(np.argmin(np.bincount(y[run.train], minlength=run.classes)))
        y = y.copy()
        y[run.train[y[run.train] == rare]] = (rare + 1) % run.classes
        return y


class Forgetful(Fault):
    """Each epoch begins with the first weights."""

    name = "weights go back each epoch"

    @override
    def after(self, run: Run, trainer: Trainer, first: Weights) -> None:
        trainer.set_weights(first)


FAULTS = (
    RateTooHigh, FlippedLabels, ShuffledLabels, NotNumbers, HugeRows, HugeScaledRows, InvertedSource, FrozenFirst,
    FrozenAll, DuplicatedBatch, Exploding, Creeping, TinyTraining, TinyTable, OtherOrder, NotScaled, EmptyColumns,
    Misaligned, Leak, LostClass, Forgetful,
)  # fmt: skip


def flipped(run: Run, chosen: Any) -> Any:
    """Labels that are wrong where chosen: the next class, or, for numbers, the other sign."""
    if run.classes:
        return np.where(chosen, (run.y + 1) % run.classes, run.y)
    return np.where(chosen, -run.y, run.y)
