"""Putting the answer of a verification on record: one id, one transaction, and rejected bytes sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.canonical import content_id, utc_now
from assay.contract import Contract, Source
from assay.db import Database, Delivery, DeliveryFile, add_findings, put_delivery
from assay.findings import Finding, Outcome, worst
from assay.intake.claims import Claims, utc_text
from assay.intake.delivery import VERDICTS, DeliveredFile, VerifiedDelivery
from assay.intake.landing import Landed
from assay.intake.signatures import SignedBy
from assay.store import ObjectStore

_STATES = {Outcome.PASSED: "verified", Outcome.FAILED: "rejected", Outcome.NOT_CHECKED: "landed"}
_UNDECIDED = frozenset({"landed", "verified"})
_ORDER = (
    *("source", "signature", "manifest", "identity"),
    *("freshness.replay", "freshness.rollback", "freshness.gap", "freshness.freeze"),
    *("freshness.future", "freshness.expired", "freshness.age"),
    *("completeness", "checksums"),
)
_AT_ONCE = 500  # digests in one query


@dataclass
class Seen:
    """All that one verification has seen so far.

    Attributes:
        contract: What it is judged by.
        source: Where it is from.
        uri: Its address without credentials.
        findings: Of all checks but freshness, which is judged again at the moment of registration.
        manifest: The manifest's bytes.
        signatures: The signature files that came, by name.
        certificate: The signer's certificates, where they are delivered.
        signed: Who signed, once that has passed.
        claims: What was signed about it.
        landed: What came of its files.
    """

    contract: Contract
    source: Source
    uri: str
    findings: list[Finding] = field(default_factory=list)
    manifest: bytes = b""
    signatures: dict[str, bytes] = field(default_factory=dict)
    certificate: bytes | None = None
    signed: SignedBy | None = None
    claims: Claims = field(default_factory=Claims)
    landed: Landed = field(default_factory=Landed)

    @property
    def failed(self) -> bool:
        """Whether a check has failed, so that the delivery is rejected whatever else comes."""
        return any(finding.outcome is Outcome.FAILED for finding in self.findings)

    @property
    def manifest_sha256(self) -> str:
        """Digest of the manifest."""
        return hashlib.sha256(self.manifest).hexdigest()

    @property
    def signature_sha256(self) -> str | None:
        """Digest of the signature file; of several, over their digests in the source's order."""
        digests = [hashlib.sha256(data).hexdigest() for data in self.signatures.values()]
        if len(digests) > 1:
            return hashlib.sha256("\n".join(digests).encode()).hexdigest()
        return digests[0] if digests else None


def result_of(seen: Seen, fresh: Sequence[Finding], not_reached: Sequence[str]) -> VerifiedDelivery:
    """The answer: findings, outcome, verdict and id.

    Args:
        seen: What was seen.
        fresh: The findings about freshness.
        not_reached: Checks that an earlier failure left undone: each becomes a `not_checked` finding.
    """
    findings = [*seen.findings, *fresh]
    failed = sorted({finding.check for finding in findings if finding.outcome is Outcome.FAILED})
    cause = " and ".join(failed) or "an earlier check"
    findings += [
        Finding(check=check, outcome=Outcome.NOT_CHECKED, message=f"not looked at, because {cause} failed")
        for check in not_reached
    ]
    findings.sort(key=lambda finding: _ORDER.index(finding.check.removeprefix("intake.")))
    outcome = worst(finding.outcome for finding in findings)
    files = [DeliveredFile(path=f.path, sha256=f.sha256, size=f.size) for f in seen.landed.files]
    content: dict[str, Any] = {
        "dataset": seen.contract.dataset,
        "source": seen.source.id,
        "manifest": seen.manifest_sha256,
        "files": [[file.path, file.sha256, file.size] for file in files],
    }
    if outcome is Outcome.FAILED:  # what is rejected must not take the name of what may come whole tomorrow
        content |= {"refused": failed, "signature": seen.signature_sha256}
    return VerifiedDelivery(
        delivery_id=content_id("delivery", content),
        dataset=seen.contract.dataset,
        source=seen.source.id,
        publisher=seen.source.publisher,
        uri=seen.uri,
        key_id=None if seen.signed is None else seen.signed.key_id,
        sequence=seen.claims.sequence,
        signed_at=seen.claims.date_text,
        manifest_sha256=seen.manifest_sha256,
        contract_sha256=seen.contract.digest,
        files=tuple(files),
        findings=tuple(findings),
        outcome=outcome,
        verdict=VERDICTS[outcome],
    )


