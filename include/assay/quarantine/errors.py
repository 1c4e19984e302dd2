"""What can go wrong in the quarantine."""

from __future__ import annotations

from assay.errors import Terminal, UsageError


class CaseUnknown(UsageError):
    """No case, or more than one, has that id."""


class DecisionRefused(UsageError):
    """A decision lacks its reviewer or its reason, or is not one that this reviewer may take."""


class CaseClosed(Terminal):
    """The case was decided before, and decisions are never changed."""
