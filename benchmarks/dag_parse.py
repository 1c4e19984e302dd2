"""What parsing the DAG files costs, beside the import of Airflow itself in the same process.

    python benchmarks/dag_parse.py [--runs 5]

Each run is a fresh interpreter. Printed are the medians of processor seconds for `import airflow.sdk` and for the DAG
files on top of it, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = """
import json, time
begun = time.process_time()
import airflow.sdk, airflow.providers.standard.operators.hitl
airflow_seconds = time.process_time() - begun
begun = time.process_time()
import assay_intake, assay_training
print("ANSWER " + json.dumps([airflow_seconds, time.process_time() - begun]))
"""


def measure(home: str) -> tuple[float, float]:
    """Processor seconds of Airflow's import and of the DAG files, in a fresh interpreter."""
    places = (PROJECT / "include", PROJECT / "dags", PROJECT / "plugins")
    environment = os.environ | {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join(map(str, places)),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWER "))
    first, second = json.loads(line.removeprefix("ANSWER "))
    return float(first), float(second)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What parsing the DAG files costs.")
    parser.add_argument("--runs", type=int, default=5, help="fresh interpreters to take the median of")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        measure(home)
        seen = [measure(home) for _ in range(runs)]
    airflow, dags = (statistics.median(column) for column in zip(*seen, strict=True))
    print(f"import of Airflow   {airflow:6.2f} s")
    print(f"the DAG files       {dags:6.2f} s")
    print(f"ratio               {dags / airflow:6.2f}")


if __name__ == "__main__":
    main()
