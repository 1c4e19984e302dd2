"""How many decimals a column has is known from the reference rows, and moved values seldom keep to it."""

from __future__ import annotations

import numpy as np
import pytest

from assay.screen import screen
from tests.screen import attacks


@pytest.mark.parametrize(("decimals", "share"), [(2, 1.0), (None, 0.0)])
def test_values_with_more_decimals_than_ever_are_caught_only_where_there_is_a_precision(
    decimals: int | None, share: float
) -> None:
    """A tenth of a deviation added to one column of prices: found where prices have two decimals, else unseen."""
    rng = np.random.default_rng(4)
    frame = attacks.blobs(1500, 5)
    values = rng.gamma(3.0, 20.0, len(frame))
    frame["x00"] = np.round(values, decimals) if decimals is not None else values
    batch, trusted, _ = attacks.split(frame, 1000, 300, 4)
    batch.loc[:39, "x00"] += 3.4567891
    report = screen(attacks.to_table(batch), attacks.contract_for(batch), trusted=attacks.to_table(trusted))
    held = np.array(report.rows["verdict"].to_pylist()) == "quarantine"
    assert held[:40].mean() == pytest.approx(share, abs=0.1)
    assert held[40:].mean() <= 0.005
    if decimals is not None:
        assert any("at most 2 decimals" in text for text in report.rows["reasons"][0].as_py())
