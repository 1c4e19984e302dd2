"""Finding Julia, saying what is missing, and training with a real Flux where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from assay.findings import Outcome
from assay.settings import child_environment
from assay.train import BundleSpec, julia_status, train_run
from assay.train.machine import julia
from assay.train.machine.julia import JuliaHome, JuliaMissing, find_julia, trainer_package
from tests.train import golden
from tests.train.helpers import blob_contract, blobs, leftovers, ready

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def no_julia(monkeypatch, tmp_path):
    """A machine without Julia: nothing named, nothing on PATH, nothing resolved."""
    for name in list(os.environ):
        if name.startswith(("JULIA_", "PYTHON_JULIACALL_", "PYTHON_JULIAPKG_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(julia, "_juliapkg_choice", lambda: (None, None))
    monkeypatch.setattr(julia, "_usable", {})
    return folder


def script(path: Path, body: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_without_julia_the_status_is_not_checked_and_says_how_to_get_it(no_julia):
    """All three answers, none of them passed."""
    status = julia_status()
    assert not status.usable
    assert [finding.outcome for finding in status.findings] == [Outcome.NOT_CHECKED] * 3
    assert [finding.check for finding in status.findings] == ["doctor.julia", "doctor.flux", "doctor.gpu"]
    assert "Julia is not installed" in status.reason
    assert "julialang.org" in status.julia.evidence["next"]


def test_a_julia_that_is_named_but_not_there_is_not_looked_for_elsewhere(no_julia, monkeypatch):
    """The environment is corrected, not guessed around."""
    script(no_julia / "julia", "echo 1.10.8; echo /somewhere")
    assert isinstance(find_julia(), JuliaHome)
    for name in ("PYTHON_JULIACALL_EXE", "JULIA_EXE"):
        monkeypatch.setenv(name, "/nowhere/julia")
        found = find_julia()
        assert isinstance(found, JuliaMissing)
        assert "/nowhere/julia" in found.reason
        monkeypatch.delenv(name)


def test_julia_is_found_by_its_names_in_order(no_julia, monkeypatch, tmp_path):
    """juliacall's own setting, then JULIA_EXE, then PATH; the project likewise."""
    for name in ("one", "two"):
        script(tmp_path / name, f"echo 1.10.{len(name)}; echo /{name}")
    script(no_julia / "julia", "echo 1.11.0; echo /path")
    assert find_julia() == JuliaHome(str(no_julia / "julia"), "/path", "1.11.0")
    monkeypatch.setenv("JULIA_EXE", str(tmp_path / "two"))
    assert find_julia() == JuliaHome(str(tmp_path / "two"), "/two", "1.10.3")
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", str(tmp_path / "one"))
    monkeypatch.setenv("PYTHON_JULIACALL_PROJECT", "/chosen")
    assert find_julia() == JuliaHome(str(tmp_path / "one"), "/chosen", "1.10.3")


@pytest.mark.parametrize("body", ["echo broken >&2; exit 3", "exit 0", "echo one line"])
def test_a_julia_that_does_not_start_is_missing_with_the_reason(no_julia, body):
    """It is there, and is of no use."""
    script(no_julia / "julia", body)
    found = find_julia()
    assert isinstance(found, JuliaMissing)
    assert "does not start" in found.reason
    assert ("broken" in body) == ("(broken)" in found.reason)


def test_what_juliapkg_resolved_earlier_is_found_without_resolving_anything(monkeypatch, tmp_path):
    """Only a project with a manifest and an executable that is there count."""
    from juliapkg.state import STATE

    executable = script(tmp_path / "julia", "echo 1.10.8; echo /elsewhere")
    meta = tmp_path / "meta.json"
    monkeypatch.setitem(STATE, "project", str(tmp_path))
    monkeypatch.setitem(STATE, "meta", str(meta))
    assert julia._juliapkg_choice() == (None, None)
    meta.write_text(json.dumps({"executable": str(executable)}))
    assert julia._juliapkg_choice() == (None, None)
    (tmp_path / "Manifest.toml").touch()
    assert julia._juliapkg_choice() == (str(executable), str(tmp_path))
    meta.write_text("{")
    assert julia._juliapkg_choice() == (None, None)


def test_a_julia_that_juliacall_cannot_load_leaves_flux_not_checked(no_julia, monkeypatch):
    """Julia answers for itself, but there is no library to start inside Python."""
    script(no_julia / "julia", 'case "$*" in *VERSION*) echo 1.10.8; echo /project;; *) exit 9;; esac')
    monkeypatch.setenv("PATH", f"{no_julia}:/bin:/usr/bin")
    status = julia_status(timeout=120)
    assert status.julia.outcome is Outcome.PASSED
    assert status.flux.outcome is Outcome.NOT_CHECKED
    assert "does not start inside Python" in status.flux.message
    assert "juliapkg resolve" in status.flux.evidence["next"]
    assert status.gpu.outcome is Outcome.NOT_CHECKED
    assert not status.usable
    assert status.reason == status.flux.message


