"""Runs one training in a process group of its own, watches it, and ends it when it must not go on."""

from __future__ import annotations

import datetime as dt
import fcntl
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from assay.contract.models import Contract
from assay.settings import child_environment
from assay.train.curve import AcceptedRun, CurveWatch
from assay.train.errors import ProtocolError, RequestError, RunBusy
from assay.train.machine.files import open_private, write_atomically
from assay.train.machine.processes import group_cpu_seconds, group_memory, has_ended, kill_group, start_group
from assay.train.machine.signals import Signals
from assay.train.network.spec import BundleSpec
from assay.train.records.checkpoints import clear, request_digest, row_losses_so_far, there_are
from assay.train.records.curvefile import Curve, CurvePoint
from assay.train.records.events import (
    MAX_LINE_BYTES,
    Epoch,
    Event,
    Failed,
    Finished,
    Progress,
    Started,
    Warned,
    parse_event,
)
from assay.train.records.output import SPEC_FILE, partial_of
from assay.train.records.rowlosses import row_losses_of
from assay.train.run.result import RunResult, Status, finished_before
from assay.train.setup.request import TrainRequest

TICK_SECONDS = 0.5
STARTING_SECONDS = 1800.0
"""How long a trainer may start without a word, if it is at work: the first start of Flux on a machine compiles for
minutes, and Python says nothing while Julia does."""
SAMPLE_SECONDS = 5.0
"""How often it is looked whether it is, at the longest: a fiftieth of a core will do, on a busy machine too."""
TOLD_SECONDS = 30.0
EVENTS_FILE = "events.jsonl"
LOG_FILE = "worker.log"
REQUEST_FILE = "request.json"


def train_run(
    request: TrainRequest,
    *,
    contract: Contract,
    accepted_curves: Sequence[Curve | AcceptedRun] = (),
    on_event: Callable[[Event], None] | None = None,
) -> RunResult:
    """Train in a process group of its own, under watch.

    The worker's lines are kept in `events.jsonl` and its other output in `worker.log`, both in the run's directory. The
    same request with a finished bundle is not trained again. However this call ends (a result, an exception from
    `on_event`, SIGTERM, or the death of this process) no worker and no half bundle stay behind.

    A run that neither finished nor was condemned by its curve leaves its checkpoints: the same request goes on from the
    newest one, and `on_event` is told its epochs again. Wall time counts from the start of the worker, compilation
    included, anew in each call. Until its first update the worker may also be silent for longer than the heartbeat, up
    to `STARTING_SECONDS`, while it uses the CPU.

    Args:
        request: What to train.
        contract: Its training section has the limits: wall time, heartbeat, memory, curve.
        accepted_curves: Curves of earlier accepted runs of the data set, better with their yardsticks.
        on_event: Called with each event, in this thread.

    Raises:
        BundleExists: The bundle directory is taken by something else.
        RunBusy: Another process trains the same request, for longer than the wall time.
        RequestError: The run's directory or the bundle's place cannot be written.
    """
    try:
        request.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        request.out_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(request, contract.training.timeout):
            if request.out_dir.exists():
                result = finished_before(request, contract, accepted_curves)
                clear(request.run_dir)
                return result
            return _Supervisor(request, contract, accepted_curves, on_event).run()
    except OSError as error:
        raise RequestError(
            f"the run {request.run_id} cannot use its directories: {error}",
            state="no bundle was written",
            next_step=f"look at the space and permissions of {request.run_dir} and {request.out_dir.parent}",
        ) from error


@contextmanager
def _alone(request: TrainRequest, patience: dt.timedelta) -> Iterator[None]:
    """Hold the lock on the bundle's place; whoever comes second waits and then finds the bundle."""
    deadline = time.monotonic() + patience.total_seconds()
    path = request.out_dir.with_name(f".{request.out_dir.name}.lock")
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RunBusy(
                        f"another process has been training {request.run_id} for {patience}",
                        next_step="wait for it, or end it",
                    ) from None
                time.sleep(TICK_SECONDS)
        yield


