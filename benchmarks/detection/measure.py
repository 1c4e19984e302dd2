"""Figures of one case: ranking, verdicts, and what a model makes of the rows that were let through."""

from __future__ import annotations

from typing import Any

import numpy as np
from benchmarks.detection.attacks.base import Mask
from benchmarks.detection.effect import References, effect
from benchmarks.detection.scene import Scene
from benchmarks.detection.tools.base import Answer
from numpy.typing import NDArray


def recall_at(score: NDArray[np.float64], truth: Mask, share: float) -> float:
    """Share of the poison that scores above all but this share of the clean rows.

    A tie with the last clean row allowed does not count, so that a score that tells nothing apart finds nothing.
    """
    clean = np.sort(score[~truth])[::-1]
    limit = clean[min(int(share * len(clean)), len(clean) - 1)]
    return float((score[truth] > limit).mean())


def area(score: NDArray[np.float64], truth: Mask) -> float:
    """Area under the ROC curve: chance that a poison row scores above a clean one, ties counted half."""
    from scipy.stats import rankdata

    ranks, poison = rankdata(score), int(truth.sum())
    return float((ranks[truth].sum() - poison * (poison + 1) / 2) / (poison * (len(truth) - poison)))


def figures(scene: Scene, answer: Answer, references: References | None) -> dict[str, Any]:
    """All figures of an answer, JSON-ready.

    The end effect is measured for detectors that decide, and where a tool has but one or two.

    Args:
        scene: With the truth.
        answer: The tool's.
        references: The case's models without screening; None for no end effect.
    """
    truth = scene.done.truth
    found: dict[str, Any] = {"rows": len(truth), "poison": int(truth.sum()), "detectors": {}}
    for name, score in answer.scores.items():
        if len(score) != len(truth) or not np.isfinite(score).all():
            raise ValueError(f"{name} gave {len(score)} scores, not all finite, for {len(truth)} rows")
        mine: dict[str, Any] = {}
        flagged = answer.flagged.get(name)
        if flagged is not None:
            mine["false"] = float(flagged[~truth].mean())
        if truth.any():
            mine |= {
                "auc": area(score, truth),
                "at1": recall_at(score, truth, 0.01),
                "at5": recall_at(score, truth, 0.05),
            }
            thrown = flagged
            if thrown is None:
                thrown = np.zeros(len(truth), dtype=bool)
                thrown[np.argsort(-score, kind="stable")[: int(truth.sum())]] = True
            mine |= {"caught": float(thrown[truth].mean()), "left": int((truth & ~thrown).sum())}
            if references is not None and (flagged is not None or len(answer.scores) <= 2):
                mine |= effect(scene, scene.done.frame.loc[~thrown], references)
        found["detectors"][name] = mine
    if answer.held is not None:
        found["held"] = answer.held
    if answer.accused is not None:
        found["named"] = scene.done.source in answer.accused
        found["accused_wrongly"] = len(answer.accused - {scene.done.source})
    return found
