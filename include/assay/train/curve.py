"""Is this run learning as it should? Checks on the curve, made as epochs arrive and again at the end.

All limits are relative to yardsticks that need no experience with the data set: the loss of the trivial predictor,
which answers the training split's mean whatever it is asked, that of the untrained network, and the run's own best loss
so far. Once enough accepted runs of the data set exist, the run is also held against those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from assay.contract.training import CurveLimits
from assay.findings import Finding, Outcome, Scope, Severity, worst
from assay.train.errors import RequestError
from assay.train.events import Epoch
from assay.train.spec import Number, Yardsticks

NOISE_FLOOR = 0.05
"""Losses below this share of the trivial loss count as this much: twice nearly nothing is still nearly nothing."""
MIN_LEARNING = 0.01
"""By how much the trivial loss must be beaten, as a share of it."""
PATIENCE_EPOCHS = 5
PATIENCE_UPDATES = 200
"""How long a run that does not beat the trivial loss may stand still before it is stopped."""
START_CEILING = 3.0
"""An untrained network on standardised inputs starts within this many times the loss of guessing blindly."""
MIN_VALIDATION_ROWS = 30
"""On fewer rows the validation loss is too much chance to fail a run by."""
CHECKS = ("non_finite", "spike", "divergence", "no_learning", "generalisation_gap", "gap_to_accepted")
"""Each has a finding named `curve.<check>`."""
GAP_EPOCHS = 3
"""Epochs in a row that a run must be far behind the accepted ones before it is stopped for it."""

_TINY = 1e-12
_CUT_SHORT = "the run did not come to its end"


class CurvePoint(BaseModel):
    """One epoch as the bundle keeps it: no timings, so that the same request gives the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: Number
    validation_loss: Number
    accuracy: Number = None
    r2: Number = None
    gradient_norm: Number
    learning_rate: float
    skipped_updates: int

    @classmethod
    def of(cls, event: Epoch) -> CurvePoint:
        """The lasting part of an epoch's event."""
        return cls(**event.model_dump(include=set(cls.model_fields)))


Curve = Sequence[CurvePoint]

_SCHEMA = pa.schema(
    [
        pa.field("epoch", pa.int64(), nullable=False),
        *(
            pa.field(name, pa.float64())
            for name in ("train_loss", "validation_loss", "accuracy", "r2", "gradient_norm")
        ),
        pa.field("learning_rate", pa.float64(), nullable=False),
        pa.field("skipped_updates", pa.int64(), nullable=False),
    ]
)


def write_curve(path: Path, curve: Curve) -> None:
    """Write `curve.parquet`; null stands for a number that was not finite."""
    table = pa.Table.from_pylist([point.model_dump() for point in curve], schema=_SCHEMA)
    pq.write_table(table, path, compression="zstd")


def read_curve(path: Path) -> list[CurvePoint]:
    """Read `curve.parquet`.

    Raises:
        RequestError: The file is missing or is not such a curve.
    """
    try:
        table = pq.read_table(path)
        if not table.schema.equals(_SCHEMA):
            raise RequestError(
                f"{path} is not a training curve", expected=_SCHEMA.names, found=table.schema.names
            )
        return [CurvePoint(**row) for row in table.to_pylist()]
    except (OSError, pa.ArrowException) as error:
        raise RequestError(f"the curve {path} cannot be read: {str(error).splitlines()[0]}") from error


