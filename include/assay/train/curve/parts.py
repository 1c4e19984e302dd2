"""Does every class and every source learn along? A part that goes wrong can hide in a mean that improves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from assay.findings import Finding
from assay.train.curve.bands import or_infinite
from assay.train.curve.base import MIN_PART_ROWS, Check, Watched, chance
from assay.train.records.curvefile import CurvePoint
from assay.train.records.events import SourceStats

IN_A_ROW = 3
"""Epochs in a row that a part must go wrong before that counts."""
AGAINST = -0.2
"""Cosine with the mean gradient of all other sources from which on a source pulls against them."""
WORSE_THAN_BLIND = 0.1
"""By how much, in trivial losses, a source that pulls against the rest may cost more than a blind guess."""
MIN_CLASS_REACH = 0.5
"""A class's loss up to half of its trivial loss above accepted runs means nothing, however alike those were."""
CLASS_NOISE = 2.0
"""How much more than other losses those of one class scatter: they come from few rows, some of them hard."""
MIN_SOURCE_REACH = 0.15
"""Likewise a source's, in units of the trivial loss."""
NAMED = 8
"""Parts that are named in an answer."""


class ClassRegression(Check):
    """One class gets worse while the training loss improves: its rows were relabelled, lost, or drowned by another's.

    Losses of a class are counted in what its share of the training rows alone would cost it, the negative logarithm
    of it, or in a blind guess's loss if that is more; a class counts from `MIN_PART_ROWS` rows on.
    """

    name = "class_regression"

    def __init__(self, run: Watched) -> None:
        super().__init__(run)
        self._best: dict[int, float] = {}
        self._worse: dict[int, int] = {}
        self._gone: dict[int, int] = {}
        self._highest = 0.0
        rows, validation = run.yardsticks.class_rows, run.yardsticks.class_validation_rows
        total = max(sum(rows), 1)
        blind = math.log(max(len(rows), 2))
        self._cost = [max(-math.log(max(count, 0.5) / total), blind) for count in rows]
        self._learned = [count >= MIN_PART_ROWS for count in rows]
        self._validated = [count >= MIN_PART_ROWS for count in validation]

    def look(self) -> Finding | None:
        """Some epochs long: no row of the class was learned from, or its loss is far above its own best."""
        run, point, limit = self.run, self.run.point, self.run.limits.max_class_regression
        for place, (each, told) in enumerate(zip(point.classes, self._learned, strict=False)):
            self._gone[place] = self._gone.get(place, 0) + 1 if told and each.train_loss is None else 0
            if self._gone[place] >= IN_A_ROW:
                return self.fails(
                    f"for {IN_A_ROW} epochs no row of class {each.name} was learned from, or their loss is not finite",
                    class_name=each.name,
                )
        improves = run.train[-1] <= run.train[0]
        worst: tuple[float, int] | None = None
        for place, units in self._units(point).items():
            best = self._best[place] = min(self._best.get(place, math.inf), units)
            excess = units - best if math.isfinite(units) else math.inf
            self._highest = max(self._highest, excess)
            self._worse[place] = self._worse.get(place, 0) + 1 if improves and excess > limit else 0
            if self._worse[place] >= IN_A_ROW and (worst is None or excess > worst[0]):
                worst = (excess, place)
        if worst is None:
            return None
        return self.fails(
            f"class {point.classes[worst[1]].name} gets worse while the training loss improves: its validation loss "
            f"is {worst[0]:.3g} times what its share alone would cost above its best",
            class_name=point.classes[worst[1]].name,
            excess=worst[0],
            limit=limit,
        )

    def _units(self, point: CurvePoint) -> dict[int, float]:
        """Validation loss of each class that has the rows for it, by place."""
        parts = zip(point.classes, self._cost, self._validated, strict=False)
        return {
            place: or_infinite(each.validation_loss) / cost
            for place, (each, cost, told) in enumerate(parts)
            if told
        }

    def judge(self, *, finished: bool) -> Finding:
        """At the end also against the accepted runs' last epochs."""
        run, point = self.run, self.run.point
        if not point.classes:
            return self.not_checked("the label has no classes, or they were not told apart", required=False)
        units = self._units(point)
        if not units:
            return self.not_checked(
                f"no class is known to have {MIN_PART_ROWS} validation rows; the limits on the mean stand in",
                required=False,
            )
        evidence: dict[str, Any] = {
            "highest_excess": self._highest,
            "limit": run.limits.max_class_regression,
            "classes_judged": len(units),
        }
        for place, value in units.items() if finished else ():
            name = point.classes[place].name
            usual = run.accepted.at_end(partial(self._in, place, name))
            if usual is None:
                continue
            rows = run.yardsticks.class_validation_rows[place]
            limit = usual.middle + max(usual.reach, MIN_CLASS_REACH, CLASS_NOISE * chance(rows))
            if value > limit:
                return self.fails(
                    f"the last validation loss of class {name} is {value:.3g} times what its share alone would cost, "
                    f"the median of accepted runs is {usual.middle:.3g}",
                    class_name=name,
                    units=value,
                    accepted_median=usual.middle,
                    accepted_limit=limit,
                    accepted_runs=usual.runs,
                )
        return self.passed("no class got worse while the training loss improved", **evidence)

    def _in(self, place: int, name: str, last: CurvePoint) -> float | None:
        """A class's loss in an accepted run, if it stands where it stands in this one."""
        if place >= len(last.classes) or last.classes[place].name != name:
            return None
        loss = last.classes[place].validation_loss
        return None if loss is None else loss / self._cost[place]


