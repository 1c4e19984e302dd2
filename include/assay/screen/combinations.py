"""Combinations of values: which ones a table holds, how often each should come, and where a group of rows lies.

Columns are cut into tokens: frequent exact values, and overlapping narrow windows for values that vary a little. Within
one class, pairs of tokens that stand together more often than their own rates, the other classes' dependence and the
reference rows explain are grown to larger combinations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block
from assay.screen.intervals import Condition

MAX_WIDTH = 5
"""Most columns that a combination is grown to."""

SHAPE = 2.0
"""How many hits the expectation from independence is worth beside those that reference rows show."""

_MAX_TOKENS = 2_500
_TOP_PAIRS = 60
_LEAST_GAIN = 2.0
_SEEDS = 8
_COMMON = 0.5
_WINDOW = 0.25
_MAX_LEVELS = 60


def excess(seen: int, expected: float) -> float:
    """Log likelihood ratio of a Poisson count against what is expected; 0 where no more are seen."""
    if seen <= expected:
        return 0.0
    return float(seen * np.log(seen / max(expected, 1e-9)) - (seen - expected))


class Tokens:
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
        # Parts of one column go together by nature: a combination holds at most one of them.
        self.own: I64 = np.array([c.column for c in conditions], dtype=np.int64)
        self.columns: I64 = encoder.base[np.array([c.column for c in conditions], dtype=np.int64)]
        self._together: tuple[NDArray[np.bool_], NDArray[np.float32]] | None = None
        self.matrix = np.zeros((len(mined), len(conditions)), dtype=np.float32)
        for t, rows in enumerate(masks):
            self.matrix[rows, t] = 1.0

    def together(self, rows: NDArray[np.bool_]) -> NDArray[np.float32]:
        """(tokens, tokens) in how many of some rows two tokens stand together; kept until other rows are asked for."""
        if self._together is None or not np.array_equal(self._together[0], rows):
            part = self.matrix[rows]
            self._together = rows.copy(), part.T @ part
        return self._together[1]

    def nearest(self, condition: Condition) -> int:
        """The token that covers most of a condition; of equals the narrowest."""
        best, found = (-1.0, 0.0), -1
        for t in np.flatnonzero(self.own == condition.column):
            token = self.conditions[t]
            shared = min(token.high, condition.high) - max(token.low, condition.low)
            fit = (shared if shared > 0 else 0.0 if shared == 0 else -1.0, token.low - token.high)
            if found < 0 or fit > best:
                best, found = fit, int(t)
        return found

    def held(self, block: Block) -> NDArray[np.float32]:
        """(n, tokens) which tokens other rows hold, 1 or 0."""
        out = np.zeros((len(block), len(self.conditions)), dtype=np.float32)
        for t, condition in enumerate(self.conditions):
            out[:, t] = condition.holds(block.x)
        return out

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


class Search:
    """Combinations of tokens within one class, ranked by how far they exceed what is expected."""

    def __init__(
        self,
        tokens: Tokens,
        mine: NDArray[np.bool_],
        rest: NDArray[np.bool_],
        clean: NDArray[np.float32],
        values: tuple[F64, F64],
    ) -> None:
        self._tokens = tokens
        self._values = values
        self._clean = clean
        self._matrix = tokens.matrix[mine]
        self.rows = float(mine.sum())
        self._pairs = self._matrix.T @ self._matrix
        self._margin = np.diagonal(self._pairs).astype(np.float64)
        # Of many classes each asks for its pairs and for those of all others: the whole is counted once.
        other = tokens.together(mine | rest) - self._pairs
        margin = np.diagonal(other)
        by_chance = np.outer(margin, margin) / np.float32(max(int(rest.sum()), 1))
        # How strongly two tokens attract each other in the other classes, where the trigger is not.
        self._lift = np.log(np.maximum((other + 1.0) / (by_chance + 1.0), 1.0)).astype(np.float32)
        # Poison raises its own tokens' rates: reference rows of the class have a say in them.
        rate = np.maximum(self._margin, 0.5) / self.rows
        known = clean.sum(axis=0).astype(np.float64)
        self._log_rate = np.log(np.minimum(rate, (SHAPE + known) / (SHAPE / rate + len(clean))))

    def expected(self, conditions: tuple[Condition, ...]) -> float:
        """Rows of the class that would meet all conditions by their rates and the other classes' mutual attraction."""
        total = np.log(self.rows)
        nearest = [self._tokens.nearest(condition) for condition in conditions]
        most = np.log(self.rows)
        for condition in conditions:
            mine, known = (float(condition.holds(x).sum()) for x in self._values)
            rate = max(mine, 0.5) / self.rows
            total += np.log(min(rate, (SHAPE + known) / (SHAPE / rate + len(self._clean))))
            most = min(most, np.log(max(mine, 0.5)))
        for i, a in enumerate(nearest):
            for b in nearest[i + 1 :]:
                total += float(self._lift[a, b])
        return float(np.exp(min(total, most)))

    def gain(self, conditions: tuple[Condition, ...]) -> float:
        """Log likelihood ratio of the rows of the class that meet all conditions against those expected."""
        there = np.ones(len(self._values[0]), dtype=bool)
        clean = np.ones(len(self._values[1]), dtype=bool)
        for condition in conditions:
            there &= condition.holds(self._values[0])
            clean &= condition.holds(self._values[1])
        expected = self._updated(np.array([self.expected(conditions)]), np.array([float(clean.sum())]))
        return excess(int(there.sum()), float(expected[0]))

    def _updated(self, expected: F64, known: F64) -> F64:
        """What the reference rows, `known` of which hold the combination, make of an expectation."""
        rate = np.maximum(expected, 1e-9) / self.rows
        return np.asarray(self.rows * (SHAPE + known) / (SHAPE / rate + len(self._clean)))

    def penalty(self, width: int) -> float:
        """Log of how many combinations of that width there were to choose from."""
        columns = len(np.unique(self._tokens.columns))
        per_column = len(self._tokens.columns) / max(columns, 1)
        choices = 0.0
        for k in range(width):
            choices += np.log(max(columns - k, 1)) - np.log(k + 1) + np.log(max(per_column, 1))
        return float(choices)

    def combinations(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Candidates: the most excessive pairs and what they grow to; and pairs of different columns to start from."""
        least = max(5.0, 0.002 * self.rows)
        columns = self._tokens.columns
        # Of millions of pairs few come often enough to matter.
        a, b = np.nonzero(np.triu(self._pairs >= least) & (columns[:, None] != columns[None, :]))
        counts = self._pairs[a, b].astype(np.float64)
        expected = self.rows * np.exp(self._log_rate[a] + self._log_rate[b] + self._lift[a, b])
        if len(self._clean):
            expected = self._updated(expected, (self._clean.T @ self._clean)[a, b].astype(np.float64))
        gain = counts * np.log(counts / expected) - (counts - expected)
        gain[(counts <= 1.3 * expected) | (gain <= _LEAST_GAIN)] = 0.0
        best = np.lexsort((b, a, -gain))[: min(_TOP_PAIRS, int((gain > 0).sum()))]
        out: list[tuple[int, ...]] = []
        seeds: dict[tuple[int, int], tuple[int, ...]] = {}
        for first, second in zip(a[best].tolist(), b[best].tolist(), strict=True):
            out += self._grow((first, second))
            if max(self._margin[first], self._margin[second]) > _COMMON * self.rows:
                continue
            own = int(self._tokens.own[first]), int(self._tokens.own[second])
            seeds.setdefault(own, (first, second))
        return list(dict.fromkeys(out)), list(seeds.values())[:_SEEDS]

    def _grow(self, pair: tuple[int, int]) -> list[tuple[int, ...]]:
        out: list[tuple[int, ...]] = [pair]
        current: tuple[int, ...] = pair
        rows = self._matrix[:, pair[0]] * self._matrix[:, pair[1]] > 0
        clean = self._clean[:, pair[0]] * self._clean[:, pair[1]] > 0
        while len(current) < MAX_WIDTH:
            counts = self._matrix[rows].sum(axis=0).astype(np.float64)
            base = float(np.log(max(self.expected(tuple(self._tokens.conditions[t] for t in current)), 1e-9)))
            log_expected = base + self._log_rate
            for t in current:
                log_expected = log_expected + self._lift[t]
            expected = np.exp(log_expected)
            if len(self._clean):
                expected = self._updated(expected, self._clean[clean].sum(axis=0).astype(np.float64))
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
            clean &= self._clean[:, token] > 0
            out.append(current)
        return out
