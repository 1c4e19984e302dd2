"""How a network learns: loss, optimiser, schedule, when to stop, privacy, and how sources are weighed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from assay.contract.base import Complaint, Model

Aggregation = Literal["mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]
"""How the gradients of the sources become one."""

_BELONGS = {
    "adam": {"beta1", "beta2", "epsilon"},
    "adamw": {"beta1", "beta2", "epsilon"},
    "sgd": {"momentum", "nesterov"},
    "rmsprop": {"rho", "epsilon"},
}


class Optimizer(Model):
    """The rule that turns gradients into updates.

    `weight_decay` pulls every trainable number towards zero: with adamw apart from the gradient (Loshchilov and Hutter
    2019), with the others as a part of it.
    """

    name: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: float = Field(default=0.001, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    rho: float = Field(default=0.9, ge=0, lt=1)

    @model_validator(mode="after")
    def _belongs(self) -> Self:
        own = {"name", "learning_rate", "weight_decay", *_BELONGS[self.name]}
        if strange := sorted(
            name
            for name in self.model_fields_set - own
            if getattr(self, name) != type(self).model_fields[name].default
        ):
            raise Complaint(
                f"{self.name} has no {strange[0]}",
                fix=f"take it out; {self.name} knows {', '.join(sorted(own - {'name'}))}",
                at=(strange[0],),
            )
        if self.nesterov and not self.momentum:
            raise Complaint(
                "nesterov without momentum changes nothing", fix="set momentum, e.g. to 0.9", at=("nesterov",)
            )
        return self


class Schedule(Model):
    """How the learning rate changes, update by update.

    Warm-up comes first and climbs in a line to the full rate; the schedule then runs over what is left of the epochs.
    """

    name: Literal["constant", "cosine", "step"] = "constant"
    warmup_epochs: float = Field(default=0.0, ge=0)
    min_factor: float = Field(
        default=0.0, ge=0, lt=1, description="cosine: what the rate falls to, as a share."
    )
    every: int = Field(default=10, gt=0, description="step: epochs between two steps.")
    factor: float = Field(default=0.1, gt=0, lt=1, description="step: what each step multiplies the rate by.")


class EarlyStopping(Model):
    """End the run when the validation loss has not improved for some epochs, and keep the best epoch's weights."""

    patience: int = Field(default=5, gt=0)
    min_delta: float = Field(
        default=0.0, ge=0, description="By how much a loss must be lower to be an improvement."
    )


class Privacy(Model):
    """Differentially private training: DP-SGD (Abadi and others 2016) with Poisson sampling."""

    noise_multiplier: float = Field(gt=0, description="Noise deviation over max_grad_norm.")
    max_grad_norm: float = Field(gt=0, description="What the gradient of one row is clipped to.")
    delta: float = Field(gt=0, lt=1)
    max_epsilon: float | None = Field(default=None, gt=0, description="Budget: no update is made beyond it.")
    accountant: Literal["rdp", "pld"] = Field(
        default="pld", description="Whose epsilon counts against max_epsilon."
    )
    seeded_noise: bool = Field(
        default=False,
        description="Draw sampling and noise from the seed: repeatable, and no privacy against those who know it.",
    )
