"""The account of differential privacy against published values, and DP-SGD against its known mistakes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from assay.contract.optimization import Optimizer
from assay.train.backends import Batches, Clipping
from assay.train.backends.reference import ReferenceTrainer
from assay.train.errors import PreconditionError
from assay.train.steps.privacy import Accountant, NoiseSource, Spent
from tests.train import golden
from tests.train.backends.test_reference_layers import numerical_gradient

SGD = Optimizer(name="sgd", learning_rate=0.1)


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta", "method", "epsilon", "tolerance"),
    [
        # From the tests of Google's library for DP-SGD, which calls dp-accounting.
        (150 / 60_000, 1.3, 6_000, 1e-5, "rdp", 0.7242234026109595, 1e-9),
        (100 / 100_000, 1.0, 30_000, 1e-7, "rdp", 1.4154988495444842, 1e-9),
        (0.01, 0.7, 120, 1e-5, "rdp", 3.2392676, 1e-7),
        (0.01, 0.7, 120, 1e-5, "pld", 2.4612381, 1e-7),
        (1.0, 0.7, 2, 1e-5, "rdp", 10.8602036, 1e-7),
        (1.0, 0.7, 2, 1e-5, "pld", 10.1224946, 1e-7),
        (64 / 10_000, 1.0, 782, 1e-6, "rdp", 1.616, 5e-4),
        (64 / 10_000, 1.0, 782, 1e-6, "pld", 1.199, 5e-4),
        # From the tests of dp-accounting itself.
        (0.2, 0.5, 3, 0.15594, "pld", 1.0, 1e-3),
        (0.01, 0.67379294682, 1, 1e-5, "pld", 1.0, 1e-3),
        (0.001, 3.20956502598 / 6, 25, 1e-5, "pld", 1.0, 1e-3),
    ],
)
def test_epsilon_is_that_of_the_published_examples(rate, noise, steps, delta, method, epsilon, tolerance):
    """Values that others have written down, by both accountants."""
    assert Accountant(rate, noise, delta).epsilon(steps, method) == pytest.approx(epsilon, abs=tolerance)


def test_epsilon_without_sampling_is_the_closed_form_of_the_gaussian_mechanism():
    """Balle and Wang 2018: k updates with every row are one Gaussian with the noise over the root of k."""

    def delta(epsilon, noise):
        above = stats.norm.cdf(0.5 / noise - epsilon * noise)
        return above - math.exp(epsilon) * stats.norm.cdf(-0.5 / noise - epsilon * noise)

    exact = optimize.brentq(lambda e: delta(e, 5 / math.sqrt(40)) - 1e-6, 0, 50)
    spent = Accountant(1.0, 5.0, 1e-6).spent(40)
    assert spent.pld == pytest.approx(exact, rel=1e-4)
    assert exact <= spent.pld <= spent.rdp


def test_renyis_bound_holds_against_the_binomial_sum():
    """Mironov, Talwar and Zhang 2019 for whole orders, written out; more orders can only tighten it."""
    rate, noise, steps, delta = 0.02, 1.2, 500, 1e-5
    bounds = []
    for order in range(2, 40):
        terms = [
            math.comb(order, k) * (1 - rate) ** (order - k) * rate**k * math.exp(k * (k - 1) / (2 * noise**2))
            for k in range(order + 1)
        ]
        divergence = steps * math.log(sum(terms)) / (order - 1)
        bounds.append(divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
    spent = Accountant(rate, noise, delta).epsilon(steps, "rdp")
    assert spent <= min(bounds) * (1 + 1e-9)
    assert spent == pytest.approx(min(bounds), rel=1e-2)


def test_epsilon_grows_with_updates_and_falls_with_noise():
    """The directions that an account must have."""
    for method in ("rdp", "pld"):
        account = Accountant(0.01, 1.0, 1e-5)
        assert 0 < account.epsilon(10, method) < account.epsilon(100, method)
        assert Accountant(0.01, 2.0, 1e-5).epsilon(100, method) < account.epsilon(100, method)


def test_without_noise_there_is_no_epsilon():
    """Not zero, and not a large number either; before the first update nothing is spent."""
    account = Accountant(0.01, 0.0, 1e-5)
    assert account.spent(10) == Spent(None, None)
    assert account.spent(0) == Spent(0.0, 0.0)
    assert account.steps_within(100.0, "pld", 50) == 0


@pytest.mark.parametrize("method", ["rdp", "pld"])
def test_the_steps_within_a_budget_spend_it_and_no_more(method):
    """One update more would be over; a budget that is never reached gives all."""
    account = Accountant(0.02, 1.0, 1e-5)
    steps = account.steps_within(1.5, method, 5_000)
    assert 0 < steps < 5_000
    assert account.epsilon(steps, method) <= 1.5 < account.epsilon(steps + 1, method)
    assert account.steps_within(1.5, method, steps // 2) == steps // 2
    assert account.steps_within(1e-4, method, 5_000) == 0


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 1e-5), (1.1, 1.0, 1e-5), (0.1, -1.0, 1e-5), (0.1, 1.0, 0.0)])
def test_numbers_out_of_range_are_refused(wrong):
    """A rate of 0, a delta of 0 or a negative noise would make the account meaningless."""
    with pytest.raises(ValueError, match="no account of"):
        Accountant(*wrong)


def test_noise_follows_from_key_and_update_alone():
    """The same for the same key and update, whatever was drawn before; another one for another of the two."""
    source = NoiseSource(b"k" * 32, 1000)
    first, second = source(0), source(1)
    np.testing.assert_array_equal(first, NoiseSource(b"k" * 32, 1000)(0))
    assert not np.isclose(first, second).any()
    assert not np.isclose(first, NoiseSource(b"l" * 32, 1000)(0)).any()
    with pytest.raises(ValueError, match="32 bytes"):
        NoiseSource(b"short", 3)


def test_noise_is_standard_normal_and_independent_between_updates():
    """Kolmogorov and Smirnov find nothing at one in a thousand, and no correlation beyond five standard errors."""
    source = NoiseSource(bytes(range(32)), 40_000)
    first, second = source(7), source(8)
    assert stats.kstest(first, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / math.sqrt(40_000)


def case(name="layer_norm", clipping=None, optimizer=SGD, dtype="float64"):
    """A golden network under plain or private updates."""
    return golden.Case(
        name, "privacy", golden.networks(dtype)[name], dtype, optimizer=optimizer, clipping=clipping
    )


def updates(sizes, rate=0.1):
    """Batches of these sizes, rows in order."""
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Batches(np.arange(offsets[-1], dtype=np.int64) % golden.ROWS, offsets, np.full(len(sizes), rate))


def moved(trainer, start):
    """How far the weights have gone, flat."""
    now = trainer.weights()
    return np.concatenate([(now[name] - start[name]).reshape(-1) for name in start])


def test_no_noise_and_a_huge_clip_are_plain_training_step_for_step():
    """With batches of the expected size, for SGD and Adam."""
    for optimizer in (SGD, golden.ADAM):
        plain = ReferenceTrainer(golden.problem(case(optimizer=optimizer)))
        private = ReferenceTrainer(
            golden.problem(case(clipping=Clipping(1e9, 0.0, 8.0), optimizer=optimizer))
        )
        for _ in range(10):
            ours, theirs = private.run(updates([8, 8])), plain.run(updates([8, 8]))
            assert ours.loss_sum == pytest.approx(theirs.loss_sum, rel=1e-12)
            assert ours.clipped == 0
        for name, array in plain.weights().items():
            np.testing.assert_allclose(private.weights()[name], array, rtol=1e-10, atol=1e-13)


def test_no_row_moves_the_sum_by_more_than_its_norm():
    """The gradient of a batch with a row and of the same batch without it differ by at most the clipping norm."""
    task = golden.problem(case(clipping=Clipping(0.3, 0.0, 1.0)))
    task.x[5] *= 1000
    trainer = ReferenceTrainer(task)
    rows = np.arange(12)
    whole = trainer.propose(rows, 0)
    assert whole.clipped > 6
    for left_out in rows:
        rest = trainer.propose(np.delete(rows, left_out), 0).gradient
        assert np.linalg.norm(whole.gradient - rest) <= 0.3 * (1 + 1e-9)


def test_noise_is_added_before_the_sum_is_divided():
    """Noise after averaging would be `expected_rows` times as strong as what is accounted for."""
    clipping = Clipping(0.5, 2.0, 8.0)
    trainer = ReferenceTrainer(golden.problem(case(clipping=clipping)))
    ones = np.ones(len(trainer.propose(np.arange(0), 0, lambda step: 0.0).gradient))
    quiet = trainer.propose(np.arange(8), 0, lambda step: 0 * ones).gradient
    loud = trainer.propose(np.arange(8), 0, lambda step: ones).gradient
    np.testing.assert_allclose(loud - quiet, 2.0 / 8.0, rtol=1e-9)


def test_the_sum_is_divided_by_the_expected_rows_not_by_the_actual_ones():
    """The actual size of a Poisson batch depends on the data, and would be released with the gradient."""
    trainer = ReferenceTrainer(golden.problem(case(clipping=Clipping(0.5, 0.0, 8.0))))
    rows = np.arange(3)
    once = trainer.propose(rows, 0).gradient
    twice = trainer.propose(np.concatenate([rows, rows]), 0).gradient
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-9)


def test_fixed_batches_have_no_account_as_if_they_were_sampled():
    """A full pass in fixed batches is one use of every row: without the amplification that sampling would bring."""
    rate, noise = 0.01, 1.0
    one_pass = round(1 / rate)
    sampled = Accountant(rate, noise, 1e-5).spent(one_pass)
    fixed = Accountant(1.0, noise, 1e-5).spent(1)
    assert fixed.rdp > 3 * sampled.rdp
    assert fixed.pld > 3 * sampled.pld


@pytest.mark.parametrize("name", ["layer_norm", "embedding", "conv", "max_pool", "dropout", "skip concat"])
def test_an_empty_batch_is_an_update_of_noise_alone(name):
    """Leaving it out would tell that no row was drawn."""
    trainer = ReferenceTrainer(golden.problem(case(name, clipping=Clipping(0.5, 2.0, 8.0))))
    start = trainer.weights()
    size = sum(array.size for array in start.values())
    noise = NoiseSource(b"n" * 32, size)
    stats_ = trainer.run(updates([0], rate=0.1), noise)
    assert (stats_.updates, stats_.rows, stats_.skipped, len(stats_.row_losses)) == (1, 0, 0, 0)
    np.testing.assert_allclose(moved(trainer, start), -0.1 * noise(0) * 2.0 / 8.0, rtol=1e-9)


def test_private_updates_without_noise_at_hand_are_refused():
    """Rather than made without it."""
    trainer = ReferenceTrainer(golden.problem(case(clipping=Clipping(0.5, 1.0, 8.0))))
    with pytest.raises(PreconditionError, match="need noise"):
        trainer.run(updates([8]))


def test_batch_normalisation_cannot_be_private():
    """It mixes rows, so that no row's influence is bounded."""
    with pytest.raises(PreconditionError, match="batch_norm mixes the rows"):
        ReferenceTrainer(golden.problem(case("batch_norm", clipping=Clipping(0.5, 1.0, 8.0))))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", [n for n in golden.networks("float64") if "batch_norm" not in n])
