"""Where Julia is, and whether it can train: found from the environment, asked in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.findings import Finding, Outcome, Scope, Severity
from assay.settings import JuliaSettings, child_environment
from assay.train.machine.processes import kill_group, start_group

PROBE_TIMEOUT_SECONDS = 900.0
"""The first start on a machine compiles Flux, which takes minutes; later ones take seconds."""

HOW_TO_GET_JULIA = (
    "install Julia 1.10 or newer (https://julialang.org/downloads), put `julia` on PATH or name it in JULIA_EXE, "
    "then run `python -m juliapkg resolve`"
)
HOW_TO_GET_FLUX = (
    "run `python -m juliapkg resolve`, "
    "or name a Julia project with Flux and PythonCall in PYTHON_JULIACALL_PROJECT"
)

HOW_TO_GET_GPU = "on a machine with an NVIDIA GPU, add CUDA.jl and cuDNN.jl to the Julia project"


@dataclass(frozen=True)
class JuliaHome:
    """A Julia executable, its version and the project to start it with."""

    executable: str
    project: str
    version: str


@dataclass(frozen=True)
class JuliaMissing:
    """Why there is no Julia, in words."""

    reason: str
    next_step: str


@dataclass(frozen=True)
class JuliaStatus:
    """What `assay doctor` says about Julia.

    Attributes:
        julia: Is there a Julia that starts? Each finding's evidence has the `next` step where something is missing.
        flux: Does it load Flux and the trainer?
        gpu: Is there a GPU that it can use?
        executable: The Julia asked.
        project: The Julia project asked.
        versions: Of julia, flux, pythoncall and juliacall, where known.
    """

    julia: Finding
    flux: Finding
    gpu: Finding
    executable: str | None = None
    project: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether the Flux backend can be used."""
        return self.julia.outcome is Outcome.PASSED and self.flux.outcome is Outcome.PASSED

    @property
    def reason(self) -> str:
        """In one sentence, why Flux can or cannot be used."""
        return (self.julia if self.julia.outcome is not Outcome.PASSED else self.flux).message

    @property
    def findings(self) -> tuple[Finding, Finding, Finding]:
        """All three answers."""
        return self.julia, self.flux, self.gpu


def trainer_package() -> Path:
    """The AssayTrainer package: beside the Python package, under `julia/`."""
    return Path(__file__).resolve().parents[3] / "julia" / "AssayTrainer"


def _juliapkg_choice() -> tuple[str | None, str | None]:
    """Executable and project that juliapkg resolved earlier, without resolving (and downloading) anything now."""
    try:
        from juliapkg.state import STATE

        project = Path(STATE["project"])
        meta = json.loads(Path(STATE["meta"]).read_text(encoding="utf-8"))
    except (ImportError, OSError, ValueError, KeyError):
        return None, None
    executable = meta.get("executable")
    found = (
        (project / "Manifest.toml").is_file() and isinstance(executable, str) and Path(executable).is_file()
    )
    return (executable, str(project)) if found else (None, None)


