"""Checkpoints: what a run that was killed at any point goes on from, so that it ends as if nothing had happened.

Everything lies in one folder of the run's directory, for its owner alone. `checkpoint.json` is the one file that
counts: it is replaced whole, names the digests of all others, and what it does not name is not there. What was written
after it is cut off when the run goes on.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay import __version__
from assay.canonical import canonical_json, sha256_hex
from assay.train.backends import Array, Trainer, Weights
from assay.train.errors import RequestError
from assay.train.machine.files import write_atomically
from assay.train.records.events import Epoch
from assay.train.records.rowlosses import ROW_LOSSES_FILE, SPOOL_FILE, Spool
from assay.train.setup.request import TrainRequest

CHECKPOINT_FORMAT: Final = "assay-checkpoint/1"
MAX_HEAD_BYTES = 1 << 16
KEY_BYTES = 32

_FOLDER, _HEAD, _LOG = "checkpoints", "checkpoint.json", "epochs.jsonl"
_NOT_DECISIVE = {
    "run_dir", "out_dir", "arrays", "initial_weights", "contract_sha256", "checkpoint_every", "backend_reason"
}  # fmt: skip


class _Line(BaseModel):
    """One epoch in the log."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event: Epoch
    row_losses: str | None = None


class _Head(BaseModel):
    """`checkpoint.json`.

    Attributes:
        run: Digest of what decides the run, see `identity`.
        epoch: Epochs that are done.
        best_epoch: The one whose weights are kept as the best; none without early stopping.
        log_bytes: Of `epochs.jsonl`.
        resumed: How often the run has gone on from a checkpoint.
        digest: SHA-256 over all the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["assay-checkpoint/1"] = CHECKPOINT_FORMAT
    run: str
    epoch: int = Field(gt=0)
    best_epoch: int | None
    log_bytes: int = Field(gt=0)
    log_sha256: str
    arrays: str = Field(pattern=r"^epoch-[0-9]+\.safetensors$")
    arrays_sha256: str
    resumed: int = Field(default=0, ge=0)
    digest: str = ""

    def sealed(self) -> _Head:
        """With its own digest."""
        facts = self.model_dump(mode="json", exclude={"digest"})
        return self.model_copy(update={"digest": sha256_hex(canonical_json(facts))})


class Saved(NamedTuple):
    """What a checkpoint brings.

    Attributes:
        epoch: Epochs that are done.
        events: One per epoch.
        state: For `Trainer.restore`.
        best: The best epoch's weights, where early stopping keeps them.
        best_epoch: Its number.
        resumed: How often the run has gone on from a checkpoint, this time included.
    """

    epoch: int
    events: tuple[Epoch, ...]
    state: dict[str, Array]
    best: Weights | None
    best_epoch: int | None
    resumed: int


def request_digest(request: TrainRequest) -> str:
    """SHA-256 over what the request asks for, wherever its files lie and however patient its supervisor is."""
    first = request.initial_weights
    try:
        weights = None if first is None else sha256_hex(first.read_bytes())
    except OSError as error:
        raise RequestError(f"the weights in {first} cannot be read: {error}") from error
    facts = request.model_dump(mode="json", by_alias=True, exclude=_NOT_DECISIVE)
    return sha256_hex(canonical_json({"request": facts, "initial_weights": weights}))


def identity(request: TrainRequest, trainer: Trainer, key: bytes | None = None) -> str:
    """SHA-256 over all that the numbers of a run follow from: with any other of it, a checkpoint is not used."""
    return sha256_hex(
        canonical_json(
            {
                "request": request_digest(request),
                "assay": __version__,
                "versions": trainer.versions,
                "device": [trainer.device, trainer.device_name],
                "key": None if key is None else sha256_hex(key),
            }
        )
    )


def secret_key(request: TrainRequest) -> bytes:
    """The secret that a private run draws its batches and its noise from: made once per run, mode 0600.

    It lies with the checkpoints and goes with them. Each request has its own, since the same noise on other data would
    give away the difference.
    """
    folder = _folder(request.run_dir)
    path = folder / f"secret-{request_digest(request)[:32]}.key"
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != KEY_BYTES:
        key = secrets.token_bytes(KEY_BYTES)
        write_atomically(path, key)
    return key


def row_losses_so_far(request: TrainRequest, epochs: int) -> Path | None:
    """The row losses of a run that ended without a bundle, as Parquet; `None` where it left none."""
    if not epochs or request.privacy is not None:
        return None
    target = request.run_dir / ROW_LOSSES_FILE
    try:
        train = np.load(request.arrays.train, allow_pickle=False)
        spool = Spool(request.run_dir / _FOLDER / SPOOL_FILE, len(train), request.epochs)
        spool.write_parquet(target, train, epochs, request_digest(request))
    except (OSError, ValueError):
        return None
    return target


def there_are(run_dir: Path) -> bool:
    """Whether a run left a checkpoint."""
    return (run_dir / _FOLDER / _HEAD).exists()


def clear(run_dir: Path) -> None:
    """Remove checkpoints and secret of a run that is over; nothing if there are none."""
    shutil.rmtree(run_dir / _FOLDER, ignore_errors=True)


def _folder(run_dir: Path) -> Path:
    folder = run_dir / _FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class Checkpoints:
    """The checkpoints of one run, and its records that grow with every epoch.

    Args:
        run_dir: The run's directory.
        run: From `identity`.
        rows: Training rows, where their losses are kept; `None` for a private run.
        epochs: Of the whole run.

    Attributes:
        spool: Where row losses go, or `None`.
        refused: Why a checkpoint that is there was not used; empty if it was, or if there is none.
    """

    def __init__(self, run_dir: Path, run: str, rows: int | None, epochs: int) -> None:
        self._folder = _folder(run_dir)
        self._run = run
        self.spool = None if rows is None else Spool(self._folder / SPOOL_FILE, rows, epochs)
        self.refused = ""
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._epochs = 0
        self._resumed = 0

    def load(self, trainer: Trainer) -> Saved | None:
        """The newest checkpoint of this run, or `None`: then all that is left of others is removed.

        Args:
            trainer: Its state says which arrays there must be; it is not changed.
        """
        try:
            saved = self._load(trainer)
        except (OSError, ValueError, ValidationError, _Unusable) as error:
            self.refused = f"the checkpoint in {self._folder} is not used: {_why(error)}"
            saved = None
        if saved is None:
            self._start_anew()
        return saved

    def add(self, event: Epoch, row_losses: str | None) -> None:
        """Note an epoch; it lasts once `save` has named it."""
        data = _Line(event=event, row_losses=row_losses).model_dump_json().encode() + b"\n"
        with (self._folder / _LOG).open("r+b" if self._bytes else "wb") as stream:
            stream.seek(self._bytes)
            stream.write(data)
        self._hash.update(data)
        self._bytes += len(data)
        self._epochs += 1

    def save(self, trainer: Trainer, *, best: Weights | None, best_epoch: int | None) -> None:
        """Make the state after the epochs noted so far the one that a killed run goes on from.

        Raises:
            OSError: No room; the checkpoint before it stands.
        """
        from safetensors.numpy import save

        arrays = dict(trainer.state())
        if best is not None:
            arrays |= {f"best/{name}": array for name, array in best.items()}
        data = save(arrays)
        name = f"epoch-{self._epochs:06d}.safetensors"
        if self.spool is not None:
            self.spool.sync()
        with (self._folder / _LOG).open("rb") as stream:
            os.fsync(stream.fileno())
        write_atomically(self._folder / name, data)
        head = _Head(
            run=self._run,
            epoch=self._epochs,
            best_epoch=best_epoch,
            log_bytes=self._bytes,
            log_sha256=self._hash.hexdigest(),
            arrays=name,
            arrays_sha256=sha256_hex(data),
            resumed=self._resumed,
        )
        self._write(head)
        self._tidy(name)

    def _tidy(self, arrays: str) -> None:
        """Remove what earlier checkpoints, and writes that were killed, left."""
        for path in self._folder.iterdir():
            if path.name not in {_HEAD, _LOG, SPOOL_FILE, arrays} and not path.name.startswith("secret-"):
                path.unlink()

    def _write(self, head: _Head) -> None:
        write_atomically(self._folder / _HEAD, head.sealed().model_dump_json(indent=1).encode())
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _load(self, trainer: Trainer) -> Saved | None:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        path = self._folder / _HEAD
        if not path.exists():
            return None
        if path.stat().st_size > MAX_HEAD_BYTES:
            raise _Unusable("it is too large")
        head = _Head.model_validate_json(path.read_bytes())
        if head.sealed() != head:
            raise _Unusable("its digest is not that of its content")
        if head.run != self._run:
            raise _Unusable("it is of another run, or of other versions of the libraries")
        data = (self._folder / head.arrays).read_bytes()
        if sha256_hex(data) != head.arrays_sha256:
            raise _Unusable(f"{head.arrays} is not what it says")
        try:
            arrays = load(data)
        except SafetensorError as error:
            raise _Unusable(str(error)) from error
        state = {name: array for name, array in arrays.items() if not name.startswith("best/")}
        best = {name[5:]: array for name, array in arrays.items() if name.startswith("best/")}
        _same_arrays(state, trainer.state())
        if best or head.best_epoch is not None:
            _same_arrays(best, trainer.weights())
        lines = self._read_log(head)
        if self.spool is not None:
            kept = self.spool.kept(head.epoch)
            if not self.spool.holds([lines[epoch - 1].row_losses or "" for epoch in kept]):
                raise _Unusable(f"{SPOOL_FILE} is not what it says")
            self.spool.cut(head.epoch)
        self._epochs = head.epoch
        self._resumed = head.resumed + 1
        self._write(head.model_copy(update={"resumed": self._resumed}))
        self._tidy(head.arrays)
        return Saved(
            head.epoch,
            tuple(line.event for line in lines),
            state,
            best or None,
            head.best_epoch,
            self._resumed,
        )

    def _read_log(self, head: _Head) -> list[_Line]:
        with (self._folder / _LOG).open("rb") as stream:
            log = stream.read(head.log_bytes)
        if sha256_hex(log) != head.log_sha256:
            raise _Unusable(f"{_LOG} is not what it says")
        lines = [_Line.model_validate_json(line) for line in log.splitlines()]
        if [line.event.epoch for line in lines] != list(range(1, head.epoch + 1)):
            raise _Unusable(f"{_LOG} does not hold the epochs up to {head.epoch}")
        self._hash = hashlib.sha256(log)
        self._bytes = len(log)
        return lines

    def _start_anew(self) -> None:
        self._hash, self._bytes, self._epochs = hashlib.sha256(), 0, 0
        for path in self._folder.iterdir():
            if not path.name.startswith("secret-"):
                path.unlink()


class _Unusable(Exception):
    """Why a checkpoint is not used."""


def _same_arrays(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    def shapes(arrays: Mapping[str, Array]) -> Sequence[tuple[str, tuple[int, ...], str]]:
        return sorted((name, array.shape, str(array.dtype)) for name, array in arrays.items())

    if shapes(found) != shapes(wanted):
        raise _Unusable("its arrays are of another network or optimiser")


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    return str(error)
