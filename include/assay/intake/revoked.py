"""Deliveries that were admitted before their publisher's key was known to be lost.

A revocation stops what comes after it. What came before has passed, is in snapshots and perhaps in models, and has to
be looked at again: this lists it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy.orm import Session

from assay.contract import Contract, Key
from assay.db import Delivery, list_deliveries


@dataclass(frozen=True)
class Doubtful:
    """An admitted delivery that a revoked key vouched for, and too few others.

    Attributes:
        delivery_id: The delivery.
        source: Where it came from.
        key_id: The revoked key.
        revoked: First day on which its signatures do not count.
        reason: Why it was revoked.
        signed: The latest day on which it can have been signed.
        basis: How that is known: `log` (a transparency log says so) or `arrival` (it was there on that day).
        after: Whether it can have been signed on or after the day of the revocation; then nothing vouches for it.
    """

    delivery_id: str
    source: str
    key_id: str
    revoked: dt.date
    reason: str | None
    signed: dt.date
    basis: Literal["log", "arrival"]
    after: bool


def doubtful_deliveries(session: Session, contract: Contract) -> list[Doubtful]:
    """Admitted deliveries of a data set whose signature no longer counts, those signed after the revocation first.

    When a delivery was signed is not for the holder of the key to say, since that may be the thief: what counts is a
    transparency log's time, else the day on which the delivery was first seen here. A date that was signed can only
    make it later.

    Args:
        session: A session on the registry.
        contract: Whose keys say which are revoked; revoked keys stay listed there.
    """
    keys = {publisher.id: {key.id: key for key in publisher.keys} for publisher in contract.publishers}
    thresholds = {source.id: source.threshold for source in contract.sources}
    found = []
    for row in list_deliveries(session, contract.dataset, state="admitted"):
        known = keys.get(row.publisher, {})
        signed = _signed(row)
        revoked = [
            known[name] for name in signed["keys"] if name in known and known[name].revoked is not None
        ]
        if revoked and len(signed["keys"]) - len(revoked) < thresholds.get(row.source, 1):
            found += [_doubtful(row, key, signed) for key in revoked]
    return sorted(found, key=lambda each: (not each.after, each.signed, each.delivery_id, each.key_id))


def _doubtful(row: Delivery, key: Key, signed: dict[str, Any]) -> Doubtful:
    assert key.revoked is not None
    basis: Literal["log", "arrival"] = "log" if signed.get("vouched_at") else "arrival"
    day = _day(signed.get("vouched_at") or row.first_seen)
    claimed = _day(row.signed_at) if row.signed_at else day
    return Doubtful(
        delivery_id=row.id,
        source=row.source,
        key_id=key.id,
        revoked=key.revoked,
        reason=key.revoked_reason,
        signed=day,
        basis=basis,
        after=max(day, claimed) >= key.revoked,
    )


def _signed(row: Delivery) -> dict[str, Any]:
    """Who signed, as it was registered; a row without it names its one key."""
    intake = dict((row.detail or {}).get("intake") or {})
    return dict(intake.get("signed") or {"keys": [row.key_id] if row.key_id else []})


def _day(text: str) -> dt.date:
    return dt.date.fromisoformat(text[:10])
