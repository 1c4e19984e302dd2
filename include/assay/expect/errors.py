"""What can be wrong with expectations before any data is read."""

from __future__ import annotations

from assay.errors import Terminal


class ExpectError(Terminal):
    """The contract asks for an expectation that does not exist or cannot be meant.

    Attributes:
        where: The place in the contract, e.g. `expectations[2]` or `schema.columns.age.min`.
    """

    exit_code = 2

    def __init__(
        self,
        where: str,
        message: str,
        *,
        expected: object = None,
        found: object = None,
        next_step: str | None = None,
    ) -> None:
        """Name the place in the contract first."""
        super().__init__(f"{where}: {message}", expected=expected, found=found, next_step=next_step)
        self.where = where
