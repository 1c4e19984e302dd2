"""How a run ended, as its caller gets it; also that of a run whose bundle stands there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from assay.canonical import sha256_hex
from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.train.curve import AcceptedRun, CurveWatch, curve_outcome
from assay.train.errors import BundleExists
from assay.train.network.spec import BundleSpec
from assay.train.records.checkpoints import request_digest
from assay.train.records.curvefile import Curve, CurvePoint, read_curve
from assay.train.records.output import CURVE_FILE, SPEC_FILE, WEIGHTS_FILE
from assay.train.records.rowlosses import row_losses_of
from assay.train.setup.request import TrainRequest

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
        resumable: Whether the same request would go on from a checkpoint.
        seconds: Wall time; 0 for a run that was finished before.
        reused: Whether the bundle stood there already.
        versions: Of the backend's libraries.
        spec: The bundle's; only of a finished run.
        resumed: How often the run went on from a checkpoint, as far as this call knows.
        row_losses: Parquet file with the loss of every training row at every epoch, see
            `assay.train.records.rowlosses`; none for a private run, and for one without epochs.
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
    resumable: bool = False
    seconds: float = 0.0
    reused: bool = False
    versions: dict[str, str] | None = None
    spec: BundleSpec | None = None
    resumed: int = 0
    row_losses: Path | None = None

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


def finished_before(
    request: TrainRequest, contract: Contract, accepted: Sequence[Curve | AcceptedRun]
) -> RunResult:
    """The result of a request whose bundle stands there already; everything in it is held against the request.

    Raises:
        BundleExists: Something else stands there.
    """
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
        spec=spec,
        row_losses=row_losses_of(request.run_dir, request_digest(request)),
    )
