"""Does the training hold together? Finiteness, skipped updates, spikes, divergence, and the gradients' size."""

from __future__ import annotations

import math
from typing import Any

from assay.findings import Finding
from assay.train.curve.base import TINY, Check, Watched, log_norm, power
from assay.train.records.curvefile import Curve, CurvePoint

NOISE_FLOOR = 0.05
"""Losses below this share of the trivial loss count as this much: twice nearly nothing is still nearly nothing."""
LEARNED = 0.9
"""Only a loss that was below this share of the trivial loss can be lost again."""
RELAPSE_EPOCHS = 2
"""One epoch may be noise, as the private updates' is, unless it gives back everything."""
MIN_GRADIENT_REACH = math.log(3)
"""Gradients up to three times as large as in accepted runs mean nothing, however alike those were."""


class NonFinite(Check):
    """Losses and gradients must be finite, and every update made."""

    name = "non_finite"

    def look(self) -> Finding | None:
        """Validation too: the training loss is measured before the last update, which may be the one that broke it."""
        point, validated = self.run.point, self.run.yardsticks.validation_rows > 0
        asked = ["train_loss", "gradient_norm", *(["validation_loss"] if validated else [])]
        lost = [name for name in asked if getattr(point, name) is None]
        if not lost and not point.skipped_updates:
            return None
        return self.fails(
            f"in epoch {point.epoch} the training stopped being finite",
            not_finite=lost,
            skipped_updates=point.skipped_updates,
        )

    def judge(self, *, finished: bool) -> Finding:
        """Nothing was lost."""
        return self.passed("all losses and gradients are finite", epochs=len(self.run.points))


class SkippedUpdates(Check):
    """A trainer that silently passes over a batch is a silent pass."""

    name = "skipped_updates"

    def look(self) -> Finding | None:
        """One is too many."""
        point = self.run.point
        if not point.skipped_updates:
            return None
        return self.fails(
            f"in epoch {point.epoch}, {point.skipped_updates} updates were not made, because loss or gradient was "
            "not finite",
            skipped_updates=point.skipped_updates,
        )

    def judge(self, *, finished: bool) -> Finding:
        """None was skipped."""
        return self.passed("every update was made", epochs=len(self.run.points))


class Spike(Check):
    """Training loss against the best so far; before the first epoch that is where an untrained network stands."""

    name = "spike"

    def __init__(self, run: Watched) -> None:
        super().__init__(run)
        self._highest = 0.0

    def look(self) -> Finding | None:
        """The newest epoch over the best before it."""
        run, limit = self.run, self.run.limits.max_spike
        first = max(run.trivial_train, run.start) if run.knows_trivial else run.train[0]
        best = min([first, *run.best_train[-2:-1]])
        floor = NOISE_FLOOR * run.trivial_train if run.knows_trivial else 0.0
        ratio = run.train[-1] / max(best, floor, TINY)
        self._highest = max(self._highest, ratio)
        if ratio <= limit:
            return None
        return self.fails(
            f"in epoch {run.point.epoch} the training loss is {ratio:.3g} times the best before it",
            train_loss=run.train[-1],
            best_before=best,
            ratio=ratio,
            limit=limit,
        )

    def judge(self, *, finished: bool) -> Finding:
        """The highest ratio there was."""
        return self.passed(
            "no spike in the training loss", highest_ratio=self._highest, limit=self.run.limits.max_spike
        )


class Divergence(Check):
    """The training loss must not run away, nor lose again what it had gained on the trivial predictor."""

    name = "divergence"

    def __init__(self, run: Watched) -> None:
        super().__init__(run)
        self._rising = 0
        self._relapsed = 0
        self._highest = 0.0

    def look(self) -> Finding | None:
        """Epochs in a row that rise above the first; two that give back too much, or one that gives back everything."""
        run = self.run
        rises = len(run.train) > 1 and run.train[-1] > run.train[-2] and run.train[-1] > run.train[0]
        self._rising = self._rising + 1 if rises else 0
        if self._rising >= run.limits.divergence_epochs:
            return self.fails(
                f"the training loss rose {self._rising} epochs in a row and is above the first epoch's",
                train_loss=run.train[-1],
                first=run.train[0],
                limit=run.limits.divergence_epochs,
            )
        if not run.knows_trivial or len(run.train) < 2 or run.best_train[-2] >= LEARNED * run.trivial_train:
            return None
        best = run.best_train[-2]
        lost = (run.train[-1] - best) / (run.trivial_train - best)
        self._highest = max(self._highest, lost)
        self._relapsed = self._relapsed + 1 if lost > run.limits.max_relapse else 0
        if self._relapsed < RELAPSE_EPOCHS and lost <= max(run.limits.max_relapse, 1):
            return None
        return self.fails(
            f"in epoch {run.point.epoch} the training lost {lost:.0%} of what it had gained on the trivial predictor",
            train_loss=run.train[-1],
            best_before=best,
            trivial_train_loss=run.trivial_train,
            lost=lost,
            limit=run.limits.max_relapse,
        )

    def judge(self, *, finished: bool) -> Finding:
        """The worst relapse there was."""
        limits = self.run.limits
        return self.passed(
            "the training loss does not run away",
            limit=limits.divergence_epochs,
            highest_relapse=self._highest,
            max_relapse=limits.max_relapse,
        )


class GradientSpike(Check):
    """The largest gradient of an epoch against the largest mean of the epochs up to it, and against accepted runs."""

    name = "gradient_spike"

    def __init__(self, run: Watched) -> None:
        super().__init__(run)
        self._usual = 0.0
        self._highest = 0.0

    def look(self) -> Finding | None:
        """Against the epochs before; the first against its own mean."""
        run, limit = self.run, self.run.limits.max_gradient_spike
        mean, largest = run.point.gradient_norm, _largest(run.point)
        if mean is None or largest is None:
            return None
        usual = self._usual or mean
        ratio = largest / max(usual, TINY)
        self._usual = max(usual, mean)
        self._highest = max(self._highest, ratio)
        if ratio <= limit:
            return None
        return self.fails(
            f"in epoch {run.point.epoch} an update's gradient is {ratio:.3g} times the largest mean so far",
            largest=largest,
            usual=usual,
            ratio=ratio,
            limit=limit,
        )

    def judge(self, *, finished: bool) -> Finding:
        """At the end also the largest gradient of all against those of accepted runs."""
        evidence: dict[str, Any] = {
            "highest_ratio": self._highest,
            "limit": self.run.limits.max_gradient_spike,
        }
        usual = self.run.accepted.largest(_largest_log)
        own = _largest_log(self.run.points)
        if own is None or usual is None or not finished:
            return self.passed("no spike in the gradients", **evidence)
        reach = max(usual.reach, MIN_GRADIENT_REACH)
        evidence |= {"times_accepted": power(own - usual.middle), "times_limit": power(reach)}
        evidence |= {"accepted_runs": usual.runs}
        if own - usual.middle > reach:
            return self.fails(
                f"the largest gradient is {power(own - usual.middle):.3g} times that of accepted runs",
                **evidence,
            )
        return self.passed("no spike in the gradients", **evidence)


def _largest(point: CurvePoint) -> float | None:
    """Of one update, or where a trainer does not tell, the mean."""
    return point.gradient_norm if point.max_gradient_norm is None else point.max_gradient_norm


def _largest_log(curve: Curve) -> float | None:
    norms = [norm for point in curve if (norm := _largest(point)) is not None]
    return log_norm(max(norms)) if norms else None
