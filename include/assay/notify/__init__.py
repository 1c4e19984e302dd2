"""Telling people: which statements of the ledger are news, to whom they go, and what was told already."""

from assay.notify.events import EVENTS, Event, event_of
from assay.notify.outbox import Notice, Standing, list_notices, standings, tell
from assay.notify.targets import NotifyError, Target, targets_of

__all__ = [
    "EVENTS",
    "Event",
    "Notice",
    "NotifyError",
    "Standing",
    "Target",
    "event_of",
    "list_notices",
    "standings",
    "targets_of",
    "tell",
]
