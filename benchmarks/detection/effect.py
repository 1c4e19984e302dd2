"""The end effect: what a model that learns from the rows does on rows that it never saw.

The model is a small network of the kind that contracts ask for. Numbers are scaled and categories encoded by the clean
batch, so that only the rows differ between two trainings.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.detection.attacks.base import features
from benchmarks.detection.scene import Case, Scene, build, rng_of
from numpy.typing import NDArray

_LEVELS = 20
_REACH = 6.0


class Encoding:
    """Numbers in deviations of the clean rows, categories one-hot.

    Args:
        frame: The clean rows.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._scale: dict[str, tuple[float, float, float]] = {}
        self._levels: dict[str, list[str]] = {}
        for name in features(frame):
            values = frame[name]
            if pd.api.types.is_numeric_dtype(values):
                self._scale[name] = float(values.mean()), float(values.std()) or 1.0, float(values.median())
            else:
                self._levels[name] = [str(level) for level in values.value_counts().index[:_LEVELS]]

    def __call__(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """(rows, width) float32."""
        parts = []
        for name, (mean, deviation, median) in self._scale.items():
            values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            values = (np.where(np.isfinite(values), values, median) - mean) / deviation
            parts.append(np.clip(values, -_REACH, _REACH)[:, None])
        for name, levels in self._levels.items():
            parts.append(frame[name].to_numpy(dtype=object)[:, None] == np.array(levels, dtype=object))
        return np.hstack(parts).astype(np.float32)


@dataclass(frozen=True)
class References:
    """How models do that learnt from the clean batch, the poisoned one, and the poisoned one less all poison.

    Attributes:
        encoding: Of features.
        clean: `accuracy`, and `success` of the trigger for backdoors.
        poisoned: The same.
        perfect: The same.
    """

    encoding: Encoding
    clean: dict[str, float]
    poisoned: dict[str, float]
    perfect: dict[str, float]


def _fit(encoding: Encoding, frame: pd.DataFrame, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((64, 32), batch_size=64, learning_rate_init=2e-3, max_iter=30, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the number of epochs is fixed; it need not have converged
        return model.fit(encoding(frame), frame["label"].to_numpy(dtype=str))


def _judge(model: Any, encoding: Encoding, scene: Scene) -> dict[str, float]:
    truth = scene.test["label"].to_numpy(dtype=str)
    found = {"accuracy": float((model.predict(encoding(scene.test)) == truth).mean())}
    if scene.done.stamp is not None:
        victims = scene.test.loc[truth != scene.done.target]
        stamped = scene.done.stamp(victims, rng_of("stamp", scene.seed))
        found["success"] = float((model.predict(encoding(stamped)) == scene.done.target).mean())
    return found


def effect(scene: Scene, kept: pd.DataFrame, references: References) -> dict[str, float]:
    """Test accuracy, and the trigger's success, of a model that learnt from the rows kept; nothing if none is left."""
    if kept["label"].nunique() < 2:
        return {}
    model = _fit(references.encoding, kept, scene.seed)
    return _judge(model, references.encoding, scene)


@lru_cache(maxsize=8)
def _clean_model(table: str, seed: int, rows: int) -> tuple[Encoding, Any]:
    base = build(Case(table, "clean", 0.0, seed, "trusted", "none", rows)).base
    encoding = Encoding(base.frame)
    return encoding, _fit(encoding, base.frame, seed)


@lru_cache(maxsize=4)
def _references(table: str, attack: str, rate: float, seed: int, rows: int) -> References:
    scene = build(Case(table, attack, rate, seed, "trusted", "none", rows))
    encoding, model = _clean_model(table, seed, rows)
    made = References(encoding, _judge(model, encoding, scene), {}, {})
    poisoned = effect(scene, scene.done.frame, made)
    perfect = effect(scene, scene.done.frame.loc[~scene.done.truth], made)
    return References(encoding, made.clean, poisoned, perfect)


def references(case: Case) -> References:
    """The models that a case is compared with, trained once."""
    return _references(case.table, case.attack, case.rate, case.seed, case.rows)