def test_a_julia_that_hangs_is_given_up_on(no_julia, monkeypatch, tmp_path):
    """And its process group is ended."""
    script(no_julia / "julia", f'case "$*" in *VERSION*) echo 1.10.8; echo {tmp_path};; *) sleep 600;; esac')
    monkeypatch.setenv("PATH", f"{no_julia}:/bin:/usr/bin")
    status = julia_status(timeout=5)
    assert status.flux.outcome is Outcome.NOT_CHECKED
    assert "did not answer within 5 s" in status.flux.message


def test_flux_without_julia_is_not_checked_rather_than_failed(no_julia, tmp_path):
    """The run says what is missing; no bundle, no exception."""
    request, agreed = ready(tmp_path, agreed=blob_contract(backend="flux"))
    assert request.backend == "flux"
    result = train_run(request, contract=agreed)
    assert (result.status, result.outcome, result.bundle_dir) == ("not_checked", Outcome.NOT_CHECKED, None)
    assert result.reason.startswith("Julia is not installed")
    assert result.findings == ()
    assert leftovers(tmp_path) == ["bin"]


def test_auto_without_julia_is_the_reference_backend_and_says_why(no_julia, tmp_path):
    """In the request, the result and the bundle."""
    request, agreed = ready(tmp_path, agreed=blob_contract(backend="auto"))
    assert request.backend == "reference"
    assert "Julia is not installed" in request.backend_reason
    result = train_run(request, contract=agreed)
    assert result.backend_reason == request.backend_reason
    spec = BundleSpec.model_validate_json((request.out_dir / "spec.json").read_bytes())
    assert (spec.backend, spec.backend_reason) == ("reference", request.backend_reason)


def test_julia_is_never_loaded_into_the_calling_process(no_julia):
    """Asking for the status imports neither juliacall nor anything of Julia's."""
    code = (
        "import sys; from assay.train import julia_status; julia_status(); print('juliacall' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=child_environment(), check=True
    )
    assert done.stdout.strip() == "False"


def test_the_julia_package_is_where_juliapkg_is_told(tmp_path):
    """juliapkg.json, Project.toml and the code agree on place and id."""
    import tomllib

    stated = json.loads((REPOSITORY / "include/assay/juliapkg.json").read_text())["packages"]["AssayTrainer"]
    place = (REPOSITORY / "include/assay" / stated["path"]).resolve()
    assert place == trainer_package()
    project = tomllib.loads((place / "Project.toml").read_text())
    assert (project["name"], project["uuid"]) == ("AssayTrainer", stated["uuid"])
    assert set(project["deps"]) | set(project["weakdeps"]) <= set(project["compat"])


@pytest.fixture(scope="module")
def real():
    """A Julia that loads Flux, or a skip that says how to get one."""
    status = julia_status()
    if not status.usable:
        if "julia" in os.environ.get("ASSAY_TEST_REQUIRE", "").split(","):
            pytest.fail(status.reason)
        pytest.skip(status.reason)
    return status


@pytest.mark.julia
@pytest.mark.slow
def test_a_real_julia_is_recognised_with_its_versions(real):
    """What doctor, the bundle and the statement will say."""
    assert real.julia.outcome is real.flux.outcome is Outcome.PASSED
    assert real.versions.keys() >= {"julia", "flux", "juliacall"}
    assert real.versions["flux"].startswith("0.16")


