"""Training: requests, the trainer protocol, its supervisor, the curve checks and the two backends.

Its parts use each other in one direction: `programs`, `run`, `curve`, `records`, `backends`, `setup`, `steps`, then
`network` and `machine`; what a process of its own runs is named on its command line.

Names are loaded when they are first used, so that the worker process pays only for what its backend needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.train.curve import curve_outcome
    from assay.train.errors import (
        BundleExists,
        PreconditionError,
        PrepareError,
        PreprocessError,
        PrivacyError,
        ProtocolError,
        RequestError,
        RunBusy,
        TrainError,
    )
    from assay.train.machine.julia import JuliaStatus, julia_status
    from assay.train.network.layers import LayerSpec, array_specs
    from assay.train.network.spec import BUNDLE_FORMAT, BundleSpec, WeightSpec, Yardsticks
    from assay.train.records.curvefile import CurvePoint, read_curve
    from assay.train.records.events import Epoch, Event, Failed, Finished, Progress, Started, Warned
    from assay.train.run.result import RunResult
    from assay.train.run.supervisor import train_run
    from assay.train.setup.arrays import PreparedData, prepare
    from assay.train.setup.preprocess import Preprocessing, load_preprocessing
    from assay.train.setup.request import (
        TrainRequest,
        choose_backend,
        make_request,
        read_request,
        run_id_for,
        training_digest,
    )

__all__ = [
    "BUNDLE_FORMAT",
    "BundleExists",
    "BundleSpec",
    "CurvePoint",
    "Epoch",
    "Event",
    "Failed",
    "Finished",
    "JuliaStatus",
    "LayerSpec",
    "PreconditionError",
    "PrepareError",
    "PreparedData",
    "PreprocessError",
    "Preprocessing",
    "PrivacyError",
    "Progress",
    "ProtocolError",
    "RequestError",
    "RunBusy",
    "RunResult",
    "Started",
    "TrainError",
    "TrainRequest",
    "Warned",
    "WeightSpec",
    "Yardsticks",
    "array_specs",
    "choose_backend",
    "curve_outcome",
    "julia_status",
    "load_preprocessing",
    "make_request",
    "prepare",
    "read_curve",
    "read_request",
    "run_id_for",
    "train_run",
    "training_digest",
]

_HOMES = {
    "setup.arrays": ("PreparedData", "prepare"),
    "curve": ("curve_outcome",),
    "records.curvefile": ("CurvePoint", "read_curve"),
    "errors": (
        "BundleExists",
        "PreconditionError",
        "PrepareError",
        "PreprocessError",
        "PrivacyError",
        "ProtocolError",
        "RequestError",
        "RunBusy",
        "TrainError",
    ),
    "records.events": ("Epoch", "Event", "Failed", "Finished", "Progress", "Started", "Warned"),
    "network.layers": ("LayerSpec", "array_specs"),
    "machine.julia": ("JuliaStatus", "julia_status"),
    "setup.preprocess": ("Preprocessing", "load_preprocessing"),
    "setup.request": (
        "TrainRequest",
        "choose_backend",
        "make_request",
        "read_request",
        "run_id_for",
        "training_digest",
    ),
    "network.spec": ("BUNDLE_FORMAT", "BundleSpec", "WeightSpec", "Yardsticks"),
    "run.result": ("RunResult",),
    "run.supervisor": ("train_run",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
