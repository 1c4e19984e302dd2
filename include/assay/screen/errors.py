"""What screening raises when it cannot work with what it was given."""

from __future__ import annotations

from assay.errors import Terminal, UsageError


class ScreenError(Terminal):
    """The batch cannot be screened as it is: columns are missing, or its file cannot be read."""


class ScreenUsageError(UsageError):
    """Screening was called with something that is not a table."""


class NotApplicable(Exception):
    """A signal lacks what it needs; the message says what, for the `not_checked` finding."""
