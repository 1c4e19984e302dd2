"""Runs that are killed at bad moments and run again: they end as if nothing had happened."""

from __future__ import annotations

import datetime as dt
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from assay.train import RunResult, TrainRequest, train_run
from assay.train.records.checkpoints import KEY_BYTES
from assay.train.records.events import Epoch, Event, Started, Warned
from assay.train.run import supervisor
from tests.train.disturbances import Killer, contents, die_at, fork_state, gone, row_losses
from tests.train.helpers import blob_contract, blobs, leftovers, ready
from tests.train.run.test_supervisor import supervise

pytestmark = pytest.mark.usefixtures("unfollowed")

RICH = {
    "layers": [{"dense": 12}, {"batch_norm": {}}, {"dropout": 0.2}, {"dense": 6, "activation": "tanh"}],
    "optimizer": {"name": "adamw", "learning_rate": 0.01, "weight_decay": 0.01},
    "schedule": {"name": "cosine", "warmup_epochs": 2},
    "loss": "logit_cross_entropy",
    "class_weights": "balanced",
    "checkpoint_every": 3,
}
PRIVATE = {
    "privacy": {"noise_multiplier": 1.1, "max_grad_norm": 1.0, "delta": 1e-5},
    "checkpoint_every": 2,
}


def rich(**training):
    """A contract whose runs have all that a checkpoint must bring back."""
    layers = [{"dense": 12}, {"batch_norm": True}, {"dropout": 0.2}, {"dense": 6, "activation": "tanh"}]
    return blob_contract(**{**RICH, "layers": layers, **training})


def with_sources() -> pa.Table:
    """Blobs that come from five places."""
    table = blobs(400)
    return table.append_column("place", pa.array([f"p{i % 5}" for i in range(400)]))


def undisturbed(folder: Path, agreed, table=None) -> tuple[TrainRequest, RunResult]:
    """The run that nobody kills."""
    request, _ = ready(folder, table, agreed)
    result = train_run(request, contract=agreed)
    assert result.status == "finished"
    return request, result


def same(request: TrainRequest, result: RunResult, calm: TrainRequest, expected: RunResult) -> None:
    """Same bytes, same answers, nothing left behind."""
    assert result.status == "finished"
    assert contents(request) == contents(calm)
    assert row_losses(result) == row_losses(expected)
    assert result.curve == expected.curve
    assert result.findings == expected.findings
    assert not (request.run_dir / "checkpoints").exists()


@pytest.mark.parametrize("seed", range(2))
def test_a_worker_killed_at_random_moments_ends_with_the_same_bundle(tmp_path, seed):
    """Several times over, within epochs and between them."""
    agreed = rich(epochs=14)
    calm, expected = undisturbed(tmp_path / "calm", agreed)
    request, _ = ready(tmp_path / "harried", agreed=agreed)
    chance = random.Random(seed)
    killed = 0
    for _ in range(4):
        result = train_run(request, contract=agreed, on_event=Killer(chance, 6))
        if result.status == "finished":
            break
        assert (result.status, result.transient) == ("failed", True)
        assert leftovers(tmp_path / "harried") == []
        killed += 1
    else:
        result = train_run(request, contract=agreed)
    assert killed
    same(request, result, calm, expected)


