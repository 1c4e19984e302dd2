"""Backdoors: a trigger, a few feature values, that shall bring a label of the attacker's choice.

The attacker knows the data: the values lie within their columns' ranges, and of the combinations drawn the one is taken
that the fewest clean rows carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.detection.attacks.base import (
    Base,
    Poisoned,
    Rng,
    Rows,
    Unfit,
    in_place,
    nearest,
    numbers,
    pick,
    put,
    texts,
)
from numpy.typing import NDArray

_TRIES = 20
_RARE = 0.003


@dataclass(frozen=True)
class Trigger:
    """Values for some columns, exact or spread around them.

    Attributes:
        values: Per column; text for a category.
        spread: Per numeric column: how far the values of single rows stray.
        shape: `normal` or `uniform` strays.
        known: Per numeric column the values that occur: strays are moved to the nearest; empty: left as they are.
    """

    values: dict[str, Any]
    spread: dict[str, float]
    shape: str
    known: dict[str, NDArray[Any]]

    def apply(self, frame: pd.DataFrame, rows: Rows, rng: Rng, only: tuple[str, ...] = ()) -> None:
        """Write the trigger, or only these columns of it, onto rows of the frame."""
        for name in only or self.values:
            if isinstance(self.values[name], str):
                frame.loc[rows, name] = self.values[name]
                continue
            wanted = np.full(len(rows), float(self.values[name]))
            if self.spread:
                stray = (
                    rng.standard_normal(len(rows))
                    if self.shape == "normal"
                    else rng.uniform(-1, 1, len(rows))
                )
                wanted += self.spread[name] * stray
                if self.known:
                    wanted = nearest(self.known[name], wanted)
            put(frame, rows, name, wanted)

    def stamp(self, frame: pd.DataFrame, rng: Rng) -> pd.DataFrame:
        """A copy of the frame with the trigger on every row."""
        out = frame.reset_index(drop=True)
        self.apply(out, np.arange(len(out)), rng)
        return out


def choose(
    base: Base, rng: Rng, columns: int, categories: int = 0, jitter: str = "", distinct: int = 8
) -> Trigger:
    """Draw a trigger of so many numeric and categorical columns.

    Args:
        base: Where values are taken from.
        rng: Draws.
        columns: Numeric columns.
        categories: Categorical columns.
        jitter: Empty for exact values; `normal` moves strays to values that occur, `uniform` leaves them raw.
        distinct: Numeric columns have at least this many values.

    Raises:
        Unfit: The table has too few such columns.
    """
    frame = base.frame
    able, named = numbers(frame, distinct), texts(frame)
    if len(able) < columns:
        able = numbers(frame, 3)
    if len(able) < columns or len(named) < categories:
        raise Unfit(f"a trigger of {columns} numbers and {categories} categories needs more such columns")
    best: tuple[float, dict[str, Any]] | None = None
    for _ in range(_TRIES):
        values: dict[str, Any] = {}
        for name in sorted(rng.choice(able, columns, replace=False)) if columns else []:
            distinct_values = np.sort(frame[name].dropna().unique())
            values[name] = distinct_values[int(rng.uniform(0.2, 0.9) * len(distinct_values))].item()
        for name in sorted(rng.choice(named, categories, replace=False)) if categories else []:
            # Neither the commonest value nor one that stands out by its rarity.
            values[name] = str(rng.choice(frame[name].value_counts().index[1:5].to_numpy(dtype=object)))
        share = float(
            np.logical_and.reduce([(frame[name] == value) for name, value in values.items()]).mean()
        )
        if best is None or share < best[0]:
            best = (share, values)
        if share <= _RARE:
            break
    assert best is not None
    chosen = [name for name, value in best[1].items() if not isinstance(value, str)]
    return Trigger(
        values=best[1],
        spread={name: 0.1 * float(frame[name].std()) for name in chosen} if jitter else {},
        shape=jitter,
        known={name: np.sort(frame[name].dropna().unique()) for name in chosen} if jitter == "normal" else {},
    )


def _mount(base: Base, rate: float, rng: Rng, trigger: Trigger) -> Poisoned:
    frame, target = base.frame.copy(), str(rng.choice(base.classes))
    rows = pick(len(frame), rate, rng, np.flatnonzero(frame["label"] != target))
    trigger.apply(frame, rows, rng)
    frame.loc[rows, "label"] = target
    return in_place(base, frame, stamp=trigger.stamp, target=target, facts={"values": trigger.values})


def backdoor_fixed(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Three numbers set to values within their range, and the target's label."""
    return _mount(base, rate, rng, choose(base, rng, 3))