class _Ended(Exception):
    """Why a run ended.

    Attributes:
        transient: It was killed from outside, and may as well work the next time.
        final: There is nothing to go on from: it came to its end, or its curve condemned it.
    """

    def __init__(self, status: Status, reason: str, *, transient: bool = False, final: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.transient = transient
        self.final = final


class _Supervisor:
    def __init__(
        self,
        request: TrainRequest,
        contract: Contract,
        accepted: Sequence[Curve | AcceptedRun],
        on_event: Callable[[Event], None] | None,
    ) -> None:
        # The worker writes beside the final place; it is moved there once the last epoch was judged, so that a run that
        # is stopped at its last epoch leaves no bundle either.
        self._staged = request.out_dir.with_name(f".{request.out_dir.name}.staged")
        self._request = request
        self._limits = contract.training
        self._accepted = accepted
        self._on_event = on_event
        self._watch: CurveWatch | None = None
        self._started: Started | None = None
        self._finished: Finished | None = None
        self._begun = time.monotonic()
        self._last_sign = self._begun
        self._learning = False
        self._cpu = (self._begun, 0.0)
        self._told = self._begun
        self._buffer = b""

    def run(self) -> RunResult:
        self._sweep()
        run_dir = self._request.run_dir
        path = run_dir / REQUEST_FILE
        staged = self._request.model_copy(update={"out_dir": self._staged})
        write_atomically(path, staged.model_dump_json(by_alias=True, indent=1).encode())
        environment = child_environment() | {
            "OPENBLAS_NUM_THREADS": str(self._request.threads),
            "OMP_NUM_THREADS": str(self._request.threads),
            "MKL_NUM_THREADS": str(self._request.threads),
        }
        environment.pop("PYTHONFAULTHANDLER", None)  # it fights with Julia over SIGSEGV
        command = [sys.executable, "-P", "-m", "assay.train.programs.worker", str(path), str(os.getpid())]
        with (
            open_private(run_dir / LOG_FILE) as log,
            open_private(run_dir / EVENTS_FILE) as events,
            Signals() as signals,
        ):
            process = start_group(command, environment, log, run_dir)
            signals.guard(process, self._sweep)
            try:
                try:
                    self._follow(process, events)
                    end = self._how_it_ended(process)
                except _Ended as ended:
                    end = ended
                except ProtocolError as error:
                    end = _Ended("failed", str(error))
            finally:
                kill_group(process)
                if process.stdout is not None:
                    process.stdout.close()
                if self._finished is None:
                    self._sweep()
                signals.release()
        return self._result(end)

    def _sweep(self) -> None:
        """Remove what a run that did not finish leaves behind."""
        self._finished = None
        for place in (self._staged, partial_of(self._staged)):
            shutil.rmtree(place, ignore_errors=True)

    def _follow(self, process: subprocess.Popen[bytes], events: IO[bytes]) -> None:
        """Read the worker's lines until it ends or must be ended."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        talking = True
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                # Asked before reading, so that what it wrote at its very end is read after it is known to have ended.
                ended = has_ended(process)
                if not ended and talking:
                    selector.select(TICK_SECONDS)
                elif not ended:  # it closed its stdout, and is about to end or hangs
                    time.sleep(TICK_SECONDS / 10)
                if talking:
                    talking = not self._read(pipe, events)
                if not self._learning:
                    self._look_at_start(process)
                if ended and not (talking and selector.select(0)):
                    return
                self._check_limits(process)

    def _read(self, pipe: int, events: IO[bytes]) -> bool:
        """Take what is there, one piece, so that a chatty worker keeps nobody from looking at the clock.

        Returns:
            Whether the pipe is at its end.
        """
        try:
            data = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            events.write(line + b"\n")
            events.flush()
            self._take(parse_event(line))
        if len(self._buffer) > MAX_LINE_BYTES:
            parse_event(self._buffer)
        return not data

    def _look_at_start(self, process: subprocess.Popen[bytes]) -> None:
        """Until the first update, time on the CPU is a sign of life too, though not for ever."""
        now, (before, used_before) = time.monotonic(), self._cpu
        interval = min(SAMPLE_SECONDS, self._limits.heartbeat.total_seconds() / 4)
        if now - before < interval or now - self._begun > STARTING_SECONDS:
            return
        used = group_cpu_seconds(process) or 0.0
        self._cpu = now, used
        if used - used_before < (now - before) / 50:
            return
        self._last_sign = now
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            since = now - self._begun
            self._tell(Warned(message=f"the trainer has been starting for {since:.0f} s and is at work"))

    def _take(self, event: Event) -> None:
        self._last_sign = self._told = time.monotonic()
        if not isinstance(event, Finished):  # told when the bundle stands in its place
            self._tell(event)
        if isinstance(event, Started):
            self._started = event
            self._watch = CurveWatch(
                self._limits.curve,
                event.yardsticks,
                accepted=self._accepted,
                subject=self._request.run_id,
            )
        elif isinstance(event, Epoch):
            if self._watch is None or self._started is None:
                raise ProtocolError("the trainer sent an epoch before `started`")
            self._learning = self._learning or event.epoch > self._started.resumed_from
            if failing := self._watch.update(CurvePoint.of(event)):
                # A training that is not finite any more broke by itself; from the others it is we who hold it back.
                broke = failing[0].check == "curve.non_finite"
                reason = f"{failing[0].check}: {failing[0].message}"
                raise _Ended("failed" if broke else "stopped", reason, final=True)
        elif isinstance(event, Finished):
            self._finished = event
        elif isinstance(event, Failed):
            raise _Ended("failed" if event.outcome == "failed" else "not_checked", event.reason)
        elif isinstance(event, Progress):
            self._learning = True

    def _tell(self, event: Event) -> None:
        if self._on_event is not None:
            self._on_event(event)

    def _check_limits(self, process: subprocess.Popen[bytes]) -> None:
        now = time.monotonic()
        wall, heartbeat = self._limits.timeout.total_seconds(), self._limits.heartbeat.total_seconds()
        if now - self._begun > wall:
            raise _Ended(
                "stopped",
                f"the run took longer than training.timeout, {wall:g} s; raise it or train for fewer epochs",
            )
        if now - self._last_sign > heartbeat:
            raise _Ended(
                "stopped",
                f"the trainer gave no sign of life for training.heartbeat, {heartbeat:g} s; it was ended",
                transient=True,
            )
        limit = self._limits.max_memory_bytes
        if limit is not None:
            used = group_memory(process)
            if used is not None and used > limit:
                raise _Ended(
                    "stopped",
                    f"the trainer used {used} bytes of memory, training.max_memory_bytes is {limit}",
                )

    def _how_it_ended(self, process: subprocess.Popen[bytes]) -> _Ended:
        """After the worker ended by itself: did it say how?"""
        if self._finished is not None:
            reason = f"{self._finished.epochs} epochs in {self._finished.seconds:.1f} s"
            return _Ended("finished", reason, final=True)
        info = (
            None
            if process.returncode is not None
            else os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        )
        code = process.returncode if info is None else info.si_status
        if code < 0 or (info is not None and info.si_code != os.CLD_EXITED):
            name = signal.Signals(abs(code)).name
            hint = ", perhaps because the system ran out of memory" if name == "SIGKILL" else ""
            return _Ended(
                "failed",
                f"the trainer was killed by {name}{hint}; no bundle is left; run it again, and it goes on from its "
                f"last checkpoint; {self._last_words()}",
                transient=True,
            )
        return _Ended(
            "failed", f"the trainer ended with status {code} without saying why: {self._last_words()}"
        )

    def _last_words(self) -> str:
        try:
            lines = (
                (self._request.run_dir / LOG_FILE)
                .read_bytes()[-20_000:]
                .decode("utf-8", "replace")
                .split("\n")
            )
        except OSError:
            return "its log cannot be read"
        lines = [line.strip() for line in lines if line.strip()]
        return f"its log ends with {lines[-1][:300]!r}" if lines else "its log is empty"

    def _result(self, end: _Ended) -> RunResult:
        request, watch = self._request, self._watch
        bundle = spec = None
        if end.status == "finished" and self._finished is not None:
            self._staged.rename(request.out_dir)
            bundle = request.out_dir
            spec = BundleSpec.model_validate_json((bundle / SPEC_FILE).read_bytes())
            self._tell(self._finished.model_copy(update={"bundle_dir": str(bundle)}))
        points = watch.points if watch is not None else ()
        if bundle is not None:
            row_losses = row_losses_of(request.run_dir, request_digest(request))
        else:
            row_losses = None if end.transient else row_losses_so_far(request, len(points))
        if end.final:
            clear(request.run_dir)
        return RunResult(
            run_id=request.run_id,
            status=end.status,
            backend=request.backend,
            backend_reason=request.backend_reason,
            device=self._started.device if self._started else None,
            bundle_dir=bundle,
            curve=points,
            findings=tuple(watch.findings(finished=bundle is not None)) if watch is not None else (),
            reason=end.reason,
            transient=end.transient,
            resumable=there_are(request.run_dir),
            seconds=time.monotonic() - self._begun,
            versions=self._started.versions if self._started else None,
            spec=spec,
            resumed=self._finished.resumed if self._finished else 0,
            row_losses=row_losses,
        )
