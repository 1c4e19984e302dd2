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
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Literal

from pydantic import ValidationError

from assay.canonical import sha256_hex
from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.settings import child_environment
from assay.train.curve import Curve, CurvePoint, CurveWatch, curve_outcome, read_curve
from assay.train.errors import BundleExists, ProtocolError, RequestError, RunBusy
from assay.train.events import MAX_LINE_BYTES, Epoch, Event, Failed, Finished, Started, Warned, parse_event
from assay.train.output import CURVE_FILE, SPEC_FILE, WEIGHTS_FILE, partial_of
from assay.train.processes import group_memory, has_ended, kill_group, start_group
from assay.train.request import TrainRequest, write_atomically
from assay.train.spec import BundleSpec

TICK_SECONDS = 0.5
EVENTS_FILE = "events.jsonl"
LOG_FILE = "worker.log"
REQUEST_FILE = "request.json"

Status = Literal["finished", "failed", "stopped", "not_checked"]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run_id: The request's.
        status: `finished` (there is a bundle), `failed` (it broke), `stopped` (the curve or a limit ended it) or
            `not_checked` (a tool was missing, nothing was tried).
        backend: The backend that ran, or would have.
        backend_reason: Why that one.
        device: `cpu` or `gpu`, `None` if it never started.
        bundle_dir: The bundle; only of a finished run.
        curve: One point per epoch that was seen.
        findings: The curve checks' answers.
        reason: One sentence; for a run that did not finish, what ended it and what to do.
        transient: Whether trying the same again may help: it was killed from outside.
        seconds: Wall time; 0 for a run that was finished before.
        reused: Whether the bundle stood there already.
        versions: Of the backend's libraries.
    """

    run_id: str
    status: Status
    backend: str
    backend_reason: str
    device: str | None
    bundle_dir: Path | None
    curve: tuple[CurvePoint, ...]
    findings: tuple[Finding, ...]
    reason: str
    transient: bool = False
    seconds: float = 0.0
    reused: bool = False
    versions: dict[str, str] | None = None

    @property
    def curve_outcome(self) -> Outcome:
        """One outcome for all curve checks."""
        return curve_outcome(self.findings)

    @property
    def outcome(self) -> Outcome:
        """A run passes when it finished and its curve passed."""
        if self.status == "finished":
            return self.curve_outcome
        return Outcome.NOT_CHECKED if self.status == "not_checked" else Outcome.FAILED

    @property
    def final_validation_loss(self) -> float | None:
        """Of the last epoch; `None` without epochs or where it was not finite."""
        return self.curve[-1].validation_loss if self.curve else None


def train_run(
    request: TrainRequest,
    *,
    contract: Contract,
    accepted_curves: Sequence[Curve] = (),
    on_event: Callable[[Event], None] | None = None,
) -> RunResult:
    """Train in a process group of its own, under watch.

    The worker's lines are kept in `events.jsonl` and its other output in `worker.log`, both in the run's directory. The
    same request with a finished bundle is not trained again. However this call ends (a result, an exception from
    `on_event`, SIGTERM, or the death of this process) no worker and no half bundle stay behind.

    Args:
        request: What to train.
        contract: Its training section has the limits: wall time, heartbeat, memory, curve.
        accepted_curves: Curves of earlier accepted runs of the data set.
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
                return _finished_before(request, contract, accepted_curves)
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


