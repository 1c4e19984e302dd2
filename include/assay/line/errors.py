"""What stations raise when a verdict stops the line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.errors import NotChecked, Terminal, Transient, UsageError

if TYPE_CHECKING:
    from assay.train import RunResult


class DeliveryRejected(Terminal):
    """A delivery failed a check that nothing can make good."""


class DeliveryNotProved(NotChecked):
    """A delivery's origin could not be checked, so none of it was read."""


class SourceSilent(Terminal):
    """A source has delivered nothing for longer than the contract allows."""


class Undecided(Terminal):
    """Deliveries still wait for a human."""


class NoSnapshot(UsageError):
    """There is nothing to train on."""


class RunStopped(Terminal):
    """A training run was stopped, or failed; `result` says how it went."""

    result: RunResult | None = None


class RunNotTried(NotChecked):
    """A training run could not be tried, because a tool was missing; `result` says which."""

    result: RunResult | None = None


class ChallengerRefused(Terminal):
    """A challenger did not pass its gates, or a human refused it."""


class ModelDecided(Terminal):
    """Others decided on the challenger before, and decisions are never changed.

    Attributes:
        by: Who was first.
        action: `promote` or `refuse`.
        at: When, UTC.
    """

    def __init__(self, message: str, *, by: str, action: str, at: str, **facts: Any) -> None:
        """Keep who was first."""
        super().__init__(message, **facts)
        self.by, self.action, self.at = by, action, at


class SnapshotConflict(Transient):
    """Another admission of the same data set came in between."""


class RunInterrupted(Transient):
    """A training run was killed from outside."""


class TrustedSetChanged(Terminal):
    """The trusted rows are not those that the contract names by digest."""
