"""The trainer protocol on a Julia in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.train.backends import Array, Batches, Evaluation, Noise, Problem, Rows, Stats, Weights, join
from assay.train.backends.flux.blueprint import make_blueprint, make_rule, slot_names
from assay.train.backends.flux.starting import choose_device, julia_started, lend, start_julia
from assay.train.backends.preconditions import check_problem
from assay.train.errors import PreconditionError
from assay.train.network.layers import ArraySpec, array_specs
from assay.train.network.spec import AggregationSpec
from assay.train.steps.aggregation import check_sources

NATIVE_FILE = "model.jls"


class FluxTrainer:
    """A training in progress in Julia, in this process.

    The data is not copied: Julia reads NumPy's memory, where the C-ordered (rows, features) matrix is a Julia matrix
    (features, rows). Weights cross flattened: all trainable arrays behind each other, and all running statistics.

    Args:
        problem: Network, first weights and data.
        device: `cpu`, `gpu`, or `auto` for the GPU where there is one.
        on_wait: Is told about slow steps.

    Raises:
        BackendUnavailable: No Julia, no Flux.
        DeviceUnavailable: `gpu` was asked for and cannot be used.
        PreconditionError: Batch normalisation, which mixes rows, with clipping or a robust aggregation.
    """

    def __init__(
        self, problem: Problem, device: str = "auto", on_wait: Callable[[str], None] = lambda _text: None
    ) -> None:
        check_problem(problem)
        if not julia_started():
            on_wait("starting Julia; the first start on a machine compiles Flux and takes minutes")
        julia = start_julia()
        self._jl = julia.module
        self.versions = dict(julia.versions)
        self.device, self.device_name = choose_device(julia, device)
        self._problem = problem
        self._specs = array_specs(problem.layers)
        self._jl.set_threads_b(problem.threads)
        loss, rule = problem.loss, problem.aggregation
        parameters, statistics = self._flat(problem.weights)
        self._trainer = self._jl.Trainer(
            make_blueprint(self._jl, problem.layers, problem.dtype),
            self._lend(parameters),
            self._lend(statistics),
            loss=loss.name,
            huber_delta=loss.huber_delta,
            class_weights=loss.class_weights,
            optimizer=make_rule(self._jl, problem.optimizer),
            aggregation=rule.name,
            byzantine=rule.byzantine,
            clipping=None if problem.clipping is None else tuple(problem.clipping),
            seed=problem.seed,
            device=self.device,
        )
        # The NumPy arrays stay attributes: Julia holds no reference of its own to their memory.
        self._arrays = np.ascontiguousarray(problem.x).T, np.ascontiguousarray(problem.y)
        self._x, self._y = (self._lend(array) for array in self._arrays)
        self._of_rows = None if problem.sources is None else np.ascontiguousarray(problem.sources)
        self._sources = None if self._of_rows is None else self._lend(self._of_rows)

    def _lend(self, array: Array) -> Any:
        return lend(self._jl, array)

    def run(self, batches: Batches, noise: Noise | None = None) -> Stats:
        """See `Trainer.run`."""
        rows = np.ascontiguousarray(batches.rows, dtype=np.int64)
        if self._problem.clipping is not None:
            return self._run_private(batches, rows, noise)
        offsets = np.ascontiguousarray(batches.offsets, dtype=np.int64)
        rates = np.ascontiguousarray(batches.learning_rates, dtype=np.float64)
        losses = np.empty(len(rows), dtype=np.float32)
        lent = tuple(self._lend(array) for array in (rows, offsets, rates))
        try:
            tally = self._jl.run_b(
                self._trainer, self._x, self._y, *lent, batches.first_step, self._lend(losses), self._sources
            )
        except Exception as error:
            raise self._said(error) from error
        return _stats(tally, losses)

    def _run_private(self, batches: Batches, rows: Rows, noise: Noise | None) -> Stats:
        assert self._problem.clipping is not None
        noisy = self._problem.clipping.noise_deviation > 0
        if noisy and noise is None:
            raise PreconditionError("private updates need noise, and none is given")
        parts = [Stats(0.0, 0, 0.0, 0.0, 0, 0, np.empty(0, dtype=np.float32))]
        for i, rate in enumerate(batches.learning_rates):
            own = rows[batches.offsets[i] : batches.offsets[i + 1]]
            losses = np.empty(len(own), dtype=np.float32)
            step = batches.first_step + i
            drawn = np.ascontiguousarray(noise(step), dtype=np.float64) if noisy and noise else None
            tally = self._jl.run_private_b(
                self._trainer,
                self._x,
                self._y,
                self._lend(own),
                float(rate),
                step,
                self._lend(losses),
                None if drawn is None else self._lend(drawn),
            )
            parts.append(_stats(tally, losses))
        return join(parts)

    def _said(self, error: Exception) -> Exception:
        """Julia's refusal of a robust aggregation as ours; any other error as it is."""
        cause = getattr(error, "exception", None)
        said = (
            None if cause is None else self._jl.unstandable(cause)
        )  # of the cause itself Python sees no number
        if said is None:
            return error
        rule = AggregationSpec.model_validate({"name": str(said.rule), "byzantine": int(said.byzantine)})
        try:
            check_sources(rule, int(said.found))
        except PreconditionError as refusal:
            return refusal
        return error

    def evaluate(self, rows: Rows) -> Evaluation:
        """See `Trainer.evaluate`."""
        counted = np.ascontiguousarray(rows, dtype=np.int64)
        losses = np.empty(len(counted), dtype=np.float32)
        result = self._jl.evaluate(self._trainer, self._x, self._y, self._lend(counted), self._lend(losses))
        return Evaluation(float(result.loss), float(result.metric), losses)

    def gradient_gram(self, groups: Sequence[Rows]) -> npt.NDArray[np.float64]:
        """See `Trainer.gradient_gram`."""
        gram = np.empty((len(groups), len(groups)), dtype=np.float64, order="F")
        if groups:
            rows = np.concatenate([np.asarray(group, dtype=np.int64) for group in groups])
            offsets = np.cumsum([0, *map(len, groups)], dtype=np.int64)
            lent = (self._lend(array) for array in (rows, offsets))
            self._jl.gradient_gram_b(self._lend(gram), self._trainer, self._x, self._y, *lent)
        return np.ascontiguousarray(gram)

    def weights(self) -> Weights:
        """See `Trainer.weights`."""
        parameters, statistics = (np.empty(size, dtype=self._problem.dtype) for size in self._sizes())
        self._jl.read_weights_b(self._trainer, self._lend(parameters), self._lend(statistics))
        found: Weights = {}
        at = {True: 0, False: 0}
        for spec in self._specs:
            start = at[spec.trainable]
            at[spec.trainable] += spec.size
            flat = parameters if spec.trainable else statistics
            found[spec.name] = flat[start : start + spec.size].reshape(spec.shape).copy()
        return found

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """See `Trainer.set_weights`."""
        parameters, statistics = self._flat(weights)
        self._jl.write_weights_b(self._trainer, self._lend(parameters), self._lend(statistics))

    def state(self) -> dict[str, Array]:
        """See `Trainer.state`."""
        found = {f"weights/{name}": array for name, array in self.weights().items()}
        slots = self._jl.slots(self._trainer)
        for name, slot in zip(slot_names(self._problem.optimizer), slots, strict=True):
            found[f"optimizer/{name}"] = np.array(slot, dtype=self._problem.dtype)
        return found

    def restore(self, state: Mapping[str, Array]) -> None:
        """See `Trainer.restore`."""
        self.set_weights({spec.name: state[f"weights/{spec.name}"] for spec in self._specs})
        names = slot_names(self._problem.optimizer)
        slots = [
            np.ascontiguousarray(state[f"optimizer/{name}"], dtype=self._problem.dtype) for name in names
        ]
        self._jl.write_slots_b(self._trainer, *(self._lend(slot) for slot in slots))

    def device_memory(self) -> int | None:
        """See `Trainer.device_memory`."""
        used = self._jl.device_memory(self._trainer)
        return None if used is None else int(used)

    def save_native(self, directory: Path) -> list[str]:
        """Write the Flux chain, on the CPU, with Julia's Serialization."""
        self._jl.save_model(self._trainer, str(directory / NATIVE_FILE))
        return [NATIVE_FILE]

    def _sizes(self) -> tuple[int, int]:
        trainable = sum(spec.size for spec in self._specs if spec.trainable)
        return trainable, sum(spec.size for spec in self._specs) - trainable

    def _flat(self, weights: Mapping[str, Array]) -> tuple[Array, Array]:
        """Parameters and running statistics, each behind each other."""
        return self._join(weights, True), self._join(weights, False)

    def _join(self, weights: Mapping[str, Array], trainable: bool) -> Array:
        def one(spec: ArraySpec) -> Array:
            array = np.asarray(weights[spec.name], dtype=self._problem.dtype)
            if array.shape != spec.shape:
                raise ValueError(f"{spec.name} is {array.shape}, not {spec.shape}")
            return array.ravel()

        found = [one(spec) for spec in self._specs if spec.trainable is trainable]
        return np.concatenate([*found, np.empty(0, dtype=self._problem.dtype)])


def _stats(tally: Any, losses: npt.NDArray[np.float32]) -> Stats:
    return Stats(
        float(tally.loss_sum),
        int(tally.rows),
        float(tally.norm_sum),
        float(tally.norm_max),
        int(tally.updates),
        int(tally.skipped),
        losses,
        int(tally.clipped),
        tuple(tuple(int(source) for source in dropped) for dropped in tally.dropped),
    )
