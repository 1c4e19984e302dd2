"""A publisher and its registry for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.intake.support import Line, new_line


@pytest.fixture
def line(tmp_path: Path, assay_home: Path) -> Iterator[Line]:
    """A publisher that signs with minisign."""
    with new_line(tmp_path) as made:
        yield made