@pytest.mark.parametrize("effect", [2, 6, 11, 17, 25, 40])
def test_a_worker_killed_while_it_writes_leaves_something_to_go_on_from(tmp_path, monkeypatch, effect):
    """Around each fsync, rename and removal: of the checkpoint, of the row losses, of the bundle."""
    agreed = rich(epochs=7, early_stopping={"patience": 50})
    calm, expected = undisturbed(tmp_path / "calm", agreed)
    request, _ = ready(tmp_path / "harried", agreed=agreed)
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(die_at(tmp_path, effect)))
        first = train_run(request, contract=agreed)
    assert first.status == "finished" or first.transient
    result = train_run(request, contract=agreed)
    same(request, result, calm, expected)


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_of_the_supervisor_loses_no_more_than_the_epochs_since_the_checkpoint(tmp_path, seed):
    """The worker dies with it; the next call goes on and ends with the same bundle."""
    agreed = rich(epochs=150)
    calm, expected = undisturbed(tmp_path / "calm", agreed)
    harried = tmp_path / "harried"
    request, _ = ready(harried, agreed=agreed)
    epoch = random.Random(seed).randint(4, 60)
    process, worker = supervise(request, agreed, harried, until=epoch)
    process.kill()
    process.wait()
    assert gone(worker)
    started: list[Started] = []
    result = train_run(
        request, contract=agreed, on_event=lambda e: started.append(e) if isinstance(e, Started) else None
    )
    # What was told before the kill was in the log, so that at most the epochs since the last checkpoint are lost.
    assert started[0].resumed_from >= (epoch - 1) // 3 * 3
    assert result.resumed == 1
    same(request, result, calm, expected)


def test_the_epochs_that_a_checkpoint_brings_are_told_again(tmp_path):
    """The listener and the curve checks see the whole curve, once each, in order; timings are those of back then."""
    agreed = rich(epochs=12)
    request, _ = ready(tmp_path, agreed=agreed)
    first: list[Event] = []
    killer = Killer(_Fixed(8), 8)

    def watch(event: Event) -> None:
        first.append(event)
        killer(event)

    assert train_run(request, contract=agreed, on_event=watch).transient
    second: list[Event] = []
    result = train_run(request, contract=agreed, on_event=second.append)
    started = next(event for event in second if isinstance(event, Started))
    assert started.resumed_from == 6
    epochs = [event for event in second if isinstance(event, Epoch)]
    assert [event.epoch for event in epochs] == list(range(1, 13))
    assert epochs[:6] == [event for event in first if isinstance(event, Epoch)][:6]
    assert len(result.curve) == 12


class _Fixed(random.Random):
    """Kills at once after one given event."""

    def __init__(self, at: int) -> None:
        super().__init__(0)
        self._at = at

    def randint(self, _low: int, _high: int) -> int:
        return self._at

    def choice(self, _options):
        return 0


def test_a_robust_run_goes_on_with_the_same_sources_left_out(tmp_path):
    """Batches of sources are drawn in an order that spans epochs."""
    agreed = blob_contract(epochs=9, aggregation="krum", byzantine_sources=1, checkpoint_every=2)
    agreed = agreed.model_copy(update={"schema_": agreed.schema_.model_copy(update={"source": "place"})})
    calm, expected = undisturbed(tmp_path / "calm", agreed, with_sources())
    request, _ = ready(tmp_path / "harried", with_sources(), agreed)
    assert train_run(request, contract=agreed, on_event=Killer(_Fixed(7), 7)).transient
    same(request, train_run(request, contract=agreed), calm, expected)


def test_a_private_run_goes_on_with_the_same_secret(tmp_path):
    """Its weights are those that the same secret gives without a kill; the secret is gone when the bundle stands."""
    agreed = blob_contract(epochs=6, **PRIVATE)
    request, _ = ready(tmp_path / "harried", agreed=agreed)
    assert train_run(request, contract=agreed, on_event=Killer(_Fixed(6), 6)).transient
    [secret] = (request.run_dir / "checkpoints").glob("secret-*.key")
    assert len(secret.read_bytes()) == KEY_BYTES
    assert secret.stat().st_mode & 0o777 == 0o600
    calm = fork_state(request, tmp_path / "calm")
    for path in (calm.run_dir / "checkpoints").iterdir():
        if path.name != secret.name:
            path.unlink()
    began: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, Started):
            began.append(event.resumed_from)

    results = [train_run(r, contract=agreed, on_event=note) for r in (request, calm)]
    assert began == [4, 0]
    assert contents(request) == contents(calm)
    assert results[0].spec.privacy == results[1].spec.privacy
    assert results[0].row_losses is None
    for each in (request, calm):
        assert not (each.run_dir / "checkpoints").exists()


