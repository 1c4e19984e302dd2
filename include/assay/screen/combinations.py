"""Combinations of values: which ones a table holds, how often each should come, and where a group of rows lies.

Columns are cut into tokens: frequent exact values, and overlapping narrow windows for values that vary a little. Within
one class, pairs of tokens that stand together more often than their own rates, the other classes' dependence and the
reference rows explain are grown to larger combinations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.screen.context import Context
from assay.screen.encoding import F64, I64, Block

MAX_WIDTH = 5
"""Most columns that a combination is grown to."""

SHAPE = 2.0
"""How many hits the expectation from independence is worth beside those that reference rows show."""

_MAX_TOKENS = 2_500
_TOP_PAIRS = 60
_WINDOW = 0.25
_MAX_LEVELS = 60
_FITS = 4
_TOGETHER = 0.7
_SAME = 0.9
_USUAL = 0.5
_UNUSUAL = 0.35


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
        self.matrix = np.zeros((len(mined), len(conditions)), dtype=np.float32)
        for t, rows in enumerate(masks):
            self.matrix[rows, t] = 1.0

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
    ) -> None:
        self._tokens = tokens
        self._clean = clean
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
        # Poison raises its own tokens' rates: reference rows of the class have a say in them.
        rate = np.maximum(self._margin, 0.5) / self.rows
        known = clean.sum(axis=0).astype(np.float64)
        self._log_rate = np.log(np.minimum(rate, (SHAPE + known) / (SHAPE / rate + len(clean))))

    def expected(self, conditions: tuple[Condition, ...]) -> float:
        """Rows of the class that would meet all conditions by their rates and the other classes' mutual attraction."""
        total = np.log(self.rows)
        nearest = [self._tokens.nearest(condition) for condition in conditions]
        most = np.log(self.rows)
        for token, condition in zip(nearest, conditions, strict=True):
            own = self._tokens.conditions[token]
            # A fitted interval may span several windows.
            wider = max(1.0, (condition.high - condition.low) / max(own.high - own.low, 1e-300))
            log_rate = min(0.0, self._log_rate[token] + (np.log(wider) if own.high > own.low else 0.0))
            total += log_rate
            most = min(most, np.log(max(self._margin[token] * min(wider, 10.0), 0.5)))
        for i, a in enumerate(nearest):
            for b in nearest[i + 1 :]:
                total += float(self._lift[a, b])
        return float(np.exp(min(total, most)))

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

    def combinations(self) -> list[tuple[int, ...]]:
        """Candidates: single tokens, the most excessive pairs, and what they grow to."""
        least = max(5.0, 0.002 * self.rows)
        log_expected = np.log(self.rows) + self._log_rate[:, None] + self._log_rate[None, :] + self._lift
        expected = np.exp(log_expected)
        if len(self._clean):
            together = (self._clean.T @ self._clean).astype(np.float64)
            expected = self._updated(expected, together)
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


def fitted(
    start: tuple[Condition, ...],
    x: F64,
    label: NDArray[np.bool_],
    sound: F64,
    categorical: NDArray[np.bool_],
) -> tuple[Condition, ...]:
    """Columns and intervals that describe the group best.

    Windows seldom sit right on jittered values, and the search stops before it has every column. So each column in
    which most of the members lie closely together, where other rows of the label do not, becomes a condition, with
    an interval as wide as the members' own spread lets expect; then members are taken anew.

    Args:
        start: The combination that was found.
        x: (n, d) rows.
        label: (n,) which of them carry the group's label.
        sound: (m, d) reference rows of that label.
        categorical: (d,) which columns hold codes instead of numbers.
    """
    conditions = start
    for _ in range(_FITS):
        core = label.copy()
        for condition in conditions:
            core &= condition.holds(x)
        others = np.vstack([x[label & ~core], sound])
        if core.sum() < 5 or len(others) < 20:
            break
        mine = {condition.column: condition for condition in conditions}
        found = []
        for j in range(x.shape[1]):
            near = _around(mine[j], conditions, x, label) if j in mine else core
            interval = _interval(j, x[near, j], bool(categorical[j]))
            if interval is None:
                continue
            elsewhere = float(interval.holds(others).mean())
            if elsewhere <= (_USUAL if j in mine else _UNUSUAL):
                found.append(interval)
        # Natural clusters are alike in most columns, and no trigger is that wide.
        if not found or len(found) > max(MAX_WIDTH, len(mine)) or tuple(found) == conditions:
            break
        conditions = tuple(found)
    return conditions


def _around(
    condition: Condition, conditions: tuple[Condition, ...], x: F64, label: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Rows that meet all other conditions and lie near this one: inside a window its spread cannot be seen."""
    reach = condition.high - condition.low
    out = label & Condition(condition.column, condition.low - reach, condition.high + reach).holds(x)
    for other in conditions:
        if other is not condition:
            out &= other.holds(x)
    return np.asarray(out)


def _interval(column: int, values: F64, categorical: bool) -> Condition | None:
    """Where nearly all of a group's values lie; None if they do not lie together."""
    values = np.sort(values[np.isfinite(values)])
    n = len(values)
    if n < 5:
        return None
    inside = int(np.ceil(_TOGETHER * n))
    starts = np.arange(n - inside + 1)
    first = int(np.argmin(values[starts + inside - 1] - values[starts]))
    low, high = float(values[first]), float(values[first + inside - 1])
    if categorical:
        return Condition(column, low, high) if low == high and np.mean(values == low) >= _SAME else None
    # The shortest interval that holds 70 % of a normal sample is 2.07 deviations wide.
    reach = 2.3 * (high - low) / 2
    return Condition(column, low - reach, high + reach)
