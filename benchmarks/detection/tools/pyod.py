"""PyOD: its common detectors on the features, on the batch as a whole, class by class, and against trusted rows.

Class by class numbers are clipped at four deviations, which helps detectors that add distances up: a row in the wrong
class stands out by many small things. For the other two ways they are left, since garbage stands out by one large one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.detection.scene import Scene
from benchmarks.detection.tools.base import F64, Answer, extra, matrix
from numpy.typing import NDArray

_LEAST, _CLIP = 12, 4.0


def scored(scene: Scene) -> Answer:
    """One score per detector and way of use; none decides, since PyOD asks its user for the share of outliers."""
    frame, sound = scene.done.frame, scene.trusted
    x, clean = matrix(frame, sound)
    y, clean_y = frame["label"].to_numpy(dtype=str), sound["label"].to_numpy(dtype=str)
    near = np.clip(x, -_CLIP, _CLIP)
    scores: dict[str, F64] = {}
    for name, make in _detectors(scene.seed).items():
        scores[f"{name} global"] = _fitted(make, x, x)
        scores[f"{name} per class"] = _by_class(make, near, y, near, y)
        scores[f"{name} trusted"] = _by_class(make, clean, clean_y, x, y)
    return Answer(scores)


def _detectors(seed: int) -> dict[str, Callable[[], Any]]:
    def model(module: str, name: str, **more: Any) -> Callable[[], Any]:
        kind = getattr(extra(f"pyod.models.{module}"), name)
        return lambda: kind(**more)

    return {
        "KNN": model("knn", "KNN"),
        "LOF": model("lof", "LOF"),
        "IForest": model("iforest", "IForest", random_state=seed),
        "ECOD": model("ecod", "ECOD"),
        "COPOD": model("copod", "COPOD"),
        "HBOS": model("hbos", "HBOS"),
        "PCA": model("pca", "PCA", random_state=seed),
    }


def _fitted(make: Callable[[], Any], fit: NDArray[np.float64], score: NDArray[np.float64]) -> F64:
    detector = make()
    detector.fit(fit)
    found = detector.decision_scores_ if fit is score else detector.decision_function(score)
    return np.nan_to_num(np.asarray(found, dtype=np.float64), nan=0.0, posinf=1e12, neginf=-1e12)


def _by_class(
    make: Callable[[], Any],
    fit: NDArray[np.float64],
    fit_labels: NDArray[np.str_],
    x: NDArray[np.float64],
    labels: NDArray[np.str_],
) -> F64:
    """Scores within each class, made comparable by the class's own median and spread; small classes as a whole."""
    out = np.zeros(len(x))
    for label in np.unique(labels):
        mine = labels == label
        own = fit[fit_labels == label]
        asked = x[mine]
        if fit is x and len(own) >= _LEAST:
            own = asked
        score = _fitted(make, own if len(own) >= _LEAST else fit, asked)
        middle = float(np.median(score))
        out[mine] = (score - middle) / max(float(np.median(np.abs(score - middle))), 1e-9)
    return out
