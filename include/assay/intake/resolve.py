"""Which of a contract's sources a delivery came from."""

from __future__ import annotations

import datetime as dt

from assay.contract import Contract, Source
from assay.intake.claims import MAX_NOTE, NOTE, read_claims
from assay.intake.digests import matches
from assay.intake.errors import IntakeError, LocationError, SourceUnreachable
from assay.intake.manifests import MAX_LINE, Entry, read_manifest
from assay.intake.signing import fetch_signatures, judge_signatures
from assay.intake.sources import Place, normal, read_small

_LARGEST_MANIFEST = 256 << 20


def manifest_limit(max_files: int) -> int:
    """Bytes that a manifest of so many files can have."""
    return min(max_files * (MAX_LINE + 2) + 3, _LARGEST_MANIFEST)


def fits(data: bytes, entry: Entry) -> bool:
    """Whether bytes in memory are what the manifest says, and its word is good."""
    return entry.size in {None, len(data)} and matches(data, entry.digests)


def likely_source(location: str, contract: Contract, source_id: str | None) -> Source | None:
    """The source whose transport is used to reach a delivery: the one named, the only one, or the one by address.

    Only an address under the source's own one is reached with its credentials.
    """
    if source_id is None:
        return _by_address(location, contract)
    named = next((source for source in contract.sources if source.id == source_id), None)
    if named is None or not (normal(location) + "/").startswith(normal(contract.locate(named.uri)) + "/"):
        return None
    return named


def resolve_source(
    location: str, contract: Contract, source_id: str | None, place: Place, on: dt.date
) -> Source | None:
    """Find the source of a delivery.

    It is the one named; the only one; the one under whose address the location lies; or the one that the delivery names
    itself, in a `delivery.json` or trusted comment signed by that source's publisher.

    Returns:
        The source; None if the contract has none at all.

    Raises:
        LocationError: None of these tells.
    """
    known = ", ".join(source.id for source in contract.sources)
    if source_id is not None:
        try:
            return contract.source(source_id)
        except KeyError:
            raise LocationError(
                f"the contract of {contract.dataset!r} has no source {source_id!r}",
                expected=f"one of {known}" if known else "a source in the contract",
                next_step="correct --source, or add the source to the contract",
            ) from None
    if len(contract.sources) <= 1:
        return contract.sources[0] if contract.sources else None
    found = _by_address(location, contract) or _by_note(contract, place, on)
    if found is None:
        raise LocationError(
            f"{place.shown} could come from any source of {contract.dataset!r}",
            expected=f"--source with one of {known}",
            next_step="name the source",
        )
    return found


def _by_address(location: str, contract: Contract) -> Source | None:
    here = normal(location) + "/"
    matches = [
        (len(address), source)
        for source in contract.sources
        if here.startswith(address := normal(contract.locate(source.uri)) + "/")
    ]
    longest = max((length for length, _ in matches), default=0)
    best = [source for length, source in matches if length == longest]
    return best[0] if len(best) == 1 else None


def _by_note(contract: Contract, place: Place, on: dt.date) -> Source | None:
    for source in contract.sources:
        if not source.signature_files:
            continue
        try:
            manifest = read_small(place, source.manifest, manifest_limit(contract.bounds.max_files))
            signatures = fetch_signatures(place, source, manifest)
            signed = judge_signatures(manifest, signatures, source, contract.publisher(source.publisher), on)
            listed = read_manifest(
                signed.payload,
                source.manifest,
                max_files=contract.bounds.max_files,
                format=source.manifest_format,
                algorithm=source.manifest_algorithm,
                read=lambda path, limit: read_small(place, path, limit),
            ).entries
            note = read_small(place, NOTE, MAX_NOTE) if NOTE in listed else None
            if note is not None and not fits(note, listed[NOTE]):
                continue
            claims = read_claims(signed.trusted_comment, note)
        except SourceUnreachable:
            raise
        except IntakeError:
            continue  # not this source; what is wrong is told once the source is known
        if claims.dataset not in {None, contract.dataset}:
            continue
        named = next((each for each in contract.sources if each.id == claims.source), None)
        if named is not None and named.publisher == source.publisher:
            return named
    return None