class SourceConflict(Check):
    """A source that pulls against all others while its rows cost more than theirs: its labels mean something else.

    At a minimum the sources' gradients cancel each other, so that a negative cosine alone is no sign of anything.
    """

    name = "source_conflict"

    def __init__(self, run: Watched) -> None:
        super().__init__(run)
        self._against: dict[str, int] = {}
        self._highest = 0.0

    def look(self) -> Finding | None:
        """Some epochs long: against the others' gradient, with a loss well above theirs or above a blind guess's."""
        run, limit = self.run, self.run.limits.max_source_excess
        sources = run.point.sources
        excesses = _excesses(sources, run.trivial_train)
        worst: tuple[float, SourceStats, float] | None = None
        for each, cosine in zip(sources, cosines_with_rest(sources), strict=True):
            excess = excesses.get(each.name)
            against = False
            if excess is not None and cosine is not None and cosine < 0:
                self._highest = max(self._highest, excess)
                above = min(or_infinite(each.loss) / run.trivial_train - 1, excess)
                against = (cosine < AGAINST and excess > limit) or above > WORSE_THAN_BLIND
            self._against[each.name] = self._against.get(each.name, 0) + 1 if against else 0
            if self._against[each.name] >= IN_A_ROW and (worst is None or (excess or 0.0) > worst[0]):
                worst = (excess or 0.0, each, cosine or 0.0)
        if worst is None:
            return None
        excess, source, cosine = worst
        return self.fails(
            f"for {IN_A_ROW} epochs source {source.name} pulled against the others (cosine {cosine:.2f}), and its "
            f"rows' loss is {excess:.3g} trivial losses above theirs",
            source=source.name,
            excess=excess,
            cosine=cosine,
            loss=source.loss,
            rows=source.rows,
            limit=limit,
        )

    def judge(self, *, finished: bool) -> Finding:
        """At the end also each source's loss beside the others', against the accepted runs' last epochs."""
        run = self.run
        sources = run.point.sources
        if len(sources) < 2:
            return self.not_checked(
                "there is no second source to compare with"
                if sources
                else "the rows' sources are not told apart",
                required=False,
            )
        excesses = _excesses(sources, run.trivial_train)
        if len(excesses) < 2:
            return self.not_checked(
                f"fewer than two sources have {MIN_PART_ROWS} training rows; the limits on the mean stand in",
                required=False,
            )
        evidence: dict[str, Any] = {
            "highest_excess_against": self._highest,
            "limit": run.limits.max_source_excess,
            "sources_judged": len(excesses),
            "too_few_rows": [each.name for each in sources if each.name not in excesses][:NAMED],
        }
        for name, excess in excesses.items() if finished else ():
            usual = run.accepted.at_end(partial(_excess_of, name, run.trivial_train))
            if usual is None:
                continue
            rows = next(each.rows for each in sources if each.name == name)
            limit = usual.middle + max(usual.reach, MIN_SOURCE_REACH, chance(rows))
            if excess > limit:
                return self.fails(
                    f"the last loss of source {name} is {excess:.3g} trivial losses above that of the others, the "
                    f"median of accepted runs is {usual.middle:.3g}",
                    source=name,
                    excess=excess,
                    accepted_median=usual.middle,
                    accepted_limit=limit,
                    accepted_runs=usual.runs,
                )
        return self.passed("no source pulls against the others", **evidence)


def _excesses(sources: Sequence[SourceStats], trivial: float) -> dict[str, float]:
    """Mean loss of each source above that of all others, in trivial losses; of those with enough rows."""
    told = [each for each in sources if each.rows >= MIN_PART_ROWS]
    found: dict[str, float] = {}
    for each in told if len(told) > 1 else ():
        others = [other for other in told if other is not each]
        rest = sum(other.rows * or_infinite(other.loss) for other in others) / sum(o.rows for o in others)
        excess = (or_infinite(each.loss) - rest) / trivial if math.isfinite(rest) else 0.0
        found[each.name] = excess
    return found


def _excess_of(name: str, trivial: float, point: CurvePoint) -> float | None:
    return _excesses(point.sources, trivial).get(name)


def cosines_with_rest(sources: Sequence[SourceStats]) -> list[float | None]:
    """Cosine of each source's mean gradient with that of all other sources' rows together.

    Args:
        sources: With their pairwise cosines and norms, from which the inner products follow.

    Returns:
        One per source; `None` where one of the two gradients is zero or unknown.
    """
    count = len(sources)
    norms = [each.gradient_norm or 0.0 for each in sources]
    products = [
        [
            (each.cosines[k] or 0.0) * norms[i] * norms[k] if k < len(each.cosines) else 0.0
            for k in range(count)
        ]
        for i, each in enumerate(sources)
    ]
    weighted = [[sources[k].rows * row[k] for k in range(count)] for row in products]
    whole = sum(sources[i].rows * sum(weighted[i]) for i in range(count))
    found: list[float | None] = []
    for i, each in enumerate(sources):
        with_all = sum(weighted[i])
        dot = with_all - weighted[i][i]
        square = whole - 2 * each.rows * with_all + each.rows * weighted[i][i]
        scale = norms[i] * math.sqrt(square) if square > 0 and math.isfinite(square) else 0.0
        cosine = dot / scale if scale > 0 else math.nan
        found.append(max(-1.0, min(1.0, cosine)) if math.isfinite(cosine) else None)
    return found
