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
from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.errors import NotApplicable

_MINE_ROWS = 8_000
_MAX_TOKENS = 2_500
_MAX_WIDTH = 5
_TOP_PAIRS = 60
_MAX_GROUPS = 6
_WINDOW = 0.25
_MAX_LEVELS = 60
_SHAPE = 2.0
_CONCENTRATION = 8.0
_LEVEL = 1e-4
_SURPRISE = 0.02
_MILD = 0.25
_MANY_VALUES = 100
_OVERWHELMING = 1e-12


@dataclass(frozen=True)
class Condition:
    """A column's value lies between `low` and `high`, both included."""

    column: int
    low: float
    high: float

    def holds(self, x: F64) -> NDArray[np.bool_]:
        """Which rows of an (n, d) matrix meet it."""
        values = x[:, self.column]
        return np.asarray((values >= self.low) & (values <= self.high))


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
        tokens = _Tokens(context, mined)
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
        expected = context.models.without(context.pool, mined.take(there), columns)
        if expected is None:
            return True
        return _surprise(int(found.sum()), int(there.sum()), float(expected[:, group.label].mean())) <= (
            _MILD if group.overwhelming else _SURPRISE
        )

    def _best(
        self,
        tokens: _Tokens,
        mined: Block,
        clean: Block,
        expects: F64 | None,
        label: int,
        rest: NDArray[np.bool_],
    ) -> Group | None:
        mine = rest & (mined.y == label if label >= 0 else True)
        if mine.sum() < 10:
            return None
        search = _Search(tokens, mine, rest & ~mine)
        best: Group | None = None
        for combination in search.combinations():
            conditions = tuple(tokens.conditions[t] for t in combination)
            group = self._judge(search, combination, conditions, mined, clean, expects, label, rest)
            if group is not None and (best is None or group.p_value < best.p_value):
                best = group
        if best is None:
            return None
        best = self._prune(best, search, tokens, mined, clean, expects, rest)
        combination = tuple(tokens.conditions.index(c) for c in best.conditions)
        wider = self._judge(
            search, combination, self._widen(best, mined, rest), mined, clean, expects, label, rest
        )
        return wider if wider is not None and wider.seen >= 0.8 * best.seen else best

    def _prune(
        self,
        group: Group,
        search: _Search,
        tokens: _Tokens,
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
                combination = tuple(tokens.conditions.index(c) for c in kept)
                found = self._judge(search, combination, kept, mined, clean, expects, group.label, rest)
                if found is None:
                    continue
                added, natural = found.seen - group.seen, (found.expected - group.expected) / self._scale
                if added > 2 * natural and (wider is None or found.seen > wider.seen):
                    wider = found
            if wider is None:
                return group
            group = wider
        return group

    def _judge(
        self,
        search: _Search,
        combination: tuple[int, ...],
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
        expected = max(search.expected(combination), 0.05)
        # The clean rate has a gamma prior around what independence and the other classes suggest, updated by the
        # reference rows; the count in the batch is then negative binomial.
        shape = _SHAPE + reference
        pace = _SHAPE / (expected / rows) + size
        log_p = negative_binomial_tail(seen, shape, pace, rows)
        if reference > 1:
            # Where reference rows hold the combination too, they know its rate better than any assumption does.
            log_p = max(log_p, negative_binomial_tail(seen, reference + 1.0, float(size), rows))
        # Natural dependence between coarse or windowed columns can look as strong as this; between exact values of
        # columns that have hundreds of them it cannot.
        exact = all(c.low == c.high and c.column in self._fine for c in conditions)
        overwhelming = exact and log_p + search.penalty(len(combination)) <= np.log(_OVERWHELMING)
        share = float("nan")
        if expects is not None and label >= 0 and there.any():
            share = float(expects[there, label].mean())
            surprise = _surprise(seen, seen + others, share)
            # The label must be one that clean rows like these would not carry, unless the count alone says it all.
            if surprise > (_MILD if overwhelming else _SURPRISE):
                return None
            log_p += float(np.log(max(surprise, 1e-300)))
        log_p += search.penalty(len(combination))
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
            overwhelming=bool(overwhelming),
        )

    def _widen(self, group: Group, mined: Block, rest: NDArray[np.bool_]) -> tuple[Condition, ...]:
        """Fit each interval to the rows that meet all other conditions: windows seldom sit right on jittered values."""
        conditions = list(group.conditions)
        label = mined.y == group.label if group.label >= 0 else np.ones(len(mined), dtype=bool)
        for index, condition in enumerate(conditions):
            if condition.low == condition.high:
                continue
            others = rest & label
            for other in conditions[:index] + conditions[index + 1 :]:
                others &= other.holds(mined.x)
            width = condition.high - condition.low
            low, high = condition.low - width, condition.high + width
            inside = np.sort(mined.x[others & (mined.x[:, condition.column] >= low), condition.column])
            inside = inside[inside <= high]
            background = mined.x[rest & label, condition.column]
            edges = np.linspace(low, high, 25)
            share = others.sum() / max((rest & label).sum(), 1)
            expected = np.histogram(background, edges)[0] * share
            counts = np.histogram(inside, edges)[0]
            first, last = _best_segment(counts - 1.0 * np.maximum(expected, 0.1) - 0.3)
            values = inside[(inside >= edges[first]) & (inside <= edges[last + 1])]
            if len(values):
                conditions[index] = Condition(condition.column, float(values.min()), float(values.max()))
        return tuple(conditions)

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


class _Tokens:
    """Frequent values and overlapping windows of every column, and which rows hold them."""

    def __init__(self, context: Context, mined: Block) -> None:
        encoder = context.encoder
        least = max(6, round(0.0015 * len(mined)))
        conditions: list[Condition] = []
        masks: list[NDArray[np.int64]] = []
        for j in range(len(encoder.columns)):
            values = mined.x[:, j]
            finite = values[np.isfinite(values)]
            if len(finite) < least:
                continue
            distinct, counts = np.unique(finite, return_counts=True)
            frequent = np.flatnonzero(counts >= least)
            frequent = frequent[np.argsort(-counts[frequent], kind="stable")][:_MAX_LEVELS]
            for v in distinct[np.sort(frequent)]:
                conditions.append(Condition(j, float(v), float(v)))
                masks.append(np.flatnonzero(values == v))
            if encoder.categorical[j] or len(distinct) < 12:
                continue
            low, high = np.quantile(finite, [0.001, 0.999])
            spread = float(np.std(np.clip(finite, low, high)))
            if spread <= 0:
                continue
            width = max(_WINDOW * spread, (high - low) / 100)
            for offset in (0.0, width / 2):
                place = np.floor((values - low - offset) / width)
                place[~np.isfinite(place)] = np.nan
                cells, cell_counts = np.unique(place[np.isfinite(place)], return_counts=True)
                for cell in cells[cell_counts >= least]:
                    rows = np.flatnonzero(place == cell)
                    if len(np.unique(values[rows])) == 1:
                        continue  # the exact value is a token already
                    start = low + offset + cell * width
                    conditions.append(Condition(j, float(start), float(np.nextafter(start + width, -np.inf))))
                    masks.append(rows)
        if len(conditions) > _MAX_TOKENS:
            keep = self._unusual(mined, masks)
            conditions = [conditions[i] for i in keep]
            masks = [masks[i] for i in keep]
        self.conditions = conditions
        self.columns: I64 = np.array([c.column for c in conditions], dtype=np.int64)
        self.matrix = np.zeros((len(mined), len(conditions)), dtype=np.float32)
        for t, rows in enumerate(masks):
            self.matrix[rows, t] = 1.0

    @staticmethod
    def _unusual(mined: Block, masks: list[NDArray[np.int64]]) -> list[int]:
        """The tokens whose label mix departs most from the whole's: a trigger's do."""
        y = np.where(mined.y >= 0, mined.y, 0)
        base = np.bincount(y) / len(y)
        scores = []
        for rows in masks:
            share = np.bincount(y[rows], minlength=len(base))
            expected = len(rows) * base
            scores.append(float(((share - expected) / np.sqrt(expected + 1)).max()))
        return sorted(np.argsort(-np.array(scores), kind="stable")[:_MAX_TOKENS].tolist())


class _Search:
    """Combinations of tokens within one class, ranked by how far they exceed what is expected."""

    def __init__(self, tokens: _Tokens, mine: NDArray[np.bool_], rest: NDArray[np.bool_]) -> None:
        self._tokens = tokens
        self._matrix = tokens.matrix[mine]
        other = tokens.matrix[rest]
        self.rows = float(mine.sum())
        self._margin = self._matrix.sum(axis=0).astype(np.float64)
        self._pairs = (self._matrix.T @ self._matrix).astype(np.float32)
        n = max(float(rest.sum()), 1.0)
        margin = other.sum(axis=0).astype(np.float64)
        by_chance = np.outer(margin, margin) / n
        # How strongly two tokens attract each other in the other classes, where the trigger is not.
        with np.errstate(divide="ignore", invalid="ignore"):
            lift = ((other.T @ other) + 1.0) / (by_chance + 1.0)
        self._lift = np.log(np.maximum(lift, 1.0)).astype(np.float32)
        self._log_rate = np.log(np.maximum(self._margin, 0.5) / self.rows)

    def expected(self, combination: tuple[int, ...]) -> float:
        """Rows of the class that would hold all tokens by their rates and the other classes' pairwise attraction."""
        total = np.log(self.rows) + sum(self._log_rate[t] for t in combination)
        for i, a in enumerate(combination):
            for b in combination[i + 1 :]:
                total += float(self._lift[a, b])
        return float(np.exp(min(total, min(np.log(max(self._margin[t], 0.5)) for t in combination))))

    def penalty(self, width: int) -> float:
        """Log of how many combinations of that width there were to choose from."""
        columns = len(np.unique(self._tokens.columns))
        per_column = len(self._tokens.columns) / max(columns, 1)
        choices = 0.0
        for k in range(width):
            choices += np.log(max(columns - k, 1)) - np.log(k + 1) + np.log(max(per_column, 1))
        return float(choices)

    def combinations(self) -> list[tuple[int, ...]]:
        """Candidates: single tokens, the most excessive pairs, and what they grow to."""
        least = max(5.0, 0.002 * self.rows)
        log_expected = np.log(self.rows) + self._log_rate[:, None] + self._log_rate[None, :] + self._lift
        expected = np.exp(log_expected)
        counts = self._pairs
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = np.where(
                counts > 1.3 * expected, counts * np.log(counts / expected) - (counts - expected), 0.0
            )
        same = self._tokens.columns[:, None] == self._tokens.columns[None, :]
        gain[same | (counts < least)] = 0.0
        gain = np.triu(gain)
        flat = gain.ravel()
        top = min(_TOP_PAIRS, int((flat > 2).sum()))
        out: list[tuple[int, ...]] = []
        if top:
            best = np.argpartition(-flat, top - 1)[:top]
            best = best[np.lexsort((best, -flat[best]))]
            for position in best:
                a, b = divmod(int(position), len(self._margin))
                out += self._grow((a, b))
        return list(dict.fromkeys(out))

    def _grow(self, pair: tuple[int, int]) -> list[tuple[int, ...]]:
        out: list[tuple[int, ...]] = [pair]
        current: tuple[int, ...] = pair
        rows = self._matrix[:, pair[0]] * self._matrix[:, pair[1]] > 0
        while len(current) < _MAX_WIDTH:
            counts = self._matrix[rows].sum(axis=0).astype(np.float64)
            base = float(np.log(max(self.expected(current), 1e-9)))
            log_expected = base + self._log_rate
            for t in current:
                log_expected = log_expected + self._lift[t]
            expected = np.exp(log_expected)
            with np.errstate(divide="ignore", invalid="ignore"):
                gain = counts * np.log(counts / expected) - (counts - expected)
            gain[np.isin(self._tokens.columns, self._tokens.columns[list(current)]) | (counts < 5)] = -np.inf
            gain = np.nan_to_num(gain, nan=-np.inf, posinf=-np.inf, neginf=-np.inf)
            # Most of the rows must stay, or growing only cuts the group to pieces.
            gain[counts < 0.4 * rows.sum()] = -np.inf if len(current) > 2 else gain[counts < 0.4 * rows.sum()]
            token = int(np.argmax(gain))
            if not np.isfinite(gain[token]):
                break
            current = tuple(sorted((*current, token)))
            rows &= self._matrix[:, token] > 0
            out.append(current)
        return out


def _surprise(seen: int, rows: int, share: float) -> float:
    """P-value of so many rows with the label where a model expects this share, allowing for the model's own error."""
    share = min(max(share, 0.02), 0.98)
    return beta_binomial_tail(seen, rows, _CONCENTRATION * share, _CONCENTRATION * (1 - share))


def _best_segment(gains: F64) -> tuple[int, int]:
    """First and last index of the run with the largest sum (Kadane)."""
    best, best_range, total, start = -np.inf, (0, len(gains) - 1), 0.0, 0
    for i, gain in enumerate(gains):
        if total <= 0:
            total, start = 0.0, i
        total += gain
        if total > best:
            best, best_range = total, (start, i)
    return best_range
