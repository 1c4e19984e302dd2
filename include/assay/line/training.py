"""Stations from a snapshot to a champion: train, judge, promote."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from assay.canonical import sha256_hex, utc_now
from assay.db import (
    ModelRow,
    Run,
    Snapshot,
    add_findings,
    champion,
    findings_of,
    get_model,
    get_run,
    list_promotions,
    put_model,
    put_run,
)
from assay.findings import Finding, Outcome, worst
from assay.ledger import Statement, ledger_public_key, model_key, sign_statement, signing_key
from assay.line.context import Line
from assay.line.errors import ChallengerRefused, RunInterrupted, RunNotTried, RunStopped
from assay.line.rows import trusted_table
from assay.line.snapshots import find_snapshot, manifest_of, snapshot_table
from assay.model import (
    BundleRefused,
    Change,
    LoadedModel,
    find_model,
    judge_model,
    load_bundle,
    make_card,
    model_public_key,
    read_spec,
    refuse,
    seal_bundle,
    set_judged,
)
from assay.model import promote as promote_model
from assay.model import rollback as rollback_model
from assay.quarantine import list_cases
from assay.train import CurvePoint, Event, RunResult, make_request, prepare, train_run

_CURVES_KEPT = 20


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
        RunInterrupted: The run was killed from outside; run again.
    """
    taken = find_snapshot(line, snapshot)
    table = snapshot_table(line, taken)
    work = line.work_dir(f"train-{taken.id[-12:]}-{line.contract.digest[:12]}")
    prepared = prepare(table, line.contract, work, source_column="_source")
    request = make_request(prepared, line.contract, snapshot_id=taken.id, out_dir=work / "bundle")
    with line.database.session() as session:
        known = get_run(session, request.run_id)
    if known is not None and known.status == "finished":
        return _known(line, known)
    result = train_run(
        request, contract=line.contract, accepted_curves=accepted_curves(line), on_event=on_event
    )
    if result.transient:
        raise RunInterrupted(
            f"the run was interrupted: {result.reason}",
            state="no bundle was written",
            next_step="run the station again",
        )
    facts = {
        "run": result.run_id,
        "snapshot": taken.id,
        "seed": request.seed,
        **_how(result),
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
        detail=facts,
    )
    if result.status != "finished" or result.bundle_dir is None:
        statement = line.statement(
            "run-finished",
            [(result.run_id, request.data_sha256)],
            facts,
            inputs=[(taken.id, taken.manifest_object)],
            findings=result.findings,
        )
        _register(line, run_row, result.findings, None, statement)
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
    """
    prepared = prepare(table, line.contract, work / "run")
    origin = f"table-{sha256[:32]}" if sha256 else "table-in-memory"
    request = make_request(prepared, line.contract, snapshot_id=origin, out_dir=work / "bundle")
    result = train_run(request, contract=line.contract, on_event=on_event)
    if result.bundle_dir is None:
        raise _no_model(result)
    spec = read_spec(result.bundle_dir / "spec.json")
    statement = line.statement(
        "run-finished",
        [(result.run_id, request.data_sha256), *_file_digests(result.bundle_dir)],
        {"run": result.run_id, "snapshot": None, "admitted": False, "seed": request.seed, **_how(result)},
        inputs=[(origin, sha256)],
        findings=result.findings,
    )
    model_key(line.settings)
    bundle, _ = seal_bundle(
        result.bundle_dir,
        out,
        card=make_card(spec, line.contract, snapshot=name, version=None, root=None, curve=result.findings),
        statement=sign_statement(statement, signing_key(line.settings)),
        private_key=_private(line),
    )
    return result, bundle


def judge(line: Line, model_id: str) -> dict[str, Any]:
    """Ask every gate about a challenger. One that is or was champion has its answer, and is not asked again.

    Returns:
        `model`, `accuracy` where it has one, and a `summary` for the reviewer.

    Raises:
        ChallengerRefused: A gate did not pass.
        BundleRefused: The bundle's signature or structure does not stand.
    """
    with line.database.session() as session:
        row = find_model(session, line.dataset, model_id)
        run = get_run(session, row.run_id)
        best = champion(session, line.dataset)
        if row.state in {"champion", "retired"}:
            return _answer(row.id, row.metrics, findings_of(session, row.id))
    before = load_model(line, best) if best is not None else None
    judgement = judge_model(
        load_model(line, row),
        line.contract,
        champion=before,
        trusted=trusted_table(line),
        curve=Outcome(run.curve_outcome) if run and run.curve_outcome else Outcome.NOT_CHECKED,
        ledger=worst(f.outcome for f in line.ledger.verify()),
        open_cases=blocking_cases(line, row.snapshot_id),
    )
    line.record(
        "gates-judged",
        [(row.id, _digest_of(row))],
        {
            "model": row.id,
            "passed": judgement.passed,
            "metrics": judgement.metrics,
            "gates_off": list(judgement.off),
            "champion": best.id if best else None,
        },
        inputs=[row.run_id, row.snapshot_id],
        findings=judgement.findings,
    )
    with line.database.write() as session:
        add_findings(session, row.id, judgement.findings)
    set_judged(line.database, row.id, passed=judgement.passed, metrics=judgement.metrics)
    if not judgement.passed:
        closed = [_line_of(f) for f in judgement.findings if f.outcome is not Outcome.PASSED]
        raise ChallengerRefused(
            f"the challenger {row.id} is refused: {'; '.join(closed)}",
            state="the champion is unchanged; the challenger's bundle is kept",
        )
    return _answer(row.id, judgement.metrics, judgement.findings)


def promote(line: Line, model_id: str, answer: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make a challenger that passed its gates the champion.

    Args:
        line: The open line.
        model_id: The challenger.
        answer: What the human-in-the-loop operator returned, where the contract asks for a human.

    Raises:
        ChallengerRefused: The human refused it.
    """
    by, reason = "gates", "all gates passed"
    if line.contract.review.promotion == "manual":
        user = (answer or {}).get("responded_by_user") or {}
        by = str(user.get("name") or user.get("id") or "timeout")
        reason = str(((answer or {}).get("params_input") or {}).get("reason") or "no answer in time")
        if (answer or {}).get("chosen_options") != ["Promote"]:
            refuse(line.database, model_id, by=by, reason=reason)
            raise ChallengerRefused(
                f"{by} refused the challenger {model_id}: {reason}", state="the champion is unchanged"
            )
    return promote_as(line, model_id, by, reason)


