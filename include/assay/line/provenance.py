"""What a run says beside its own statement: how its curve was judged, and what its model was built from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.canonical import file_sha256
from assay.db import Snapshot
from assay.ledger import BUILD_TYPE, BUILDER, Statement, check_predicate, code_version, make_statement
from assay.line.context import Line
from assay.train import RunResult

_MACHINE = ("seed", "backend", "backend_reason", "device", "device_name", "versions")


def file_digests(bundle: Path) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file of a bundle, by name."""
    return [(path.name, file_sha256(path)) for path in sorted(bundle.iterdir())]


def curve_statement(line: Line, result: RunResult, data_sha256: str) -> Statement:
    """The curve checks' answers on a run; the curve itself is a subject where a bundle keeps it.

    Args:
        line: The open line.
        result: The run.
        data_sha256: Digest of the arrays that it learned from.
    """
    spec = result.spec
    curve = result.bundle_dir / "curve.parquet" if result.bundle_dir else None
    return line.statement(
        "curve-checked",
        [
            (result.run_id, data_sha256),
            *([(curve.name, file_sha256(curve))] if curve is not None and curve.is_file() else []),
        ],
        {
            "run": result.run_id,
            "outcome": str(result.curve_outcome),
            "epochs": len(result.curve),
            "best_epoch": spec.best_epoch if spec else None,
        },
        findings=result.findings,
    )


def provenance(
    line: Line,
    snapshot: Snapshot,
    run: Statement,
    *,
    model_of: tuple[str, str],
    bundle: Path,
    facts: dict[str, Any],
) -> Statement:
    """SLSA provenance v1 of a model: from which snapshot, under which contract, with which code it was built.

    Its subjects are the model, every file of the sealed bundle, and the bundle's signature: the log binds that very
    signature, so that another one over the same files is noticed.

    Args:
        line: The open line.
        snapshot: What it was trained on.
        run: The run's own statement.
        model_of: The model's id and its bundle's digest.
        bundle: The sealed bundle.
        facts: The run's facts.
    """
    code = code_version()
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "dataset": line.dataset,
                "snapshot": snapshot.id,
                "training": line.contract.training.model_dump(mode="json"),
            },
            "internalParameters": {name: facts[name] for name in _MACHINE},
        },
        "runDetails": {
            "builder": {"id": BUILDER, "version": {code["name"]: code["version"]}},
            "metadata": {"invocationId": facts["run"]},
        },
    }
    statement = make_statement(
        "run-provenance",
        [model_of, *file_digests(bundle)],
        predicate,
        inputs=[
            (snapshot.id, snapshot.manifest_object),
            (f"contract:{line.dataset}", line.contract.digest),
            (code["name"], code["sha256"]),
            (facts["run"], run.subjects[0].sha256),
        ],
    )
    check_predicate("run-provenance", statement.predicate)
    return statement
