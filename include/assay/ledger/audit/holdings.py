"""What the registry and the store hold, against what the signed statements say.

The log vouches for itself; this is about everything else. A decision, a promotion or a digest that somebody changed in
SQL no longer says what was signed; a row of a snapshot, a delivered file or a report that was changed in the store no
longer has the digest that was signed. Each finding names the row or object, and the entry that says otherwise.

Statements are read as they stand: whether they are genuine is what `assay.ledger.audit.verify` tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import (
    Case,
    Decision,
    Delivery,
    DeliveryFile,
    FindingRow,
    ModelRow,
    Promotion,
    Snapshot,
)
from assay.findings import Finding, Outcome
from assay.ledger.audit.heldobjects import check_cases, check_objects, check_snapshots
from assay.ledger.audit.report import Report
from assay.ledger.audit.stated import Stated, Statements, read_statements
from assay.ledger.log.ledger import Ledger
from assay.ledger.outside.compare import ledger_finding
from assay.store import ObjectStore

_WITH_FINDINGS = ("delivery-", "run-", "model-")  # what the registry keeps findings on
_MEANINGS = {
    "registry.delivery": "deliveries are what was verified",
    "registry.file": "the files of each delivery are those that were verified",
    "registry.case": "cases are those that were opened, and as they were decided",
    "registry.decision": "decisions are what the reviewers decided",
    "registry.snapshot": "snapshots are those that were admitted",
    "registry.model": "models are those that were trained, and the champion is the one that was promoted",
    "registry.promotion": "promotions are those that were decided",
    "registry.finding": "findings have the outcomes that were stated",
    "store.object": "delivered files and reports have the digests that were stated",
    "store.case": "the rows of each case are those that were held",
    "store.snapshot": "every row of every snapshot is the one that was admitted",
}


def verify_holdings(ledger: Ledger, store: ObjectStore | None) -> list[Finding]:
    """Compare the registry, and the store's objects, with the log's statements.

    Args:
        ledger: The log; the registry is in its database.
        store: The object store; None to leave its objects out, which is then said.

    Returns:
        One finding per failure, and one for each check that had something to look at. None for an empty registry.
    """
    report = Report(_MEANINGS, "looked_at")
    with ledger.database.session() as session:
        stated = read_statements(session)
        _deliveries(session, stated, report)
        _cases(session, stated, report)
        _snapshots(session, stated, report)
        _models(session, stated, report)
        _findings(session, stated, report)
        snapshots = list(session.scalars(select(Snapshot).order_by(Snapshot.dataset, Snapshot.version)))
        cases = list(session.scalars(select(Case).where(Case.rows_object.is_not(None)).order_by(Case.id)))
    if store is not None:
        check_objects(store, stated.objects, report)
        check_cases(store, cases, report)
        check_snapshots(store, snapshots, report)
    findings = report.findings()
    if store is None and (stated.objects or snapshots):
        left = f"{len(stated.objects)} objects and {len(snapshots)} snapshots in the store were not looked at"
        findings.append(ledger_finding("store.object", Outcome.NOT_CHECKED, "store", left, {}))
    return findings


# ------------------------------------------------------------------------------------------------------------- registry
def _compare(
    report: Report,
    check: str,
    kind: str,
    rows: Mapping[str, Mapping[str, Any]],
    stated: Mapping[str, Sequence[Stated]],
    *,
    unstated: Callable[[str], bool] = lambda _: False,
) -> None:
    """Each row must say what one of the statements about it says, and each statement must have its row.

    Args:
        report: Where failures go.
        check: The check's name.
        kind: What a row is, for people.
        rows: By id, the columns that statements speak of; `sha256` stands for the subject's digest.
        stated: By id, the statements.
        unstated: Whether a row may have no statement (yet).
    """
    for name, columns in rows.items():
        report.looked(check)
        said = stated.get(name, ())
        if not said:
            if not unstated(name):
                report.fail(check, name, f"no statement in the ledger tells of the {kind} {name}")
            continue
        most = max(len(_spoken_of(columns, one)) for one in said)  # not each statement speaks of each column
        fullest = [one for one in said if len(_spoken_of(columns, one)) == most]
        differences = [_differences(columns, one) for one in fullest]
        if all(differences):
            newest, column = fullest[-1], min(differences[-1])
            expected, found = differences[-1][column]
            report.fail(
                check,
                name,
                f"the {kind} {name} was changed: its {column} is not what entry {newest.position} says",
                entry=newest.position,
                column=column,
                expected=expected,
                found=found,
            )
    for name in stated.keys() - rows.keys():
        position = stated[name][-1].position
        report.fail(check, name, f"the {kind} {name} of entry {position} is gone", entry=position)


def _spoken_of(columns: Mapping[str, Any], said: Stated) -> dict[str, Any]:
    """What a statement says of a row's columns."""
    facts = {**said.facts, **({} if said.sha256 is None else {"sha256": said.sha256})}
    return {column: facts[column] for column in columns if column in facts}


