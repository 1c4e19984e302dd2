"""Which of the signatures that fit also count: the day, the distinct keys, and how many there must be."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from assay.contract import Key, Publisher
from assay.intake.errors import IntakeError, KeysMissing, SignatureRefused, ToolMissing
from assay.intake.signatures.common import Case, Made, SignedBy, bad_format
from assay.intake.signatures.kinds import made_by


def verify_signature(
    manifest: bytes,
    signature: bytes,
    publisher: Publisher,
    on: dt.date,
    *,
    certificate: bytes | None = None,
) -> SignedBy:
    """Check one signature file over a manifest; what it returns as `payload`, and nothing else, may be parsed.

    The file says of which format it is, and only the publisher's keys of that format are tried: the key decides what
    is accepted, the signature nothing.

    Args:
        manifest: The manifest as it was fetched; it need not be parsed before.
        signature: The signature file as it was fetched; the same bytes where the manifest is inside it.
        publisher: Whose keys count.
        on: The day on which a key has to be valid.
        certificate: The signer's certificates (PEM), where the source delivers them beside a plain signature.

    Raises:
        SignatureRefused: It is no signature by a key that counts, over these bytes.
        KeysMissing: The publisher has no key.
        ToolMissing: This machine lacks the program that checks this format.
    """
    return verify_signatures(manifest, {"": signature}, publisher, on, certificate=certificate)


def verify_signatures(
    manifest: bytes,
    files: Mapping[str, bytes | IntakeError],
    publisher: Publisher,
    on: dt.date,
    *,
    threshold: int = 1,
    certificate: bytes | None = None,
) -> SignedBy:
    """Check the signature files over a manifest, of which a number by different keys must count.

    A key counts once, however many files and formats it signs in and whatever it is called there. All that count must
    be over the same bytes.

    Args:
        manifest: The manifest as it was fetched.
        files: The signature files by name; an error where one could not be fetched.
        publisher: Whose keys count.
        on: The day on which a key has to be valid.
        threshold: How many different keys must have signed.
        certificate: The signer's certificates (PEM), where they are delivered.

    Raises:
        SignatureRefused: Too few count.
        KeysMissing: The publisher has no key.
        ToolMissing: Too few count, and with the programs that this machine lacks there might be enough.
    """
    if not publisher.keys:
        raise KeysMissing(
            f"the publisher {publisher.id!r} has no key, so that no signature can be checked",
            expected="at least one key in the contract or in publishers/ beside it",
            next_step=f"add it with `assay trust add {publisher.id} ...` after comparing it with the publisher",
        )
    counted: list[Made] = []
    refused: list[IntakeError] = []
    missing: list[ToolMissing] = []
    for data in files.values():
        if isinstance(data, IntakeError):
            refused.append(data)
            continue
        case = Case(manifest, data, publisher, on, certificate)
        try:
            for made in made_by(case):
                refusal = _counts(made, case)
                if refusal is None:
                    counted.append(made)
                else:
                    refused.append(refusal)
        except ToolMissing as error:
            missing.append(error)
        except SignatureRefused as error:
            refused.append(error)
    distinct = _distinct(counted)
    if len(distinct) >= threshold:
        return _joined(distinct)
    if len(distinct) + len(missing) >= threshold:
        raise missing[0]
    if threshold == 1:
        raise refused[0]
    raise SignatureRefused(
        f"the manifest is signed by {len(distinct)} of the {threshold} different keys that the contract wants",
        reason="threshold",
        expected=f"{threshold} different keys of {publisher.id!r}",
        found=", ".join(made.key.id for made in distinct) or "none that counts",
        next_step="; ".join(dict.fromkeys(error.message for error in refused))
        or "have another keyholder sign",
    )


def _counts(made: Made, case: Case) -> SignatureRefused | None:
    """Why a signature that fits does not count; None if it does."""
    if not case.inline and made.payload != case.manifest and made.payload_type is not None:
        return bad_format(
            "the signature file carries what it signs, and that is not the manifest",
            expected="one file that is both",
            next_step="name it as the source's `manifest` too",
        )
    # A log's time is one that the thief of a key cannot choose; the signer's own word can only make it later.
    on = case.on if made.vouched_at is None else made.vouched_at.date()
    same = [key for key in case.publisher.keys if key.raw == made.signer and key is not made.key]
    for key in (made.key, *same):
        if (refusal := _judged(key, case.publisher, on)) is not None:
            return refusal
    if made.claimed_at is not None and made.claimed_at.date() > on:
        return _judged(made.key, case.publisher, made.claimed_at.date())
    return None


def _judged(key: Key, publisher: Publisher, on: dt.date) -> SignatureRefused | None:
    name, status = key.id, key.status(on)
    if status == "valid":
        return None
    expected = f"a key of {publisher.id!r} that counts on {on}"
    if status == "revoked":
        because = f" ({key.revoked_reason})" if key.revoked_reason else ""
        return SignatureRefused(
            f"the signature is by {name}, which was revoked on {key.revoked}{because}",
            reason=status,
            expected=expected,
            next_step="have the publisher sign with a current key",
        )
    if status == "not_yet_valid":
        return SignatureRefused(
            f"the signature is by {name}, which counts from {key.valid_from} on",
            reason=status,
            expected=expected,
            next_step="wait for that day, or have the publisher sign with a current key",
        )
    return SignatureRefused(
        f"the signature is by {name}, which counted until {key.valid_until}",
        reason=status,
        expected=expected,
        next_step="have the publisher sign with a current key, or extend the key's valid_until",
    )


def _distinct(counted: Sequence[Made]) -> list[Made]:
    """One signature for each key, and for each pin of an authority; only those over the same bytes as the first."""
    found: list[Made] = []
    seen: set[bytes] = set()
    for made in counted:
        if made.payload == counted[0].payload and not {made.signer, made.key.raw} & seen:
            seen |= {made.signer, made.key.raw}
            found.append(made)
    return found


def _joined(distinct: Sequence[Made]) -> SignedBy:
    """What all of them say: the holder of one key must not speak for the others."""
    first = distinct[0]
    comments = {made.trusted_comment for made in distinct}
    claimed = [made.claimed_at for made in distinct if made.claimed_at is not None]
    vouched = [made.vouched_at for made in distinct if made.vouched_at is not None]
    return SignedBy(
        key_id=first.key.id,
        trusted_comment=first.trusted_comment if len(comments) == 1 else None,
        payload=first.payload,
        payload_type=first.payload_type,
        key_ids=tuple(made.key.id for made in distinct),
        vouched_at=max(vouched) if len(vouched) == len(distinct) else None,
        claimed_at=min(claimed) if len(claimed) == len(distinct) else None,
    )
