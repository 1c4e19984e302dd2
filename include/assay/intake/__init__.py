"""From a publisher's place into the store: who sent it, is it whole, is it fresh, and how it is read as a table."""

from typing import TYPE_CHECKING, Any

from assay.intake.delivery import DeliveredFile, VerifiedDelivery, load_delivery
from assay.intake.errors import (
    ClaimsError,
    CredentialsMissing,
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
    ToolMissing,
)
from assay.intake.manifests import Digest, Manifest, parse_manifest, read_manifest
from assay.intake.revoked import Doubtful, doubtful_deliveries
from assay.intake.signatures import SignedBy, verify_signature, verify_signatures
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
    "CredentialsMissing",
    "DeliveredFile",
    "DeliveryRefused",
    "Digest",
    "Doubtful",
    "IntakeError",
    "KeysMissing",
    "LandingFailed",
    "LocationError",
    "Manifest",
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
    "ToolMissing",
    "Transfer",
    "VerifiedDelivery",
    "count_rows",
    "doubtful_deliveries",
    "load_delivery",
    "parse_manifest",
    "read_batches",
    "read_manifest",
    "read_table",
    "table_schema",
    "verify_delivery",
    "verify_signature",
    "verify_signatures",
]
