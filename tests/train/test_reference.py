"""The reference backend against finite differences, closed forms, and its own promises."""

from __future__ import annotations

import math
import tomllib

import numpy as np
import pytest

from assay.contract.training import Optimizer
from assay.train.backends import Problem
from assay.train.backends.reference import ACTIVATIONS, ReferenceTrainer, log_softmax
from assay.train.batches import epoch_order, initial_weights
from assay.train.spec import DenseSpec
from tests.train import golden


def problem(activation="tanh", loss="logit_cross_entropy", dtype="float64", rows=20, bias=True, rate=0.01):
    """A network of 3 → 4 → 3 (or 1) on random rows."""
    generator = np.random.default_rng(5)
    outputs = 3 if loss == "logit_cross_entropy" else 1
    layers = (
        DenseSpec(in_=3, out=4, activation=activation, bias=bias, dtype=dtype),
        DenseSpec(in_=4, out=outputs, dtype=dtype),
    )
    y = generator.integers(0, 3, rows) if outputs == 3 else generator.normal(size=rows)
    x = generator.normal(size=(rows, 3)).astype(np.float32)
    return Problem(layers, initial_weights(layers, 1), loss, Optimizer(learning_rate=rate), x, y, 8, dtype)


def numerical_gradient(trainer: ReferenceTrainer, rows: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of the loss over all weights."""
    flat = trainer._flat
    slopes = np.zeros(flat.size)
    for i in range(flat.size):
        kept = flat[i]
        flat[i] = kept + step
        above, _ = trainer.gradient(rows)
        flat[i] = kept - step
        below, _ = trainer.gradient(rows)
        flat[i] = kept
        slopes[i] = (above - below) / (2 * step)
    return slopes


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loss", ["logit_cross_entropy", "mse"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_backpropagation_agrees_with_finite_differences(activation, loss, bias):
    """For every activation and loss, with and without bias."""
    trainer = ReferenceTrainer(problem(activation, loss, bias=bias))
    rows = np.arange(20)
    _, gradient = trainer.gradient(rows)
    np.testing.assert_allclose(gradient.copy(), numerical_gradient(trainer, rows), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_stays_finite_and_in_its_dtype_far_from_zero(name):
    """No overflow in a branch that is not taken, and no silent widening to float64."""
    function, slope = ACTIVATIONS[name]
    z = np.array([-80.0, -1.0, -0.0, 0.0, 1.0, 80.0], dtype=np.float32)
    a = function(z)
    assert a.dtype == np.float32
    assert np.isfinite(a).all()
    assert np.isfinite(slope(z, a)).all()
    assert slope(z, a).dtype == np.float32


def test_activations_have_their_published_values():
    """One value of each, computed from the definition with the math module."""
    z = 0.7
    gate = 1 / (1 + math.exp(-z))
    expected = {
        "identity": z,
        "relu": z,
        "leakyrelu": z,
        "elu": z,
        "gelu": 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
        "selu": 1.0507009873554805 * z,
        "sigmoid": gate,
        "softplus": math.log(1 + math.exp(z)),
        "swish": z * gate,
        "tanh": math.tanh(z),
    }
    negative = {
        "leakyrelu": -0.007,
        "elu": math.exp(-z) - 1,
        "selu": 1.0507009873554805 * 1.6732632423543772 * (math.exp(-z) - 1),
        "relu": 0.0,
    }
    assert expected.keys() == ACTIVATIONS.keys()
    for name, value in expected.items():
        assert ACTIVATIONS[name][0](np.array([z]))[0] == pytest.approx(value, rel=1e-12)
    for name, value in negative.items():
        assert ACTIVATIONS[name][0](np.array([-z]))[0] == pytest.approx(value, rel=1e-12)


def test_adams_first_step_is_the_learning_rate_against_the_gradients_sign():
    """The bias correction makes the first update ±rate wherever the gradient is far above epsilon."""
    trainer = ReferenceTrainer(problem(rate=0.25))
    before = trainer._flat.copy()
    _, gradient = trainer.gradient(np.arange(8))
    gradient = gradient.copy()
    trainer.step(np.arange(8))
    steep = np.abs(gradient) > 1e-4
    assert steep.sum() > 10
    np.testing.assert_allclose((trainer._flat - before)[steep], -0.25 * np.sign(gradient[steep]), rtol=1e-3)


def test_adam_follows_its_textbook_form_over_many_steps():
    """Bias-corrected moments written out with powers instead of running products."""
    task = problem(rate=0.05)
    trainer = ReferenceTrainer(task)
    mean = square = 0.0
    weights = trainer._flat.copy()
    for step in range(1, 31):
        _, gradient = trainer.gradient(np.arange(20))
        gradient = gradient.copy()
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        weights = weights - 0.05 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        trainer.step(np.arange(20))
        np.testing.assert_allclose(trainer._flat, weights, rtol=1e-9, atol=1e-12)


def test_a_linear_regression_finds_the_least_squares_solution():
    """Against the closed form of the normal equations."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.3 + generator.normal(size=64) * 0.1
    layers = (DenseSpec(in_=3, out=1, dtype="float64"),)
    trainer = ReferenceTrainer(
        Problem(layers, initial_weights(layers, 0), "mse", Optimizer(learning_rate=0.05), x, y, 64, "float64")
    )
    for _ in range(1500):
        trainer.run_epoch(np.arange(64))
    design = np.column_stack([x, np.ones(64)]).astype(np.float64)
    best, *_ = np.linalg.lstsq(design, y, rcond=None)
    weight, bias = trainer.weights()[0]
    np.testing.assert_allclose([*weight[0], bias[0]], best, atol=1e-5)
    seen = trainer.evaluate(np.arange(64))
    residual = y - design @ best
    assert seen.loss == pytest.approx((residual**2).mean(), rel=1e-6)
    assert seen.metric == pytest.approx(1 - (residual**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-6)


def test_cross_entropy_of_equal_logits_is_the_logarithm_of_the_classes():
    """A network of zeros knows nothing: log 3 for three classes."""
    task = problem()
    zeros = [(np.zeros_like(w), np.zeros_like(b)) for w, b in task.weights]
    trainer = ReferenceTrainer(task._replace(weights=zeros))
    assert trainer.gradient(np.arange(20))[0] == pytest.approx(math.log(3))
    assert trainer.evaluate(np.arange(20)).loss == pytest.approx(math.log(3))


def test_log_softmax_survives_huge_logits():
    """Ten thousand against zero is certain, not a NaN."""
    logs = log_softmax(np.array([[1e4, 0.0], [-1e4, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(logs, [[0, -1e4], [-1e4, 0]])


def test_a_batch_that_is_not_finite_makes_no_update_and_is_counted():
    """The field's trainers skip such a batch without a word."""
    task = problem(dtype="float32")
    task.x[3] = np.nan
    trainer = ReferenceTrainer(task)
    before = trainer._flat.copy()
    stats = trainer.run_epoch(np.array([0, 1, 2, 3, 4, 5, 6, 7]))
    assert (stats.updates, stats.skipped) == (0, 1)
    assert math.isnan(stats.loss)
    np.testing.assert_array_equal(trainer._flat, before)
    mixed = trainer.run_epoch(np.arange(16))
    assert (mixed.updates, mixed.skipped) == (1, 1)
    assert math.isfinite(mixed.loss)


def test_the_epochs_loss_is_the_mean_over_rows_not_over_batches():
    """Twenty rows in batches of eight: the last four must not weigh double."""
    task = problem(rate=1e-12)
    trainer = ReferenceTrainer(task)
    assert trainer.run_epoch(np.arange(20)).loss == pytest.approx(
        trainer.evaluate(np.arange(20)).loss, rel=1e-6
    )


def test_float32_and_float64_start_from_the_same_numbers():
    """Drawn as doubles, then rounded."""
    specs = {d: [DenseSpec(in_=3, out=2, dtype=d)] for d in ("float32", "float64")}
    narrow, wide = (initial_weights(specs[d], 9)[0][0] for d in ("float32", "float64"))
    np.testing.assert_array_equal(narrow, wide.astype(np.float32))


def test_first_weights_are_glorots_uniform():
    """Bounded by sqrt(6 / (in + out)), filling that range, biases zero."""
    [(weight, bias)] = initial_weights([DenseSpec(in_=100, out=50)], 2)
    limit = math.sqrt(6 / 150)
    assert np.abs(weight).max() <= limit
    assert np.abs(weight).max() > 0.99 * limit
    assert abs(weight.mean()) < 0.04 * limit  # five standard errors
    assert not bias.any()


def test_each_epoch_has_an_order_of_its_own_that_only_seed_and_epoch_decide():
    """Every row once; no two epochs alike; not by way of earlier epochs."""
    rows = np.arange(100, 150)
    first, again, second = epoch_order(rows, 4, 1), epoch_order(rows, 4, 1), epoch_order(rows, 4, 2)
    np.testing.assert_array_equal(first, again)
    assert sorted(first) == sorted(second) == rows.tolist()
    assert (first != second).any()
    assert (epoch_order(rows, 5, 1) != first).any()


def test_the_golden_vectors_for_julia_are_what_the_reference_computes():
    """The file in the Julia package is current; rounding of another BLAS is allowed for."""
    kept = tomllib.loads(golden.FILE.read_text())
    now = tomllib.loads(golden.render(golden.compute()))
    assert kept.keys() == now.keys()
    assert [case["name"] for case in kept["cases"]] == [case["name"] for case in now["cases"]]
    for old, new in zip(kept["cases"], now["cases"], strict=True):
        tolerance = 1e-3 if old["dtype"] == "float32" else 1e-9
        assert old["final_loss"] == pytest.approx(new["final_loss"], rel=tolerance)
        for was, layer in zip(old["final_layers"], new["final_layers"], strict=True):
            np.testing.assert_allclose(was["weight"], layer["weight"], rtol=tolerance, atol=tolerance)
