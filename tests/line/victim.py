"""What a killed task is here: a station in a process of its own that dies by SIGKILL at its n-th lasting effect."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

HEAVY = [
    "assay.line.admission",
    "assay.line.intake",
    "assay.line.inspect",
    "assay.line.review",
    "assay.line.judging",
    "assay.line.training",
    "great_expectations",
    "pyod.models.iforest",
    "sklearn.ensemble",
    "duckdb",
]
"""Imported once by the fork server, so that each victim starts at once; the last four the stations import late."""


def run(root: str, project: str, station: str, arguments: list[Any], at: int) -> None:
    """Run a station on a stage; die right before or after its `at`-th rename or commit, if it gets that far."""
    from sqlalchemy import Engine, event

    seen = 0

    def effect(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("replace", "rename", "link"):
        setattr(os, name, _around(getattr(os, name), effect))
    event.listen(Engine, "commit", effect)
    from assay import line as stations
    from assay.demo.stage import Stage
    from assay.line import Line

    stage = Stage(Path(root), Path(project))
    with Line.open(stage.contract, stage.settings) as line:
        getattr(stations, station)(line, *arguments)
    os._exit(0)


def _around(real: Any, effect: Any) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        effect()
        result = real(*args, **kwargs)
        effect()
        return result

    return wrapper


def train_until(root: str, project: str, events: int) -> None:
    """Train on the newest snapshot; die right after that many events of the run, if it gets that far."""
    from assay.demo.stage import Stage
    from assay.line import Line, train

    seen = 0

    def count(_event: object) -> None:
        nonlocal seen
        seen += 1
        if seen == events:
            os.kill(os.getpid(), signal.SIGKILL)

    stage = Stage(Path(root), Path(project))
    with Line.open(stage.contract, stage.settings) as line:
        train(line, on_event=count)
    os._exit(0)
