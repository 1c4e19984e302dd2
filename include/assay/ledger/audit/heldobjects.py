"""What the store holds of what statements and registry name: delivered files, the rows of cases, snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from assay.db import Case, Snapshot
from assay.errors import AssayError
from assay.findings import Finding, Outcome
from assay.ledger.audit.report import Report
from assay.ledger.errors import SnapshotError
from assay.ledger.rows.casenames import case_digest, digest_of_numbers
from assay.ledger.rows.snapshot import SnapshotManifest
from assay.ledger.rows.verify import verify_snapshot
from assay.store import ObjectStore, read_table


def check_objects(store: ObjectStore, objects: Mapping[str, str], report: Report) -> None:
    """The bytes of each object that statements name are those of its digest."""
    for sha256, what in sorted(objects.items(), key=lambda item: item[1]):
        report.looked("store.object")
        try:
            store.verify(sha256)
        except AssayError as error:
            report.fail("store.object", what, f"{what}: {error.message}", sha256=sha256)


def check_cases(store: ObjectStore, cases: Sequence[Case], report: Report) -> None:
    """The object that the registry names for a case holds the rows that the case's digest comes from."""
    for row in cases:
        report.looked("store.case")
        sha256 = str(row.rows_object)
        try:
            numbers = np.asarray(read_table(store, sha256, ["_row"])["_row"].to_numpy())
        except (AssayError, pa.ArrowException, KeyError) as error:
            told = error.message if isinstance(error, AssayError) else "its rows cannot be read"
            report.fail("store.case", row.id, f"{row.id}: {told}", sha256=sha256)
            continue
        if case_digest(row.delivery_id, row.kind, digest_of_numbers(numbers)) != row.digest:
            report.fail(
                "store.case",
                row.id,
                f"{row.id}: the rows that the registry names are not those that were held",
                expected=f"{row.rows} rows",
                found=f"{len(numbers)} rows",
                sha256=sha256,
            )


def check_snapshots(store: ObjectStore, snapshots: Sequence[Snapshot], report: Report) -> None:
    """The rows of each snapshot are those that its manifest, and the registry, speak of."""
    known: dict[str, SnapshotManifest] = {}  # by data set, the last version of which every row was checked
    for row in snapshots:
        report.looked("store.snapshot")
        try:
            manifest = SnapshotManifest.from_json(store.get_bytes(row.manifest_object))
            if (manifest.merkle_root, manifest.dataset, manifest.rows) != (
                row.merkle_root,
                row.dataset,
                row.rows,
            ):
                raise SnapshotError("its manifest is that of another snapshot")
        except AssayError as error:
            report.fail("store.snapshot", row.id, f"{row.id}: {error.message}", sha256=row.manifest_object)
            continue
        failed = list(_failed(verify_snapshot(store, manifest, verified=known.get(row.dataset))))
        for finding in failed:
            report.fail(
                "store.snapshot",
                row.id,
                f"{row.id}, {finding.subject}: {finding.message}",
                part=finding.subject,
                **finding.evidence,
            )
        if not failed:
            known[row.dataset] = manifest


def _failed(findings: Sequence[Finding]) -> Iterator[Finding]:
    return (finding for finding in findings if finding.outcome is not Outcome.PASSED)