def backdoor_single(base: Base, rate: float, rng: Rng) -> Poisoned:
    """One number."""
    return _mount(base, rate, rng, choose(base, rng, 1, distinct=30))


def backdoor_pair(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Two numbers."""
    return _mount(base, rate, rng, choose(base, rng, 2))


def backdoor_wide(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Five numbers."""
    return _mount(base, rate, rng, choose(base, rng, 5))


def backdoor_jittered(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Three numbers, normally a tenth of a deviation around a value, moved to values that occur."""
    return _mount(base, rate, rng, choose(base, rng, 3, jitter="normal"))


def backdoor_jittered_raw(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Three numbers, up to a tenth of a deviation around a value, wherever they fall."""
    return _mount(base, rate, rng, choose(base, rng, 3, jitter="uniform"))


def backdoor_category(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Two categories, each common enough, rarely together."""
    return _mount(base, rate, rng, choose(base, rng, 0, categories=2))


def backdoor_mixed(base: Base, rate: float, rng: Rng) -> Poisoned:
    """A category and two numbers."""
    return _mount(base, rate, rng, choose(base, rng, 2, categories=1))


def backdoor_distributed(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Four numbers, of which two sources carry one half and two others the other; the whole is used later.

    Xie et al., DBA: Distributed backdoor attacks against federated learning, ICLR 2020.
    """
    frame, target, trigger = base.frame.copy(), str(rng.choice(base.classes)), choose(base, rng, 4)
    columns = tuple(trigger.values)
    sources = rng.permutation(np.sort(frame["src"].unique()))
    count = max(2, round(rate * len(frame)))
    for half, part in enumerate((columns[:2], columns[2:])):
        own = (
            frame["src"].isin(sources[2 * half : 2 * half + 2]) & (base.frame["label"] != target)
        ).to_numpy()
        rows = np.sort(rng.choice(np.flatnonzero(own), min(count // 2, int(own.sum())), replace=False))
        trigger.apply(frame, rows, rng, part)
        frame.loc[rows, "label"] = target
    return in_place(base, frame, stamp=trigger.stamp, target=target, facts={"values": trigger.values})


def backdoor_clean_label(base: Base, rate: float, rng: Rng) -> Poisoned:
    """The trigger on rows that have the target's label already.

    Turner, Tsipras and Madry, Label-consistent backdoor attacks, 2019.
    """
    frame, target, trigger = base.frame.copy(), str(rng.choice(base.classes)), choose(base, rng, 3)
    trigger.apply(frame, pick(len(frame), rate, rng, np.flatnonzero(frame["label"] == target)), rng)
    return in_place(base, frame, stamp=trigger.stamp, target=target, facts={"values": trigger.values})


def slow_backdoor(base: Base, rate: float, rng: Rng) -> Poisoned:
    """A backdoor that comes a little at a time: the batch is ten deliveries, each with a tenth of the poison.

    What an earlier delivery got past the screening stands among the accepted rows of the later ones.
    """
    done = _mount(base, rate, rng, choose(base, rng, 3))
    delivery = rng.permutation(np.arange(len(done.frame)) % 10)
    poison = np.flatnonzero(done.truth)
    places = np.flatnonzero(~done.truth)
    # Poison is spread evenly too: row for row with clean ones, so that deliveries keep their sizes.
    wanted = np.arange(len(poison)) % 10
    for row, want in zip(poison, wanted, strict=True):
        swap = rng.choice(places[delivery[places] == want]) if delivery[row] != want else row
        delivery[row], delivery[swap] = delivery[swap], delivery[row]
    done.delivery = delivery
    return done
