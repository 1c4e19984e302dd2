"""Attacks on feature values: garbage, shifts, copies, collisions, rewritten rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
from benchmarks.detection.attacks.base import (
    Base,
    Poisoned,
    Rng,
    Unfit,
    features,
    in_place,
    nearest,
    numbers,
    others,
    pick,
    put,
)


def _garbage(base: Base, rate: float, rng: Rng, outside: bool) -> Poisoned:
    frame, names = base.frame.copy(), numbers(base.frame)
    rows = pick(len(frame), rate, rng)
    hit = np.zeros((len(rows), len(names)), dtype=bool)
    for line in hit:
        line[rng.choice(len(names), min(int(rng.integers(1, 4)), len(names)), replace=False)] = True
    for column, name in enumerate(names):
        mine = rows[hit[:, column]]
        low, high = float(base.frame[name].min()), float(base.frame[name].max())
        values = rng.uniform(low, high, len(mine))
        if outside:
            reach = (high - low) * rng.uniform(0.2, 3.0, len(mine))
            values = np.where(rng.random(len(mine)) < 0.5, high + reach, low - reach)
        put(frame, mine, name, values)
    frame.loc[rows, "label"] = rng.choice(base.classes, len(rows))
    return in_place(base, frame)


def garbage(base: Base, rate: float, rng: Rng) -> Poisoned:
    """One to three columns out of their range, and a label at random."""
    return _garbage(base, rate, rng, outside=True)


def garbage_inside(base: Base, rate: float, rng: Rng) -> Poisoned:
    """One to three columns anywhere within their range, and a label at random."""
    return _garbage(base, rate, rng, outside=False)


def _shift(base: Base, rate: float, rng: Rng, existing: bool) -> Poisoned:
    frame = base.frame.copy()
    names = numbers(frame, 8)
    if len(names) < 2:
        raise Unfit("fewer than two numeric columns to shift")
    rows = pick(len(frame), rate, rng)
    chosen = sorted(rng.choice(names, 2, replace=False))
    for name in chosen:
        step = 0.5 * float(frame[name].std()) * (1 if rng.random() < 0.5 else -1)
        moved = frame.loc[rows, name].to_numpy(dtype=np.float64) + step
        put(frame, rows, name, nearest(np.sort(frame[name].dropna().unique()), moved) if existing else moved)
    return in_place(base, frame, facts={"columns": chosen})


def shift(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Two columns moved by half a deviation."""
    return _shift(base, rate, rng, existing=False)


def shift_existing(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Two columns moved by half a deviation, to the nearest values that occur."""
    return _shift(base, rate, rng, existing=True)


def _flood(base: Base, rate: float, rng: Rng, noise: float) -> Poisoned:
    frame = base.frame
    count = max(2, round(rate * len(frame) / (1 - rate)))
    row = frame.iloc[[int(rng.integers(len(frame)))]]
    copies = pd.concat([row] * count, ignore_index=True)
    copies["label"] = others(row["label"], base.classes, rng)[0]
    for name in numbers(frame) if noise else []:
        values = copies[name].to_numpy(dtype=np.float64)
        put(
            copies,
            np.arange(count),
            name,
            values + noise * float(frame[name].std()) * rng.standard_normal(count),
        )
    copies["id"] = frame["id"].max() + 1 + np.arange(count)
    copies["src"] = rng.choice(np.sort(frame["src"].unique()), count)
    order = rng.permutation(len(frame) + count)
    whole = pd.concat([frame, copies], ignore_index=True).iloc[order].reset_index(drop=True)
    return Poisoned(whole, order >= len(frame))


def flood(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Near copies of one row, a hundredth of a deviation off, with a wrong label and from all sources."""
    return _flood(base, rate, rng, 0.01)


def flood_exact(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Exact copies of one row with a wrong label, from all sources."""
    return _flood(base, rate, rng, 0.0)


def collision(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Rows keep their label and move most of the way to one row of another class, so that this one be misread.

    After Shafahi et al., Poison Frogs!, NeurIPS 2018, with the features themselves as the space.
    """
    frame = base.frame.copy()
    goal = base.frame.iloc[int(rng.integers(len(frame)))]
    rows = pick(len(frame), rate, rng, np.flatnonzero(frame["label"] != goal["label"]))
    share = rng.uniform(0.5, 0.9, len(rows))
    for name in numbers(frame, 2):
        own = frame.loc[rows, name].to_numpy(dtype=np.float64)
        put(frame, rows, name, (1 - share) * own + share * float(goal[name]))
    return in_place(base, frame)


def rewrite(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Accepted rows come again under their key with one to three values of other rows, half of them with another label.

    Only rows that the snapshot holds are rewritten.
    """
    frame, names = base.frame.copy(), features(base.frame)
    rows = pick(len(frame), rate, rng, np.flatnonzero(base.known))
    for row in rows:
        giver = int(rng.integers(len(frame)))
        for name in rng.choice(names, min(int(rng.integers(1, 4)), len(names)), replace=False):
            frame.loc[row, name] = base.frame.loc[giver, name]
    half = rows[rng.random(len(rows)) < 0.5]
    frame.loc[half, "label"] = others(frame.loc[half, "label"], base.classes, rng)
    return in_place(base, frame)
