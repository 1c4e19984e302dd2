"""The Flux backend: Flux.jl through juliacall, in the worker process only.

Julia owns signals, threads and a good part of memory in the process that it is started in, so nothing here is ever
imported by an orchestrator's task process or after a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from assay.train.backends import (
    Array,
    BackendUnavailable,
    DeviceUnavailable,
    EpochStats,
    Evaluation,
    Layer,
    Problem,
)
from assay.train.julia import HOW_TO_GET_FLUX, JuliaMissing, find_julia, trainer_package

NATIVE_FILE = "model.jls"


class JuliaTrainer(NamedTuple):
    """A started Julia with AssayTrainer loaded."""

    module: Any
    versions: dict[str, str]


_started: JuliaTrainer | None = None


def start_julia() -> JuliaTrainer:
    """Start Julia in this process and load AssayTrainer; a second call returns the same.

    Raises:
        BackendUnavailable: Julia is not installed, does not start, or lacks Flux or PythonCall.
    """
    global _started
    if _started is not None:
        return _started
    home = find_julia()
    if isinstance(home, JuliaMissing):
        raise BackendUnavailable(home.reason, home.next_step)
    # juliacall reads these at its first import. One thread and no handling of signals is what it runs best with:
    # Julia then leaves SIGINT and SIGTERM to Python, and a SIGTERM ends the process.
    os.environ.update(
        PYTHON_JULIACALL_EXE=home.executable,
        PYTHON_JULIACALL_PROJECT=home.project,
        PYTHON_JULIACALL_HANDLE_SIGNALS="no",
        PYTHON_JULIACALL_THREADS="1",
        PYTHON_JULIACALL_STARTUP_FILE="no",
        PYTHON_JULIACALL_AUTOLOAD_IPYTHON_EXTENSION="no",
        JULIA_CONDAPKG_BACKEND="Null",
    )
    try:
        import juliacall
    except Exception as error:  # juliacall raises bare Exception, AssertionError and what ctypes has
        raise BackendUnavailable(
            f"Julia {home.version} at {home.executable} does not start inside Python: {_first_line(error)}",
            HOW_TO_GET_FLUX,
        ) from error
    main = juliacall.Main
    try:
        # A project that juliapkg resolved has AssayTrainer already; any other project only needs to have Flux.
        main.seval('path -> isnothing(Base.find_package("AssayTrainer")) && push!(LOAD_PATH, path)')(
            str(trainer_package())
        )
        main.seval("import AssayTrainer")
    except juliacall.JuliaError as error:
        raise BackendUnavailable(
            f"the Julia project {home.project} cannot load the trainer: {_first_line(error)}",
            HOW_TO_GET_FLUX,
        ) from error
    module = main.AssayTrainer
    versions = {str(name): str(module.versions()[name]) for name in module.versions()}
    _started = JuliaTrainer(module, {**versions, "juliacall": juliacall.__version__})
    return _started


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def gpu_state(trainer: JuliaTrainer, *, thorough: bool = False) -> tuple[str | None, str]:
    """The GPU's name, or `None` and why there is none to use.

    Args:
        trainer: A started Julia.
        thorough: Load CUDA.jl even where the system shows no NVIDIA device.
    """
    if not thorough and not Path("/proc/driver/nvidia").exists() and not Path("/dev/nvidiactl").exists():
        return None, "the system shows no NVIDIA device"
    reason = str(trainer.module.load_gpu_b())
    if reason:
        return None, reason
    return str(trainer.module.gpu_name()), ""


class FluxTrainer:
    """A training in progress in Julia, in this process.

    The data is not copied: Julia reads NumPy's memory, where the C-ordered (rows, features) matrix is a Julia matrix
    (features, rows).

    Args:
        problem: Network, first weights and data.
        device: `cpu`, `gpu`, or `auto` for the GPU where there is one.
        on_wait: Is told about slow steps.

    Raises:
        BackendUnavailable: No Julia, no Flux.
        DeviceUnavailable: `gpu` was asked for and cannot be used.
    """

    def __init__(
        self, problem: Problem, device: str = "auto", on_wait: Callable[[str], None] = lambda _text: None
    ) -> None:
        if _started is None:
            on_wait("starting Julia; the first start on a machine compiles Flux and takes minutes")
        julia = start_julia()
        self._jl = julia.module
        self.versions = dict(julia.versions)
        self.device, self.device_name = self._choose_device(julia, device)
        self._problem = problem
        self._jl.set_threads_b(problem.threads)
        blueprint = self._jl.Blueprint(problem.dtype)
        for layer, (weight, bias) in zip(problem.layers, problem.weights, strict=True):
            # Julia's matrices lie in memory column by column; dense! copies them.
            columns = np.asfortranarray(weight)
            lent = None if bias is None else self._lend(bias)
            self._jl.dense_b(blueprint, self._lend(columns), lent, layer.activation)
        optimizer = problem.optimizer
        self._trainer = self._jl.Trainer(
            blueprint,
            problem.loss,
            learning_rate=optimizer.learning_rate,
            beta1=optimizer.beta1,
            beta2=optimizer.beta2,
            epsilon=optimizer.epsilon,
            device=self.device,
        )
        # The NumPy arrays stay attributes: Julia holds no reference of its own to their memory.
        self._arrays = np.asarray(problem.x).T, np.ascontiguousarray(problem.y)
        self._x, self._y = (self._lend(array) for array in self._arrays)

    def _lend(self, array: Array) -> Any:
        """A Julia array on the memory of a NumPy array in Fortran order, which the caller keeps alive."""
        assert array.flags.f_contiguous
        return self._jl.borrow(array.ctypes.data, str(array.dtype), *array.shape)

    @staticmethod
    def _choose_device(julia: JuliaTrainer, wanted: str) -> tuple[str, str | None]:
        if wanted == "cpu":
            return "cpu", None
        name, reason = gpu_state(julia, thorough=wanted == "gpu")
        if name is not None:
            return "gpu", name
        if wanted == "gpu":
            raise DeviceUnavailable(
                f"device gpu was asked for, but there is no GPU to train on: {reason}; "
                "install CUDA.jl into the Julia project on a machine with an NVIDIA GPU, or use device auto"
            )
        return "cpu", None

    def run_epoch(self, order: npt.NDArray[np.int64]) -> EpochStats:
        """Learn from the rows in this order, in batches."""
        stats = self._jl.epoch_b(
            self._trainer, self._x, self._y, _julia_rows(order), self._problem.batch_size
        )
        return EpochStats(
            float(stats.loss), float(stats.gradient_norm), int(stats.updates), int(stats.skipped)
        )

    def evaluate(self, rows: npt.NDArray[np.int64]) -> Evaluation:
        """Measure on these rows without learning; sums are in float64."""
        if not len(rows):
            return Evaluation(float("nan"), float("nan"))
        counted = _julia_rows(rows)
        result = self._jl.evaluate(self._trainer, self._x, self._y, self._lend(counted))
        return Evaluation(float(result.loss), float(result.metric))

    def weights(self) -> list[Layer]:
        """Copies of the weights as they are now, in main memory."""
        layers: list[Layer] = []
        for i, layer in enumerate(self._problem.layers, start=1):
            weight = np.empty((layer.out, layer.in_), dtype=layer.dtype, order="F")
            bias = np.empty(layer.out, dtype=layer.dtype) if layer.bias else None
            self._jl.read_layer_b(
                self._trainer, i, self._lend(weight), None if bias is None else self._lend(bias)
            )
            layers.append((np.ascontiguousarray(weight), bias))
        return layers

    def save_native(self, directory: Path) -> list[str]:
        """Write the Flux chain, on the CPU, with Julia's Serialization."""
        self._jl.save_model(self._trainer, str(directory / NATIVE_FILE))
        return [NATIVE_FILE]


def _julia_rows(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Row numbers counted from one."""
    return np.ascontiguousarray(rows + 1)
