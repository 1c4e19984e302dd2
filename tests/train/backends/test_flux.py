"""The Flux backend: what it refuses without Julia, and what it answers with a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assay.contract.optimization import Optimizer
from assay.settings import child_environment
from assay.train import julia_status
from assay.train.backends import Clipping, DeviceUnavailable
from assay.train.backends.flux import FluxTrainer, JuliaTrainer
from assay.train.backends.flux.blueprint import slot_names
from assay.train.backends.flux.starting import choose_device
from assay.train.errors import PreconditionError
from assay.train.network.layers import leaves
from assay.train.network.spec import AggregationSpec
from assay.train.programs.native_check import NOT_CHECKED, native_layers
from tests.train import flux_answers

REPOSITORY = Path(__file__).resolve().parents[3]


class Cuda:
    """AssayTrainer's answers about a GPU: the one part that no machine without a GPU can give."""

    def __init__(self, trouble: str) -> None:
        self.trouble, self.asked = trouble, 0

    def load_gpu_b(self) -> str:
        """Why there is none to use."""
        self.asked += 1
        return self.trouble

    def gpu_name(self) -> str:
        """Name and memory."""
        return "NVIDIA A100, 81920 MiB"


def test_the_device_is_the_one_that_was_asked_for_or_none():
    """A GPU where it works, its name recorded; the reason where it does not; the CPU without a question."""
    working, broken = Cuda(""), Cuda("CUDA.jl is not functional on this machine")
    assert choose_device(JuliaTrainer(working, {}), "gpu") == ("gpu", "NVIDIA A100, 81920 MiB")
    with pytest.raises(DeviceUnavailable, match=r"device gpu was asked for.*not functional"):
        choose_device(JuliaTrainer(broken, {}), "gpu")
    assert choose_device(JuliaTrainer(broken, {}), "auto") == ("cpu", None)
    before = working.asked
    assert choose_device(JuliaTrainer(working, {}), "cpu") == ("cpu", None)
    assert working.asked == before


@pytest.mark.parametrize(
    "options",
    [
        {"clipping": Clipping(1.0, 1.0, 8.0)},
        {"aggregation": AggregationSpec(name="median"), "sources": np.zeros(flux_answers.ROWS, dtype=np.int32)},
    ],
)  # fmt: skip
def test_batch_normalisation_is_refused_where_rows_must_not_mix(options):
    """Before anything is started."""
    with pytest.raises(PreconditionError, match="batch_norm mixes the rows"):
        FluxTrainer(flux_answers.problem(**options), "cpu")


def test_a_robust_aggregation_without_sources_is_refused():
    """It would have nothing to tell apart."""
    layers = flux_answers.every_layer()[-1:]
    with pytest.raises(PreconditionError, match="krum needs to know each row's source"):
        FluxTrainer(flux_answers.problem(layers=layers, aggregation=AggregationSpec(name="krum")), "cpu")


def test_every_kind_of_layer_has_a_description_to_be_compared_with():
    """Each with its type, its activation where it has one, and its dtype where it has arrays."""
    layers = flux_answers.every_layer()
    assert {layer.type for _, layer in leaves(layers)} | {"skip"} >= {
        "dense", "embedding", "unflatten", "flatten", "batch_norm", "layer_norm", "dropout", "conv", "max_pool",
    }  # fmt: skip
    for spec, found in zip(layers, native_layers(layers), strict=True):
        assert found["type"] == spec.type
        assert ("activation" in found) == hasattr(spec, "activation")
        assert ("dtype" in found) == hasattr(spec, "dtype")
    assert native_layers(layers)[2]["momentum"] == float(np.float32(0.1))


def test_the_optimisers_memory_has_the_same_names_in_both_backends():
    """So that a state says what it holds."""
    from assay.train.backends.reference.optimizers import Rule

    for rule in (
        Optimizer(), Optimizer(name="adamw"), Optimizer(name="rmsprop"), Optimizer(name="sgd"),
        Optimizer(name="sgd", momentum=0.5),
    ):  # fmt: skip
        assert slot_names(rule) == tuple(Rule(rule, np.zeros(3)).slots)


