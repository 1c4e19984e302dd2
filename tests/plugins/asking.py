"""A real Airflow whose DAGs do nothing but ask: held deliveries and challengers are put into the registry by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from assay.contract import Review, load_contract
from assay.db import Database, ModelRow, get_delivery, put_delivery, put_model, put_run
from assay.demo.airflow import AirflowClient, LocalAirflow
from assay.line import Line
from assay.quarantine import list_cases, open_case
from assay.settings import Settings
from assay.store import open_store
from tests.contract.examples import DESIGN
from tests.db.rows import DIGEST, a_delivery, a_run

PROJECT = Path(__file__).resolve().parents[2]
ROLES = {"vera": "viewer", "ursula": "user", "olga": "op", "nora": "op"}
REVIEW, APPROVE = "adult__intake", "adult__training"
_DAGS = """
from pathlib import Path
from airflow.sdk import Param, dag, task
from assay.contract import load_contract
from assay_airflow import call, common
from assay_review import AssayApproval, AssayReview

PATH = Path({contract!r})
CONTRACT = load_contract(PATH)
SHARED = {{**common(CONTRACT, "test"), "max_active_runs": 16, "schedule": None}}

@dag(dag_id="adult__intake", params={{"deliveries": Param([], type="array")}}, **SHARED)
def intake():
    @task
    def proved(params=None):
        return list(params["deliveries"])
    @task
    def screen(deliveries):
        return {{"summary": "- **west**: too many rows look poisoned"}}
    @task
    def decide(deliveries, answer):
        return call(PATH, "decide", deliveries, answer)
    deliveries = proved()
    review = AssayReview(task_id="review", contract_path=PATH, contract=CONTRACT, deliveries=deliveries)
    screen(deliveries) >> review
    decide(deliveries, review.output)

@dag(dag_id="adult__training", params={{"model": Param("", type="string")}}, **SHARED)
def training():
    @task
    def judge(params=None):
        return {{"model": params["model"], "summary": "- gates: passed"}}
    @task(retries=0)
    def promote(judged, answer):
        return call(PATH, "promote", judged["model"], answer)
    judged = judge()
    approve = AssayApproval(task_id="approve", contract_path=PATH, contract=CONTRACT, judged=judged)
    promote(judged, approve.output)

intake(); training()
"""

_IN_AIRFLOW = """
import json, sys
sys.path.insert(0, {plugins!r})
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
create_auth_manager()
import assay_hitl
user = SimpleAuthManagerUser(username={user!r}, role={role!r})
{body}
print("ANSWER " + json.dumps(answer, default=str))
"""


class Asking:
    """Registry, store and Airflow in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        contracts = folder / "contracts"
        contracts.mkdir(parents=True, exist_ok=True)
        self.contract = contracts / "adult.yaml"
        document = yaml.safe_load(DESIGN)
        document["review"] = {"promotion": "manual", "timeout": "3d"}
        document["schedule"] = None
        self.contract.write_text(yaml.safe_dump(document))
        environment = {"ASSAY_HOME": str(folder / "home"), "ASSAY_CONTRACTS_DIR": str(contracts)}
        self.settings = Settings(
            home=folder / "home",
            database_url=f"sqlite:///{folder / 'home' / 'assay.db'}",
            store_uri=(folder / "home" / "store").as_uri(),
            keys_dir=folder / "home" / "keys",
            contracts_dir=contracts,
        )
        project = folder / "project"
        (project / "dags").mkdir(parents=True, exist_ok=True)
        (project / "dags" / "asking.py").write_text(_DAGS.format(contract=str(self.contract)))
        for name in ("plugins", "include"):
            if not (project / name).exists():
                (project / name).symlink_to(PROJECT / name)
        self.airflow = LocalAirflow(folder / "airflow", project, environment, roles=ROLES)
        with self.line():
            pass

    def line(self) -> Any:
        """The line, opened on the registry."""
        return Line.open(self.contract, self.settings)

    def hold(self, name: str, review: Review, rows: int = 4) -> str:
        """A held delivery with a case about its rows and one about the whole of it."""
        database = Database(self.settings.database_url)
        with database.write() as session:
            put_delivery(session, a_delivery(name, state="held", verdict="hold"))
        table = pa.table({"age": list(range(rows)), "_row": pa.array(range(rows), pa.int64())})
        common: dict[str, Any] = {"dataset": "adult", "delivery_id": name, "blocking": True, "review": review}
        store = open_store(self.settings)
        open_case(database, store, kind="screening", rows=table, summary="rows", evidence={}, **common)
        open_case(database, store, kind="delivery", rows=None, summary="held", evidence={}, **common)
        return name

    def challenge(self, name: str) -> str:
        """A challenger whose gates passed."""
        database = Database(self.settings.database_url)
        with database.write() as session:
            put_run(session, a_run(f"run-{name}"))
            put_model(
                session,
                ModelRow(
                    id=name,
                    dataset="adult",
                    run_id=f"run-{name}",
                    snapshot_id="snapshot-1",
                    state="challenger",
                    bundle_uri="/nowhere",
                    metrics={"gates": "passed", "judged_against": None, "digest": DIGEST},
                    made_at="2026-03-01T12:00:00Z",
                ),
            )
        return name

    def statuses(self, delivery: str) -> dict[str, str]:
        """Status of each open or closed case of a delivery, by kind; parts of a case count together."""
        found: dict[str, set[str]] = {}
        for case in list_cases(Database(self.settings.database_url), delivery_id=delivery):
            if case.status != "split":
                found.setdefault(case.kind, set()).add(case.status)
        return {kind: "+".join(sorted(each)) for kind, each in found.items()}

    def verdict(self, delivery: str) -> tuple[str, str | None]:
        """State and verdict of a delivery."""
        with Database(self.settings.database_url).session() as session:
            row = get_delivery(session, delivery)
            assert row is not None
            return row.state, row.verdict

    def in_airflow(self, body: str, user: str = "olga") -> Any:
        """Run code as the api-server would, as a user; it leaves its result in `answer`."""
        code = _IN_AIRFLOW.format(
            plugins=str(PROJECT / "plugins"), user=user, role=ROLES.get(user, "admin"), body=body
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.airflow.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
        assert lines, done.stderr[-3000:]
        return json.loads(lines[-1].removeprefix("ANSWER "))

    # ------------------------------------------------------------------------------------------------------ Airflow
    def ask(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run and wait until its question stands; returns the run's id."""
        client = self.airflow.client()
        run = client.trigger(dag, conf)
        task = "review" if dag == REVIEW else "approve"
        wait_until(lambda: client.waits(dag, run, task), f"{task} of {run} asks")
        return run

    def answer(self, dag: str, run: str, option: str, user: str, reason: str = "looked") -> int:
        """Answer in Required Actions; returns the HTTP status."""
        task = "review" if dag == REVIEW else "approve"
        client: AirflowClient = self.airflow.client(user)
        done = client._http.patch(
            f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails",
            json={"chosen_options": [option], "params_input": {"reason": reason}},
        )
        return int(done.status_code)

    def pending(self, dag: str, run: str) -> bool:
        """Whether the run's question stands in Required Actions, as its page counts."""
        question = self.airflow.client().question(dag, run)
        return question is not None and question["task_instance"]["state"] in {"deferred", "awaiting_input"}


def wait_until(there: Any, what: str, seconds: float = 600) -> None:
    """Wait for something that must come; how long it takes is not judged."""
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"did not come: {what}"
        time.sleep(0.5)


__all__ = ["APPROVE", "REVIEW", "Asking", "load_contract", "wait_until"]
