"""What can go wrong when somebody looks."""

from __future__ import annotations

from assay.errors import UsageError


class NotFound(UsageError):
    """Nothing has that id, or what it should show was never kept; the message says which."""


class BadQuery(UsageError):
    """A filter, an order, a limit or a cursor cannot be understood."""
