"""Which data set a thing belongs to: what rights are asked by."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.console.desk import Desk, missing
from assay.console.errors import BadQuery
from assay.db import (
    Case,
    Decision,
    Delivery,
    DeliveryFile,
    LedgerEntry,
    ModelRow,
    Promotion,
    Run,
    Snapshot,
)
from assay.errors import AssayError
from assay.ledger.statements.envelopes import read_unverified

KINDS = (
    "publisher",
    "key",
    "delivery",
    "file",
    "row",
    "case",
    "decision",
    "snapshot",
    "run",
    "model",
    "promotion",
    "statement",
)
"""Kinds of things, in the order of the way that data takes."""
_TABLES: dict[str, type[Delivery | Case | Snapshot | Run | ModelRow]] = {
    "delivery": Delivery,
    "case": Case,
    "snapshot": Snapshot,
    "run": Run,
    "model": ModelRow,
}


def dataset_of(desk: Desk, kind: str, name: str) -> str | None:
    """The data set of a thing; None for what belongs to no single one, such as a file that came to several.

    Raises:
        NotFound: There is no such thing.
        BadQuery: There is no such kind.
    """
    if kind not in KINDS:
        raise BadQuery(f"no kind of thing is called {kind[:40]!a}", expected=", ".join(KINDS))
    if kind in {"publisher", "key"}:
        return None
    with desk.session() as session:
        if kind == "file" and len(_owners(session, name)) > 1:
            return None
        found = _in_registry(session, kind, name)
    if found is not None:
        return found
    if kind == "run":
        from assay.console.live import live_run

        if (live := live_run(desk, name)) is not None:
            return live.dataset
    if kind == "row":
        from assay.console.rownames import row_dataset

        if (dataset := row_dataset(desk, name)) is not None:
            return dataset
    raise missing(kind, name)


def _in_registry(session: Session, kind: str, name: str) -> str | None:
    if kind in _TABLES:
        table = _TABLES[kind]
        return session.scalar(select(table.dataset).where(table.id == name))
    if kind == "decision":
        return session.scalar(
            select(Case.dataset).join(Decision, Decision.case_id == Case.id).where(Decision.id == name)
        )
    if kind == "promotion":
        return session.scalar(select(Promotion.dataset).where(Promotion.id == name))
    if kind == "file":
        return next(iter(_owners(session, name)), None)
    if kind == "statement":
        return dataset_of_entry(find_entry(session, name))
    return None


def _owners(session: Session, sha256: str) -> list[str]:
    """Up to two of the data sets that a file was delivered to: the same bytes may have come to several."""
    query = (
        select(Delivery.dataset)
        .join(DeliveryFile, DeliveryFile.delivery_id == Delivery.id)
        .where(DeliveryFile.sha256 == sha256.removeprefix("sha256:"))
    )
    return list(session.scalars(query.distinct().limit(2)))


def find_entry(session: Session, name: str) -> LedgerEntry | None:
    """An entry of the log by its statement's id or its position."""
    query = select(LedgerEntry)
    if name.isdecimal() and name.isascii() and len(name) < 19:
        query = query.where(LedgerEntry.position == int(name))
    else:
        query = query.where(LedgerEntry.statement_id == name)
    return session.scalars(query).first()


def dataset_of_entry(entry: LedgerEntry | None) -> str | None:
    """The data set that a statement names; None for one of the log itself, or one that cannot be read."""
    if entry is None:
        return None
    try:
        told = read_unverified(entry.envelope).predicate
    except (AssayError, ValueError):
        return None
    named = told.get("dataset")
    if not isinstance(named, str):
        built = told.get("buildDefinition")
        outside = built.get("externalParameters") if isinstance(built, dict) else None
        named = outside.get("dataset") if isinstance(outside, dict) else None
    return named if isinstance(named, str) else None
