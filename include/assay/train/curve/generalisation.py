"""Does the model hold on rows that it did not learn from, and as well as accepted ones did?"""

from __future__ import annotations

import math
from typing import Any

from assay.findings import Finding
from assay.train.curve.bands import SIMILAR_UPDATES, Band
from assay.train.curve.base import CUT_SHORT, MIN_VALIDATION_ROWS, Check, Watched, log_norm, power
from assay.train.records.curvefile import CurvePoint

GAP_EPOCHS = 3
"""Epochs in a row that a run must be far behind the accepted ones before that counts."""
MIN_REACH = 0.05
"""Losses up to this share of the trivial loss above accepted runs mean nothing, however alike those were."""
MIN_GAP_REACH = 0.2
"""Likewise for the gap between validation and training loss."""
TRAINING_NOISE = 0.4
"""Chance does less to the training loss than to the validation loss: more rows, each of them learned from."""
MIN_GRADIENT_REACH = math.log(1.8)
"""Gradients at the end of a run that are up to this much larger or smaller mean nothing."""
NOISE_FLOOR = 0.2
"""Accepted losses below this share of the trivial loss count as this much."""


class GeneralisationGap(Check):
    """Last validation loss above the training loss, in units of the trivial loss."""

    name = "generalisation_gap"

    def judge(self, *, finished: bool) -> Finding:
        """Against the contract's limit, and what accepted runs had."""
        run = self.run
        if not finished:
            return self.not_checked(CUT_SHORT)
        if not run.can_validate:
            rows = run.yardsticks.validation_rows
            return self.not_checked(
                f"{rows} validation rows are too few to tell, {MIN_VALIDATION_ROWS} are needed; "
                "raise training.validation_fraction or train on more rows",
                validation_rows=rows,
            )
        train, validation = run.train[-1], run.validation[-1]
        gap = (validation - train) / run.trivial_validation if math.isfinite(train) else math.inf
        limit, evidence = run.limits.max_generalisation_gap, {}
        if (usual := run.accepted.last_gap()) is not None:
            evidence = {"accepted_median": usual.middle, "accepted_runs": usual.runs}
            limit = min(limit, usual.middle + max(usual.reach, MIN_GAP_REACH, run.noise))
        message = f"validation loss is {gap:.3g} trivial losses above the training loss"
        evidence |= {"gap": gap, "limit": limit, "train_loss": train, "validation_loss": validation}
        if gap <= limit:
            return self.passed(message, **evidence)
        return self.fails(f"{message}; the model learned its rows by heart", **evidence)


class GapToAccepted(Check):
    """Against accepted runs: losses far behind for some epochs, or losses and gradients that are others at the end."""

    name = "gap_to_accepted"

    def __init__(self, run: Watched) -> None:
        super().__init__(run)
        self._behind = 0

    def look(self) -> Finding | None:
        """Best validation loss so far at the same epoch, at twice the distance that is allowed at the end."""
        run = self.run
        usual = run.accepted.best_validation(len(run.points) / SIMILAR_UPDATES)
        if usual is None:
            return None
        share, limit = run.best_validation[-1] / run.trivial_validation, self._limit(usual, run.noise, 2)
        self._behind = self._behind + 1 if share > limit else 0
        if self._behind < GAP_EPOCHS:
            return None
        return self.fails(
            f"for {GAP_EPOCHS} epochs the validation loss is far above that of accepted runs at the same epoch",
            share_of_trivial=share,
            limit=limit,
            accepted_median=usual.middle,
            accepted_runs=usual.runs,
        )

    def _limit(self, usual: Band, noise: float, times: float = 1) -> float:
        """The band's edge, no further than the contract allows, and no nearer than chance may bring a healthy run."""
        least = max(MIN_REACH, noise)
        most = max(self.run.limits.max_gap_to_accepted * max(usual.middle, NOISE_FLOOR), least)
        return usual.middle + times * min(max(usual.reach, least), most)

    def judge(self, *, finished: bool) -> Finding:
        """Losses and gradients of the last epoch against those of the accepted runs."""
        run, accepted = self.run, self.run.accepted
        if not accepted.enough:
            return self.not_checked(
                f"{len(accepted)} accepted runs of this data set exist, {accepted.need} are needed; "
                "until then the absolute limits stand in",
                accepted_runs=len(accepted),
                min_accepted_runs=accepted.need,
                required=False,
            )
        if not finished:
            return self.not_checked(CUT_SHORT)
        usual = accepted.last_validation()
        if usual is None:
            return self.not_checked("the accepted runs' losses are not finite", accepted_runs=len(accepted))
        share = run.validation[-1] / run.trivial_validation
        evidence: dict[str, Any] = {"accepted_runs": usual.runs, "validation_loss": run.validation[-1]}
        losses = [("validation", share, usual, run.noise)]
        if (learned := accepted.last_train()) is not None:
            losses.append(
                ("training", run.train[-1] / run.trivial_train, learned, TRAINING_NOISE * run.noise)
            )
        else:
            evidence["not_compared"] = "training loss and gradients: the accepted runs had far fewer rows"
        above = None
        for split, value, its, noise in losses:
            limit = self._limit(its, noise)
            evidence[split] = {"share_of_trivial": value, "accepted_median": its.middle, "limit": limit}
            if value > limit and above is None:
                above = (
                    f"the last {split} loss is {value:.1%} of the trivial predictor's, the median of {its.runs} "
                    f"accepted runs is {its.middle:.1%}"
                )
        norm, norms = log_norm(run.point.gradient_norm), accepted.at_end(_norm_of, grows=True)
        if norm is not None and norms is not None:
            times, reach = power(norm - norms.middle), max(norms.reach, MIN_GRADIENT_REACH)
            evidence["gradients"] = {"times_accepted": times, "limit": power(reach)}
            if abs(norm - norms.middle) > reach and above is None:
                above = (
                    f"the last gradients are {times:.3g} times as large as those of accepted runs: other rows, another "
                    "rate, or a part of the network that does not learn"
                )
        if above is not None:
            return self.fails(above, **evidence)
        return self.passed(
            f"the last validation loss is {share:.1%} of the trivial predictor's, the median of {usual.runs} "
            f"accepted runs is {usual.middle:.1%}",
            **evidence,
        )


def _norm_of(point: CurvePoint) -> float | None:
    return log_norm(point.gradient_norm)
