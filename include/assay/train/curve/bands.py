"""What accepted runs of the data set did, as bands that a new run should stay within."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median, quantiles
from typing import NamedTuple

from assay.train.network.spec import Yardsticks
from assay.train.records.curvefile import Curve, CurvePoint

SIMILAR_UPDATES = 1.5
"""Epochs of two runs can be compared one by one if their numbers of updates differ by no more than this factor; a run
may be late or early by as much."""

_TENTHS = 2.563
"""Standard deviations of a normal distribution between its tenth and its ninetieth hundredth."""


@dataclass(frozen=True)
class AcceptedRun:
    """An earlier run of the data set that was accepted.

    Attributes:
        curve: Its epochs.
        yardsticks: What it was held against; without them it is taken to be like the run's own.
    """

    curve: Curve
    yardsticks: Yardsticks | None = None


class Band(NamedTuple):
    """Where the accepted runs lie: their median, and how far from it a new one may be.

    Attributes:
        middle: The median.
        reach: Width to either side that about one healthy run in two hundred exceeds.
        runs: How many runs it is made of.
    """

    middle: float
    reach: float
    runs: int


def reach_factor(runs: int) -> float:
    """How many standard deviations, as told by the outer tenths, make a `Band.reach`.

    Median and quantiles of few runs are themselves uncertain, and losses have heavy tails; the factor follows a
    simulation of Student's t with four degrees of freedom (99.5 % of new values lie below 8.9 deviations for 5
    runs, 6.2 for 8, 5.1 for 15, 4.4 for 40).
    """
    return 4.0 + 15.0 / max(runs - 2, 1)


def band(values: Iterable[float | None], need: int) -> Band | None:
    """A band around these values; those that are not finite are left out.

    Args:
        values: One per accepted run.
        need: Values without which there is no band, at least 2.
    """
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < need:
        return None
    tenths = quantiles(known, n=10, method="inclusive")
    return Band(median(known), reach_factor(len(known)) * (tenths[-1] - tenths[0]) / _TENTHS, len(known))


class _Kept(NamedTuple):
    """One accepted run; `size` is its updates per epoch over those of the run at hand."""

    curve: Curve
    last: CurvePoint
    best_train: list[float]
    best_validation: list[float]
    trivial_train: float
    trivial_validation: float
    size: float


class AcceptedRuns:
    """The accepted runs of a data set, in units of their own trivial losses.

    Args:
        runs: Curves, or runs with their yardsticks; empty curves are left out.
        yardsticks: The new run's.
        need: Runs without which there is nothing to compare with.
    """

    def __init__(self, runs: Sequence[Curve | AcceptedRun], yardsticks: Yardsticks, need: int) -> None:
        self.need = need
        given = [run if isinstance(run, AcceptedRun) else AcceptedRun(run) for run in runs]
        self._kept = [_kept(run, yardsticks) for run in given if run.curve]

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def enough(self) -> bool:
        """Whether there are as many as the contract wants."""
        return len(self._kept) >= self.need

    def at_end(self, quantity: Callable[[CurvePoint], float | None], *, grows: bool = False) -> Band | None:
        """The band of something that the last epochs have, or `None` where too few runs have it.

        Args:
            quantity: From the last epoch.
            grows: Whether it changes with the number of rows, so that runs on far fewer are left out.
        """
        return band((quantity(run.last) for run in (self._current() if grows else self._kept)), self.need)

    def largest(self, quantity: Callable[[Curve], float | None]) -> Band | None:
        """The band of something that a whole curve has; runs on far fewer rows are left out."""
        return band((quantity(run.curve) for run in self._current()), self.need)

    def last_train(self) -> Band | None:
        """Last training losses in trivial losses; without runs on far fewer rows, which are learned by heart sooner."""
        return band((_share(run.last.train_loss, run.trivial_train) for run in self._current()), self.need)

    def last_validation(self) -> Band | None:
        """Last validation losses in trivial losses."""
        return band(
            (_share(run.last.validation_loss, run.trivial_validation) for run in self._kept), self.need
        )

    def last_gap(self) -> Band | None:
        """Last validation loss above the training loss, in trivial losses."""
        return band((_gap(run) for run in self._kept), self.need)

    def best_train(self, epoch: float) -> Band | None:
        """Best training losses up to an epoch (counted from 1) in trivial losses; of runs with similar epochs."""
        return band((_at(run.best_train, epoch, run.trivial_train) for run in self._similar()), self.need)

    def best_validation(self, epoch: float) -> Band | None:
        """Best validation losses up to an epoch (counted from 1) in trivial losses; of runs with similar epochs."""
        return band(
            (_at(run.best_validation, epoch, run.trivial_validation) for run in self._similar()), self.need
        )

    def _similar(self) -> list[_Kept]:
        """Those with epochs of about as many updates."""
        return [run for run in self._kept if 1 / SIMILAR_UPDATES <= run.size <= SIMILAR_UPDATES]

    def _current(self) -> list[_Kept]:
        """Those with about as many updates or more."""
        return [run for run in self._kept if run.size >= 1 / SIMILAR_UPDATES]


def _kept(run: AcceptedRun, own: Yardsticks) -> _Kept:
    yardsticks = run.yardsticks or own
    return _Kept(
        run.curve,
        run.curve[-1],
        _best(point.train_loss for point in run.curve),
        _best(point.validation_loss for point in run.curve),
        unit(yardsticks.trivial_train_loss, yardsticks),
        unit(yardsticks.trivial_validation_loss, yardsticks),
        max(yardsticks.updates_per_epoch, 1) / max(own.updates_per_epoch, 1),
    )


def unit(trivial: float | None, yardsticks: Yardsticks) -> float:
    """The loss that others are counted in: the trivial predictor's, or that of a blind guess where it is not known."""
    return trivial if trivial is not None and trivial > 0 else yardsticks.uninformed_loss


def or_infinite(value: float | None) -> float:
    """A loss that stopped being a number is as bad as can be."""
    return math.inf if value is None else value


def _best(losses: Iterable[float | None]) -> list[float]:
    return list(accumulate((or_infinite(loss) for loss in losses), min))


def _share(loss: float | None, trivial: float) -> float | None:
    return None if loss is None else loss / trivial


def _at(best: list[float], epoch: float, trivial: float) -> float:
    return best[min(max(int(epoch), 1), len(best)) - 1] / trivial


def _gap(run: _Kept) -> float | None:
    train, validation = run.last.train_loss, run.last.validation_loss
    return None if train is None or validation is None else (validation - train) / run.trivial_validation
