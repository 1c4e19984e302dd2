"""The worker process: protocol lines on stdout and nothing else, and a reason for everything that goes wrong."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from assay.settings import child_environment
from assay.train import BundleSpec, RequestError, TrainRequest, read_curve, read_request
from assay.train.errors import ProtocolError
from assay.train.programs.worker import _Worker
from assay.train.records.events import MAX_LINE_BYTES, Epoch, Failed, Finished, Started, parse_event
from tests.train.helpers import blob_contract, ready


def work(request: TrainRequest | Path, *, customise: str = "", folder: Path | None = None):
    """Run the worker alone; returns exit status, events and stderr. `customise` is a sitecustomize.py."""
    environment = child_environment()
    if isinstance(request, TrainRequest):
        path = request.run_dir / "request.json"
        request.write(path)
    else:
        path = request
    if customise:
        site = (folder or path.parent) / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(textwrap.dedent(customise))
        environment["PYTHONPATH"] += os.pathsep + str(site)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "assay.train.programs.worker", str(path)],
        capture_output=True,
        env=environment,
        timeout=120,
        check=False,
    )
    return done.returncode, [parse_event(line) for line in done.stdout.splitlines()], done.stderr.decode()


def work_here(request: TrainRequest | Path):
    """The same in this process, for what ends before any training: returns exit status and events."""
    protocol = io.StringIO()
    path = request if isinstance(request, Path) else request.run_dir / "request.json"
    if isinstance(request, TrainRequest):
        request.write(path)
    code = _Worker(protocol).run(path)
    return code, [parse_event(line.encode()) for line in protocol.getvalue().splitlines()]


def test_a_run_speaks_its_protocol_from_start_to_finish(tmp_path):
    """Started, one line per epoch, finished; the bundle holds what was promised."""
    request, _ = ready(tmp_path)
    code, events, _ = work(request)
    assert code == 0
    assert [event.event for event in events] == ["started", *["epoch"] * 5, "finished"]
    started, first, last, finished = events[0], events[1], events[-2], events[-1]
    assert isinstance(started, Started)
    assert isinstance(first, Epoch)
    assert isinstance(last, Epoch)
    assert isinstance(finished, Finished)
    assert started.parameter_count == 4 * 16 + 16 + 16 * 2 + 2
    known = started.yardsticks
    assert (started.rows, known.validation_rows, known.updates_per_epoch) == (240, 60, 8)
    assert known.trivial_train_loss == pytest.approx(0.69, abs=0.02)
    assert known.uninformed_loss == pytest.approx(math.log(2))
    assert known.initial_train_loss > first.train_loss
    assert last.train_loss < first.train_loss
    assert last.accuracy > 0.9
    assert last.r2 is None
    bundle = Path(finished.bundle_dir)
    assert sorted(p.name for p in bundle.iterdir()) == ["curve.parquet", "spec.json", "weights.safetensors"]
    spec = BundleSpec.model_validate_json((bundle / "spec.json").read_bytes())
    assert (spec.run_id, spec.backend, spec.device) == (request.run_id, "reference", "cpu")
    assert spec.metrics["accuracy"] == last.accuracy
    assert [point.train_loss for point in read_curve(bundle / "curve.parquet")] == [
        event.train_loss for event in events if isinstance(event, Epoch)
    ]
    assert all(p.stat().st_mode & 0o077 == 0 for p in [bundle, *bundle.iterdir()])


def test_only_protocol_lines_reach_stdout_when_libraries_print(tmp_path):
    """From Python, from the file descriptor, and from C, while the training runs."""
    request, _ = ready(tmp_path, agreed=blob_contract(epochs=200))
    code, events, log = work(
        request,
        customise="""
        import ctypes, os, sys, threading, time

        def chatter():
            while "assay.train.backends.reference" not in sys.modules:
                time.sleep(0.01)
            libc = ctypes.CDLL(None)
            for _ in range(50):
                print("a print")
                os.write(1, b"a write\\n")
                libc.puts(b"a puts")
                libc.fflush(None)
                time.sleep(0.001)

        threading.Thread(target=chatter, daemon=True).start()
        """,
    )
    assert code == 0
    assert len(events) == 202
    for text in ("a print", "a write", "a puts"):
        assert text in log


def test_the_same_request_gives_the_same_bundle_byte_for_byte(tmp_path):
    """Weights, spec and curve: no clock, no path, no process id in them."""
    contents = []
    for name in ("a", "b"):
        request, _ = ready(tmp_path / name)
        assert work(request)[0] == 0
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name / "bundle").iterdir()})
    assert contents[0] == contents[1]


def test_another_seed_gives_other_weights(tmp_path):
    """The seed is not decoration."""
    first, _ = ready(tmp_path / "a")
    second, _ = ready(tmp_path / "b", seed=1)
    assert work_here(first)[0] == work_here(second)[0] == 0
    assert (first.out_dir / "weights.safetensors").read_bytes() != (
        second.out_dir / "weights.safetensors"
    ).read_bytes()
    assert first.run_id != second.run_id


def test_weights_to_start_from_can_be_given(tmp_path):
    """One epoch at a vanishing rate leaves them as they were."""
    from safetensors.numpy import load_file, save_file

    request, _ = ready(
        tmp_path,
        agreed=blob_contract(epochs=1, layers=[], optimizer={"name": "adam", "learning_rate": 1e-12}),
        initial_weights=tmp_path / "first.safetensors",
    )
    first = {"layers.0.weight": np.full((2, 4), 0.25, np.float32), "layers.0.bias": np.zeros(2, np.float32)}
    save_file(first, tmp_path / "first.safetensors")
    assert work_here(request)[0] == 0
    last = load_file(request.out_dir / "weights.safetensors")
    np.testing.assert_allclose(last["layers.0.weight"], first["layers.0.weight"], atol=1e-9)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"layers.0.weight": np.zeros((2, 4), np.float32)}, "another network"),
        (
            {"layers.0.weight": np.zeros((4, 2), np.float32), "layers.0.bias": np.zeros(2, np.float32)},
            "does not fit",
        ),
        ({"layers.0.weight": np.zeros((2, 4)), "layers.0.bias": np.zeros(2)}, "does not fit"),
        (
            {
                "layers.0.weight": np.full((2, 4), np.nan, np.float32),
                "layers.0.bias": np.zeros(2, np.float32),
            },
            "not finite",
        ),
        (None, "cannot be read"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, arrays, message):
    """Names, shapes, dtypes and finiteness are held against the layers."""
    from safetensors.numpy import save_file

    place = tmp_path / "first.safetensors"
    request, _ = ready(tmp_path, agreed=blob_contract(layers=[]), initial_weights=place)
    if arrays is None:
        place.write_bytes(b"\x00" * 20)
    else:
        save_file(arrays, place)
    code, [event] = work_here(request)
    assert code == 1
    assert isinstance(event, Failed)
    assert message in event.reason


def test_a_loss_that_is_not_finite_ends_the_run_after_its_epoch(tmp_path):
    """Skipped updates are counted, told and fatal; there is no bundle."""
    request, _ = ready(tmp_path)
    x = np.load(request.arrays.x)
    x[np.load(request.arrays.train)[3]] = np.nan
    np.save(request.arrays.x, x)
    code, events = work_here(request)
    assert code == 1
    assert [event.event for event in events] == ["started", "epoch", "failed"]
    assert isinstance(events[1], Epoch)
    assert events[1].skipped_updates >= 1
    assert isinstance(events[2], Failed)
    assert "were skipped" in events[2].reason
    assert not request.out_dir.exists()


def test_a_regression_is_trained_on_squared_errors(tmp_path):
    """R² instead of accuracy."""
    import pyarrow as pa

    from tests.train.helpers import contract

    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "price": 3e5 + 1e5 * x[:, 0] - 5e4 * x[:, 1]})
    columns = {name: {"type": "number"} for name in ("a", "b", "price")}
    request, _ = ready(tmp_path, table, contract(columns, label="price", epochs=30))
    code, events = work_here(request)
    last = events[-2]
    assert code == 0
    assert isinstance(last, Epoch)
    assert last.r2 > 0.95
    assert last.accuracy is None
    assert BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes()).classes is None


def test_predictions_come_back_in_the_labels_own_unit(tmp_path):
    """Probabilities for classes, prices for prices."""
    import pyarrow as pa
    from safetensors.numpy import load_file

    from assay.train import load_preprocessing
    from assay.train.backends.reference import forward, predict
    from tests.train.helpers import blobs, contract

    request, _ = ready(tmp_path / "classes")
    assert work_here(request)[0] == 0
    spec = BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())
    weights = load_file(request.out_dir / "weights.safetensors")
    x = load_preprocessing(spec.preprocessing).transform(blobs())
    np.testing.assert_array_equal(x, np.load(request.arrays.x))
    chances = predict(weights, spec, x)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    np.testing.assert_array_equal(chances.argmax(axis=1), forward(weights, spec, x).argmax(axis=1))
    assert (chances.argmax(axis=1) == np.load(request.arrays.y)).mean() > 0.95
    with pytest.raises(KeyError):
        forward({}, spec, x)

    generator = np.random.default_rng(0)
    a = generator.normal(size=300)
    table = pa.table({"a": a, "price": 3e5 + 1e5 * a})
    request, _ = ready(
        tmp_path / "prices",
        table,
        contract({n: {"type": "number"} for n in ("a", "price")}, label="price", epochs=60),
    )
    assert work_here(request)[0] == 0
    spec = BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())
    prices = predict(
        load_file(request.out_dir / "weights.safetensors"),
        spec,
        load_preprocessing(spec.preprocessing).transform(table),
    )
    assert prices.shape == (300,)
    assert np.abs(prices - table["price"].to_numpy()).mean() < 1e4


def test_a_gpu_is_not_quietly_replaced_by_the_cpu(tmp_path):
    """The reference backend has none: failed, with the way out."""
    request, _ = ready(tmp_path, agreed=blob_contract(device="gpu"))
    code, [event] = work_here(request)
    assert code == 1
    assert isinstance(event, Failed)
    assert (event.outcome, "use backend flux or device auto" in event.reason) == ("failed", True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.arrays.x.unlink(), "cannot be read"),
        (lambda r: r.arrays.x.write_bytes(r.arrays.x.read_bytes()[:-100]), "cannot be read"),
        (lambda r: r.arrays.y.write_bytes(b""), "cannot be read"),
        (lambda r: np.save(r.arrays.y, np.array([{}], dtype=object), allow_pickle=True), "cannot be read"),
        (lambda r: np.save(r.arrays.x, np.zeros((300, 4))), "wrong type"),
        (lambda r: np.save(r.arrays.x, np.zeros((300, 3), np.float32)), "do not fit together"),
        (lambda r: np.save(r.arrays.x, np.zeros((300, 4), np.float32, order="F")), "do not fit together"),
        (lambda r: np.save(r.arrays.y, np.zeros(7, np.int64)), "do not fit together"),
        (lambda r: np.save(r.arrays.y, np.full(300, 2)), "does not name"),
        (lambda r: np.save(r.arrays.train, np.array([300])), "not rows of x"),
        (lambda r: np.save(r.arrays.train, np.array([], dtype=np.int64)), "no rows to learn from"),
    ],
)
def test_arrays_that_are_not_what_the_request_says_are_refused(tmp_path, spoil, message):
    """Missing, truncated, pickled, of another shape, type or range."""
    request, _ = ready(tmp_path)
    spoil(request)
    code, [event] = work_here(request)
    assert code == 1
    assert isinstance(event, Failed)
    assert message in event.reason
    assert not request.out_dir.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "assay-request/1"}', None])
def test_a_file_that_is_no_request_is_refused(tmp_path, content):
    """By the worker as an event, by the reader as an error."""
    path = tmp_path / "request.json"
    if content is not None:
        path.write_bytes(content)
    code, [event] = work_here(path)
    assert code == 1
    assert isinstance(event, Failed)
    with pytest.raises(RequestError, match="training request"):
        read_request(path)


def test_a_request_of_absurd_size_is_not_read(tmp_path):
    """A sparse file of a terabyte costs nothing to make."""
    path = tmp_path / "request.json"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(RequestError, match="too large"):
        read_request(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": [{"type": "dense", "in": 3, "out": 2}]}, "takes 3 inputs, but gets 4"),
        ({"layers": [{"type": "dense", "in": 4, "out": 2, "dtype": "float64"}]}, "float64"),
        ({"layers": [{"type": "dense", "in": 4, "out": 3}]}, "gives 3, but the task needs 2"),
        ({"layers": [{"type": "dense", "in": 4, "out": 2, "activation": "eval"}]}, "activation"),
        ({"layers": [{"in": 4, "out": 2}]}, "discriminator"),
        (
            {"loss": {"name": "mse"}, "layers": [{"type": "dense", "in": 4, "out": 1}]},
            "does not belong",
        ),
        ({"loss": {"name": "logit_cross_entropy", "class_weights": [1.0]}}, "weight for each class"),
        ({"aggregation": {"name": "krum"}}, "source of each row"),
        ({"classes": None}, "outputs"),
        ({"shell": "rm"}, "shell"),
        ({"run_id": "../../etc"}, "run_id"),
    ],
)
def test_a_request_whose_parts_do_not_fit_is_refused(tmp_path, change, message):
    """Layers that do not chain, losses that do not belong, keys that do not exist."""
    request, _ = ready(tmp_path)
    path = tmp_path / "request.json"
    path.write_text(json.dumps(json.loads(request.model_dump_json(by_alias=True)) | change))
    with pytest.raises(RequestError, match=message):
        read_request(path)


def test_an_existing_bundle_is_not_overwritten(tmp_path):
    """Not even by a worker started by hand."""
    request, _ = ready(tmp_path)
    assert work_here(request)[0] == 0
    before = (request.out_dir / "weights.safetensors").read_bytes()
    code, events = work_here(request)
    assert code == 1
    assert isinstance(events[-1], Failed)
    assert "exists" in events[-1].reason
    assert (request.out_dir / "weights.safetensors").read_bytes() == before


def test_a_full_disk_or_forbidden_place_is_told(tmp_path):
    """The bundle's parent is a file."""
    request, _ = ready(tmp_path)
    (tmp_path / "blocked").write_text("")
    code, events = work_here(request.model_copy(update={"out_dir": tmp_path / "blocked" / "bundle"}))
    assert code == 1
    assert isinstance(events[-1], Failed)
    assert "cannot read or write" in events[-1].reason


