"""What attacks are given and what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Rng = np.random.Generator
Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
Stamp = Callable[[pd.DataFrame, Rng], pd.DataFrame]
KEPT = ("id", "src", "label")


class Unfit(Exception):
    """The attack cannot be mounted on this table; the message says why."""


@dataclass(frozen=True)
class Base:
    """A clean batch.

    Attributes:
        frame: `id` (unique), `src`, `label` and features; index 0, 1, ...
        known: Rows that the accepted snapshot holds under the same id.
    """

    frame: pd.DataFrame
    known: Mask

    @property
    def classes(self) -> NDArray[np.str_]:
        """Labels that occur, sorted."""
        return np.sort(self.frame["label"].unique().astype(str))


@dataclass
class Poisoned:
    """A batch after an attack.

    Attributes:
        frame: The rows. Rows that the attack added have ids of their own.
        truth: Which of them are poison: those that the attack changed or added.
        stamp: Puts the trigger on any rows, for backdoors.
        target: The label that the trigger shall bring.
        source: The compromised source.
        delivery: Delivery that each row comes with, where the batch comes in several; else None.
        facts: What the attack chose (columns, values).
    """

    frame: pd.DataFrame
    truth: Mask
    stamp: Stamp | None = None
    target: str | None = None
    source: str | None = None
    delivery: NDArray[np.int64] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def features(frame: pd.DataFrame) -> list[str]:
    """Feature columns."""
    return [name for name in frame.columns if name not in KEPT]


def numbers(frame: pd.DataFrame, distinct: int = 3) -> list[str]:
    """Numeric features with at least so many distinct values."""
    return [
        name
        for name in features(frame)
        if pd.api.types.is_numeric_dtype(frame[name]) and frame[name].nunique() >= distinct
    ]


def texts(frame: pd.DataFrame) -> list[str]:
    """Categorical features with at least three values."""
    return [
        name
        for name in features(frame)
        if not pd.api.types.is_numeric_dtype(frame[name]) and frame[name].nunique() >= 3
    ]


def pick(count: int, rate: float, rng: Rng, among: Rows | None = None) -> Rows:
    """Rows to poison: `rate` of `count`, at least one, from those allowed."""
    among = np.arange(count) if among is None else among
    return np.sort(rng.choice(among, min(max(1, round(rate * count)), len(among)), replace=False))


def put(frame: pd.DataFrame, rows: Rows, name: str, values: Any) -> None:
    """Write values into a column, as whole numbers where the column holds whole numbers."""
    column = frame[name]
    if pd.api.types.is_integer_dtype(column):
        values = np.rint(np.asarray(values, dtype=np.float64)).astype(np.int64)
        frame[name] = column = column.astype(np.int64)
    frame.loc[rows, name] = values


def others(labels: pd.Series, classes: NDArray[np.str_], rng: Rng) -> list[str]:
    """For each label another one, at random."""
    return [str(rng.choice(classes[classes != label])) for label in labels]


def changed(before: pd.DataFrame, after: pd.DataFrame) -> Mask:
    """Rows that differ in any column."""
    same = np.ones(len(before), dtype=bool)
    for name in before.columns:
        old, new = before[name], after[name]
        same &= ((old == new) | (old.isna() & new.isna())).to_numpy(dtype=bool)
    return ~same


def in_place(base: Base, frame: pd.DataFrame, **more: Any) -> Poisoned:
    """The answer of an attack that changed rows and added none."""
    return Poisoned(frame, changed(base.frame, frame), **more)


def nearest(known: NDArray[Any], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of sorted `known` that is nearest to each wanted one."""
    right = np.clip(np.searchsorted(known, wanted), 1, max(len(known) - 1, 1))
    low, high = known[right - 1], known[np.minimum(right, len(known) - 1)]
    return np.asarray(np.where(wanted - low <= high - wanted, low, high), dtype=np.float64)
