"""Checking the whole log: every entry, every checkpoint, the index, and the anchors outside the database.

The log is read once, in order. Each entry's envelope is checked with the pinned key and hashed into a tree of our own;
each checkpoint is compared with that tree at its size. What is found is named by entry and check.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from assay.db import LedgerCheckpoint, LedgerEntry, LedgerSubject
from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger.checkpoints import Checkpoint, open_checkpoint
from assay.ledger.errors import EnvelopeError, LedgerError, NoteError
from assay.ledger.log import Ledger, batches, open_row, tree_of
from assay.ledger.merkle import StreamingRoot, leaf_hash
from assay.ledger.statements import Statement, verify_envelope

MAX_NAMED = 50
"""How many failures of one check are named one by one; the others are counted."""

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
_ANCHOR_PATIENCE = 2.0  # seconds for a process that committed to write the anchor


class _Report:
    """Collects failures per check."""

    def __init__(self) -> None:
        self.failures: dict[str, list[Finding]] = {check: [] for check in _CHECKS}
        self.counts: dict[str, int] = dict.fromkeys(_CHECKS, 0)

    def fail(self, check: str, subject: str, message: str, **evidence: Any) -> None:
        self.counts[check] += 1
        if len(self.failures[check]) < MAX_NAMED:
            self.failures[check].append(_finding(check, Outcome.FAILED, subject, message, evidence))

    def findings(self, entries: int) -> list[Finding]:
        out: list[Finding] = []
        for check, meaning in _CHECKS.items():
            named = self.failures[check]
            out += named
            if not named:
                out.append(_finding(check, Outcome.PASSED, "ledger", meaning, {"entries": entries}))
            elif self.counts[check] > len(named):
                more = self.counts[check] - len(named)
                out.append(
                    _finding(check, Outcome.FAILED, "ledger", f"and {more} more like these", {"more": more})
                )
        return out


def verify_log(ledger: Ledger, published: Sequence[str] = ()) -> list[Finding]:
    """Check the whole log.

    Args:
        ledger: The log; its public key is the one that must have signed everything.
        published: Signed checkpoints from outside (a web page, a mail, a witness), which the log must still contain.

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
        return [_finding("ledger.entries", Outcome.NOT_CHECKED, "ledger", reason, {"entries": size})]
    # The anchor is read first: what it names was committed before it was written, so the log must have it.
    anchored, anchor_problem = _read_anchor(ledger)
    outside = [_read_published(ledger, number, note) for number, note in enumerate(published, start=1)]
    wanted = {checkpoint.size for checkpoint in (anchored, *outside) if isinstance(checkpoint, Checkpoint)}
    report = _Report()
    with ledger.database.session() as session:
        size, covered = _sizes(session)
        roots = _walk(ledger, session, max(size, covered), wanted, report)
        _stray_index(session, size, report)
        if covered != size:
            report.fail(
                "ledger.truncation",
                f"checkpoint {covered}",
                f"the newest checkpoint covers {covered} entries, but there are {size}",
                checkpoint=covered,
                entries=size,
            )
    findings = [] if size == covered == 0 else report.findings(size)
    findings += _outside_findings(ledger, size, roots, anchored, anchor_problem, outside)
    if not findings:
        return [
            _finding("ledger.entries", Outcome.NOT_CHECKED, "ledger", "the ledger is empty", {"entries": 0})
        ]
    return findings


def _sizes(session: Session) -> tuple[int, int]:
    """Number of entries, and how many the newest checkpoint covers, both of one moment."""
    last = select(func.max(LedgerEntry.position)).scalar_subquery()
    newest = select(func.max(LedgerCheckpoint.size)).scalar_subquery()
    row = session.execute(select(last, newest)).one()
    return (0 if row[0] is None else int(row[0]) + 1), int(row[1] or 0)


