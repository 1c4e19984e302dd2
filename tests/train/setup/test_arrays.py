"""Preparing: the split, the labels, the arrays on disk."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from assay.train import PrepareError, prepare
from assay.train.setup.split import content_hashes, split_rows
from tests.train.helpers import blob_contract, blobs, contract


def test_the_same_table_writes_the_same_bytes(tmp_path):
    """So a killed preparation is simply done again."""
    first = prepare(blobs(), blob_contract(), tmp_path / "a")
    second = prepare(blobs(), blob_contract(), tmp_path / "b")
    assert first.data_sha256 == second.data_sha256
    for name in ("x.npy", "y.npy", "train.npy", "validation.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_cell_gives_another_digest(tmp_path):
    """The digest stands for the data."""
    changed = blobs().set_column(1, "x0", pa.array(np.r_[9.0, blobs()["x0"].to_numpy()[1:]]))
    assert (
        prepare(blobs(), blob_contract(), tmp_path / "a").data_sha256
        != prepare(changed, blob_contract(), tmp_path / "b").data_sha256
    )


def test_arrays_are_what_the_worker_expects(tmp_path):
    """float32 matrix in C order, class numbers in the contract's order, private files, no leftovers."""
    table = blobs()
    prepared = prepare(table, blob_contract(), tmp_path / "run")
    x = np.load(prepared.arrays.x)
    y = np.load(prepared.arrays.y)
    assert x.dtype == np.float32
    assert x.shape == (300, 4)
    np.testing.assert_array_equal(y, [["red", "green"].index(v) for v in table["label"].to_pylist()])
    train, validation = np.load(prepared.arrays.train), np.load(prepared.arrays.validation)
    assert sorted([*train, *validation]) == list(range(300))
    np.testing.assert_array_equal(train, prepared.train_rows)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "train.npy",
        "validation.npy",
        "x.npy",
        "y.npy",
    ]
    assert all(p.stat().st_mode & 0o077 == 0 for p in (tmp_path / "run").iterdir())


def test_preprocessing_is_fitted_on_the_training_rows_alone(tmp_path):
    """An outlier among the validation rows moves nothing."""
    prepared = prepare(blobs(), blob_contract(), tmp_path / "a")
    row = int(prepared.validation_rows[0])
    values = blobs()["x0"].to_numpy().copy()
    values[row] = 1e6
    moved = prepare(blobs().set_column(1, "x0", pa.array(values)), blob_contract(), tmp_path / "b")
    assert moved.preprocessing == prepared.preprocessing
    x = np.load(prepared.arrays.x)[prepared.train_rows]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-6)


def test_the_split_takes_its_share_of_every_class(tmp_path):
    """Also of a rare one."""
    labels = np.array(["red"] * 280 + ["green"] * 20)
    table = blobs().set_column(5, "label", pa.array(labels))
    prepared = prepare(table, blob_contract(), tmp_path / "run")
    held = labels[prepared.validation_rows]
    assert (held == "red").sum() == 56
    assert (held == "green").sum() == 4


def test_the_split_follows_the_row_not_its_place():
    """Shuffled rows keep their side; other seeds give other splits."""
    table = blobs()
    hashes = content_hashes(table, ("id",), 0)
    _, held = split_rows(hashes, 0.2)
    order = np.random.default_rng(1).permutation(300)
    _, shuffled = split_rows(content_hashes(table.take(order), ("id",), 0), 0.2)
    assert set(order[shuffled]) == set(held)
    _, other = split_rows(content_hashes(table, ("id",), 1), 0.2)
    assert set(other) != set(held)


def test_most_rows_keep_their_side_when_rows_are_added():
    """A new snapshot does not move what the old model was measured on into training."""
    small, large = blobs(300), blobs(3000)
    large = large.set_column(0, "id", pa.array(np.arange(3000)))
    _, before = split_rows(content_hashes(small, ("id",), 0), 0.2)
    _, after = split_rows(content_hashes(large, ("id",), 0), 0.2)
    stay = len(set(before) & set(after)) / len(before)
    assert stay > 0.8


def test_equal_rows_without_a_key_are_on_one_side():
    """A duplicate in validation would only measure memory."""
    table = blobs(100)
    twice = pa.concat_tables([table, table])
    columns = ("x0", "x1", "x2", "x3", "label")
    train, held = split_rows(content_hashes(twice, columns, 0), 0.2)
    first = {r % 100 for r in held}
    assert len(held) == 40
    assert len(first) == 20
    assert not first & {r % 100 for r in train}


def test_hashes_tell_values_types_and_missing_ones_apart():
    """Null is not zero, not the empty string; the zero's sign does not count; big integers do not collide."""
    numbers = pa.table({"a": pa.array([0.0, -0.0, None, 1.0])})
    hashes = content_hashes(numbers, ("a",), 0)
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    big = pa.table({"a": pa.array([2**60, 2**60 + 1])})
    assert len(set(content_hashes(big, ("a",), 0))) == 2
    texts = pa.table({"a": pa.array(["", None, "x", "x"]).dictionary_encode()})
    hashes = content_hashes(texts, ("a",), 0)
    assert len(set(hashes)) == 3
    flags = pa.table({"a": pa.array([True, False, None])})
    assert len(set(content_hashes(flags, ("a",), 0))) == 3


