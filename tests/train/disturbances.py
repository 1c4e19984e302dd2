"""Ways to end a training at a bad moment, for tests that run it again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import textwrap
import threading
import time
from pathlib import Path

from assay.train import Epoch, Event, Progress, RunResult, Started, TrainRequest


def children() -> set[int]:
    """Process ids of this process's children."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends within that time."""
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Killer:
    """A listener that ends the worker with SIGKILL some milliseconds after its n-th new event.

    Args:
        chance: Decides the event and the delay.
        events: The latest event after which it may be.
    """

    def __init__(self, chance: random.Random, events: int) -> None:
        self._before = children()
        self._at = chance.randint(1, events)
        self._delay = chance.choice([0, chance.uniform(0, 0.03)])
        self._brought = 0
        self._seen = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._brought = event.resumed_from
        new = isinstance(event, Started | Progress) or (
            isinstance(event, Epoch) and event.epoch > self._brought
        )
        self._seen += new
        if new and self._seen == self._at:
            workers = children() - self._before
            if self._delay:
                threading.Thread(target=self._kill, args=(workers,)).start()
            else:
                self._kill(workers, 0)

    def _kill(self, workers: set[int], delay: float | None = None) -> None:
        time.sleep(self._delay if delay is None else delay)
        for pid in workers:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def die_at(folder: Path, effect: int) -> Path:
    """A folder for PYTHONPATH: a worker dies by SIGKILL before or after its n-th write to disk that is to last."""
    site = folder / f"site-{effect}"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
        import os, signal, sys
        seen = 0
        def effect():
            global seen
            seen += 1
            if seen == {effect}:
                os.kill(os.getpid(), signal.SIGKILL)
        def around(real):
            def wrapper(*args, **kwargs):
                effect()
                result = real(*args, **kwargs)
                effect()
                return result
            return wrapper
        if "assay.train.programs.worker" in " ".join(sys.orig_argv):
            for name in ("replace", "rename", "fsync", "unlink"):
                setattr(os, name, around(getattr(os, name)))
        """)
    )
    return site


def contents(request: TrainRequest) -> dict[str, bytes]:
    """The bundle's files."""
    return {path.name: path.read_bytes() for path in request.out_dir.iterdir()}


def row_losses(result: RunResult) -> bytes:
    """The bytes of the run's row losses."""
    assert result.row_losses is not None
    return result.row_losses.read_bytes()


def fork_state(request: TrainRequest, to: Path) -> TrainRequest:
    """A copy of a run's directory, and the request that goes on there."""
    shutil.copytree(request.run_dir, to / "run")
    arrays = type(request.arrays)(
        **{
            name: None if path is None else to / "run" / path.name
            for name, path in request.arrays.model_dump().items()
        }
    )
    return request.model_copy(update={"run_dir": to / "run", "out_dir": to / "bundle", "arrays": arrays})
