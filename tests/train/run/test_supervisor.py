"""The supervisor: it ends what must not go on, leaves nothing behind, and is never the reason for a second bundle."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from assay.findings import Outcome
from assay.settings import child_environment
from assay.train import BundleExists, CurvePoint, RequestError, RunBusy, read_curve, train_run
from assay.train.records.events import Epoch, Event, Finished, Warned
from assay.train.run import supervisor
from assay.train.run.supervisor import EVENTS_FILE, LOG_FILE
from tests.train.disturbances import children, gone
from tests.train.helpers import blob_contract, leftovers, ready

LONG = {"epochs": 100_000}


def customise(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let every Python started from now on run this code once the reference backend is loaded, in a thread."""
    site = folder / "site"
    site.mkdir()
    body = textwrap.indent(textwrap.dedent(code), "    ")
    (site / "sitecustomize.py").write_text(
        "import os, signal, subprocess, sys, threading, time\n"
        "def later():\n"
        "    while 'assay.train.backends.reference' not in sys.modules: time.sleep(0.01)\n"
        f"{body}\n"
        "if 'assay.train.programs.worker' in ' '.join(sys.orig_argv):\n"
        "    threading.Thread(target=later, daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))


class Recorder:
    """Keeps events and does something at the first epoch."""

    def __init__(self, at_first_epoch=lambda: None) -> None:
        self.events: list[Event] = []
        self._act = at_first_epoch

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Epoch) and event.epoch == 1:
            self._act()


def test_a_run_ends_with_a_bundle_a_curve_and_findings(tmp_path):
    """And with a record of what was said."""
    request, agreed = ready(tmp_path)
    seen = Recorder()
    result = train_run(request, contract=agreed, on_event=seen)
    assert (result.status, result.outcome, result.reused) == ("finished", Outcome.PASSED, False)
    assert result.bundle_dir == request.out_dir
    assert [event.event for event in seen.events] == ["started", *["epoch"] * 5, "finished"]
    assert isinstance(seen.events[-1], Finished)
    assert seen.events[-1].bundle_dir == str(request.out_dir)
    assert list(result.curve) == read_curve(request.out_dir / "curve.parquet")
    assert result.final_validation_loss == result.curve[-1].validation_loss
    assert len((request.run_dir / EVENTS_FILE).read_text().splitlines()) == 7
    assert (request.run_dir / LOG_FILE).stat().st_mode & 0o077 == 0
    assert leftovers(tmp_path) == ["bundle"]
    assert (result.backend, result.device) == ("reference", "cpu")
    assert "numpy" in result.versions


def test_the_same_request_is_not_trained_twice(tmp_path):
    """The second call finds the bundle and says so; the answer is the same."""
    request, agreed = ready(tmp_path)
    first = train_run(request, contract=agreed)
    stamp = (request.out_dir / "weights.safetensors").stat().st_mtime_ns
    silent = Recorder()
    second = train_run(request, contract=agreed, on_event=silent)
    assert second.reused
    assert not silent.events
    assert (request.out_dir / "weights.safetensors").stat().st_mtime_ns == stamp
    assert second.findings == first.findings
    assert second.curve == first.curve
    assert (second.run_id, second.status, second.outcome) == (first.run_id, first.status, first.outcome)


def test_two_at_once_make_one_bundle(tmp_path):
    """The second waits for the first and then finds its bundle."""
    request, agreed = ready(tmp_path, agreed=blob_contract(epochs=300))
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(train_run(request, contract=agreed))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.reused for result in results) == [False, True]
    assert {result.status for result in results} == {"finished"}
    assert leftovers(tmp_path) == ["bundle"]


