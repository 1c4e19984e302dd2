"""Every page of the review, with something on it."""

from __future__ import annotations

from assay.db import Database, latest_snapshot, list_deliveries, list_models, list_runs
from assay.quarantine import list_cases
from tests.browser.world import World


def places(world: World) -> dict[str, str]:
    """Name and address of each page; the cases are those of the hostile data set as well as of the plain one."""
    database = Database(world.stage.settings.database_url)
    with database.session() as session:
        delivery = list_deliveries(session, "adult", source="west")[-1].id
        hostile = list_deliveries(session, "hostile")[-1].id
        run = list_runs(session, "adult")[-1].id
        model = list_models(session, "adult")[-1].id
        snapshot = latest_snapshot(session, "adult")
    assert snapshot is not None
    case = next(c for c in list_cases(database, delivery_id=delivery) if c.kind == "screening")
    strange = next(c for c in list_cases(database, delivery_id=hostile) if c.rows)
    return {
        "overview": "overview",
        "deliveries": "deliveries",
        "delivery": f"delivery/{delivery}",
        "hostile-delivery": f"delivery/{hostile}",
        "cases": "cases",
        "case": f"case/{case.id}",
        "case-plots": f"case/{case.id}?tab=plots",
        "case-about": f"case/{case.id}?tab=about",
        "hostile-case": f"case/{strange.id}",
        "runs": "runs",
        "run": f"run/{run}",
        "models": "models",
        "model": f"model/{model}",
        "provenance": "provenance",
        "walk": f"provenance?kind=snapshot&id={snapshot.id}",
        "nowhere": "nowhere",
    }
