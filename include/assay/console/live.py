"""Runs that go on now, from what their supervisors write: nothing of them is in the registry before they end.

A supervisor keeps every line of its trainer in `events.jsonl` beside the request, and holds a lock on the bundle's
place while it works. Only the scratch space of this machine is looked at: a training on another machine without a
shared `ASSAY_HOME` is seen when it has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.console.desk import Desk

_MOST_BYTES = 16 << 20
_MOST_RUNS = 50
_REQUEST, _EVENTS = "request.json", "events.jsonl"


@dataclass(frozen=True)
class Live:
    """A run's folder in the scratch space.

    Attributes:
        run_id: Its id.
        dataset: Its data set.
        snapshot_id: What it learns from.
        backend: `flux` or `reference`.
        folder: Where its events are.
        going: Whether a supervisor works on it now.
        begun: When its request was written, seconds since 1970.
        epochs: How many epochs were asked for.
    """

    run_id: str
    dataset: str
    snapshot_id: str
    backend: str
    folder: Path
    going: bool
    begun: float
    epochs: int

    def events(self) -> Iterator[dict[str, Any]]:
        """What its trainer has said so far, oldest first; a line that is still being written is left out."""
        try:
            with (self.folder / _EVENTS).open("rb") as stream:
                data = stream.read(_MOST_BYTES)
        except OSError:
            return
        for line in data[: data.rfind(b"\n") + 1].splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict):
                yield said


def live_runs(desk: Desk, *, going: bool = True) -> list[Live]:
    """Runs in the scratch space, the newest first.

    Args:
        desk: Whose scratch space.
        going: Only those that go on now.
    """
    found = []
    for path in sorted(desk.settings.work_dir.glob(f"train-*/{_REQUEST}")):
        live = _read(path)
        if live is not None and (live.going or not going):
            found.append(live)
    return sorted(found, key=lambda each: (-each.begun, each.run_id))[:_MOST_RUNS]


def live_run(desk: Desk, run_id: str, *, going: bool = True) -> Live | None:
    """The run of that id, if its folder is here."""
    return next((each for each in live_runs(desk, going=going) if each.run_id == run_id), None)


def _read(path: Path) -> Live | None:
    try:
        said = json.loads(path.read_bytes())
        out = Path(str(said["out_dir"]))
        place = out.with_name(out.name.removeprefix(".").removesuffix(".staged"))
        return Live(
            run_id=str(said["run_id"]),
            dataset=str(said["dataset"]),
            snapshot_id=str(said["snapshot_id"]),
            backend=str(said["backend"]),
            folder=path.parent,
            going=_locked(place.with_name(f".{place.name}.lock")),
            begun=path.stat().st_mtime,
            epochs=int(said.get("epochs") or 0),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked(path: Path) -> bool:
    """Whether a supervisor holds the lock; asking with a shared one disturbs nobody for longer than a moment."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