def test_one_that_waits_too_long_is_told_that_the_run_is_busy(tmp_path):
    """Transient: trying later may help."""
    import fcntl

    request, agreed = ready(tmp_path, agreed=blob_contract(timeout=dt.timedelta(seconds=1)))
    with (tmp_path / ".bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RunBusy, match="another process"):
            train_run(request, contract=agreed)


def test_a_damaged_bundle_is_not_taken_for_a_finished_one(tmp_path):
    """Nor is it overwritten: somebody has to look. The spec names each array's digest."""
    from safetensors.numpy import load, save

    request, agreed = ready(tmp_path)
    train_run(request, contract=agreed)
    spec, weights = request.out_dir / "spec.json", request.out_dir / "weights.safetensors"
    whole = {path: path.read_bytes() for path in (spec, weights)}
    arrays = load(whole[weights])
    arrays["layers.0.weight"][0, 0] += 1
    for path, content, message in (
        (spec, None, "not a finished bundle"),
        (spec, b"{}", "not a finished bundle"),
        (weights, None, "cannot be read"),
        (weights, b"short", "cannot be read"),
        (weights, save(arrays), "not the ones that its spec names"),
    ):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BundleExists, match=message):
            train_run(request, contract=agreed)
        path.write_bytes(whole[path])
    assert train_run(request, contract=agreed).reused


def test_the_bundle_of_another_run_or_other_data_is_not_taken_for_this_one(tmp_path):
    """Same place, other seed; same snapshot id, other rows."""
    from tests.train.helpers import blobs

    request, agreed = ready(tmp_path)
    train_run(request, contract=agreed)
    other, _ = ready(tmp_path, seed=5)
    with pytest.raises(BundleExists, match="another run"):
        train_run(other, contract=agreed)
    other, _ = ready(tmp_path, blobs(seed=9))
    assert other.run_id == request.run_id
    with pytest.raises(BundleExists, match="another run"):
        train_run(other, contract=agreed)


def test_kill_9_of_the_worker_is_a_failed_run_and_a_second_try_works(tmp_path):
    """It says which signal, that it may be memory, and that nothing is left; the rerun's bundle is the usual one."""
    before = children()

    def kill() -> None:
        [pid] = children() - before
        os.kill(pid, signal.SIGKILL)

    request, agreed = ready(tmp_path, agreed=blob_contract(epochs=400))
    result = train_run(request, contract=agreed, on_event=Recorder(kill))
    assert (result.status, result.transient, result.bundle_dir) == ("failed", True, None)
    assert result.outcome is Outcome.FAILED
    assert "SIGKILL" in result.reason
    assert "run it again" in result.reason
    assert leftovers(tmp_path) == []
    again = train_run(request, contract=agreed)
    assert again.status == "finished"
    request_2, _ = ready(tmp_path / "undisturbed", agreed=agreed)
    train_run(request_2, contract=agreed)
    assert {p.name: p.read_bytes() for p in request.out_dir.iterdir()} == {
        p.name: p.read_bytes() for p in request_2.out_dir.iterdir()
    }


def test_a_worker_that_hangs_is_stopped_by_its_heartbeat(tmp_path, monkeypatch):
    """It stops itself dead in the middle; only SIGKILL helps then."""
    customise(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGSTOP)")
    before = children()
    pids: set[int] = set()
    request, agreed = ready(tmp_path, agreed=blob_contract(heartbeat=dt.timedelta(seconds=3), **LONG))
    result = train_run(request, contract=agreed, on_event=lambda _: pids.update(children() - before))
    assert (result.status, result.transient) == ("stopped", True)
    assert "no sign of life" in result.reason
    assert not children() - before
    assert leftovers(tmp_path) == ["site"]


def starting(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let every worker run this code before it says its first word, as a Julia that compiles does."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys, time\nif 'assay.train.programs.worker' in ' '.join(sys.orig_argv):\n"
        + textwrap.indent(textwrap.dedent(code), "    ")
    )
    monkeypatch.setenv("PYTHONPATH", str(site))


SPIN = """
while time.process_time() < {seconds}:
    pass
"""


