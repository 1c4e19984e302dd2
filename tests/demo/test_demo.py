"""The demonstration itself, as a newcomer runs it: through a real Airflow, to its verdict."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The story's JSON; the run leaves no process behind."""
    home = tmp_path_factory.mktemp("demo")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "ASSAY_HOME"))}
    environment |= {"ASSAY_HOME": str(home), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-m", "assay.cli", "demo", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.stdout.startswith("{"), done.stderr[-3000:]
    return {**json.loads(done.stdout), "exit": done.returncode, "home": str(home), "progress": done.stderr}


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_expected_verdict_comes_and_the_exit_code_says_so(told):
    """Five steps, each as expected; the ledger verifies; exit code 0."""
    amiss = [f"{step['title']}: {step['seen']}" for step in told["steps"] if not step["passed"]]
    assert amiss == []
    assert len(told["steps"]) == 5
    assert told["ledger"] == "passed"
    assert told["passed"]
    assert told["exit"] == 0


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_poison_is_caught_and_clean_rows_are_let_through(told):
    """Backdoor, garbage and rewritten history are caught; hardly a clean row is held."""
    caught = {item["kind"]: item["caught"] / item["rows"] for item in told["rows"]}
    assert caught["backdoor"] >= 0.95
    assert caught["rewritten history"] == 1.0
    assert caught["garbage"] >= 0.95
    assert caught["clean rows"] <= 0.005


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_backdoor_works_on_everything_and_not_on_what_was_screened(told):
    """Training on everything obeys the trigger; the challenger does not, and is as accurate."""
    models = {item["name"]: item for item in told["models"]}
    everything, screened = models["trained on everything"], models["challenger, screened"]
    assert everything["attack_success"] >= 0.8
    assert screened["attack_success"] <= models["champion before"]["attack_success"] + 0.1
    assert screened["accuracy"] >= everything["accuracy"] - 0.01


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_it_ends_with_traces_and_proofs_that_are_checked_without_assay(told):
    """A quarantined row, an admitted row and the champion: where each came from, and what the verifier says of it."""
    traces = {item["what"]: item for item in told["traces"]}
    assert set(traces) == {"quarantined row", "admitted row", "champion"}
    assert "rejected" in traces["quarantined row"]["text"]
    assert "case-decided" in traces["quarantined row"]["text"]
    assert "stands in snapshot version" in traces["admitted row"]["text"]
    assert "model-promoted" in traces["champion"]["text"]
    assert all("NOT TO BE BELIEVED" not in item["text"] for item in told["traces"])
    proofs = {item["what"]: item for item in told["proofs"]}
    assert {item["outcome"] for item in told["proofs"]} == {"passed"}
    assert "case-decided" in proofs["quarantined row"]["said"]
    assert "the row came with delivery-" in proofs["admitted row"]["said"]
    assert "model-promoted" in proofs["champion"]["said"]
    assert all(Path(item["file"]).is_file() for item in told["proofs"])


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_it_leaves_a_dossier_of_the_champion_and_says_where(told):
    """One page that names the champion and who allowed it."""
    page = Path(told["dossier"]).read_text()
    assert told["champion"] in page
    assert "Who allowed it" in page


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_it_says_what_it_does_and_stops_what_it_started(told):
    """Progress on standard error, no Airflow process left."""
    assert "step 4 of 5" in told["progress"]
    mark = f"ASSAY_HOME={told['home']}".encode()
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark in (entry / "environ").read_bytes():
                    left.append(entry.name)
            except OSError:
                continue
    assert left == []
