"""Data sets for `curves.py`: real ones that come with scikit-learn and this repository, and made ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

ADULT = Path(__file__).resolve().parents[1] / "include" / "data" / "adult" / "adult.parquet"
ADULT_ROWS = 3000


class Data(NamedTuple):
    """One data set; `classes` is 0 for a regression, `known` says whether the limits were set with a look at it."""

    name: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    classes: int
    known: bool


def _bundled(name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    import sklearn.datasets

    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return np.asarray(x, dtype=float), np.asarray(y, dtype=float)


def _adult(start: int, label: str = "income") -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Some rows of the census, numbers as they are and the categories one-hot; label is one of its columns."""
    import pandas as pd

    frame = pd.read_parquet(ADULT).iloc[start : start + ADULT_ROWS]
    y = frame["hours_per_week"]
    if label != "hours_per_week":
        y = frame[label].rank(method="dense") - 1
    drop = [name for name in ("person_id", "fnlwgt", "income", "native_country", label) if name in frame]
    x = pd.get_dummies(frame.drop(columns=drop))
    return x.to_numpy(dtype=float), y.to_numpy(dtype=float)


def _made(kind: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    import sklearn.datasets as made

    rng = np.random.default_rng(len(kind))
    if kind == "moons":
        return made.make_moons(500, noise=0.3, random_state=0)
    if kind == "circles":
        return made.make_circles(600, noise=0.15, factor=0.5, random_state=1)
    if kind == "friedman 1":
        return made.make_friedman1(700, noise=1.0, random_state=0)
    if kind == "friedman 2":
        return made.make_friedman2(600, noise=100.0, random_state=1)
    if kind == "quantiles":
        return made.make_gaussian_quantiles(n_samples=900, n_features=5, n_classes=3, random_state=2)
    if kind == "clusters":
        return made.make_classification(
            1000, 20, n_informative=6, n_classes=4, flip_y=0.05, class_sep=1.0, random_state=3
        )
    if kind == "one in ten":
        x = rng.normal(size=(800, 10))
        return x, (x[:, 0] + rng.normal(size=800) > 1.8).astype(float)
    if kind == "one in forty":
        x = rng.normal(size=(2400, 6))
        return x, (x[:, 0] + x[:, 1] > 2.8).astype(float)
    if kind == "wide":
        x = rng.normal(size=(500, 120))
        return x, (x[:, :10].sum(axis=1) > 0).astype(float)
    if kind == "weak":
        x = rng.normal(size=(3000, 8))
        return x, (0.8 * x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 1.0 * rng.logistic(size=3000) > 0).astype(float)
    if kind == "heavy tails":
        x = rng.normal(size=(800, 12))
        return x, x[:, :4].sum(axis=1) + rng.standard_t(3, size=800)
    if kind == "hastie":
        x, y = made.make_hastie_10_2(1500, random_state=5)
        return x, (y > 0).astype(float)
    if kind == "blobs":
        return made.make_blobs(900, 6, centers=5, cluster_std=5.0, random_state=6)
    if kind == "sparse":
        return made.make_sparse_uncorrelated(900, 15, random_state=7)
    if kind == "waves":
        x = rng.uniform(-2, 2, size=(1200, 4))
        return x, np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.4 * rng.normal(size=1200)
    raise ValueError(kind)


_SETS: tuple[
    tuple[str, int, bool, Callable[[], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]], ...
] = (
    ("digits", 10, True, lambda: _bundled("digits")),
    ("breast cancer", 2, True, lambda: _bundled("breast_cancer")),
    ("diabetes", 0, True, lambda: _bundled("diabetes")),
    ("adult", 2, True, lambda: _adult(0)),
    ("moons", 2, True, lambda: _made("moons")),
    ("friedman 1", 0, True, lambda: _made("friedman 1")),
    ("one in ten", 2, True, lambda: _made("one in ten")),
    ("clusters", 4, True, lambda: _made("clusters")),
    ("wine", 3, True, lambda: _bundled("wine")),
    ("iris", 3, True, lambda: _bundled("iris")),
    ("adult, other rows", 2, True, lambda: _adult(20_000)),
    ("adult, hours", 0, True, lambda: _adult(10_000, "hours_per_week")),
    ("circles", 2, True, lambda: _made("circles")),
    ("quantiles", 3, True, lambda: _made("quantiles")),
    ("friedman 2", 0, True, lambda: _made("friedman 2")),
    ("one in forty", 2, True, lambda: _made("one in forty")),
    ("wide", 2, True, lambda: _made("wide")),
    ("weak", 2, True, lambda: _made("weak")),
    ("heavy tails", 0, True, lambda: _made("heavy tails")),
    ("hastie", 2, False, lambda: _made("hastie")),
    ("blobs", 5, False, lambda: _made("blobs")),
    ("sparse", 0, False, lambda: _made("sparse")),
    ("waves", 0, False, lambda: _made("waves")),
    ("adult, marital status", 7, False, lambda: _adult(30_000, "marital_status")),
)


def data_sets(names: tuple[str, ...] = ()) -> list[Data]:
    """All of them, or those named."""
    return [
        Data(name, *load(), classes, used)
        for name, classes, used, load in _SETS
        if not names or name in names
    ]
