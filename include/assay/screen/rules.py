"""Relations between columns that hold in every one of many rows, and would not by chance.

Five kinds are looked for: an order (a <= b between like columns), an equation (b = s·a + c, a + b = c, a·b = c, within
rounding), an implication between categories or missing cells (functional dependencies, whole or for single levels), and
a column's own precision (whole numbers, two decimals), which values that were moved or jittered seldom keep. A relation
counts only if independent columns would have broken it almost surely, so that what holds by accident of the
ranges is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from assay.screen.encoding import F64, I64, MISSING, Block, Encoder

_MAX_NUMERIC = 40
_MAX_TRIPLES = 16
_MAX_CATEGORIES = 40
_MAX_LEVELS = 200
_FEW_VALUES = 50
_MIN_SUPPORT = 30
_ROUNDING = 0.01
_LINEAR = 1e-4
_CHANCE = math.log(1e-6)
_MAX_RULES = 200
_MAX_DECIMALS = 4


@dataclass(frozen=True)
class Rule:
    """One relation.

    Attributes:
        words: The relation as a person would write it.
        columns: Columns of `Block.x` that it speaks of.
        support: Clean rows that it could have failed in, and did in none.
        kind: `order`, `linear`, `sum`, `product`, `implies` or `precision`.
        numbers: Of an equation: slope, offset and tolerance. Of a precision: how many steps make one unit.
        needs: Of an implication: for each code of the first column the code that the second must have, -9 for any.
        flags: Of an implication: whether each column stands for its missing flag.
    """

    words: str
    columns: tuple[int, ...]
    support: int
    kind: str
    numbers: tuple[float, ...] = ()
    needs: tuple[int, ...] = ()
    flags: tuple[bool, bool] = (False, False)
    values: tuple[tuple[float, ...], ...] = field(default=())

    @property
    def bound(self) -> float:
        """Upper 95 % bound on how often clean rows break it (rule of three: Hanley and Lippman-Hand, 1983)."""
        return float(1 - 0.05 ** (1 / max(self.support, 1)))

    def broken(self, x: F64) -> NDArray[np.bool_]:
        """Which rows of an (n, d) matrix break it; rows that it does not speak of do not."""
        a = x[:, self.columns[0]]
        if self.kind == "precision":
            return _off_grid(a, self.numbers[0])
        b = x[:, self.columns[1]]
        with np.errstate(invalid="ignore", over="ignore"):
            if self.kind == "order":
                return np.asarray(a > b)
            if self.kind == "linear":
                slope, offset, tolerance = self.numbers
                return np.asarray(np.abs(b - slope * a - offset) > tolerance)
            if self.kind in {"sum", "product"}:
                made = a + b if self.kind == "sum" else a * b
                return np.asarray(np.abs(x[:, self.columns[2]] - made) > self.numbers[0])
        needs = np.array((*self.needs, -9), dtype=np.int64)
        wanted = needs[_coded(a, self.flags[0], self.values[0])]
        return np.asarray((wanted > -9) & (wanted != _coded(b, self.flags[1], self.values[1])))


def learn(encoder: Encoder, clean: Block) -> list[Rule]:
    """The relations that hold in all clean rows, at most 200, best supported first."""
    rules = [*_numeric(encoder, clean), *_implications(encoder, clean), *_precisions(encoder, clean)]
    rules.sort(key=lambda rule: (-rule.support, rule.words))
    return rules[:_MAX_RULES]


# -- numbers -----------------------------------------------------------------------------------------------------------


def _numeric(encoder: Encoder, clean: Block) -> Iterator[Rule]:
    kinds = {"date": "time", "timestamp": "moment", "integer": "number", "number": "number"}
    columns = []
    for j, part in enumerate(encoder.parts):
        values = clean.x[np.isfinite(clean.x[:, j]), j]
        varies = len(values) >= _MIN_SUPPORT and values.min() < values.max()
        if part.aspect == "value" and part.levels is None and varies:
            kind = kinds.get(encoder.schema.columns[part.column].type)
            if kind is not None:
                columns.append((j, kind))
    columns = columns[:_MAX_NUMERIC]
    equal: set[frozenset[int]] = set()
    pairs = [(a, b) for a, kind in columns for b, other in columns if a != b and kind == other]
    for a, b in pairs:
        if a < b and (rule := _linear(encoder, clean, a, b)) is not None:
            equal.add(frozenset((a, b)))
            yield rule
    for a, b in pairs:
        if frozenset((a, b)) not in equal and (rule := _order(encoder, clean, a, b, len(pairs))) is not None:
            yield rule
    yield from _triples(encoder, clean, [j for j, kind in columns if kind == "number"][:_MAX_TRIPLES], equal)


def _precisions(encoder: Encoder, clean: Block) -> Iterator[Rule]:
    """Columns whose numbers all have few decimals."""
    for j, part in enumerate(encoder.parts):
        if (
            part.aspect != "value"
            or part.levels is not None
            or encoder.schema.columns[part.column].type != "number"
        ):
            continue
        values = clean.x[np.isfinite(clean.x[:, j]), j]
        if len(values) < _MIN_SUPPORT or len(np.unique(values)) < 5:
            continue
        for decimals in range(_MAX_DECIMALS + 1):
            if np.abs(values).max() * 10.0**decimals * 2.0**-22 >= 0.25:
                break  # a float32 of that size says nothing of so fine a grid
            if not _off_grid(values, 10.0**decimals).any():
                ending = f"at most {decimals} decimals" if decimals else "no decimals"
                words = f"{encoder.columns[j]} has {ending}"
                yield Rule(words, (j,), len(values), "precision", (10.0**decimals,))
                break


def _off_grid(values: F64, steps: float) -> NDArray[np.bool_]:
    """Which numbers are no multiple of one part in `steps`, as far as a float32 can tell."""
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = values * steps
        slack = np.maximum(np.abs(scaled) * 2.0**-22, 1e-6)
        return np.asarray(np.isfinite(values) & (slack < 0.25) & (np.abs(scaled - np.round(scaled)) > slack))


def _linear(encoder: Encoder, clean: Block, a: int, b: int) -> Rule | None:
    rows = np.isfinite(clean.x[:, a]) & np.isfinite(clean.x[:, b])
    x, y = clean.x[rows, a], clean.x[rows, b]
    if len(x) < _MIN_SUPPORT or len(np.unique(x)) < 5 or len(np.unique(y)) < 5:
        return None
    centred = x - x.mean()
    slope = float((centred * (y - y.mean())).sum() / (centred**2).sum())
    offset = float(y.mean() - slope * x.mean())
    worst = float(np.abs(y - slope * x - offset).max())
    scale = float(y.std())
    if worst > _LINEAR * scale or not math.isfinite(slope):
        return None
    first, second = encoder.columns[a], encoder.columns[b]
    shown = "" if abs(slope - 1) < 1e-6 else f"{slope:.6g} * "
    small = abs(offset) <= 1e-6 * max(scale, abs(float(y.mean())))
    words = f"{second} = {shown}{first}" + (
        "" if small else f" {'+' if offset > 0 else '-'} {abs(offset):.6g}"
    )
    return Rule(words, (a, b), len(x), "linear", (slope, offset, 3 * worst + 1e-4 * scale))


def _order(encoder: Encoder, clean: Block, a: int, b: int, pairs: int) -> Rule | None:
    rows = np.isfinite(clean.x[:, a]) & np.isfinite(clean.x[:, b])
    x, y = clean.x[rows, a], clean.x[rows, b]
    if len(x) < _MIN_SUPPORT or (x > y).any():
        return None
    # How often independent columns with these values would break it.
    above = 1 - np.searchsorted(np.sort(x), y, side="right") / len(x)
    share = min(float(above.mean()), 1 - 1e-12)
    if len(x) * math.log1p(-share) + math.log(pairs) > _CHANCE:
        return None
    return Rule(f"{encoder.columns[a]} <= {encoder.columns[b]}", (a, b), len(x), "order")


def _triples(
    encoder: Encoder, clean: Block, columns: list[int], equal: set[frozenset[int]]
) -> Iterator[Rule]:
    x = clean.x[:, columns]
    x = x[np.isfinite(x).all(axis=1)]
    if len(columns) < 3 or len(x) < _MIN_SUPPORT:
        return
    spread = x.std(axis=0)
    for i, a in enumerate(columns):
        for j in range(i + 1, len(columns)):
            b = columns[j]
            for kind, sign, made in (("sum", "+", x[:, i] + x[:, j]), ("product", "*", x[:, i] * x[:, j])):
                worst = np.abs(x - made[:, None]).max(axis=0)
                for k in np.flatnonzero(worst <= _ROUNDING * np.minimum(spread, made.std())):
                    c = columns[k]
                    if k in (i, j) or {frozenset((a, c)), frozenset((b, c))} & equal or spread[k] <= 0:
                        continue
                    names = encoder.columns
                    words = f"{names[c]} = {names[a]} {sign} {names[b]}"
                    tolerance = 3 * float(worst[k]) + 1e-6 * float(spread[k])
                    yield Rule(words, (a, b, c), len(x), kind, (tolerance,))


# -- categories and missing cells --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Coded:
    column: int
    flag: bool
    values: tuple[float, ...]
    codes: I64
    levels: int


def _coded(x: F64, flag: bool, values: tuple[float, ...]) -> I64:
    """Codes from 0 for the values that were seen, -1 for others; of a missing flag 0 and 1."""
    if flag:
        return np.where(np.isfinite(x) & (x != MISSING), 0, 1).astype(np.int64)
    known = np.array(values)
    place = np.minimum(np.searchsorted(known, x), len(known) - 1)
    return np.where(known[place] == x, place, -1)


def _categories(encoder: Encoder, clean: Block) -> list[_Coded]:
    out = []
    for j, part in enumerate(encoder.parts):
        if part.aspect not in {"value", "common"}:
            continue
        x = clean.x[:, j]
        here = np.isfinite(x) & (x >= 0 if encoder.categorical[j] else True)
        values = np.unique(x[here])
        most = _MAX_LEVELS if encoder.categorical[j] else _FEW_VALUES
        if 2 <= len(values) <= most:
            shown = tuple(values.tolist())
            out.append(_Coded(j, False, shown, _coded(x, False, shown), len(values)))
        gone = ~np.isfinite(x) | (encoder.categorical[j] & (x == MISSING))
        if 0 < gone.sum() < len(x):
            out.append(_Coded(j, True, (), _coded_flag(gone), 2))
    return out[:_MAX_CATEGORIES]


def _coded_flag(gone: NDArray[np.bool_]) -> I64:
    return gone.astype(np.int64)


def _implications(encoder: Encoder, clean: Block) -> Iterator[Rule]:
    found = _categories(encoder, clean)
    pairs = max(len(found) * (len(found) - 1), 1)
    for a in found:
        for b in found:
            if a.column != b.column and (rule := _implies(encoder, a, b, pairs)) is not None:
                yield rule


def _implies(encoder: Encoder, a: _Coded, b: _Coded, pairs: int) -> Rule | None:
    rows = (a.codes >= 0) & (b.codes >= 0)
    table = np.bincount(a.codes[rows] * b.levels + b.codes[rows], minlength=a.levels * b.levels)
    table = table.reshape(a.levels, b.levels)
    size, best = table.sum(axis=1), table.argmax(axis=1)
    pure = (size >= 2) & (table.max(axis=1) == size)
    if not pure.any():
        return None
    share = np.maximum(table.sum(axis=0) / max(int(size.sum()), 1), 1e-9)
    # Log chance that independent columns would agree so in each pure level.
    luck = np.where(pure, (size - 1) * np.log(np.minimum(share[best], 1 - 1e-9)), 0.0)
    if (pure | (size < 2)).all() and luck.sum() + math.log(pairs) <= _CHANCE:
        kept = pure
    else:
        kept = pure & (luck + math.log(pairs * a.levels) <= _CHANCE)
    support = int(size[kept].sum())
    if support < _MIN_SUPPORT or len(np.unique(best[kept])) < 1:
        return None
    needs = tuple(int(v) for v in np.where(kept, best, -9))
    words = _implied_words(encoder, a, b, kept, best, size)
    return Rule(
        words,
        (a.column, b.column),
        support,
        "implies",
        needs=needs,
        flags=(a.flag, b.flag),
        values=(a.values, b.values),
    )


def _implied_words(
    encoder: Encoder, a: _Coded, b: _Coded, kept: NDArray[np.bool_], best: I64, size: NDArray[np.int64]
) -> str:
    levels = np.flatnonzero(kept)
    if len(levels) > 2 and kept.sum() == (size > 0).sum():
        return f"{encoder.columns[a.column]} decides {encoder.columns[b.column]}"

    def shown(coded: _Coded, code: int) -> str:
        name = encoder.columns[coded.column]
        if coded.flag:
            return f"{name} is {'missing' if code else 'there'}"
        return f"{name} = {encoder.describe(coded.column, coded.values[code])}"

    top = levels[np.argsort(-size[levels], kind="stable")][:2]
    more = f" (and {len(levels) - 2} more)" if len(levels) > 2 else ""
    return "; ".join(f"where {shown(a, int(v))}, {shown(b, int(best[v]))}" for v in top) + more
