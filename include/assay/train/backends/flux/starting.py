"""Starting Julia in this process, with AssayTrainer loaded, and asking it for a GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from assay.train.backends import Array, BackendUnavailable, DeviceUnavailable
from assay.train.machine.julia import HOW_TO_GET_FLUX, JuliaMissing, find_julia, trainer_package


class JuliaTrainer(NamedTuple):
    """A started Julia with AssayTrainer loaded."""

    module: Any
    versions: dict[str, str]


_started: JuliaTrainer | None = None


def julia_started() -> bool:
    """Whether this process has a Julia already."""
    return _started is not None


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
    found = module.versions()
    versions = {str(name): str(found[name]) for name in found}
    _started = JuliaTrainer(module, {**versions, "juliacall": juliacall.__version__})
    return _started


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def lend(module: Any, array: Array) -> Any:
    """A Julia array on the memory of a NumPy array in Fortran order, which the caller keeps alive."""
    assert array.flags.f_contiguous
    return module.borrow(array.ctypes.data, str(array.dtype), *array.shape)


def gpu_state(trainer: JuliaTrainer, *, thorough: bool = False) -> tuple[str | None, str]:
    """The GPU's name and memory, or `None` and why there is none to use.

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


def choose_device(trainer: JuliaTrainer, wanted: str) -> tuple[str, str | None]:
    """`cpu` or `gpu`, and the latter's name.

    Args:
        trainer: A started Julia.
        wanted: `cpu`, `gpu`, or `auto` for the GPU where there is one.

    Raises:
        DeviceUnavailable: `gpu` is wanted and cannot be used.
    """
    if wanted == "cpu":
        return "cpu", None
    name, reason = gpu_state(trainer, thorough=wanted == "gpu")
    if name is not None:
        return "gpu", name
    if wanted == "gpu":
        raise DeviceUnavailable(
            f"device gpu was asked for, but there is no GPU to train on: {reason}; "
            "install CUDA.jl and cuDNN.jl into the Julia project on a machine with an NVIDIA GPU, or use device auto"
        )
    return "cpu", None
