"""The station from a snapshot to a challenger: one supervised run, its bundle sealed and entered."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from assay.canonical import utc_now
from assay.db import ModelRow, Run, Snapshot, add_findings, get_run, put_model, put_run
from assay.findings import Finding
from assay.ledger import Statement, model_key, sign_statement, signing_key
from assay.line.context import Line
from assay.line.errors import RunInterrupted, RunNotTried, RunStopped
from assay.line.judging import accepted_runs
from assay.line.provenance import curve_statement, file_digests, provenance
from assay.line.runs import dropped_shares, keep_curve, keep_row_losses, run_facts
from assay.line.snapshots import find_snapshot, snapshot_table
from assay.model import (
    LoadedModel,
    load_bundle,
    make_card,
    model_public_key,
    read_spec,
    seal_bundle,
)
from assay.train import Event, RunResult, make_request, prepare, train_run, training_digest


def train(
    line: Line, snapshot: str = "latest", *, on_event: Callable[[Event], None] | None = None
) -> dict[str, Any]:
    """One supervised run on a snapshot; a run that finished becomes a signed challenger.

    Returns:
        `run`, `model`, `backend`, `epochs` and the last `validation_loss`.

    Raises:
        NoSnapshot: There is nothing to train on.
        RunStopped: The run was stopped by a curve check, or failed.
        RunNotTried: A tool was missing.
        RunInterrupted: The run was killed from outside; run again, and it goes on from its last checkpoint.
    """
    taken = find_snapshot(line, snapshot)
    table = snapshot_table(line, taken)
    # Named after what decides the run: one that met a limit goes on from its checkpoint once the limit was raised.
    work = line.work_dir(f"train-{taken.id[-12:]}-{training_digest(line.contract)[:12]}")
    prepared = prepare(table, line.contract, work, source_column="_source")
    request = make_request(prepared, line.contract, snapshot_id=taken.id, out_dir=work / "bundle")
    with line.database.session() as session:
        known = get_run(session, request.run_id)
    if known is not None and known.status == "finished":
        return _known(line, known)
    result = train_run(
        request, contract=line.contract, accepted_curves=accepted_runs(line, request), on_event=on_event
    )
    if result.transient:
        raise _interrupted(result)
    facts = {
        "run": result.run_id,
        "snapshot": taken.id,
        "seed": request.seed,
        "row_losses": keep_row_losses(line, result.row_losses, table),
        **run_facts(request, result),
    }
    run_row = Run(
        id=result.run_id,
        dataset=line.dataset,
        snapshot_id=taken.id,
        contract_sha256=line.contract.digest,
        backend=result.backend,
        status=result.status,
        curve_outcome=str(result.curve_outcome),
        final_validation_loss=result.final_validation_loss,
        bundle_uri=None,
        finished_at=utc_now(),
        # How often it was killed in between stays out of the statement, which travels in the bundle: the same run makes
        # the same bundle.
        detail={**facts, "resumed": result.resumed, "curve": keep_curve(line, result, work)},
    )
    if result.status != "finished" or result.bundle_dir is None:
        statement = line.statement(
            "run-finished",
            [(result.run_id, request.data_sha256)],
            facts,
            inputs=[(taken.id, taken.manifest_object)],
            findings=result.findings,
        )
        curve = curve_statement(line, result, request.data_sha256)
        _register(line, run_row, result.findings, None, [statement, curve])
        raise _no_model(result)
    model = _seal(line, taken, result, request.data_sha256, facts, run_row)
    shutil.rmtree(work, ignore_errors=True)
    return {
        "run": result.run_id,
        "model": model.id,
        "backend": result.backend,
        "epochs": len(result.curve),
        "validation_loss": result.final_validation_loss,
    }


def train_table(line: Line, table: pa.Table) -> LoadedModel:
    """Train on a table outside the line, to compare with: nothing is registered or promoted, and no bundle is kept.

    Raises:
        RunStopped: The run did not finish.
        RunNotTried: A tool was missing.
    """
    work = line.work_dir(f"unregistered-{uuid.uuid4().hex[:12]}")
    try:
        _, bundle = train_apart(line, table, name="a table", sha256=None, out=work / "sealed", work=work)
        return load_bundle(bundle, model_public_key(line.settings))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def train_apart(
    line: Line,
    table: pa.Table,
    *,
    name: str,
    sha256: str | None,
    out: Path,
    work: Path,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[RunResult, Path]:
    """Train on a table that no snapshot holds. Its bundle is signed, but enters neither registry nor ledger.

    Args:
        line: The open line.
        table: Rows of the contract's types.
        name: What the card calls the table.
        sha256: Of the table's file; part of the run's id. None for a table that is in no file.
        out: Folder for the sealed bundle, which is named after its model's id.
        work: Scratch folder.
        on_event: Called with each event of the run.

    Raises:
        RunStopped: The run did not finish.
        RunNotTried: A tool was missing.
        RunInterrupted: The run was killed from outside.
    """
    prepared = prepare(table, line.contract, work / "run")
    origin = f"table-{sha256[:32]}" if sha256 else "table-in-memory"
    request = make_request(prepared, line.contract, snapshot_id=origin, out_dir=work / "bundle")
    result = train_run(request, contract=line.contract, on_event=on_event)
    if result.transient:
        raise _interrupted(result)
    if result.bundle_dir is None:
        raise _no_model(result)
    spec = read_spec(result.bundle_dir / "spec.json")
    statement = line.statement(
        "run-finished",
        [(result.run_id, request.data_sha256), *file_digests(result.bundle_dir)],
        {
            "run": result.run_id,
            "snapshot": None,
            "admitted": False,
            "seed": request.seed,
            **run_facts(request, result),
        },
        inputs=[(origin, sha256)],
        findings=result.findings,
    )
    bundle, _ = seal_bundle(
        result.bundle_dir,
        out,
        card=make_card(
            spec,
            line.contract,
            snapshot=name,
            version=None,
            root=None,
            curve=result.findings,
            dropped=dropped_shares(result),
        ),
        statement=sign_statement(statement, signing_key(line.settings)),
        private_key=model_key(line.settings),
    )
    return result, bundle


def _seal(
    line: Line, taken: Snapshot, result: RunResult, data_sha256: str, facts: dict[str, Any], run_row: Run
) -> ModelRow:
    """Sign the bundle, enter the run in the ledger, register both."""
    assert result.bundle_dir is not None
    spec = read_spec(result.bundle_dir / "spec.json")
    card = make_card(
        spec,
        line.contract,
        snapshot=taken.id,
        version=taken.version,
        root=taken.merkle_root,
        curve=result.findings,
        dropped=dropped_shares(result),
    )
    statement = line.statement(
        "run-finished",
        [(result.run_id, data_sha256), *file_digests(result.bundle_dir)],
        facts,
        inputs=[(taken.id, taken.manifest_object)],
        findings=result.findings,
    )
    bundle, digest = seal_bundle(
        result.bundle_dir,
        line.settings.home / "models" / line.dataset,
        card=card,
        statement=sign_statement(statement, signing_key(line.settings)),
        private_key=model_key(line.settings),
    )
    model = load_bundle(bundle, model_public_key(line.settings))
    curve = curve_statement(line, result, data_sha256)
    built = provenance(line, taken, statement, model_of=(model.id, digest), bundle=bundle, facts=facts)
    run_row.bundle_uri = str(bundle)
    row = ModelRow(
        id=model.id,
        dataset=line.dataset,
        run_id=result.run_id,
        snapshot_id=taken.id,
        state="challenger",
        bundle_uri=str(bundle),
        metrics={
            "digest": digest,
            "training_rows": taken.rows,
            **{k: v for k, v in spec.metrics.items() if v is not None},
        },
        made_at=utc_now(),
    )
    _register(line, run_row, result.findings, row, [statement, curve, built])
    return row


def _register(
    line: Line, run: Run, findings: tuple[Finding, ...], model: ModelRow | None, statements: list[Statement]
) -> None:
    with line.database.write() as session:
        known = put_run(session, run)
        if known is not run and known.status != "finished":  # an earlier try that made no model
            for name in (
                "status",
                "curve_outcome",
                "final_validation_loss",
                "bundle_uri",
                "finished_at",
                "detail",
            ):
                setattr(known, name, getattr(run, name))
        add_findings(session, run.id, findings)
        if model is not None:
            put_model(session, model)
        for statement in statements:
            line.ledger.append(statement, session=session)


def _known(line: Line, run: Run) -> dict[str, Any]:
    """What `train` returns for a run that is registered already."""
    with line.database.session() as session:
        from assay.db import list_models

        model = next(m for m in list_models(session, line.dataset) if m.run_id == run.id)
    return {
        "run": run.id,
        "model": model.id,
        "backend": run.backend,
        "epochs": run.detail["epochs"],
        "validation_loss": run.final_validation_loss,
    }


def _interrupted(result: RunResult) -> RunInterrupted:
    return RunInterrupted(
        f"the run was interrupted: {result.reason}",
        state="no bundle was written; checkpoints are kept",
        next_step="run the same again: it goes on from the last checkpoint",
    )


def _no_model(result: RunResult) -> RunStopped | RunNotTried:
    """What to raise when a run made no bundle."""
    kind = RunNotTried if result.status == "not_checked" else RunStopped
    error = kind(
        f"the run {result.status.replace('_', ' ')}: {result.reason}",
        state="no model was made; the champion is unchanged",
        next_step=_what_next(result),
    )
    error.result = result
    return error


def _what_next(result: RunResult) -> str:
    if result.status == "not_checked":
        return "`assay doctor` says what is missing"
    if result.resumable:
        return "mend what ended it and train again: the run goes on from its last checkpoint"
    return "look at the curve checks of the run, and at what changed in data or contract"
