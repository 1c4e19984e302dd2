"""Cases: the list, and one with its evidence and decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from assay.console.desk import Desk, missing
from assay.console.lines import case_lines, finding_lines, finding_rows
from assay.console.paging import Key, Page, checked_limit, merged, one_of, ordered, pack, page, unpack
from assay.console.reproduce import commands
from assay.console.statements import statements
from assay.db import Case, Decision, Delivery
from assay.line.cells import facts

STATUSES = ("open", "released", "rejected", "split")
_KINDS = ("validation", "screening", "delivery")
_ENDLESS = "~"  # stands for no deadline: after every date
_MOST_MATCHES = 500
_MOST_CHILDREN = 200
_INTERNAL = ("exhibits", "exhibits_missing")
_SORTS: dict[str, tuple[InstrumentedAttribute[Any], bool, tuple[tuple[type, ...], ...]]] = {
    "opened": (Case.opened_at, True, ((str,), (str,))),
    "due": (Case.expires_at, False, ((str,), (str,))),
    "rows": (Case.rows, True, ((int,), (str,))),
}


def cases(
    desk: Desk,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    datasets: Iterable[str] | None = None,
    dataset: str | None = None,
    status: str | None = None,
    kind: str | None = None,
    source: str | None = None,
    delivery: str | None = None,
    q: str | None = None,
    sort: str | None = None,
) -> Page:
    """Cases: newest first, or by what is due soonest, or the largest first.

    Args:
        desk: What is looked at.
        limit: Size of the page.
        cursor: Where the last page ended.
        datasets: Those that the caller may read; None: all.
        dataset: Only of this data set.
        status: `open`, `released`, `rejected`, `split`, or `all`.
        kind: `validation`, `screening` or `delivery`.
        source: Only of this source.
        delivery: Only of this delivery.
        q: The beginning of a case's or a delivery's id, or a part of a source's name.
        sort: `opened`, `due` or `rows`.

    Raises:
        BadQuery: A filter, the order, the limit or the cursor cannot be understood.
    """
    size = checked_limit(limit)
    order = one_of("order", sort, _SORTS, "opened")
    column, falling, kinds = _SORTS[order]
    key = unpack(order, cursor, kinds)
    wanted = one_of("status", status, (*STATUSES, "all"), "all")
    of_kind = one_of("kind", kind, (*_KINDS, "all"), "all")
    names = desk.chosen(dataset, datasets)
    statuses = STATUSES if wanted == "all" else (wanted,)

    def by(case: Case) -> tuple[Any, str]:
        value = getattr(case, column.key)
        return (_ENDLESS if value is None else value, case.id)

    with desk.session() as session:
        ids, sources = _matches(session, names, q)

        def narrowed(query: Select[Any], name: str, state: str) -> Select[Any]:
            query = query.where(Case.dataset == name, Case.status == state)
            if of_kind != "all":
                query = query.where(Case.kind == of_kind)
            if source:
                query = query.where(Case.source == source)
            if delivery:
                query = query.where(Case.delivery_id == delivery)
            if ids is not None:
                query = query.where(Case.id.in_(ids))
            if sources is not None:
                query = query.where(Case.source.in_(sources))
            return query

        parts = [
            _sorted(session, narrowed(select(Case), name, state), order, column, key, falling, size)
            for name in names
            for state in statuses
        ]
        total = sum(
            session.scalar(narrowed(select(func.count(Case.dataset)), name, state)) or 0
            for name in names
            for state in statuses
        )
        return page(
            merged(parts, by, falling=falling, limit=size),
            size,
            total,
            lambda found: case_lines(session, found),
            lambda case: pack(order, by(case)),
        )


def _sorted(
    session: Session,
    query: Select[Any],
    order: str,
    column: InstrumentedAttribute[Any],
    key: Key | None,
    falling: bool,
    limit: int,
) -> list[Case]:
    """The next cases of one status of one data set."""
    if order != "due":
        found = session.scalars(ordered(query, column, Case.id, key, falling=falling, limit=limit))
        return list(found)
    dated: list[Case] = []
    if key is None or key[0] != _ENDLESS:
        some = ordered(query.where(column.is_not(None)), column, Case.id, key, falling=False, limit=limit)
        dated = list(session.scalars(some))
        key = None
    if len(dated) > limit:
        return dated
    endless = query.where(column.is_(None)).order_by(Case.id).limit(limit + 1 - len(dated))
    if key is not None:
        endless = endless.where(Case.id > key[1])
    return list(chain(dated, session.scalars(endless)))


def _matches(
    session: Session, datasets: Sequence[str], q: str | None
) -> tuple[list[str] | None, list[str] | None]:
    """What a search may mean: ids of cases, or names of sources; (None, None) for no search."""
    wanted = (q or "").strip()
    if not wanted:
        return None, None
    lowered = wanted.lower()
    sources = [name for each in datasets for name in sources_of(session, each) if lowered in name.lower()]
    if sources:
        return None, sorted(set(sources))
    ids: set[str] = set()
    for column, prefix in ((Case.id, "case-"), (Case.delivery_id, "delivery-")):
        start = lowered if lowered.startswith(prefix) else f"{prefix}{lowered}"
        found = session.scalars(
            select(Case.id).where(column >= start, column < f"{start}g").order_by(column).limit(_MOST_MATCHES)
        )
        ids.update(found)
    return sorted(ids), None


def sources_of(session: Session, dataset: str) -> list[str]:
    """The sources that delivered to a data set, by one look into an index for each."""
    out: list[str] = []
    last = ""
    query = select(Delivery.source).where(Delivery.dataset == dataset)
    while (
        name := session.scalar(query.where(Delivery.source > last).order_by(Delivery.source).limit(1))
    ) is not None:
        out.append(name)
        last = name
    return out


def find(session: Session, case_id: str) -> Case:
    """The case of that id.

    Raises:
        NotFound: There is none.
    """
    found = session.get(Case, case_id)
    if found is None:
        raise missing("case", case_id, "the list of cases shows all")
    return found


def case(desk: Desk, case_id: str) -> dict[str, Any]:
    """One case with its evidence, its groups and what can be plotted of it.

    Raises:
        NotFound: There is none.
    """
    from assay.console.casefile import casefile

    with desk.session() as session:
        found = find(session, case_id)
        decisions = session.scalars(
            select(Decision).where(Decision.case_id == found.id).order_by(Decision.decided_at, Decision.id)
        ).all()
        checks = finding_rows(session, found.delivery_id)
        (line,) = case_lines(session, [found])
        told = statements(session, found.id)
        # Sorted here: asked to, SQLite walks all cases in the order of their ids.
        children = sorted(
            session.scalars(select(Case.id).where(Case.parent_id == found.id).limit(_MOST_CHILDREN))
        )
        session.expunge_all()
    file = casefile(desk, found, finding_lines(checks))
    return {
        **line,
        "evidence": facts({k: v for k, v in (found.evidence or {}).items() if k not in _INTERNAL}),
        "decisions": [
            {
                "id": each.id,
                "action": each.action,
                "reviewer": each.reviewer,
                "reason": each.reason,
                "decided_at": each.decided_at,
            }
            for each in decisions
        ],
        "digest": found.digest,
        "columns": file.columns(desk),
        "findings": file.findings,
        "groups": [each.line() for each in file.groups()],
        "plots": file.plots(desk),
        "parent": found.parent_id,
        "children": children,
        "reproduce": _reproduce(desk, found),
        "statements": told,
    }


def _reproduce(desk: Desk, found: Case) -> list[dict[str, str]]:
    return commands(
        desk,
        ("This case, with its first rows", ["cases", "show", found.id, "--rows", "20"]),
        ("What the ledger says of it", ["ledger", "trace", found.id]),
        ("What the ledger says of its delivery", ["ledger", "trace", found.delivery_id]),
    )
