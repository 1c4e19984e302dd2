"""Each test of this folder can note a cell of the table, see `cells`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop import cells
from tests.interop.signers import Bench


@pytest.fixture(autouse=True)
def _cells(request: pytest.FixtureRequest) -> Iterator[None]:
    """`caught` writes into the report of the test that calls it."""
    with cells.recording(request.node.user_properties):
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Signers that all tests of a file share: making keys is slow."""
    return Bench(tmp_path_factory.mktemp("signers"))