def test_a_worker_that_is_busy_starting_may_be_silent_for_longer_than_its_heartbeat(tmp_path, monkeypatch):
    """Julia compiles without a word; time on the CPU is a sign of life until the first update."""
    monkeypatch.setattr(supervisor, "TOLD_SECONDS", 1.0)
    starting(tmp_path, monkeypatch, SPIN.format(seconds=6))
    request, agreed = ready(tmp_path, agreed=blob_contract(heartbeat=dt.timedelta(seconds=3)))
    seen = Recorder()
    result = train_run(request, contract=agreed, on_event=seen)
    assert result.status == "finished"
    told = [event.message for event in seen.events if isinstance(event, Warned)]
    assert any("is at work" in message for message in told)


def test_a_worker_that_sleeps_before_its_first_word_is_stopped_by_its_heartbeat(tmp_path, monkeypatch):
    """Silence without work is no start."""
    starting(tmp_path, monkeypatch, "time.sleep(600)")
    request, agreed = ready(tmp_path, agreed=blob_contract(heartbeat=dt.timedelta(seconds=3)))
    result = train_run(request, contract=agreed)
    assert (result.status, result.transient) == ("stopped", True)
    assert "no sign of life" in result.reason


def test_a_worker_that_is_busy_starting_for_ever_is_stopped(tmp_path, monkeypatch):
    """The start has a bound of its own."""
    monkeypatch.setattr(supervisor, "STARTING_SECONDS", 2.0)
    starting(tmp_path, monkeypatch, SPIN.format(seconds=600))
    request, agreed = ready(tmp_path, agreed=blob_contract(heartbeat=dt.timedelta(seconds=3)))
    result = train_run(request, contract=agreed)
    assert (result.status, result.transient) == ("stopped", True)


def test_a_worker_that_is_busy_without_a_word_after_its_first_update_is_stopped(tmp_path, monkeypatch):
    """From then on only its own signs count."""
    starting(
        tmp_path,
        monkeypatch,
        """
        import threading
        def hog():
            while "assay.train.backends.reference" not in sys.modules: time.sleep(0.01)
            from assay.train.run import loop
            real = loop.measure
            def spin(*args, **facts):
                while facts["epoch"] == 2: pass
                return real(*args, **facts)
            loop.measure = spin
        threading.Thread(target=hog, daemon=True).start()
        """,
    )
    request, agreed = ready(tmp_path, agreed=blob_contract(heartbeat=dt.timedelta(seconds=3), **LONG))
    result = train_run(request, contract=agreed)
    assert (result.status, len(result.curve)) == ("stopped", 1)
    assert "no sign of life" in result.reason


def test_a_worker_that_takes_too_long_is_stopped_at_its_wall_time(tmp_path):
    """However lively it is."""
    request, agreed = ready(tmp_path, agreed=blob_contract(timeout=dt.timedelta(seconds=3), **LONG))
    result = train_run(request, contract=agreed)
    assert (result.status, result.transient) == ("stopped", False)
    assert "training.timeout" in result.reason
    assert leftovers(tmp_path) == []


def test_a_worker_that_eats_memory_is_stopped(tmp_path, monkeypatch):
    """Counted over the whole group: it is the worker's child that eats."""
    customise(
        tmp_path,
        monkeypatch,
        """
        subprocess.Popen([sys.executable, '-c', 'x = bytearray(400_000_000); import time; time.sleep(600)'])
        """,
    )
    before = children()
    request, agreed = ready(tmp_path, agreed=blob_contract(max_memory_bytes=350_000_000, **LONG))
    result = train_run(request, contract=agreed)
    assert result.status == "stopped"
    assert "max_memory_bytes" in result.reason
    assert not children() - before
    eaters = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "bytearray(400_000_000)" not in eaters