def _finished_before(request: TrainRequest, contract: Contract, accepted: Sequence[Curve]) -> RunResult:
    """The result of a request whose bundle stands there already; everything in it is held against the request."""
    place = request.out_dir
    try:
        spec = BundleSpec.model_validate_json((place / SPEC_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleExists(
            f"{place} exists and is not a finished bundle",
            next_step="move it away, or name another directory",
        ) from error
    if (spec.run_id, spec.data_sha256) != (request.run_id, request.data_sha256):
        raise BundleExists(
            f"{place} holds the bundle of another run",
            expected=f"{request.run_id} on data {request.data_sha256}",
            found=f"{spec.run_id} on data {spec.data_sha256}",
            next_step="name another directory",
        )
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(place / WEIGHTS_FILE)
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleExists(
            f"the weights in {place} cannot be read: {error}", next_step="move it away"
        ) from error
    if {name: sha256_hex(array.tobytes()) for name, array in arrays.items()} != {
        weight.name: weight.sha256 for weight in spec.weights
    }:
        raise BundleExists(
            f"the weights in {place} are not the ones that its spec names", next_step="move it away"
        )
    curve = read_curve(place / CURVE_FILE)
    watch = CurveWatch(
        contract.training.curve,
        spec.yardsticks,
        accepted=accepted,
        subject=request.run_id,
    )
    for point in curve:
        watch.update(point)
    return RunResult(
        run_id=request.run_id,
        status="finished",
        backend=spec.backend,
        backend_reason=spec.backend_reason,
        device=spec.device,
        bundle_dir=place,
        curve=tuple(curve),
        findings=tuple(watch.findings()),
        reason="the bundle of this request was there already",
        reused=True,
        versions=spec.versions,
    )


class _Ended(Exception):
    def __init__(self, status: Status, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.transient = transient


class _Supervisor:
    def __init__(
        self,
        request: TrainRequest,
        contract: Contract,
        accepted: Sequence[Curve],
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
        command = [sys.executable, "-P", "-m", "assay.train.worker", str(path), str(os.getpid())]
        with (
            _private(run_dir / LOG_FILE) as log,
            _private(run_dir / EVENTS_FILE) as events,
            _signals() as signals,
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

    def _take(self, event: Event) -> None:
        self._last_sign = time.monotonic()
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
            if self._watch is None:
                raise ProtocolError("the trainer sent an epoch before `started`")
            if failing := self._watch.update(CurvePoint.of(event)):
                # A training that is not finite any more broke by itself; from the others it is we who hold it back.
                broke = failing[0].check == "curve.non_finite"
                raise _Ended("failed" if broke else "stopped", f"{failing[0].check}: {failing[0].message}")
        elif isinstance(event, Finished):
            self._finished = event
        elif isinstance(event, Failed):
            raise _Ended("failed" if event.outcome == "failed" else "not_checked", event.reason)
        else:
            assert isinstance(event, Warned)

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
            return _Ended("finished", f"{self._finished.epochs} epochs in {self._finished.seconds:.1f} s")
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
                f"the trainer was killed by {name}{hint}; no bundle is left; run it again; {self._last_words()}",
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
        watch = self._watch
        bundle = None
        if end.status == "finished" and self._finished is not None:
            self._staged.rename(self._request.out_dir)
            bundle = self._request.out_dir
            self._tell(self._finished.model_copy(update={"bundle_dir": str(bundle)}))
        findings = tuple(watch.findings(finished=bundle is not None)) if watch is not None else ()
        return RunResult(
            run_id=self._request.run_id,
            status=end.status,
            backend=self._request.backend,
            backend_reason=self._request.backend_reason,
            device=self._started.device if self._started else None,
            bundle_dir=bundle,
            curve=watch.points if watch is not None else (),
            findings=findings,
            reason=end.reason,
            transient=end.transient,
            seconds=time.monotonic() - self._begun,
            versions=self._started.versions if self._started else None,
        )


def _private(path: Path) -> IO[bytes]:
    """Open a file anew, for its owner alone."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class _signals:  # noqa: N801 - used as a context manager, reads as a verb
    """Sees to it that a SIGTERM or SIGHUP to this process ends the worker first, and then does what it did before.

    Only the main thread may set handlers; from another thread the worker's own tie to its parent's life has to do.
    """

    _NUMBERS = (signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._before: dict[int, object] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._after: Callable[[], None] = lambda: None

    def guard(self, process: subprocess.Popen[bytes], after: Callable[[], None]) -> None:
        self._process, self._after = process, after

    def release(self) -> None:
        self._process = None

    def __enter__(self) -> _signals:
        if threading.current_thread() is threading.main_thread():
            for number in self._NUMBERS:
                if signal.getsignal(number) is not None:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
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
