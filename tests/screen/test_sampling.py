"""Which rows are fitted on: the same in any order, and nobody's choice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from assay.contract.models import Contract
from assay.screen.encoding import Encoder
from assay.screen.rows import as_rows
from assay.screen.sampling import Sample, draw

CONTRACT = Contract.model_validate(
    {
        "version": 1,
        "dataset": "d",
        "schema": {"key": ["id"], "columns": {"id": {"type": "integer"}, "x": {"type": "number"}}},
    }
)


def table(rows: int = 6000, seed: int = 0) -> pa.Table:
    x = np.random.default_rng(seed).normal(size=rows)
    return pa.table({"id": np.arange(rows), "x": x})


def sampled(rows: pa.Table, batch_rows: int = 700, seed: int = 0) -> Sample:
    encoder = Encoder(CONTRACT)
    return draw(as_rows(rows, CONTRACT, "batch"), encoder, 2000, seed, batch_rows)


def ids(sample: Sample) -> list[int]:
    return sample.table["id"].to_pylist()


def test_the_sample_is_the_same_in_any_order_and_in_any_pieces() -> None:
    """Shuffled rows and other batch sizes: the same rows, in the same order."""
    whole = table()
    shuffled = whole.take(pa.array(np.random.default_rng(1).permutation(whole.num_rows)))
    assert ids(sampled(whole)) == ids(sampled(shuffled)) == ids(sampled(whole, batch_rows=4096))
    assert len(set(ids(sampled(whole)))) == 2000


def test_positions_are_those_of_the_sampled_rows() -> None:
    """Each position leads to the row that stands in the sample, also when all rows do."""
    for rows in (6000, 1500):
        whole = table(rows)
        sample = sampled(whole)
        assert whole.take(pa.array(sample.position))["id"].to_pylist() == ids(sample)
        assert sample.table.num_rows == min(rows, 2000)


def test_nobody_can_work_out_which_rows_will_be_left_out() -> None:
    """Rows that a publisher found outside the sample come in like any others once a single cell is another."""
    whole = table()
    outside = sorted(set(range(whole.num_rows)) - set(ids(sampled(whole))))[:1500]
    x = whole["x"].to_numpy().copy()
    x[ids(sampled(whole))[0]] += 1.0
    again = ids(sampled(pa.table({"id": whole["id"], "x": x})))
    share = len(set(outside) & set(again)) / len(outside)
    assert 0.25 < share < 0.42  # a third, as of all rows


def test_another_seed_draws_other_rows() -> None:
    """The contract's seed counts too."""
    whole = table()
    assert set(ids(sampled(whole))) != set(ids(sampled(whole, seed=1)))
