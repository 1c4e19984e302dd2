"""Stations from a source to proved bytes: land and verify."""

from __future__ import annotations

import datetime as dt
from typing import Any

from assay.contract import Source, format_duration
from assay.db import add_findings, advance_delivery, get_delivery
from assay.errors import AssayError
from assay.findings import Outcome, Verdict, worst
from assay.intake import verify_delivery
from assay.intake.errors import LocationError, NotThere
from assay.intake.freshness import judge_silence
from assay.line.context import Line
from assay.line.errors import DeliveryNotProved, DeliveryRejected, SourceSilent, Undecided


def land(line: Line, source_id: str) -> dict[str, Any]:
    """Copy what a source offers into the store and prove it, in one pass.

    Args:
        line: The open line.
        source_id: A source of the contract.

    Returns:
        `source`, `delivery` (id; None when the source offers nothing new) and `verdict`.

    Raises:
        DeliveryRejected: A check failed; the bytes are kept, and nothing of them was parsed.
        DeliveryNotProved: Signature or digests could not be checked; nothing was parsed.
        SourceSilent: There is nothing, and has been nothing for longer than the contract's `freshness.interval`.
        NotThere, LocationError: There is nothing.
        SourceUnreachable: The source does not answer now.
    """
    source = line.contract.source(source_id)
    try:
        proof = verify_delivery(
            line.contract.locate(source.uri),
            line.contract,
            source_id,
            database=line.database,
            store=line.store,
        )
    except (NotThere, LocationError) as error:
        _expect_news(line, source, error)
        raise
    if proof.verdict is None:
        return {"source": source_id, "delivery": None, "verdict": None}
    with line.database.write() as session:
        add_findings(session, proof.delivery_id, proof.findings)
        landed = get_delivery(session, proof.delivery_id)
        assert landed is not None, "verification registers what it verifies"
        if proof.verdict is Verdict.REJECT:
            advance_delivery(session, proof.delivery_id, "rejected", verdict="reject")
        line.record(
            "delivery-verified",
            [(proof.delivery_id, proof.manifest_sha256)],
            {
                "delivery": proof.delivery_id,
                "source": source_id,
                "publisher": proof.publisher,
                "key": proof.key_id,
                "sequence": proof.sequence,
                "signed_at": proof.signed_at,
                "first_seen": landed.first_seen,
                "files": len(proof.files),
                "verdict": str(proof.verdict),
            },
            inputs=[(f"file:{file.path}", file.sha256) for file in proof.files]
            + ([proof.key_id] if proof.key_id else []),
            findings=proof.findings,
            session=session,
        )
    said = "; ".join(f"{f.check}: {f.message}" for f in proof.findings if f.outcome is not Outcome.PASSED)
    if proof.verdict is Verdict.REJECT:
        raise DeliveryRejected(
            f"delivery of source {source_id!r} rejected: {said}",
            state=f"its bytes are kept sealed as {proof.delivery_id}; nothing of it was parsed",
            next_step="ask the publisher for a new, whole and newly signed delivery",
        )
    origin = worst(f.outcome for f in proof.findings if not f.check.startswith("intake.freshness"))
    if origin is not Outcome.PASSED:
        raise DeliveryNotProved(
            f"delivery of source {source_id!r} could not be proved: {said}",
            state=f"its bytes are kept as {proof.delivery_id}; nothing of it was parsed",
            next_step="name the signature and the publisher's key in the contract",
        )
    return {"source": source_id, "delivery": proof.delivery_id, "verdict": str(proof.verdict)}


def _expect_news(line: Line, source: Source, error: AssayError) -> None:
    """A source that offers nothing: is it late? Whoever holds back deliveries shows nothing that could be checked."""
    with line.database.write() as session:
        silence = judge_silence(session, line.contract, source, dt.datetime.now(dt.UTC))
        if silence.outcome is Outcome.FAILED:
            add_findings(session, f"source:{line.dataset}/{source.id}", [silence])
    if silence.outcome is Outcome.FAILED:
        raise SourceSilent(
            f"source {source.id!r}: {silence.message}",
            expected=f"a delivery every {format_duration(line.contract.freshness.interval)}"
            if line.contract.freshness.interval
            else None,
            found=error.message,
            next_step="ask the publisher; if deliveries come less often now, raise freshness.interval",
        ) from error


def verdicts(line: Line, sources: list[str], landed: list[dict[str, Any] | None]) -> dict[str, Any]:
    """The end of an intake run: what became of each source's delivery.

    Raises:
        DeliveryRejected: A source's delivery was rejected on landing or later.
    """
    offered = {item["source"]: item["delivery"] for item in landed if item}
    states: dict[str, str] = {}
    with line.database.session() as session:
        for source in sources:
            if source not in offered:
                states[source] = "rejected"
            elif offered[source] is None:
                states[source] = "unchanged"
            else:
                delivery = get_delivery(session, offered[source])
                states[source] = delivery.state if delivery else "unknown"
    rejected = sorted(source for source, state in states.items() if state in {"rejected", "unknown"})
    if rejected:
        raise DeliveryRejected(
            f"rejected: {', '.join(rejected)}",
            state="; ".join(f"{source}: {state}" for source, state in sorted(states.items())),
            next_step="the task `land`, `validate` or `decide` of that source says why",
        )
    waiting = sorted(source for source, state in states.items() if state not in {"admitted", "unchanged"})
    if waiting:
        raise Undecided(
            f"not admitted yet: {', '.join(waiting)}",
            state="; ".join(f"{source}: {state}" for source, state in sorted(states.items())),
            next_step="`assay cases list` shows what waits; the next intake run admits what was released",
        )
    return {"states": states}
