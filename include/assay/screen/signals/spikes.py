"""Triggers: value combinations that come too often with one label.

A backdoor writes a few in-range values into many rows and gives them all one label (Gu et al., 2017; ATLAS AML.T0018).
No single row is odd, so rows are not what is tested: combinations are. Columns are cut into tokens (frequent exact
values, and overlapping narrow windows for jittered values); within each class, pairs of tokens that stand together
more often than their own rates and the other classes' dependence explain are grown to larger combinations, and each is
tested three ways: against the rate expected, against the reference rows, and by how little a model of reference rows
expects that label there. Every row of a combination that passes is quarantined, because a backdoor lives on in a few.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from assay.findings import Finding, Outcome, Scope, Severity
from assay.screen.calibration import excess
from assay.screen.combinations import MAX_WIDTH, Search, Tokens
from assay.screen.context import SUREST, Context
from assay.screen.encoding import F64, Block
from assay.screen.errors import NotApplicable
from assay.screen.intervals import Fitter
from assay.screen.triggers import Group, Mined

_MINE_ROWS = 8_000
_MAX_GROUPS = 6
_SUSPECT = 0.01
_KEPT_GAIN = 0.6
_LEAST_NEW = 20
_CONFIRMED = 0.001
_MOSTLY = 3
_MANY_VALUES = 100


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
        scale = context.rows / max(int(context.tested.sum()), 1)
        mined = fresh.take(np.arange(min(len(fresh), _MINE_ROWS)))
        clean = context.pool.take(context.reference)
        fine = frozenset(
            j
            for j in range(mined.x.shape[1])
            if not context.encoder.categorical[j] and len(np.unique(mined.x[:, j])) > _MANY_VALUES
        )
        self.groups: list[Group] = []
        self.suspected: list[Group] = []
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
                mine = rest & (mined.y == label if label >= 0 else True)
                if mine.sum() < 10:
                    break
                same = clean.take(clean.y == label) if label >= 0 else clean
                search = Search(tokens, mine, rest & ~mine, tokens.held(same), (mined.x[mine], same.x))
                there = Mined(mined, clean, label, rest, expects, fine, search, scale)
                group = self._best(tokens, there, mine, same)
                if group is None:
                    break
                found = group.members(mined) & rest
                if not found.any():
                    break
                # Natural clusters are alike in all columns: their label is no surprise without these either.
                evidence = there.evidence(group, context)
                if self._in_new_rows(group):
                    if evidence.decides(group):
                        group = there.whole(group)
                        found = group.members(mined) & rest
                        self.groups.append(group)
                    elif (level := evidence.level * len(classes)) <= _SUSPECT:
                        self.suspected.append(replace(group, level=level))
                rest = rest & ~found

    def _best(self, tokens: Tokens, mined: Mined, mine: NDArray[np.bool_], same: Block) -> Group | None:
        """The group that explains most rows; None where nothing stands out."""
        x, label, clean = mined.rows.x, mined.label, mined.clean
        combined, seeds = mined.search.combinations()
        best: Group | None = None
        for combination in combined:
            best = _better(best, mined.judge(tuple(tokens.conditions[t] for t in combination)))
        strange = clean.x
        if label >= 0:
            strange = np.vstack([x[mined.rest & ~mine], clean.x[clean.y != label]])
        fitter = Fitter(
            x, mine, same.x, strange, self._context.encoder.categorical, MAX_WIDTH, mined.search.gain
        )
        starts = [tuple(tokens.conditions[t] for t in seed) for seed in seeds]
        for start in [best.conditions, *starts] if best is not None else starts:
            best = _better(best, mined.judge(fitter.fit(start)))
        if best is None:
            return None
        best = _pruned(best, mined)
        for condition in best.conditions:
            moved = mined.judge(fitter.moved(best.conditions, condition))
            if moved is not None and moved.strong >= best.strong and moved.gain > best.gain:
                best = moved
        return best

    def _in_new_rows(self, group: Group) -> bool:
        """Whether rows under new keys show the group too, where rewritten rows are among those it was found in.

        Rewritten rows are decided, and there are more of them than chance would draw: among them alone anything that
        was changed comes too often, and new rows must not pay for that. Of these most must be more than usual.
        """
        context = self._context
        new = context.pool.take(context.fresh & ~context.rewritten)
        if not context.rewritten.any() or len(new) < _LEAST_NEW:
            return True
        sound = context.pool.take(context.reference)
        hits, usual = (int(group.members(rows).sum()) for rows in (new, sound))
        likely = excess(hits, len(new), usual, len(sound))
        return likely <= _CONFIRMED and hits * len(sound) >= _MOSTLY * usual * len(new)

    def score(self, block: Block) -> F64:
        """The group's p-value for its members, 1 for all others and for rows that the snapshot vouches for."""
        p = np.ones(len(block))
        for group in self.groups:
            mask = group.members(block) & ~block.known
            p[mask] = np.minimum(p[mask], max(group.p_value, SUREST))
        for group in self.suspected:
            mask = group.members(block) & ~block.known
            p[mask] = np.minimum(p[mask], group.level)
        return p

    def decides(self, block: Block) -> NDArray[np.bool_]:
        """All members of all groups, but for rows that the snapshot vouches for."""
        mask = np.zeros(len(block), dtype=bool)
        for group in self.groups:
            mask |= group.members(block)
        return mask & ~block.known

    def subjects(self, block: Block) -> list[str]:
        """The trigger that each row belongs to."""
        out = [""] * len(block)
        for number in reversed(range(len(self.groups))):
            for i in np.flatnonzero(self.groups[number].members(block)):
                out[i] = f"trigger {number + 1}"
        return out

    def explain(self, block: Block) -> list[str]:
        """The combination, how often it comes with the label, and how often it should."""
        out = [""] * len(block)
        for group in reversed([*self.groups, *self.suspected]):
            for i in np.flatnonzero(group.members(block)):
                out[i] = self._sentence(group)
        return out

    def _sentence(self, group: Group) -> str:
        label = self._context.encoder.class_name(group.label) if group.label >= 0 else "any"
        p_value = group.p_value if group.level == 1 else group.level
        expected = f"{group.expected:.1f}" if group.expected >= 0.1 else "fewer than 0.1"
        around = ", or lies close around that," if group.fringe else ""
        return (
            f"shares {self.words(group)}{around} with about {group.rows} rows labelled {label!r}, "
            f"where {expected} would be expected and {group.reference} reference rows of that class do "
            f"(p = {p_value:.2g})"
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
        if not self.groups and not self.suspected:
            message = "no value or combination of values comes too often with one label"
            return [Finding(check="screen.spikes", outcome=Outcome.PASSED, message=message)]
        found = [
            self._finding(group, f"trigger {number}", Severity.CRITICAL, group.p_value)
            for number, group in enumerate(self.groups, start=1)
        ]
        return found + [
            self._finding(group, f"suspected trigger {number}", Severity.MEDIUM, group.level)
            for number, group in enumerate(self.suspected, start=1)
        ]

    def _finding(self, group: Group, subject: str, severity: Severity, p_value: float) -> Finding:
        encoder = self._context.encoder
        message = self._sentence(group).replace("shares", "rows share", 1)
        if group.level < 1:
            message += "; too little to quarantine them for it"
        return Finding(
            check="screen.spikes",
            outcome=Outcome.FAILED,
            severity=severity,
            scope=Scope.GROUP,
            subject=subject,
            message=message,
            evidence={
                "columns": [encoder.columns[c.column] for c in group.conditions],
                "label": encoder.class_name(group.label),
                "members": group.rows,
                "expected": round(group.expected, 3),
                "reference_rows": group.reference,
                "same_values_other_label": group.others,
                "p_value": p_value,
            },
            technique=self.technique,
        )


def _better(one: Group | None, other: Group | None) -> Group | None:
    return one if other is None or (one is not None and one.rank <= other.rank) else other


def _pruned(group: Group, mined: Mined) -> Group:
    """Drop conditions that most poisoned rows meet by chance: what is left is the trigger, and no row is lost."""
    while len(group.conditions) > 1:
        wider: Group | None = None
        every = group.conditions
        # Two at once as well: of two columns that go together, dropping one alone frees nothing.
        choices = [(c,) for c in every] + ([*combinations(every, 2)] if len(every) > 3 else [])
        for dropped in choices:
            found = mined.judge(tuple(c for c in every if c not in dropped))
            if found is None or found.strong < group.strong:
                continue
            added, natural = found.seen - group.seen, (found.expected - group.expected) / mined.scale
            if added <= 2 * natural or found.gain < _KEPT_GAIN * group.gain:
                continue
            if wider is None or found.gain > wider.gain:
                wider = found
        if wider is None:
            return group
        group = wider
    return group