def _differences(columns: Mapping[str, Any], said: Stated) -> dict[str, tuple[Any, Any]]:
    spoken = _spoken_of(columns, said)
    return {name: (value, columns[name]) for name, value in spoken.items() if value != columns[name]}


def _deliveries(session: Session, stated: Statements, report: Report) -> None:
    rows = list(session.scalars(select(Delivery)))
    landed = {row.id for row in rows if row.state == "landed"}
    columns = {
        row.id: {
            "sha256": row.manifest_sha256,
            "source": row.source,
            "publisher": row.publisher,
            "key": row.key_id,
            "sequence": row.sequence,
            "signed_at": row.signed_at,
            "contract_sha256": row.contract_sha256,
        }
        for row in rows
    }
    _compare(
        report, "registry.delivery", "delivery", columns, stated.deliveries, unstated=landed.__contains__
    )
    for row in rows:
        taken, said = stated.admitted.get(row.id), stated.verdicts.get(row.id)
        if taken is not None and row.state != "admitted":
            what, entry = "a snapshot took it in", taken.position
        elif said is not None and said.facts["verdict"] == "reject" and row.verdict != "reject":
            what, entry = "it was rejected", said.position
        else:
            continue
        report.fail(
            "registry.delivery",
            row.id,
            f"the delivery {row.id} is {row.state}, but entry {entry} says that {what}",
            entry=entry,
            found=f"{row.state} {row.verdict}",
        )
    listed: dict[str, dict[str, str]] = {}
    for file in session.scalars(select(DeliveryFile)):
        listed.setdefault(file.delivery_id, {})[file.path] = file.sha256
    for delivery, files in stated.files.items():
        known = listed.get(delivery, {})
        report.looked("registry.file", len(files))
        for path in sorted(files.keys() | known.keys()):
            said = files.get(path)
            if said is None or known.get(path) != said.sha256:
                first = next(iter(files.values())).position if files else None
                report.fail(
                    "registry.file",
                    f"{delivery} {path}",
                    f"the file {path} of {delivery} is not the one that was verified",
                    entry=first if said is None else said.position,
                    expected=None if said is None else said.sha256,
                    found=known.get(path),
                )


def _cases(session: Session, stated: Statements, report: Report) -> None:
    decisions = list(session.scalars(select(Decision)))
    _compare(
        report,
        "registry.decision",
        "decision",
        {
            row.id: {
                "case": row.case_id,
                "action": row.action,
                "reviewer": row.reviewer,
                "reason": row.reason,
                "decided_at": row.decided_at,
                "via": row.via or None,
            }
            for row in decisions
        },
        stated.decisions,
    )
    cases = list(session.scalars(select(Case)))
    _compare(
        report,
        "registry.case",
        "case",
        {
            row.id: {"sha256": row.digest, "kind": row.kind, "rows": row.rows, "parent": row.parent_id}
            for row in cases
        },
        stated.cases,
        unstated=lambda name: name not in stated.cases,
    )
    actions: dict[str, list[str]] = {}
    for said in (one for several in stated.decisions.values() for one in several[:1]):
        actions.setdefault(str(said.facts.get("case")), []).append(str(said.facts.get("action")))
    for row in cases:
        report.looked("registry.case")
        taken = actions.get(row.id, [])
        released = len([action for action in taken if action == "release"])
        fits = {
            "released": released > 0 and not {"reject", "split"} & set(taken),
            "rejected": "reject" in taken,
            "open": not {"reject", "split"} & set(taken),
            "split": "split" in taken,
        }
        if not fits.get(row.status, False):
            decided = ", ".join(taken) or "nothing"
            report.fail(
                "registry.case",
                row.id,
                f"the case {row.id} is {row.status}, but the ledger says that {decided} was decided",
                expected=decided,
                found=row.status,
            )

    _parts(cases, stated, report)