class CurveWatch:
    """The checks of one run.

    Args:
        limits: The contract's limits.
        yardsticks: What the run's losses are held against.
        accepted: Curves of earlier runs of this data set that were accepted.
        subject: The run's id, for the findings.
    """

    def __init__(
        self,
        limits: CurveLimits,
        yardsticks: Yardsticks,
        *,
        accepted: Sequence[Curve] = (),
        subject: str = "",
    ) -> None:
        self._limits = limits
        self._yardsticks = yardsticks
        self._accepted = [_best_so_far(curve) for curve in accepted if curve]
        self._accepted_last = [_or_infinite(curve[-1].validation_loss) for curve in accepted if curve]
        self._subject = subject
        self._points: list[CurvePoint] = []
        self._losses: list[float] = []
        self._best: list[float] = []  # training loss, best up to each epoch
        self._best_validation: list[float] = []
        self._highest_ratio = 0.0
        self._rising = 0
        self._failed: dict[str, Finding] = {}

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The epochs seen so far."""
        return tuple(self._points)

    def update(self, point: CurvePoint) -> list[Finding]:
        """Take one epoch, in constant time; returns the checks that fail with it: each is a reason to stop the run."""
        before = len(self._failed)
        best = self._best[-1] if self._best else math.inf
        self._points.append(point)
        self._losses.append(_or_infinite(point.train_loss))
        self._best.append(min(best, self._losses[-1]))
        validation = _or_infinite(point.validation_loss)
        self._best_validation.append(min([*self._best_validation[-1:], validation]))
        for check in (
            self._look_for_loss_of_finiteness,
            self._look_for_spike,
            self._look_for_divergence,
            self._look_for_standstill,
            self._look_for_falling_behind,
        ):
            if (finding := check(point)) is not None:
                self._failed.setdefault(finding.check, finding)
        return list(self._failed.values())[before:]

    def findings(self, *, finished: bool = True) -> list[Finding]:
        """All checks over the whole curve, one finding each.

        Args:
            finished: Whether the run came to its end; if not, what can only be asked of a whole curve is not checked.
        """
        if not self._points:
            return [
                self._answer(name, Outcome.NOT_CHECKED, "the run ended before its first epoch")
                for name in CHECKS
            ]
        answers = {
            "non_finite": lambda: self._passed(
                "non_finite", "all losses and gradients are finite", epochs=len(self._points)
            ),
            "spike": lambda: self._passed(
                "spike",
                "no spike in the training loss",
                highest_ratio=self._highest_ratio,
                limit=self._limits.max_spike,
            ),
            "divergence": lambda: self._passed(
                "divergence", "the training loss does not run away", limit=self._limits.divergence_epochs
            ),
            "no_learning": lambda: self._learning(finished),
            "generalisation_gap": lambda: self._generalisation_gap(finished),
            "gap_to_accepted": lambda: self._gap_to_accepted(finished),
        }
        return [self._failed.get(f"curve.{name}") or answers[name]() for name in CHECKS]

    def _answer(self, check: str, outcome: Outcome, message: str, **evidence: Any) -> Finding:
        return Finding(
            check=f"curve.{check}",
            outcome=outcome,
            severity=Severity.HIGH if outcome is Outcome.FAILED else Severity.INFO,
            scope=Scope.RUN,
            subject=self._subject,
            message=message,
            evidence={key: _plain(value) for key, value in evidence.items()},
        )

    def _passed(self, check: str, message: str, **evidence: Any) -> Finding:
        return self._answer(check, Outcome.PASSED, message, **evidence)

    def _fails(self, check: str, message: str, **evidence: Any) -> Finding:
        return self._answer(check, Outcome.FAILED, message, epoch=len(self._points), **evidence)

    def _look_for_loss_of_finiteness(self, point: CurvePoint) -> Finding | None:
        asked = [
            "train_loss",
            "gradient_norm",
            *(["validation_loss"] if self._yardsticks.validation_rows else []),
        ]
        lost = [name for name in asked if getattr(point, name) is None]
        if not lost and not point.skipped_updates:
            return None
        return self._fails(
            "non_finite",
            f"in epoch {point.epoch} the training stopped being finite",
            not_finite=lost,
            skipped_updates=point.skipped_updates,
        )

    def _look_for_spike(self, point: CurvePoint) -> Finding | None:
        """Training loss against the best so far; before the first epoch that is where an untrained network stands."""
        trivial = self._yardsticks.trivial_train_loss
        first = self._losses[0] if trivial is None else max(trivial, self._start())
        best = min(first, self._best[-2]) if len(self._best) > 1 else first
        floor = 0.0 if trivial is None else NOISE_FLOOR * trivial
        loss = self._losses[-1]
        ratio = loss / max(best, floor, _TINY)
        self._highest_ratio = max(self._highest_ratio, ratio)
        if ratio <= self._limits.max_spike:
            return None
        return self._fails(
            "spike",
            f"in epoch {point.epoch} the training loss is {ratio:.3g} times the best before it",
            train_loss=loss,
            best_before=best,
            ratio=ratio,
            limit=self._limits.max_spike,
        )

    def _start(self) -> float:
        """Loss of the untrained network, as far as it can be believed; with rare classes far above the trivial loss."""
        initial = self._yardsticks.initial_train_loss
        return min(_or_infinite(initial), START_CEILING * self._yardsticks.uninformed_loss)

    def _look_for_divergence(self, point: CurvePoint) -> Finding | None:
        losses = self._losses
        rises = len(losses) > 1 and losses[-1] > losses[-2] and losses[-1] > losses[0]
        self._rising = self._rising + 1 if rises else 0
        if self._rising < self._limits.divergence_epochs:
            return None
        return self._fails(
            "divergence",
            f"the training loss rose {self._rising} epochs in a row and is above the first epoch's",
            train_loss=losses[-1],
            first=losses[0],
            limit=self._limits.divergence_epochs,
        )

    def _look_for_standstill(self, point: CurvePoint) -> Finding | None:
        """Above the trivial loss, had its time, and the last epochs brought nothing: a slow start is no standstill."""
        trivial = self._yardsticks.trivial_train_loss
        if trivial is None or self._best[-1] < trivial * (1 - MIN_LEARNING):
            return None
        per_epoch = max(self._yardsticks.updates_per_epoch, 1)
        window = max(PATIENCE_EPOCHS, math.ceil(PATIENCE_UPDATES / per_epoch))
        if len(self._losses) < window:
            return None
        earlier = self._best[-window - 1] if len(self._losses) > window else self._start()
        if min(self._losses[-window:]) < earlier * (1 - MIN_LEARNING):
            return None
        return self._learned_nothing()

    def _learned_nothing(self) -> Finding:
        return self._fails(
            "no_learning",
            f"after {len(self._points)} epochs the training loss is no better than always giving the same answer",
            best_train_loss=self._best[-1],
            trivial_train_loss=self._yardsticks.trivial_train_loss,
        )

    def _learning(self, finished: bool) -> Finding:
        """At the end a model must beat the trivial predictor, on rows that it did not see as well."""
        name = "no_learning"
        trivial, on_validation = self._yardsticks.trivial_train_loss, self._yardsticks.trivial_validation_loss
        if trivial is None:
            return self._answer(name, Outcome.NOT_CHECKED, "the trivial predictor's loss is not known")
        if self._best[-1] >= trivial * (1 - MIN_LEARNING):
            if finished:
                return self._learned_nothing()
            return self._answer(
                name, Outcome.NOT_CHECKED, "the run did not come to its end; it might still have learned"
            )
        evidence: dict[str, Any] = {"best_train_loss": self._best[-1], "trivial_train_loss": trivial}
        if finished and on_validation is not None and self._yardsticks.validation_rows >= MIN_VALIDATION_ROWS:
            best = self._best_validation[-1]
            evidence |= {"best_validation_loss": best, "trivial_validation_loss": on_validation}
            if best >= on_validation * (1 - MIN_LEARNING):
                return self._fails(
                    name,
                    "on rows that it did not see the model is never better than always giving the same answer",
                    **evidence,
                )
        return self._passed(name, "the model beats the trivial predictor", **evidence)

    def _generalisation_gap(self, finished: bool) -> Finding:
        """Last validation loss above the training loss, in units of the trivial loss."""
        name = "generalisation_gap"
        trivial, rows = self._yardsticks.trivial_validation_loss, self._yardsticks.validation_rows
        if not finished:
            return self._answer(name, Outcome.NOT_CHECKED, _CUT_SHORT)
        if trivial is None or rows < MIN_VALIDATION_ROWS:
            return self._answer(
                name,
                Outcome.NOT_CHECKED,
                f"{rows} validation rows are too few to tell, {MIN_VALIDATION_ROWS} are needed; "
                "raise training.validation_fraction or train on more rows",
                validation_rows=rows,
            )
        train, validation = self._losses[-1], _or_infinite(self._points[-1].validation_loss)
        gap, limit = (validation - train) / max(trivial, _TINY), self._limits.max_generalisation_gap
        evidence = {"gap": gap, "limit": limit, "train_loss": train, "validation_loss": validation}
        message = f"validation loss is {gap:.3g} trivial losses above the training loss"
        if gap <= limit:
            return self._passed(name, message, **evidence)
        return self._fails(name, f"{message}; the model learned its rows by heart", **evidence)

    def _too_few_accepted(self) -> Finding | None:
        need = self._limits.min_accepted_runs
        if len(self._accepted) >= need:
            return None
        return self._answer(
            "gap_to_accepted",
            Outcome.NOT_CHECKED,
            f"{len(self._accepted)} accepted runs of this data set exist, {need} are needed; "
            "until then the absolute limits stand in",
            accepted_runs=len(self._accepted),
            min_accepted_runs=need,
            required=False,
        )

    def _behind(self, loss: float, usual: float) -> float:
        floor = NOISE_FLOOR * (self._yardsticks.trivial_validation_loss or 0.0)
        return (loss - usual) / max(usual, floor, _TINY)

    def _look_for_falling_behind(self, point: CurvePoint) -> Finding | None:
        """Best validation loss so far against the accepted runs' at the same epoch, several epochs long."""
        epochs = len(self._points)
        if self._too_few_accepted() is not None or epochs < GAP_EPOCHS:
            return None
        limit = 2 * self._limits.max_gap_to_accepted
        gaps = [
            self._behind(
                self._best_validation[epoch - 1],
                median(best[min(epoch, len(best)) - 1] for best in self._accepted),
            )
            for epoch in range(epochs - GAP_EPOCHS + 1, epochs + 1)
        ]
        if not all(gap > limit for gap in gaps):
            return None
        return self._fails(
            "gap_to_accepted",
            f"for {GAP_EPOCHS} epochs the validation loss is far above that of accepted runs at the same epoch",
            gaps=gaps,
            limit=limit,
            accepted_runs=len(self._accepted),
        )

    def _gap_to_accepted(self, finished: bool) -> Finding:
        """At the end: last validation loss against the median of the accepted runs' last ones."""
        name = "gap_to_accepted"
        if (few := self._too_few_accepted()) is not None:
            return few
        if not finished:
            return self._answer(name, Outcome.NOT_CHECKED, _CUT_SHORT)
        usual, loss = median(self._accepted_last), _or_infinite(self._points[-1].validation_loss)
        gap, limit = self._behind(loss, usual), self._limits.max_gap_to_accepted
        evidence = {
            "gap": gap,
            "limit": limit,
            "validation_loss": loss,
            "accepted_median": usual,
            "accepted_runs": len(self._accepted),
        }
        message = (
            f"the last validation loss is {gap:+.1%} from the median of {len(self._accepted)} accepted runs"
        )
        return (
            self._passed(name, message, **evidence)
            if gap <= limit
            else self._fails(name, message, **evidence)
        )


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else value


def _best_so_far(curve: Curve) -> list[float]:
    """Best validation loss up to each epoch."""
    return list(accumulate((_or_infinite(point.validation_loss) for point in curve), min))


def curve_outcome(findings: Sequence[Finding]) -> Outcome:
    """One outcome for the curve.

    A check that says of itself that it is not required (`gap_to_accepted` before there are runs to compare with, where
    the absolute limits stand in) does not hold the outcome back; every other `not_checked` does.
    """
    return worst(
        finding.outcome
        for finding in findings
        if not (finding.outcome is Outcome.NOT_CHECKED and finding.evidence.get("required") is False)
    )


def _plain(value: Any) -> Any:
    """Evidence is JSON: numbers that are not finite become text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
