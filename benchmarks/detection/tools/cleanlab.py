"""cleanlab: its filter of label errors, and Datalab's issues, both on cross-validated boosted trees."""

from __future__ import annotations

import contextlib
import io
from unittest import mock

import numpy as np
from benchmarks.detection.attacks.labels import class_shares
from benchmarks.detection.scene import Scene
from benchmarks.detection.tools.base import Answer, extra, matrix

_ISSUES = ("label", "outlier", "near_duplicate")


def scored(scene: Scene) -> Answer:
    """The filter's verdict and score; Datalab's per issue, and the least of them with its verdict on any."""
    find = extra("cleanlab.filter").find_label_issues
    quality = extra("cleanlab.rank").get_label_quality_scores
    datalab = extra("cleanlab.datalab.datalab").Datalab
    frame = scene.done.frame
    classes, y = np.unique(frame["label"].to_numpy(dtype=str), return_inverse=True)
    shares = class_shares(frame, scene.seed)
    answer = Answer(
        {"filter": 1 - quality(y, shares)}, {"filter": np.asarray(find(y, shares, n_jobs=1), dtype=bool)}
    )
    (x,) = matrix(frame)
    # Not every call of Datalab's lets itself be told to keep to one process; it takes as many as there are cores.
    alone = mock.patch.object(extra("psutil"), "cpu_count", return_value=1)
    with contextlib.redirect_stdout(io.StringIO()), alone:
        lab = datalab(data={"label": classes[y]}, label_name="label", verbosity=0)
        lab.find_issues(features=x, pred_probs=shares, issue_types={name: {} for name in _ISSUES})
        issues = lab.get_issues()
    least = np.ones(len(frame))
    anything = np.zeros(len(frame), dtype=bool)
    for name in _ISSUES:
        score = issues[f"{name}_score"].to_numpy(dtype=np.float64)
        answer.scores[f"Datalab {name}"] = 1 - score
        answer.flagged[f"Datalab {name}"] = issues[f"is_{name}_issue"].to_numpy(dtype=bool)
        least, anything = np.minimum(least, score), anything | answer.flagged[f"Datalab {name}"]
    answer.scores["Datalab minimum"], answer.flagged["Datalab minimum"] = 1 - least, anything
    return answer
