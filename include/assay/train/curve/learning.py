"""Does the model learn, and not suspiciously fast? Standstill at nothing, standstill too early, collapse at once."""

from __future__ import annotations

import math
from typing import Any

from assay.findings import Finding, Outcome
from assay.train.curve.bands import SIMILAR_UPDATES, Band
from assay.train.curve.base import CUT_SHORT, Check

MIN_LEARNING = 0.01
"""By how much the trivial loss must be beaten, as a share of it."""
STANDING = 0.01
"""A loss that falls by less than this share over the patience stands still."""
MIN_REACH = 0.1
"""Losses up to a tenth of the trivial loss above accepted runs mean nothing, however alike those were."""
MIN_LEAD = 0.1
"""Nor do losses that lie below theirs by less than this."""
HALF = 0.5
"""A run that is suspiciously fast has less than this share of the accepted runs' loss."""

_UNKNOWN = "the trivial predictor's loss is not known"


class NoLearning(Check):
    """A model must beat the trivial predictor, on rows that it did not see as well."""

    name = "no_learning"

    def look(self) -> Finding | None:
        """Above the trivial loss, had its time, and the last epochs brought nothing."""
        run = self.run
        if not run.knows_trivial or run.best_train[-1] < run.trivial_train * (1 - MIN_LEARNING):
            return None
        return self._nothing() if run.stands_still(MIN_LEARNING) else None

    def _nothing(self) -> Finding:
        return self.fails(
            f"after {len(self.run.points)} epochs the training loss is no better than always giving the same answer",
            best_train_loss=self.run.best_train[-1],
            trivial_train_loss=self.run.trivial_train,
        )

    def judge(self, *, finished: bool) -> Finding:
        """At its end a run must have learned, whatever its patience."""
        run = self.run
        if not run.knows_trivial:
            return self.not_checked(_UNKNOWN)
        if run.best_train[-1] >= run.trivial_train * (1 - MIN_LEARNING):
            if finished:
                return self._nothing()
            return self.not_checked(f"{CUT_SHORT}; it might still have learned")
        evidence: dict[str, Any] = {
            "best_train_loss": run.best_train[-1],
            "trivial_train_loss": run.trivial_train,
        }
        if finished and run.can_validate:
            best, trivial = run.best_validation[-1], run.trivial_validation
            evidence |= {"best_validation_loss": best, "trivial_validation_loss": trivial}
            if best >= trivial * (1 - MIN_LEARNING):
                return self.fails(
                    "on rows that it did not see the model is never better than always giving the same answer",
                    **evidence,
                )
        return self.passed("the model beats the trivial predictor", **evidence)


class Plateau(Check):
    """A run that stands still has learned either what there is to learn, or hardly anything."""

    name = "plateau"

    def look(self) -> Finding | None:
        """Stands still near the trivial loss, or far above accepted runs at the same epoch."""
        run = self.run
        if not run.knows_trivial or not run.stands_still(STANDING):
            return None
        share, limit = run.best_train[-1] / run.trivial_train, run.limits.max_plateau
        evidence = {"share_of_trivial": share, "limit": limit}
        if share > limit:
            return self.fails(
                f"the training loss stands still at {share:.1%} of the trivial predictor's", **evidence
            )
        usual = run.accepted.best_train(len(run.points) / SIMILAR_UPDATES)
        if usual is None or share - usual.middle <= (reach := max(usual.reach, MIN_REACH, run.noise)):
            return None
        return self.fails(
            f"the training loss stands still at {share:.1%} of the trivial predictor's, accepted runs had come down "
            f"to {usual.middle:.1%}",
            accepted_median=usual.middle,
            accepted_reach=reach,
            accepted_runs=usual.runs,
            **evidence,
        )

    def judge(self, *, finished: bool) -> Finding:
        """Where it stands at the end; a run that was cut short need not have come to a standstill."""
        run = self.run
        if not run.knows_trivial:
            return self.not_checked(_UNKNOWN)
        if not finished:
            return self.not_checked(CUT_SHORT)
        return self.passed(
            "the training loss does not stand still where nothing is learned",
            share_of_trivial=run.best_train[-1] / run.trivial_train,
            limit=run.limits.max_plateau,
        )


class TooFast(Check):
    """A loss that collapses at once: the label leaked into the features, or the same few rows come again and again."""

    name = "too_fast"

    def look(self) -> Finding | None:
        """In the first epochs nearly nothing is left of the loss; or at any epoch half of what accepted runs had."""
        run, epoch = self.run, len(self.run.points)
        if not run.knows_trivial:
            return None
        limit = run.limits.min_early_loss
        losses = {"training": run.best_train[-1] / run.trivial_train}
        if run.can_validate:
            losses["validation"] = run.best_validation[-1] / run.trivial_validation
        for split, share in losses.items():
            if epoch <= run.limits.early_epochs and share < limit:
                return self.fails(
                    f"in epoch {epoch} only {share:.2%} of the trivial predictor's {split} loss is left; does a "
                    "feature tell the label, or do rows repeat?",
                    share_of_trivial=share,
                    split=split,
                    limit=limit,
                )
        soon = math.ceil(epoch * SIMILAR_UPDATES)
        bands = {"training": run.accepted.best_train(soon)}
        if run.can_validate:
            bands["validation"] = run.accepted.best_validation(soon)
        for split, usual in bands.items():
            if usual is not None and losses[split] < (floor := _floor(usual, run.noise)):
                return self.fails(
                    f"in epoch {epoch} the {split} loss is {losses[split] / usual.middle:.1%} of what accepted runs "
                    "had; does a feature tell the label, or do rows repeat?",
                    share_of_trivial=losses[split],
                    split=split,
                    accepted_median=usual.middle,
                    accepted_floor=floor,
                    accepted_runs=usual.runs,
                )
        return None

    def judge(self, *, finished: bool) -> Finding:
        """The limit is about the first epochs, so a run that had them was checked."""
        run = self.run
        if not run.knows_trivial:
            return self.not_checked(_UNKNOWN)
        limits = run.limits
        if not finished and len(run.points) < limits.early_epochs:
            return self.not_checked(CUT_SHORT)
        return self.answer(
            Outcome.PASSED,
            "the loss does not collapse at once",
            share_of_trivial=run.best_train[-1] / run.trivial_train,
            limit=limits.min_early_loss,
            early_epochs=limits.early_epochs,
        )


def _floor(usual: Band, noise: float) -> float:
    """Below it a loss is too good beside those of accepted runs; negative where theirs are next to nothing."""
    return min(usual.middle - max(usual.reach, MIN_LEAD, noise), HALF * usual.middle)
