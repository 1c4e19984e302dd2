"""A task that is killed while it trains, and run again: it goes on, and one bundle and one statement are left."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from assay.db import get_run, list_models, list_runs
from assay.errors import UsageError
from assay.line import RunInterrupted, row_losses, train
from assay.model import read_spec
from assay.train import Epoch
from assay.train.records.events import Started
from tests.line import victim
from tests.line.conftest import PROJECT, Town, moved
from tests.line.test_kill import server, state
from tests.train.disturbances import Killer

__all__ = ["server"]

pytestmark = pytest.mark.usefixtures("unfollowed")

RECIPES = {
    "plain": {"epochs": 9, "checkpoint_every": 2, "layers": [{"dense": 16}, {"dropout": 0.1}]},
    "robust": {"epochs": 9, "checkpoint_every": 2, "aggregation": "trimmed_mean", "byzantine_sources": 1},
    "private": {
        "epochs": 6,
        "checkpoint_every": 2,
        "privacy": {
            "noise_multiplier": 0.4,
            "max_grad_norm": 1.0,
            "delta": 1e-5,
            "accountant": "rdp",
            "seeded_noise": True,
        },
    },
}


@pytest.fixture(params=sorted(RECIPES))
def recipe(request: pytest.FixtureRequest) -> dict[str, object]:
    """How the town trains."""
    return RECIPES[request.param]


@pytest.mark.slow
def test_a_task_killed_again_and_again_ends_with_the_same_model(
    server, tmp_path, rounds, settled_root, recipe
):
    """At random epochs: the registry, the ledger and the bundle's digest are those of a quiet run."""
    place = tmp_path / "place"  # its path is part of the contract: both run there, one after the other
    calm = moved(settled_root, place, rounds)
    calm.change(training=recipe)
    with calm.line() as line:
        train(line)
    expected = state(calm)
    place.rename(tmp_path / "calm")
    harried = moved(settled_root, place, rounds)
    harried.change(training=recipe)
    chance, killed, code = random.Random(1), 0, -1
    while code:
        at = chance.randint(2, 9) if killed < 4 else 10**9
        process = server.Process(target=victim.train_until, args=(str(harried.stage.root), str(PROJECT), at))
        process.start()
        process.join(300)
        code = process.exitcode
        assert code in {0, -signal.SIGKILL}
        killed += code != 0
    assert killed
    assert state(harried) == expected
    with harried.line() as line, line.database.session() as session:
        [run], [model] = list_runs(session, "adult"), list_models(session, "adult")
        assert run.detail["resumed"] >= 1
        assert "resumed" not in (Path(model.bundle_uri) / "statement.dsse.json").read_text()
    assert not list(harried.settings.work_dir.glob("train-*"))


def test_a_worker_that_was_killed_is_a_run_that_can_be_tried_again(settled_town):
    """The error is transient and says so; the next call goes on from the checkpoint."""
    settled_town.change(training=RECIPES["plain"])
    with settled_town.line() as line:
        with pytest.raises(RunInterrupted, match="goes on from the last checkpoint"):
            train(line, on_event=Killer(_Late(), 8))
        with line.database.session() as session:
            assert list_runs(session, "adult") == []
        started: list[Started] = []
        done = train(line, on_event=lambda e: started.append(e) if isinstance(e, Started) else None)
        assert started[0].resumed_from > 0
        with line.database.session() as session:
            run = get_run(session, done["run"])
        assert run is not None
        assert run.detail["resumed"] == 1


class _Late(random.Random):
    """Kills at once, after the last event that may be."""

    def randint(self, _low: int, high: int) -> int:
        return high

    def choice(self, _options: object) -> int:
        return 0


def test_a_run_keeps_the_losses_of_its_rows_with_what_names_them(settled_town):
    """Row hash, source and key beside one loss per epoch; the object is named in registry and statement."""
    with settled_town.line() as line:
        epochs: list[Epoch] = []
        done = train(line, on_event=lambda e: epochs.append(e) if isinstance(e, Epoch) else None)
        found = row_losses(line, done["run"])
        with line.database.session() as session:
            run, [model] = get_run(session, done["run"]), list_models(session, "adult")
        assert run is not None
        assert line.store.exists(run.detail["row_losses"])
    assert found.column_names == ["row", "_row_hash", "_source", *line.contract.schema_.key, "losses"]
    spec = read_spec(Path(model.bundle_uri) / "spec.json")
    assert found.num_rows == spec.rows.train
    assert set(found["_source"].to_pylist()) == set(spec.source_names)
    assert len(set(found["_row_hash"].to_pylist())) == found.num_rows
    first = [losses[0] for losses in found["losses"].to_pylist()]
    assert len(first) == found.num_rows
    assert sum(first) / len(first) == pytest.approx(epochs[0].train_loss, rel=1e-5)


def test_a_run_without_row_losses_says_so(settled_town):
    """One that never was, and a private one."""
    settled_town.change(training=RECIPES["private"])
    with settled_town.line() as line:
        with pytest.raises(UsageError, match="no row losses"):
            row_losses(line, "run-" + "0" * 32)
        done = train(line)
        with pytest.raises(UsageError, match="no row losses"):
            row_losses(line, done["run"])


def test_statement_and_card_say_how_the_run_learned(settled_town):
    """Backend and reason, device, versions, best epoch, why it stopped, privacy, and how sources were weighed."""
    settled_town.change(training={**RECIPES["robust"], "early_stopping": {"patience": 2, "min_delta": 9.0}})
    statement, card = _trained(settled_town)
    assert (statement["backend"], statement["device"]) == ("reference", "cpu")
    assert statement["backend_reason"] == "the contract asks for reference"
    assert "numpy" in statement["versions"]
    assert (statement["epochs"], statement["best_epoch"]) == (3, 1)
    assert "early stopping" in statement["stopped_because"]
    assert statement["aggregation"]["name"] == "trimmed_mean"
    assert statement["privacy"] is None
    for text in ("trimmed_mean", "early stopping", "epoch 1", "dense 16", "adam", "constant"):
        assert text in card


def test_statement_and_card_say_what_privacy_was_spent_and_that_it_was_seeded(settled_town):
    """Both epsilons and delta; a seeded run has no privacy against those who know the seed."""
    settled_town.change(training=RECIPES["private"])
    statement, card = _trained(settled_town)
    spent = statement["privacy"]
    assert 0 < spent["epsilon_pld"] < spent["epsilon_rdp"]
    assert (spent["delta"], spent["seeded_noise"], spent["noise_multiplier"]) == (1e-5, True, 0.4)
    assert spent["steps"] > 0
    assert statement["row_losses"] is None
    assert "NO privacy" in card
    assert f"{spent['epsilon_pld']:.4g}" in card


def _trained(town: Town) -> tuple[dict, str]:
    """Predicate of the run's statement, and its model's card."""
    import base64
    import json

    with town.line() as line:
        train(line)
        with line.database.session() as session:
            bundle = Path(list_models(session, "adult")[-1].bundle_uri)
    envelope = json.loads((bundle / "statement.dsse.json").read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    return statement["predicate"], (bundle / "card.md").read_text()