def _parts(cases: Sequence[Case], stated: Statements, report: Report) -> None:
    """A case that was split, and the parts that it was split into, hold the same number of rows."""
    held = {row.id: row.rows for row in cases}
    children: dict[str, set[str]] = {}
    for row in cases:
        if row.parent_id is not None:
            children.setdefault(row.parent_id, set()).add(row.id)
    for parent in sorted(stated.splits.keys() | children.keys()):
        said = stated.splits.get(parent)
        listed = {str(item["case"]) for item in said.facts["cases"]} if said is not None else set()
        found = children.get(parent, set())
        rows = sum(held.get(child, 0) for child in found)
        report.looked("registry.case")
        if found != listed or rows != held.get(parent):
            report.fail(
                "registry.case",
                parent,
                f"the parts of the case {parent} are not those that it was split into",
                entry=None if said is None else said.position,
                expected=f"{', '.join(sorted(listed)) or 'none'} with {held.get(parent)} rows together",
                found=f"{', '.join(sorted(found)) or 'none'} with {rows} rows together",
            )


def _snapshots(session: Session, stated: Statements, report: Report) -> None:
    rows = {
        row.id: {
            "sha256": row.manifest_object,
            "merkle_root": row.merkle_root,
            "version": row.version,
            "parent": row.parent_id,
            "rows": row.rows,
            "dataset": row.dataset,
        }
        for row in session.scalars(select(Snapshot))
    }
    _compare(report, "registry.snapshot", "snapshot", rows, stated.snapshots)


def _models(session: Session, stated: Statements, report: Report) -> None:
    models = list(session.scalars(select(ModelRow)))
    _compare(
        report,
        "registry.model",
        "model",
        {row.id: {"snapshot": row.snapshot_id, "run": row.run_id, "dataset": row.dataset} for row in models},
        {name: said for name, said in stated.models.items() if models},
    )
    promotions = list(session.scalars(select(Promotion).order_by(Promotion.position)))
    _compare(
        report,
        "registry.promotion",
        "promotion",
        {
            row.id: {
                "model": row.model_id,
                "previous": row.previous_id,
                "by": row.by,
                "reason": row.reason,
                "decided_at": row.at,
                "action": row.action,
                "dataset": row.dataset,
            }
            for row in promotions
        },
        stated.promotions,
    )
    champions: dict[str, str] = {}
    for change in promotions:
        if change.previous_id != champions.get(change.dataset):
            report.fail(
                "registry.promotion",
                change.id,
                f"the promotion {change.id} does not follow the one before it: an earlier one is gone or was moved",
                expected=champions.get(change.dataset),
                found=change.previous_id,
            )
        champions[change.dataset] = change.model_id
    for row in models:
        if (row.state == "champion") != (champions.get(row.dataset) == row.id):
            report.fail(
                "registry.model",
                row.id,
                f"the model {row.id} is {row.state}, but the champion that was promoted last is "
                f"{champions.get(row.dataset) or 'none'}",
                expected=champions.get(row.dataset),
                found=row.state,
            )


def _findings(session: Session, stated: Statements, report: Report) -> None:
    known = session.execute(select(FindingRow.subject_id, FindingRow.check))
    kept = {(str(subject), str(check)) for subject, check in known}
    for subject, check in sorted(stated.outcomes.keys() - kept):
        if subject.startswith(_WITH_FINDINGS):
            report.fail("registry.finding", f"{subject} {check}", f"the finding {check} on {subject} is gone")
    for row in session.scalars(select(FindingRow)):
        said = stated.outcomes.get((row.subject_id, row.check))
        try:
            whole = Finding.model_validate(row.body)
            genuine = (whole.id, whole.check, str(whole.outcome)) == (row.id, row.check, row.outcome)
        except ValueError:
            genuine = False
        report.looked("registry.finding")
        if not genuine or (said is not None and row.outcome not in said):
            report.fail(
                "registry.finding",
                f"{row.subject_id} {row.check}",
                f"the finding {row.check} on {row.subject_id} was changed",
                expected=", ".join(sorted(said)) if said else row.id,
                found=row.outcome,
            )
