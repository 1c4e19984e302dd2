"""Each station killed in the middle and run again: the same ids, no double entry, nothing half written."""

from __future__ import annotations

import json
import multiprocessing
import signal
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from assay.canonical import canonical_json
from assay.db import (
    Case,
    Decision,
    Delivery,
    DeliveryFile,
    FindingRow,
    LedgerEntry,
    ModelRow,
    Promotion,
    Run,
    Snapshot,
    list_deliveries,
    list_models,
)
from assay.findings import Answer, Outcome
from assay.ledger.statements.envelopes import read_unverified
from tests.line import victim
from tests.line.conftest import PROJECT, Town, moved

TABLES = (Delivery, DeliveryFile, FindingRow, Case, Decision, Snapshot, Run, ModelRow, Promotion, LedgerEntry)
POINTS = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
ANSWER = {
    "chosen_options": [str(Answer.ADMIT_ALL)],
    "params_input": {"reason": "looked at the evidence"},
    "responded_by_user": {"id": "1", "name": "olga"},
}


@pytest.fixture(scope="module")
def server():
    """Forks victims from a process that has imported everything once and computed nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(victim.HEAVY)
    with pytest.MonkeyPatch.context() as patch:
        # What a victim runs is not measured: it ends without saying what it ran, and tracing makes it slower.
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        forkserver.ensure_running()
    return context


def attempt(server, town: Town, station: str, arguments: list[Any], at: int) -> int:
    """Exit code of one try: 0 when it came to its end, -9 when it was killed."""
    process = server.Process(
        target=victim.run, args=(str(town.stage.root), str(PROJECT), station, arguments, at)
    )
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the victim hangs"
    return process.exitcode


def state(town: Town) -> dict[str, Any]:
    """Everything that must not depend on how often a station was killed: ids and counts, without clocks."""
    with town.line() as line:
        assert [f.message for f in line.ledger.verify() if f.outcome is not Outcome.PASSED] == []
        with line.database.session() as session:
            counts = {t.__tablename__: session.scalar(select(func.count()).select_from(t)) for t in TABLES}
            ids = {
                t.__tablename__: sorted(session.scalars(select(t.id)))
                for t in (Delivery, Case, Snapshot, Run, ModelRow, Promotion)
            }
            states = sorted(
                (d.source, d.sequence, d.state, d.verdict) for d in list_deliveries(session, "adult")
            )
            statements = sorted(map(_timeless, session.scalars(select(LedgerEntry.envelope))))
        return {"counts": counts, "ids": ids, "states": states, "statements": statements}


def _timeless(envelope: str) -> bytes:
    """What a statement says, but for when a delivery came in first and when a human decided."""
    document = json.loads(read_unverified(envelope).payload)
    document["predicate"] = {
        name: value
        for name, value in document["predicate"].items()
        if name not in {"first_seen", "decided_at"}
    }
    return canonical_json(document)


def survive(server, tmp_path: Path, rounds, start: Path, station: str, arguments: list[Any]) -> None:
    """Kill a station at more and more effects until it gets through; compare with one that was never killed."""
    calm, harried = (moved(start, tmp_path / name / "town", rounds) for name in ("calm", "harried"))
    # The stage's path is part of the contract, and so of every id: both run in the same place, one after the other.
    place = tmp_path / "place"
    calm.stage.root.rename(place)
    calm = Town(place, rounds)
    _point_at(calm)
    assert attempt(server, calm, station, arguments, 10**9) == 0
    expected = state(calm)
    place.rename(tmp_path / "done")
    harried.stage.root.rename(place)
    harried = Town(place, rounds)
    _point_at(harried)
    killed = 0
    for at in POINTS:
        code = attempt(server, harried, station, arguments, at)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        killed += 1
    else:
        assert attempt(server, harried, station, arguments, 10**9) == 0
    assert killed >= 3
    assert state(harried) == expected
    leftovers = [p for p in place.rglob("*") if "partial" in p.name and "bundle" not in p.name]
    assert not leftovers


def _point_at(town: Town) -> None:
    import yaml

    contract = yaml.safe_load(town.stage.contract.read_text())
    for source in contract["sources"]:
        source["uri"] = f"{town.stage.outbox}/{source['id']}/"
    town.stage.contract.write_text(yaml.safe_dump(contract, sort_keys=False))


def deliveries_of(root: Path, rounds, *states: str) -> list[str]:
    """Ids of the deliveries in these states."""
    with Town(root, rounds).line() as line, line.database.session() as session:
        return [d.id for d in list_deliveries(session, "adult") if d.state in states]


@pytest.mark.slow
def test_landing_survives_being_killed(server, tmp_path, rounds, settled_root):
    """Objects, registry and ledger are the same as after one quiet landing."""
    start = moved(settled_root, tmp_path / "start" / "town", rounds)
    start.stage.deliver("west", rounds.second["west"], 2)
    survive(server, tmp_path, rounds, start.stage.root, "land", ["west"])


@pytest.mark.slow
def test_validating_survives_being_killed(server, tmp_path, rounds, settled_root):
    """The failing rows and findings are registered once."""
    start = moved(settled_root, tmp_path / "start" / "town", rounds)
    deliveries = start.take_in({"west": rounds.second["west"]}, 2)
    survive(server, tmp_path, rounds, start.stage.root, "validate", [deliveries])


@pytest.mark.slow
def test_screening_survives_being_killed(server, tmp_path, rounds, settled_root):
    """Cases are opened once, with the same rows."""
    from assay.line import validate

    start = moved(settled_root, tmp_path / "start" / "town", rounds)
    deliveries = start.take_in({"west": rounds.second["west"]}, 2)
    with start.line() as line:
        validate(line, deliveries)
    survive(server, tmp_path, rounds, start.stage.root, "screen", [deliveries])


@pytest.mark.slow
def test_deciding_survives_being_killed(server, tmp_path, rounds, held_root):
    """Each case carries one decision, and each decision one entry in the ledger."""
    survive(
        server,
        tmp_path,
        rounds,
        held_root,
        "decide",
        [deliveries_of(held_root, rounds, "held", "screened"), ANSWER],
    )


@pytest.mark.slow
def test_admitting_survives_being_killed(server, tmp_path, rounds, held_root):
    """One snapshot, with the same parts and the same root."""
    survive(
        server, tmp_path, rounds, held_root, "admit", [deliveries_of(held_root, rounds, "held", "screened")]
    )


@pytest.mark.slow
def test_training_survives_being_killed(server, tmp_path, rounds, settled_root):
    """One run, one signed bundle, one entry; no worker is left behind."""
    survive(server, tmp_path, rounds, settled_root, "train", ["latest"])


@pytest.mark.slow
def test_judging_and_promoting_survive_being_killed(server, tmp_path, rounds, settled_root):
    """One judgement and one promotion, whatever happened in between."""
    from assay.line import train

    start = moved(settled_root, tmp_path / "start" / "town", rounds)
    with start.line() as line:
        train(line)
        with line.database.session() as session:
            model = list_models(session, "adult")[-1].id
    survive(server, tmp_path / "judge", rounds, start.stage.root, "judge", [model])
    with start.line() as line:
        from assay.line import judge

        judge(line, model)
    survive(server, tmp_path / "promote", rounds, start.stage.root, "promote", [model])
