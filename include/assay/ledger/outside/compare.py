"""The log against what was said of it outside the database: the anchor's file, published checkpoints, witnesses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger.errors import NoteError
from assay.ledger.log.checkpoints import Checkpoint, open_checkpoint
from assay.ledger.log.ledger import Ledger
from assay.ledger.outside.publish import Place, PlaceUnreachable, read_place

_ANCHOR_PATIENCE = 2.0  # seconds for a process that committed to write the anchor


class Outside:
    """What was said outside, read before the log is: what it names was committed earlier, so the log must have it.

    Args:
        ledger: The log.
        published: Signed checkpoints that somebody brought.
        places: Where checkpoints are published.
    """

    def __init__(self, ledger: Ledger, published: Sequence[str], places: Sequence[Place]) -> None:
        self._ledger = ledger
        self._anchored, self._problem = _read_anchor(ledger)
        self._brought = [
            _read_published(ledger, number, note) for number, note in enumerate(published, start=1)
        ]
        self._places = {place.uri: _read_place(ledger, place) for place in places}

    @property
    def sizes(self) -> set[int]:
        """Sizes at which the log's root is asked for."""
        named = (self._anchored, *self._brought, *self._places.values())
        return {checkpoint.size for checkpoint in named if isinstance(checkpoint, Checkpoint)}

    def findings(self, size: int, roots: Mapping[int, str]) -> list[Finding]:
        """Compare with a log of `size` entries and these roots."""
        named = [("the published checkpoint", found) for found in self._brought]
        named += [(f"the checkpoint published at {uri}", found) for uri, found in self._places.items()]
        findings = [
            found if isinstance(found, Finding) else _compare("ledger.published", what, found, size, roots)
            for what, found in named
        ]
        vouched = any(finding.outcome is not Outcome.NOT_CHECKED for finding in findings)
        return findings + _anchor_findings(self._ledger, size, roots, self._anchored, self._problem, vouched)


def _read_anchor(ledger: Ledger) -> tuple[Checkpoint | None, str | None]:
    if ledger.anchor is None:
        return None, None
    try:
        return ledger.anchor.read(ledger.public_key), None
    except NoteError as error:
        return None, error.message


def _read_published(ledger: Ledger, number: int, note: str) -> Checkpoint | Finding:
    try:
        return open_checkpoint(note, ledger.public_key)
    except NoteError as error:
        subject = f"published checkpoint {number}"
        return ledger_finding("ledger.published", Outcome.FAILED, subject, error.message, {})


def _read_place(ledger: Ledger, place: Place) -> Checkpoint | Finding:
    """The newest checkpoint of a place, or what is wrong with it."""
    subject = f"the checkpoint published at {place.uri}"
    try:
        found = read_place(ledger, place)
    except NoteError as error:
        return ledger_finding("ledger.published", Outcome.FAILED, subject, error.message, {})
    except PlaceUnreachable as error:
        evidence = {"found": error.found}
        return ledger_finding("ledger.published", Outcome.NOT_CHECKED, subject, error.message, evidence)
    if found is None:
        message = f"nothing was published at {place.uri} yet"
        return ledger_finding("ledger.published", Outcome.NOT_CHECKED, subject, message, {})
    return found


def _anchor_findings(
    ledger: Ledger,
    size: int,
    roots: Mapping[int, str],
    anchored: Checkpoint | None,
    anchor_problem: str | None,
    vouched: bool,
) -> list[Finding]:
    findings = []
    if anchor_problem is not None:
        findings.append(ledger_finding("ledger.anchor", Outcome.FAILED, "anchor", anchor_problem, {}))
    elif anchored is not None:
        findings.append(_anchorledger_finding(ledger, anchored, size, roots))
    elif size and not vouched:
        where = f" ({ledger.anchor.path})" if ledger.anchor else ""
        message = (
            f"there is no anchor outside the database{where} and no published checkpoint to compare with: whether the "
            "newest entries were cut off cannot be told"
        )
        findings.append(
            ledger_finding("ledger.anchor", Outcome.NOT_CHECKED, "anchor", message, {"entries": size})
        )
    return findings


def _anchorledger_finding(
    ledger: Ledger, anchored: Checkpoint, size: int, roots: Mapping[int, str]
) -> Finding:
    finding = _compare("ledger.anchor", "the anchor", anchored, size, roots)
    if finding.outcome is not Outcome.PASSED or anchored.size >= size or _caught_up(ledger, size):
        return finding
    message = (
        f"the anchor covers {anchored.size} of {size} entries: a process died before it wrote the anchor, another "
        "machine appended with an anchor of its own, or the file was rolled back; the next append here moves it on"
    )
    evidence = {"anchored": anchored.size, "entries": size, "behind": size - anchored.size}
    return ledger_finding("ledger.anchor", Outcome.NOT_CHECKED, "anchor", message, evidence)


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


def _compare(check: str, what: str, checkpoint: Checkpoint, size: int, roots: Mapping[int, str]) -> Finding:
    evidence: dict[str, Any] = {
        "anchored": checkpoint.size,
        "entries": size,
        "expected": checkpoint.root.hex(),
    }
    if checkpoint.size > size:
        message = f"{what} covers {checkpoint.size} entries, but the log has {size}: the newest were cut off"
        return ledger_finding(check, Outcome.FAILED, what, message, evidence)
    found = roots.get(checkpoint.size)
    if found != checkpoint.root.hex():
        message = f"{what} has another root at {checkpoint.size} entries: the log was rewritten"
        return ledger_finding(check, Outcome.FAILED, what, message, {**evidence, "found": found})
    return ledger_finding(
        check, Outcome.PASSED, what, f"the log contains {what} at {checkpoint.size} entries", evidence
    )


def ledger_finding(
    check: str, outcome: Outcome, subject: str, message: str, evidence: dict[str, Any]
) -> Finding:
    """A finding about the ledger; what is None is left out of the evidence."""
    return Finding(
        check=check,
        outcome=outcome,
        severity=Severity.CRITICAL if outcome is Outcome.FAILED else Severity.INFO,
        scope=Scope.LEDGER,
        subject=subject,
        message=message,
        evidence={key: value for key, value in evidence.items() if value is not None},
    )
