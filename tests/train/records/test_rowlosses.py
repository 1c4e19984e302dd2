"""The loss of every training row at every epoch, in memory that does not grow with them."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from assay.train.backends import Batches, Stats
from assay.train.records import rowlosses
from assay.train.records.rowlosses import EPOCHS, Spool, losses_of_epoch, row_losses_of

TRAIN = np.array([1, 3, 4, 7])


def an_epoch(rows, losses) -> np.ndarray:
    """Losses of the training rows above after these rows were seen with these losses."""
    batches = Batches(np.array(rows, np.int64), np.array([0, len(rows)]), np.array([0.1]))
    return losses_of_epoch(TRAIN, batches, Stats(0, 0, 0, 0, 1, 0, np.array(losses, np.float32)))


def test_each_row_gets_its_own_loss_whatever_the_order():
    """In the order of the training rows."""
    np.testing.assert_array_equal(
        an_epoch([7, 1, 4, 3], [0.7, 0.1, 0.4, 0.3]), np.float32([0.1, 0.3, 0.4, 0.7])
    )


def test_a_row_in_no_batch_has_none_and_one_in_several_their_mean():
    """As Poisson samples and batches of sources have it."""
    np.testing.assert_array_equal(
        an_epoch([1, 3, 1], [1.0, 5.0, 2.0]), np.float32([1.5, 5.0, np.nan, np.nan])
    )


def test_the_file_has_a_row_per_training_row_and_null_where_there_was_no_loss(tmp_path, monkeypatch):
    """Written in pieces; the same losses give the same bytes."""
    monkeypatch.setattr(rowlosses, "_PIECE", 6)
    spool = Spool(tmp_path / "spool", 4, 3)
    table = np.array([[0, 1, 2, 3], [4, np.nan, 6, 7], [8, 9, 10, np.nan]], np.float32)
    digests = [spool.add(number, losses) for number, losses in enumerate(table, start=1)]
    assert spool.holds(digests)
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path in files:
        spool.write_parquet(path, TRAIN, 3, "digest")
    found = pq.read_table(files[0])
    assert found["row"].to_pylist() == TRAIN.tolist()
    assert found["losses"].to_pylist() == [[0, 4, 8], [1, None, 9], [2, 6, 10], [3, 7, None]]
    assert pq.ParquetFile(files[0]).num_row_groups == 2
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert json.loads(found.schema.metadata[EPOCHS]) == [1, 2, 3]


def test_what_came_after_a_checkpoint_is_cut_off(tmp_path):
    """And its digest is asked for."""
    spool = Spool(tmp_path / "spool", 4, 9)
    digests = [spool.add(number, np.full(4, number, np.float32)) for number in (1, 2, 3)]
    spool.cut(2)
    assert (tmp_path / "spool").stat().st_size == 2 * 4 * 4
    assert spool.holds(digests[:2])
    assert not spool.holds(digests)
    assert not spool.holds([digests[0], digests[0]])


def test_very_many_epochs_are_thinned_out_to_a_bounded_file(tmp_path, monkeypatch):
    """Every k-th is kept, and the file says which."""
    monkeypatch.setattr(rowlosses, "MAX_SPOOL_BYTES", 4 * 4 * 4)
    spool = Spool(tmp_path / "spool", 4, 10)
    digests = [spool.add(number, np.full(4, number, np.float32)) for number in range(1, 11)]
    assert [digest is not None for digest in digests] == [True, False, False] * 3 + [True]
    spool.write_parquet(tmp_path / "a.parquet", TRAIN, 10, "digest")
    found = pq.read_table(tmp_path / "a.parquet")
    assert json.loads(found.schema.metadata[EPOCHS]) == [1, 4, 7, 10]
    assert found["losses"].to_pylist() == [[1, 4, 7, 10]] * 4
    spool.cut(5)
    assert spool.holds([digest for digest in digests[:5] if digest])


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no"])
def test_the_file_of_another_request_or_no_file_at_all_is_no_answer(tmp_path, content):
    """It is bound to its request by the digest in its metadata."""
    spool = Spool(tmp_path / "spool", 4, 1)
    spool.add(1, np.zeros(4, np.float32))
    path = tmp_path / "row_losses.parquet"
    spool.write_parquet(path, TRAIN, 1, "mine")
    assert row_losses_of(tmp_path, "mine") == path
    assert row_losses_of(tmp_path, "another") is None
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert row_losses_of(tmp_path, "mine") is None
