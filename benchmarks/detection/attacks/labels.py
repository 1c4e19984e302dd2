"""Attacks on labels: rows keep their features."""

from __future__ import annotations

import numpy as np
import pandas as pd
from benchmarks.detection.attacks.base import Base, Poisoned, Rng, in_place, others, pick
from numpy.typing import NDArray


def random_flip(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Another label, at random, on rows at random."""
    frame = base.frame.copy()
    rows = pick(len(frame), rate, rng)
    frame.loc[rows, "label"] = others(frame.loc[rows, "label"], base.classes, rng)
    return in_place(base, frame)


def pair_flip(base: Base, rate: float, rng: Rng) -> Poisoned:
    """Rows of one class get the label of one other class."""
    frame = base.frame.copy()
    one, other = rng.choice(base.classes, 2, replace=False)
    frame.loc[pick(len(frame), rate, rng, np.flatnonzero(frame["label"] == one)), "label"] = str(other)
    return in_place(base, frame)


def boundary_flip(base: Base, rate: float, rng: Rng) -> Poisoned:
    """The rows that a model of the clean batch finds most like another class get that class's label."""
    frame = base.frame.copy()
    shares = class_shares(frame, int(rng.integers(2**31)))
    own = np.searchsorted(base.classes, frame["label"].to_numpy(dtype=str))
    shares[np.arange(len(own)), own] = -1
    rows = np.sort(np.argsort(-shares.max(axis=1), kind="stable")[: max(1, round(rate * len(frame)))])
    frame.loc[rows, "label"] = base.classes[shares[rows].argmax(axis=1)]
    return in_place(base, frame)


def one_source(base: Base, rate: float, rng: Rng) -> Poisoned:
    """`rate` of the rows of one source get another label."""
    frame = base.frame.copy()
    source = str(rng.choice(np.sort(frame["src"].unique())))
    own = np.flatnonzero(frame["src"] == source)
    rows = np.sort(rng.choice(own, max(1, round(rate * len(own))), replace=False))
    frame.loc[rows, "label"] = others(frame.loc[rows, "label"], base.classes, rng)
    return in_place(base, frame, source=source)


def class_shares(frame: pd.DataFrame, seed: int) -> NDArray[np.float64]:
    """(rows, classes) cross-validated class probabilities of boosted trees fitted on the frame."""
    from benchmarks.detection.attacks.base import features
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    x = pd.get_dummies(frame[features(frame)]).to_numpy(dtype=np.float64)
    classes = frame["label"].nunique()
    model = HistGradientBoostingClassifier(
        max_iter=60 if classes == 2 else 25, max_leaf_nodes=15, random_state=seed
    )
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, x, frame["label"], cv=folds, method="predict_proba"))
