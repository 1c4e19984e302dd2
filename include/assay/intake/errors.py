"""What can go wrong between a publisher's place and our store, told in words that name the next step."""

from __future__ import annotations

from assay.errors import AssayError, NotChecked, Terminal, Transient, UsageError


class IntakeError(AssayError):
    """Base of this room's errors."""


class LocationError(IntakeError, UsageError):
    """The delivery that was named is not there, or is nothing that a delivery can be."""


class CredentialsMissing(IntakeError, UsageError):
    """The contract names credentials that the environment does not have."""


class SourceUnreachable(IntakeError, Transient):
    """The source does not answer, or broke off, and went on doing so."""


class SourceTimeout(SourceUnreachable):
    """The source did not deliver within `bounds.timeout`."""


class SourceRefused(IntakeError, Terminal):
    """The source answers, but not with what was asked for: trying again cannot help."""


class NotThere(SourceRefused):
    """The source has no file of that name."""


class TooLarge(SourceRefused):
    """More than the contract's `bounds` allow."""


class ManifestError(IntakeError, Terminal):
    """The manifest cannot be trusted to say which files belong to the delivery.

    Attributes:
        line: The line's number, counted from 1; None if it is about the whole file.
    """

    def __init__(
        self,
        message: str,
        *,
        line: int | None = None,
        expected: object = None,
        found: object = None,
        next_step: str | None = None,
    ) -> None:
        """Keep the line's number as an attribute."""
        super().__init__(message, expected=expected, found=found, next_step=next_step)
        self.line = line


class SignatureRefused(IntakeError, Terminal):
    """The signature does not count.

    Attributes:
        reason: One of `format`, `unknown_key`, `not_yet_valid`, `expired`, `revoked`, `wrong_bytes`, `identity` (made
            by or for somebody else), `weak` (an algorithm that is not accepted), `threshold` (too few count).
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        expected: object = None,
        found: object = None,
        next_step: str | None = None,
    ) -> None:
        """Keep the reason as an attribute."""
        super().__init__(message, expected=expected, found=found, next_step=next_step)
        self.reason = reason


class ClaimsError(IntakeError, Terminal):
    """What was signed about the delivery (data set, source, sequence, date) cannot be read or contradicts itself."""


class KeysMissing(IntakeError, NotChecked):
    """The contract names no key that the signature could be checked with."""


class ToolMissing(IntakeError, NotChecked):
    """This machine lacks the program that checks signatures of this format, or it gives no answer."""


class DeliveryRefused(IntakeError, Terminal):
    """The data of a delivery was asked for that was not accepted."""


class LandingFailed(IntakeError, Transient):
    """The bytes could not be read to their end on this machine."""


class PublishError(IntakeError, UsageError):
    """The folder cannot be made a delivery of."""