@pytest.mark.julia
@pytest.mark.slow
def test_flux_and_the_reference_take_the_same_steps(real):
    """Every layer, activation, loss, optimiser, schedule, aggregation and private case: 54 updates in each dtype."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.conformance"],
        capture_output=True,
        text=True,
        env=child_environment() | {"OPENBLAS_NUM_THREADS": "1"},
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    *answers, total = map(json.loads, done.stdout.splitlines())
    bounds = {"float64": 1e-8, "float32": 1e-4}
    assert [a for a in answers if not a["worst"] <= bounds[a["dtype"]]] == []
    cases = golden.cases()
    assert [(a["name"], a["dtype"]) for a in answers] == [(case.name, case.dtype) for case in cases]
    assert total["compared"] == sum(a["compared"] for a in answers) > 60_000
    assert golden.UPDATES > 50


@pytest.mark.julia
@pytest.mark.slow
def test_the_julia_packages_own_tests_pass(real):
    """`runtests.jl`, in the project that training uses."""
    program = 'push!(LOAD_PATH, ARGS[1]); include(joinpath(ARGS[1], "test", "runtests.jl"))'
    done = subprocess.run(
        [
            real.executable,
            f"--project={real.project}",
            "--startup-file=no",
            "-e",
            program,
            str(trainer_package()),
        ],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.julia
@pytest.mark.slow
def test_a_flux_run_ends_with_a_bundle_like_the_references(real, tmp_path):
    """The same files plus model.jls, the same weights up to rounding; and a second run gives the same bytes."""
    from safetensors.numpy import load_file

    weights, results = {}, {}
    for name, backend in (("flux", "flux"), ("again", "flux"), ("reference", "reference")):
        request, agreed = ready(tmp_path / name, agreed=blob_contract(), backend=backend)
        results[name] = train_run(request, contract=agreed)
        assert results[name].status == "finished", results[name].reason
        weights[name] = load_file(request.out_dir / "weights.safetensors")
    flux = results["flux"]
    assert flux.bundle_dir is not None
    assert sorted(p.name for p in flux.bundle_dir.iterdir()) == [
        "curve.parquet",
        "model.jls",
        "spec.json",
        "weights.safetensors",
    ]
    assert (flux.backend, flux.device, flux.outcome) == ("flux", "cpu", Outcome.PASSED)
    assert flux.versions["flux"] == real.versions["flux"]
    assert {p.name: p.read_bytes() for p in flux.bundle_dir.iterdir()} == {
        p.name: p.read_bytes() for p in results["again"].bundle_dir.iterdir()
    }
    for name, array in weights["flux"].items():
        np.testing.assert_allclose(array, weights["reference"][name], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        [p.validation_loss for p in flux.curve],
        [p.validation_loss for p in results["reference"].curve],
        rtol=1e-4,
    )


@pytest.mark.julia
@pytest.mark.slow
def test_an_absurd_learning_rate_is_stopped_in_flux_too(real, tmp_path):
    """By the same checks."""
    agreed = blob_contract(optimizer={"name": "adam", "learning_rate": 30.0}, epochs=1000)
    request, _ = ready(tmp_path, agreed=agreed, backend="flux")
    result = train_run(request, contract=agreed)
    assert result.status == "stopped"
    assert len(result.curve) <= 3
    assert leftovers(tmp_path) == []


@pytest.mark.julia
@pytest.mark.slow
def test_a_gpu_that_flux_cannot_use_fails_the_run_with_the_reason(real, tmp_path):
    """Not a quiet run on the CPU."""
    if real.gpu.outcome is Outcome.PASSED:
        pytest.skip("this machine has a GPU that Flux can use")
    agreed = blob_contract(device="gpu")
    request, _ = ready(tmp_path, agreed=agreed, backend="flux")
    result = train_run(request, contract=agreed)
    assert result.status == "failed"
    assert "device gpu was asked for" in result.reason


@pytest.mark.julia
@pytest.mark.gpu
@pytest.mark.slow
def test_a_gpu_is_used_and_named(real, tmp_path):
    """With the same losses as on the CPU, up to rounding."""
    if real.gpu.outcome is not Outcome.PASSED:
        pytest.skip(real.gpu.message)
    curves = {}
    for device in ("cpu", "gpu"):
        agreed = blob_contract(device=device)
        request, _ = ready(tmp_path / device, agreed=agreed, backend="flux")
        result = train_run(request, contract=agreed)
        assert (result.status, result.device) == ("finished", device)
        curves[device] = [point.validation_loss for point in result.curve]
    np.testing.assert_allclose(curves["gpu"], curves["cpu"], rtol=1e-3)


@pytest.mark.julia
@pytest.mark.slow
def test_a_julia_project_without_flux_is_named_as_such(real, tmp_path, monkeypatch):
    """Julia is there, Flux is not: not checked, with the project's path."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "Project.toml").write_text("")
    monkeypatch.setenv("PYTHON_JULIACALL_EXE", real.executable)
    monkeypatch.setenv("PYTHON_JULIACALL_PROJECT", str(tmp_path / "empty"))
    status = julia_status()
    assert status.julia.outcome is Outcome.PASSED
    assert status.flux.outcome is Outcome.NOT_CHECKED
    assert str(tmp_path / "empty") in status.flux.message


@pytest.mark.julia
@pytest.mark.slow
def test_a_regression_runs_in_flux(real, tmp_path):
    """Squared error, R², one output."""
    import pyarrow as pa

    from tests.train.helpers import contract

    x = blobs(seed=3)["x0"].to_numpy()
    agreed = contract({n: {"type": "number"} for n in ("a", "price")}, label="price", epochs=30)
    request, _ = ready(tmp_path, pa.table({"a": x, "price": 2e5 + 3e4 * x}), agreed, backend="flux")
    result = train_run(request, contract=agreed)
    assert result.status == "finished"
    assert result.curve[-1].r2 > 0.95