def promote_as(line: Line, model_id: str, by: str, reason: str) -> dict[str, Any]:
    """Make a challenger that passed its gates, and whose bundle still stands, the champion; `by` decided it."""
    check = partial(load_model, line)
    return record_change(
        line, promote_model(line.database, line.dataset, model_id, by=by, reason=reason, check=check)
    )


def roll_back(line: Line, to: str | None, by: str, reason: str) -> dict[str, Any]:
    """Bring an earlier champion back, if its bundle still stands."""
    check = partial(load_model, line)
    return record_change(
        line, rollback_model(line.database, line.dataset, to=to, by=by, reason=reason, check=check)
    )


def record_change(line: Line, change: Change) -> dict[str, Any]:
    """Enter a change of champion in the ledger; one that was entered before is not entered twice."""
    with line.database.session() as session:
        row = find_model(session, line.dataset, change.model_id)
    line.record(
        "model-promoted" if change.action == "promote" else "model-rolled-back",
        [(row.id, _digest_of(row))],
        {
            "model": row.id,
            "promotion": change.promotion_id,
            "by": change.by,
            "reason": change.reason,
            "previous": change.previous_id,
        },
    )
    return {
        "model": row.id,
        "previous": change.previous_id,
        "action": change.action,
        "by": change.by,
        "reason": change.reason,
        "repeated": change.repeated,
    }


