"""The DAG files: what they define, what they cost, and that they run to their end."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

LOAD = """
import json, sys
import airflow.sdk, airflow.providers.standard.operators.hitl
before = set(sys.modules)
import assay_intake, assay_training
added = sorted(set(sys.modules) - before)
from airflow.sdk import DAG
dags = {v.dag_id: v for m in (assay_intake, assay_training) for v in vars(m).values() if isinstance(v, DAG)}
"""

INSPECT = (
    LOAD
    + """
def cyclic(dag):
    seen, stack = set(), set()
    def visit(task_id):
        if task_id in stack: return True
        if task_id in seen: return False
        seen.add(task_id); stack.add(task_id)
        found = any(visit(t) for t in dag.get_task(task_id).downstream_task_ids)
        stack.discard(task_id)
        return found
    return any(visit(t) for t in dag.task_ids)
HEAVY = ("pandas", "numpy", "pyarrow", "great_expectations", "pyod", "sklearn", "juliacall", "duckdb")
heavy = [m for m in HEAVY if m in sys.modules]
print("ANSWER " + json.dumps({
    "added": added, "heavy": heavy,
    "dags": {i: {
        "tasks": {t.task_id: {"retries": t.retries, "owner": t.owner, "doc": bool(t.doc_md), "pool": t.pool,
                              "timeout": t.execution_timeout.total_seconds() if t.execution_timeout else None,
                              "outlets": [o.name for o in t.outlets]} for t in d.tasks},
        "tags": sorted(d.tags), "cyclic": cyclic(d), "doc": bool(d.doc_md)} for i, d in dags.items()}}))
"""
)


@pytest.fixture(scope="module")
def loaded(airflow) -> dict:
    return airflow.python(INSPECT)


def test_each_contract_has_its_two_dags_by_name(loaded):
    """The data set `adult` has an intake and a training DAG; the broken contract has one that explains it."""
    assert set(loaded["dags"]) == {"adult__intake", "adult__training", "broken__contract_error"}


def test_dag_files_read_contracts_and_import_no_station(loaded):
    """What parsing costs is what it imports: no heavy library and none of the rooms that do the work."""
    assert loaded["heavy"] == []
    rooms = ("line", "intake", "expect", "screen", "quarantine", "ledger", "train", "model", "store", "db")
    assert [m for m in loaded["added"] if m.startswith(tuple(f"assay.{room}" for room in rooms))] == []
    assert "assay.contract.models" in loaded["added"]


def test_no_dag_has_a_cycle(loaded):
    """Tasks only lead on."""
    assert not any(dag["cyclic"] for dag in loaded["dags"].values())


@pytest.mark.parametrize(
    ("dag_id", "tasks"),
    [
        (
            "adult__intake",
            {
                "sources",
                "land",
                "proved",
                "validate",
                "screen",
                "held",
                "review",
                "decide",
                "admit",
                "verdicts",
            },
        ),
        ("adult__training", {"train", "judge", "promote"}),
        ("broken__contract_error", {"explain"}),
    ],
)
def test_a_dag_has_its_stations_each_with_owner_timeout_and_text(loaded, dag_id, tasks):
    """Every station stands in the DAG, says what it does, belongs to somebody and cannot run for ever."""
    found = loaded["dags"][dag_id]["tasks"]
    assert set(found) == tasks
    assert all(task["doc"] for task in found.values())
    if dag_id != "broken__contract_error":
        assert all(task["timeout"] and task["owner"] == "data-platform" for task in found.values())


def test_training_waits_for_its_pool_and_emits_the_model(loaded):
    """One training at a time; the assets join the two DAGs."""
    intake, training = loaded["dags"]["adult__intake"]["tasks"], loaded["dags"]["adult__training"]["tasks"]
    assert training["train"]["pool"] == "gpu"
    assert intake["admit"]["outlets"] == ["adult_snapshot"]
    assert training["promote"]["outlets"] == ["adult_model"]


def test_dag_files_are_wiring_only():
    """Each file of dags/ stays short."""
    for path in (PROJECT / "dags").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 120, path.name


RUN = (
    LOAD
    + """
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
answers = []
for dag_id, conf in RUNS:
    run = dags[dag_id].test(run_conf=conf)
    with create_session() as session:
        sizes = [len(json.dumps(x.value)) if not isinstance(x.value, str) else len(x.value)
                 for x in session.query(XComModel).filter(XComModel.dag_id == dag_id, XComModel.run_id == run.run_id)]
        states = {f"{t.task_id}[{t.map_index}]": str(t.state) for t in run.get_task_instances(session=session)}
    answers.append({"state": str(run.state), "states": states, "largest": max(sizes or [0]), "count": len(sizes)})
print("ANSWER " + json.dumps(answers))
"""
)


@pytest.fixture(scope="module")
def runs(airflow) -> dict[str, dict]:
    """`dag.test()` of one DAG after the other: states of run and tasks, number and largest size of XComs.

    In one fresh process, because Airflow's own start takes longer than what most of them do.
    """
    asked = {
        "intake": ("adult__intake", {"sources": ["west", "east", "north"]}),
        "training": ("adult__training", {}),
        "again": ("adult__intake", {"sources": ["west"]}),
        "broken": ("broken__contract_error", {}),
    }
    return dict(zip(asked, airflow.python(RUN.replace("RUNS", repr(list(asked.values())))), strict=True))


def test_the_dags_run_from_signed_deliveries_to_a_promoted_model(runs):
    """`dag.test()` of both DAGs ends in success, with no more than a kilobyte between any two tasks."""
    intake, training = runs["intake"], runs["training"]
    assert intake["state"] == "success", intake["states"]
    assert intake["states"]["review[-1]"] == "skipped"
    assert intake["count"] > 3
    assert intake["largest"] <= 1000
    assert training["state"] == "success", training["states"]
    assert training["largest"] <= 1000


def test_a_rejected_delivery_turns_its_task_and_the_run_red(runs):
    """The same delivery again is a replay: `land` fails, nothing is admitted, and the run is failed."""
    again = runs["again"]
    assert again["state"] == "failed"
    assert again["states"]["land[0]"] == "failed"
    assert again["states"]["admit[-1]"] == "skipped"


def test_a_broken_contract_fails_its_own_dag_with_the_problem(runs):
    """The DAG in the broken contract's place fails; the other data set is not touched by it."""
    run = runs["broken"]
    assert run["state"] == "failed"
