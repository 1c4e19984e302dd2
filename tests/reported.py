"""What tests saw, brought into tables at the end of the run.

A line travels with its test's report (`user_properties`), so that a table is whole when several processes run the
tests, and a test that fails gives none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Notes:
    """Lines of two words each, of one kind.

    Args:
        kind: Name of the property that carries them.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._current: list[list[tuple[str, object]]] = []

    def note(self, first: str, second: str) -> None:
        """Note a line in the report of the test that runs."""
        assert self._current, f"a {self._kind} is noted inside a test of the folder that records them"
        self._current[-1].append((self._kind, f"{first}\t{second}"))

    @contextmanager
    def recording(self, properties: list[tuple[str, object]]) -> Iterator[None]:
        """Let `note` write into a test's `user_properties` for as long as this lasts."""
        self._current.append(properties)
        try:
            yield
        finally:
            self._current.pop()

    def lines(self, properties: Iterable[Iterable[tuple[str, object]]]) -> list[tuple[str, str]]:
        """The lines in the `user_properties` of reports."""
        texts = [str(value) for each in properties for name, value in each if name == self._kind]
        return [(first, second) for first, _, second in (text.partition("\t") for text in texts)]