def test_a_model_is_not_checked_where_there_is_no_julia(tmp_path, monkeypatch):
    """With the reason, and a status that is neither good nor bad."""
    for name in list(os.environ):
        if name.startswith(("JULIA_", "PYTHON_JULIACALL_", "PYTHON_JULIAPKG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("JULIA_EXE", "/nowhere/julia")
    np.save(tmp_path / "probes.npy", np.zeros((2, 2), dtype=np.float32))
    done = check(tmp_path)
    assert done.returncode == NOT_CHECKED
    answer = json.loads((tmp_path / "out.json").read_text())
    assert "/nowhere/julia" in answer["not_checked"]


def check(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the model check on what lies in a folder."""
    files = [str(folder / name) for name in ("model.jls", "probes.npy", "out.json")]
    return subprocess.run(
        [sys.executable, "-m", "assay.train.programs.native_check", *files],
        capture_output=True, text=True, env=child_environment(), cwd=REPOSITORY, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """The answers of a real Flux and the folder with its model; or a skip that says how to get one."""
    status = julia_status()
    if not status.usable:
        if "julia" in os.environ.get("ASSAY_TEST_REQUIRE", "").split(","):
            pytest.fail(status.reason)
        pytest.skip(status.reason)
    folder = tmp_path_factory.mktemp("flux")
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.flux_answers", str(folder)],
        capture_output=True, text=True, env=child_environment() | {"OPENBLAS_NUM_THREADS": "1"},
        cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), folder


@pytest.mark.julia
@pytest.mark.slow
def test_a_resumed_run_ends_as_one_in_one_go_bit_for_bit(answers):
    """With every optimiser, dropout and running statistics; the state names all that is needed."""
    found = answers[0]["resumed"]
    assert len(found) == 5
    assert all(each["same"] for each in found.values())
    assert {"optimizer/mean", "optimizer/powers", "optimizer/square", "weights/layers.2.variance"} < set(
        found["adam 0.0 False"]["state"]
    )


@pytest.mark.julia
@pytest.mark.slow
def test_arrays_cross_the_border_unchanged(answers):
    """There and back, in C order; one of another shape is refused by name."""
    found = answers[0]["weights"]
    assert (found["first"], found["other"], found["c_order"]) == (True, True, True)
    assert found["refused"].startswith("layers.1.weight")


@pytest.mark.julia
@pytest.mark.slow
def test_what_julia_cannot_promise_is_refused_in_our_words(answers):
    """Too few sources in a batch; private updates without noise."""
    assert "krum cannot stand 1 hostile of 4 sources" in answers[0]["few sources"]
    assert "at least 5 sources" in answers[0]["few sources"]
    assert "private updates need noise" in answers[0]["no noise"]


@pytest.mark.julia
@pytest.mark.slow
def test_the_cpu_has_no_memory_of_its_own_and_nothing_is_measured_on_no_rows(answers):
    """`null`, not zero; `nan`, not zero."""
    found = answers[0]
    if found["device"][0] == "cpu":
        assert (found["device"], found["memory"]) == (["cpu", None], None)
    assert found["empty"] == [True, True, 0]
    assert found["gram"] == [0, 0]


@pytest.mark.julia
@pytest.mark.slow
def test_a_saved_model_is_described_as_its_spec_says(answers):
    """Layers, arrays to the last bit, and outputs that have the losses that training measured."""
    from hashlib import sha256

    found, folder = answers
    assert found["native"]["files"] == ["model.jls"]
    done = check(folder)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads((folder / "out.json").read_text())
    assert answer["layers"] == found["native"]["layers"]
    weights = np.load(folder / "weights.npz")
    assert {(each["name"], each["sha256"]) for each in answer["arrays"]} == {
        (name, sha256(weights[name].tobytes()).hexdigest()) for name in weights.files
    }
    assert answer["finite"] is True
    assert answer["parameter_count"] == sum(
        weights[name].size for name in weights.files if not name.endswith(("mean", "variance"))
    )
    outputs, classes = np.array(answer["outputs"]), np.arange(16) % 3
    logs = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(-logs[np.arange(16), classes], found["native"]["losses"], rtol=1e-4)


@pytest.mark.julia
@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"not Julia", b"\x37JL\x1c\x04\x00\x00\x00" + b"\xff" * 50])
def test_a_file_that_is_no_model_is_said_to_be_unreadable(answers, tmp_path, content):
    """One line, status 1, and no traceback for the caller to parse."""
    (tmp_path / "model.jls").write_bytes(content)
    np.save(tmp_path / "probes.npy", np.zeros((2, 6), dtype=np.float32))
    done = check(tmp_path)
    assert done.returncode == 1
    assert set(json.loads((tmp_path / "out.json").read_text())) == {"error"}
