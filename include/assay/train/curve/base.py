"""What all curve checks share: the run so far, and how an answer is made."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from assay.contract.training import CurveLimits
from assay.findings import Finding, Outcome, Scope, Severity
from assay.train.curve.bands import AcceptedRuns, or_infinite, unit
from assay.train.network.spec import Yardsticks
from assay.train.records.curvefile import CurvePoint

MIN_VALIDATION_ROWS = 30
"""On fewer rows the validation loss is too much chance to fail a run by."""
MIN_PART_ROWS = 30
"""Likewise for the losses of one class or one source."""
PATIENCE_EPOCHS = 5
PATIENCE_UPDATES = 200
"""How long a loss may stand still before that means something; the longer of the two."""
START_CEILING = 3.0
"""An untrained network on standardised inputs starts within this many times the loss of guessing blindly."""
NOISE = 2.5
"""Divided by the root of a number of rows: how far, in trivial losses, their mean loss may lie from where it should.

The losses of single rows scatter by about a trivial loss, a few of them by much more; this is for a mean that one
healthy run in a hundred leaves.
"""
CUT_SHORT = "the run did not come to its end"
TINY = 1e-12


class Watched:
    """One run as its checks see it; an epoch is added in constant time.

    Attributes:
        limits: The contract's.
        yardsticks: What the losses are held against.
        accepted: What accepted runs did.
        subject: The run's id.
        points: The epochs so far.
        train: Training losses; infinite where one was not finite.
        validation: Likewise validation losses.
        best_train: Lowest training loss up to each epoch.
        best_validation: Likewise validation losses.
        trivial_train: The trivial predictor's loss on the training split, or a blind guess's where it is not known.
        trivial_validation: Likewise on the validation split.
    """

    def __init__(
        self, limits: CurveLimits, yardsticks: Yardsticks, accepted: AcceptedRuns, subject: str
    ) -> None:
        self.limits = limits
        self.yardsticks = yardsticks
        self.accepted = accepted
        self.subject = subject
        self.points: list[CurvePoint] = []
        self.train: list[float] = []
        self.validation: list[float] = []
        self.best_train: list[float] = []
        self.best_validation: list[float] = []
        self.trivial_train = unit(yardsticks.trivial_train_loss, yardsticks)
        self.trivial_validation = unit(yardsticks.trivial_validation_loss, yardsticks)

    def add(self, point: CurvePoint) -> None:
        """Take one epoch."""
        self.points.append(point)
        self.train.append(or_infinite(point.train_loss))
        self.validation.append(or_infinite(point.validation_loss))
        self.best_train.append(min([*self.best_train[-1:], self.train[-1]]))
        self.best_validation.append(min([*self.best_validation[-1:], self.validation[-1]]))

    @property
    def point(self) -> CurvePoint:
        """The newest epoch."""
        return self.points[-1]

    @property
    def start(self) -> float:
        """Loss of the untrained network, as far as it can be believed; with rare classes far above the trivial loss."""
        initial = or_infinite(self.yardsticks.initial_train_loss)
        return min(initial, START_CEILING * self.yardsticks.uninformed_loss)

    @property
    def knows_trivial(self) -> bool:
        """Whether the trivial predictor's training loss is known."""
        return self.yardsticks.trivial_train_loss is not None

    @property
    def can_validate(self) -> bool:
        """Whether the validation loss says enough to fail a run by."""
        known = self.yardsticks.trivial_validation_loss is not None
        return known and self.yardsticks.validation_rows >= MIN_VALIDATION_ROWS

    @property
    def noise(self) -> float:
        """What chance alone may do to a loss on the validation rows, in trivial losses.

        Where one class is rare, most of the loss comes from its few rows: rows count by how much there is to tell.
        """
        known = self.yardsticks
        return chance(known.validation_rows * min(self.trivial_validation / known.uninformed_loss, 1.0))

    def stands_still(self, by: float) -> bool:
        """Whether the newest epochs did not lower the training loss by this share: a slow start is no standstill."""
        per_epoch = max(self.yardsticks.updates_per_epoch, 1)
        window = max(PATIENCE_EPOCHS, math.ceil(PATIENCE_UPDATES / per_epoch))
        if len(self.train) < window:
            return False
        earlier = self.best_train[-window - 1] if len(self.train) > window else self.start
        return min(self.train[-window:]) >= earlier * (1 - by)


def chance(rows: float) -> float:
    """What chance alone may do to the mean loss of so many rows, in trivial losses."""
    return NOISE / math.sqrt(max(rows, 1))


def log_norm(norm: float | None) -> float | None:
    """Gradient norms are compared by their ratios."""
    return None if norm is None else math.log(max(norm, TINY))


def power(log: float) -> float:
    """Back to a ratio."""
    return math.exp(min(log, 300.0))


class Check:
    """One question asked of a run's curve: after each epoch, and once more when the run is over.

    Args:
        run: The run so far; it grows while the check watches.
    """

    name: ClassVar[str]

    def __init__(self, run: Watched) -> None:
        self.run = run

    def look(self) -> Finding | None:
        """Take the newest epoch, in constant time; a failure that it shows."""
        return None

    def judge(self, *, finished: bool) -> Finding:
        """The answer over all epochs, at least one, where none of them failed.

        Args:
            finished: Whether the run came to its end.
        """
        raise NotImplementedError

    def answer(self, outcome: Outcome, message: str, **evidence: Any) -> Finding:
        """This check's finding."""
        return Finding(
            check=f"curve.{self.name}",
            outcome=outcome,
            severity=Severity.HIGH if outcome is Outcome.FAILED else Severity.INFO,
            scope=Scope.RUN,
            subject=self.run.subject,
            message=message,
            evidence={key: _plain(value) for key, value in evidence.items()},
        )

    def passed(self, message: str, **evidence: Any) -> Finding:
        """The answer of a healthy run."""
        return self.answer(Outcome.PASSED, message, **evidence)

    def fails(self, message: str, **evidence: Any) -> Finding:
        """A failure, with the epoch in which it showed."""
        return self.answer(Outcome.FAILED, message, epoch=len(self.run.points), **evidence)

    def not_checked(self, reason: str, **evidence: Any) -> Finding:
        """No answer, and why; `required=False` where nothing is missed for it."""
        return self.answer(Outcome.NOT_CHECKED, reason, **evidence)


def _plain(value: Any) -> Any:
    """Evidence is JSON: numbers that are not finite become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
