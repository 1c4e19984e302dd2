"""What goes wrong with models."""

from __future__ import annotations

from collections.abc import Sequence

from assay.errors import NotChecked, Terminal, UsageError
from assay.findings import Finding, worst


class BundleRefused(Terminal):
    """A bundle did not pass its checks, so that nothing of it was loaded.

    Attributes:
        findings: The answers of all checks that were made.
    """

    def __init__(self, message: str, *, findings: Sequence[Finding] = (), **facts: str | None) -> None:
        """Keep the findings beside the message; where nothing failed but something was not checked, exit with 3."""
        super().__init__(message, **facts)
        self.findings = tuple(findings)
        if self.findings:
            self.exit_code = worst(f.outcome for f in self.findings).exit_code or 1


class NoModelKey(NotChecked):
    """There is no public key to check a bundle's signature with."""


class ModelKeyError(Terminal):
    """The private key that should sign a bundle cannot be used."""


class AnswerNotFinite(Terminal):
    """A model answered with something that is no finite number."""


class NoSuchModel(UsageError):
    """The registry has no model of that name."""


class PromotionRefused(Terminal):
    """A model may not become champion."""
