"""The curve checks of one run, and the one outcome that they make together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from assay.contract.training import CurveCheck, CurveLimits
from assay.findings import Finding, Outcome, worst
from assay.train.curve.bands import AcceptedRun, AcceptedRuns
from assay.train.curve.base import Check, Watched
from assay.train.curve.generalisation import GapToAccepted, GeneralisationGap
from assay.train.curve.learning import NoLearning, Plateau, TooFast
from assay.train.curve.parts import ClassRegression, SourceConflict
from assay.train.curve.stability import Divergence, GradientSpike, NonFinite, SkippedUpdates, Spike
from assay.train.network.spec import Yardsticks
from assay.train.records.curvefile import Curve, CurvePoint

_KINDS: dict[str, type[Check]] = {
    kind.name: kind
    for kind in (
        NonFinite,
        SkippedUpdates,
        Spike,
        Divergence,
        GradientSpike,
        NoLearning,
        Plateau,
        TooFast,
        GeneralisationGap,
        ClassRegression,
        SourceConflict,
        GapToAccepted,
    )
}
CHECKS: tuple[CurveCheck, ...] = get_args(CurveCheck)
"""Each has a finding named `curve.<check>`."""


class CurveWatch:
    """The checks of one run.

    Args:
        limits: The contract's limits.
        yardsticks: What the run's losses are held against.
        accepted: Earlier runs of this data set that were accepted: their curves, or better with their yardsticks. Of a
            data set whose loss, classes or network changed, hand over only those that can be compared.
        subject: The run's id, for the findings.
    """

    def __init__(
        self,
        limits: CurveLimits,
        yardsticks: Yardsticks,
        *,
        accepted: Sequence[Curve | AcceptedRun] = (),
        subject: str = "",
    ) -> None:
        runs = AcceptedRuns(accepted, yardsticks, limits.min_accepted_runs)
        self._run = Watched(limits, yardsticks, runs, subject)
        self._checks = [_KINDS[name](self._run) for name in CHECKS]
        self._failed: dict[str, Finding] = {}

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The epochs seen so far."""
        return tuple(self._run.points)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The checks that failed so far, in the order in which they did."""
        return tuple(self._failed.values())

    def update(self, point: CurvePoint) -> list[Finding]:
        """Take one epoch, in constant time.

        Returns:
            The checks that fail with it and for which the contract stops the run; `failed` has the others too.
        """
        self._run.add(point)
        stopping: list[Finding] = []
        for check in self._checks:
            if check.name not in self._failed and (finding := check.look()) is not None:
                self._failed[check.name] = finding
                if self._run.limits.stops(check.name):
                    stopping.append(finding)
        return stopping

    def findings(self, *, finished: bool = True) -> list[Finding]:
        """All checks over the whole curve, one finding each.

        Args:
            finished: Whether the run came to its end; if not, what can only be asked of a whole curve is not checked.
        """
        if not self._run.points:
            return [check.not_checked("the run ended before its first epoch") for check in self._checks]
        return [self._failed.get(check.name) or check.judge(finished=finished) for check in self._checks]


def curve_outcome(findings: Sequence[Finding]) -> Outcome:
    """One outcome for the curve.

    A check that says of itself that it is not required (its question does not arise, as with a single source, or other
    limits stand in for it, as before there are runs to compare with) does not hold the outcome back; every other
    `not_checked` does.
    """
    return worst(
        finding.outcome
        for finding in findings
        if not (finding.outcome is Outcome.NOT_CHECKED and finding.evidence.get("required") is False)
    )
