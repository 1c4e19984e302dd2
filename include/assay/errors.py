"""The one family of errors that Assay raises for a person to read.

Every room derives its own classes from `AssayError` and mixes in `Terminal` or `Transient`, so that a scheduler knows
whether trying again can help. A message says what was expected, what was found, what state is left and what to do next.
"""

from __future__ import annotations


class AssayError(Exception):
    """Base of all errors that Assay raises on purpose.

    Attributes:
        message: What went wrong, in one sentence.
        expected: What would have been right, if that can be said.
        found: What was there instead.
        state: What is left on disk or in the database.
        next_step: What the reader can do now.
        exit_code: The exit status of the command line for this error (2: usage, 1: failed, 3: not checked).
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        expected: object = None,
        found: object = None,
        state: str | None = None,
        next_step: str | None = None,
    ) -> None:
        """Keep the facts as attributes; `str()` joins them."""
        super().__init__(message)
        self.message = message
        self.expected = None if expected is None else str(expected)
        self.found = None if found is None else str(found)
        self.state = state
        self.next_step = next_step

    def __str__(self) -> str:
        """One line per fact, the message first."""
        lines = [self.message]
        for name, value in (
            ("expected", self.expected),
            ("found", self.found),
            ("state", self.state),
            ("next", self.next_step),
        ):
            if value is not None:
                lines.append(f"  {name}: {value}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str]:
        """The facts for `--json` output: keys with no value are left out."""
        facts = {
            "error": type(self).__name__,
            "message": self.message,
            "expected": self.expected,
            "found": self.found,
            "state": self.state,
            "next": self.next_step,
        }
        return {key: value for key, value in facts.items() if value is not None}


class Terminal(AssayError):
    """Trying again cannot help: Airflow fails the task at once."""


class Transient(AssayError):
    """Trying again may help: Airflow retries the task."""


class UsageError(Terminal):
    """The command was called wrongly, or names something that is not there."""

    exit_code = 2


class NotChecked(Terminal):
    """A check could not be made, because its tool, key, reference or data is missing."""

    exit_code = 3
