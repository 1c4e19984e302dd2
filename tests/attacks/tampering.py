"""The table that the ledger's attacks fill: what was done, and which check named it.

A test calls `found("decision altered in SQL", "registry.decision")` after its last assertion. The line travels with the
test's report, so that the table is whole when several processes run the tests, and a test that fails gives no line.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.reported import Notes

_NOTES = Notes("tampering")
recording = _NOTES.recording


def found(what: str, named_by: str) -> None:
    """Note that this test saw a tampering being found.

    Args:
        what: What was done, in a few words.
        named_by: The check, or the verifier, that found it.
    """
    _NOTES.note(what, named_by)


def lines_of(properties: Iterable[Iterable[tuple[str, object]]]) -> dict[str, set[str]]:
    """What was done, with the checks that named it, from the `user_properties` of reports."""
    out: dict[str, set[str]] = {}
    for what, named_by in _NOTES.lines(properties):
        out.setdefault(what, set()).add(named_by)
    return out


def table(lines: dict[str, set[str]]) -> list[str]:
    """The table as lines of text."""
    wide = max((len(what) for what in lines), default=0) + 2
    rows = [f"{what.ljust(wide)}{', '.join(sorted(by))}" for what, by in sorted(lines.items())]
    return [*rows, "", f"{len(lines)} tamperings of the ledger, each one found and named"]
