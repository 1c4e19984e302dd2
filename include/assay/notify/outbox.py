"""The outbox: news is noted in the registry before it is sent, so that nobody is told twice and nothing is forgotten.

News comes from the ledger, not from tasks: a task that is tried again adds nothing to the ledger, and so nothing here;
one that was killed after it signed something is told of by the next. Each place has its own row for each statement.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session

from assay.canonical import utc_now
from assay.db import Database, LedgerEntry, Notification
from assay.ledger import EnvelopeError, Ledger, Statement, predicate_type
from assay.ledger.statements.envelopes import verify_envelope
from assay.notify.events import EVENTS, STEPS, Event, event_of
from assay.notify.targets import Target

log = structlog.get_logger(__name__)

MOST_ATTEMPTS = 3
_CURSOR = "cursor"
_STALE = dt.timedelta(minutes=10)
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Notice:
    """What became of one message to one place.

    Attributes:
        statement_id: The statement that it tells of.
        position: Its entry in the ledger.
        event: Name of the event.
        target: The place, without what is secret of it.
        state: `sending`, `sent` or `failed`.
        attempts: How often it was tried.
        problem: Why it failed.
        at: When it was tried last, UTC.
    """

    statement_id: str
    position: int
    event: str
    target: str
    state: str
    attempts: int
    problem: str
    at: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True)
class Standing:
    """How a place has done.

    Attributes:
        target: The place, without what is secret of it.
        arrived: When its newest message arrived there, UTC; None where none ever did.
        lost: How many messages were given up since then.
        lost_before: How many were given up before that.
        problem: Why the newest message that did not arrive failed; empty where all arrived.
    """

    target: str
    arrived: str | None
    lost: int
    lost_before: int
    problem: str


def tell(
    ledger: Ledger,
    targets: Sequence[Target],
    *,
    since: int,
    events: Collection[str] = EVENTS,
    pages: str = "",
) -> list[Notice]:
    """Send what is new in the ledger to every place; what failed before is tried again, three times at most.

    A message is lost by no crash and sent twice only where a process dies between sending it and noting so.

    Args:
        ledger: The log; the outbox is in its database.
        targets: Places.
        since: Where to begin where nothing was ever told: what came before is history, not news.
        events: Names of the events that are wanted.
        pages: Address of Assay's pages, e.g. `https://airflow.example.org/assay`; empty: messages have no link.

    Returns:
        What was tried now.
    """
    if not targets:
        return []
    database, by_name = ledger.database, {target.name: target for target in targets}
    with database.write() as session:
        _note(session, ledger, sorted(by_name), since, events)
    tried: list[tuple[str, str]] = []
    while (claimed := _claim(database, sorted(by_name), set(tried))) is not None:
        event, target = _event(ledger, claimed.position), by_name[claimed.target]
        problem = "its statement cannot be read" if event is None else _send(target, event, pages)
        _mark(database, claimed, problem)
        if problem:
            log.warning(
                "a notification was not delivered", news=claimed.event, target=target.name, problem=problem
            )
        tried.append((claimed.statement_id, claimed.target))
    found = {(notice.statement_id, notice.target): notice for notice in list_notices(database)}
    return [found[each] for each in tried if each in found]


def list_notices(database: Database, *, state: str | None = None, limit: int = 500) -> list[Notice]:
    """The newest messages and what became of them, newest first."""
    query = select(Notification).where(Notification.statement_id != _CURSOR)
    if state is not None:
        query = query.where(Notification.state == state)
    query = query.order_by(Notification.position.desc(), Notification.target).limit(limit)
    with database.session() as session:
        return [_notice(row) for row in session.scalars(query)]


def standings(database: Database) -> list[Standing]:
    """How each place has done that was ever to be told something, by name."""
    query = select(Notification.target).where(Notification.statement_id != _CURSOR).distinct()
    with database.session() as session:
        return [_standing(session, target) for target in sorted(session.scalars(query))]


def _standing(session: Session, target: str) -> Standing:
    def newest(condition: ColumnElement[bool]) -> Notification | None:
        query = select(Notification).where(Notification.target == target, condition)
        return session.scalars(query.order_by(Notification.position.desc()).limit(1)).first()

    def given_up(when: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(Notification)
        return session.scalar(query.where(Notification.target == target, _over(), when)) or 0

    sent, failed = newest(Notification.state == "sent"), newest(Notification.state != "sent")
    at = -1 if sent is None else sent.position
    return Standing(
        target=target,
        arrived=None if sent is None else sent.at,
        lost=given_up(Notification.position > at),
        lost_before=given_up(Notification.position < at),
        problem="" if failed is None else failed.problem,
    )


def _over() -> ColumnElement[bool]:
    """What nobody tries again, because it failed too often or its last sender died."""
    died = and_(Notification.state == "sending", Notification.at < _stale())
    return and_(Notification.attempts >= MOST_ATTEMPTS, or_(Notification.state == "failed", died))


def _stale() -> str:
    """Who began to send before this is taken for dead."""
    return (dt.datetime.now(dt.UTC) - _STALE).strftime(_TIME_FORMAT)


def _note(session: Session, ledger: Ledger, targets: list[str], since: int, events: Collection[str]) -> None:
    """Enter a row for each new event and place, and remember how far the ledger was read."""
    cursor = session.get(Notification, (_CURSOR, ""))
    if cursor is None:
        cursor = Notification(
            statement_id=_CURSOR, target="", position=since, event=_CURSOR, state="sent", at=utc_now()
        )
        session.add(cursor)
    if not ledger.has_key:  # nothing was ever signed here
        return
    kinds = [predicate_type(step) for step in STEPS]
    entries = session.scalars(
        select(LedgerEntry)
        .where(LedgerEntry.position >= cursor.position, LedgerEntry.predicate_type.in_(kinds))
        .order_by(LedgerEntry.position)
    ).all()
    for entry in entries:
        statement = _read(ledger, entry)
        event = None if statement is None else event_of(statement, entry.position)
        if event is not None and event.name in events:
            session.add_all(
                Notification(
                    statement_id=event.statement_id,
                    target=target,
                    position=event.position,
                    event=event.name,
                    state="failed",
                    attempts=0,
                    problem="not sent yet",
                    at=utc_now(),
                )
                for target in targets
            )
    last = session.scalar(select(LedgerEntry.position).order_by(LedgerEntry.position.desc()).limit(1))
    cursor.position = max(cursor.position, 0 if last is None else last + 1)
    cursor.at = utc_now()


def _claim(database: Database, targets: list[str], done: set[tuple[str, str]]) -> Notice | None:
    """Take the oldest message that waits, so that no other process sends it too."""
    with database.write() as session:
        waiting = session.scalars(
            select(Notification)
            .where(
                Notification.target.in_(targets),
                Notification.attempts < MOST_ATTEMPTS,
                (Notification.state == "failed")
                | ((Notification.state == "sending") & (Notification.at < _stale())),
            )
            .order_by(Notification.position, Notification.target)
        )
        row = next((each for each in waiting if (each.statement_id, each.target) not in done), None)
        if row is None:
            return None
        row.state, row.attempts, row.at = "sending", row.attempts + 1, utc_now()
        session.flush()
        return _notice(row)


def _mark(database: Database, claimed: Notice, problem: str) -> None:
    with database.write() as session:
        row = session.get(Notification, (claimed.statement_id, claimed.target))
        assert row is not None, "a message that was claimed is not deleted"
        row.state, row.problem, row.at = "failed" if problem else "sent", problem, utc_now()


def _send(target: Target, event: Event, pages: str) -> str:
    link = f"\n\n{pages.rstrip('/')}/p/{event.page}" if pages else ""
    return target.send(f"Assay: {event.title}", event.text + link)


def _event(ledger: Ledger, position: int) -> Event | None:
    entry = ledger.entry(position)
    try:
        return None if entry is None else event_of(ledger.read(entry), position)
    except EnvelopeError:
        return None


def _read(ledger: Ledger, entry: LedgerEntry) -> Statement | None:
    """A statement, if its signature stands up: nobody is told what was forged."""
    try:
        return verify_envelope(entry.envelope, ledger.public_key, position=entry.position)
    except EnvelopeError:
        log.warning("an entry of the ledger is not told of: it does not stand up", position=entry.position)
        return None


def _notice(row: Notification) -> Notice:
    return Notice(
        row.statement_id, row.position, row.event, row.target, row.state, row.attempts, row.problem, row.at
    )
