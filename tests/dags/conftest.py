"""A migrated Airflow and a town of sources, for tests that run the DAGs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.demo.data import make_rounds
from assay.demo.stage import Stage

PROJECT = Path(__file__).resolve().parents[2]

PREPARE = """
import json
from airflow.models.pool import Pool
from airflow.utils.db import initdb
initdb()
Pool.create_or_update_pool("gpu", slots=1, description="one training at a time", include_deferred=False)
print("ANSWER " + json.dumps("prepared"))
"""


class Airflow:
    """An Airflow home of the tests' own, in which Python snippets are run in a fresh process."""

    def __init__(self, root: Path) -> None:
        self.stage = Stage(root / "stage", PROJECT)
        self.environment = {
            # Without coverage: what the stations run is measured where they are tested, at half the cost.
            **{k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "ASSAY_", "COVERAGE_"))},
            "AIRFLOW_HOME": str(root / "airflow"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{root / 'airflow.db'}",
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "PYTHONPATH": f"{PROJECT / 'include'}:{PROJECT / 'plugins'}:{PROJECT / 'dags'}",
            "NO_PROXY": "*",
            **self.stage.environment,
        }
        (root / "airflow").mkdir(parents=True)

    def python(self, code: str, *, timeout: float = 400) -> Any:
        """Run code in a fresh interpreter; it answers with one JSON object behind the mark `ANSWER`."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=PROJECT,
        )
        marked = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
        assert marked, f"no answer; status {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return json.loads(marked[-1].removeprefix("ANSWER "))


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    """Airflow with a migrated database, the pool, and a stage whose sources deliver from folders."""
    import yaml

    airflow = Airflow(tmp_path_factory.mktemp("dags"))
    rounds = make_rounds(seed=5, first=400, second=300, trusted=400, rewritten=30)
    airflow.stage.build(rounds, str(airflow.stage.outbox), PROJECT / "include" / "contracts" / "adult.yaml")
    contract = yaml.safe_load(airflow.stage.contract.read_text())
    contract["training"].update(
        backend="reference", epochs=8, batch_size=32, layers=[{"dense": 16, "activation": "relu"}]
    )
    contract["gates"] = {"min_accuracy": 0.6}
    airflow.stage.contract.write_text(yaml.safe_dump(contract, sort_keys=False))
    (airflow.stage.contract.parent / "broken.yaml").write_text("version: 1\ndataset: broken\nschma: {}\n")
    for source, table in rounds.first.items():
        airflow.stage.deliver(source, table, 1)
    assert airflow.python(PREPARE) == "prepared"
    return airflow