def test_an_absurd_learning_rate_is_stopped_within_epochs_and_leaves_no_bundle(tmp_path):
    """The finding that stopped it is the reason."""
    agreed = blob_contract(optimizer={"name": "adam", "learning_rate": 30.0}, **LONG)
    request, _ = ready(tmp_path, agreed=agreed)
    result = train_run(request, contract=agreed)
    assert (result.status, result.outcome, result.bundle_dir) == ("stopped", Outcome.FAILED, None)
    assert len(result.curve) <= 3
    assert result.reason.startswith("curve.")
    assert [f.outcome for f in result.findings if f.check in result.reason] == [Outcome.FAILED]
    assert leftovers(tmp_path) == []


def test_a_run_stopped_at_its_last_epoch_leaves_no_bundle_either(tmp_path):
    """The worker may have written it by then; it never reaches its place."""
    agreed = blob_contract(epochs=1, optimizer={"name": "adam", "learning_rate": 30.0})
    request, _ = ready(tmp_path, agreed=agreed)
    result = train_run(request, contract=agreed)
    assert result.status == "stopped"
    assert leftovers(tmp_path) == []


def test_a_training_that_stops_being_finite_has_failed(tmp_path):
    """It broke by itself; nobody held it back."""
    import numpy as np

    request, agreed = ready(tmp_path)
    x = np.load(request.arrays.x)
    x[np.load(request.arrays.train)[3]] = np.nan
    np.save(request.arrays.x, x)
    result = train_run(request, contract=agreed)
    assert result.status == "failed"
    assert "curve.non_finite" in result.reason
    assert leftovers(tmp_path) == []


def test_accepted_runs_are_compared_with(tmp_path):
    """Five perfect runs make this one look bad."""
    agreed = blob_contract(epochs=10, layers=[], optimizer={"name": "adam", "learning_rate": 0.001})
    perfect = [
        CurvePoint(
            epoch=e,
            train_loss=0.01,
            validation_loss=0.01,
            gradient_norm=1.0,
            learning_rate=0.001,
            skipped_updates=0,
        )
        for e in range(1, 11)
    ]
    request, _ = ready(tmp_path, agreed=agreed)
    result = train_run(request, contract=agreed, accepted_curves=[perfect] * 5)
    assert result.status == "stopped"
    assert "curve.gap_to_accepted" in result.reason


def test_a_curve_that_only_its_end_condemns_keeps_its_bundle_but_does_not_pass(tmp_path):
    """The gate decides; the findings travel with it."""
    from tests.train.helpers import blobs

    agreed = blob_contract(epochs=60, layers=[{"dense": 256}], batch_size=8)
    shuffled = blobs(distance=0.0)
    request, _ = ready(tmp_path, shuffled, agreed)
    result = train_run(request, contract=agreed)
    assert result.status == "finished"
    assert result.bundle_dir == request.out_dir
    assert result.outcome is Outcome.FAILED


def test_the_worker_ends_when_the_listener_breaks(tmp_path):
    """The listener's error comes through, and nobody trains on for no one."""
    before = children()

    def broken() -> None:
        raise LookupError("the listener broke")

    request, agreed = ready(tmp_path, agreed=blob_contract(**LONG))
    with pytest.raises(LookupError, match="the listener broke"):
        train_run(request, contract=agreed, on_event=Recorder(broken))
    assert not children() - before
    assert leftovers(tmp_path) == []


