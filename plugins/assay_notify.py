"""Telling people what a station found: after each station, whatever became of it, and never to the line's harm."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.configuration import conf

if TYPE_CHECKING:
    from assay.line import Line
    from assay.settings import Connection

log = logging.getLogger(__name__)


def tell_people(line: Line, since: int) -> None:
    """Send what the ledger has that nobody was told of yet, to the places of `ASSAY_NOTIFY`.

    News is read from the ledger, not from the task: a task that is tried again tells nothing twice, and what a killed
    one signed the next one tells. What cannot be sent is logged, kept, tried again, and shown by `assay notify list`.

    Args:
        line: The open line.
        since: The ledger's size before the station ran: where to begin where nobody was ever told anything.
    """
    settings = line.settings
    if not settings.notify_places:
        return
    try:
        from assay.notify import EVENTS, targets_of, tell

        targets = targets_of(settings.notify_places, _connection)
        for target in targets:
            _mask(target.url)
        pages = settings.pages_url or f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/assay"
        tell(line.ledger, targets, since=since, events=settings.notify_events or EVENTS, pages=pages)
    except Exception:
        log.warning("people were not told of what is new since entry %s of the ledger", since, exc_info=True)


def _connection(name: str) -> Connection | None:
    """An Airflow connection from wherever Airflow keeps them: a secrets backend, its database, or the environment."""
    from airflow.sdk import Connection as AirflowConnection
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    from assay.settings import Connection, connection

    try:
        found = AirflowConnection.get(name)
    except (AirflowNotFoundException, AirflowRuntimeError, ImportError):
        return connection(name)
    return Connection(kind=found.conn_type, extra=found.extra_dejson)


def _mask(secret: str) -> None:
    """Let Airflow put asterisks in the place of an address in every task's log."""
    from airflow.sdk.log import mask_secret

    mask_secret(secret)
