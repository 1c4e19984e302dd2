"""First weights, batches, learning rates and masks: all that is random, decided before a backend sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assay.contract.optimization import Schedule
from assay.train import RequestError
from assay.train.network.layers import BatchNormSpec, DenseSpec, LayerSpec
from assay.train.run.batches import (
    balanced_batches,
    initial_weights,
    learning_rates,
    load_weights,
    poisson_batches,
    shuffled_batches,
    updates_per_epoch,
)
from assay.train.steps.masks import keep, uniforms

ROWS = np.arange(100, 1100, dtype=np.int64)
LAYERS: tuple[LayerSpec, ...] = (
    DenseSpec(in_=40, out=60),
    BatchNormSpec(shape=(60,), momentum=0.1, epsilon=1e-5),
    DenseSpec(in_=60, out=2),
)


def test_first_weights_are_glorots_and_the_same_for_both_dtypes() -> None:
    """Within sqrt(6 / (in + out)), spread over it; float32 is float64 rounded; constants as the layer says."""
    wide, narrow = initial_weights(LAYERS, 7, "float64"), initial_weights(LAYERS, 7, "float32")
    limit = np.sqrt(6 / 100)
    assert np.abs(wide["layers.0.weight"]).max() <= limit
    assert wide["layers.0.weight"].std() == pytest.approx(limit / np.sqrt(3), rel=0.05)
    assert all(np.array_equal(narrow[name], wide[name].astype(np.float32)) for name in wide)
    assert (wide["layers.1.variance"] == 1).all()
    assert not wide["layers.1.mean"].any()
    assert not np.array_equal(
        wide["layers.0.weight"], initial_weights(LAYERS, 8, "float64")["layers.0.weight"]
    )


def test_an_epoch_has_every_row_once_in_an_order_of_its_own() -> None:
    """The last batch may be smaller; updates are counted over the whole run."""
    rates = np.ones(updates_per_epoch(1000, 128))
    first, second = (shuffled_batches(ROWS, 128, 3, epoch, rates) for epoch in (1, 2))
    assert np.array_equal(np.sort(first.rows), ROWS)
    assert not np.array_equal(first.rows, second.rows)
    assert np.array_equal(np.diff(first.offsets), [128] * 7 + [104])
    assert (first.first_step, second.first_step) == (0, 8)
    assert np.array_equal(first.rows, shuffled_batches(ROWS, 128, 3, 1, rates).rows)


def test_no_row_is_left_alone_in_the_last_batch() -> None:
    """Of one row, batch normalisation cannot tell a variance: the batch before gives one of its rows."""
    batches = shuffled_batches(ROWS[:33], 16, 0, 1, np.ones(updates_per_epoch(33, 16)))
    assert np.diff(batches.offsets).tolist() == [16, 15, 2]
    assert len(np.unique(batches.rows)) == 33


def test_poisson_batches_have_each_row_independently() -> None:
    """Sizes vary as a binomial's do, no row stands twice in a batch, and batches can be empty."""
    rates = np.ones(400)
    batches = poisson_batches(ROWS, 50, [1, 2], 1, rates)
    sizes = np.diff(batches.offsets)
    assert sizes.mean() == pytest.approx(50, rel=0.05)
    assert sizes.var() == pytest.approx(1000 * 0.05 * 0.95, rel=0.35)
    for start, stop in zip(batches.offsets, batches.offsets[1:], strict=False):
        assert len(np.unique(batches.rows[start:stop])) == stop - start
    assert set(np.diff(poisson_batches(ROWS[:3], 1, [1], 1, rates).offsets)) >= {0, 1, 2}
    assert not np.array_equal(batches.rows, poisson_batches(ROWS, 50, [1, 3], 1, rates).rows)


def test_each_source_has_equally_many_rows_in_each_batch() -> None:
    """A small source goes round, a large one goes on in the next epoch where it stopped."""
    sources = np.zeros(1100, dtype=np.int32)
    sources[1000:] = 1
    sources[1090:] = 4
    rates = np.ones(10)
    one, two = (balanced_batches(ROWS, sources, 30, 3, epoch, rates) for epoch in (1, 2))
    for batches in (one, two):
        for start, stop in zip(batches.offsets, batches.offsets[1:], strict=False):
            values, counts = np.unique(sources[batches.rows[start:stop]], return_counts=True)
            assert (list(values), list(counts)) == ([0, 1, 4], [10, 10, 10])
    large = [rows[sources[rows] == 0] for rows in (one.rows, two.rows)]
    assert len(np.unique(np.concatenate(large))) == 200
    small = one.rows[sources[one.rows] == 4]
    assert all(np.count_nonzero(small == row) == 10 for row in np.unique(small))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1, 1, 1, 1, 1, 1]),
        ({"name": "step", "every": 1, "factor": 0.5}, [1, 1, 0.5, 0.5, 0.25, 0.25]),
        ({"name": "cosine"}, (1 + np.cos(np.pi * np.arange(6) / 6)) / 2),
        ({"name": "cosine", "min_factor": 0.2}, 0.2 + 0.8 * (1 + np.cos(np.pi * np.arange(6) / 6)) / 2),
        ({"name": "constant", "warmup_epochs": 1}, [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ({"name": "step", "every": 1, "factor": 0.5, "warmup_epochs": 1}, [1 / 3, 2 / 3, 1, 1, 0.5, 0.5]),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule: dict, expected: list[float]) -> None:
    """Three epochs of two updates: warm-up first, and never a rate of zero."""
    rates = [
        learning_rates(Schedule(**schedule), 0.1, epoch=epoch, epochs=3, updates=2) for epoch in (1, 2, 3)
    ]
    assert np.allclose(np.concatenate(rates), 0.1 * np.asarray(expected))
    assert (np.concatenate(rates) > 0).all()


def test_masks_only_depend_on_their_numbers() -> None:
    """The first rows of a larger batch keep their masks; another step, layer or seed has others."""
    few, many = uniforms(5, 9, 2, 3, 7), uniforms(5, 9, 2, 30, 7)
    assert np.array_equal(few, many[:3])
    assert ((many >= 0) & (many < 1)).all()
    for other in ((6, 9, 2), (5, 10, 2), (5, 9, 3), (-5, 9, 2)):
        assert not np.array_equal(uniforms(*other, 3, 7), few)
    assert keep(1, 2, 3, 400, 50, 0.3).mean() == pytest.approx(0.7, abs=0.01)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """Other names, shapes, types, and numbers that are not finite."""
    from safetensors.numpy import save_file

    good = initial_weights(LAYERS, 0)
    path = tmp_path / "weights.safetensors"
    save_file(good, path)
    assert all(np.array_equal(array, good[name]) for name, array in load_weights(path, LAYERS).items())
    bias = "layers.0.bias"
    for odd, said in (
        ({name: array for name, array in good.items() if name != bias}, "another network"),
        ({**good, bias: np.zeros(61, np.float32)}, "does not fit"),
        ({**good, bias: np.zeros(60, np.float64)}, "does not fit"),
        ({**good, bias: np.full(60, np.nan, np.float32)}, "not finite"),
    ):
        save_file(odd, path)
        with pytest.raises(RequestError, match=said):
            load_weights(path, LAYERS)
    path.write_bytes(b"{}")
    with pytest.raises(RequestError, match="cannot be read"):
        load_weights(path, LAYERS)