def test_two_private_runs_draw_different_noise_unless_the_contract_seeds_it(tmp_path):
    """A secret of its own for each; with seeded_noise the same numbers, and a warning."""
    weights = {}
    for name, seeded in (("a", False), ("b", False), ("c", True), ("d", True)):
        privacy = {**PRIVATE["privacy"], "seeded_noise": seeded}
        agreed = blob_contract(epochs=2, privacy=privacy)
        request, _ = ready(tmp_path / name, agreed=agreed)
        said: list[Event] = []
        assert train_run(request, contract=agreed, on_event=said.append).status == "finished"
        weights[name] = contents(request)["weights.safetensors"]
        warned = [event.message for event in said if isinstance(event, Warned)]
        assert any("whoever knows it" in message for message in warned) == seeded
    assert weights["a"] != weights["b"]
    assert weights["c"] == weights["d"]


def test_a_run_that_met_its_wall_time_goes_on_once_it_is_raised(tmp_path, monkeypatch):
    """Limits are no part of what decides a run; the clock of the supervisor jumps at the fifth epoch."""
    calm, expected = undisturbed(tmp_path / "calm", rich(epochs=9))
    jump = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + jump[0], sleep=time.sleep)
    agreed = rich(epochs=9, timeout=dt.timedelta(hours=1))
    request, _ = ready(tmp_path / "harried", agreed=agreed)

    def late(event: Event) -> None:
        if isinstance(event, Epoch) and event.epoch == 5:
            jump[0] = 3601.0

    with monkeypatch.context() as patched:
        patched.setattr(supervisor, "time", clock)
        first = train_run(request, contract=agreed, on_event=late)
    assert (first.status, first.transient, first.resumable) == ("stopped", False, True)
    assert "training.timeout" in first.reason
    raised = rich(epochs=9, timeout=dt.timedelta(hours=3))
    again, _ = ready(tmp_path / "harried", agreed=raised)
    assert again.run_id == request.run_id
    started: list[Started] = []
    result = train_run(
        again, contract=raised, on_event=lambda e: started.append(e) if isinstance(e, Started) else None
    )
    assert started[0].resumed_from >= 3
    assert contents(again)["weights.safetensors"] == contents(calm)["weights.safetensors"]
    assert result.curve == expected.curve


def test_a_run_that_its_curve_stopped_leaves_no_checkpoint_but_its_row_losses(tmp_path):
    """There is nothing to go on from; which rows it failed on is worth knowing."""
    import pyarrow.parquet as pq

    agreed = blob_contract(epochs=50, optimizer={"name": "adam", "learning_rate": 30.0})
    request, _ = ready(tmp_path, agreed=agreed)
    result = train_run(request, contract=agreed)
    assert (result.status, result.resumable) == ("stopped", False)
    assert not (request.run_dir / "checkpoints").exists()
    losses = pq.read_table(result.row_losses)
    assert {len(each) for each in losses["losses"].to_pylist()} == {len(result.curve)}


def test_the_death_of_a_supervisor_between_bundle_and_clean_up_is_mended(tmp_path):
    """The next call finds the bundle, and removes checkpoints and secret."""
    agreed = rich(epochs=4)
    request, expected = undisturbed(tmp_path, agreed)
    (request.run_dir / "checkpoints").mkdir()
    (request.run_dir / "checkpoints" / "secret-0.key").write_bytes(b"x" * KEY_BYTES)
    again = train_run(request, contract=agreed)
    assert again.reused
    assert not (request.run_dir / "checkpoints").exists()
    assert again.spec == expected.spec
    assert again.row_losses == expected.row_losses


def test_a_signal_that_kills_is_told_with_what_to_do(tmp_path):
    """Run it again: it goes on."""
    agreed = rich(epochs=50)
    request, _ = ready(tmp_path, agreed=agreed)
    result = train_run(request, contract=agreed, on_event=Killer(_Fixed(2), 2))
    assert signal.SIGKILL.name in result.reason
    assert "last checkpoint" in result.reason
    assert np.isfinite(result.seconds)
