"""The contract's training section: what is trained, how, and what the result must show before it is promoted."""

from __future__ import annotations

import datetime as dt
from typing import Literal, Self

from pydantic import Field, model_validator

from assay.contract.base import Complaint, Model
from assay.contract.durations import Duration
from assay.contract.network import BatchNormLayer, DenseLayer, EmbeddingLayer, Layer, all_layers
from assay.contract.optimization import Aggregation, EarlyStopping, Optimizer, Privacy, Schedule

LossName = Literal["auto", "logit_cross_entropy", "binary_logit_cross_entropy", "mse", "huber"]


CurveCheck = Literal[
    "non_finite",
    "skipped_updates",
    "spike",
    "divergence",
    "gradient_spike",
    "no_learning",
    "plateau",
    "too_fast",
    "generalisation_gap",
    "class_regression",
    "source_conflict",
    "gap_to_accepted",
]


class CurveLimits(Model):
    """Absolute limits of the curve checks; once enough accepted runs of the data set exist, those narrow them."""

    stop: Literal["all", "none"] | tuple[CurveCheck, ...] = Field(
        default=(
            "non_finite",
            "skipped_updates",
            "spike",
            "divergence",
            "no_learning",
            "gap_to_accepted",
        ),
        description="Checks that stop the run as soon as they fail; any failure keeps the model from promotion.",
    )
    max_spike: float = Field(default=3.0, gt=1, description="Training loss over the best epoch so far.")
    divergence_epochs: int = Field(
        default=3, ge=2, description="Epochs in a row in which the loss rises and is above the first."
    )
    max_relapse: float = Field(
        default=0.5,
        gt=0,
        description="Share of its gain on the trivial loss that the training loss may lose again, for two epochs.",
    )
    max_gradient_spike: float = Field(
        default=20.0,
        gt=1,
        description="Largest gradient norm of an update over the largest epoch's mean so far.",
    )
    max_plateau: float = Field(
        default=0.97,
        gt=0,
        le=1,
        description="Training loss at which a run may stand still, as a share of the trivial predictor's.",
    )
    early_epochs: int = Field(default=3, ge=1, description="Epochs in which min_early_loss holds.")
    min_early_loss: float = Field(
        default=0.01,
        ge=0,
        lt=1,
        description="Loss that no run honestly comes down to so early, as a share of the trivial predictor's.",
    )
    max_generalisation_gap: float = Field(
        default=1.0,
        gt=0,
        description="Final validation loss above the training loss, in units of the trivial predictor's loss.",
    )
    max_class_regression: float = Field(
        default=1.5,
        gt=0,
        description="Validation loss of a class above its best, in units of what its share alone would cost.",
    )
    max_source_excess: float = Field(
        default=0.5,
        gt=0,
        description="Loss of a source that pulls against the others above theirs, in units of the trivial loss.",
    )
    max_gap_to_accepted: float = Field(
        default=0.5, gt=0, description="Final loss above accepted runs, relative; at the most."
    )
    min_accepted_runs: int = Field(
        default=5, ge=2, description="Accepted runs from which on a new one is compared with them."
    )

    def stops(self, check: str) -> bool:
        """Whether a failure of this check, named without `curve.`, stops the run at once."""
        return self.stop == "all" or (self.stop != "none" and check in self.stop)


class Training(Model):
    """One supervised run."""

    backend: Literal["auto", "flux", "reference"] = "auto"
    layers: tuple[Layer, ...] = Field(
        default=(DenseLayer(dense=64), DenseLayer(dense=32)),
        max_length=256,
        description="Hidden layers; the output layer that the label needs is added.",
    )
    loss: LossName = Field(
        default="auto", description="auto: logit_cross_entropy for classes, mse for numbers."
    )
    huber_delta: float = Field(default=1.0, gt=0, description="huber: where squares turn into lines.")
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        default="none", description="balanced: each class counts alike; or a weight for each class by name."
    )
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    epochs: int = Field(default=30, gt=0, le=100_000)
    early_stopping: EarlyStopping | None = None
    batch_size: int = Field(default=128, gt=0)
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    device: Literal["auto", "cpu", "gpu"] = "auto"
    seed: int = 0
    privacy: Privacy | None = None
    aggregation: Aggregation = Field(
        default="mean", description="How the gradients of the sources become one; mean: all rows alike."
    )
    byzantine_sources: int = Field(
        default=1, gt=0, description="How many sources a robust aggregation must be able to stand."
    )
    checkpoint_every: int = Field(default=5, gt=0, description="Epochs between two checkpoints.")
    timeout: Duration = Field(default=dt.timedelta(hours=2), description="Wall time of one run.")
    heartbeat: Duration = Field(
        default=dt.timedelta(minutes=10), description="Longest silence of the worker."
    )
    max_memory_bytes: int | None = Field(default=None, gt=0)
    curve: CurveLimits = CurveLimits()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        layers = list(all_layers(self.layers))
        first = self.layers[0] if self.layers else None
        if any(isinstance(layer, EmbeddingLayer) for layer in layers if layer is not first):
            raise Complaint(
                "an embedding takes the table's columns, so it can only stand first",
                fix="make it the first layer, and the only embedding",
                at=("layers",),
            )
        normed = any(isinstance(layer, BatchNormLayer) for layer in layers)
        if self.privacy is not None:
            if normed:
                raise Complaint(
                    "batch_norm mixes the rows of a batch, so that no row's influence can be bounded",
                    fix="use layer_norm",
                    at=("layers",),
                )
            if self.aggregation != "mean":
                raise Complaint(
                    f"private training does not go with {self.aggregation}: the one bounds rows, the other sources",
                    fix="use mean, or set privacy to null",
                    at=("aggregation",),
                )
        if normed and self.batch_size == 1:
            raise Complaint(
                "batch_norm needs batches of two rows or more", fix="raise batch_size", at=("batch_size",)
            )
        if normed and self.aggregation != "mean":
            raise Complaint(
                f"batch_norm mixes the sources that {self.aggregation} keeps apart",
                fix="use layer_norm, or mean",
                at=("layers",),
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
