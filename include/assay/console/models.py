"""Models: the list, and one with its gates, its bundle and its history."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.console.desk import Desk, missing, told
from assay.console.lines import finding_lines, finding_rows, model_line
from assay.console.paging import Page, newest_first
from assay.console.reproduce import commands, contract_option
from assay.console.shelf import Shelf
from assay.console.statements import statements
from assay.db import ModelRow, Promotion, champion, get_model
from assay.errors import AssayError
from assay.line.cells import facts, number

_MOST_CARD = 200_000
_MOST_CHANGES = 200
_KEPT = 16
_SECONDS = 120.0
_LIMIT = re.compile(r"at (?:least|most) (-?\d+(?:\.\d+)?)$")
_VALUE = re.compile(r"(?:^|\s)([+-]?\d+\.\d+)\b")


def models(
    desk: Desk,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    datasets: Iterable[str] | None = None,
    dataset: str | None = None,
) -> Page:
    """Models, the newest first.

    Raises:
        BadQuery: The limit or the cursor cannot be understood.
    """
    with desk.session() as session:
        return newest_first(
            session,
            ModelRow,
            ModelRow.made_at,
            names=desk.chosen(dataset, datasets),
            order="made",
            limit=limit,
            cursor=cursor,
            show=lambda rows: [model_line(row) for row in rows],
        )


def model(desk: Desk, model_id: str) -> dict[str, Any]:
    """One model.

    Raises:
        NotFound: There is none.
    """
    with desk.session() as session:
        row = get_model(session, model_id)
        if row is None:
            raise missing("model", model_id, "the list of models shows all")
        findings = finding_lines(finding_rows(session, row.id))
        best = champion(session, row.dataset)
        other = best if best is not None and best.id != row.id else None
        answer = {
            **model_line(row),
            "gates": [_gate(each) for each in findings if each["check"].startswith("gate.")],
            "slices": _slices(findings),
            "history": _history(session, row.dataset),
            "champion_id": best.id if best else None,
            "champion": None
            if other is None
            else {
                "id": other.id,
                "run_id": other.run_id,
                "metrics": facts(other.metrics or {}),
                "gates": [
                    _gate(each)
                    for each in finding_lines(finding_rows(session, other.id))
                    if each["check"].startswith("gate.")
                ],
            },
            "statements": statements(session, row.id),
            "reproduce": _reproduce(desk, row),
        }
    return {**answer, **_bundle(desk, row)}


def _gate(finding: dict[str, Any]) -> dict[str, Any]:
    """A gate with the value that it saw and its limit, where its sentence has them."""
    message = finding["message"]
    limit, value = _LIMIT.search(message), _VALUE.search(message)
    name = finding["check"].removeprefix("gate.")
    return {
        "name": f"{name}: {finding['subject']}" if finding["subject"] else name,
        "outcome": finding["outcome"],
        "value": float(value.group(1)) if value and limit else None,
        "limit": float(limit.group(1)) if limit else None,
        "message": message,
        "technique": finding["technique"],
    }


def _slices(findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for each in findings:
        if each["check"] == "gate.slice_gap":
            for value, said in (each["evidence"].get("slices") or {}).items():
                row = {"column": each["subject"], "value": value, "rows": said.get("rows")}
                out.append({**row, "accuracy": number(said.get("score"))})
    return out


def _history(session: Session, dataset: str) -> list[dict[str, Any]]:
    newest = session.scalars(
        select(Promotion)
        .where(Promotion.dataset == dataset)
        .order_by(Promotion.position.desc())
        .limit(_MOST_CHANGES)
    )
    return [
        {
            "action": each.action,
            "by": each.by,
            "reason": each.reason,
            "at": each.at,
            "model_id": each.model_id,
            "previous_id": each.previous_id,
        }
        for each in newest
    ]


def _bundle(desk: Desk, row: ModelRow) -> dict[str, Any]:
    """The bundle's files and checks, made anew when a file changed or two minutes have passed."""
    bundle = Path(row.bundle_uri)
    mark = (row.id, _mark(bundle), int(time.monotonic() // _SECONDS))
    shelf: Shelf[dict[str, Any]] = desk.shelf.setdefault("bundles", Shelf(lambda _: 1, _KEPT))
    return shelf.get(mark, lambda: _examined(desk, row, bundle))


def _mark(bundle: Path) -> tuple[tuple[str, int, int], ...]:
    try:
        with os.scandir(bundle) as entries:
            return tuple(sorted((e.name, e.stat().st_size, e.stat().st_mtime_ns) for e in entries))
    except OSError:
        return ()


def _examined(desk: Desk, row: ModelRow, bundle: Path) -> dict[str, Any]:
    from assay.canonical import file_sha256
    from assay.model import model_public_key
    from assay.model.bundle import check_bundle

    empty: dict[str, Any] = {"bundle": {"uri": str(bundle), "files": []}, "card": ""}
    if not bundle.is_dir():
        message = "the bundle is not on this machine: its signature and structure could not be checked"
        return {**empty, "checks": [_check("bundle", "not_checked", message)]}
    before = _mark(bundle)
    try:
        ledger = desk.ledger()
        findings, loaded = check_bundle(
            bundle, model_public_key(desk.settings), ledger_key=ledger.public_key if ledger.has_key else None
        )
    except (AssayError, OSError) as error:
        said = told(error) if isinstance(error, AssayError) else f"{error.strerror}: {error.filename}"
        return {**empty, "checks": [_check("bundle", "not_checked", said)]}
    checks = [_check(f.check.removeprefix("model."), str(f.outcome), f.message) for f in findings]
    same = loaded is not None and loaded.id == row.id
    if loaded is not None:
        words = (
            "the bundle is the one that was registered"
            if same
            else f"the bundle is another model: {loaded.id}"
        )
        checks.append(_check("identity", "passed" if same else "failed", words))
    files = [
        {"path": facts(path.name), "sha256": file_sha256(path), "size": path.stat().st_size}
        for path in sorted(bundle.iterdir())
        if path.is_file() and not path.is_symlink()
    ]
    # Text of a bundle is shown once its signature has passed, if nobody has changed a file meanwhile.
    card = (bundle / "card.md").read_text(encoding="utf-8", errors="replace")[:_MOST_CARD] if same else ""
    if before != _mark(bundle):
        card = ""
    return {"bundle": {"uri": str(bundle), "files": files}, "checks": checks, "card": card}


def _check(name: str, outcome: str, message: str) -> dict[str, Any]:
    return {"name": name, "outcome": outcome, "message": facts(message)}


def _reproduce(desk: Desk, row: ModelRow) -> list[dict[str, str]]:
    wanted = [
        ("Check the bundle: signature, structure, history", ["model", "verify", row.id]),
        ("What the ledger says of it", ["ledger", "trace", row.id]),
        ("A proof of its statements, to check without us", ["ledger", "prove", row.id]),
    ]
    if contract := contract_option(desk, row.dataset):
        wanted.insert(1, ("What its gates said", ["model", "show", row.id, *contract]))
    return commands(desk, *wanted)
