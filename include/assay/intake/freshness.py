"""Is the delivery meant for us, and newer than the last one?

An old delivery keeps its valid signature for ever. What tells it from a new one must be signed as well: a sequence
number or a date, in `delivery.json` (which the manifest lists) or in minisign's trusted comment, compared with the
highest one that the registry has seen from the same source. The same claims bind a delivery to one data set and source,
so that a genuine delivery of one source cannot be passed off as another's.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.contract import Contract, Source
from assay.db import Delivery, list_deliveries
from assay.findings import Finding, Outcome, Scope, Severity
from assay.intake.claims import NOTE, Claims, utc_text

_FREEZE = "intake.freshness.freeze"

SUPPLY_CHAIN = "AML.T0010.002"
"""MITRE ATLAS: AI supply chain compromise, data."""

_AHEAD = dt.timedelta(days=1)  # clocks and time zones differ; more than a day is no such difference
_ADVICE = (
    "have the publisher deliver again with a new sequence number or date (assay.intake.publish writes them)"
)


def judge_identity(claims: Claims, contract: Contract, source: Source) -> Finding | None:
    """Is it meant for this data set and source? None if nothing signed says so."""
    if claims.dataset is None and claims.source is None:
        return None
    meant = f"{claims.dataset or 'any data set'}/{claims.source or 'any source'}"
    ours = f"{contract.dataset}/{source.id}"
    fits = claims.dataset in {None, contract.dataset} and claims.source in {None, source.id}
    return Finding(
        check="intake.identity",
        outcome=Outcome.PASSED if fits else Outcome.FAILED,
        severity=Severity.INFO if fits else Severity.CRITICAL,
        message=f"signed for {meant}"
        + (
            ""
            if fits
            else f", not for {ours}: a genuine delivery in the wrong place, or the wrong contract or --source"
        ),
        evidence={"expected": ours, "signed_for": meant},
        technique=None if fits else SUPPLY_CHAIN,
    )


def judge_freshness(
    session: Session,
    claims: Claims,
    manifest_sha256: str,
    contract: Contract,
    source: Source,
    *,
    key_ids: Collection[str],
    now: dt.datetime,
) -> list[Finding]:
    """Compare a delivery, whose signature passed, with those that the registry knows of the same source.

    Args:
        session: A session on the registry.
        claims: What was signed about it.
        manifest_sha256: Digest of its manifest.
        contract: Says how old a delivery may be, and what no signed date means.
        source: Where it comes from.
        key_ids: Ids of the publisher's keys that are not revoked: what others signed does not count as seen.
        now: The time to compare dates with, UTC.

    Returns:
        Findings `intake.freshness.replay` and `.rollback` and, where they apply, `.gap`, `.freeze`, `.future`,
        `.expired` and `.age`.
    """
    # Findings hold no time of now: the same delivery, judged again, has the same findings.
    everywhere = list(session.scalars(select(Delivery).where(Delivery.manifest_sha256 == manifest_sha256)))
    known = counted(session, contract, source, key_ids)
    findings = [
        _replay(everywhere, contract, source, claims),
        _rollback(known, claims, manifest_sha256, contract),
    ]
    gap = _gap(known, claims, manifest_sha256, contract)
    if gap is not None and findings[-1].outcome is not Outcome.FAILED:
        findings.append(gap)
    if contract.freshness.interval is not None:
        here = [row for row in everywhere if (row.dataset, row.source) == (contract.dataset, source.id)]
        findings.append(_freeze(known, here, claims, contract.freshness.interval, now))
    if claims.date is not None:
        findings.append(_future(claims, now))
    if claims.valid_until is not None:
        findings.append(_expired(claims.valid_until, now))
    if contract.freshness.max_age is not None:
        findings.append(_age(claims, contract.freshness.max_age, now))
    return findings


def counted(session: Session, contract: Contract, source: Source, key_ids: Collection[str]) -> list[Delivery]:
    """The deliveries of a source that later ones are compared with.

    Those that a publisher signed with a key that is not revoked, for us, in order; and of those held because a number
    was passed over, the ones that were admitted all the same.
    """
    return [
        row for row in list_deliveries(session, contract.dataset, source=source.id) if _counts(row, key_ids)
    ]


def _counts(row: Delivery, key_ids: Collection[str]) -> bool:
    counts = (row.detail or {}).get("intake", {}).get("counts") or row.state == "admitted"
    return row.key_id in key_ids and bool(counts)


def _newest_counted(
    session: Session, contract: Contract, source: Source, key_ids: Collection[str]
) -> Delivery | None:
    """The last of the `counted` deliveries, read from the newest back: there may be very many."""
    newest_first = (
        select(Delivery)
        .where(Delivery.dataset == contract.dataset, Delivery.source == source.id)
        .order_by(Delivery.first_seen.desc(), Delivery.id.desc())
        .execution_options(yield_per=20)
    )
    return next((row for row in session.scalars(newest_first) if _counts(row, key_ids)), None)


def judge_silence(session: Session, contract: Contract, source: Source, now: dt.datetime) -> Finding:
    """Has a source fallen silent for longer than the contract's `freshness.interval`?

    For a schedule, not for a delivery: somebody who holds back all new deliveries gives nothing to verify.

    Args:
        session: A session on the registry.
        contract: Says how long a source may be silent.
        source: The source.
        now: The time to compare with, UTC.

    Returns:
        The finding `intake.freshness.freeze` about the source.
    """
    interval = contract.freshness.interval
    about: dict[str, Any] = {"check": _FREEZE, "scope": Scope.SOURCE, "subject": source.id}
    if interval is None:
        return Finding(
            outcome=Outcome.NOT_CHECKED,
            message="the contract does not say how often deliveries come; add freshness.interval",
            **about,
        )
    keys = {
        key.id
        for publisher in contract.publishers
        if publisher.id == source.publisher
        for key in publisher.keys
        if key.revoked is None or now.date() < key.revoked
    }
    newest = _newest_counted(session, contract, source, keys)
    if newest is None:
        return Finding(
            outcome=Outcome.NOT_CHECKED,
            severity=Severity.HIGH,
            message=f"no delivery of {source.id!r} has been seen yet",
            **about,
        )
    latest = _moment(newest.first_seen)
    evidence = {"latest": utc_text(latest), "interval_seconds": int(interval.total_seconds())}
    late = now - latest > interval
    return Finding(
        outcome=Outcome.FAILED if late else Outcome.PASSED,
        severity=Severity.HIGH if late else Severity.INFO,
        message=f"the last delivery of {source.id!r} came on {utc_text(latest)}"
        + (
            f", longer ago than the contract's freshness.interval ({interval}); ask the publisher"
            if late
            else ""
        ),
        evidence=evidence,
        technique=SUPPLY_CHAIN if late else None,
        **about,
    )


def admitted_before(
    session: Session, manifest_sha256: str, contract: Contract, source: Source
) -> Delivery | None:
    """The admitted delivery of this source with the same manifest."""
    rows = list_deliveries(session, contract.dataset, source=source.id, state="admitted")
    return next((row for row in rows if row.manifest_sha256 == manifest_sha256), None)


def _replay(everywhere: list[Delivery], contract: Contract, source: Source, claims: Claims) -> Finding:
    here = [row for row in everywhere if (row.dataset, row.source) == (contract.dataset, source.id)]
    admitted = next((row for row in here if row.state == "admitted"), None)
    if admitted is not None:
        return _failed(
            "intake.freshness.replay",
            f"this very delivery was admitted before, first seen {admitted.first_seen}; {_ADVICE}, or set the source's "
            "on_repeat to skip if repeats are normal there",
            {"delivery": admitted.id, "first_seen": admitted.first_seen},
        )
    elsewhere = next(
        (
            row
            for row in everywhere
            if (row.dataset, row.source) != (contract.dataset, source.id)
            and row.key_id is not None
            and row.state != "rejected"
        ),
        None,
    )
    if elsewhere is not None and claims.source is None:
        return _failed(
            "intake.freshness.replay",
            f"the same signed manifest was delivered by the source {elsewhere.source!r} of {elsewhere.dataset!r} on "
            f"{elsewhere.first_seen}, and nothing signed says which of the two it is meant for; have the publisher "
            f"name dataset and source in {NOTE}",
            {"delivery": elsewhere.id, "dataset": elsewhere.dataset, "source": elsewhere.source},
        )
    return _passed("intake.freshness.replay", "not admitted before")


def _rollback(known: list[Delivery], claims: Claims, manifest_sha256: str, contract: Contract) -> Finding:
    others = [row for row in known if row.manifest_sha256 != manifest_sha256]
    if claims.sequence is not None:
        highest = max(
            (row for row in others if row.sequence is not None), key=lambda r: r.sequence or 0, default=None
        )
        if highest is None or highest.sequence is None:
            return _passed(
                "intake.freshness.rollback",
                f"sequence {claims.sequence}, the first one seen",
                {"sequence": claims.sequence},
            )
        evidence = {"sequence": claims.sequence, "highest": highest.sequence, "delivery": highest.id}
        if claims.sequence > highest.sequence:
            return _passed(
                "intake.freshness.rollback",
                f"sequence {claims.sequence} comes after {highest.sequence}",
                evidence,
            )
        how = (
            "is the number of another delivery"
            if claims.sequence == highest.sequence
            else "is older than what came"
        )
        return _failed(
            "intake.freshness.rollback",
            f"sequence {claims.sequence} {how}: {highest.sequence} was seen; {_ADVICE}",
            evidence,
        )
    date = claims.date_text
    if date is not None:
        latest = max((row for row in others if row.signed_at), key=lambda r: r.signed_at or "", default=None)
        if latest is None or latest.signed_at is None:
            return _passed("intake.freshness.rollback", f"dated {date}, the first one seen", {"date": date})
        evidence = {"date": date, "latest": latest.signed_at, "delivery": latest.id}
        # Two deliveries may be signed within one second, or on one day: the same date is not an older one.
        if date >= latest.signed_at:
            return _passed(
                "intake.freshness.rollback", f"dated {date}, not before {latest.signed_at}", evidence
            )
        return _failed(
            "intake.freshness.rollback",
            f"dated {date}, before {latest.signed_at}, which was seen; {_ADVICE}",
            evidence,
        )
    if contract.freshness.when_absent == "accept":
        return _passed(
            "intake.freshness.rollback",
            "no signed sequence or date; the contract accepts that (freshness.when_absent): only an exact repeat "
            "would be noticed",
        )
    return Finding(
        check="intake.freshness.rollback",
        outcome=Outcome.NOT_CHECKED,
        severity=Severity.HIGH,
        message="nothing signed tells an old delivery from a new one: no sequence or date in "
        f"{NOTE} or in the trusted comment; {_ADVICE}, or set freshness.when_absent to accept",
    )


def _gap(known: list[Delivery], claims: Claims, manifest_sha256: str, contract: Contract) -> Finding | None:
    """Whether a number was passed over; None where there is nothing to count from."""
    numbers = [
        row.sequence for row in known if row.sequence is not None and row.manifest_sha256 != manifest_sha256
    ]
    if claims.sequence is None or not numbers:
        return None
    highest = max(numbers)
    missing = claims.sequence - highest - 1
    evidence = {"sequence": claims.sequence, "highest": highest, "missing": max(missing, 0)}
    if missing <= 0:
        return _passed("intake.freshness.gap", f"no number between {highest} and {claims.sequence}", evidence)
    first, last = highest + 1, claims.sequence - 1
    which = f"{first} was" if missing == 1 else f"{first} to {last} were"
    said = f"sequence {claims.sequence} comes after {highest}: {which} passed over"
    if contract.freshness.on_gap == "accept":
        return _passed(
            "intake.freshness.gap", f"{said}; the contract accepts that (freshness.on_gap)", evidence
        )
    advice = (
        "a delivery was lost or held back: have the publisher send it, and verify this one again; or set "
        "freshness.on_gap to accept"
    )
    if contract.freshness.on_gap == "reject":
        return _failed("intake.freshness.gap", f"{said}; {advice}", evidence)
    return Finding(
        check="intake.freshness.gap",
        outcome=Outcome.NOT_CHECKED,
        severity=Severity.HIGH,
        message=f"{said}; {advice}",
        evidence=evidence,
        technique=SUPPLY_CHAIN,
    )


def _freeze(
    known: list[Delivery], here: list[Delivery], claims: Claims, interval: dt.timedelta, now: dt.datetime
) -> Finding:
    """Whether this, the newest that the source gives us, is older than the contract's interval.

    Where nothing signed has a date, the day counts on which this very delivery came first: served again and again, it
    grows old as well.
    """
    dates = [row.signed_at for row in known if row.signed_at]
    if claims.date_text is not None:
        dates.append(claims.date_text)
    seen = [row.first_seen for row in here]
    if not dates and not seen:
        return _passed(_FREEZE, "it came for the first time; later silence counts from now")
    newest = max(_moment(text) for text in (dates or [min(seen)]))
    evidence = {"newest": utc_text(newest), "interval_seconds": int(interval.total_seconds())}
    if now - newest > interval:
        return _failed(
            _FREEZE,
            f"the newest that the source gives is of {utc_text(newest)}, older than the contract's freshness.interval "
            f"({interval}): newer ones may be held back; {_ADVICE}",
            evidence,
        )
    return _passed(_FREEZE, f"the newest is of {utc_text(newest)}, within {interval}", evidence)


def _expired(until: dt.datetime, now: dt.datetime) -> Finding:
    evidence = {"valid_until": utc_text(until)}
    if now > until:
        return _failed(
            "intake.freshness.expired", f"its manifest was valid until {utc_text(until)}; {_ADVICE}", evidence
        )
    return _passed("intake.freshness.expired", f"its manifest is valid until {utc_text(until)}", evidence)


def _moment(text: str) -> dt.datetime:
    """A time as the registry keeps it."""
    parsed = dt.datetime.fromisoformat(text)
    return parsed.replace(tzinfo=dt.UTC) if parsed.tzinfo is None else parsed.astimezone(dt.UTC)


def _future(claims: Claims, now: dt.datetime) -> Finding:
    latest = max(date for date in (claims.signed, claims.created) if date is not None)
    evidence = {"date": utc_text(latest)}
    if latest > now + _AHEAD:
        return _failed(
            "intake.freshness.future",
            f"dated {utc_text(latest)}, more than a day ahead of this machine's clock: once accepted, it would make "
            "every later delivery look old; check both clocks",
            evidence,
        )
    return _passed("intake.freshness.future", f"dated {utc_text(latest)}", evidence)


def _age(claims: Claims, most: dt.timedelta, now: dt.datetime) -> Finding:
    dates = [date for date in (claims.signed, claims.created) if date is not None]
    if not dates:
        return Finding(
            check="intake.freshness.age",
            outcome=Outcome.NOT_CHECKED,
            severity=Severity.HIGH,
            message=f"the contract wants deliveries no older than {most}, and this one has no signed date; {_ADVICE}",
        )
    oldest = min(dates)
    evidence = {"date": utc_text(oldest), "max_age_seconds": int(most.total_seconds())}
    if now - oldest > most:
        return _failed(
            "intake.freshness.age",
            f"dated {utc_text(oldest)}, older than the contract's freshness.max_age ({most}); {_ADVICE}",
            evidence,
        )
    return _passed("intake.freshness.age", f"dated {utc_text(oldest)}, no older than {most}", evidence)


def _passed(check: str, message: str, evidence: dict[str, Any] | None = None) -> Finding:
    return Finding(check=check, outcome=Outcome.PASSED, message=message, evidence=evidence or {})


def _failed(check: str, message: str, evidence: dict[str, Any]) -> Finding:
    return Finding(
        check=check,
        outcome=Outcome.FAILED,
        severity=Severity.CRITICAL,
        message=message,
        evidence=evidence,
        technique=SUPPLY_CHAIN,
    )
