"""What a key, a publisher, a file or a delivery touched: every row, snapshot and model that it came into.

The question is asked when a key was stolen or a file turned out to be wrong. Deliveries come from signed statements;
rows and snapshots come from the snapshots' own manifests, whose digests signed statements name: a snapshot counts only
where it holds rows of those deliveries, not where it merely followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa
from sqlalchemy import select

from assay.db import Case, Database, Delivery, LedgerEntry, LedgerSubject, ModelRow, Promotion
from assay.errors import UsageError
from assay.ledger.errors import EnvelopeError
from assay.ledger.lineage.touched import Affected, Held, Learned, Touched
from assay.ledger.lineage.versions import Versions
from assay.ledger.log.entries import lookup_key
from assay.ledger.log.ledger import Ledger
from assay.ledger.statements.envelopes import verify_envelope
from assay.ledger.statements.statement import Statement, predicate_type
from assay.store import ObjectStore

_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}(T\d{2}:\d{2}:\d{2}Z)?)?)?")
_FIRST = "0000-01-01T00:00:00Z"
_CHUNK = 500


def affected(
    ledger: Ledger,
    store: ObjectStore,
    what: str,
    *,
    since: str | None = None,
    until: str | None = None,
) -> Affected:
    """What a key, publisher, file or delivery touched.

    Args:
        ledger: The log.
        store: The object store, for the snapshots' manifests.
        what: A key id, a publisher's id, a file's SHA-256 or path, or a delivery's id.
        since: Only deliveries that came in at or after this moment (a year, month, day or ISO 8601 time, UTC).
        until: Only deliveries that came in before it.

    Raises:
        UsageError: A time cannot be read.
        NoLedgerKey: There is no public key to check the statements with.
        SnapshotError: A snapshot's objects are not what they should be.
    """
    window = _moment(since), _moment(until)
    touched, problems = _deliveries(ledger, what, window)
    found = Versions(ledger.database, store, touched)
    snapshots = found.held()
    return Affected(
        what,
        window[0],
        window[1],
        touched,
        snapshots,
        _models(ledger.database, snapshots),
        _cases(ledger.database, touched),
        found.distinct_rows(),
        problems,
    )


def affected_rows(ledger: Ledger, store: ObjectStore, found: Affected) -> Iterator[pa.RecordBatch]:
    """Every row that was found, with the schema `ROWS`; memory is that of one batch."""
    yield from Versions(ledger.database, store, found.deliveries).rows()


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    if not _DATE.fullmatch(text):
        raise UsageError(
            f"the time {text!r} cannot be read", expected="2026, 2026-03, 2026-03-01 or 2026-03-01T00:00:00Z"
        )
    return text + _FIRST[len(text) :]


def _deliveries(
    ledger: Ledger, what: str, window: tuple[str | None, str | None]
) -> tuple[tuple[Touched, ...], tuple[str, ...]]:
    names = {lookup_key(what), lookup_key(f"file:{what}")}
    out, problems = [], []
    for row in _entries(ledger, names, what):
        try:
            statement = verify_envelope(row.envelope, ledger.public_key, position=row.position)
        except EnvelopeError as error:
            problems.append(f"entry {row.position}: {error.message}")
            continue
        facts = statement.predicate
        seen = str(facts.get("first_seen") or facts.get("signed_at") or "")
        if (window[0] and seen < window[0]) or (window[1] and seen >= window[1]):
            continue
        out.append(
            Touched(
                position=row.position,
                delivery=statement.subjects[0].name,
                dataset=str(facts.get("dataset", "")),
                source=str(facts.get("source", "")),
                publisher=str(facts.get("publisher", "")),
                key=facts.get("key"),
                signed_at=facts.get("signed_at"),
                first_seen=seen,
                verdict=str(facts.get("verdict", "")),
                files=_files_of(statement, what),
            )
        )
    return tuple(out), tuple(problems)


def _entries(ledger: Ledger, names: set[str], what: str) -> list[LedgerEntry]:
    """Statements that verified deliveries and name the thing, in the order of the log."""
    kind = predicate_type("delivery-verified")
    named = select(LedgerSubject.position).where(LedgerSubject.name.in_(names))
    by_publisher = select(Delivery.id).where(Delivery.publisher == what)
    about = select(LedgerSubject.position).where(
        LedgerSubject.role == "subject", LedgerSubject.name.in_(by_publisher)
    )
    query = select(LedgerEntry).where(
        LedgerEntry.predicate_type == kind,
        LedgerEntry.position.in_(named.union(about)),
    )
    with ledger.database.session() as session:
        return list(session.scalars(query.order_by(LedgerEntry.position)))


def _files_of(statement: Statement, what: str) -> tuple[str, ...]:
    """Paths of the files that the question is about; empty when it is about the delivery as a whole."""
    digest = what.removeprefix("sha256:")
    return tuple(
        item.name.removeprefix("file:")
        for item in statement.inputs
        if item.name.startswith("file:") and (item.sha256 == digest or item.name in {what, f"file:{what}"})
    )


def _models(database: Database, snapshots: tuple[Held, ...]) -> tuple[Learned, ...]:
    rows = {each.snapshot: each.rows for each in snapshots}
    out: list[Learned] = []
    with database.session() as session:
        for start in range(0, len(rows), _CHUNK):
            some = sorted(rows)[start : start + _CHUNK]
            for model in session.scalars(
                select(ModelRow).where(ModelRow.snapshot_id.in_(some)).order_by(ModelRow.made_at, ModelRow.id)
            ):
                times = session.scalars(
                    select(Promotion.at).where(Promotion.model_id == model.id).order_by(Promotion.position)
                )
                out.append(
                    Learned(model.id, model.snapshot_id, model.state, rows[model.snapshot_id], tuple(times))
                )
    return tuple(out)


def _cases(database: Database, touched: tuple[Touched, ...]) -> tuple[str, ...]:
    listed = sorted({each.delivery for each in touched})
    out: list[str] = []
    with database.session() as session:
        for start in range(0, len(listed), _CHUNK):
            some = listed[start : start + _CHUNK]
            out += session.scalars(select(Case.id).where(Case.delivery_id.in_(some)))
    return tuple(sorted(out))
