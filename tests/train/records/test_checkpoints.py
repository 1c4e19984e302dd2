"""Checkpoints that are damaged, forged or of another run: none is used, and it is said why."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
from safetensors.numpy import load, save

from assay.canonical import canonical_json, sha256_hex
from assay.train import TrainRequest
from assay.train.programs.worker import _Worker
from assay.train.records.checkpoints import MAX_HEAD_BYTES, Checkpoints, identity, request_digest, secret_key
from assay.train.records.events import Event, Started, Warned, parse_event
from assay.train.run.inputs import load_inputs
from assay.train.run.loop import open_trainer
from tests.train.disturbances import contents
from tests.train.helpers import blob_contract, ready

SETTINGS = {"epochs": 8, "checkpoint_every": 2}


class Died(BaseException):
    """No `except Exception` catches it, as none catches a SIGKILL."""


class Dying(io.StringIO):
    """The protocol of a worker that dies while it tells its seventh epoch."""

    def write(self, text: str) -> int:
        if '"event":"epoch","epoch":7,' in text:
            raise Died
        return super().write(text)


class Left:
    """A run that died in its seventh epoch and left a checkpoint of the sixth."""

    def __init__(self, folder, **training) -> None:
        self.agreed = blob_contract(**{**SETTINGS, **training})
        self.request, _ = ready(folder, agreed=self.agreed)
        path = self.request.run_dir / "request.json"
        self.request.write(path)
        with pytest.raises(Died):
            _Worker(Dying()).run(path)
        self.folder = self.request.run_dir / "checkpoints"
        self.head = self.folder / "checkpoint.json"

    def facts(self) -> dict:
        return json.loads(self.head.read_text())

    def forge(self, **changes) -> None:
        """Change the head, its own digest included."""
        facts = {**self.facts(), **changes}
        facts.pop("digest")
        facts["digest"] = sha256_hex(canonical_json(facts))
        self.head.write_text(json.dumps(facts))

    def arrays(self):
        return self.folder / self.facts()["arrays"]

    def replace_arrays(self, change) -> None:
        """Other arrays, with digests to match."""
        arrays = load(self.arrays().read_bytes())
        change(arrays)
        data = save(arrays)
        self.arrays().write_bytes(data)
        self.forge(arrays_sha256=sha256_hex(data))


def goes_on(request: TrainRequest) -> tuple[int, str, list[Event]]:
    """The epoch that the worker goes on from, what it warns of, and all it says."""
    protocol = io.StringIO()
    path = request.run_dir / "request.json"
    request.write(path)
    assert _Worker(protocol).run(path) == 0, protocol.getvalue()[-2000:]
    events = [parse_event(line.encode()) for line in protocol.getvalue().splitlines()]
    [started] = [event for event in events if isinstance(event, Started)]
    warned = " ".join(event.message for event in events if isinstance(event, Warned))
    return started.resumed_from, warned, events


def flip(path, at: int = -1) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _another_shape(arrays) -> None:
    arrays["weights/layers.0.weight"] = np.zeros((3, 3), np.float32)


def _without_optimizer(arrays) -> None:
    for name in [name for name in arrays if name.startswith("optimizer/")]:
        del arrays[name]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda left: flip(left.arrays()), "is not what it says"),
        (lambda left: os.truncate(left.arrays(), 100), "is not what it says"),
        (lambda left: left.arrays().unlink(), "No such file"),
        (lambda left: flip(left.folder / "row_losses.f32", 50), "row_losses.f32 is not what it says"),
        (lambda left: os.truncate(left.folder / "row_losses.f32", 100), "row_losses.f32 is not what it says"),
        (lambda left: (left.folder / "row_losses.f32").unlink(), "row_losses.f32 is not what it says"),
        (lambda left: flip(left.folder / "epochs.jsonl", 20), "epochs.jsonl is not what it says"),
        (lambda left: os.truncate(left.folder / "epochs.jsonl", 100), "epochs.jsonl is not what it says"),
        (lambda left: os.truncate(left.head, 100), "JSON"),
        (lambda left: left.head.write_bytes(b""), "JSON"),
        (lambda left: left.head.write_bytes(b" " * (MAX_HEAD_BYTES + 1)), "too large"),
        (lambda left: flip(left.head, left.head.read_bytes().index(b'"epoch": ') + 9), "digest"),
        (lambda left: left.head.write_text(left.head.read_text().replace('"epoch":', '"eporch":')), "epoch"),
        (lambda left: left.forge(epoch=1), "does not hold the epochs up to 1"),
        (lambda left: left.forge(run="0" * 64), "another run"),
        (lambda left: left.forge(arrays="../../request.json"), "arrays"),
        (lambda left: left.forge(format="assay-checkpoint/2"), "format"),
        (lambda left: left.replace_arrays(_another_shape), "another network or optimiser"),
        (lambda left: left.replace_arrays(_without_optimizer), "another network or optimiser"),
        (lambda left: left.replace_arrays(lambda a: a.update(more=np.zeros(1))), "another network"),
    ],
)
def test_a_damaged_or_forged_checkpoint_is_not_used_and_the_run_starts_anew(tmp_path, spoil, why):
    """It says so, and ends as a run without any checkpoint does."""
    calm, _ = ready(tmp_path / "calm", agreed=blob_contract(**SETTINGS))
    assert goes_on(calm)[0] == 0
    left = Left(tmp_path / "harried")
    spoil(left)
    resumed_from, warned, _ = goes_on(left.request)
    assert resumed_from == 0
    assert "is not used" in warned
    assert "starts anew" in warned
    assert why in warned
    assert contents(left.request) == contents(calm)


def test_a_whole_checkpoint_is_used_without_a_word(tmp_path):
    """The control of the test above."""
    left = Left(tmp_path)
    assert goes_on(left.request)[:2] == (6, "")


@pytest.mark.parametrize(
    "training",
    [
        {"seed": 3},
        {"epochs": 9},
        {"optimizer": {"name": "adam", "learning_rate": 0.02}},
        {"layers": [{"dense": 16, "activation": "tanh"}]},
        {"batch_size": 16},
        {"schedule": {"name": "cosine"}},
    ],
)
def test_the_checkpoint_of_another_request_is_not_used(tmp_path, training):
    """Whatever decides the numbers is part of what it is bound to."""
    left = Left(tmp_path)
    other, _ = ready(tmp_path, agreed=blob_contract(**{**SETTINGS, **training}))
    resumed_from, warned, _ = goes_on(other)
    assert resumed_from == 0
    assert "another run" in warned
    assert left.request.out_dir.exists()


def test_other_data_or_other_first_weights_make_another_request(tmp_path):
    """The same contract and snapshot id do not."""
    from tests.train.helpers import blobs

    agreed = blob_contract(**SETTINGS)
    request, _ = ready(tmp_path / "a", agreed=agreed)
    same, _ = ready(tmp_path / "b", agreed=agreed)
    other, _ = ready(tmp_path / "c", blobs(seed=4), agreed)
    assert request_digest(request) == request_digest(same) != request_digest(other)
    digests = set()
    for value in (0.1, 0.2):
        path = tmp_path / "first.safetensors"
        path.write_bytes(save({"w": np.array([value])}))
        digests.add(request_digest(request.model_copy(update={"initial_weights": path})))
    assert len(digests | {request_digest(request)}) == 3


def test_other_versions_of_the_libraries_make_another_run(tmp_path):
    """Their last digits may differ."""
    request, _ = ready(tmp_path)
    trainer = open_trainer(request, load_inputs(request))
    before = identity(request, trainer)
    trainer.versions = {**trainer.versions, "numpy": "0.1"}
    assert identity(request, trainer) != before
    assert identity(request, trainer, b"k" * 32) != identity(request, trainer, b"l" * 32)


def test_each_request_has_a_secret_of_its_own(tmp_path):
    """The same noise on other data would give away the difference; the same request finds its own again."""
    privacy = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "delta": 1e-5}
    first, _ = ready(tmp_path, agreed=blob_contract(privacy=privacy))
    second, _ = ready(tmp_path, agreed=blob_contract(privacy=privacy, seed=1))
    assert secret_key(first) == secret_key(first) != secret_key(second)
    [path] = [p for p in (first.run_dir / "checkpoints").iterdir() if request_digest(first)[:32] in p.name]
    path.write_bytes(b"short")
    assert len(secret_key(first)) == 32


def test_what_a_killed_write_left_is_removed_and_the_secret_stays(tmp_path):
    """Kills again and again do not fill the disk."""
    left = Left(tmp_path)
    for name in (".epoch-000004.safetensors.x1", "epoch-000002.safetensors", ".checkpoint.json.y2"):
        (left.folder / name).write_bytes(b"half")
    (left.folder / "secret-0.key").write_bytes(b"k" * 32)
    inputs = load_inputs(left.request)
    trainer = open_trainer(left.request, inputs)
    book = Checkpoints(left.request.run_dir, identity(left.request, trainer), len(inputs.train), 8)
    assert book.load(trainer) is not None
    assert sorted(path.name for path in left.folder.iterdir()) == [
        "checkpoint.json",
        "epoch-000006.safetensors",
        "epochs.jsonl",
        "row_losses.f32",
        "secret-0.key",
    ]


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    """A full disk ends the run; what was saved before is still there to go on from."""
    left = Left(tmp_path)
    before = left.head.read_bytes()
    inputs = load_inputs(left.request)
    trainer = open_trainer(left.request, inputs)
    book = Checkpoints(left.request.run_dir, identity(left.request, trainer), len(inputs.train), 8)
    saved = book.load(trainer)
    assert saved is not None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    written = left.head.read_bytes()
    assert json.loads(written)["resumed"] == json.loads(before)["resumed"] + 1
    with monkeypatch.context() as patched:
        patched.setattr("assay.train.records.checkpoints.write_atomically", full)
        book.add(saved.events[-1].model_copy(update={"epoch": saved.epoch + 1}), None)
        with pytest.raises(OSError, match="No space"):
            book.save(trainer, best=None, best_epoch=None)
    assert left.head.read_bytes() == written
    assert goes_on(left.request)[0] == saved.epoch
