"""Airflow's own page of required actions, held to the same rights as ours: one decision, one rule on who takes it."""

from __future__ import annotations

import re

from airflow.api_fastapi.core_api.security import bearer_scheme
from airflow.models.dag import DagTag
from airflow.utils.session import create_session
from fastapi import Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from assay_ui.errors import Refusal
from assay_ui.identity import Person, person
from assay_ui.rights import why_not_decide, why_not_promote

_ANSWER = re.compile(r"/api/v2/dags/(?P<dataset>[^/]+)__(?P<kind>intake|training)/dagRuns/.+/hitlDetails/?")
_TAG = "assay"


class RequiredActions:
    """Layer around Airflow's application that looks at answers to required actions of Assay's DAGs.

    Airflow lets everybody answer who may edit the DAG's required actions. Who may not decide on the case page may not
    decide there either (`ASSAY_DECIDE_ROLE`), and a challenger is promoted by those alone who may promote. All other
    requests, and those of people who are not logged in, go on to Airflow untouched.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or let Airflow answer it."""
        if scope["type"] == "http" and scope["method"] == "PATCH":
            root = scope.get("root_path", "")
            found = _ANSWER.fullmatch(scope["path"].removeprefix(root))
            why = await self._why_not(Request(scope, receive), found) if found else None
            if why is not None:
                await JSONResponse({"detail": why}, status_code=403)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _why_not(self, request: Request, found: re.Match[str]) -> str | None:
        try:
            someone = await person(request, await bearer_scheme(request))
        except Refusal:  # Airflow says so itself
            return None
        return await run_in_threadpool(_why_not, someone, found["dataset"], found["kind"])


def _why_not(someone: Person, dataset: str, kind: str) -> str | None:
    if not _ours(f"{dataset}__{kind}"):
        return None
    return why_not_promote(someone) if kind == "training" else why_not_decide(someone, dataset)


def _ours(dag_id: str) -> bool:
    """Whether a DAG is one that Assay made: other people's DAGs may have such names too."""
    with create_session(scoped=False) as session:
        tag = select(DagTag.name).where(DagTag.dag_id == dag_id, DagTag.name == _TAG)
        return session.scalar(tag) is not None
