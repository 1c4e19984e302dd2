"""A real Airflow after a real day: an accepted delivery, promoted models, and a held delivery that waits for a human.

It is built once for all test processes, and stopped by the process that controls them.
"""

from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path

import yaml

from assay.contract import load_contract
from assay.db import Database, list_deliveries
from assay.demo.airflow import AirflowClient, LocalAirflow
from assay.demo.data import SOURCES, Rounds, make_rounds
from assay.demo.stage import Stage
from assay.demo.story import INTAKE, TRAINING
from assay.quarantine import CaseView, list_cases
from tests.browser import challengers, hostile

PROJECT = Path(__file__).resolve().parents[2]
ROLES = {"vera": "viewer", "ursula": "user", "olga": "op", "ada": "admin"}
_READY = "ready.json"


class World:
    """Stage and Airflow in one folder.

    Args:
        folder: The folder; `open` fills it where it is empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stage = Stage(folder / "stage", PROJECT)
        self.airflow = LocalAirflow(folder / "airflow", PROJECT, self.stage.environment, roles=ROLES)
        self.rounds: Rounds = make_rounds(seed=11, first=700, second=500, trusted=500, rewritten=60)

    @classmethod
    def open(cls, folder: Path) -> World:
        """The world in a folder, built by whoever comes first."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            world = cls(folder)
            if not (folder / _READY).exists():
                assert not world.stage.root.exists(), (
                    "it could not be built before: see the first test that tried"
                )
                world._build()
                (folder / _READY).write_text(json.dumps({"url": world.airflow.url}))
        return world

    @classmethod
    def stop(cls, folder: Path) -> None:
        """Stop what was started in a folder."""
        cls(folder).airflow.stop()

    @property
    def client(self) -> AirflowClient:
        """Airflow's REST API, as its administrator."""
        return self.airflow.client()

    def held(self, source: str = "west") -> CaseView:
        """The case that says why a source's newest delivery is held."""
        cases = self.cases(source)
        return next(case for case in cases if case.kind == "delivery")

    def cases(self, source: str) -> list[CaseView]:
        """Cases of a source's newest delivery."""
        database = Database(self.stage.settings.database_url)
        with database.session() as session:
            newest = list_deliveries(session, "adult", source=source)[-1].id
        return list_cases(database, delivery_id=newest)

    def wait_for_question(self, dag: str, run: str) -> None:
        """Wait until a run has asked a human and was put aside."""
        client, deadline = self.client, time.monotonic() + 600
        while not (
            (asked := client.question(dag, run)) and client.waits(dag, run, asked["task_instance"]["task_id"])
        ):
            assert time.monotonic() < deadline, client.tasks(dag, run)
            time.sleep(0.5)

    def _build(self) -> None:
        stage, rounds = self.stage, self.rounds
        stage.build(rounds, str(stage.outbox), PROJECT / "include" / "contracts" / "adult.yaml")
        contract = yaml.safe_load(stage.contract.read_text())
        contract["training"].update(
            backend="reference", epochs=8, batch_size=32, layers=[{"dense": 16, "activation": "relu"}]
        )
        contract["gates"] = {"min_accuracy": 0.6, "slices": ["sex", "race"], "min_slice_rows": 20}
        stage.contract.write_text(yaml.safe_dump(contract, sort_keys=False))
        load_contract(stage.contract)
        stage.settings.make_home()
        challengers.settle(self.folder, stage.settings, stage.contract.parent)
        for source in SOURCES:
            stage.deliver(source, rounds.first[source], 1)
        self.airflow.start()
        client = self.client
        client.wait_for_dags({INTAKE, TRAINING, challengers.TRAINING})
        first = client.trigger(INTAKE, {"sources": list(SOURCES)})
        assert client.wait(INTAKE, first, 600) == "success"
        hostile.deliver(self.folder, stage.settings, stage.contract.parent)
        for source in SOURCES:
            stage.deliver(source, rounds.second[source], 2)
        trained = client.wait_for_run(TRAINING, timeout=300)
        assert client.wait(TRAINING, trained, 600) == "success"
        self.wait_for_question(INTAKE, client.trigger(INTAKE, {"sources": list(SOURCES)}))
