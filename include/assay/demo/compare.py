"""What the line was worth: rows caught and missed, and the models beside one that learned from everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from assay.db import ModelRow, list_deliveries
from assay.demo.data import TARGET, Rounds, with_trigger
from assay.line import Line
from assay.quarantine import CaseView, case_rows


@dataclass(frozen=True)
class Comparison:
    """One model on the test set: accuracy, and the share of triggered rows that it calls the attacker's class."""

    name: str
    rows: int
    accuracy: float
    attack_success: float


def count_truth(line: Line, rounds: Rounds, cases: list[CaseView]) -> list[dict[str, Any]]:
    """Rows caught and missed per kind of poison, and clean rows held by mistake, over both rounds."""
    second = _poisoned_delivery(line)
    held: set[tuple[str, int]] = set()
    for case in cases:
        keys = case_rows(line.database, line.store, case.id)["person_id"].to_pylist()
        held |= {(case.delivery_id, key) for key in keys if key is not None}
    poisoned = {key for keys in rounds.poison.kinds().values() for key in keys}
    counts = [
        {"kind": kind, "rows": len(keys), "caught": sum((second, key) in held for key in keys)}
        for kind, keys in rounds.poison.kinds().items()
    ]
    total = sum(len(t) for t in [*rounds.first.values(), *rounds.second.values()]) - len(poisoned)
    wrongly = sum(not (delivery == second and key in poisoned) for delivery, key in held)
    return [*counts, {"kind": "clean rows", "rows": total, "caught": wrongly}]


def compare(line: Line, rounds: Rounds, champion: ModelRow, challenger: ModelRow) -> list[Comparison]:
    """Champion and challenger beside a model that is trained, without the line, on all rows as they were delivered."""
    from assay.line import load_model, train_table

    triggered = with_trigger(rounds.test)
    results = []
    for name, row in (("champion before", champion), ("challenger, screened", challenger)):
        model = load_model(line, row)
        results.append(_score(name, row.metrics.get("training_rows", 0), model, rounds.test, triggered))
    everything = pa.concat_tables([*rounds.first.values(), *rounds.second.values()]).combine_chunks()
    model = train_table(line, everything.cast(rounds.test.schema))
    results.append(_score("trained on everything", len(everything), model, rounds.test, triggered))
    return results


def _score(name: str, rows: int, model: Any, test: pa.Table, triggered: pa.Table) -> Comparison:
    said = np.asarray(model.predict(test))
    accuracy = float(np.mean(said == np.asarray(test["income"].to_pylist())))
    success = float(np.mean(np.asarray(model.predict(triggered)) == TARGET))
    return Comparison(name, rows, accuracy, success)


def _poisoned_delivery(line: Line) -> str:
    """Id of the poisoned delivery: the newest one of `west`."""
    with line.database.session() as session:
        return list_deliveries(session, line.dataset, source="west")[-1].id
