"""Runs a command on bytes that are not trusted: no network, no secrets, bounded memory, time and files."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from assay.model import confine
from assay.settings import child_environment
from assay.train.machine.processes import group_memory, has_ended, kill_group, start_group

_POLL_SECONDS = 0.05
_LOG_BYTES = 4096
_SWEEPS = 100

How = Literal["ended", "unconfined", "too_slow", "too_large"]


class Ended(NamedTuple):
    """How a confined command ended.

    Attributes:
        how: By itself, or because: the network could not be taken away, so that it was not started; it took longer, or
            more memory, than it may.
        status: Its exit status; negative for a signal.
        last_words: The last line that it wrote, at most 300 printable characters.
    """

    how: How
    status: int
    last_words: str


def run_confined(
    command: Sequence[str], folder: Path, *, seconds: float, memory_bytes: int, file_bytes: int
) -> Ended:
    """Run a command in a session of its own and wait for it; nothing that it started outlives this call.

    It gets the environment without keys, tokens and connections, `folder` as working directory and, where the kernel
    has Landlock, as the only place to write in. It may read what its user may read; there is no way out for it but the
    files in `folder` and its last words.

    Args:
        command: Absolute path of the program, and arguments.
        folder: An empty folder that nobody else uses.
        seconds: Wall time.
        memory_bytes: Resident memory of all its processes together; it is looked at twenty times a second.
        file_bytes: The most that one file may have.
    """
    environment = child_environment() | {"TMPDIR": str(folder)}
    confined = [sys.executable, "-I", "-S", confine.__file__, str(folder), str(file_bytes), *command]
    deadline = time.monotonic() + seconds
    how: How = "ended"
    with tempfile.TemporaryFile() as log:
        process = start_group(confined, environment, log, folder)
        try:
            while not has_ended(process):
                if (group_memory(process) or 0) > memory_bytes:
                    how = "too_large"
                    break
                if time.monotonic() > deadline:
                    how = "too_slow"
                    break
                time.sleep(_POLL_SECONDS)
        finally:
            for _ in range(_SWEEPS):  # what is started while the others are ended is ended in the next round
                kill_group(process, reap=False)
                if not group_memory(process):
                    break
            kill_group(process)
            if process.stdout is not None:
                process.stdout.close()
        status = process.returncode
        if how == "ended" and status == confine.UNCONFINED:
            how = "unconfined"
        log.seek(max(0, log.seek(0, 2) - _LOG_BYTES))
        lines = log.read().decode("utf-8", "replace").strip().splitlines()
    words = "".join(letter for letter in (lines[-1] if lines else "") if letter.isprintable())
    return Ended(how, status, words[:300])
