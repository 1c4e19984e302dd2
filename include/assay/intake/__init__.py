"""From a publisher's place into the store: who sent it, is it whole, is it fresh, and how it is read as a table."""

from typing import TYPE_CHECKING, Any

from assay.intake.delivery import DeliveredFile, VerifiedDelivery, load_delivery
from assay.intake.errors import (
    ClaimsError,
    DeliveryRefused,
    IntakeError,
    KeysMissing,
    LandingFailed,
    LocationError,
    ManifestError,
    NotThere,
    PublishError,
    SignatureRefused,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    TooLarge,
)
from assay.intake.manifest import Digest, parse_manifest
from assay.intake.signature import SignedBy, verify_signature
from assay.intake.sources import Transfer
from assay.intake.verify import verify_delivery

if TYPE_CHECKING:
    from assay.intake.tables import ReadError, count_rows, read_batches, read_table, table_schema

_TABLES = frozenset({"ReadError", "count_rows", "read_batches", "read_table", "table_schema"})


def __getattr__(name: str) -> Any:
    """Reading tables needs Arrow, which verifying a delivery does not: it is imported when it is asked for."""
    if name in _TABLES:
        from assay.intake import tables

        return getattr(tables, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ClaimsError",
    "DeliveredFile",
    "DeliveryRefused",
    "Digest",
    "IntakeError",
    "KeysMissing",
    "LandingFailed",
    "LocationError",
    "ManifestError",
    "NotThere",
    "PublishError",
    "ReadError",
    "SignatureRefused",
    "SignedBy",
    "SourceRefused",
    "SourceTimeout",
    "SourceUnreachable",
    "TooLarge",
    "Transfer",
    "VerifiedDelivery",
    "count_rows",
    "load_delivery",
    "parse_manifest",
    "read_batches",
    "read_table",
    "table_schema",
    "verify_delivery",
    "verify_signature",
]
