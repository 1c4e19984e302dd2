"""Signals to an orchestrating process, passed on to the group that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from types import FrameType

from assay.train.machine.processes import kill_group


class Signals:
    """Sees to it that a SIGTERM or SIGHUP to this process ends the worker first, and then does what it did before.

    Only the main thread may set handlers; from another thread the worker's own tie to its parent's life has to do.
    """

    _NUMBERS = (signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        """Set no handler yet: `with` does."""
        self._before: dict[int, object] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._after: Callable[[], None] = lambda: None

    def guard(self, process: subprocess.Popen[bytes], after: Callable[[], None]) -> None:
        """From now on a signal ends this process's group, and then calls `after`."""
        self._process, self._after = process, after

    def release(self) -> None:
        """From now on there is nothing to end."""
        self._process = None

    def __enter__(self) -> Signals:
        """Set the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in self._NUMBERS:
                if signal.getsignal(number) is not None:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the former handlers back."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._process is not None:
            # Not reaped here: the interrupted code may be doing just that, and would wait for itself.
            kill_group(self._process, reap=False)
            self._after()
        before = self._before.get(number)
        self._restore()
        if before is not signal.SIG_IGN:
            # Sent again, now that the old handler is back: whatever it did, it does.
            os.kill(os.getpid(), number)
