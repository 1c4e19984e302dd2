"""Splitting a case: some of its rows become one case, the rest another, and each is decided on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from assay.canonical import content_id
from assay.db import Case, Database, Decision
from assay.ledger.rows.casenames import case_digest, digest_of_numbers
from assay.ledger.rows.casenames import case_id as id_of
from assay.quarantine.cases import CaseView, case_numbers, find_case, views
from assay.quarantine.closing import after_others, refuse_closed
from assay.quarantine.errors import DecisionRefused
from assay.quarantine.people import clean_reason, clean_reviewer, expect_reviewer, same
from assay.quarantine.rows import Numbers, chosen_numbers, expect_inside, keep_some
from assay.store import ObjectStore

Rows = Iterable[int] | npt.NDArray[Any]


@dataclass(frozen=True)
class SplitMade:
    """What a split made.

    Attributes:
        decision_id: Id of the decision to split, from case, reviewer and action.
        parent: The case that was split; its status is `split`.
        chosen: The case with the rows that were named.
        rest: The case with the other rows.
        reviewer: Who split it.
        reason: Why.
        decided_at: When, UTC.
        via: Where it was done.
        repeated: Whether it had been split so before.
    """

    decision_id: str
    parent: CaseView
    chosen: CaseView
    rest: CaseView
    reviewer: str
    reason: str
    decided_at: str
    via: str
    repeated: bool


OnSplit = Callable[[SplitMade, Session], None]


@dataclass(frozen=True)
class _Part:
    """A child that is to be: what it is about, and the object with its rows, where one had to be made."""

    id: str
    digest: str
    rows: int
    object: str | None


@dataclass(frozen=True)
class Plan:
    """A split whose objects are stored; `apply_split` enters it.

    Attributes:
        case_id: Whose rows.
        chosen: The rows that were named.
        rest: The others.
    """

    case_id: str
    chosen: _Part
    rest: _Part


def plan_split(database: Database, store: ObjectStore, case_id: str, rows: Rows) -> Plan | None:
    """Check which rows are meant, and store both parts, sealed; the registry stays as it is.

    A process that is killed here leaves objects that nobody refers to; the same split stores none twice.

    Returns:
        The plan; None where all rows of the case are meant, so that there is nothing to split.

    Raises:
        CaseUnknown: There is no such case.
        DecisionRefused: A row is not in the case, none is named, or the case has no rows.
        ObjectMissing: The store lacks the case's rows.
        StoreCorrupt: The registry names other rows than those that were held.
    """
    wanted = chosen_numbers(rows)
    with database.session() as session:
        case = find_case(session, case_id)
    if case.rows_object is None:
        raise DecisionRefused(
            f"case {case.id} is about a delivery as a whole and has no rows to choose from",
            state="the case stays as it is",
            next_step="decide it without naming rows",
        )
    held = case_numbers(store, case)
    expect_inside(wanted, held)
    if len(wanted) == len(held):
        return None
    others = np.setdiff1d(held, wanted, assume_unique=True)
    fresh = case.status == "open"
    return Plan(
        case.id,
        _part(case, wanted, keep_some(store, case.rows_object, wanted).sha256 if fresh else None),
        _part(
            case, others, keep_some(store, case.rows_object, wanted, others=True).sha256 if fresh else None
        ),
    )


def apply_split(
    session: Session,
    plan: Plan,
    *,
    reviewer: str,
    reason: str,
    via: str = "",
    on_split: OnSplit | None = None,
) -> SplitMade:
    """Enter a planned split in a transaction of `Database.write()`; the same split again changes nothing.

    Raises:
        CaseClosed: The case was decided before, or split otherwise.
    """
    case = find_case(session, plan.case_id)
    repeated = case.status == "split" and {plan.chosen.id, plan.rest.id} == set(
        views(session, [case])[0].children
    )
    if not repeated:
        if case.status != "open":
            refuse_closed(session, case)
        for part in (plan.chosen, plan.rest):
            session.add(_child(case, part))
        decision_id = content_id("decision", {"case": case.id, "reviewer": same(reviewer), "action": "split"})
        session.add(
            Decision(
                id=decision_id,
                case_id=case.id,
                action="split",
                reviewer=reviewer,
                reason=reason,
                decided_at=after_others(session, case.id),
                via=via,
            )
        )
        case.status = "split"
        session.flush()
    parent, chosen, rest = views(
        session, [case, *(find_case(session, part.id) for part in (plan.chosen, plan.rest))]
    )
    closing = parent.closing
    assert closing is not None, "a split case carries the decision that split it"
    made = SplitMade(
        closing.id,
        parent,
        chosen,
        rest,
        closing.reviewer,
        closing.reason,
        closing.decided_at,
        closing.via,
        repeated,
    )
    if on_split is not None:
        on_split(made, session)
    return made


def split_case(
    database: Database,
    store: ObjectStore,
    case_id: str,
    rows: Rows,
    *,
    reviewer: str,
    reason: str,
    via: str = "",
    on_split: OnSplit | None = None,
) -> SplitMade:
    """Split an open case into one with the named rows and one with the rest; nothing is decided on either.

    Both inherit evidence, terms and deadline. Their ids come from their rows, so that the same split is made once.
    Approvals that the case had do not count for its parts: they were given to other rows together.

    Args:
        database: The registry.
        store: Where the case's rows are; both parts are kept there, sealed, before the registry is changed.
        case_id: The case, or an unambiguous beginning of its id.
        rows: Numbers of rows, as the column `_row` has them; each counts once.
        reviewer: Who splits it.
        reason: Why.
        via: `page`, `cli` or `airflow`.
        on_split: Called with the result and the open transaction, also for a repeated split.

    Raises:
        CaseUnknown: There is no such case.
        CaseClosed: It was decided before, or split otherwise; `children` names the parts.
        DecisionForbidden: The reviewer may not decide it.
        DecisionRefused: A row is not in the case, none is named, or all are.
    """
    reviewer, reason = clean_reviewer(reviewer), clean_reason(reason)
    plan = plan_split(database, store, case_id, rows)
    if plan is None:
        raise DecisionRefused(
            "all rows of the case were named: nothing would be left to split off",
            state="the case stays as it is",
            next_step="decide the case as a whole",
        )
    with database.write() as session:
        case = views(session, [find_case(session, plan.case_id)])[0]
        expect_reviewer(reviewer, case.reviewers, what=f"the case {case.id}")
        return apply_split(session, plan, reviewer=reviewer, reason=reason, via=via, on_split=on_split)


def _part(case: Case, numbers: Numbers, stored: str | None) -> _Part:
    digest = case_digest(case.delivery_id, case.kind, digest_of_numbers(numbers))
    return _Part(id_of(digest), digest, len(numbers), stored)


def _child(parent: Case, part: _Part) -> Case:
    """A case for some rows of another, under the same terms; its summary says where it comes from."""
    origin = dict(parent.evidence.get("split") or {"of": parent.rows, "summary": parent.summary})
    return Case(
        id=part.id,
        digest=part.digest,
        dataset=parent.dataset,
        delivery_id=parent.delivery_id,
        kind=parent.kind,
        status="open",
        blocking=parent.blocking,
        rows=part.rows,
        rows_object=part.object,
        summary=f"{part.rows:,} of the {origin['of']:,} rows of: {origin['summary']}",
        evidence={**parent.evidence, "split": origin},
        opened_at=parent.opened_at,
        approvals=parent.approvals,
        on_timeout=parent.on_timeout,
        expires_at=parent.expires_at,
        terms=dict(parent.terms or {}),
        parent_id=parent.id,
    )
