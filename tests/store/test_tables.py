"""Tables as objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.store import ObjectStore, put_table, read_table
from assay.store.tables import ROW_GROUP


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")


def a_table(rows: int) -> pa.Table:
    numbers = np.random.default_rng(7).normal(size=rows)
    words = pa.array([("ore", "flux", None)[i % 3] for i in range(rows)], pa.string())
    return pa.table({"number": numbers, "word": words, "list": pa.array([[i, None] for i in range(rows)])})


def test_how_rows_were_cut_into_batches_does_not_change_the_bytes(store: ObjectStore) -> None:
    """The same rows have the same digest, so that a rerun with another batch size finds the same object."""
    table = a_table(ROW_GROUP + 1000)
    whole = put_table(store, table)
    assert put_table(store, iter(table.to_batches(max_chunksize=777))) == whole
    assert put_table(store, pa.concat_tables([table.slice(0, 5), table.slice(5)])) == whole
    assert read_table(store, whole.sha256).equals(table)
    with store.open(whole.sha256) as file:
        assert pq.ParquetFile(file).num_row_groups == 2


def test_versions_of_the_tools_that_made_a_table_do_not_change_the_bytes(store: ObjectStore) -> None:
    """pandas writes its own version into a schema's metadata."""
    table = a_table(10)
    tagged = table.replace_schema_metadata({"pandas": '{"pandas_version": "3.1.1"}'})
    assert put_table(store, tagged) == put_table(store, table)


def test_a_batch_and_a_sealed_table_come_back_the_same(store: ObjectStore) -> None:
    """Whatever it was put as."""
    table = a_table(20)
    plain = put_table(store, table.to_batches()[0])
    assert put_table(store, table, sealed=True) == plain
    assert read_table(store, plain.sha256, ["word"]).equals(table.select(["word"]))


def test_no_rows_are_a_table_too(store: ObjectStore) -> None:
    """With the schema known; without one there is nothing to say."""
    schema = pa.schema([("a", pa.int64())])
    stored = put_table(store, iter([]), schema=schema)
    assert read_table(store, stored.sha256).schema == schema
    assert put_table(store, schema.empty_table()) == stored
    with pytest.raises(ValueError, match="no schema"):
        put_table(store, iter([]))


def test_rows_that_fail_on_the_way_leave_nothing(store: ObjectStore) -> None:
    """A batch of another schema stops the put."""
    batches = [pa.record_batch({"a": [1]}), pa.record_batch({"b": ["x"]})]
    with pytest.raises(pa.ArrowInvalid):
        put_table(store, iter(batches))
    assert list(store.digests()) == []
