"""Each test of this folder can note a line of the table of tamperings, see `tampering`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks import tampering


@pytest.fixture(autouse=True)
def _tamperings(request: pytest.FixtureRequest) -> Iterator[None]:
    """`found` writes into the report of the test that calls it."""
    with tampering.recording(request.node.user_properties):
        yield
