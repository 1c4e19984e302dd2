"""The Flux backend: Flux.jl through juliacall, in the worker process only.

Julia owns signals, threads and a good part of memory in the process that it is started in, so nothing here is ever
imported by an orchestrator's task process or after a fork.
"""

from __future__ import annotations

from assay.train.backends.flux.starting import JuliaTrainer, gpu_state, lend, start_julia
from assay.train.backends.flux.trainer import NATIVE_FILE, FluxTrainer

__all__ = ["NATIVE_FILE", "FluxTrainer", "JuliaTrainer", "gpu_state", "lend", "start_julia"]
