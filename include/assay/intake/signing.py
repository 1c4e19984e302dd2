"""The signature files of a delivery: fetched, and judged together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from assay.contract import Publisher, Source
from assay.intake.errors import IntakeError, NotThere, SourceRefused
from assay.intake.signatures import MAX_SIGNATURE, SignedBy, verify_signatures
from assay.intake.sources import Place, read_small


@dataclass(frozen=True)
class Signatures:
    """What was fetched beside a manifest.

    Attributes:
        files: Signature files by name; an error where one could not be fetched.
        certificate: The signer's certificates, where the source names them.
    """

    files: Mapping[str, bytes | IntakeError] = field(default_factory=dict)
    certificate: bytes | None = None

    @property
    def fetched(self) -> dict[str, bytes]:
        """Those that came."""
        return {name: data for name, data in self.files.items() if isinstance(data, bytes)}


def fetch_signatures(place: Place, source: Source, manifest: bytes) -> Signatures:
    """Fetch all files that vouch for a manifest; one that is the manifest itself is not fetched twice.

    Raises:
        SourceUnreachable: The source does not answer, or broke off.
    """
    files: dict[str, bytes | IntakeError] = {}
    for name in source.signature_files:
        try:
            files[name] = manifest if name == source.manifest else read_small(place, name, MAX_SIGNATURE)
        except NotThere:
            files[name] = NotThere(
                f"the delivery has no {name}, though its source is to sign",
                next_step="have the publisher sign it",
            )
        except SourceRefused as error:
            files[name] = error
    certificate = None
    if source.certificate is not None:
        try:
            certificate = read_small(place, source.certificate, MAX_SIGNATURE)
        except SourceRefused:
            certificate = None  # the signature that needs it says what is missing
    return Signatures(files, certificate)


def judge_signatures(
    manifest: bytes, signatures: Signatures, source: Source, publisher: Publisher, on: dt.date
) -> SignedBy:
    """Check what was fetched as the source says.

    Raises as `verify_signatures`, and what kept the only file from coming.
    """
    return verify_signatures(
        manifest,
        signatures.files,
        publisher,
        on,
        threshold=source.threshold,
        certificate=signatures.certificate,
    )