def test_each_row_is_clipped_by_the_norm_of_its_own_gradient(name, weighted):
    """For every kind of layer, against finite differences of each row's own loss under the same masks."""
    task = golden.problem(case(name))
    if weighted:
        task = task._replace(loss=task.loss.model_copy(update={"class_weights": (0.5, 1.0, 3.0)}))
    rows = np.arange(10)
    plain = ReferenceTrainer(task)

    def by_row():
        found = plain.propose(rows, 3).losses
        return found.losses * found.weights

    own = numerical_gradient(plain, task.layers, by_row).T
    norms = np.linalg.norm(own, axis=1)
    limit = 1.001 * float(np.median(norms))  # not the norm of a row, where rounding would decide
    private = ReferenceTrainer(task._replace(clipping=Clipping(limit, 0.0, 1.0))).propose(rows, 3)
    expected = (own * np.minimum(1, limit / norms)[:, None]).sum(axis=0)
    np.testing.assert_allclose(private.gradient, expected, rtol=1e-5, atol=1e-7)
    assert 0 < private.clipped == (norms > limit).sum() < 10


def test_a_row_that_is_not_finite_skips_the_private_update_and_is_counted():
    """Its clipping factor would be NaN, and so would every weight."""
    task = golden.problem(case(clipping=Clipping(0.5, 0.0, 8.0)))
    task.x[3] = np.nan
    trainer = ReferenceTrainer(task)
    start = trainer.weights()
    done = trainer.run(updates([8]))
    assert (done.updates, done.skipped, done.clipped, done.rows) == (0, 1, 0, 0)
    assert not moved(trainer, start).any()
