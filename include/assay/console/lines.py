"""One line of each kind of thing, as lists show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assay.console.desk import chunks
from assay.db import Case, Decision, Delivery, FindingRow, ModelRow, Run
from assay.line.cells import facts, number

_ORDER = {"failed": 0, "not_checked": 1, "passed": 2}
_SEVERITY = {"critical": 0, "high": 1, "medium": 2, "low": 3, "info": 4}


def case_lines(session: Session, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Cases with who has released them so far."""
    approved: dict[str, list[str]] = {}
    for some in chunks([case.id for case in cases]):
        made = session.execute(
            select(Decision.case_id, Decision.reviewer)
            .where(Decision.case_id.in_(some), Decision.action == "release")
            .order_by(Decision.decided_at, Decision.id)
        )
        for case_id, reviewer in made:
            approved.setdefault(case_id, []).append(reviewer)
    return [
        {
            "id": case.id,
            "dataset": case.dataset,
            "delivery_id": case.delivery_id,
            "source": case.source,
            "kind": case.kind,
            "status": case.status,
            "blocking": bool(case.blocking),
            "rows": case.rows,
            "summary": case.summary,
            "opened_at": case.opened_at,
            "expires_at": case.expires_at,
            "approvals": case.approvals,
            "approved_by": approved.get(case.id, []),
            "on_timeout": case.on_timeout,
        }
        for case in cases
    ]


def delivery_lines(session: Session, deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    """Deliveries with how many of their cases wait."""
    waiting: dict[str, int] = {}
    for some in chunks([delivery.id for delivery in deliveries]):
        counted = session.execute(
            select(Case.delivery_id, func.count())
            .where(Case.delivery_id.in_(some), Case.status == "open")
            .group_by(Case.delivery_id)
        )
        waiting.update({name: int(count) for name, count in counted})
    return [
        {
            "id": each.id,
            "dataset": each.dataset,
            "source": each.source,
            "publisher": each.publisher,
            "state": each.state,
            "verdict": each.verdict,
            "rows": each.rows,
            "first_seen": each.first_seen,
            "signed_at": each.signed_at,
            "open_cases": waiting.get(each.id, 0),
        }
        for each in deliveries
    ]


def run_line(run: Run) -> dict[str, Any]:
    """A run that ended."""
    return {
        "id": run.id,
        "dataset": run.dataset,
        "snapshot_id": run.snapshot_id,
        "backend": run.backend,
        "device": (run.detail or {}).get("device"),
        "status": run.status,
        "curve_outcome": run.curve_outcome,
        "final_validation_loss": number(run.final_validation_loss),
        "finished_at": run.finished_at,
        "live": False,
    }


def model_line(model: ModelRow) -> dict[str, Any]:
    """A model with its figures."""
    return {
        "id": model.id,
        "dataset": model.dataset,
        "state": model.state,
        "made_at": model.made_at,
        "run_id": model.run_id,
        "snapshot_id": model.snapshot_id,
        "metrics": facts(model.metrics or {}),
    }


def finding_rows(session: Session, subject_id: str) -> list[FindingRow]:
    """What was found about a thing, as it is kept."""
    query = select(FindingRow).where(FindingRow.subject_id == subject_id)
    return list(session.scalars(query.order_by(FindingRow.check, FindingRow.id)))


def finding_lines(rows: Sequence[FindingRow]) -> list[dict[str, Any]]:
    """Findings: failed first, then not checked, then passed; the gravest first, then by check."""
    out = []
    for row in rows:
        body = row.body
        out.append(
            {
                "id": row.id,
                "check": row.check,
                "outcome": row.outcome,
                "severity": row.severity,
                "scope": str(body.get("scope") or ""),
                "subject": str(body.get("subject") or ""),
                "message": facts(str(body.get("message") or "")),
                "technique": body.get("technique"),
                "evidence": facts(body.get("evidence") or {}),
            }
        )
    return sorted(
        out,
        key=lambda each: (
            _ORDER.get(each["outcome"], 1),
            _SEVERITY.get(each["severity"], 5),
            each["check"],
            each["subject"],
        ),
    )
