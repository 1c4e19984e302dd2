"""Cases: rows that wait for a human, with the evidence, and what was decided on them.

A case's id comes from what it is about (delivery, kind, row numbers), so that a station that is run again finds the
case that it opened before.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.canonical import canonical_json
from assay.contract import Review
from assay.db import Case, Database, Decision, Delivery
from assay.ledger.rows.casenames import case_digest
from assay.ledger.rows.casenames import case_id as id_of
from assay.quarantine.errors import CaseUnknown
from assay.quarantine.rows import ADDED, Numbers, held_numbers, keep_rows, numbers_digest
from assay.store import ObjectStore, read_table

Kind = Literal["validation", "screening", "delivery"]

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""As `canonical.utc_now`: times are compared as text and must be of one form."""


@dataclass(frozen=True)
class DecisionView:
    """One decision: `release`, `reject` or `split`, by whom, why, when (UTC, ISO 8601), and where.

    Attributes:
        via: `page`, `cli` or `airflow` (its Required Actions); empty where nobody said.
    """

    id: str
    action: str
    reviewer: str
    reason: str
    decided_at: str
    via: str = ""


@dataclass(frozen=True)
class CaseView:
    """A case as it stands.

    Attributes:
        id: `case-` and 32 hexadecimal digits.
        digest: SHA-256 of what the id comes from, for statements.
        dataset: Name of the data set.
        delivery_id: The delivery whose rows these are.
        source: The source that delivered them.
        manifest_sha256: Digest of that delivery's manifest.
        kind: `validation`, `screening` or `delivery`.
        status: `open`, `released`, `rejected` or `split`.
        blocking: Whether the delivery waits for this case.
        rows: How many rows it holds.
        rows_object: The sealed object with the rows, None where the case has none.
        summary: One line for a reviewer.
        evidence: JSON-ready facts.
        opened_at: When it was opened.
        approvals: How many different reviewers must release it.
        on_timeout: What silence means: `reject` or `hold`.
        expires_at: When silence has lasted long enough; None: never.
        decisions: Oldest first.
        reviewers: Who may decide it; none: nobody in particular.
        no_self_approval: Whether who changed the contract that it was judged under may not release it.
        parent_id: The case that it was split from.
        children: Ids of the cases that it was split into.
    """

    id: str
    digest: str
    dataset: str
    delivery_id: str
    source: str
    manifest_sha256: str
    kind: str
    status: str
    blocking: bool
    rows: int
    rows_object: str | None
    summary: str
    evidence: dict[str, Any]
    opened_at: str
    approvals: int
    on_timeout: str
    expires_at: str | None
    decisions: tuple[DecisionView, ...] = ()
    reviewers: tuple[str, ...] = ()
    no_self_approval: bool = False
    parent_id: str | None = None
    children: tuple[str, ...] = ()

    @property
    def closing(self) -> DecisionView | None:
        """The decision that closed the case: the last release, the rejection or the split; None while it is open."""
        action = {"released": "release", "rejected": "reject", "split": "split"}.get(self.status)
        return next((each for each in reversed(self.decisions) if each.action == action), None)

    @property
    def decision_id(self) -> str | None:
        """Id of the decision that closed the case; None while it is open."""
        return None if self.closing is None else self.closing.id

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            **asdict(self),
            "decisions": [asdict(each) for each in self.decisions],
            "decision_id": self.decision_id,
        }


def open_case(
    database: Database,
    store: ObjectStore,
    *,
    dataset: str,
    delivery_id: str,
    kind: Kind,
    rows: pa.Table | None,
    summary: str,
    evidence: dict[str, Any],
    blocking: bool = False,
    review: Review | None = None,
) -> str:
    """Open a case, or find the one that was opened before about the same rows.

    The rows are stored, sealed, before the case is written: a process killed in between leaves an object that nobody
    refers to, and the next one goes on.

    Args:
        database: The registry; the delivery must stand in it.
        store: Where the rows are kept.
        dataset: Name of the data set.
        delivery_id: Whose rows.
        kind: Why they wait: `validation`, `screening`, or `delivery` for the delivery as a whole.
        rows: The rows with the column `_row` (their numbers in the delivery, int64); `_score`, `_p_value` and
            `_reasons` are kept where they are there. None for a case about the delivery as a whole.
        summary: One line for a reviewer.
        evidence: JSON-ready facts; bounded, for they are kept in the database.
        blocking: Whether the delivery waits for the decision.
        review: The contract's terms; they are kept with the case, so that a later contract cannot loosen them.

    Returns:
        The case's id.

    Raises:
        ValueError: `rows` lacks `_row`, or the evidence cannot be written as JSON.
        AssayError: The store or the database refused.
    """
    canonical_json(evidence)
    digest = case_digest(delivery_id, kind, numbers_digest(rows))
    case_id = id_of(digest)
    with database.session() as session:
        if session.get(Case, case_id) is not None:
            return case_id
    stored = None if rows is None else keep_rows(store, rows)
    opened = dt.datetime.now(dt.UTC)
    with database.write() as session:
        if session.get(Case, case_id) is None:
            session.add(
                Case(
                    id=case_id,
                    digest=digest,
                    dataset=dataset,
                    delivery_id=delivery_id,
                    kind=kind,
                    status="open",
                    blocking=blocking,
                    rows=0 if rows is None else rows.num_rows,
                    rows_object=None if stored is None else stored.sha256,
                    summary=summary,
                    evidence=evidence,
                    opened_at=opened.strftime(TIME_FORMAT),
                    approvals=review.approvals if review else 1,
                    on_timeout=review.on_timeout if review else "reject",
                    expires_at=(opened + review.timeout).strftime(TIME_FORMAT) if review else None,
                    terms=review.model_dump(mode="json", include={"reviewers", "no_self_approval"})
                    if review
                    else {},
                )
            )
    return case_id


