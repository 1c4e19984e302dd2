"""The ledger for other tools: JSON lines, OpenLineage, CycloneDX, Croissant and PROV, all made from signed statements.

Every statement's signature is checked before a word of it is exported; one that does not stand ends the export.
"""

from assay.ledger.exports.croissant import croissant
from assay.ledger.exports.cyclonedx import cyclonedx
from assay.ledger.exports.history import History, history_of
from assay.ledger.exports.jsonl import FORMAT, check_export, export_lines
from assay.ledger.exports.openlineage import emit_openlineage, openlineage_events
from assay.ledger.exports.prov import prov_document

__all__ = [
    "FORMAT",
    "History",
    "check_export",
    "croissant",
    "cyclonedx",
    "emit_openlineage",
    "export_lines",
    "history_of",
    "openlineage_events",
    "prov_document",
]
