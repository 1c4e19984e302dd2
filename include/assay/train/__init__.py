"""Training: requests, the trainer protocol, its supervisor, the curve checks and the two backends.

Names are loaded when they are first used, so that the worker process pays only for what its backend needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assay.train.arrays import PreparedData, prepare
    from assay.train.curve import curve_outcome
    from assay.train.curvefile import CurvePoint, read_curve
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
    from assay.train.events import Epoch, Event, Failed, Finished, Progress, Started, Warned
    from assay.train.julia import JuliaStatus, julia_status
    from assay.train.layers import LayerSpec, array_specs
    from assay.train.preprocess import Preprocessing, load_preprocessing
    from assay.train.request import (
        TrainRequest,
        choose_backend,
        make_request,
        read_request,
        run_id_for,
        training_digest,
    )
    from assay.train.result import RunResult
    from assay.train.spec import BUNDLE_FORMAT, BundleSpec, WeightSpec, Yardsticks
    from assay.train.supervisor import train_run

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
    "arrays": ("PreparedData", "prepare"),
    "curve": ("curve_outcome",),
    "curvefile": ("CurvePoint", "read_curve"),
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
    "events": ("Epoch", "Event", "Failed", "Finished", "Progress", "Started", "Warned"),
    "layers": ("LayerSpec", "array_specs"),
    "julia": ("JuliaStatus", "julia_status"),
    "preprocess": ("Preprocessing", "load_preprocessing"),
    "request": (
        "TrainRequest",
        "choose_backend",
        "make_request",
        "read_request",
        "run_id_for",
        "training_digest",
    ),
    "spec": ("BUNDLE_FORMAT", "BundleSpec", "WeightSpec", "Yardsticks"),
    "result": ("RunResult",),
    "supervisor": ("train_run",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
