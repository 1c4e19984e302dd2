"""Rows by name: `dataset:key` in the newest snapshot, or in one of the cases that were opened last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from sqlalchemy import select

from assay.console.casefile import row_index
from assay.console.desk import Desk
from assay.console.paging import merged
from assay.db import Case, latest_snapshot
from assay.errors import AssayError
from assay.ledger.errors import NotInLedger
from assay.ledger.rows.lookup import find_rows, scalar_of

if TYPE_CHECKING:
    from assay.ledger import FoundRow

MOST_CASES = 12
"""Cases that are searched for a row which is in no snapshot; `assay ledger trace` looks into all."""
_MOST_ROWS = 100_000


@dataclass(frozen=True)
class HeldRow:
    """A row in a case: the case, and the row's number in its delivery."""

    case: Case
    row: int


def split_name(name: str) -> tuple[str, str]:
    """`dataset:key` as its two halves; the key is empty where there is no colon."""
    dataset, _, key = name.partition(":")
    return dataset, key


def find_row(desk: Desk, name: str) -> FoundRow | None:
    """The row of that name in the data set's newest snapshot; None if it has none."""
    dataset, key = split_name(name)
    if not dataset or not key:
        return None
    try:
        return find_rows(desk.database, desk.store, dataset, key, newest=1)[0]
    except NotInLedger:
        return None


def find_in_cases(desk: Desk, name: str) -> list[HeldRow]:
    """The row of that name in the newest of the data set's cases, at most `MOST_CASES` of them."""
    dataset, key = split_name(name)
    known = desk.contracts.of(dataset)
    columns = list(known.contract.schema_.key) if known and known.contract else []
    if len(columns) != 1 or not key:
        return []
    found = []
    with desk.session() as session:
        # One status at a time: each is read in the order of an index.
        parts = [
            session.scalars(
                select(Case)
                .where(
                    Case.dataset == dataset,
                    Case.status == status,
                    Case.rows_object.is_not(None),
                    Case.rows <= _MOST_ROWS,
                )
                .order_by(Case.opened_at.desc(), Case.id.desc())
                .limit(MOST_CASES)
            ).all()
            for status in ("open", "released", "rejected")
        ]
        session.expunge_all()
    newest = merged(parts, lambda case: (case.opened_at, case.id), falling=True, limit=MOST_CASES - 1)
    for case in newest:
        try:
            rows = row_index(desk, case)
        except AssayError:
            continue
        if columns[0] not in rows.columns:
            continue
        column = rows.table[columns[0]]
        scalar = scalar_of(key, column.type)
        if scalar is None:
            continue
        hit = np.asarray(pc.fill_null(pc.equal(column, scalar), False))
        found += [HeldRow(case, int(number)) for number in rows.numbers[hit][:5]]
    return found


def row_dataset(desk: Desk, name: str) -> str | None:
    """The data set that a row's name begins with, if the registry or a contract knows it."""
    dataset, key = split_name(name)
    if not key:
        return None
    with desk.session() as session:
        if latest_snapshot(session, dataset) is not None:
            return dataset
    return dataset if desk.contracts.of(dataset) is not None else None
