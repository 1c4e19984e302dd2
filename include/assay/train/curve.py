"""Is this run learning as it should? Checks on the curve, made as epochs arrive and again at the end.

All limits are relative to yardsticks that need no experience with the data set: the loss of the trivial predictor,
which answers the training split's mean whatever it is asked, that of the untrained network, and the run's own best loss
so far. Once enough accepted runs of the data set exist, the run is also held against those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
GAP_EPOCHS = 3
"""Epochs in a row that a run must be far behind the accepted ones before it is stopped for it."""


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
        self._trivial_train = yardsticks.trivial_train_loss
        self._trivial_validation = yardsticks.trivial_validation_loss
        self._validation_rows = yardsticks.validation_rows
        self._accepted = [curve for curve in accepted if curve]
        self._subject = subject
        self._points: list[CurvePoint] = []

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The epochs seen so far."""
        return tuple(self._points)

    def update(self, point: CurvePoint) -> list[Finding]:
        """Take one epoch; returns the checks that fail now, for which the run is to be stopped."""
        self._points.append(point)
        answers = [
            self._non_finite(),
            self._spike(),
            self._divergence(),
            self._no_learning(final=False),
            self._behind_accepted(),
        ]
        return [answer for answer in answers if answer.outcome is Outcome.FAILED]

    def findings(self, *, finished: bool = True) -> list[Finding]:
        """All checks over the whole curve, one finding each.

        Args:
            finished: Whether the run came to its end; if not, what can only be asked of a whole curve is not checked.
        """
        if not self._points:
            return [
                self._answer(name, Outcome.NOT_CHECKED, "the run ended before its first epoch")
                for name in (
                    "non_finite",
                    "spike",
                    "divergence",
                    "no_learning",
                    "generalisation_gap",
                    "gap_to_accepted",
                )
            ]
        return [
            self._non_finite(),
            self._spike(),
            self._divergence(),
            self._no_learning(final=finished),
            self._generalisation_gap() if finished else self._cut_short("generalisation_gap"),
            self._gap_to_accepted() if finished else self._cut_short("gap_to_accepted"),
        ]

    def _cut_short(self, check: str) -> Finding:
        live = self._behind_accepted() if check == "gap_to_accepted" else None
        if live is not None and live.outcome is Outcome.FAILED:
            return live
        return self._answer(check, Outcome.NOT_CHECKED, "the run did not come to its end")

    def _answer(self, check: str, outcome: Outcome, message: str, **evidence: Any) -> Finding:
        severity = Severity.HIGH if outcome is Outcome.FAILED else Severity.INFO
        return Finding(
            check=f"curve.{check}",
            outcome=outcome,
            severity=severity,
            scope=Scope.RUN,
            subject=self._subject,
            message=message,
            evidence={key: _plain(value) for key, value in evidence.items()},
        )

    def _losses(self) -> list[float]:
        return [math.inf if p.train_loss is None else p.train_loss for p in self._points]

    def _validation(self) -> list[float]:
        return [math.inf if p.validation_loss is None else p.validation_loss for p in self._points]

    def _non_finite(self) -> Finding:
        for point in self._points:
            lost = [
                name
                for name in ("train_loss", "validation_loss", "gradient_norm")
                if getattr(point, name) is None
                and not (name == "validation_loss" and not self._validation_rows)
            ]
            if lost or point.skipped_updates:
                return self._answer(
                    "non_finite",
                    Outcome.FAILED,
                    f"in epoch {point.epoch} the training stopped being finite",
                    epoch=point.epoch,
                    not_finite=lost,
                    skipped_updates=point.skipped_updates,
                )
        return self._answer(
            "non_finite", Outcome.PASSED, "all losses and gradients are finite", epochs=len(self._points)
        )

    def _spike(self) -> Finding:
        """Training loss against the best so far; before the first epoch that is where an untrained network stands."""
        losses = self._losses()
        trivial = self._trivial_train
        best = losses[0] if trivial is None else max(trivial, self._start(), 1e-12)
        floor = 0.0 if trivial is None else NOISE_FLOOR * trivial
        highest = 0.0
        for point, loss in zip(self._points, losses, strict=True):
            ratio = loss / max(best, floor, 1e-12)
            highest = max(highest, ratio)
            if ratio > self._limits.max_spike:
                return self._answer(
                    "spike",
                    Outcome.FAILED,
                    f"in epoch {point.epoch} the training loss is {ratio:.3g} times the best before it",
                    epoch=point.epoch,
                    train_loss=loss,
                    best_before=best,
                    ratio=ratio,
                    limit=self._limits.max_spike,
                )
            best = min(best, loss)
        return self._answer(
            "spike",
            Outcome.PASSED,
            "no spike in the training loss",
            highest_ratio=highest,
            limit=self._limits.max_spike,
        )

    def _start(self) -> float:
        """Loss of the untrained network, as far as it can be believed; with rare classes far above the trivial loss."""
        initial = self._yardsticks.initial_train_loss
        return min(math.inf if initial is None else initial, START_CEILING * self._yardsticks.uninformed_loss)

    def _divergence(self) -> Finding:
        losses = self._losses()
        need = self._limits.divergence_epochs
        rising = 0
        for i in range(1, len(losses)):
            rising = rising + 1 if losses[i] > losses[i - 1] and losses[i] > losses[0] else 0
            if rising >= need:
                return self._answer(
                    "divergence",
                    Outcome.FAILED,
                    f"the training loss rose {rising} epochs in a row and is above the first epoch's",
                    epoch=self._points[i].epoch,
                    train_loss=losses[i],
                    first=losses[0],
                    limit=need,
                )
        return self._answer("divergence", Outcome.PASSED, "the training loss does not run away", limit=need)

    def _no_learning(self, *, final: bool) -> Finding:
        name = "no_learning"
        if self._trivial_train is None:
            return self._answer(name, Outcome.NOT_CHECKED, "the trivial predictor's loss is not known")
        target = self._trivial_train * (1 - MIN_LEARNING)
        best = min(self._losses())
        evidence: dict[str, Any] = {"best_train_loss": best, "trivial_train_loss": self._trivial_train}
        epochs = len(self._points)
        if best >= target:
            if final or self._stands_still():
                return self._answer(
                    name,
                    Outcome.FAILED,
                    f"after {epochs} epochs the training loss is no better than always giving the same answer",
                    epoch=epochs,
                    **evidence,
                )
            return self._answer(name, Outcome.PASSED, "not yet, but the loss may still fall", **evidence)
        trivial = self._trivial_validation
        if final and trivial is not None and self._validation_rows >= MIN_VALIDATION_ROWS:
            best_validation = min(self._validation())
            evidence |= {"best_validation_loss": best_validation, "trivial_validation_loss": trivial}
            if best_validation >= trivial * (1 - MIN_LEARNING):
                return self._answer(
                    name,
                    Outcome.FAILED,
                    "on rows that it did not see the model is never better than always giving the same answer",
                    epoch=epochs,
                    **evidence,
                )
        return self._answer(name, Outcome.PASSED, "the model beats the trivial predictor", **evidence)

    def _stands_still(self) -> bool:
        """Whether the run had its time and its last epochs brought nothing: a slow start is no standstill."""
        losses = self._losses()
        window = max(
            PATIENCE_EPOCHS, math.ceil(PATIENCE_UPDATES / max(self._yardsticks.updates_per_epoch, 1))
        )
        if len(losses) < window:
            return False
        earlier = min(losses[:-window], default=self._start())
        return min(losses[-window:]) >= earlier * (1 - MIN_LEARNING)

    def _generalisation_gap(self) -> Finding:
        """Last validation loss above the training loss, in units of the trivial loss."""
        name = "generalisation_gap"
        trivial = self._trivial_validation
        if trivial is None or self._validation_rows < MIN_VALIDATION_ROWS:
            return self._answer(
                name,
                Outcome.PASSED if trivial is not None else Outcome.NOT_CHECKED,
                f"{self._validation_rows} validation rows are too few to fail a run by",
                validation_rows=self._validation_rows,
            )
        train, validation = self._losses()[-1], self._validation()[-1]
        gap = (validation - train) / max(trivial, 1e-12)
        limit = self._limits.max_generalisation_gap
        failed = not gap <= limit
        return self._answer(
            name,
            Outcome.FAILED if failed else Outcome.PASSED,
            f"validation loss is {gap:.3g} trivial losses above the training loss"
            + ("; the model learned its rows by heart" if failed else ""),
            gap=gap,
            limit=limit,
            train_loss=train,
            validation_loss=validation,
        )

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

    def _accepted_at(self, epoch: int) -> float:
        """Median over the accepted runs of their best validation loss up to an epoch."""
        return median(
            min(math.inf if p.validation_loss is None else p.validation_loss for p in curve[:epoch])
            for curve in self._accepted
        )

    def _behind(self, loss: float, usual: float) -> float:
        floor = NOISE_FLOOR * self._trivial_validation if self._trivial_validation else 0.0
        return (loss - usual) / max(usual, floor, 1e-12)

    def _behind_accepted(self) -> Finding:
        """Live: best validation loss so far, against the accepted runs' at the same epoch, several epochs long."""
        name = "gap_to_accepted"
        if few := self._too_few_accepted():
            return few
        limit = 2 * self._limits.max_gap_to_accepted
        losses = self._validation()
        gaps = [
            self._behind(min(losses[:epoch]), self._accepted_at(epoch))
            for epoch in range(max(1, len(losses) - GAP_EPOCHS + 1), len(losses) + 1)
        ]
        if len(gaps) == GAP_EPOCHS and all(gap > limit for gap in gaps):
            return self._answer(
                name,
                Outcome.FAILED,
                f"for {GAP_EPOCHS} epochs the validation loss is far above that of accepted runs at the same epoch",
                epoch=len(losses),
                gaps=gaps,
                limit=limit,
                accepted_runs=len(self._accepted),
            )
        return self._answer(
            name, Outcome.PASSED, "in step with the accepted runs so far", gaps=gaps, limit=limit
        )

    def _gap_to_accepted(self) -> Finding:
        """At the end: last validation loss against the median of the accepted runs' last ones."""
        if few := self._too_few_accepted():
            return few
        usual = median(
            math.inf if curve[-1].validation_loss is None else curve[-1].validation_loss
            for curve in self._accepted
        )
        loss = self._validation()[-1]
        gap = self._behind(loss, usual)
        limit = self._limits.max_gap_to_accepted
        failed = not gap <= limit
        return self._answer(
            "gap_to_accepted",
            Outcome.FAILED if failed else Outcome.PASSED,
            f"the last validation loss is {gap:+.1%} from the median of {len(self._accepted)} accepted runs",
            gap=gap,
            limit=limit,
            validation_loss=loss,
            accepted_median=usual,
            accepted_runs=len(self._accepted),
        )


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
