"""rpfnet: a meta-learnt detector of poison in tables, with the model that its package brings."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from benchmarks.detection.scene import Scene
from benchmarks.detection.tools.base import Answer, Missing, extra, matrix


def scored(scene: Scene) -> Answer:
    """Its score, and as many rows as it estimates to be poison.

    Its own reader takes every text label but a few words for one and the same class, so the scorer is called directly,
    with labels as numbers.
    """
    frame = scene.done.frame
    (x,) = matrix(frame)
    _, y = np.unique(frame["label"].to_numpy(dtype=str), return_inverse=True)
    with contextlib.redirect_stdout(io.StringIO()):
        api = _loaded()
        score = np.asarray(api._hybrid.score(x.astype(np.float32), y.astype(np.int64))[0], dtype=np.float64)
        rate = float(api._estimate_rate(score))
    return Answer({"rpfnet": score}, {"rpfnet": score >= np.quantile(score, 1 - rate)})


def _loaded() -> Any:
    extra("torch")
    extra("seaborn")
    api = extra("RPFNet.api")
    api._try_import_backend()
    api._ensure_model()
    if not api._model_loaded:
        raise Missing(
            "not installed: rpfnet could not load its model, and would fall back on an isolation forest"
        )
    return api