def list_cases(
    database: Database,
    *,
    dataset: str | None = None,
    delivery_id: str | None = None,
    status: str | None = None,
    kind: str | None = None,
) -> list[CaseView]:
    """Cases with their decisions, oldest first."""
    query = select(Case).order_by(Case.opened_at, Case.id)
    for column, wanted in (
        (Case.dataset, dataset),
        (Case.delivery_id, delivery_id),
        (Case.status, status),
        (Case.kind, kind),
    ):
        if wanted is not None:
            query = query.where(column == wanted)
    with database.session() as session:
        return views(session, session.scalars(query).all())


def show_case(database: Database, case_id: str) -> CaseView:
    """One case, by its id or by an unambiguous beginning of it.

    Raises:
        CaseUnknown: None or several begin so.
    """
    with database.session() as session:
        return views(session, [find_case(session, case_id)])[0]


def case_rows(database: Database, store: ObjectStore, case_id: str) -> pa.Table:
    """The rows of a case with `_row`, `_score`, `_p_value` and `_reasons`; a case about a delivery has none.

    Raises:
        CaseUnknown: There is no such case.
        ObjectMissing: The store lacks the rows.
        StoreCorrupt: The stored rows are not those that were held.
    """
    with database.session() as session:
        stored = find_case(session, case_id).rows_object
    return ADDED.empty_table() if stored is None else read_table(store, stored)


def case_numbers(store: ObjectStore, case: CaseView | Case) -> Numbers:
    """The numbers of a case's rows in its delivery, ascending, int64: those that the case was opened about.

    Raises:
        ObjectMissing: The store lacks the rows.
        StoreCorrupt: The registry names other rows than those that were held.
    """
    if case.rows_object is None:
        return np.empty(0, np.int64)
    return held_numbers(
        store, case.rows_object, delivery_id=case.delivery_id, kind=case.kind, digest=case.digest
    )


def find_case(session: Session, case_id: str) -> Case:
    """The row of a case, by its id or by an unambiguous beginning of it (8 characters or more after `case-`).

    Raises:
        CaseUnknown: None or several begin so.
    """
    wanted = case_id if case_id.startswith("case-") else f"case-{case_id}"
    if (exact := session.get(Case, wanted)) is not None:
        return exact
    found = []
    if len(wanted) >= len("case-") + 6:
        escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        found = list(session.scalars(select(Case).where(Case.id.like(f"{escaped}%", escape="\\")).limit(5)))
    if len(found) == 1:
        return found[0]
    if found:
        raise CaseUnknown(
            f"several cases begin with {case_id!r}",
            found=", ".join(each.id for each in found),
            next_step="give more of the id",
        )
    raise CaseUnknown(f"there is no case {case_id!r}", next_step="`assay cases list` shows all cases")


def views(session: Session, cases: Iterable[Case]) -> list[CaseView]:
    """Rows of the table with what belongs to them, in the given order."""
    cases = list(cases)
    decisions: dict[str, list[DecisionView]] = {}
    deliveries: dict[str, Delivery] = {}
    ids = [case.id for case in cases]
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        for made in session.scalars(
            select(Decision).where(Decision.case_id.in_(some)).order_by(Decision.decided_at, Decision.id)
        ):
            decisions.setdefault(made.case_id, []).append(view_of(made))
    children: dict[str, list[str]] = {}
    parents = [case.id for case in cases if case.status == "split"]
    for start in range(0, len(parents), 500):
        some = parents[start : start + 500]
        for child, parent in session.execute(
            select(Case.id, Case.parent_id).where(Case.parent_id.in_(some)).order_by(Case.id)
        ):
            children.setdefault(str(parent), []).append(child)
    for delivery_id in {case.delivery_id for case in cases}:
        found = session.get(Delivery, delivery_id)
        assert found is not None, "a case's delivery is never deleted"
        deliveries[delivery_id] = found
    return [
        CaseView(
            id=case.id,
            digest=case.digest,
            dataset=case.dataset,
            delivery_id=case.delivery_id,
            source=deliveries[case.delivery_id].source,
            manifest_sha256=deliveries[case.delivery_id].manifest_sha256,
            kind=case.kind,
            status=case.status,
            blocking=case.blocking,
            rows=case.rows,
            rows_object=case.rows_object,
            summary=case.summary,
            evidence=dict(case.evidence),
            opened_at=case.opened_at,
            approvals=case.approvals,
            on_timeout=case.on_timeout,
            expires_at=case.expires_at,
            decisions=tuple(decisions.get(case.id, ())),
            reviewers=tuple((case.terms or {}).get("reviewers") or ()),
            no_self_approval=bool((case.terms or {}).get("no_self_approval")),
            parent_id=case.parent_id,
            children=tuple(children.get(case.id, ())),
        )
        for case in cases
    ]


def view_of(decision: Decision) -> DecisionView:
    """A decision's row for reading."""
    return DecisionView(
        decision.id,
        decision.action,
        decision.reviewer,
        decision.reason,
        decision.decided_at,
        decision.via or "",
    )
