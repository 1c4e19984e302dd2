"""What the tests of the pages look at: two data sets with held deliveries, runs, models and a champion."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assay.db import Case, Database, Delivery, ModelRow, Run
from assay.demo.data import make_rounds
from assay.ledger import model_key
from assay.line import Line, admit, judge, promote_as, screen, train, validate
from assay.quarantine import case_rows, list_cases
from tests.line.conftest import build_town

DATASET, OTHER = "adult", "wages"


@dataclass(frozen=True)
class Facts:
    """Names of what stands in a town, and where its state is."""

    root: Path
    environment: dict[str, str]
    delivery: str
    case: str
    row: int
    run: str
    model: str
    challenger: str
    other: dict[str, str]

    def copy_to(self, folder: Path) -> Facts:
        """The same town with state of its own."""
        shutil.copytree(self.root, folder)
        moved = {name: value.replace(str(self.root), str(folder)) for name, value in self.environment.items()}
        return replace(self, root=folder, environment=moved)


def build(root: Path) -> Facts:
    """Deliver twice, the second time poisoned; train on what was admitted; a second data set has the same beside it."""
    town = build_town(root, make_rounds(seed=11, first=300, second=200, trusted=300, rewritten=30))
    town.change(
        gates={"min_accuracy": 0.5, "max_drop_vs_champion": None, "max_slice_gap": None, "slices": []},
        training={"epochs": 3},
        review={"promotion": "manual"},
    )
    model_key(town.settings)
    settled = town.take_in(town.rounds.first, 1)
    with town.line() as line:
        validate(line, settled)
        screen(line, settled)
        admit(line, settled)
        champion = train(line, "latest")
        judge(line, champion["model"])
        promote_as(line, champion["model"], "founder", "the first model")
    later = town.take_in(town.rounds.second, 2)
    with town.line() as line:
        validate(line, later)
        screen(line, later)
        admit(line, later)
        challenger = train(line, "latest")
        judge(line, challenger["model"])
        made = {
            **_held(line),
            "run": champion["run"],
            "model": champion["model"],
            "challenger": challenger["model"],
        }
        other = _shadow(line.database, made)
    contract = town.stage.contract.read_text().replace(f"dataset: {DATASET}", f"dataset: {OTHER}", 1)
    town.stage.contract.with_name(f"{OTHER}.yaml").write_text(contract)
    return Facts(root=root, environment=town.stage.environment, other=other, row=made.pop("row"), **made)


def _shadow(database: Database, made: dict[str, Any]) -> dict[str, str]:
    """Enter a delivery, a case, a run and models of another data set in the registry, each like one of the first."""
    kinds = {"delivery": Delivery, "case": Case, "run": Run, "model": ModelRow, "challenger": ModelRow}
    names = {kind: f"{made[kind]}-{OTHER}" for kind in kinds}
    linked = {"delivery_id": names["delivery"], "run_id": names["run"]}
    with database.write() as session:
        for kind, table in kinds.items():
            like = session.get(table, made[kind])
            columns = {column.key: getattr(like, column.key) for column in table.__mapper__.column_attrs}
            columns |= {name: value for name, value in linked.items() if name in columns}
            session.add(table(**{**columns, "id": names[kind], "dataset": OTHER}))
            session.flush()
    return names


def _held(line: Line) -> dict[str, Any]:
    case = next(
        each
        for each in list_cases(line.database, dataset=line.dataset, status="open")
        if each.kind == "screening"
    )
    row = case_rows(line.database, line.store, case.id)["_row"][0].as_py()
    return {"delivery": case.delivery_id, "case": case.id, "row": row}
