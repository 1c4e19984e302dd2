"""Trainings: those that go on now, those that ended, and one with what was checked of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from assay.console.desk import Desk, missing
from assay.console.lines import finding_lines, finding_rows, run_line
from assay.console.live import Live, live_run, live_runs
from assay.console.paging import Page, newest_first
from assay.console.reproduce import commands, contract_option
from assay.console.statements import statements
from assay.db import ModelRow, Run, champion, get_run
from assay.line.cells import facts, number


def runs(
    desk: Desk,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    datasets: Iterable[str] | None = None,
    dataset: str | None = None,
) -> Page:
    """Runs, the newest first; before them, on the first page, those that go on now and are in no registry yet.

    Raises:
        BadQuery: The limit or the cursor cannot be understood.
    """
    names = desk.chosen(dataset, datasets)
    going = {each.run_id: each for each in live_runs(desk) if each.dataset in names}

    def show(rows: Iterable[Run]) -> list[dict[str, Any]]:
        return [_live_line(going[row.id]) if row.id in going else run_line(row) for row in rows]

    with desk.session() as session:
        found = newest_first(
            session,
            Run,
            Run.finished_at,
            names=names,
            order="finished",
            limit=limit,
            cursor=cursor,
            show=show,
        )
        known = set(session.scalars(select(Run.id).where(Run.id.in_(list(going))))) if going else set()
    fresh = [_live_line(live) for live in going.values() if live.run_id not in known]
    found["total"] += len(fresh)
    if not cursor:
        found["items"] = [*fresh, *found["items"]]
    return found


def run(desk: Desk, run_id: str) -> dict[str, Any]:
    """One run with its curve checks, privacy and device; of one that goes on now, what is known so far.

    Raises:
        NotFound: There is none.
    """
    live = live_run(desk, run_id)
    with desk.session() as session:
        row = get_run(session, run_id)
        if row is None or live is not None:
            if live is None:
                raise missing("run", run_id, "the list of runs shows all")
            best = champion(session, live.dataset)
            return _going(desk, live, best)
        model = session.scalars(
            select(ModelRow).where(ModelRow.run_id == run_id).order_by(ModelRow.made_at.desc()).limit(1)
        ).first()
        best = champion(session, row.dataset)
        detail = dict(row.detail or {})
        return {
            **run_line(row),
            "epochs": int(detail.get("epochs") or 0),
            "seconds": number(detail.get("seconds")),
            "detail": facts(
                {name: value for name, value in detail.items() if name not in {"curve", "row_losses"}}
            ),
            "findings": finding_lines(finding_rows(session, row.id)),
            "privacy": _privacy(detail.get("privacy")),
            "device_name": detail.get("device_name"),
            "model_id": None if model is None else model.id,
            "champion_run": None if best is None or best.run_id == run_id else best.run_id,
            "statements": statements(session, row.id),
            "reproduce": _reproduce(desk, row, model),
        }


def _live_line(live: Live) -> dict[str, Any]:
    device, last = None, None
    for said in live.events():
        if said.get("event") == "started":
            device = said.get("device")
        elif said.get("event") == "epoch":
            last = number(said.get("validation_loss"))
    return {
        "id": live.run_id,
        "dataset": live.dataset,
        "snapshot_id": live.snapshot_id,
        "backend": live.backend,
        "device": device,
        "status": "running",
        "curve_outcome": None,
        "final_validation_loss": last,
        "finished_at": None,
        "live": True,
    }


def _going(desk: Desk, live: Live, best: ModelRow | None) -> dict[str, Any]:
    epochs = [said for said in live.events() if said.get("event") == "epoch"]
    seconds = dt.datetime.now(dt.UTC).timestamp() - live.begun
    return {
        **_live_line(live),
        "epochs": len(epochs),
        "epochs_asked_for": live.epochs,
        "seconds": max(0.0, seconds),
        "detail": {},
        "findings": [],
        "privacy": _privacy_so_far(epochs),
        "device_name": None,
        "model_id": None,
        "champion_run": None if best is None else best.run_id,
        "statements": [],
        "reproduce": commands(
            desk, ("What goes on in it", ["train", live.snapshot_id, *contract_option(desk, live.dataset)])
        )
        if contract_option(desk, live.dataset)
        else [],
    }


def _privacy(said: Any) -> dict[str, Any] | None:
    if not isinstance(said, dict):
        return None
    accountant = said.get("accountant")
    epsilon = said.get("epsilon_pld") if accountant == "pld" else said.get("epsilon_rdp")
    return {
        "epsilon": number(epsilon),
        "delta": number(said.get("delta")),
        "noise_multiplier": number(said.get("noise_multiplier")),
        "max_grad_norm": number(said.get("max_grad_norm")),
        "budget": number(said.get("max_epsilon")),
        "accountant": accountant,
    }


def _privacy_so_far(epochs: list[dict[str, Any]]) -> dict[str, Any] | None:
    last = epochs[-1] if epochs else {}
    spent = [number(last.get(name)) for name in ("epsilon_pld", "epsilon_rdp")]
    known = next((value for value in spent if value is not None), None)
    if known is None:
        return None
    return {
        "epsilon": known,
        "delta": None,
        "noise_multiplier": None,
        "max_grad_norm": None,
        "budget": None,
        "accountant": None,
    }


def _reproduce(desk: Desk, row: Run, model: ModelRow | None) -> list[dict[str, str]]:
    contract = contract_option(desk, row.dataset)
    wanted = [("What the ledger says of it", ["ledger", "trace", row.id])]
    if model is not None:
        wanted.append(("That its bundle is whole and says what the run did", ["model", "verify", model.id]))
    if contract:
        wanted.append(
            ("Train on the same snapshot: the same run is found", ["train", row.snapshot_id, *contract])
        )
    return commands(desk, *wanted)
