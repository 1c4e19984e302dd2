"""The two trainers behind one small interface: Flux in Julia, and its independent witness in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from assay.contract.training import Optimizer
from assay.train.spec import DenseSpec, DType, Loss

Array = npt.NDArray[Any]
Layer = tuple[Array, Array | None]
"""Weight (out, in) and bias (out), or no bias."""


class Problem(NamedTuple):
    """What a backend is given: the network, its first weights, and the data, which it must not change.

    Attributes:
        layers: The network.
        weights: First weights, one pair per layer.
        loss: `logit_cross_entropy` over class numbers or `mse` over standardised numbers.
        optimizer: Adam and its constants.
        x: float32 (rows, features).
        y: int64 or float64 (rows,).
        batch_size: Rows per update; the last batch of an epoch may be smaller.
        dtype: Of weights and arithmetic.
        threads: BLAS threads.
    """

    layers: tuple[DenseSpec, ...]
    weights: list[Layer]
    loss: Loss
    optimizer: Optimizer
    x: npt.NDArray[np.float32]
    y: Array
    batch_size: int
    dtype: DType
    threads: int = 1


class EpochStats(NamedTuple):
    """What one epoch came to.

    Attributes:
        loss: Mean loss per row over the batches that led to an update, each measured before its own update.
        gradient_norm: Mean Euclidean norm of the whole gradient over those batches.
        updates: Batches that led to an update.
        skipped: Batches whose loss or gradient was not finite: no update was made.
    """

    loss: float
    gradient_norm: float
    updates: int
    skipped: int


class Evaluation(NamedTuple):
    """Mean loss per row, and accuracy (classification) or R² (regression, `nan` where the label is constant)."""

    loss: float
    metric: float


class Trainer(Protocol):
    """One training in progress."""

    device: str
    device_name: str | None
    versions: dict[str, str]

    def run_epoch(self, order: npt.NDArray[np.int64]) -> EpochStats:
        """Learn from the rows in this order, in batches."""
        ...

    def evaluate(self, rows: npt.NDArray[np.int64]) -> Evaluation:
        """Measure on these rows without learning."""
        ...

    def weights(self) -> list[Layer]:
        """Copies of the weights as they are now."""
        ...

    def save_native(self, directory: Path) -> list[str]:
        """Write the backend's own model file, if it has one; returns the names of the files written."""
        ...


class BackendUnavailable(Exception):
    """The backend's tools are not on this machine: the run was not checked rather than failed.

    Attributes:
        reason: What is missing.
        next_step: How to get it.
    """

    def __init__(self, reason: str, next_step: str) -> None:
        """`str()` joins the two."""
        super().__init__(f"{reason}; {next_step}")
        self.reason = reason
        self.next_step = next_step


class DeviceUnavailable(Exception):
    """The device that the contract demands is not usable: the run fails rather than quietly using another."""
