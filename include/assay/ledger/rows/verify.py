"""Whether a snapshot's rows are those that were admitted: every hash from its values, every root from the hashes."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.errors import AssayError
from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger.merkle import StreamingRoot
from assay.ledger.rows.hashing import row_hashes
from assay.ledger.rows.parts import part_batches, stored_hashes
from assay.ledger.rows.snapshot import ROW_HASH, SnapshotManifest
from assay.store import ObjectStore


def verify_snapshot(
    store: ObjectStore, manifest: SnapshotManifest, verified: SnapshotManifest | None = None
) -> list[Finding]:
    """Recompute every row's hash from its values, and every root from the hashes.

    Args:
        store: Where the parts are.
        manifest: What the snapshot is said to be.
        verified: An earlier version that passed just now: parts that both begin with are not read again.

    Returns:
        A finding for each part that was read, and one for the whole; each row that differs is named by part and number.
    """
    findings, tree, parts = [], StreamingRoot(), manifest.parts
    if (
        verified is not None
        and verified.columns == manifest.columns
        and verified.parts == manifest.parts[: len(verified.parts)]
    ):
        tree = StreamingRoot(verified.rows, [bytes.fromhex(node) for node in verified.edge])
        parts = parts[len(verified.parts) :]
    for part in parts:
        problem, evidence = None, {"rows": part.rows, "delivery": part.delivery_id}
        own, number = StreamingRoot(), 0
        try:
            for batch, keep in part_batches(store, part, [ROW_HASH, *manifest.columns]):
                computed = row_hashes(batch, manifest.columns)
                wrong = np.flatnonzero((computed != stored_hashes(batch)).any(axis=1))
                if len(wrong) and problem is None:
                    problem = f"row {number + int(wrong[0])} is not the one that was admitted"
                    evidence["row"] = number + int(wrong[0])
                own.extend(computed[keep])
                tree.extend(computed[keep])
                number += batch.num_rows
        except AssayError as error:
            problem = error.message
        if problem is None and (own.root().hex() != part.root or own.size != part.kept):
            problem = "its rows do not have the Merkle root that was stated"
        findings.append(
            _finding(
                "snapshot.part", part.sha256, problem, "all rows have the hash that was admitted", evidence
            )
        )
    whole = (
        None
        if tree.root().hex() == manifest.merkle_root
        else "the rows do not have the snapshot's Merkle root"
    )
    evidence = {"rows": tree.size, "merkle_root": manifest.merkle_root}
    findings.append(
        _finding("snapshot.root", manifest.id, whole, "the rows have the snapshot's Merkle root", evidence)
    )
    return findings


def _finding(check: str, subject: str, problem: str | None, good: str, evidence: dict[str, Any]) -> Finding:
    return Finding(
        check=check,
        outcome=Outcome.PASSED if problem is None else Outcome.FAILED,
        severity=Severity.INFO if problem is None else Severity.CRITICAL,
        scope=Scope.SNAPSHOT,
        subject=subject,
        message=good if problem is None else f"{subject[:20]}: {problem}",
        evidence=evidence,
    )
