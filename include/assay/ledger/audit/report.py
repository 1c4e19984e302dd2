"""What a long check found: failures by check, named one by one up to a limit, and what passed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assay.findings import Finding, Outcome
from assay.ledger.outside.compare import ledger_finding

MAX_NAMED = 50
"""How many failures of one check are named one by one; the others are counted."""


class Report:
    """Collects failures per check.

    Args:
        meanings: Name of each check, and what it means that it passed.
        counted: What `looked` counts, as the evidence calls it.
    """

    def __init__(self, meanings: Mapping[str, str], counted: str) -> None:
        self._meanings = meanings
        self._counted = counted
        self._failures: dict[str, list[Finding]] = {check: [] for check in meanings}
        self._looked: dict[str, int] = dict.fromkeys(meanings, 0)
        self._failed: dict[str, int] = dict.fromkeys(meanings, 0)

    def looked(self, check: str, count: int = 1) -> None:
        """Note that a check had something to look at."""
        self._looked[check] += count

    def fail(self, check: str, subject: str, message: str, **evidence: Any) -> None:
        """Note a failure; evidence that is None is left out."""
        self._failed[check] += 1
        if len(self._failures[check]) < MAX_NAMED:
            self._failures[check].append(ledger_finding(check, Outcome.FAILED, subject, message, evidence))

    def findings(self) -> list[Finding]:
        """One finding per failure, and one for each check that had something to look at and found nothing wrong."""
        out: list[Finding] = []
        for check, meaning in self._meanings.items():
            out += self._failures[check]
            more = self._failed[check] - len(self._failures[check])
            if more:
                message = f"and {more} more like these"
                out.append(ledger_finding(check, Outcome.FAILED, "ledger", message, {"more": more}))
            if self._looked[check] and not self._failed[check]:
                evidence = {self._counted: self._looked[check]}
                out.append(ledger_finding(check, Outcome.PASSED, "ledger", meaning, evidence))
        return out
