"""What can go wrong in the quarantine."""

from __future__ import annotations

from typing import Any

from assay.errors import Terminal, UsageError


class CaseUnknown(UsageError):
    """No case, or more than one, has that id."""


class DecisionRefused(UsageError):
    """A decision lacks its reviewer or its reason, or is about rows that are not there."""


class DecisionForbidden(Terminal):
    """This reviewer may not take this decision."""


class CaseClosed(Terminal):
    """The case was decided or split before, and decisions are never changed.

    Attributes:
        by: Who was first.
        action: `release`, `reject` or `split`.
        at: When, UTC.
        children: Ids of the cases that it was split into.
    """

    def __init__(
        self, message: str, *, by: str, action: str, at: str, children: tuple[str, ...] = (), **facts: Any
    ) -> None:
        """Keep who was first."""
        super().__init__(message, **facts)
        self.by, self.action, self.at, self.children = by, action, at, children
