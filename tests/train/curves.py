"""Made curves for the tests of the curve checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from assay.contract.training import CurveLimits
from assay.findings import Finding
from assay.train import CurvePoint
from assay.train.curve import CurveWatch
from assay.train.network.spec import Yardsticks
from assay.train.records.events import ClassStats, SourceStats


def point(
    epoch: int, train: float | None, validation: float | None = None, skipped: int = 0, **more: Any
) -> CurvePoint:
    """One epoch; the validation loss is the training loss unless given."""
    return CurvePoint(
        epoch=epoch,
        train_loss=train,
        validation_loss=train if validation is None else validation,
        accuracy=0.5,
        learning_rate=0.001,
        skipped_updates=skipped,
        **{"gradient_norm": 1.0, **more},
    )


def yardsticks(
    *, trivial: float | None = 0.69, initial: float = 0.75, rows: int = 100, updates: int = 50, **more: Any
) -> Yardsticks:
    """Of a run of two balanced classes."""
    return Yardsticks(
        trivial_train_loss=trivial,
        trivial_validation_loss=trivial,
        initial_train_loss=initial,
        uninformed_loss=math.log(2),
        validation_rows=rows,
        updates_per_epoch=updates,
        **more,
    )


def watch(*, accepted: Sequence[Any] = (), known: Yardsticks | None = None, **options: Any) -> CurveWatch:
    """A watch over such a run; options are the contract's limits or fields of the yardsticks."""
    limits = {name: options.pop(name) for name in list(options) if name in CurveLimits.model_fields}
    return CurveWatch(
        CurveLimits(**limits), known or yardsticks(**options), accepted=accepted, subject="run-1"
    )


def feed(
    watching: CurveWatch, losses: Iterable[float | None], validation: Sequence[float] | None = None
) -> tuple[int, str] | None:
    """Epoch and check that would have stopped the run."""
    for i, loss in enumerate(losses):
        failing = watching.update(point(i + 1, loss, None if validation is None else validation[i]))
        if failing:
            return i + 1, failing[0].check
    return None


def outcomes(watching: CurveWatch, **options: Any) -> dict[str, str]:
    """Check to outcome, at the end."""
    return {f.check.removeprefix("curve."): f.outcome.value for f in watching.findings(**options)}


def finding(watching: CurveWatch, check: str, **options: Any) -> Finding:
    """One check's answer at the end."""
    [found] = [f for f in watching.findings(**options) if f.check == f"curve.{check}"]
    return found


def curve(train: Sequence[float], validation: Sequence[float] | None = None, **more: Any) -> list[CurvePoint]:
    """A whole curve."""
    return [point(i + 1, loss, validation[i] if validation else None, **more) for i, loss in enumerate(train)]


def accepted_runs(count: int = 5, **more: Any) -> list[list[CurvePoint]]:
    """Runs that came down to 0.3, each a little different."""
    return [curve([loss + 0.004 * i for loss in [0.6, 0.5, 0.4, 0.35, 0.3]], **more) for i in range(count)]


def classes(**losses: float | None) -> tuple[ClassStats, ...]:
    """Classes with the same loss on both splits."""
    return tuple(
        ClassStats(name=name, train_loss=loss, validation_loss=loss) for name, loss in losses.items()
    )


def sources(
    losses: Sequence[float | None], cosines: Sequence[Sequence[float | None]], rows: int = 100
) -> tuple[SourceStats, ...]:
    """Sources a, b, c ... with gradients of length one."""
    return tuple(
        SourceStats(name=name, rows=rows, loss=loss, gradient_norm=1.0, cosines=tuple(row))
        for name, loss, row in zip("abcdef", losses, cosines, strict=False)
    )