def test_garbage_on_the_protocol_fails_the_run(tmp_path, monkeypatch):
    """Something that got hold of the real stdout: the line is shown, the run is not believed."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\nif 'assay.train.programs.worker' in ' '.join(sys.orig_argv): print('good morning', flush=True)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    request, agreed = ready(tmp_path)
    result = train_run(request, contract=agreed)
    assert result.status == "failed"
    assert "good morning" in result.reason
    assert leftovers(tmp_path) == ["site"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os._exit(7)", "ended with status 7 without saying why"),
        ("os.close(1); os._exit(0)", "ended with status 0 without saying why"),
        ("sys.stderr.write('the last straw\\n'); sys.stderr.flush(); os.abort()", "SIGABRT"),
    ],
)
def test_a_worker_that_ends_without_a_word_has_failed(tmp_path, monkeypatch, code, words):
    """Even with status 0: no `finished`, no bundle."""
    customise(tmp_path, monkeypatch, code)
    request, agreed = ready(tmp_path, agreed=blob_contract(**LONG))
    result = train_run(request, contract=agreed)
    assert result.status == "failed"
    assert words in result.reason
    if "straw" in code:
        assert "the last straw" in result.reason


def supervise(
    request, agreed, folder: Path, *, first: str = "", until: int = 1
) -> tuple[subprocess.Popen[str], int]:
    """Run `train_run` in a process of its own; returns it and the worker's process id once that epoch is in."""
    (folder / "contract.json").write_text(agreed.model_dump_json(by_alias=True))
    request.write(folder / "request.json")
    program = f"""
import os, sys, signal
from pathlib import Path
from assay.contract.models import Contract
from assay.train import read_request, train_run
{first}
request = read_request(Path(sys.argv[1]))
contract = Contract.model_validate_json(Path(sys.argv[2]).read_bytes())
def say(event):
    if event.event == "epoch" and event.epoch == {until}:
        print("epoch", flush=True)
result = train_run(request, contract=contract, on_event=say)
print(result.status, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder / "request.json"), str(folder / "contract.json")],
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "epoch\n"
    [worker] = [int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    return process, worker


def test_sigterm_to_the_supervisor_ends_the_worker_and_cleans_up(tmp_path):
    """And the supervisor dies of the SIGTERM, as whoever sent it expects."""
    request, agreed = ready(tmp_path, agreed=blob_contract(**LONG))
    process, worker = supervise(request, agreed, tmp_path)
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert gone(worker, 1)
    assert not [name for name in leftovers(tmp_path) if "bundle" in name]


def test_a_sigterm_handler_of_the_caller_is_still_called(tmp_path):
    """An orchestrator's own handler decides what happens next; here it lets the call return."""
    request, agreed = ready(tmp_path, agreed=blob_contract(**LONG))
    process, worker = supervise(
        request, agreed, tmp_path, first="signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'mine\\n'))"
    )
    process.terminate()
    output, _ = process.communicate(timeout=20)
    assert output.split() == ["mine", "failed"]
    assert gone(worker, 1)
    assert process.returncode == 0


def test_kill_9_of_the_supervisor_takes_the_worker_along_and_a_second_try_works(tmp_path):
    """The kernel sees to it; what is left over is swept by the next run."""
    request, agreed = ready(tmp_path, agreed=blob_contract(**LONG))
    process, worker = supervise(request, agreed, tmp_path)
    process.kill()
    process.wait()
    assert gone(worker)
    quick, agreed = ready(tmp_path)
    assert train_run(quick, contract=agreed).status == "finished"


def test_half_bundles_of_killed_runs_are_swept(tmp_path):
    """Both the one that was growing and the one that waited for its verdict."""
    request, agreed = ready(tmp_path)
    for name in (".bundle.staged", "..bundle.staged.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(b"half")
    assert train_run(request, contract=agreed).status == "finished"
    assert leftovers(tmp_path) == ["bundle"]


def test_directories_that_cannot_be_used_are_named(tmp_path):
    """A file where the bundle's parent should be."""
    request, agreed = ready(tmp_path)
    (tmp_path / "blocked").write_text("")
    with pytest.raises(RequestError, match="cannot use its directories"):
        train_run(request.model_copy(update={"out_dir": tmp_path / "blocked" / "b" / "c"}), contract=agreed)


def test_it_also_works_outside_the_main_thread(tmp_path):
    """Where no signal handler can be set."""
    request, agreed = ready(tmp_path)
    results = []
    thread = threading.Thread(target=lambda: results.append(train_run(request, contract=agreed)))
    thread.start()
    thread.join()
    assert results[0].status == "finished"
