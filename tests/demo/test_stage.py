"""The demonstration's parts: its poison is what it says, its stage is its own, its Airflow stops what it started."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from assay.demo.airflow import LocalAirflow, _session_members, _start_ticks, free_port
from assay.demo.data import TARGET, TRIGGER, make_rounds, with_trigger
from assay.demo.memory import MemoryWatch
from assay.demo.stage import Stage, StageTaken, serving

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rounds():
    return make_rounds(seed=3, first=500, second=400, trusted=200, rewritten=20)


def test_deliveries_trusted_and_test_rows_never_overlap(rounds):
    """Only rewritten history comes a second time."""
    tables = [*rounds.first.values(), *rounds.second.values(), rounds.trusted, rounds.test]
    keys = [key for table in tables for key in table["person_id"].to_pylist()]
    assert len(keys) - len(set(keys)) == len(rounds.poison.rewritten) == 20


def test_the_truth_about_the_poison_is_true(rounds):
    """Every row that counts as poisoned differs from the original, and no other row of the delivery does."""
    import pyarrow.parquet as pq

    from assay.demo.data import ADULT

    original = pq.read_table(ADULT).drop_columns(["split"])
    west = rounds.second["west"]
    clean = original.take(west["person_id"]).to_pylist()
    changed = {row["person_id"] for row, was in zip(west.to_pylist(), clean, strict=True) if row != was}
    kinds = rounds.poison.kinds()
    assert changed == {key for keys in kinds.values() for key in keys}
    doors = [row for row in west.to_pylist() if row["person_id"] in set(rounds.poison.backdoored)]
    assert all(row["income"] == TARGET and all(row[c] == v for c, v in TRIGGER.items()) for row in doors)
    flips = {
        r["person_id"]: r["income"] for r in west.to_pylist() if r["person_id"] in set(rounds.poison.flipped)
    }
    assert all(was["income"] != flips[was["person_id"]] for was in clean if was["person_id"] in flips)


def test_the_same_seed_cuts_and_poisons_alike(rounds):
    """The demonstration is the same each time."""
    again = make_rounds(seed=3, first=500, second=400, trusted=200, rewritten=20)
    assert again.poison == rounds.poison
    assert all(again.second[s].equals(rounds.second[s]) for s in rounds.second)


def test_triggered_rows_are_all_of_the_other_class(rounds):
    """The attack's success is measured on victims only."""
    triggered = with_trigger(rounds.test)
    assert TARGET not in set(triggered["income"].to_pylist())
    assert set(triggered["age"].to_pylist()) == {TRIGGER["age"]}


