"""Deliveries: what came in, and what every check said."""

from __future__ import annotations

from assay_ui.answers import Json
from assay_ui.rights import Right
from assay_ui.routes.lists import Filter, Page
from assay_ui.routing import About, CallerDep, Routes

routes = Routes("/api/deliveries")


@routes.get("", right=Right.READ, about=About.READABLE)
def deliveries(
    caller: CallerDep,
    page: Page,
    dataset: Filter = None,
    source: Filter = None,
    state: Filter = None,
    verdict: Filter = None,
) -> Json:
    """Deliveries, newest first."""
    return Json(
        caller.console.deliveries(
            **page.as_arguments(caller), dataset=dataset, source=source, state=state, verdict=verdict
        )
    )


@routes.get("/{id}", right=Right.READ, about=About.DELIVERY)
def delivery(caller: CallerDep, id: str) -> Json:
    """One delivery with every check's outcome."""
    return Json(caller.console.delivery(id))
