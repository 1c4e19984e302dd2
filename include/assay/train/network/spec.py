"""What a network looks like, as JSON: read by both backends, by the bundle's loader and by people."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from assay.contract.optimization import Aggregation, EarlyStopping, Optimizer, Privacy, Schedule
from assay.train.network.layers import DType, LayerSpec

BUNDLE_FORMAT: Final = "assay-bundle/1"

Task = Literal["classification", "regression"]
LossName = Literal["logit_cross_entropy", "binary_logit_cross_entropy", "mse", "huber"]
BackendName = Literal["flux", "reference"]
Class = str | int | bool

_MAX_TEXT = 256
_MARKUP = ("<", ">", "`", "](")


def _finite(value: object) -> object:
    """JSON has no NaN or infinity: what is not finite travels as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_plain(text: str) -> bool:
    """Whether a text can be shown anywhere: one line, not long, nothing that HTML or Markdown would take as its own."""
    return len(text) <= _MAX_TEXT and text.isprintable() and not any(mark in text for mark in _MARKUP)


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A number that may have stopped being one: null means that it was not finite."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class LossSpec(_Model):
    """What is made small: the mean over rows of the loss of a row times the weight of its class.

    Attributes:
        name: Cross-entropy over logits (rows, classes) or over one logit (rows, 1) of the second class; squared error
            or Huber's loss (half squares up to `huber_delta`, lines beyond) over standardised numbers (rows, 1).
        huber_delta: Of Huber's loss only.
        class_weights: One per class, or `None` for all alike.
    """

    name: LossName
    huber_delta: float = Field(default=1.0, gt=0)
    class_weights: tuple[float, ...] | None = None

    @property
    def of_classes(self) -> bool:
        """Whether its labels are class numbers."""
        return self.name in {"logit_cross_entropy", "binary_logit_cross_entropy"}


class AggregationSpec(_Model):
    """How the sources' gradients become one; `byzantine` is how many of them may be hostile."""

    name: Aggregation = "mean"
    byzantine: int = Field(default=1, ge=0)


class PrivacyReport(_Model):
    """What differential privacy the finished run has; `epsilon` is of the accountant that the contract named.

    Attributes:
        settings: The contract's.
        sampling_rate: Probability of a row to be in a batch.
        steps: Updates made.
        epsilon_rdp: By Rényi differential privacy, an upper bound.
        epsilon_pld: By privacy loss distributions, a tighter upper bound.
        neighbours: Which data sets the guarantee compares.
    """

    settings: Privacy
    sampling_rate: float
    steps: int
    epsilon_rdp: Number
    epsilon_pld: Number
    neighbours: Literal["add_or_remove_one_row"] = "add_or_remove_one_row"


class WeightSpec(_Model):
    """One array of `weights.safetensors`."""

    name: str
    shape: tuple[int, ...]
    dtype: DType
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class RowCounts(_Model):
    """How many rows the run learned from and how many it only measured itself on."""

    train: int
    validation: int


class Yardsticks(_Model):
    """What a run's losses are held against.

    Attributes:
        trivial_train_loss: Of always answering the training split's class shares or mean, on that split.
        trivial_validation_loss: The same answers on the validation split.
        initial_train_loss: Of the untrained network, on a part of the training split.
        uninformed_loss: Of guessing blindly: the logarithm of the number of classes, or 1 for standardised numbers.
        validation_rows: Rows in the validation split.
        updates_per_epoch: Batches per epoch.
        class_rows: Rows of each class in the training split; empty for a regression, or where they were not counted.
        class_validation_rows: Likewise in the validation split.
    """

    trivial_train_loss: Number
    trivial_validation_loss: Number
    initial_train_loss: Number
    uninformed_loss: float = Field(gt=0)
    validation_rows: int
    updates_per_epoch: int
    class_rows: tuple[int, ...] = ()
    class_validation_rows: tuple[int, ...] = ()


class BundleSpec(_Model):
    """`spec.json` of a bundle: all that is needed to rebuild the network and to prepare its input.

    The same request gives the same spec, byte for byte: there is no clock in it.
    """

    format: Literal["assay-bundle/1"] = BUNDLE_FORMAT
    run_id: str
    dataset: str
    snapshot_id: str
    contract_sha256: str
    data_sha256: str
    task: Task
    label: str
    classes: tuple[Class, ...] | None
    source_names: tuple[str, ...] = ()
    layers: tuple[LayerSpec, ...] = Field(min_length=1)
    dtype: DType
    loss: LossSpec
    optimizer: Optimizer
    schedule: Schedule
    early_stopping: EarlyStopping | None = None
    aggregation: AggregationSpec = AggregationSpec()
    privacy: PrivacyReport | None = None
    seed: int
    epochs: int = Field(gt=0, description="Epochs that were run: the points of the curve.")
    best_epoch: int = Field(gt=0, description="The epoch whose weights these are.")
    stopped_because: str | None = Field(default=None, description="Why before the last epoch asked for.")
    batch_size: int
    backend: BackendName
    backend_reason: str
    device: Literal["cpu", "gpu"]
    device_name: str | None
    versions: dict[str, str]
    preprocessing: dict[str, Any]
    features: tuple[str, ...]
    rows: RowCounts
    yardsticks: Yardsticks
    metrics: dict[str, float | None]
    parameter_count: int
    weights: tuple[WeightSpec, ...]
