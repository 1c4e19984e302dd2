"""Cases: what was held, why, the plots that decide, and the decision."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import Depends
from fastapi import Path as InPath
from starlette.responses import Response

from assay_ui import decisions
from assay_ui.answers import Json, stream
from assay_ui.bodies import DecisionBody
from assay_ui.rights import Right, why_not_decide
from assay_ui.routes.lists import Filter, Page, Search
from assay_ui.routing import About, CallerDep, Routes, body_of

routes = Routes("/api/cases")

Name = Annotated[str, InPath(max_length=1000)]


class Order(StrEnum):
    """Which end of a list comes first."""

    ASCENDING = "asc"
    DESCENDING = "desc"


@routes.get("", right=Right.READ, about=About.READABLE)
def cases(
    caller: CallerDep,
    page: Page,
    dataset: Filter = None,
    status: Filter = None,
    kind: Filter = None,
    source: Filter = None,
    delivery: Filter = None,
    q: Search = None,
    sort: Filter = None,
) -> Json:
    """Cases, newest first or as sorted."""
    found = caller.console.cases(
        **page.as_arguments(caller),
        dataset=dataset,
        status=status,
        kind=kind,
        source=source,
        delivery=delivery,
        q=q,
        **({} if sort is None else {"sort": sort}),
    )
    return Json(found)


@routes.get("/{id}", right=Right.READ, about=About.CASE)
def case(caller: CallerDep, id: str) -> Json:
    """One case with its evidence, where Airflow waits for it, and whether the person may decide it."""
    found = caller.console.case(id)
    why = why_not_decide(caller.person, caller.dataset)
    why = why or decisions.why_not_decide(caller, id)
    waiting = decisions.waiting_for(caller.dataset, delivery=found["delivery_id"])
    return Json({**found, "may_decide": {"allowed": why is None, "why_not": why}, "waiting": waiting})


@routes.get("/{id}/rows", right=Right.READ, about=About.CASE)
def rows(
    caller: CallerDep,
    id: str,
    page: Page,
    group: Filter = None,
    reason: Filter = None,
    q: Search = None,
    sort: Filter = None,
    order: Order | None = None,
) -> Json:
    """A page of a case's rows."""
    chosen = _given(group=group, reason=reason, q=q, sort=sort, order=None if order is None else str(order))
    return Json(caller.console.case_rows(id, limit=page.limit, cursor=page.cursor, **chosen))


@routes.get("/{id}/rows/{row}", right=Right.READ, about=About.CASE)
def row(caller: CallerDep, id: str, row: Annotated[int, InPath(ge=0, le=2**63 - 1)]) -> Json:
    """One row beside the nearest trusted rows."""
    return Json(caller.console.case_row(id, row))


@routes.get("/{id}/plots/column/{name:path}", right=Right.READ, about=About.CASE)
def plot_column(caller: CallerDep, id: str, name: Name, group: Filter = None) -> Json:
    """The distribution of a column with the suspicious rows in it."""
    return Json(caller.console.plot_column(id, name, group=group))


@routes.get("/{id}/plots/score", right=Right.READ, about=About.CASE)
def plot_score(caller: CallerDep, id: str) -> Json:
    """The scores and the threshold."""
    return Json(caller.console.plot_score(id))


@routes.get("/{id}/plots/sources", right=Right.READ, about=About.CASE)
def plot_sources(caller: CallerDep, id: str) -> Json:
    """The sources side by side."""
    return Json(caller.console.plot_sources(id))


@routes.get("/{id}/plots/group/{group:path}", right=Right.READ, about=About.CASE)
def plot_group(caller: CallerDep, id: str, group: Name) -> Json:
    """A trigger, flood or other group against the rest."""
    return Json(caller.console.plot_group(id, group))


@routes.get("/{id}/plots/losses", right=Right.READ, about=About.CASE)
def plot_losses(caller: CallerDep, id: str, run: Filter = None) -> Json:
    """How the loss on each of the rows went while a model learned."""
    return Json(caller.console.plot_losses(id, run=run))


@routes.get("/{id}/export.csv", right=Right.READ, about=About.CASE)
def export(
    caller: CallerDep,
    id: str,
    group: Filter = None,
    reason: Filter = None,
    q: Search = None,
    sort: Filter = None,
    order: Order | None = None,
) -> Response:
    """The case's rows as a file for a spreadsheet; the first chunk is made before the answer begins."""
    chosen = _given(group=group, reason=reason, q=q, sort=sort, order=None if order is None else str(order))
    chunks = iter(caller.console.export_csv(id, **chosen))
    first = next(chunks, b"")

    def all_chunks() -> Any:
        yield first
        yield from chunks

    return stream(f"{id[:40]}.csv", all_chunks(), "text/csv; charset=utf-8")


@routes.post("/{id}/decision", right=Right.DECIDE, about=About.CASE)
def decide(caller: CallerDep, id: str, body: Annotated[DecisionBody, Depends(body_of(DecisionBody))]) -> Json:
    """Decide a case, some of its rows, or one of its groups, under the name of the login."""
    return Json(decisions.decide(caller, id, body))


def _given(**arguments: str | None) -> dict[str, str]:
    return {name: value for name, value in arguments.items() if value is not None}
