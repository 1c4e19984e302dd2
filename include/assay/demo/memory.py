"""How much memory the demonstration takes, apart from Airflow's own processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

_PAGE = os.sysconf("SC_PAGE_SIZE")


class MemoryWatch:
    """Sample resident memory twice a second: this process and training workers, and Airflow with its tasks.

    Args:
        home: State directory; a process that has it as `ASSAY_HOME` belongs to the demonstration.
        sessions: Says which process sessions are Airflow's.
    """

    def __init__(self, home: str, sessions: Callable[[], set[int]]) -> None:
        self._mark = f"ASSAY_HOME={home}".encode()
        self._sessions = sessions
        self._peaks = {"outside_airflow": 0, "airflow_and_tasks": 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def peaks(self) -> dict[str, int]:
        """Peaks in MB; pages that processes share are counted for each of them."""
        return {name: value // 1_000_000 for name, value in self._peaks.items()}

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            sessions = self._sessions()
            now = {"outside_airflow": 0, "airflow_and_tasks": 0}
            for entry in Path("/proc").iterdir():
                if not entry.name.isdigit():
                    continue
                try:
                    mine = int(entry.name) == os.getpid() or self._mark in (entry / "environ").read_bytes()
                    if not mine:
                        continue
                    session = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[3])
                    resident = int((entry / "statm").read_text().split()[1]) * _PAGE
                except OSError:
                    continue
                now["airflow_and_tasks" if session in sessions else "outside_airflow"] += resident
            for name, value in now.items():
                self._peaks[name] = max(self._peaks[name], value)
