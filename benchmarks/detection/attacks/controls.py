"""Batches without poison: what screening must let through."""

from __future__ import annotations

import numpy as np
from benchmarks.detection.attacks.base import Base, Poisoned, Rng, in_place


def clean(base: Base, _rate: float, _rng: Rng) -> Poisoned:
    """The batch as it is."""
    return in_place(base, base.frame.copy())


def clean_uneven(base: Base, _rate: float, rng: Rng) -> Poisoned:
    """Sources deliver different mixes of classes, as real ones do; no row is changed otherwise."""
    frame = base.frame.copy()
    sources = np.sort(frame["src"].unique())
    for label in base.classes:
        own = np.flatnonzero(frame["label"] == label)
        frame.loc[own, "src"] = rng.choice(sources, len(own), p=rng.dirichlet(np.full(len(sources), 2.0)))
    return Poisoned(frame, np.zeros(len(frame), dtype=bool))