def write(session: Session, seen: Seen, result: VerifiedDelivery, fresh: Sequence[Finding]) -> None:
    """Register delivery, files and findings, or leave what later steps have decided on the same delivery.

    Args:
        session: From `Database.write()`.
        seen: What was seen.
        result: The answer.
        fresh: The findings about freshness.
    """
    assert result.verdict is not None
    row = put_delivery(
        session,
        Delivery(
            id=result.delivery_id,
            dataset=result.dataset,
            source=result.source,
            publisher=result.publisher,
            uri=result.uri,
            manifest_sha256=result.manifest_sha256,
            contract_sha256=result.contract_sha256,
            state=_STATES[result.outcome],
            first_seen=utc_now(),
            detail={},
        ),
        [(file.path, file.sha256, file.size) for file in result.files],
    )
    if row.state in _UNDECIDED or "intake" not in (row.detail or {}):
        # Nothing was decided on it since: a contract that has learnt a key may lift a hold, one that lost it set one.
        row.state = _STATES[result.outcome]
        row.verdict = result.verdict.value
        row.uri = result.uri
        row.key_id = result.key_id
        row.sequence = result.sequence
        row.signed_at = result.signed_at
        row.contract_sha256 = result.contract_sha256
        intake = {
            "outcome": result.outcome.value,
            "findings": [finding.id for finding in result.findings],
            "order": [file.path for file in result.files],
            "signature": seen.signature_sha256,
            "signed": _signed(seen.signed),
            "counts": _counts(seen, fresh),
        }
        row.detail = {**(row.detail or {}), "intake": intake}
        session.flush()
    add_findings(session, result.delivery_id, result.findings)


def seal(seen: Seen, database: Database, store: ObjectStore) -> None:
    """Keep a rejected delivery's files in sealed form only, except what another, unrejected one brought as well."""
    digests = sorted({file.sha256 for file in seen.landed.files})
    unused: list[str] = []
    for start in range(0, len(digests), _AT_ONCE):
        some = digests[start : start + _AT_ONCE]
        query = (
            select(DeliveryFile.sha256)
            .join(Delivery, Delivery.id == DeliveryFile.delivery_id)
            .where(DeliveryFile.sha256.in_(some), Delivery.state != "rejected")
        )
        with database.session() as session:
            used = set(session.scalars(query))
        unused += [digest for digest in some if digest not in used]
    store.seal_all(unused)


def _signed(signed: SignedBy | None) -> dict[str, Any] | None:
    """Who signed and when, for what is found out about a key later."""
    if signed is None:
        return None
    vouched = None if signed.vouched_at is None else utc_text(signed.vouched_at)
    return {"keys": list(signed.key_ids), "vouched_at": vouched}


def _counts(seen: Seen, fresh: Sequence[Finding]) -> bool:
    """Whether later deliveries are compared with this one: it is signed, for us, in order, and its date is no nonsense.

    One that is held because a number was passed over does not count yet, so that the missing one may still come.
    """
    about_order = [f for f in (*seen.findings, *fresh) if f.check == "intake.identity" or f in fresh]
    gap = any(f.check == "intake.freshness.gap" and f.outcome is not Outcome.PASSED for f in fresh)
    return seen.signed is not None and not gap and all(f.outcome is not Outcome.FAILED for f in about_order)