def test_called_wrongly_it_says_how():
    """Usage on stderr, status 2, stdout empty."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "assay.train.programs.worker"],
        capture_output=True,
        env=child_environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"usage" in done.stderr


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello",
        b"{}",
        b'{"event": "dance"}',
        b'{"event": "warning", "message": "x", "extra": 1}',
        b'{"event": "warning", "message": "' + b"x" * MAX_LINE_BYTES + b'"}',
    ],
)
def test_a_line_that_is_no_event_is_refused(line):
    """Fail closed: what is not understood is not skipped."""
    with pytest.raises(ProtocolError):
        parse_event(line)


def test_numbers_that_are_not_finite_travel_as_null():
    """JSON has no NaN; null comes back as None."""
    event = Epoch(
        epoch=1,
        train_loss=float("nan"),
        validation_loss=float("inf"),
        gradient_norm=1.0,
        learning_rate=0.1,
        skipped_updates=0,
        seconds=1.0,
        rows_per_second=1.0,
    )
    assert "NaN" not in event.line()
    back = parse_event(event.line().encode())
    assert isinstance(back, Epoch)
    assert (back.train_loss, back.validation_loss) == (None, None)


def test_secrets_do_not_reach_the_worker(monkeypatch):
    """Keys, tokens and connections stay behind; what Python and Julia need goes along."""
    for name in ("ASSAY_LEDGER_KEY", "AIRFLOW_CONN_DB", "AWS_ACCESS_KEY_ID", "GITHUB_TOKEN", "DB_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("JULIA_DEPOT_PATH", "/depot")
    environment = child_environment()
    assert "secret" not in environment.values()
    assert environment["JULIA_DEPOT_PATH"] == "/depot"
    assert "PATH" in environment
