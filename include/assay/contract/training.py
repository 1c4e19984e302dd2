"""The contract's training section: what is trained, how, and what the result must show before it is promoted."""

from __future__ import annotations

import datetime as dt
from typing import Literal, Self

from pydantic import Field, model_validator

from assay.contract.base import Complaint, Model
from assay.contract.durations import Duration

Activation = Literal[
    "identity", "relu", "leakyrelu", "elu", "gelu", "selu", "sigmoid", "softplus", "swish", "tanh"
]
"""Activations that a model may use; anything else is refused, also when a bundle is loaded."""


class DenseLayer(Model):
    """A fully connected layer of `dense` units."""

    dense: int = Field(gt=0, le=65_536)
    activation: Activation = "relu"
    bias: bool = True


class Optimizer(Model):
    """The rule that turns gradients into updates."""

    name: Literal["adam"] = "adam"
    learning_rate: float = Field(default=0.001, gt=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)


class Privacy(Model):
    """Differentially private training (DP-SGD)."""

    noise_multiplier: float = Field(gt=0)
    max_grad_norm: float = Field(gt=0)
    delta: float = Field(gt=0, lt=1)


class CurveLimits(Model):
    """Absolute limits of the curve checks, used until enough accepted runs of the data set exist."""

    max_spike: float = Field(default=3.0, gt=1, description="Training loss over the best epoch so far.")
    divergence_epochs: int = Field(
        default=3, ge=2, description="Epochs in a row in which the loss rises and is above the first."
    )
    max_generalisation_gap: float = Field(
        default=1.0,
        gt=0,
        description="Final validation loss above the training loss, in units of the trivial predictor's loss.",
    )
    max_gap_to_accepted: float = Field(
        default=0.5, gt=0, description="Final validation loss above accepted runs, relative."
    )
    min_accepted_runs: int = Field(default=5, ge=2)


class Training(Model):
    """One supervised run."""

    backend: Literal["auto", "flux", "reference"] = "auto"
    layers: tuple[DenseLayer, ...] = (DenseLayer(dense=64), DenseLayer(dense=32))
    optimizer: Optimizer = Optimizer()
    epochs: int = Field(default=30, gt=0, le=100_000)
    batch_size: int = Field(default=128, gt=0)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    device: Literal["auto", "cpu", "gpu"] = "auto"
    seed: int = 0
    privacy: Privacy | None = None
    aggregation: Literal["mean", "median", "trimmed_mean", "krum", "geometric_median"] = "mean"
    timeout: Duration = Field(default=dt.timedelta(hours=2), description="Wall time of one run.")
    heartbeat: Duration = Field(
        default=dt.timedelta(minutes=10), description="Longest silence of the worker."
    )
    max_memory_bytes: int | None = Field(default=None, gt=0)
    curve: CurveLimits = CurveLimits()

    @model_validator(mode="after")
    def _available(self) -> Self:
        if self.privacy is not None:
            raise Complaint(
                "private training is not available in this version", fix="set it to null", at=("privacy",)
            )
        if self.aggregation != "mean":
            raise Complaint(
                f"{self.aggregation} is not available in this version", fix="use mean", at=("aggregation",)
            )
        return self


class Gates(Model):
    """Checks that a promotion needs; a limit of null switches its gate off, which the record shows."""

    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    min_r2: float | None = Field(default=None, le=1)
    max_drop_vs_champion: float | None = Field(default=0.01, ge=0)
    max_slice_gap: float | None = Field(default=None, ge=0, le=1)
    slices: tuple[str, ...] = ()
    min_slice_rows: int = Field(
        default=30, ge=1, description="Slices with fewer trusted rows are not checked."
    )
    backdoor_scan: bool = False
    require_backend: Literal["flux", "reference"] | None = None
