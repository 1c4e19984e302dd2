"""An epoch's event: figures that can be added up by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from assay.train.backends import Batches, Evaluation, Stats
from assay.train.run.measure import MAX_SOURCES, SAMPLE_ROWS, measure, measured
from assay.train.steps.privacy import Spent

Y = np.array([0, 0, 1, 1, 0, 1])
SOURCES = np.array([0, 1, 1, 2, 0, 2], dtype=np.int32)
TRAIN, VALIDATION = np.array([0, 1, 2, 3]), np.array([4, 5])
BATCHES = Batches(np.array([3, 0, 2, 1]), np.array([0, 2, 4]), np.array([0.1, 0.05]), 0)
STATS = Stats(
    8.0, 4, 3.0, 2.5, 2, 0, np.array([4.0, 1.0, 2.0, 3.0], np.float32), clipped=1, dropped=((1,), (1, 2))
)
SEEN = Evaluation(0.7, 0.5, np.array([0.4, 1.0], np.float32))
GRAM = np.array([[4.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def on(**changes):
    """What the rows above are measured on."""
    facts = {"classes": ["red", "green"], "sources": SOURCES, "source_names": ["a", "b", "c"], **changes}
    return measured("classification", Y, TRAIN, VALIDATION, **facts)


def test_losses_norms_and_rates_are_those_of_the_updates():
    """Means per row and per update; the rate is the last one."""
    event = measure(on(), epoch=3, batches=BATCHES, stats=STATS, seen=SEEN, gram=GRAM, seconds=2.0)
    assert (event.epoch, event.train_loss, event.validation_loss) == (3, 2.0, 0.7)
    assert (event.accuracy, event.r2) == (0.5, None)
    assert (event.gradient_norm, event.max_gradient_norm, event.learning_rate) == (1.5, 2.5, 0.05)
    assert (event.seconds, event.rows_per_second) == (2.0, 2.0)


def test_each_class_has_its_own_mean_loss():
    """Learned: rows 0, 1 are red with 1 and 3, rows 3, 2 green with 4 and 2."""
    event = measure(on(), epoch=1, batches=BATCHES, stats=STATS, seen=SEEN, gram=GRAM)
    assert [(c.name, c.train_loss, c.validation_loss) for c in event.classes] == [
        ("red", 2.0, pytest.approx(0.4)),
        ("green", 3.0, 1.0),
    ]


def test_each_source_has_loss_gradient_norm_cosines_and_its_share_of_dropped_updates():
    """A gradient of zero has no direction: its cosines are null."""
    event = measure(on(), epoch=1, batches=BATCHES, stats=STATS, seen=SEEN, gram=GRAM)
    a, b, c = event.sources
    assert [(s.name, s.rows, s.loss, s.gradient_norm) for s in (a, b, c)] == [
        ("a", 1, 1.0, 2.0),
        ("b", 2, 2.5, 1.0),
        ("c", 1, 4.0, 0.0),
    ]
    assert [s.dropped for s in (a, b, c)] == [0.0, 1.0, 0.5]
    np.testing.assert_allclose(np.array([a.cosines[:2], b.cosines[:2]]), np.ones((2, 2)))
    assert (a.cosines[2], c.cosines) == (None, (None, None, None))


def test_a_private_run_tells_no_sources_apart_but_what_it_spent():
    """The gradient of a few named rows is what its noise hides."""
    event = measure(
        on(private=True), epoch=1, batches=BATCHES, stats=STATS, seen=SEEN, spent=Spent(2.0, None)
    )
    assert event.sources == ()
    assert (event.clipped, event.epsilon_rdp, event.epsilon_pld) == (0.25, 2.0, None)


def test_an_epoch_without_rows_or_updates_has_no_means():
    """A private run may draw empty batches only; an update that was skipped counts in nothing."""
    empty = Batches(np.zeros(0, np.int64), np.array([0, 0]), np.array([0.1]))
    stats = Stats(0.0, 0, 0.0, 0.0, 0, 1, np.zeros(0, np.float32))
    event = measure(on(private=True), epoch=1, batches=empty, stats=stats, seen=SEEN, spent=Spent(1.0, 1.0))
    assert (event.train_loss, event.gradient_norm, event.max_gradient_norm) == (None, None, None)
    assert event.skipped_updates == 1
    assert [c.train_loss for c in event.classes] == [None, None]


def test_a_loss_that_is_not_finite_is_null_for_its_group_only():
    """The other class keeps its figure."""
    stats = STATS._replace(row_losses=np.array([math.inf, 1.0, 2.0, 3.0], np.float32))
    event = measure(on(), epoch=1, batches=BATCHES, stats=stats, seen=SEEN, gram=GRAM)
    assert [c.train_loss for c in event.classes] == [2.0, None]


def test_a_regression_has_r2_and_no_classes():
    """Whether or not rows have sources."""
    facts = measured("regression", np.arange(6.0), TRAIN, VALIDATION)
    event = measure(facts, epoch=1, batches=BATCHES, stats=STATS, seen=SEEN)
    assert (event.accuracy, event.r2, event.classes, event.sources) == (None, 0.5, (), ())


def test_samples_of_sources_are_bounded_fixed_and_of_training_rows_only():
    """At most so many sources, the largest ones, and so many rows of each; the seed decides which."""
    rows = 40_000
    sources = np.minimum(np.arange(rows) % 50, 45).astype(np.int32)
    train = np.arange(0, rows, 2)
    facts = {"sources": sources, "source_names": [f"s{i}" for i in range(50)]}
    one = measured("regression", np.zeros(rows), train, VALIDATION, **facts)
    again = measured("regression", np.zeros(rows), train, VALIDATION, **facts)
    other = measured("regression", np.zeros(rows), train, VALIDATION, **facts, seed=1)
    assert len(one.watched) <= MAX_SOURCES
    assert list(one.watched) == sorted(one.watched)
    for number, sample in zip(one.watched, one.samples, strict=True):
        assert len(sample) == SAMPLE_ROWS
        assert set(sample) <= set(train)
        assert set(sources[sample]) == {number}
    assert all(np.array_equal(a, b) for a, b in zip(one.samples, again.samples, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one.samples, other.samples, strict=True))


def test_the_largest_sources_are_the_ones_that_are_told_apart():
    """With more sources than can be shown."""
    counts = np.arange(1, 41)
    sources = np.repeat(np.arange(40), counts).astype(np.int32)
    rows = np.arange(len(sources))
    facts = measured(
        "regression", np.zeros(len(rows)), rows, VALIDATION, sources=sources,
        source_names=[f"s{i}" for i in range(40)],
    )  # fmt: skip
    assert facts.watched == tuple(range(40 - MAX_SOURCES, 40))
