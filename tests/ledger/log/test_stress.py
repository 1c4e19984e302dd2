"""Eight processes append at once, and one of them is killed each second."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger.stress import stress


@pytest.mark.slow
def test_no_acknowledged_entry_is_lost_while_writers_are_killed(database_url: str, assay_home: Path) -> None:
    """On both databases: the log verifies in full, each acknowledged append is there, and no writer broke."""
    told = stress(database_url, assay_home, seconds=8)
    assert told.kills >= 5
    assert told.acknowledged > 0
    assert told.lost == 0
    assert told.errors == []
    assert told.failed == {}
    assert told.holds
