"""Provenance: search, walk, take the proof along, and verify the ledger."""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Query
from starlette.responses import Response

from assay_ui.answers import Json, attachment
from assay_ui.bodies import Nothing
from assay_ui.errors import Refusal
from assay_ui.rights import Right
from assay_ui.routing import About, CallerDep, Routes, body_of, dataset_of, missing

routes = Routes("/api/provenance")

Id = Annotated[str, Query(min_length=1, max_length=1000)]
_SECONDS = 30
_verifying = threading.Lock()
_OF_NO_DATASET = frozenset({"publisher", "key"})


class Proved(StrEnum):
    """What there are proofs of."""

    ROW = "row"
    MODEL = "model"
    STATEMENT = "statement"


@routes.get("/search", right=Right.READ, about=About.READABLE)
def search(caller: CallerDep, q: Annotated[str, Query(max_length=500)]) -> Json:
    """What a row key, digest, publisher, model or id may mean."""
    return Json(caller.console.search(q, datasets=caller.datasets))


@routes.get("/node", right=Right.READ, about=About.READABLE)
def node(caller: CallerDep, kind: Annotated[str, Query(max_length=40)], id: Id) -> Json:
    """One node of the graph with its edges."""
    if kind not in _OF_NO_DATASET:
        _expect_readable(caller, kind, id)
    return Json(caller.console.node(kind, id, datasets=caller.datasets))


@routes.get("/proof", right=Right.READ, about=About.READABLE)
def proof(caller: CallerDep, kind: Proved, id: Id) -> Response:
    """A proof as a file, to be checked without us."""
    _expect_readable(caller, str(kind), id)
    name, data = caller.console.proof(str(kind), id)
    return attachment(name, data, "application/json")


@routes.post("/verify", right=Right.READ, about=About.NOBODY)
def verify(caller: CallerDep, _: Annotated[Nothing, Depends(body_of(Nothing))]) -> Json:
    """Check the whole ledger now, for a bounded time; one check at a time."""
    if not _verifying.acquire(blocking=False):
        raise Refusal(
            503, "unavailable", "the ledger is being verified already", next_step="ask again in half a minute"
        )
    try:
        return Json(caller.console.verify(seconds=_SECONDS))
    finally:
        _verifying.release()


def _expect_readable(caller: CallerDep, kind: str, id: str) -> None:
    dataset = dataset_of(caller.console, kind, id)
    if dataset is None or not caller.speaks_of(dataset):
        raise missing(kind, id)
