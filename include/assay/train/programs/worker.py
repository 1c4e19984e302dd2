"""The training process: `python -m assay.train.programs.worker REQUEST.json`, in a fresh interpreter.

Stdout carries protocol lines and nothing else: before anything is imported that might print, file descriptor 1 is
pointed at stderr, and the real stdout is kept for the protocol. Exit status: 0 finished, 1 failed, 3 not checked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from assay.train.records.events import Event

_PR_SET_PDEATHSIG = 1


def _take_stdout() -> TextIO:
    """Keep the real stdout for the protocol and send everybody else's output, Julia's and C's too, to stderr."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return protocol


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its supervisor dies, however it dies. Linux only; elsewhere a no-op."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


class _Worker:
    def __init__(self, protocol: TextIO) -> None:
        self._protocol = protocol

    def say(self, event: Event) -> None:
        self._protocol.write(event.line())
        self._protocol.flush()

    def fail(self, outcome: str, reason: str) -> int:
        from assay.train.records.events import Failed

        if outcome == "not_checked":
            self.say(Failed(outcome="not_checked", reason=reason))
            return 3
        self.say(Failed(outcome="failed", reason=reason))
        return 1

    def run(self, path: Path) -> int:
        from assay.errors import AssayError
        from assay.train.backends import BackendUnavailable, DeviceUnavailable
        from assay.train.records.events import Failed
        from assay.train.run.loop import train
        from assay.train.setup.request import read_request

        try:
            ending = train(read_request(path), self.say)
        except BackendUnavailable as error:
            return self.fail("not_checked", str(error))
        except (DeviceUnavailable, AssayError) as error:
            return self.fail("failed", str(error))
        except MemoryError:
            return self.fail(
                "failed", "the training does not fit into memory; use a smaller network or machine"
            )
        except OSError as error:
            return self.fail("failed", f"the trainer cannot read or write its files: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must hear of it
            traceback.print_exc(file=sys.stderr)
            return self.fail("failed", f"the trainer failed: {type(error).__name__}: {error}")
        self.say(ending)
        return 1 if isinstance(ending, Failed) else 0


def main(arguments: Sequence[str]) -> int:
    """Run one request.

    Args:
        arguments: The request's path, and optionally the supervisor's process id, with which this process dies.
    """
    protocol = _take_stdout()
    if len(arguments) not in {1, 2}:
        print("usage: python -m assay.train.programs.worker REQUEST.json [SUPERVISOR_PID]", file=sys.stderr)
        return 2
    if len(arguments) == 2:
        _die_with(int(arguments[1]))
    return _Worker(protocol).run(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
