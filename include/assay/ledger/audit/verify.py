"""Checking the whole log: every entry, every checkpoint, the index, and the anchors outside the database.

The log is read once, in order. Each entry's envelope is checked with the pinned key and hashed into a tree of our own;
each checkpoint is compared with that tree at its size. What is found is named by entry and check.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assay.db import LedgerCheckpoint, LedgerEntry, LedgerSubject
from assay.findings import Finding, Outcome
from assay.ledger.audit.report import Report
from assay.ledger.errors import EnvelopeError, LedgerError, LedgerKeyError
from assay.ledger.log.entries import batches
from assay.ledger.log.heads import open_row
from assay.ledger.log.ledger import Ledger
from assay.ledger.merkle import StreamingRoot, leaf_hash
from assay.ledger.outside.compare import Outside, ledger_finding
from assay.ledger.outside.cosign import Witness
from assay.ledger.outside.publish import Place
from assay.ledger.outside.witnesses import verify_witnesses
from assay.ledger.statements.envelopes import verify_envelope
from assay.ledger.statements.statement import Statement

_CHECKS = {
    "ledger.position": "entries stand at 0, 1, 2 ... without a gap",
    "ledger.leaf_hash": "each entry's leaf hash is that of its envelope",
    "ledger.signature": "each entry is signed by the ledger's key",
    "ledger.envelope": "each entry is a DSSE envelope over a known in-toto statement",
    "ledger.duplicate": "no statement stands in the log twice",
    "ledger.index": "ids, types and the subject index say what the statements say",
    "ledger.checkpoint_signature": "each checkpoint is signed by the ledger's key",
    "ledger.checkpoint_root": "each checkpoint has the root of the entries that it covers",
    "ledger.truncation": "the newest checkpoint covers exactly the entries that are there",
}


def verify_log(
    ledger: Ledger,
    published: Sequence[str] = (),
    *,
    places: Sequence[Place] = (),
    witnesses: Sequence[Witness] = (),
) -> list[Finding]:
    """Check the whole log.

    Args:
        ledger: The log; its public key is the one that must have signed everything.
        published: Signed checkpoints from outside (a web page, a mail, a witness), which the log must still contain.
        places: Where checkpoints are published; the newest of each must still be contained.
        witnesses: Those whose cosignatures count.

    Returns:
        One finding per failure, and one for each check that passed. An empty log is `not_checked`, unless an anchor
        says that it was not always empty; so is a log without a key to check it with.
    """
    if not ledger.has_key:
        size = ledger.size()
        reason = (
            f"there are {size} entries, but no public key to check them with"
            if size
            else "the ledger is empty"
        )
        return [ledger_finding("ledger.entries", Outcome.NOT_CHECKED, "ledger", reason, {"entries": size})]
    ledger.forget_rotations()
    try:
        ledger.public_key  # noqa: B018 - follows the rotations of the key through the log
    except (LedgerError, LedgerKeyError) as error:
        return [ledger_finding("ledger.keys", Outcome.FAILED, "key", error.message, {"found": error.found})]
    outside = Outside(ledger, published, places)
    report = Report(_CHECKS, "entries")
    with ledger.database.session() as session:
        size, covered = _sizes(session)
        roots = _walk(ledger, session, max(size, covered), outside.sizes, report)
        _stray_index(session, size, report)
        if covered != size:
            report.fail(
                "ledger.truncation",
                f"checkpoint {covered}",
                f"the newest checkpoint covers {covered} entries, but there are {size}",
                checkpoint=covered,
                entries=size,
            )
        for check in _CHECKS:
            report.looked(check, max(size, covered))
    findings = report.findings()
    findings += outside.findings(size, roots)
    findings += verify_witnesses(ledger, witnesses)
    if not findings:
        return [
            ledger_finding(
                "ledger.entries", Outcome.NOT_CHECKED, "ledger", "the ledger is empty", {"entries": 0}
            )
        ]
    return findings


def _sizes(session: Session) -> tuple[int, int]:
    """Number of entries, and how many the newest checkpoint covers, both of one moment."""
    last = select(func.max(LedgerEntry.position)).scalar_subquery()
    newest = select(func.max(LedgerCheckpoint.size)).scalar_subquery()
    row = session.execute(select(last, newest)).one()
    return (0 if row[0] is None else int(row[0]) + 1), int(row[1] or 0)


def _walk(ledger: Ledger, session: Session, size: int, wanted: set[int], report: Report) -> dict[int, str]:
    """Check entries and checkpoints in order; returns the roots at the wanted sizes and at the last one."""
    tree, roots = StreamingRoot(), {0: StreamingRoot().root().hex()}
    seen: dict[str, int] = {}
    expected = 0
    broken = False  # after the first wrong root, all later ones are wrong for the same reason
    for rows, opened, checkpoints in _opened(ledger, session, size):
        index = _index_between(session, rows[0].position, rows[-1].position)
        for row, read in zip(rows, opened, strict=True):
            if row.position != expected:
                gap = (
                    f"entry {expected}"
                    if row.position == expected + 1
                    else f"entries {expected} to {row.position - 1}"
                )
                report.fail(
                    "ledger.position",
                    f"entry {expected}",
                    f"{gap} missing: entry {row.position} comes next",
                    expected=expected,
                    found=row.position,
                )
            expected = row.position + 1
            leaf = leaf_hash(row.envelope.encode())
            _check_entry(row, leaf.hex(), read, report)
            if isinstance(read, Statement):
                _check_index(row, read, index.get(row.position, set()), seen, report)
            tree.append(leaf)
            if tree.size in wanted:
                roots[tree.size] = tree.root().hex()
            broken = _check_checkpoint(row.position + 1, tree, checkpoints, broken, report)
    roots[tree.size] = tree.root().hex()
    for stray in session.scalars(select(LedgerCheckpoint.size).where(LedgerCheckpoint.size < 1)):
        report.fail("ledger.checkpoint_root", f"checkpoint {stray}", f"no log has {stray} entries")
    return roots


_Checkpoints = dict[int, tuple[LedgerCheckpoint, LedgerError | None]]


def _opened(
    ledger: Ledger, session: Session, size: int
) -> Iterator[tuple[list[LedgerEntry], list[Statement | EnvelopeError], _Checkpoints]]:
    """Entries some at a time, with what their envelopes and their checkpoints' signatures come to.

    Checking a signature lets other threads run, and takes most of the time.
    """
    key = ledger.public_key

    def entry(row: LedgerEntry) -> Statement | EnvelopeError:
        try:
            return verify_envelope(row.envelope, key, position=row.position)
        except EnvelopeError as error:
            return error

    def checkpoint(row: LedgerCheckpoint) -> tuple[LedgerCheckpoint, LedgerError | None]:
        try:
            open_row(row, key)
        except LedgerError as error:
            return row, error
        return row, None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for rows in batches(session, size):
            known = _checkpoints_between(session, rows[0].position + 1, rows[-1].position + 1)
            signed = pool.map(checkpoint, known, chunksize=64)
            opened = list(pool.map(entry, rows, chunksize=64))
            yield rows, opened, {row.size: (row, problem) for row, problem in signed}


def _check_entry(row: LedgerEntry, computed: str, read: Statement | EnvelopeError, report: Report) -> None:
    subject = f"entry {row.position}"
    if computed != row.leaf_hash:
        report.fail(
            "ledger.leaf_hash",
            subject,
            f"{subject} was changed: its envelope has another hash than its leaf",
            expected=row.leaf_hash,
            found=computed,
        )
    if isinstance(read, EnvelopeError):
        report.fail(
            "ledger.signature" if read.check == "signature" else "ledger.envelope",
            subject,
            f"{subject}: {read.message}",
            step=read.check,
            expected=read.expected,
            found=read.found,
        )


def _check_index(
    row: LedgerEntry,
    statement: Statement,
    indexed: set[tuple[str, str]],
    seen: dict[str, int],
    report: Report,
) -> None:
    subject = f"entry {row.position}"
    if statement.id in seen:
        report.fail(
            "ledger.duplicate",
            subject,
            f"{subject} repeats the statement of entry {seen[statement.id]}",
            statement=statement.id,
            first=seen[statement.id],
        )
    seen.setdefault(statement.id, row.position)
    for column, expected, found in (
        ("statement id", statement.id, row.statement_id),
        ("predicate type", statement.predicate_type, row.predicate_type),
    ):
        if expected != found:
            report.fail(
                "ledger.index",
                subject,
                f"{subject} is filed under another {column} than its statement has",
                expected=expected,
                found=found,
            )
    if indexed != statement.index:
        missing, extra = sorted(statement.index - indexed), sorted(indexed - statement.index)
        report.fail(
            "ledger.index",
            subject,
            f"{subject}: the subject index lacks {len(missing)} and invents {len(extra)} names",
            missing=missing[:10],
            invented=extra[:10],
        )


def _check_checkpoint(
    size: int, tree: StreamingRoot, checkpoints: _Checkpoints, broken: bool, report: Report
) -> bool:
    """Check the checkpoint at one size; returns whether a wrong root was reported."""
    subject = f"checkpoint {size}"
    if size not in checkpoints:
        report.fail("ledger.checkpoint_root", subject, f"there is no checkpoint at {size} entries")
        return broken
    row, problem = checkpoints[size]
    if problem is not None:
        report.fail("ledger.checkpoint_signature", subject, problem.message)
    root = tree.root().hex()
    if row.root_hash != root:
        if not broken:
            report.fail(
                "ledger.checkpoint_root",
                subject,
                f"{subject} has another root than the entries before it: entry {size - 1} or an earlier one was "
                "changed, dropped or moved, and all later roots differ with it",
                expected=row.root_hash,
                found=root,
            )
        return True
    if row.edge != [node.hex() for node in tree.edge]:
        report.fail(
            "ledger.checkpoint_root", subject, f"{subject} has a right edge that does not lead to its root"
        )
    return broken


def _index_between(session: Session, first: int, last: int) -> dict[int, set[tuple[str, str]]]:
    index: dict[int, set[tuple[str, str]]] = {}
    query = select(LedgerSubject.position, LedgerSubject.name, LedgerSubject.role)
    for position, name, role in session.execute(query.where(LedgerSubject.position.between(first, last))):
        index.setdefault(position, set()).add((name, role))
    return index


def _checkpoints_between(session: Session, first: int, last: int) -> list[LedgerCheckpoint]:
    return list(session.scalars(select(LedgerCheckpoint).where(LedgerCheckpoint.size.between(first, last))))


def _stray_index(session: Session, size: int, report: Report) -> None:
    """Index rows of entries that do not exist."""
    known = select(LedgerEntry.position).where(LedgerEntry.position == LedgerSubject.position).exists()
    query = select(LedgerSubject.position).where(~known, LedgerSubject.position < size).distinct()
    later = select(LedgerSubject.position).where(LedgerSubject.position >= size).distinct()
    late = [position for position in session.scalars(later) if session.get(LedgerEntry, position) is None]
    for position in sorted({*session.scalars(query), *late}):
        report.fail(
            "ledger.index",
            f"entry {position}",
            f"the subject index names entry {position}, which is not there",
        )
