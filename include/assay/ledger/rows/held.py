"""Finding a row that is, or was, in quarantine: with why it was held, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import select

from assay.db import Case, Database, Decision, Delivery, list_snapshots
from assay.ledger.rows.lookup import key_values, plain, read_manifest, scalar_of
from assay.store import ObjectStore, read_table

_NUMBER, _SCORE, _P_VALUE, _REASONS = "_row", "_score", "_p_value", "_reasons"


@dataclass(frozen=True)
class HeldRow:
    """A row of a quarantine case.

    Attributes:
        case: The case.
        digest: SHA-256 of what the case is about, as its statements name it.
        kind: Why it waits or waited: `validation` or `screening`.
        status: `open`, `released` or `rejected`.
        delivery: Delivery that brought it.
        source: Source that sent it.
        row: Its number in the delivery.
        score: How suspicious screening found it; None where it was not screened.
        p_value: How likely a clean row is to look like this; None likewise.
        reasons: What screening saw.
        decisions: Ids of the decisions on its case, oldest first.
        values: The row itself.
    """

    case: str
    digest: str
    kind: str
    status: str
    delivery: str
    source: str
    row: int
    score: float | None
    p_value: float | None
    reasons: tuple[str, ...]
    decisions: tuple[str, ...]
    values: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready facts."""
        return {
            "case": self.case,
            "kind": self.kind,
            "status": self.status,
            "delivery": self.delivery,
            "source": self.source,
            "row": self.row,
            "score": plain(self.score),
            "p_value": plain(self.p_value),
            "reasons": list(self.reasons),
            "decisions": list(self.decisions),
            "values": {name: plain(value) for name, value in self.values.items()},
        }

    def lines(self) -> list[str]:
        """For a person."""
        shown = "".join(
            f", {name} {value:.3g}"
            for name, value in (("score", self.score), ("p-value", self.p_value))
            if value is not None
        )
        first = (
            f"row {self.row} of {self.delivery}, from source {self.source}, is in {self.case} ({self.kind}, "
            f"{self.status}{shown})"
        )
        return [first, *(f"  {reason}" for reason in self.reasons)]


def find_held(database: Database, store: ObjectStore, dataset: str, key: str) -> list[HeldRow]:
    """The rows with a key in the cases of a data set, newest case first; of a split case, in its parts.

    What the key is, the data set's newest snapshot says; without a snapshot there is none to ask by.

    Args:
        database: The registry.
        store: Where the cases' sealed rows are.
        dataset: Name of the data set.
        key: As for `find_rows`.

    Raises:
        NotInLedger: The key is malformed.
        ObjectMissing: The store lacks a case's rows.
        StoreCorrupt: A case's rows are not those that were held.
    """
    with database.session() as session:
        snapshots = list_snapshots(session, dataset)
        cases = session.execute(
            select(Case, Delivery.source)
            .join(Delivery, Delivery.id == Case.delivery_id)
            .where(Case.dataset == dataset, Case.rows_object.is_not(None), Case.status != "split")
            .order_by(Case.opened_at.desc(), Case.id)
        ).all()
        decided = session.execute(
            select(Decision.case_id, Decision.id).order_by(Decision.decided_at, Decision.id)
        ).all()
    if not snapshots:
        return []
    manifest = read_manifest(store, snapshots[-1])
    wanted = key_values(manifest, key)
    if wanted is None:
        return []
    found = []
    for case, source in cases:
        table = read_table(store, str(case.rows_object))
        mask = np.ones(table.num_rows, dtype=bool)
        for name, text in zip(manifest.key, wanted, strict=True):
            scalar = scalar_of(text, table.schema.field(name).type) if name in table.column_names else None
            equal = pc.fill_null(pc.equal(table[name], scalar), False) if scalar is not None else None
            mask &= np.asarray(equal) if equal is not None else False
        found += [
            HeldRow(
                case=case.id,
                digest=case.digest,
                kind=case.kind,
                status=case.status,
                delivery=case.delivery_id,
                source=source,
                row=facts[_NUMBER],
                score=facts[_SCORE],
                p_value=facts[_P_VALUE],
                reasons=tuple(facts[_REASONS] or ()),
                decisions=tuple(each for about, each in decided if about == case.id),
                values={name: facts[name] for name in manifest.columns if name in facts},
            )
            for facts in table.filter(pa.array(mask)).to_pylist()
        ]
    return found
