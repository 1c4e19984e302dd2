"""What verification says about a delivery, as later steps carry it on."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from assay.db import Database, delivery_files, findings_of, get_delivery
from assay.findings import Finding, Outcome, Verdict
from assay.intake.errors import DeliveryRefused, LocationError

VERDICTS = {
    Outcome.PASSED: Verdict.ACCEPT,
    Outcome.FAILED: Verdict.REJECT,
    Outcome.NOT_CHECKED: Verdict.HOLD,
}


class DeliveredFile(BaseModel):
    """One file of a delivery: its path in the manifest, and digest and size of the object that holds its bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str
    size: int


class VerifiedDelivery(BaseModel):
    """The answer of verification.

    Attributes:
        delivery_id: Comes from data set, source, manifest and files, so that the same delivery has the same id on every
            machine and day; a rejected one never has the id of an accepted one.
        dataset: The contract's data set.
        source: The source's id.
        publisher: The publisher's id.
        uri: Where it was read, without credentials.
        key_id: Who signed it; None if no signature passed.
        sequence: Its signed number, where it has one.
        signed_at: Its signed date (UTC, ISO 8601), where it has one.
        manifest_sha256: Digest of its manifest.
        contract_sha256: Digest of the contract that it was verified with.
        files: What came and was kept, in the manifest's order.
        findings: One for each check.
        outcome: The findings together.
        verdict: `accept`, `hold` or `reject`; None if it is unchanged and there is nothing to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    delivery_id: str
    dataset: str
    source: str
    publisher: str
    uri: str
    key_id: str | None = None
    sequence: int | None = None
    signed_at: str | None = None
    manifest_sha256: str
    contract_sha256: str
    files: tuple[DeliveredFile, ...] = ()
    findings: tuple[Finding, ...] = ()
    outcome: Outcome
    verdict: Verdict | None

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)

    def reference(self) -> dict[str, Any]:
        """Ids only, under 1 kB however many files there are; `load_delivery` brings the rest back."""
        return {
            "delivery_id": self.delivery_id,
            "dataset": self.dataset,
            "source": self.source,
            "outcome": self.outcome.value,
            "verdict": None if self.verdict is None else self.verdict.value,
        }

    def data_files(self, *, held: bool = False) -> list[DeliveredFile]:
        """Its tables, by their names' endings: what may be read as data.

        Args:
            held: Also give those of a delivery on hold, because a human released it.

        Raises:
            DeliveryRefused: The delivery was not accepted.
        """
        from assay.intake.tables import is_table_name

        if self.verdict is not Verdict.ACCEPT and not (held and self.verdict is Verdict.HOLD):
            raise DeliveryRefused(
                f"the data of {self.delivery_id} may not be read",
                expected="an accepted delivery",
                found="nothing new" if self.verdict is None else f"verdict {self.verdict}",
                next_step="see its findings for the reason; a delivery on hold can be released by a human",
            )
        return [file for file in self.files if is_table_name(file.path)]

    def to_json(self) -> str:
        """As JSON text; `from_json` gives an equal object."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            pydantic.ValidationError: It is something else.
        """
        return cls.model_validate_json(text)


def load_delivery(database: Database, delivery_id: str) -> VerifiedDelivery:
    """What verification said about a registered delivery.

    Raises:
        LocationError: No delivery has that id.
    """
    with database.session() as session:
        row = get_delivery(session, delivery_id)
        if row is None:
            raise LocationError(
                f"no delivery {delivery_id} is registered",
                next_step="check the id and ASSAY_HOME, or verify the delivery first",
            )
        intake = dict((row.detail or {}).get("intake") or {})
        order = {finding_id: place for place, finding_id in enumerate(intake.get("findings", []))}
        findings = [finding for finding in findings_of(session, delivery_id) if finding.id in order]
        places = {path: place for place, path in enumerate(intake.get("order", []))}
        files = sorted(
            delivery_files(session, delivery_id), key=lambda file: places.get(file.path, len(places))
        )
        outcome = Outcome(intake.get("outcome", Outcome.NOT_CHECKED))
        return VerifiedDelivery(
            delivery_id=row.id,
            dataset=row.dataset,
            source=row.source,
            publisher=row.publisher,
            uri=row.uri,
            key_id=row.key_id,
            sequence=row.sequence,
            signed_at=row.signed_at,
            manifest_sha256=row.manifest_sha256,
            contract_sha256=row.contract_sha256,
            files=tuple(DeliveredFile(path=f.path, sha256=f.sha256, size=f.size) for f in files),
            findings=tuple(sorted(findings, key=lambda finding: order[finding.id])),
            outcome=outcome,
            verdict=VERDICTS[outcome],
        )