def test_a_class_of_one_row_is_for_training():
    """Nothing can be measured on what was never learned."""
    train, held = split_rows(np.arange(5, dtype=np.uint64), 0.5, np.array([0, 0, 0, 0, 1]))
    assert 4 in train
    assert len(held) == 2
    assert split_rows(np.zeros(1, dtype=np.uint64), 0.5)[1].size == 0


def test_regression_labels_are_standardised_by_the_training_rows(tmp_path):
    """And the state knows the way back."""
    from assay.train import load_preprocessing

    generator = np.random.default_rng(0)
    table = pa.table({"x": generator.normal(size=100), "price": generator.normal(size=100) * 5e4 + 2e5})
    agreed = contract({"x": {"type": "number"}, "price": {"type": "number"}}, label="price")
    prepared = prepare(table, agreed, tmp_path / "run")
    y = np.load(prepared.arrays.y)
    assert prepared.task == "regression"
    assert y.dtype == np.float64
    np.testing.assert_allclose(
        [y[prepared.train_rows].mean(), y[prepared.train_rows].std()], [0, 1], atol=1e-9
    )
    np.testing.assert_allclose(load_preprocessing(prepared.preprocessing).inverse_target(y), table["price"])


def test_sources_travel_as_numbers_with_names(tmp_path):
    """Rows without a source share the empty name."""
    table = blobs(12).append_column("office", pa.array(["west", "east", None] * 4))
    columns = {name: {"type": "number"} for name in ("x0", "x1", "x2", "x3")}
    columns |= {"label": {"type": "string"}, "office": {"type": "string", "nullable": True}}
    agreed = contract(columns, classes=["red", "green"], source="office")
    prepared = prepare(table, agreed, tmp_path / "run")
    assert prepared.source_names == ("", "east", "west")
    np.testing.assert_array_equal(np.load(prepared.arrays.sources)[:3], [2, 1, 0])
    assert "office" not in "".join(prepared.features)


@pytest.mark.parametrize("classes", [[0, 1], [False, True]])
def test_labels_may_be_numbers_or_booleans(tmp_path, classes):
    """Classes are matched in the column's own type."""
    values = pa.array([classes[i % 2] for i in range(20)])
    table = pa.table({"x": np.arange(20.0), "label": values})
    columns = {"x": {"type": "number"}, "label": {"type": "boolean" if classes[0] is False else "integer"}}
    prepared = prepare(table, contract(columns, classes=classes), tmp_path / "run")
    np.testing.assert_array_equal(np.load(prepared.arrays.y), [0, 1] * 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.slice(0, 5), "too few rows"),
        (lambda t: t.drop_columns(["label"]), "lacks the label column"),
        (lambda t: t.drop_columns(["x2"]), "lacks the"),
        (lambda t: t.drop_columns(["id"]), "lacks the column 'id'"),
        (lambda t: t.set_column(5, "label", pa.array(["red", "pink"] * 150)), "150 rows have a label"),
        (lambda t: t.set_column(5, "label", pa.array(["red"] * 299 + [None])), "1 rows have a label"),
        (lambda t: t.set_column(5, "label", pa.array(["red"] * 300)), "all rows have the same label"),
        (lambda t: t.set_column(5, "label", pa.array([[1]] * 300)), "does not hold the contract's classes"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused(tmp_path, change, message):
    """With a message that names what is wrong."""
    with pytest.raises(PrepareError, match=message):
        prepare(change(blobs()), blob_contract(), tmp_path / "run")


@pytest.mark.parametrize(
    ("values", "message"), [(["dear"] * 20, "holds no numbers"), ([1.0] * 19 + [np.inf], "no finite number")]
)
def test_a_label_that_is_no_number_is_refused_for_regression(tmp_path, values, message):
    """A missing or infinite target would make the loss so."""
    table = pa.table({"x": np.arange(20.0), "label": values})
    agreed = contract({"x": {"type": "number"}, "label": {"type": "number"}})
    with pytest.raises(PrepareError, match=message):
        prepare(table, agreed, tmp_path / "run")


def test_a_contract_without_label_has_nothing_to_learn(tmp_path):
    """Said in so many words."""
    from assay.contract.models import Contract

    agreed = Contract.model_validate(
        {"version": 1, "dataset": "small", "schema": {"columns": {"x": {"type": "number"}}}}
    )
    with pytest.raises(PrepareError, match="no label"):
        prepare(blobs(), agreed, tmp_path)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """A file where the directory should be."""
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(PrepareError, match="cannot be written"):
        prepare(blobs(), blob_contract(), tmp_path / "run")
