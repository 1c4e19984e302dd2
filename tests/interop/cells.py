"""The table that the interoperability tests fill: one cell for each format and attack that was seen to be caught.

A test calls `caught("openssh", "other namespace")` after its last assertion. The cell travels with the test's report,
so that the table is whole when several processes run the tests, and a test that fails gives no cell.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.reported import Notes

_WIDTH = 108
_NOTES = Notes("cell")
recording = _NOTES.recording


def caught(format: str, attack: str) -> None:
    """Note that this test saw the attack on the format being caught.

    Args:
        format: Name of the format, such as `openssh` or `SHA256SUMS (BSD)`.
        attack: What was done to it, such as `flipped byte in manifest`; formats share the names of their attacks.
    """
    _NOTES.note(format, attack)


def cells_of(properties: Iterable[Iterable[tuple[str, object]]]) -> set[tuple[str, str]]:
    """The cells in the `user_properties` of reports, as (format, attack)."""
    return set(_NOTES.lines(properties))


def table(cells: set[tuple[str, str]]) -> list[str]:
    """The table as lines of text: attacks down, formats across, in as many blocks as fit the width."""
    attacks = {attack: None for _, attack in sorted(cells, key=lambda cell: cell[1])}
    wide = max((len(attack) for attack in attacks), default=0) + 2
    blocks: list[list[str]] = [[]]
    room = _WIDTH - wide
    for format in sorted({format for format, _ in cells}):
        if blocks[-1] and sum(len(name) + 2 for name in [*blocks[-1], format]) > room:
            blocks.append([])
        blocks[-1].append(format)
    lines = []
    for block in blocks:
        lines.append(" " * wide + "  ".join(block))
        for attack in attacks:
            marks = ["x" if (format, attack) in cells else "." for format in block]
            if "x" in marks:
                row = "  ".join(mark.center(len(name)) for mark, name in zip(marks, block, strict=True))
                lines.append(f"{attack.ljust(wide)}{row}".rstrip())
        lines.append("")
    formats = len({format for format, _ in cells})
    return [*lines, f"{len(cells)} cells: {formats} formats, {len(attacks)} attacks, each one caught"]
