"""Deliveries: the list, and one with every check that was asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assay.console.desk import Desk, missing
from assay.console.lines import case_lines, delivery_lines, finding_lines, finding_rows
from assay.console.paging import Page, newest_first
from assay.console.reproduce import commands, contract_option
from assay.console.statements import statements
from assay.db import (
    Case,
    Decision,
    Delivery,
    FindingRow,
    Snapshot,
    SnapshotDelivery,
    delivery_files,
    get_delivery,
)
from assay.findings import Outcome, worst
from assay.line.cells import facts

MOST_FILES = 1_000
MOST_CASES = 500


def deliveries(
    desk: Desk,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    datasets: Iterable[str] | None = None,
    dataset: str | None = None,
    source: str | None = None,
    state: str | None = None,
    verdict: str | None = None,
) -> Page:
    """Deliveries, newest first.

    Raises:
        BadQuery: The limit or the cursor cannot be understood.
    """
    asked = ((Delivery.source, source), (Delivery.state, state), (Delivery.verdict, verdict))
    with desk.session() as session:
        return newest_first(
            session,
            Delivery,
            Delivery.first_seen,
            names=desk.chosen(dataset, datasets),
            order="seen",
            limit=limit,
            cursor=cursor,
            show=lambda rows: delivery_lines(session, rows),
            where=[column == wanted for column, wanted in asked if wanted],
        )


def delivery(desk: Desk, delivery_id: str) -> dict[str, Any]:
    """One delivery with its steps, checks, files and cases.

    Raises:
        NotFound: There is none.
    """
    with desk.session() as session:
        found = get_delivery(session, delivery_id)
        if found is None:
            raise missing("delivery", delivery_id, "the list of deliveries shows all")
        checks = finding_rows(session, found.id)
        cases = list(
            session.scalars(
                select(Case)
                .where(Case.delivery_id == found.id)
                .order_by(Case.opened_at, Case.id)
                .limit(MOST_CASES)
            )
        )
        files = delivery_files(session, found.id)
        snapshots = session.execute(
            select(Snapshot.id, Snapshot.version, Snapshot.admitted_at)
            .join(SnapshotDelivery, SnapshotDelivery.snapshot_id == Snapshot.id)
            .where(SnapshotDelivery.delivery_id == found.id)
            .order_by(Snapshot.version)
        ).all()
        (line,) = delivery_lines(session, [found])
        return {
            **line,
            "uri": found.uri,
            "key_id": found.key_id,
            "sequence": found.sequence,
            "contract_sha256": found.contract_sha256,
            "manifest_sha256": found.manifest_sha256,
            "steps": _steps(session, found, checks, cases, snapshots),
            "files": [
                {"path": facts(file.path), "sha256": file.sha256, "size": file.size}
                for file in files[:MOST_FILES]
            ],
            "more_files": max(0, len(files) - MOST_FILES),
            "findings": finding_lines(checks),
            "cases": case_lines(session, cases),
            "why_held": _why(found, checks),
            "snapshots": [{"id": name, "version": version} for name, version, _ in snapshots],
            "reproduce": _reproduce(desk, found),
            "statements": statements(session, found.id),
        }


def _why(found: Delivery, checks: Sequence[FindingRow]) -> list[str]:
    """Why it is held or was rejected, in the words of the stations."""
    detail = found.detail or {}
    why = [facts(str(reason)) for reason in (detail.get("screen") or {}).get("why_held") or ()]
    if not why and found.verdict == "reject":
        why = [
            facts(f"{row.check}: {(row.body or {}).get('message', '')}")
            for row in checks
            if row.outcome == "failed"
        ]
    return why[:50]


def _steps(
    session: Session,
    found: Delivery,
    checks: Sequence[FindingRow],
    cases: Sequence[Case],
    snapshots: Sequence[Any],
) -> list[dict[str, Any]]:
    """How far it came; a step that was not reached is not checked."""
    detail = found.detail or {}
    verified = [row for row in checks if row.check.startswith("intake.")]
    validated = [row for row in checks if row.check.startswith("expect.")]
    screened = [row for row in checks if row.check.startswith("screen.")]
    validation, screen = detail.get("validation"), detail.get("screen")
    return [
        _step("verify", _worst(verified), found.first_seen, _told(verified)),
        _step(
            "validate",
            _worst(validated),
            _newest(validated),
            "not reached"
            if not validated
            else f"{_told(validated)}; {(validation or {}).get('failing', 0)} rows fail"
            if validation
            else _told(validated),
        ),
        _step(
            "screen",
            "not_checked" if screen is None else "failed" if screen.get("why_held") else "passed",
            _newest(screened),
            "not reached"
            if screen is None
            else f"{screen.get('quarantined', 0)} of {screen.get('rows', 0)} rows are in quarantine; {_told(screened)}",
        ),
        _review(session, found, cases),
        _admitted(found, snapshots),
    ]


def _review(session: Session, found: Delivery, cases: Sequence[Case]) -> dict[str, Any]:
    blocking = [case for case in cases if case.blocking and case.status != "split"]
    waiting = sum(case.status == "open" for case in blocking)
    reached = found.state in {"held", "admitted", "screened"} or (found.state == "rejected" and bool(cases))
    if not reached:
        return _step("review", "not_checked", None, "not reached")
    if not blocking:
        kept = f"; {len(cases)} cases of quarantined rows wait for nobody" if cases else ""
        return _step("review", "passed", None, f"nobody had to decide{kept}")
    last = session.scalar(
        select(func.max(Decision.decided_at)).where(Decision.case_id.in_([case.id for case in blocking]))
    )
    if waiting:
        return _step("review", "not_checked", last, f"{waiting} of {len(blocking)} cases wait for a decision")
    refused = any(case.kind == "delivery" and case.status == "rejected" for case in blocking)
    said = "the delivery was rejected" if refused else f"all {len(blocking)} cases were decided"
    return _step("review", "failed" if refused else "passed", last, said)


def _admitted(found: Delivery, snapshots: Sequence[Any]) -> dict[str, Any]:
    if found.state == "admitted" and snapshots:
        name, version, at = snapshots[0]
        return _step("admit", "passed", at, f"version {version} of the snapshot took it in ({name})")
    if found.state == "admitted":
        return _step("admit", "passed", None, "it was admitted")
    if found.state == "rejected":
        return _step("admit", "failed", None, "rejected: none of its rows was admitted")
    return _step("admit", "not_checked", None, "not reached")


def _step(name: str, outcome: str, at: str | None, summary: str) -> dict[str, Any]:
    return {"name": name, "outcome": outcome, "at": at, "summary": summary}


def _worst(rows: Sequence[FindingRow]) -> str:
    return str(worst(Outcome(row.outcome) for row in rows if row.outcome in set(Outcome)))


def _told(rows: Sequence[FindingRow]) -> str:
    counts = Counter(row.outcome for row in rows)
    return (
        ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in counts) if counts else "not reached"
    )


def _newest(rows: Sequence[FindingRow]) -> str | None:
    return max((row.found_at for row in rows), default=None)


def _reproduce(desk: Desk, found: Delivery) -> list[dict[str, str]]:
    contract = contract_option(desk, found.dataset)
    wanted = [
        ("What the ledger says of it, with every check", ["ledger", "trace", found.id]),
        ("Its cases", ["cases", "list", "--delivery", found.id, "--status", "all"]),
        ("A proof of its statements, to check without us", ["ledger", "prove", found.id]),
        ("That its files are the ones that were signed", ["ledger", "verify"]),
    ]
    if contract and found.state == "admitted":
        wanted.append(
            ("Prove what its source offers now", ["verify", found.uri, *contract, "--source", found.source])
        )
    return commands(desk, *wanted)
