"""Stations from a challenger to a champion: ask the gates, promote, roll back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from assay.canonical import file_sha256
from assay.db import (
    ModelRow,
    add_findings,
    champion,
    findings_of,
    get_model,
    get_run,
    get_snapshot,
    list_promotions,
)
from assay.findings import Finding, Outcome, Scope, Severity, worst
from assay.line.context import Line
from assay.line.errors import ChallengerRefused
from assay.line.rows import trusted_table
from assay.line.snapshots import find_snapshot, manifest_of
from assay.model import (
    BundleRefused,
    Change,
    Judgement,
    LoadedModel,
    find_model,
    judge_model,
    load_bundle,
    model_public_key,
    set_judged,
)
from assay.model import promote as promote_model
from assay.model import rollback as rollback_model
from assay.model.signing import SIGNATURE_FILE
from assay.quarantine import list_cases
from assay.train import BundleSpec, TrainRequest
from assay.train.curve import AcceptedRun
from assay.train.network.spec import PrivacyReport

_RUNS_KEPT = 20


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
    try:
        challenger = load_model(line, row, thorough=True)
    except BundleRefused as error:
        if worst(f.outcome for f in error.findings) is Outcome.FAILED:
            _keep(
                line, row, best, Judgement(error.findings, {"judged_against": best.id if best else None}, ())
            )
        raise
    judgement = judge_model(
        challenger,
        line.contract,
        champion=before,
        trusted=trusted_table(line),
        curve=Outcome(run.curve_outcome) if run and run.curve_outcome else Outcome.NOT_CHECKED,
        ledger=worst(f.outcome for f in line.ledger.verify()),
        open_cases=blocking_cases(line, row.snapshot_id),
    )
    _keep(line, row, best, judgement)
    if not judgement.passed:
        closed = [_line_of(f) for f in judgement.findings if f.outcome is not Outcome.PASSED]
        raise ChallengerRefused(
            f"the challenger {row.id} is refused: {'; '.join(closed)}",
            state="the champion is unchanged; the challenger's bundle is kept",
        )
    return _answer(row.id, judgement.metrics, judgement.findings)


def _keep(line: Line, row: ModelRow, best: ModelRow | None, judgement: Judgement) -> None:
    """Enter what was found about a challenger in the ledger and the registry."""
    line.record(
        "gates-judged",
        [(row.id, digest_of(row))],
        {
            "model": row.id,
            "passed": judgement.passed,
            "metrics": judgement.metrics,
            "gates_off": list(judgement.off),
            "champion": best.id if best else None,
        },
        inputs=_made_from(line, row),
        findings=judgement.findings,
    )
    with line.database.write() as session:
        add_findings(session, row.id, judgement.findings)
    set_judged(line.database, row.id, passed=judgement.passed, metrics=judgement.metrics)


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
        [(row.id, digest_of(row))],
        {
            "model": row.id,
            "promotion": change.promotion_id,
            "by": change.by,
            "reason": change.reason,
            "decided_at": change.at,
            "previous": change.previous_id,
        },
        inputs=_made_from(line, row),
    )
    return {
        "model": row.id,
        "previous": change.previous_id,
        "action": change.action,
        "by": change.by,
        "reason": change.reason,
        "repeated": change.repeated,
    }


def load_model(line: Line, row: ModelRow, *, thorough: bool = False) -> LoadedModel:
    """Load a registered model after its signature, structure and identity have passed; `thorough` as in `load_bundle`.

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
    _expect_logged_signature(line, row, bundle)
    model = load_bundle(
        bundle,
        model_public_key(line.settings),
        ledger_key=line.ledger.public_key if line.ledger.has_key else None,
        thorough=thorough,
    )
    if model.id != row.id:
        raise BundleRefused(
            f"{row.bundle_uri} holds another model than the registry says",
            expected=row.id,
            found=model.id,
            next_step="restore the bundle, or roll back",
        )
    return model


