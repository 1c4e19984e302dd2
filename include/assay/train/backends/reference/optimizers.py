"""The update rules of Optimisers.jl 0.4, in its order of operations, on one flat array."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.contract.optimization import Optimizer
from assay.train.backends import Array

Slots = dict[str, Array]
"""What a rule remembers, by name, in the weights' dtype."""


class Rule:
    """One optimiser with its memory.

    Attributes:
        slots: All that it remembers from one update to the next.
    """

    def __init__(self, settings: Optimizer, weights: Array) -> None:
        """`weights` are the numbers that `update` changes in place."""
        self._settings = settings
        self._weights = weights
        self._one: Any = weights.dtype.type(1)
        names = {"adam": ("mean", "square"), "adamw": ("mean", "square"), "rmsprop": ("square",)}
        moving = ("velocity",) if settings.momentum else ()
        self.slots: Slots = {name: np.zeros_like(weights) for name in names.get(settings.name, moving)}
        if "mean" in self.slots:
            self.slots["powers"] = self._betas()

    def _betas(self) -> Array:
        return np.array([self._settings.beta1, self._settings.beta2], dtype=self._weights.dtype)

    def update(self, gradient: Array, learning_rate: float) -> None:
        """Move the weights against the gradient."""
        rate = self._weights.dtype.type(learning_rate)
        decay = self._weights.dtype.type(self._settings.weight_decay)
        name = self._settings.name
        if name == "adamw":
            self._weights -= rate * (self._adam(gradient) + decay * self._weights)
            return
        if decay:
            gradient = gradient + decay * self._weights
        if name == "adam":
            self._weights -= self._adam(gradient) * rate
        elif name == "rmsprop":
            self._weights -= self._rmsprop(gradient, rate)
        else:
            self._weights -= self._descent(gradient, rate)

    def _adam(self, gradient: Array) -> Array:
        """Adam's step of rate one (Kingma and Ba 2015); the powers of the betas run along with it."""
        mean, square, powers = self.slots["mean"], self.slots["square"], self.slots["powers"]
        beta1, beta2 = betas = self._betas()
        mean *= beta1
        mean += (self._one - beta1) * gradient
        square *= beta2
        square += (self._one - beta2) * (gradient * gradient)
        root = np.sqrt(square / (self._one - powers[1]))
        step = mean / (self._one - powers[0]) / (root + self._weights.dtype.type(self._settings.epsilon))
        powers *= betas
        return np.asarray(step)

    def _rmsprop(self, gradient: Array, rate: Any) -> Array:
        """RMSProp (Tieleman and Hinton 2012), not centred; epsilon is added to the root."""
        square, rho = self.slots["square"], self._weights.dtype.type(self._settings.rho)
        square *= rho
        square += (self._one - rho) * (gradient * gradient)
        epsilon = self._weights.dtype.type(self._settings.epsilon)
        return np.asarray(gradient * rate / (np.sqrt(square) + epsilon))

    def _descent(self, gradient: Array, rate: Any) -> Array:
        """Gradient descent, plain, with momentum, or with Nesterov's; the rate is a part of the velocity."""
        if not self._settings.momentum:
            return np.asarray(gradient * rate)
        velocity, rho = self.slots["velocity"], self._weights.dtype.type(self._settings.momentum)
        if not self._settings.nesterov:
            velocity *= rho
            velocity += rate * gradient
            return velocity
        step = -(rho * rho) * velocity + (self._one + rho) * rate * gradient
        velocity *= rho
        velocity -= rate * gradient
        return np.asarray(step)
