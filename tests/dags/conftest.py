"""A migrated Airflow and a town of sources, for tests that run the DAGs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assay.demo.data import make_rounds
from assay.demo.stage import Stage

PROJECT = Path(__file__).resolve().parents[2]


class Airflow:
    """An Airflow home of the tests' own, in which Python snippets are run in a fresh process."""

    def __init__(self, root: Path) -> None:
        self.stage = Stage(root / "stage", PROJECT)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "ASSAY_"))},
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

    def python(self, code: str, *, timeout: float = 400) -> dict:
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
    for command in (["db", "migrate"], ["pools", "set", "gpu", "1", "one training at a time"]):
        subprocess.run(
            [str(Path(sys.executable).parent / "airflow"), *command],
            env=airflow.environment,
            check=True,
            capture_output=True,
            timeout=300,
        )
    return airflow