def _expect_logged_signature(line: Line, row: ModelRow, bundle: Path) -> None:
    """Refuse a bundle with another signature than the one whose digest the ledger binds.

    A model without provenance in the ledger was registered by other means; its bundle is judged by its signature alone.
    """
    for entry in reversed(line.ledger.entries(row.id, role="subject")):
        statement = line.ledger.read(entry)
        if statement.step != "run-provenance":
            continue
        expected = {subject.name: subject.sha256 for subject in statement.subjects}.get(SIGNATURE_FILE)
        signature = bundle / SIGNATURE_FILE
        found = file_sha256(signature) if signature.is_file() else None
        if found != expected:
            raise BundleRefused(
                f"the bundle of {row.id} does not have the signature that the ledger binds",
                findings=[
                    Finding(
                        check="model.logged_signature",
                        outcome=Outcome.FAILED,
                        severity=Severity.CRITICAL,
                        scope=Scope.MODEL,
                        subject=row.id,
                        message=f"entry {entry.position} names another signature than the bundle has",
                        evidence={"expected": expected, "found": found},
                    )
                ],
                expected=expected,
                found=found or "no signature",
                next_step="restore the bundle, or roll back",
            )
        return


def accepted_runs(line: Line, request: TrainRequest) -> list[AcceptedRun]:
    """The data set's newest runs whose model was champion once and that the request's run can be compared with.

    Those that learned something else (another loss, other classes, another network, another privacy) are left out, and
    so is one whose bundle fell.
    """
    with line.database.session() as session:
        chosen = [get_model(session, p.model_id) for p in list_promotions(session, line.dataset)]
    rows = {row.id: row for row in chosen if row is not None}
    found = []
    for row in list(rows.values())[-_RUNS_KEPT:]:
        try:
            model = load_model(line, row)
        except BundleRefused:  # changed, moved away, or signed with a key of the past
            continue
        if learned(model.spec) == learned(request):
            found.append(AcceptedRun(model.curve, model.spec.yardsticks))
    return found


def learned(what: BundleSpec | TrainRequest) -> tuple[object, ...]:
    """What two runs must share for their curves to be comparable; sizes that follow from the data may differ."""
    privacy = what.privacy.settings if isinstance(what.privacy, PrivacyReport) else what.privacy
    sizes = ("activation", "out", "dim", "kernel")
    layers = tuple((layer.type, *(getattr(layer, name, None) for name in sizes)) for layer in what.layers)
    loss = what.loss.name, what.loss.huber_delta, what.loss.class_weights is None
    return loss, what.task, what.classes, layers, privacy, what.aggregation.name


def blocking_cases(line: Line, snapshot_id: str) -> int:
    """Undecided cases about held deliveries that the snapshot, or one before it, admitted rows of."""
    admitted = {part.delivery_id for part in manifest_of(line, find_snapshot(line, snapshot_id)).parts}
    cases = list_cases(line.database, dataset=line.dataset, status="open")
    return sum(case.blocking and case.delivery_id in admitted for case in cases)


def _answer(model_id: str, metrics: Mapping[str, Any], findings: Iterable[Finding]) -> dict[str, Any]:
    """What `judge` returns for a model whose gates have passed."""
    summary = "\n".join(f"- {_line_of(f)}" for f in findings)[:600]
    return {"model": model_id, "accuracy": metrics.get("accuracy"), "summary": summary}


def _line_of(finding: Finding) -> str:
    return f"{finding.check}: {finding.outcome} ({finding.message})"


def _made_from(line: Line, row: ModelRow) -> list[tuple[str, str | None] | str]:
    """A model's run and snapshot, for statements about it, each with the digest that its own statement gave it."""
    with line.database.session() as session:
        snapshot = get_snapshot(session, row.snapshot_id)
    told = line.ledger.entries(row.run_id, role="subject")
    run = next((s.sha256 for e in told for s in line.ledger.read(e).subjects if s.name == row.run_id), None)
    return [(row.run_id, run), (row.snapshot_id, snapshot.manifest_object if snapshot else None)]


def digest_of(row: ModelRow) -> str:
    """A model's digest over its files, as its statements have it."""
    return str(row.metrics["digest"])