def load_model(line: Line, row: ModelRow) -> LoadedModel:
    """Load a registered model after its signature, structure and identity have passed.

    Raises:
        BundleRefused: A check did not pass.
    """
    bundle = Path(row.bundle_uri)
    if not bundle.is_dir():
        raise BundleRefused(
            f"the bundle of {row.id} is gone",
            expected=str(bundle),
            next_step="restore it, or roll back to another model",
        )
    model = load_bundle(bundle, model_public_key(line.settings), ledger_key=ledger_public_key(line.settings))
    if model.id != row.id:
        raise BundleRefused(
            f"{row.bundle_uri} holds another model than the registry says",
            expected=row.id,
            found=model.id,
            next_step="restore the bundle, or roll back",
        )
    return model


def accepted_curves(line: Line) -> list[list[CurvePoint]]:
    """Curves of the data set's newest runs whose model was champion once; one whose bundle fell is left out."""
    with line.database.session() as session:
        chosen = [get_model(session, p.model_id) for p in list_promotions(session, line.dataset)]
    rows = {row.id: row for row in chosen if row is not None}
    curves = []
    for row in list(rows.values())[-_CURVES_KEPT:]:
        try:
            curves.append(list(load_model(line, row).curve))
        except BundleRefused:  # changed, moved away, or signed with a key of the past
            continue
    return curves


def blocking_cases(line: Line, snapshot_id: str) -> int:
    """Undecided cases about held deliveries that the snapshot, or one before it, admitted rows of."""
    admitted = {part.delivery_id for part in manifest_of(line, find_snapshot(line, snapshot_id)).parts}
    cases = list_cases(line.database, dataset=line.dataset, status="open")
    return sum(case.blocking and case.delivery_id in admitted for case in cases)


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
    )
    statement = line.statement(
        "run-finished",
        [(result.run_id, data_sha256), *_file_digests(result.bundle_dir)],
        facts,
        inputs=[(taken.id, taken.manifest_object)],
        findings=result.findings,
    )
    model_key(line.settings)
    bundle, digest = seal_bundle(
        result.bundle_dir,
        line.settings.home / "models" / line.dataset,
        card=card,
        statement=sign_statement(statement, signing_key(line.settings)),
        private_key=_private(line),
    )
    model = load_bundle(bundle, model_public_key(line.settings))
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
    _register(line, run_row, result.findings, row, statement)
    return row


def _register(
    line: Line, run: Run, findings: tuple[Finding, ...], model: ModelRow | None, statement: Statement
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


def _answer(model_id: str, metrics: Mapping[str, Any], findings: Iterable[Finding]) -> dict[str, Any]:
    """What `judge` returns for a model whose gates have passed."""
    summary = "\n".join(f"- {_line_of(f)}" for f in findings)[:600]
    return {"model": model_id, "accuracy": metrics.get("accuracy"), "summary": summary}


def _line_of(finding: Finding) -> str:
    return f"{finding.check}: {finding.outcome} ({finding.message})"


def _how(result: RunResult) -> dict[str, Any]:
    """How a run went, as its statement and the registry say it."""
    return {
        "status": result.status,
        # What a finished run says there is how long it took: a clock, which a second try would read otherwise.
        "reason": "" if result.status == "finished" else result.reason,
        "backend": result.backend,
        "backend_reason": result.backend_reason,
        "device": result.device,
        "versions": result.versions or {},
        "epochs": len(result.curve),
        "curve_outcome": str(result.curve_outcome),
    }


def _file_digests(bundle: Path) -> list[tuple[str, str]]:
    return [(path.name, sha256_hex(path.read_bytes())) for path in sorted(bundle.iterdir())]


def _no_model(result: RunResult) -> RunStopped | RunNotTried:
    """What to raise when a run made no bundle."""
    kind = RunNotTried if result.status == "not_checked" else RunStopped
    error = kind(
        f"the run {result.status.replace('_', ' ')}: {result.reason}",
        state="no model was made; the champion is unchanged",
        next_step="`assay doctor` says what is missing"
        if result.status == "not_checked"
        else "look at the curve checks of the run, and at what changed in data or contract",
    )
    error.result = result
    return error


def _private(line: Line) -> Path:
    return line.settings.model_key_file or line.settings.keys_dir / "model.pem"


def _digest_of(row: ModelRow) -> str:
    return str(row.metrics["digest"])