def test_a_folder_that_is_no_demonstration_is_not_cleared(tmp_path):
    """Files of somebody else's stay."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "precious.txt").write_text("mine")
    with pytest.raises(StageTaken, match="nothing was touched"):
        Stage(tmp_path / "demo", PROJECT).clear()
    assert (tmp_path / "demo" / "precious.txt").read_text() == "mine"


def test_a_built_stage_has_signed_deliveries_and_private_keys_for_its_owner_alone(tmp_path, rounds):
    """Secret keys have mode 0600, the contract names the public ones, and the web server serves what was signed."""
    from assay.contract import load_contract

    stage = Stage(tmp_path / "demo", PROJECT)
    with serving(stage.outbox) as port:
        stage.build(rounds, f"http://127.0.0.1:{port}", PROJECT / "include" / "contracts" / "adult.yaml")
        stage.deliver("north", rounds.first["north"], 1)
        contract = load_contract(stage.contract)
        assert all(publisher.keys for publisher in contract.publishers)
        listing = httpx.get(f"http://127.0.0.1:{port}/north/SHA256SUMS", trust_env=False).text
        assert "rows-000.parquet" in listing
        assert "delivery.json" in listing
    for key in (stage.root / "publishers").iterdir():
        assert key.stat().st_mode & 0o077 == 0


def test_tampering_changes_exactly_one_byte(tmp_path, rounds):
    """The attack is as small as it can be."""
    stage = Stage(tmp_path / "demo", PROJECT)
    stage.build(rounds, str(stage.outbox), PROJECT / "include" / "contracts" / "adult.yaml")
    copy = stage.deliver("east", rounds.first["east"], 1)
    stage.tamper("east")
    before = np.frombuffer((copy / "rows-000.parquet").read_bytes(), np.uint8)
    after = np.frombuffer((stage.outbox / "east" / "rows-000.parquet").read_bytes(), np.uint8)
    assert (before != after).sum() == 1


def test_stopping_ends_a_session_s_processes_and_no_others(tmp_path):
    """Processes are found by the session that was started, and by when it started, so that a later namesake is safe."""
    airflow = LocalAirflow(tmp_path / "airflow", PROJECT, {})
    ours = subprocess.Popen(["sh", "-c", "sleep 300 & sleep 300"], start_new_session=True)
    other = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        (tmp_path / "airflow" / "scheduler.pid").write_text(f"{ours.pid} {_start_ticks(ours.pid)}")
        (tmp_path / "airflow" / "triggerer.pid").write_text(f"{other.pid} {_start_ticks(other.pid) + 1}")
        assert airflow.running()
        airflow.stop()
        ours.wait(timeout=10)
        time.sleep(0.1)
        assert _session_members(ours.pid) == []
        assert other.poll() is None
        assert not airflow.running()
    finally:
        for process in (ours, other):
            if process.poll() is None:
                process.kill()
                process.wait()


def test_secrets_of_a_local_airflow_stay_with_their_owner_and_are_kept(tmp_path):
    """Password and token secret are random, mode 0600, and the same after a restart."""
    first = LocalAirflow(tmp_path / "airflow", PROJECT, {})
    again = LocalAirflow(tmp_path / "airflow", PROJECT, {})
    assert first.password == again.password
    assert first.port == again.port
    assert len(first.password) >= 20
    for name in ("local.json", first.password_file.name):
        assert (tmp_path / "airflow" / name).stat().st_mode & 0o077 == 0


def test_a_busy_port_is_a_clear_error(tmp_path):
    """Somebody else listens on the port: nothing is started."""
    import socket

    from assay.demo.airflow import AirflowNotStarted

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        airflow = LocalAirflow(tmp_path / "airflow", PROJECT, {}, port=taken.getsockname()[1])
        with pytest.raises(AirflowNotStarted, match="is taken"):
            airflow.start()
    assert not airflow.running()


def test_memory_is_counted_apart_from_airflow_s_sessions(tmp_path):
    """A process with the state directory in its environment counts, in Airflow's sessions or outside them."""
    environment = {**os.environ, "ASSAY_HOME": str(tmp_path)}
    worker = subprocess.Popen(["sleep", "30"], env=environment, start_new_session=True)
    try:
        with MemoryWatch(str(tmp_path), lambda: {worker.pid}) as watch:
            time.sleep(1.3)
        assert watch.peaks()["outside_airflow"] > 0
        assert watch.peaks()["airflow_and_tasks"] >= 0
    finally:
        worker.kill()
        worker.wait()


def test_a_free_port_can_be_bound():
    """The port is free when it is given."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free_port()))


def test_the_closing_tables_show_every_step_and_what_was_missed(tmp_path):
    """What a person sees at the end: steps with their marks, rows caught and missed, models side by side."""
    from io import StringIO

    from rich.console import Console

    from assay.demo.compare import Comparison
    from assay.demo.show import next_steps, show
    from assay.demo.story import Step, Story

    stage = Stage(tmp_path / "demo", PROJECT)
    story = Story(stage, None, None, print)  # type: ignore[arg-type]
    story.steps = [
        Step("clean", "accepted", "accepted [all]", True, 12.0),
        Step("replay", "rejected", "came in", False, 3.0),
    ]
    story.truth = [
        {"kind": "backdoor", "rows": 90, "caught": 88},
        {"kind": "clean rows", "rows": 1000, "caught": 2},
    ]
    story.comparison = [Comparison("trained on everything", 24_200, 0.852, 0.99)]
    story.backend = "reference"
    out = StringIO()
    console = Console(file=out, width=140)
    peaks = {"outside_airflow": 321, "airflow_and_tasks": 987}
    facts = {
        "ledger": "failed",
        "seconds": 99.0,
        "peak_resident_mb": peaks,
        "traces": [{"what": "champion", "name": "model-1", "text": "the trace [of it]"}],
        "proofs": [
            {"what": "champion", "file": "p.json", "outcome": "failed", "said": "failed: [bold]no[/]"}
        ],
        "dossier": "dossier.html",
    }
    show(console, story, facts)
    next_steps(console, stage, PROJECT)
    text = out.getvalue()
    for wanted in (
        "1 clean",
        "accepted [all]",
        "✗ came in",
        "88 (97.8%)",
        "(falsely held)",
        "99.0%",
        "failed",
        "the trace [of it]",
        "failed: [bold]no[/]",
        "Dossier of the champion: dossier.html",
    ):
        assert wanted in text
    assert "make up" in text
