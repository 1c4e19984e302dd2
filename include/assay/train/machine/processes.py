"""A child process and all that it starts, as one thing: started in a session of its own, weighed and ended whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_PROC = Path("/proc")


def start_group(
    command: Sequence[str], environment: Mapping[str, str], log: IO[bytes], directory: Path
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a new session and process group; stdin is empty, stderr goes to the log."""
    return subprocess.Popen(
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=dict(environment),
        cwd=directory,
        start_new_session=True,
    )


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the leader has ended, without reaping it: until it is reaped, its number cannot become another's."""
    if process.returncode is not None:
        return True
    with suppress(ChildProcessError):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None


def kill_group(process: subprocess.Popen[bytes], *, reap: bool = True) -> None:
    """End the process, its group and its session, at once and for certain; nothing if it was reaped before.

    Args:
        process: From `start_group`.
        reap: Collect its exit status too; without, only wait until it has ended.
    """
    if process.returncode is not None:
        return
    for pid in _session_members(process.pid):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if reap:
        process.wait()
        return
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def group_memory(process: subprocess.Popen[bytes]) -> int | None:
    """Resident bytes of the whole session, or `None` where the system does not tell."""
    if not _PROC.is_dir() or sys.platform != "linux":
        return None
    page = os.sysconf("SC_PAGE_SIZE")
    total = 0
    for pid in _session_members(process.pid):
        with suppress(OSError, ValueError, IndexError):
            total += int((_PROC / str(pid) / "statm").read_text().split()[1]) * page
    return total


def group_cpu_seconds(process: subprocess.Popen[bytes]) -> float | None:
    """CPU time that the whole session has used, its ended children included; `None` where the system does not tell."""
    if not _PROC.is_dir() or sys.platform != "linux":
        return None
    ticks = 0
    for pid in _session_members(process.pid):
        with suppress(OSError, ValueError, IndexError):
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, and those of children that were waited for
    return ticks / os.sysconf("SC_CLK_TCK")


def _session_members(session: int) -> Iterator[int]:
    """Process ids in a session, from /proc (Linux); nothing elsewhere, where the process group has to do."""
    if sys.platform != "linux":
        return
    for entry in os.scandir(_PROC):
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            # The command name in field 2 may hold spaces and brackets: count from its last bracket.
            fields = (_PROC / entry.name / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                yield int(entry.name)
