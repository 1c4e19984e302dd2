"""Assay's own screening."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from benchmarks.detection.scene import Scene, arrow, contract_of
from benchmarks.detection.tables import PROJECT
from benchmarks.detection.tools.base import Answer


def digest() -> str:
    """Of the sources of screening: figures of another version are not these."""
    found = hashlib.sha256()
    for path in sorted((PROJECT / "include" / "assay" / "screen").rglob("*.py")):
        found.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def screened(scene: Scene) -> Answer:
    """`assay.screen.screen` on the batch, or on one delivery after the other."""
    if scene.done.delivery is None:
        return _one(scene, scene.done.frame, scene.previous)
    return _deliveries(scene)


def _one(scene: Scene, batch: pd.DataFrame, previous: pd.DataFrame | None) -> Answer:
    from assay.findings import Outcome, Verdict
    from assay.screen import screen

    labels = pd.concat([scene.base.frame["label"], scene.trusted["label"]])
    report = screen(
        arrow(batch),
        contract_of(batch, labels),
        trusted=arrow(scene.trusted),
        previous=arrow(previous) if previous is not None else None,
    )
    verdicts = np.array(report.rows["verdict"].to_pylist())
    accused = {
        str(finding.subject)
        for finding in report.findings
        if finding.check.startswith("screen.sources")
        and finding.outcome is Outcome.FAILED
        and finding.subject
    }
    return Answer(
        scores={"assay": report.rows["score"].to_numpy()},
        flagged={"assay": verdicts == "quarantine"},
        held=report.verdict is not Verdict.ACCEPT,
        accused=accused,
    )


def _deliveries(scene: Scene) -> Answer:
    """Each delivery meets the rows of the earlier ones that were let through.

    Its rows are new: the snapshot holds none of their keys. It starts with the clean rows that models are tested on.
    """
    frame, delivery = scene.done.frame, scene.done.delivery
    assert delivery is not None
    score, flagged = np.zeros(len(frame)), np.zeros(len(frame), dtype=bool)
    accepted = None
    if scene.previous is not None:
        accepted = scene.test.reset_index(drop=True)
    accused: set[str] = set()
    held = False
    for number in range(int(delivery.max()) + 1):
        rows = np.flatnonzero(delivery == number)
        batch = frame.iloc[rows].reset_index(drop=True)
        answer = _one(scene, batch, accepted)
        score[rows], flagged[rows] = answer.scores["assay"], answer.flagged["assay"]
        accused |= answer.accused or set()
        held |= bool(answer.held)
        if accepted is not None:
            accepted = pd.concat([accepted, batch.loc[~flagged[rows]]], ignore_index=True)
    return Answer({"assay": score}, {"assay": flagged}, held, accused)
