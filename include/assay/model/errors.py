"""What goes wrong with models."""

from __future__ import annotations

from assay.errors import NotChecked, Terminal, UsageError


class BundleRefused(Terminal):
    """A bundle did not pass its checks, so that nothing of it was loaded.

    Attributes:
        findings: The answers of all checks that were made.
    """

    def __init__(self, message: str, *, findings: list[object] | None = None, **facts: str | None) -> None:
        """Keep the findings beside the message."""
        super().__init__(message, **facts)
        self.findings = findings or []


class NoModelKey(NotChecked):
    """There is no public key to check a bundle's signature with."""


class NoSuchModel(UsageError):
    """The registry has no model of that name."""


class PromotionRefused(Terminal):
    """A model may not become champion."""
