"""The table that the ledger's attacks fill: what was done, and which check named it.

A test calls `found("decision altered in SQL", "registry.decision")` after its last assertion. The line travels with the
test's report, so that the table is whole when several processes run the tests, and a test that fails gives no line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

PROPERTY = "tampering"
_current: list[list[tuple[str, object]]] = []


def found(what: str, named_by: str) -> None:
    """Note that this test saw a tampering being found.

    Args:
        what: What was done, in a few words.
        named_by: The check, or the verifier, that found it.
    """
    assert _current, "found() is called inside a test of tests/attacks"
    _current[-1].append((PROPERTY, f"{what}\t{named_by}"))


@contextmanager
def recording(properties: list[tuple[str, object]]) -> Iterator[None]:
    """Let `found` write into a test's `user_properties` for as long as this lasts."""
    _current.append(properties)
    try:
        yield
    finally:
        _current.pop()


def lines_of(properties: Iterable[Iterable[tuple[str, object]]]) -> dict[str, set[str]]:
    """What was done, with the checks that named it, from the `user_properties` of reports."""
    out: dict[str, set[str]] = {}
    for text in (str(value) for each in properties for name, value in each if name == PROPERTY):
        what, _, named_by = text.partition("\t")
        out.setdefault(what, set()).add(named_by)
    return out


def table(lines: dict[str, set[str]]) -> list[str]:
    """The table as lines of text."""
    wide = max((len(what) for what in lines), default=0) + 2
    rows = [f"{what.ljust(wide)}{', '.join(sorted(by))}" for what, by in sorted(lines.items())]
    return [*rows, "", f"{len(lines)} tamperings of the ledger, each one found and named"]
