"""What a network looks like, as JSON: read by both backends, by the bundle's loader and by people."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from assay.contract.training import Activation, Optimizer

BUNDLE_FORMAT: Final = "assay-bundle/1"

DType = Literal["float32", "float64"]
Task = Literal["classification", "regression"]
Loss = Literal["logit_cross_entropy", "mse"]
BackendName = Literal["flux", "reference"]
Class = str | int | bool


def _finite(value: object) -> object:
    """JSON has no NaN or infinity: what is not finite travels as null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A number that may have stopped being one: null means that it was not finite."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class DenseSpec(_Model):
    """A fully connected layer: `activation(x @ weight.T + bias)` with weight (out, in) and bias (out)."""

    type: Literal["dense"] = "dense"
    in_: int = Field(alias="in", gt=0)
    out: int = Field(gt=0)
    activation: Activation = "identity"
    bias: bool = True
    dtype: DType = "float32"

    @property
    def parameter_count(self) -> int:
        """Trainable numbers of the layer."""
        return self.in_ * self.out + (self.out if self.bias else 0)


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
    """

    trivial_train_loss: Number
    trivial_validation_loss: Number
    initial_train_loss: Number
    uninformed_loss: float = Field(gt=0)
    validation_rows: int
    updates_per_epoch: int


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
    layers: tuple[DenseSpec, ...] = Field(min_length=1)
    loss: Loss
    optimizer: Optimizer
    seed: int
    epochs: int
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


def weight_name(layer: int, part: Literal["weight", "bias"]) -> str:
    """Name of one array in `weights.safetensors`: `layers.<i>.weight` (out, in) or `layers.<i>.bias` (out)."""
    return f"layers.{layer}.{part}"
