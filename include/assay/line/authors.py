"""Who changed a contract: said in a signed statement, and asked where nobody may approve their own change."""

from __future__ import annotations

from dataclasses import dataclass

from assay.canonical import utc_now
from assay.line.context import Line
from assay.quarantine.people import clean_reason, clean_reviewer, same

_STEP = "contract-changed"


@dataclass(frozen=True)
class Recorded:
    """Who took responsibility for a contract as it is.

    Attributes:
        dataset: Its data set.
        contract_sha256: Its digest, keys from the trust store included.
        by: Who.
        reason: Why it was changed.
        decided_at: When they said so, UTC.
        repeated: Whether the same person had said so before.
        authors: Everybody who said so of this contract.
    """

    dataset: str
    contract_sha256: str
    by: str
    reason: str
    decided_at: str
    repeated: bool
    authors: tuple[str, ...]


def record_contract(line: Line, by: str, reason: str) -> Recorded:
    """Record who changed the contract as it is now. Several people may say so; none can take another's place.

    Raises:
        DecisionRefused: The name or the reason will not do.
    """
    by, reason = clean_reviewer(by), clean_reason(reason)
    digest = line.contract.digest
    with line.database.write() as session:
        said = _said(line, digest)
        known = next((each for each in said if same(str(each["by"])) == same(by)), None)
        if known is None:
            known = {"by": by, "reason": reason, "decided_at": utc_now()}
            line.record(_STEP, [(f"contract-{digest[:32]}", digest)], known, session=session)
            said.append(known)
            repeated = False
        else:
            repeated = True
    return Recorded(
        line.dataset,
        digest,
        str(known["by"]),
        str(known["reason"]),
        str(known["decided_at"]),
        repeated,
        tuple(str(each["by"]) for each in said),
    )


def authors_of(line: Line, *names: str) -> frozenset[str] | None:
    """Who changed the contracts that things were judged under: the present one, and those their statements name.

    Args:
        line: The open line.
        names: Ids of what was judged, e.g. a delivery, or a model and its run.

    Returns:
        Their names; None where one of these contracts has no author on record.

    Raises:
        EnvelopeError: A statement about them does not stand up.
    """
    contracts = {line.contract.digest}
    for name in names:
        for entry in line.ledger.entries(name, role="subject"):
            found = line.ledger.read(entry).predicate.get("contract_sha256")
            if found:
                contracts.add(str(found))
    authors: set[str] = set()
    for digest in contracts:
        said = [str(each["by"]) for each in _said(line, digest)]
        if not said:
            return None
        authors.update(said)
    return frozenset(authors)


def _said(line: Line, digest: str) -> list[dict[str, object]]:
    statements = [line.ledger.read(entry) for entry in line.ledger.entries(digest, role="subject")]
    return [each.predicate for each in statements if each.step == _STEP]
