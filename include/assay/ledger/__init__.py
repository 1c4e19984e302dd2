"""The ledger: signed statements about every step, in an append-only Merkle log that anyone can check offline.

From the bottom up, each resting on those before it: `keys` sign `statements`; `rows` hashes what they tell of; the
`log` keeps them; `outside` holds what can be checked without it; `audit` checks everything; `lineage` follows what came
from what, and `exports` and `dossier` tell it in the forms that others read.
"""

from assay.ledger.audit.holdings import verify_holdings
from assay.ledger.code import code_version
from assay.ledger.errors import (
    EnvelopeError,
    KeyNotWritten,
    LedgerError,
    LedgerKeyError,
    NoLedgerKey,
    NoteError,
    NotInLedger,
    ProofError,
    RowError,
    SnapshotError,
    StatementError,
)
from assay.ledger.exports.jsonl import check_export, export_lines
from assay.ledger.keys.ring import KeyRing
from assay.ledger.keys.signing import (
    key_id,
    ledger_public_key,
    load_public_key,
    model_key,
    public_key_path,
    signing_key,
)
from assay.ledger.lineage.graph import Step, Trace, trace
from assay.ledger.log.anchor import AnchorNotWritten
from assay.ledger.log.checkpoints import Checkpoint, open_checkpoint, verifier_key
from assay.ledger.log.entries import Entry
from assay.ledger.log.ledger import Ledger, open_ledger
from assay.ledger.log.rotate import Rotated, rotate_key
from assay.ledger.log.rotation import ring_in
from assay.ledger.merkle import StreamingRoot
from assay.ledger.outside.cosign import Witness
from assay.ledger.outside.proofs import Proved, prove, verify_proof
from assay.ledger.rows.hashing import row_hash, row_hashes
from assay.ledger.rows.lookup import FoundRow, find_rows, read_manifest
from assay.ledger.rows.parts import annotate, make_manifest, make_part
from assay.ledger.rows.snapshot import META, META_FIELDS, Part, SnapshotManifest
from assay.ledger.rows.verify import verify_snapshot
from assay.ledger.statements.envelopes import sign_statement, verify_envelope
from assay.ledger.statements.predicates import BUILD_TYPE, BUILDER, PREDICATES, check_predicate, schema_of
from assay.ledger.statements.statement import STEPS, Resource, Statement, make_statement, predicate_type

__all__ = [
    "BUILDER",
    "BUILD_TYPE",
    "META",
    "META_FIELDS",
    "PREDICATES",
    "STEPS",
    "AnchorNotWritten",
    "Checkpoint",
    "Entry",
    "EnvelopeError",
    "FoundRow",
    "KeyNotWritten",
    "KeyRing",
    "Ledger",
    "LedgerError",
    "LedgerKeyError",
    "NoLedgerKey",
    "NotInLedger",
    "NoteError",
    "Part",
    "ProofError",
    "Proved",
    "Resource",
    "Rotated",
    "RowError",
    "SnapshotError",
    "SnapshotManifest",
    "Statement",
    "StatementError",
    "Step",
    "StreamingRoot",
    "Trace",
    "Witness",
    "annotate",
    "check_export",
    "check_predicate",
    "code_version",
    "export_lines",
    "find_rows",
    "key_id",
    "ledger_public_key",
    "load_public_key",
    "make_manifest",
    "make_part",
    "make_statement",
    "model_key",
    "open_checkpoint",
    "open_ledger",
    "predicate_type",
    "prove",
    "public_key_path",
    "read_manifest",
    "ring_in",
    "rotate_key",
    "row_hash",
    "row_hashes",
    "schema_of",
    "sign_statement",
    "signing_key",
    "trace",
    "verifier_key",
    "verify_envelope",
    "verify_holdings",
    "verify_proof",
    "verify_snapshot",
]