def find_julia() -> JuliaHome | JuliaMissing:
    """Find Julia: `PYTHON_JULIACALL_EXE`, `JULIA_EXE`, `julia` on PATH, then what juliapkg resolved.

    A Julia that the environment names but that is not there is an answer, not a reason to look elsewhere.
    """
    settings = JuliaSettings.from_env()
    resolved_executable, resolved_project = _juliapkg_choice()
    if settings.executable:
        executable = shutil.which(settings.executable)
        if executable is None:
            return JuliaMissing(
                f"Julia is not installed: the environment names {settings.executable}, which is not there",
                "correct PYTHON_JULIACALL_EXE or JULIA_EXE",
            )
    else:
        executable = shutil.which("julia") or resolved_executable
    if executable is None:
        return JuliaMissing("Julia is not installed: there is no `julia` on PATH", HOW_TO_GET_JULIA)
    try:
        answer = subprocess.run(
            [
                executable,
                "--startup-file=no",
                "-e",
                "println(VERSION); println(dirname(Base.active_project()))",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            stdin=subprocess.DEVNULL,
            env=child_environment(),
        )
        version, default_project = answer.stdout.splitlines()[:2]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return JuliaMissing(
            f"Julia does not start: {executable} ({detail[0][:200] if detail else type(error).__name__})",
            HOW_TO_GET_JULIA,
        )
    project = settings.project or resolved_project or default_project
    return JuliaHome(executable, project, version)


_usable: dict[tuple[str, str], JuliaStatus] = {}


def julia_status(timeout: float = PROBE_TIMEOUT_SECONDS) -> JuliaStatus:
    """Ask whether Julia, Flux and a GPU are usable. Julia is started in a process of its own, never in this one.

    A good answer is remembered for the life of this process; a bad one is asked anew, since somebody may be mending it.

    Args:
        timeout: Seconds for the whole question.
    """
    home = find_julia()
    if isinstance(home, JuliaMissing):
        missing = _finding("julia", Outcome.NOT_CHECKED, home.reason, next=home.next_step)
        return JuliaStatus(
            julia=missing,
            flux=_finding("flux", Outcome.NOT_CHECKED, f"Flux needs Julia: {home.reason}"),
            gpu=_finding("gpu", Outcome.NOT_CHECKED, f"training on a GPU needs Julia: {home.reason}"),
        )
    key = (home.executable, home.project)
    if key not in _usable:
        status = _ask(home, timeout)
        if not status.usable:
            return status
        _usable[key] = status
    return _usable[key]


def _ask(home: JuliaHome, timeout: float) -> JuliaStatus:
    answer = _probe(timeout)
    versions = {"julia": home.version, **answer.get("versions", {})}
    julia = _finding(
        "julia",
        Outcome.PASSED,
        f"Julia {home.version} at {home.executable}",
        version=home.version,
        project=home.project,
    )
    if "error" in answer:
        reason = f"Flux cannot be loaded in the Julia project {home.project}: {answer['error']}"
        flux = _finding("flux", Outcome.NOT_CHECKED, reason, project=home.project, next=HOW_TO_GET_FLUX)
        return JuliaStatus(
            julia=julia,
            flux=flux,
            gpu=_finding("gpu", Outcome.NOT_CHECKED, "training on a GPU needs Flux, which cannot be loaded"),
            executable=home.executable,
            project=home.project,
            versions=versions,
        )
    flux = _finding(
        "flux",
        Outcome.PASSED,
        f"Flux {versions.get('flux')} on Julia {home.version} loads",
        versions=versions,
    )
    if answer.get("gpu"):
        gpu = _finding("gpu", Outcome.PASSED, f"CUDA.jl can use {answer['gpu']}", device=answer["gpu"])
    else:
        gpu = _finding(
            "gpu", Outcome.NOT_CHECKED, f"no GPU to train on: {answer.get('gpu_reason')}", next=HOW_TO_GET_GPU
        )
    return JuliaStatus(julia, flux, gpu, home.executable, home.project, versions)


def _probe(timeout: float) -> dict[str, Any]:
    """Run `assay.train.programs.julia_probe` and read its one JSON line; every way of failing becomes an `error`."""
    with tempfile.TemporaryDirectory(prefix="assay-probe-") as folder, tempfile.TemporaryFile() as log:
        command = [sys.executable, "-P", "-m", "assay.train.programs.julia_probe"]
        process = start_group(command, child_environment(), log, Path(folder))
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return {"error": f"it did not answer within {timeout:.0f} s"}
        finally:
            kill_group(process)
            if process.stdout is not None:
                process.stdout.close()
        try:
            answer = json.loads(output.decode().splitlines()[-1])
            return answer if isinstance(answer, dict) else {"error": "it answered nonsense"}
        except (ValueError, IndexError):
            log.seek(0)
            lines = log.read()[-20_000:].decode("utf-8", "replace").strip().splitlines()
            return {
                "error": f"it ended with status {process.returncode}"
                + (f": {lines[-1][:300]}" if lines else "")
            }


def _finding(name: str, outcome: Outcome, message: str, **evidence: Any) -> Finding:
    return Finding(
        check=f"doctor.{name}",
        outcome=outcome,
        severity=Severity.INFO if outcome is Outcome.PASSED else Severity.LOW,
        scope=Scope.RUN,
        subject=name,
        message=message,
        evidence=evidence,
    )
