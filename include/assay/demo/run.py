"""Running the demonstration from nothing to its verdict, and leaving Airflow up on its state."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.demo.airflow import LocalAirflow
from assay.demo.data import make_rounds
from assay.demo.memory import MemoryWatch
from assay.demo.stage import Stage, serving
from assay.demo.story import INTAKE, TRAINING, Story
from assay.errors import UsageError
from assay.settings import Settings

PROJECT = Path(__file__).resolve().parents[3]
"""The folder of `dags/`, `plugins/` and `include/`: the demonstration runs from a checkout."""


ROLES = {"reviewer": "op", "auditor": "viewer"}
"""Who can log in to the demonstration's Airflow, beside its administrator, and as what."""


def stage_of(settings: Settings) -> Stage:
    """The demonstration's stage within the state directory."""
    return Stage(settings.home / "demo", PROJECT)


def airflow_of(stage: Stage, port: int | None = None) -> LocalAirflow:
    """The demonstration's Airflow."""
    return LocalAirflow(stage.root / "airflow", stage.project, stage.environment, port, ROLES)


def run_demo(settings: Settings, say: Callable[[str], None]) -> tuple[Story, dict[str, Any]]:
    """Run the whole story; returns it and the closing facts.

    Raises:
        UsageError: The demonstration was not started from a checkout.
        StageTaken: Its folder holds something else.
        AirflowNotStarted: Airflow did not come up.
    """
    from assay.demo.ending import closing_checks

    if not (PROJECT / "dags").is_dir():
        raise UsageError(
            f"no dags/ in {PROJECT}", next_step="run the demonstration from a checkout, with `make demo`"
        )
    started = time.monotonic()
    stage = stage_of(settings)
    if stage.root.exists():
        airflow_of(stage).stop()
    stage.clear()
    say("cutting the data into deliveries")
    rounds = make_rounds()
    settings.make_home()
    with serving(stage.outbox) as port:
        stage.build(rounds, f"http://127.0.0.1:{port}", PROJECT / "include" / "contracts" / "adult.yaml")
        stage.settings.make_home()
        airflow = airflow_of(stage)
        with MemoryWatch(str(stage.settings.home), airflow.session_ids) as memory:
            try:
                airflow.start(say)
                client = airflow.client()
                client.wait_for_dags({INTAKE, TRAINING})
                story = Story(stage, rounds, client, say)
                story.run()
            finally:
                say("stopping Airflow")
                airflow.stop()
    say("verifying the ledger, proving rows and champion")
    facts = closing_checks(stage)
    facts["seconds"] = time.monotonic() - started
    facts["peak_resident_mb"] = memory.peaks()
    return story, facts
