"""The part of a bundle that the trainer writes: weights, spec, curve, and Flux's own file. Signing comes later."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from assay.canonical import sha256_hex
from assay.train.backends import Trainer
from assay.train.errors import BundleExists
from assay.train.network.spec import BundleSpec, PrivacyReport, RowCounts, WeightSpec, Yardsticks
from assay.train.records.curvefile import CurvePoint, write_curve
from assay.train.setup.request import TrainRequest

WEIGHTS_FILE = "weights.safetensors"
SPEC_FILE = "spec.json"
CURVE_FILE = "curve.parquet"
NATIVE_FILE = "model.jls"


def partial_of(out_dir: Path) -> Path:
    """Where a bundle grows until it is complete."""
    return out_dir.with_name(f".{out_dir.name}.partial")


def write_bundle(
    request: TrainRequest,
    trainer: Trainer,
    curve: Sequence[CurvePoint],
    *,
    train_rows: int,
    yardsticks: Yardsticks,
    out_dir: Path,
    best_epoch: int,
    stopped_because: str | None = None,
    privacy: PrivacyReport | None = None,
) -> BundleSpec:
    """Write the bundle directory whole, then rename it into place.

    Args:
        request: What was asked for.
        trainer: The trained backend.
        curve: One point per epoch.
        train_rows: Rows learned from.
        yardsticks: What the losses were held against.
        out_dir: The directory to make.
        best_epoch: The epoch whose weights the trainer has, counted from 1.
        stopped_because: Why the run ended before its last epoch.
        privacy: What a private run spent.

    Everything in it follows from the request: no clock, no path, no process id.

    Raises:
        BundleExists: `out_dir` is there already.
        OSError: No room, or no right to write.
    """
    from safetensors.numpy import save_file

    if out_dir.exists():
        raise BundleExists(f"{out_dir} exists", next_step="remove it, or name another directory")
    partial = partial_of(out_dir)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    arrays = {name: np.ascontiguousarray(array) for name, array in trainer.weights().items()}
    save_file(arrays, partial / WEIGHTS_FILE)
    trainer.save_native(partial)
    write_curve(partial / CURVE_FILE, curve)
    best = curve[best_epoch - 1]
    spec = BundleSpec(
        run_id=request.run_id,
        dataset=request.dataset,
        snapshot_id=request.snapshot_id,
        contract_sha256=request.contract_sha256,
        data_sha256=request.data_sha256,
        task=request.task,
        label=request.label,
        classes=request.classes,
        source_names=request.source_names,
        layers=request.layers,
        dtype=request.dtype,
        loss=request.loss,
        optimizer=request.optimizer,
        schedule=request.schedule,
        early_stopping=request.early_stopping,
        aggregation=request.aggregation,
        privacy=privacy,
        seed=request.seed,
        epochs=len(curve),
        best_epoch=best_epoch,
        stopped_because=stopped_because,
        batch_size=request.batch_size,
        backend=request.backend,
        backend_reason=request.backend_reason,
        device="gpu" if trainer.device == "gpu" else "cpu",
        device_name=trainer.device_name,
        versions=trainer.versions,
        preprocessing=dict(request.preprocessing),
        features=request.features,
        rows=RowCounts(train=train_rows, validation=yardsticks.validation_rows),
        yardsticks=yardsticks,
        metrics={
            "train_loss": best.train_loss,
            "validation_loss": best.validation_loss,
            "accuracy" if request.task == "classification" else "r2": (
                best.accuracy if request.task == "classification" else best.r2
            ),
        },
        parameter_count=request.parameter_count,
        weights=tuple(
            WeightSpec(name=name, shape=array.shape, dtype=request.dtype, sha256=sha256_hex(array.tobytes()))
            for name, array in arrays.items()
        ),
    )
    (partial / SPEC_FILE).write_text(spec.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
    for path in partial.iterdir():
        path.chmod(0o600)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    partial.rename(out_dir)
    return spec
