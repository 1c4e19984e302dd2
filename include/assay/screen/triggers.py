"""What a combination of values within one class weighs: how many rows hold it, how many should, and what else speaks.

The count is tested against the rate expected of it and against the reference rows, and the label against models that
clean rows taught. A combination that passes is a group; the evidence beside its count says whether it is a trigger.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from assay.screen.calibration import beta_binomial_tail, negative_binomial_tail
from assay.screen.combinations import SHAPE, Search, excess
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.fringe import Fringe, around, widened
from assay.screen.intervals import Condition

_CONCENTRATION = 8.0
_LEVEL = 1e-6
_SURPRISE = 0.02
_STRICT = 3e-4
_BOTH = 1e-6
_THREE = 1e-7
_WORTH_A_MODEL = 1e-4
_MILD = 0.25
_PROMISING = 0.01
_OVERWHELMING = 1e-12


@dataclass(frozen=True)
class Evidence:
    """What speaks for a trigger beside the count that independence lets expect: three p-values.

    Attributes:
        unseen: Of so many rows with the label, for a model that cannot see the group's columns.
        expected: The same for a model of reference rows alone; NaN without one.
        reference: Of the group being as frequent in the reference rows as in the batch: no dependence between columns
            explains a difference here.
    """

    unseen: float
    expected: float = float("nan")
    reference: float = 1.0

    @property
    def level(self) -> float:
        """All of them together (Fisher, 1925)."""
        if np.isnan(self.expected):
            return 1.0
        log = -float(np.log(max(self.unseen * self.expected * self.reference, 1e-300)))
        return float(min(1.0, np.exp(-log) * (1 + log + log**2 / 2)))

    def decides(self, group: Group) -> bool:
        """Whether the group is no natural cluster."""
        if not group.strong:
            return False
        if group.overwhelming:
            return self.unseen <= _MILD
        if np.isnan(self.expected):
            return self.unseen <= _STRICT
        labels = self.unseen * self.expected
        return labels <= _BOTH or labels * self.reference <= _THREE


@dataclass(frozen=True)
class Group:
    """Rows that share a value combination and a label, and how that was found unlikely.

    Attributes:
        conditions: The combination.
        label: The class; -1 where there are none.
        rows: About how many rows of the batch there are.
        expected: How many of them chance explains.
        seen: Rows in the sample.
        reference: Reference rows of the class that hold it.
        others: Rows of the sample that hold it under another label.
        expected_label: How often a model of reference rows expects the label there; NaN without one.
        p_value: Of the count and the label together, for the best of all combinations.
        gain: Log likelihood ratio of the count.
        overwhelming: The count alone says it all.
        strong: The label is one that clean rows like these would seldom carry.
        level: P-value that members get where the group is only suspected.
        fringe: Rows around the intervals that belong to the group, too; None where there are none.
    """

    conditions: tuple[Condition, ...]
    label: int
    rows: int
    expected: float
    seen: int
    reference: int
    others: int
    expected_label: float
    p_value: float
    gain: float
    overwhelming: bool
    strong: bool
    level: float = 1.0
    fringe: Fringe | None = None

    @property
    def rank(self) -> tuple[bool, float]:
        """By which of two groups the better one comes first: the one that explains more rows, not the purer part."""
        return not self.strong, -self.gain

    def wider(self) -> Group:
        """The group with each interval as wide again on both sides."""
        return replace(self, conditions=widened(self.conditions))

    def members(self, block: Block) -> NDArray[np.bool_]:
        """Which rows belong to the group."""
        mask = np.ones(len(block), dtype=bool)
        for condition in self.conditions:
            mask &= condition.holds(block.x)
        if self.fringe is not None:
            mask |= self.fringe.holds(block.x)
        return mask & (block.y == self.label) if self.label >= 0 else mask


@dataclass(frozen=True)
class Mined:
    """The rows of one class in which groups are looked for, and what they are judged by.

    Attributes:
        rows: Sampled new rows.
        clean: The reference rows.
        label: The class; -1 where there are none.
        rest: Mask over `rows`: those that no group holds yet.
        expects: (n, classes) what a model of reference rows alone expects of `rows`; None without one.
        fine: Columns with so many different values that no natural dependence repeats a combination of them.
        search: Counts of the class's combinations.
        scale: How many rows of the batch a sampled row stands for.
    """

    rows: Block
    clean: Block
    label: int
    rest: NDArray[np.bool_]
    expects: F64 | None
    fine: frozenset[int]
    search: Search
    scale: float

    def judge(self, conditions: tuple[Condition, ...]) -> Group | None:
        """The group of a combination; None where its count is nothing out of the way."""
        there = self.rest.copy()
        for condition in conditions:
            there &= condition.holds(self.rows.x)
        mine = there & (self.rows.y == self.label) if self.label >= 0 else there
        seen, others = int(mine.sum()), int((there & ~mine).sum())
        same = self.clean.y == self.label if self.label >= 0 else np.ones(len(self.clean), dtype=bool)
        matching = np.ones(len(self.clean), dtype=bool)
        for condition in conditions:
            matching &= condition.holds(self.clean.x)
        reference = int((matching & same).sum())
        rows, size = int(self.search.rows), int(same.sum())
        expected = max(self.search.expected(conditions), 0.05)
        # The clean rate has a gamma prior around what independence and the other classes suggest, updated by the
        # reference rows; the count in the batch is then negative binomial.
        shape = SHAPE + reference
        pace = SHAPE / (expected / rows) + size
        log_p = negative_binomial_tail(seen, shape, pace, rows)
        if reference > 1:
            # Where reference rows hold the combination too, they know its rate better than any assumption does.
            log_p = max(log_p, negative_binomial_tail(seen, reference + 1.0, float(size), rows))
        # Natural dependence between coarse or windowed columns can look as strong as this; between exact values of
        # columns that have hundreds of them it cannot.
        exact = all(c.low == c.high and c.column in self.fine for c in conditions)
        if self.label < 0 and not exact:
            return None  # there is no other class to tell natural dependence from a trigger
        log_p += self.search.penalty(len(conditions))
        overwhelming = exact and log_p <= np.log(_OVERWHELMING)
        share, strong = float("nan"), True
        if self.expects is not None and self.label >= 0 and there.any():
            share = float(self.expects[there, self.label].mean())
            surprise = _surprise(seen, seen + others, share)
            # The label must be one that clean rows like these would not carry, unless the count alone says it all.
            if surprise > _MILD:
                return None
            strong = overwhelming or surprise <= _SURPRISE
            log_p += float(np.log(max(surprise, 1e-300)))
        if log_p > np.log(_LEVEL):
            return None
        return Group(
            conditions=conditions,
            label=self.label,
            rows=round(seen * self.scale),
            expected=expected * self.scale,
            seen=seen,
            reference=reference,
            others=others,
            expected_label=share,
            p_value=float(np.exp(max(log_p, -690.0))),
            gain=excess(seen, rows * shape / pace),
            overwhelming=bool(overwhelming),
            strong=bool(strong),
        )

    def whole(self, group: Group) -> Group:
        """The group with the rows around its intervals that are likelier its own than clean ones."""
        wide = group.wider()
        found = wide.members(self.rows) & self.rest
        same = self.clean.y == self.label if self.label >= 0 else np.ones(len(self.clean), dtype=bool)
        shared = int(wide.members(self.clean).sum()) / max(int(same.sum()), 1) * int(self.search.rows)
        usual = max(shared, self.search.expected(wide.conditions))
        group = replace(group, fringe=around(group.conditions, self.rows.x[found], usual))
        reference = int(group.members(self.clean).sum())
        expected = reference / max(int(same.sum()), 1) * int(self.search.rows) * self.scale
        seen = int((group.members(self.rows) & self.rest).sum())
        return replace(
            group,
            rows=round(seen * self.scale),
            reference=reference,
            expected=max(group.expected, expected),
        )

    def evidence(self, group: Group, context: Context) -> Evidence:
        """What speaks for a trigger beside the group's count."""
        from scipy.stats import hypergeom

        if context.models is None or self.label < 0:
            return Evidence(0.0)
        if np.isnan(group.expected_label):
            return self._confirmed(Evidence(self._unseen(group, context)), group, context)
        expected = _surprise(group.seen, group.seen + group.others, group.expected_label)
        rows = int((self.rows.y == self.label).sum())
        sound = int((self.clean.y == self.label).sum())
        reference = float(hypergeom(rows + sound, group.seen + group.reference, rows).sf(group.seen - 1))
        if not group.strong and expected * reference > _WORTH_A_MODEL:
            return Evidence(1.0, expected, reference)
        return self._confirmed(Evidence(self._unseen(group, context), expected, reference), group, context)

    def _confirmed(self, evidence: Evidence, group: Group, context: Context) -> Evidence:
        """The evidence, weakened where rows that are not of the group explain its label by the group's own columns.

        A rare category may well change the label: then it does so in other rows too, and a model that learnt from them
        expects it here. Of a trigger nothing but its own rows speaks.
        """
        if not evidence.decides(group) and evidence.level > _PROMISING:
            return evidence
        return replace(evidence, unseen=max(evidence.unseen, self._unseen(group, context, own=True)))

    def _unseen(self, group: Group, context: Context, own: bool = False) -> float:
        """P-value of the labels for a model that sees none of the group's rows, nor its columns unless `own`."""
        assert context.models is not None
        found = group.members(self.rows) & self.rest
        there = np.ones(len(self.rows), dtype=bool)
        for condition in group.conditions:
            there &= condition.holds(self.rows.x)
        there |= found
        kept = ~(group.members(context.pool) & context.fresh)
        columns = [condition.column for condition in group.conditions]
        if own:
            # Rows that a fitted interval just missed would speak for the group; without those of other labels beside
            # them the rest would speak against it.
            near = replace(group.wider(), label=-1)
            kept = ~(near.members(context.pool) & context.fresh)
            columns = []
        expected = context.models.without(context.pool.take(kept), self.rows.take(there), columns)
        if expected is None:
            return 0.0
        return _surprise(int(found.sum()), int(there.sum()), float(expected[:, self.label].mean()))


def _surprise(seen: int, rows: int, share: float) -> float:
    """P-value of so many rows with the label where a model expects this share, allowing for the model's own error."""
    share = min(max(share, 0.02), 0.98)
    return beta_binomial_tail(seen, rows, _CONCENTRATION * share, _CONCENTRATION * (1 - share))