def _walk(ledger: Ledger, session: Session, size: int, wanted: set[int], report: _Report) -> dict[int, str]:
    """Check entries and checkpoints in order; returns the roots at the wanted sizes and at the last one."""
    tree, roots = StreamingRoot(), {0: StreamingRoot().root().hex()}
    seen: dict[str, int] = {}
    expected = 0
    broken = False  # after the first wrong root, all later ones are wrong for the same reason
    for rows in batches(session, size):
        first, last = rows[0].position, rows[-1].position
        index = _index_between(session, first, last)
        checkpoints = _checkpoints_between(session, first + 1, last + 1)
        for row in rows:
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
            statement = _check_entry(ledger, row, report)
            if statement is not None:
                _check_index(row, statement, index.get(row.position, set()), seen, report)
            tree.append(leaf_hash(row.envelope.encode()))
            root = tree.root().hex()
            if tree.size in wanted:
                roots[tree.size] = root
            broken = _check_checkpoint(ledger, row.position + 1, root, checkpoints, broken, report)
    roots[tree.size] = tree.root().hex()
    for stray in session.scalars(select(LedgerCheckpoint.size).where(LedgerCheckpoint.size < 1)):
        report.fail("ledger.checkpoint_root", f"checkpoint {stray}", f"no log has {stray} entries")
    return roots


def _check_entry(ledger: Ledger, row: LedgerEntry, report: _Report) -> Statement | None:
    subject = f"entry {row.position}"
    computed = leaf_hash(row.envelope.encode()).hex()
    if computed != row.leaf_hash:
        report.fail(
            "ledger.leaf_hash",
            subject,
            f"{subject} was changed: its envelope has another hash than its leaf",
            expected=row.leaf_hash,
            found=computed,
        )
    try:
        return verify_envelope(row.envelope, ledger.public_key)
    except EnvelopeError as error:
        check = "ledger.signature" if error.check == "signature" else "ledger.envelope"
        report.fail(
            check,
            subject,
            f"{subject}: {error.message}",
            step=error.check,
            expected=error.expected,
            found=error.found,
        )
        return None


def _check_index(
    row: LedgerEntry,
    statement: Statement,
    indexed: set[tuple[str, str]],
    seen: dict[str, int],
    report: _Report,
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
    ledger: Ledger,
    size: int,
    root: str,
    checkpoints: dict[int, LedgerCheckpoint],
    broken: bool,
    report: _Report,
) -> bool:
    """Check the checkpoint at one size; returns whether a wrong root was reported."""
    subject = f"checkpoint {size}"
    row = checkpoints.get(size)
    if row is None:
        report.fail("ledger.checkpoint_root", subject, f"there is no checkpoint at {size} entries")
        return broken
    try:
        open_row(row, ledger.public_key)
    except LedgerError as error:
        report.fail("ledger.checkpoint_signature", subject, error.message)
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
    try:
        edge_root = tree_of(row).root().hex()
    except LedgerError:
        edge_root = "malformed"
    if edge_root != root:
        report.fail(
            "ledger.checkpoint_root",
            subject,
            f"{subject} has a right edge that does not lead to its root",
            found=edge_root,
        )
    return broken


def _index_between(session: Session, first: int, last: int) -> dict[int, set[tuple[str, str]]]:
    index: dict[int, set[tuple[str, str]]] = {}
    query = select(LedgerSubject.position, LedgerSubject.name, LedgerSubject.role)
    for position, name, role in session.execute(query.where(LedgerSubject.position.between(first, last))):
        index.setdefault(position, set()).add((name, role))
    return index


def _checkpoints_between(session: Session, first: int, last: int) -> dict[int, LedgerCheckpoint]:
    query = select(LedgerCheckpoint).where(LedgerCheckpoint.size.between(first, last))
    return {row.size: row for row in session.scalars(query)}


def _stray_index(session: Session, size: int, report: _Report) -> None:
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


# -------------------------------------------------------------------------------------------------------------- anchors
def _read_anchor(ledger: Ledger) -> tuple[Checkpoint | None, str | None]:
    if ledger.anchor is None:
        return None, None
    try:
        return ledger.anchor.read(ledger.public_key), None
    except NoteError as error:
        return None, error.message


