"""A training in progress, in this process, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assay.train.backends import Array, Batches, Evaluation, Noise, Problem, Rows, Stats, Weights
from assay.train.backends.preconditions import check_problem
from assay.train.backends.reference.basic import Back, Pass
from assay.train.backends.reference.gradients import RowSquares, Sum
from assay.train.backends.reference.losses import RowLosses, hits_or_squares, row_losses
from assay.train.backends.reference.network import Network
from assay.train.backends.reference.optimizers import Rule
from assay.train.errors import PreconditionError
from assay.train.steps import aggregation

EVALUATION_ROWS = 8192


class Update(NamedTuple):
    """What an update would be.

    Attributes:
        losses: Of the batch's rows.
        gradient: What the optimiser is to get, flat.
        moved: Running statistics after the update, by array name.
        clipped: Rows whose gradient was clipped.
        dropped: Sources that krum or multi_krum left out.
    """

    losses: RowLosses
    gradient: Array
    moved: Weights
    clipped: int = 0
    dropped: tuple[int, ...] = ()


class ReferenceTrainer:
    """The trainer protocol of `assay.train.backends` in NumPy.

    All weights live in one flat array and the layers are views of it, so that an optimiser's step is a handful of
    vector operations whatever the layers.
    """

    def __init__(self, problem: Problem) -> None:
        """Take over the problem's first weights.

        Raises:
            PreconditionError: Batch normalisation, which mixes rows, with clipping or a robust aggregation.
        """
        self.device = "cpu"
        self.device_name: str | None = None
        self.versions = {"numpy": np.__version__}
        self._problem = problem
        self._robust = problem.aggregation.name != "mean"
        check_problem(problem)
        self._network = Network(problem.layers, problem.weights, problem.dtype)
        self._rule = Rule(problem.optimizer, self._network.flat)

    def run(self, batches: Batches, noise: Noise | None = None) -> Stats:
        """See `Trainer.run`."""
        loss_sum = norm_sum = norm_max = 0.0
        rows_seen = updates = skipped = clipped = 0
        seen: list[npt.NDArray[np.float32]] = []
        dropped: list[tuple[int, ...]] = []
        for i, rate in enumerate(batches.learning_rates):
            rows = batches.rows[batches.offsets[i] : batches.offsets[i + 1]]
            with np.errstate(all="ignore"):
                update = self.propose(rows, batches.first_step + i, noise)
                loss = float((update.losses.losses * update.losses.weights).sum(dtype=np.float64))
                norm = float(np.linalg.norm(update.gradient.astype(np.float64)))
                seen.append(update.losses.losses.astype(np.float32))
                finite = all(np.isfinite(array).all() for array in update.moved.values())
                if not (np.isfinite(loss) and np.isfinite(norm) and finite):
                    skipped += 1
                    continue
                self._rule.update(update.gradient, float(rate))
            for name, array in update.moved.items():
                self._network.arrays[name][...] = array
            loss_sum += loss
            rows_seen += len(rows)
            norm_sum += norm
            norm_max = max(norm_max, norm)
            updates += 1
            clipped += update.clipped
            if self._problem.aggregation.name in aggregation.CHOOSING:
                dropped.append(update.dropped)
        losses = np.concatenate(seen) if seen else np.empty(0, dtype=np.float32)
        return Stats(
            loss_sum, rows_seen, norm_sum, norm_max, updates, skipped, losses, clipped, tuple(dropped)
        )

    def propose(self, rows: Rows, step: int, noise: Noise | None = None) -> Update:
        """What the update on these rows would be; nothing is changed.

        Raises:
            PreconditionError: As `run` does.
        """
        if self._problem.clipping is not None:
            return self._private(rows, step, noise)
        if self._robust:
            return self._of_sources(rows, step)
        run = self._pass(step)
        losses, back = self._forward(rows, run)
        back(losses.slopes / losses.slopes.dtype.type(len(rows)), Sum())
        return Update(losses, self._network.gradient.copy(), run.moved)

    def _pass(self, step: int) -> Pass:
        return Pass(training=True, seed=self._problem.seed, step=step)

    def _forward(self, rows: Rows, run: Pass) -> tuple[RowLosses, Back]:
        x = self._problem.x[rows].astype(self._network.flat.dtype, copy=False)
        outputs, back = self._network.chain.forward(x, run)
        return row_losses(self._problem.loss, outputs, self._problem.y[rows]), back

    def _private(self, rows: Rows, step: int, noise: Noise | None) -> Update:
        """DP-SGD (Abadi and others 2016): clip each row, add up, add noise, divide by the expected rows.

        Two ways back instead of one gradient per row: the first measures each row's norm, the second carries each row's
        slope scaled by its clipping factor, as no layer mixes rows (Li and others 2022, "ghost clipping").
        """
        clipping = self._problem.clipping
        assert clipping is not None
        run = self._pass(step)
        losses, back = self._forward(rows, run)
        squares = RowSquares(len(rows))
        back(losses.slopes, squares)
        norms = np.sqrt(squares.totals)
        factors = clipping.max_norm / np.maximum(norms, clipping.max_norm)
        back(losses.slopes * factors[:, None].astype(losses.slopes.dtype), Sum())
        total = self._network.gradient.astype(np.float64)
        if clipping.noise_deviation:
            if noise is None:
                raise PreconditionError("private updates need noise, and none is given")
            total += clipping.noise_deviation * noise(step)
        gradient = (total / clipping.expected_rows).astype(self._network.flat.dtype)
        return Update(losses, gradient, run.moved, int((norms > clipping.max_norm).sum()))

    def _of_sources(self, rows: Rows, step: int) -> Update:
        """The mean gradient of each source in the batch, aggregated."""
        assert self._problem.sources is not None
        of_row = self._problem.sources[rows]
        present = np.unique(of_row)
        run = self._pass(step)
        losses, back = self._forward(rows, run)
        gradients = []
        for source in present:
            own = (of_row == source).astype(losses.slopes.dtype)
            # Rows do not mix, so that it is enough to silence the other sources' on the way back.
            slopes = np.where(own[:, None] > 0, losses.slopes, losses.slopes.dtype.type(0))
            back(slopes / own.sum(), Sum())
            gradients.append(self._network.gradient.copy())
        chosen = aggregation.aggregate(np.stack(gradients), self._problem.aggregation)
        dropped = tuple(int(present[i]) for i in chosen.dropped)
        return Update(losses, chosen.gradient.astype(self._network.flat.dtype), run.moved, 0, dropped)

    def evaluate(self, rows: Rows) -> Evaluation:
        """See `Trainer.evaluate`."""
        if not len(rows):
            return Evaluation(float("nan"), float("nan"), np.empty(0, dtype=np.float32))
        problem, total, score = self._problem, 0.0, 0.0
        seen: list[npt.NDArray[np.float32]] = []
        with np.errstate(all="ignore"):
            for part in _parts(rows):
                x = problem.x[part].astype(self._network.flat.dtype, copy=False)
                outputs = self._network.chain.forward(x, Pass(training=False))[0].astype(np.float64)
                losses = row_losses(problem.loss, outputs, problem.y[part])
                total += float((losses.losses * losses.weights).sum())
                score += hits_or_squares(problem.loss, outputs, problem.y[part])
                seen.append(losses.losses.astype(np.float32))
        if problem.loss.of_classes:
            metric = score / len(rows)
        else:
            y = problem.y[rows].astype(np.float64)
            spread = float(np.square(y - y.mean()).sum())
            metric = 1 - score / spread if spread > 0 else float("nan")
        return Evaluation(total / len(rows), metric, np.concatenate(seen))

    def mean_gradient(self, rows: Rows) -> npt.NDArray[np.float64]:
        """The gradient of the rows' mean weighted loss as `evaluate` measures it, flat; NaN without rows."""
        total = np.zeros(len(self._network.flat))
        with np.errstate(all="ignore"):
            for part in _parts(rows):
                losses, back = self._forward(part, Pass(training=False))
                back(losses.slopes, Sum())
                total += self._network.gradient
            return np.asarray(total / np.float64(len(rows)))

    def gradient_gram(self, groups: Sequence[Rows]) -> npt.NDArray[np.float64]:
        """See `Trainer.gradient_gram`."""
        if not groups:
            return np.zeros((0, 0))
        gradients = np.stack([self.mean_gradient(rows) for rows in groups])
        return np.asarray(gradients @ gradients.T)

    def weights(self) -> Weights:
        """See `Trainer.weights`."""
        return self._network.copies()

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """See `Trainer.set_weights`."""
        self._network.load(weights)

    def state(self) -> dict[str, Array]:
        """See `Trainer.state`."""
        found = {f"weights/{name}": array for name, array in self.weights().items()}
        return found | {f"optimizer/{name}": array.copy() for name, array in self._rule.slots.items()}

    def restore(self, state: Mapping[str, Array]) -> None:
        """See `Trainer.restore`."""
        self._network.load({name: state[f"weights/{name}"] for name in self._network.arrays})
        for name, slot in self._rule.slots.items():
            slot[...] = state[f"optimizer/{name}"]

    def device_memory(self) -> int | None:
        """The CPU has no memory of its own."""
        return None

    def save_native(self, directory: Path) -> list[str]:
        """The reference backend has no model file of its own."""
        return []


def _parts(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), EVALUATION_ROWS):
        yield rows[start : start + EVALUATION_ROWS]
