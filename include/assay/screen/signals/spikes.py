"""Triggers: value combinations that come too often with one label.

A backdoor writes a few in-range values into many rows and gives them all one label (Gu et al., 2017; ATLAS AML.T0018).
No single row is odd, so rows are not what is tested: combinations are. Columns are cut into tokens (frequent exact
values, and overlapping narrow windows for jittered values); within each class, pairs of tokens that stand together
more often than their own rates and the other classes' dependence explain are grown to larger combinations, and each is
tested three ways: against the rate expected, against the reference rows, and by how little a model of reference rows
expects that label there. Every row of a combination that passes is quarantined, because a backdoor lives on in a few.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import beta_binomial_tail, negative_binomial_tail
from assay.screen.combinations import SHAPE, Condition, Search, Tokens, fitted
from assay.screen.context import Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable

_MINE_ROWS = 8_000
_MAX_GROUPS = 6
_CONCENTRATION = 8.0
_LEVEL = 1e-6
_SURPRISE = 0.02
_STRICT = 3e-4
_BOTH = 1e-6
_KEPT_GAIN = 0.6
_MILD = 0.25
_MANY_VALUES = 100
_OVERWHELMING = 1e-12


@dataclass(frozen=True)
class Group:
    """Rows that share a value combination and a label, and how that was found unlikely."""

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

    def members(self, block: Block) -> NDArray[np.bool_]:
        """Which rows belong to the group."""
        mask = block.y == self.label if self.label >= 0 else np.ones(len(block), dtype=bool)
        for condition in self.conditions:
            mask &= condition.holds(block.x)
        return mask


class Spikes:
    """Finds trigger groups on the sample and marks their members everywhere."""

    name = "spikes"
    technique = "AML.T0018"
    decisive = True

    def fit(self, context: Context) -> None:
        """Mine the sample.

        Raises:
            NotApplicable: Too few rows.
        """
        if context.fresh.sum() < 50:
            raise NotApplicable(
                f"{int(context.fresh.sum())} new rows are too few to mine for triggers (50 needed)"
            )
        self._context = context
        fresh = context.pool.take(context.fresh)
        self._scale = context.rows / max(int(context.tested.sum()), 1)
        mined = fresh.take(np.arange(min(len(fresh), _MINE_ROWS)))
        clean = context.pool.take(context.reference)
        self._fine = {
            j
            for j in range(mined.x.shape[1])
            if not context.encoder.categorical[j] and len(np.unique(mined.x[:, j])) > _MANY_VALUES
        }
        self.groups: list[Group] = []
        classes = [int(c) for c in np.unique(mined.y) if c >= 0] or [-1]
        expects = None
        if context.models is not None and context.referenced:
            expects = context.models.reference_probabilities(mined)
        tokens = Tokens(context, mined)
        if not len(tokens.conditions):
            return
        for label in classes:
            rest = np.ones(len(mined), dtype=bool)
            while len(self.groups) < _MAX_GROUPS:
                group = self._best(tokens, mined, clean, expects, label, rest)
                if group is None:
                    break
                found = group.members(mined) & rest
                if not found.any():
                    break
                # Natural clusters are alike in all columns: their label is no surprise without these either.
                if self._surprising(context, group, mined, found):
                    self.groups.append(group)
                rest &= ~found

    def _surprising(self, context: Context, group: Group, mined: Block, found: NDArray[np.bool_]) -> bool:
        if context.models is None or group.label < 0:
            return True
        columns = [condition.column for condition in group.conditions]
        there = np.ones(len(mined), dtype=bool)
        for condition in group.conditions:
            there &= condition.holds(mined.x)
        there |= found
        kept = ~(group.members(context.pool) & context.fresh)
        expected = context.models.without(context.pool.take(kept), mined.take(there), columns)
        if expected is None:
            return True
        unseen = _surprise(int(found.sum()), int(there.sum()), float(expected[:, group.label].mean()))
        if group.overwhelming:
            return unseen <= _MILD
        if np.isnan(group.expected_label):
            return unseen <= _STRICT
        # A model of reference rows alone, which no poison taught, has its say beside the one without the columns.
        return unseen * _surprise(group.seen, group.seen + group.others, group.expected_label) <= _BOTH

    def _best(
        self,
        tokens: Tokens,
        mined: Block,
        clean: Block,
        expects: F64 | None,
        label: int,
        rest: NDArray[np.bool_],
    ) -> Group | None:
        mine = rest & (mined.y == label if label >= 0 else True)
        if mine.sum() < 10:
            return None
        same = clean.take(clean.y == label) if label >= 0 else clean
        search = Search(tokens, mine, rest & ~mine, tokens.held(same))
        best: Group | None = None
        for combination in search.combinations():
            conditions = tuple(tokens.conditions[t] for t in combination)
            group = self._judge(search, conditions, mined, clean, expects, label, rest)
            if group is not None and (best is None or group.p_value < best.p_value):
                best = group
        if best is None:
            return None
        best = self._prune(best, search, mined, clean, expects, rest)
        for _ in range(2):
            conditions = fitted(best.conditions, mined.x, mine, same.x, self._context.encoder.categorical)
            refined = self._judge(search, conditions, mined, clean, expects, label, rest)
            if refined is None or refined.seen < 0.8 * best.seen:
                break
            best = self._prune(refined, search, mined, clean, expects, rest)
        return best

    def _prune(
        self,
        group: Group,
        search: Search,
        mined: Block,
        clean: Block,
        expects: F64 | None,
        rest: NDArray[np.bool_],
    ) -> Group:
        """Drop conditions that most poisoned rows meet by chance: what is left is the trigger, and no row is lost."""
        while len(group.conditions) > 1:
            wider: Group | None = None
            every = group.conditions
            # Two at once as well: of two columns that go together, dropping one alone frees nothing.
            choices = [(c,) for c in every] + ([*combinations(every, 2)] if len(every) > 3 else [])
            for dropped in choices:
                kept = tuple(c for c in every if c not in dropped)
                found = self._judge(search, kept, mined, clean, expects, group.label, rest)
                if found is None:
                    continue
                added, natural = found.seen - group.seen, (found.expected - group.expected) / self._scale
                if added <= 2 * natural or found.gain < _KEPT_GAIN * group.gain:
                    continue
                if wider is None or found.gain > wider.gain:
                    wider = found
            if wider is None:
                return group
            group = wider
        return group

    def _judge(
        self,
        search: Search,
        conditions: tuple[Condition, ...],
        mined: Block,
        clean: Block,
        expects: F64 | None,
        label: int,
        rest: NDArray[np.bool_],
    ) -> Group | None:
        there = rest.copy()
        for condition in conditions:
            there &= condition.holds(mined.x)
        mine = there & (mined.y == label) if label >= 0 else there
        seen, others = int(mine.sum()), int((there & ~mine).sum())
        same = clean.y == label if label >= 0 else np.ones(len(clean), dtype=bool)
        matching = np.ones(len(clean), dtype=bool)
        for condition in conditions:
            matching &= condition.holds(clean.x)
        reference = int((matching & same).sum())
        rows, size = int(search.rows), int(same.sum())
        expected = max(search.expected(conditions), 0.05)
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
        exact = all(c.low == c.high and c.column in self._fine for c in conditions)
        if label < 0 and not exact:
            return None  # there is no other class to tell natural dependence from a trigger
        overwhelming = exact and log_p + search.penalty(len(conditions)) <= np.log(_OVERWHELMING)
        share = float("nan")
        if expects is not None and label >= 0 and there.any():
            share = float(expects[there, label].mean())
            surprise = _surprise(seen, seen + others, share)
            # The label must be one that clean rows like these would not carry, unless the count alone says it all.
            if surprise > (_MILD if overwhelming else _SURPRISE):
                return None
            log_p += float(np.log(max(surprise, 1e-300)))
        log_p += search.penalty(len(conditions))
        if log_p > np.log(_LEVEL):
            return None
        return Group(
            conditions=conditions,
            label=label,
            rows=round(seen * self._scale),
            expected=expected * self._scale,
            seen=seen,
            reference=reference,
            others=others,
            expected_label=share,
            p_value=float(np.exp(max(log_p, -690.0))),
            gain=_gain(seen, rows * shape / pace),
            overwhelming=bool(overwhelming),
        )

    def score(self, block: Block) -> F64:
        """The group's p-value for its members, 1 for all others."""
        p = np.ones(len(block))
        for group in self.groups:
            mask = group.members(block)
            p[mask] = np.minimum(p[mask], group.p_value)
        return p

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """All members of all groups."""
        mask = np.zeros(len(block), dtype=bool)
        for group in self.groups:
            mask |= group.members(block)
        return mask

    def subjects(self, block: Block) -> list[str]:
        """The trigger that each row belongs to."""
        out = [""] * len(block)
        for number in reversed(range(len(self.groups))):
            for i in np.flatnonzero(self.groups[number].members(block)):
                out[i] = f"trigger {number + 1}"
        return out

    def explain(self, block: Block) -> list[str]:
        """The combination, how often it comes with the label, and how often it should."""
        member = np.zeros(len(block), dtype=np.int64)
        for number in reversed(range(len(self.groups))):
            member[self.groups[number].members(block)] = number
        return [self._sentence(self.groups[number]) for number in member]

    def _sentence(self, group: Group) -> str:
        label = self._context.encoder.class_name(group.label) if group.label >= 0 else "any"
        expected = f"{group.expected:.1f}" if group.expected >= 0.1 else "fewer than 0.1"
        return (
            f"shares {self.words(group)} with about {group.rows} rows labelled {label!r}, where {expected} would be "
            f"expected and {group.reference} reference rows of that class do (p = {group.p_value:.2g})"
        )

    def words(self, group: Group) -> str:
        """The combination as a person would write it."""
        encoder = self._context.encoder
        parts = []
        for condition in group.conditions:
            low, high = (encoder.describe(condition.column, v) for v in (condition.low, condition.high))
            name = encoder.columns[condition.column]
            parts.append(f"{name} = {low}" if low == high else f"{name} in {low}..{high}")
        return " and ".join(parts)

    def findings(self) -> list[Finding]:
        """One finding per trigger group."""
        if not self.groups:
            message = "no value or combination of values comes too often with one label"
            return [Finding(check="screen.spikes", outcome=Outcome.PASSED, message=message)]
        encoder = self._context.encoder
        return [
            Finding(
                check="screen.spikes",
                outcome=Outcome.FAILED,
                severity=Severity.CRITICAL,
                scope=Scope.GROUP,
                subject=f"trigger {number + 1}",
                message=self._sentence(group).replace("shares", "rows share", 1),
                evidence={
                    "columns": [encoder.columns[c.column] for c in group.conditions],
                    "label": encoder.class_name(group.label),
                    "members": group.rows,
                    "expected": round(group.expected, 3),
                    "reference_rows": group.reference,
                    "same_values_other_label": group.others,
                    "p_value": group.p_value,
                },
                technique=self.technique,
            )
            for number, group in enumerate(self.groups)
        ]


def _gain(seen: int, expected: float) -> float:
    """Log likelihood ratio of a Poisson count against what is expected; 0 where no more are seen."""
    if seen <= expected:
        return 0.0
    return float(seen * np.log(seen / max(expected, 1e-9)) - (seen - expected))


def _surprise(seen: int, rows: int, share: float) -> float:
    """P-value of so many rows with the label where a model expects this share, allowing for the model's own error."""
    share = min(max(share, 0.02), 0.98)
    return beta_binomial_tail(seen, rows, _CONCENTRATION * share, _CONCENTRATION * (1 - share))
