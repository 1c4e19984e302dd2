"""What a check answers: an outcome, how bad it is, what it is about, and the evidence.

An outcome has three values. `not_checked` is never `passed`: a check that lacks its tool, key, reference or data says
so.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from assay.canonical import content_id


class Outcome(StrEnum):
    """The answer of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not_checked"

    @property
    def exit_code(self) -> int:
        """The command line's exit status for this outcome: 0, 1 or 3."""
        return {"passed": 0, "failed": 1, "not_checked": 3}[self.value]


class Severity(StrEnum):
    """How much a failed check matters."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Scope(StrEnum):
    """What a finding is about."""

    DELIVERY = "delivery"
    SOURCE = "source"
    COLUMN = "column"
    ROW = "row"
    GROUP = "group"
    SNAPSHOT = "snapshot"
    RUN = "run"
    MODEL = "model"
    LEDGER = "ledger"


class Verdict(StrEnum):
    """The verdict on a delivery."""

    ACCEPT = "accept"
    HOLD = "hold"
    REJECT = "reject"


class RowVerdict(StrEnum):
    """The verdict on a row."""

    ADMIT = "admit"
    QUARANTINE = "quarantine"


class Finding(BaseModel):
    """One check's answer.

    Attributes:
        check: Dotted name of the check, e.g. `intake.signature` or `screen.near_duplicates`.
        outcome: `passed`, `failed` or `not_checked`.
        severity: How much a failure matters.
        scope: What kind of thing the finding is about.
        subject: Which one: a delivery id, a column's name, a row number, a group's id ...
        message: One sentence for a person; a `not_checked` names what was missing.
        evidence: JSON-ready facts (counts, examples, thresholds); bounded, never whole data sets.
        technique: MITRE ATLAS technique, e.g. `AML.T0020` (poison training data), where one applies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    outcome: Outcome
    severity: Severity = Severity.INFO
    scope: Scope = Scope.DELIVERY
    subject: str = ""
    message: str = ""
    evidence: dict[str, Any] = Field(default_factory=dict)
    technique: str | None = None

    @property
    def id(self) -> str:
        """Content id of the finding: the same answer about the same thing has the same id."""
        return content_id("finding", self.model_dump(mode="json"))


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of many checks together: any failure fails, else anything unchecked is unchecked.

    No checks at all is `not_checked`: an empty list proves nothing.
    """
    seen = set(outcomes)
    if Outcome.FAILED in seen:
        return Outcome.FAILED
    if Outcome.NOT_CHECKED in seen or not seen:
        return Outcome.NOT_CHECKED
    return Outcome.PASSED


class Answer(StrEnum):
    """What a human can answer when deliveries are held; the words stand on the buttons."""

    ADMIT_REST = "Admit the clean rest"
    ADMIT_ALL = "Admit everything"
    REJECT = "Reject the deliveries"
    AS_DECIDED = "As decided on the case pages"


class Approval(StrEnum):
    """What a human can answer when a challenger waits; the words stand on the buttons."""

    PROMOTE = "Promote"
    REFUSE = "Refuse"
    AS_DECIDED = "As decided on the model page"