def _read_published(ledger: Ledger, number: int, note: str) -> Checkpoint | tuple[int, str]:
    try:
        return open_checkpoint(note, ledger.public_key)
    except NoteError as error:
        return number, error.message


def _outside_findings(
    ledger: Ledger,
    size: int,
    roots: dict[int, str],
    anchored: Checkpoint | None,
    anchor_problem: str | None,
    outside: Sequence[Checkpoint | tuple[int, str]],
) -> list[Finding]:
    findings = []
    for published in outside:
        if isinstance(published, Checkpoint):
            findings.append(_compare("ledger.published", "the published checkpoint", published, size, roots))
        else:
            number, problem = published
            findings.append(
                _finding("ledger.published", Outcome.FAILED, f"published checkpoint {number}", problem, {})
            )
    if anchor_problem is not None:
        findings.append(_finding("ledger.anchor", Outcome.FAILED, "anchor", anchor_problem, {}))
    elif anchored is not None:
        findings.append(_anchor_finding(ledger, anchored, size, roots))
    elif size and not outside:
        where = f" ({ledger.anchor.path})" if ledger.anchor else ""
        message = (
            f"there is no anchor outside the database{where} and no published checkpoint to compare with: whether the "
            "newest entries were cut off cannot be told"
        )
        findings.append(_finding("ledger.anchor", Outcome.NOT_CHECKED, "anchor", message, {"entries": size}))
    return findings


def _anchor_finding(ledger: Ledger, anchored: Checkpoint, size: int, roots: dict[int, str]) -> Finding:
    finding = _compare("ledger.anchor", "the anchor", anchored, size, roots)
    if finding.outcome is not Outcome.PASSED or anchored.size >= size or _caught_up(ledger, size):
        return finding
    message = (
        f"the anchor covers {anchored.size} of {size} entries: a process died before it wrote the anchor, another "
        "machine appended with an anchor of its own, or the file was rolled back; the next append here moves it on"
    )
    evidence = {"anchored": anchored.size, "entries": size, "behind": size - anchored.size}
    return _finding("ledger.anchor", Outcome.NOT_CHECKED, "anchor", message, evidence)


def _caught_up(ledger: Ledger, size: int) -> bool:
    """Whether the anchor moved on: an append may have been between its commit and its anchor when we read them."""

    def covered() -> bool:
        anchored, _ = _read_anchor(ledger)
        return anchored is not None and anchored.size >= size

    return _wait_until(covered, _ANCHOR_PATIENCE)


def _wait_until(true: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _compare(check: str, what: str, checkpoint: Checkpoint, size: int, roots: dict[int, str]) -> Finding:
    evidence: dict[str, Any] = {
        "anchored": checkpoint.size,
        "entries": size,
        "expected": checkpoint.root.hex(),
    }
    if checkpoint.size > size:
        message = f"{what} covers {checkpoint.size} entries, but the log has {size}: the newest were cut off"
        return _finding(check, Outcome.FAILED, what, message, evidence)
    found = roots.get(checkpoint.size)
    if found != checkpoint.root.hex():
        message = f"{what} has another root at {checkpoint.size} entries: the log was rewritten"
        return _finding(check, Outcome.FAILED, what, message, {**evidence, "found": found})
    return _finding(
        check, Outcome.PASSED, what, f"the log contains {what} at {checkpoint.size} entries", evidence
    )


def _finding(check: str, outcome: Outcome, subject: str, message: str, evidence: dict[str, Any]) -> Finding:
    return Finding(
        check=check,
        outcome=outcome,
        severity=Severity.CRITICAL if outcome is Outcome.FAILED else Severity.INFO,
        scope=Scope.LEDGER,
        subject=subject,
        message=message,
        evidence={key: value for key, value in evidence.items() if value is not None},
    )
