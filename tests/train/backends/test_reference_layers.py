"""Every layer of the reference backend against finite differences and against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import signal

from assay.contract.optimization import Optimizer
from assay.train.backends import Batches, Problem
from assay.train.backends.reference import ACTIVATIONS, ReferenceTrainer
from assay.train.backends.reference.basic import Pass
from assay.train.backends.reference.gradients import Sum
from assay.train.backends.reference.network import build
from assay.train.network.layers import (
    BatchNormSpec,
    ConvSpec,
    DenseSpec,
    DropoutSpec,
    EmbeddedColumn,
    EmbeddingSpec,
    LayerNormSpec,
    MaxPoolSpec,
    SkipSpec,
    array_specs,
)
from assay.train.network.spec import LossSpec
from assay.train.run.batches import initial_weights
from assay.train.steps import masks
from tests.train import golden


def random_weights(layers, seed=1):
    """Arrays away from their first values, so that scales and statistics matter."""
    generator = np.random.default_rng(seed)
    weights = initial_weights(layers, seed, "float64")
    for name, array in weights.items():
        if name.endswith(("scale", "variance")):
            array += generator.random(array.shape)
        elif array.ndim == 1:
            array += generator.normal(size=array.shape)
    return weights


def flat_trainable(layers, arrays):
    """Trainable arrays behind each other."""
    return np.concatenate([arrays[spec.name].reshape(-1) for spec in array_specs(layers) if spec.trainable])


def numerical_gradient(trainer, layers, measure, step=1e-6):
    """Central differences of `measure()` over every trainable number."""
    weights = trainer.weights()
    slopes = []
    for spec in array_specs(layers):
        if not spec.trainable:
            continue
        array = weights[spec.name].reshape(-1)
        for i in range(array.size):
            kept = array[i]
            values = []
            for moved in (kept + step, kept - step):
                array[i] = moved
                trainer.set_weights(weights)
                values.append(measure())
            array[i] = kept
            slopes.append((values[0] - values[1]) / (2 * step))
    trainer.set_weights(weights)
    return np.array(slopes)


def batch_loss(trainer, rows, step):
    """Mean weighted loss as an update sees it."""
    losses = trainer.propose(rows, step).losses
    return float((losses.losses * losses.weights).mean())


@pytest.mark.parametrize("name", golden.networks("float64"))
def test_backpropagation_agrees_with_finite_differences_for_every_layer(name):
    """While training: masks dropped, batch statistics used."""
    layers = golden.networks("float64")[name]
    task = golden.problem(golden.Case(name, "layer", layers, "float64"))
    trainer = ReferenceTrainer(task._replace(weights=random_weights(layers)))
    rows = np.arange(16)
    gradient = trainer.propose(rows, 3).gradient
    expected = numerical_gradient(trainer, layers, lambda: batch_loss(trainer, rows, 3))
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", golden.networks("float64"))
def test_the_gram_is_of_the_gradients_that_evaluation_has(name):
    """Without dropout and with running statistics, against finite differences of `evaluate`, in several groups."""
    layers = golden.networks("float64")[name]
    case = golden.Case(name, "layer", layers, "float64", golden.LossSpec(
        name="logit_cross_entropy", class_weights=(0.5, 1.0, 2.0)))  # fmt: skip
    trainer = ReferenceTrainer(golden.problem(case)._replace(weights=random_weights(layers)))
    groups = [np.arange(10), np.arange(10, 30), np.array([3, 44])]
    slopes = [
        numerical_gradient(trainer, layers, lambda rows=rows: trainer.evaluate(rows).loss) for rows in groups
    ]
    expected = [[a @ b for b in slopes] for a in slopes]
    np.testing.assert_allclose(trainer.gradient_gram(groups), expected, rtol=1e-5, atol=1e-7)


def test_the_gram_of_a_group_without_rows_is_not_a_number():
    """There is no mean of nothing; the other groups are not touched."""
    case = golden.Case("plain", "layer", golden.networks("float64")["no bias"], "float64")
    trainer = ReferenceTrainer(golden.problem(case))
    gram = trainer.gradient_gram([np.arange(5), np.arange(0)])
    assert math.isfinite(gram[0, 0])
    assert np.isnan([gram[0, 1], gram[1, 0], gram[1, 1]]).all()
    assert trainer.gradient_gram([]).shape == (0, 0)


def test_large_groups_are_measured_in_parts_without_a_difference(monkeypatch):
    """Loss and gradient of 56 rows in parts of 9 and at once."""
    from assay.train.backends.reference import trainer as module

    case = golden.Case("plain", "layer", golden.networks("float64")["layer_norm"], "float64")
    trainer = ReferenceTrainer(golden.problem(case))
    rows = np.arange(golden.ROWS)
    whole, gram = trainer.evaluate(rows), trainer.gradient_gram([rows])
    monkeypatch.setattr(module, "EVALUATION_ROWS", 9)
    parts = trainer.evaluate(rows)
    assert (parts.loss, parts.metric) == pytest.approx((whole.loss, whole.metric), rel=1e-12)
    np.testing.assert_allclose(parts.row_losses, whole.row_losses, rtol=1e-6)
    np.testing.assert_allclose(trainer.gradient_gram([rows]), gram, rtol=1e-12)


def run_layer(spec, x, arrays=None, training=False, **settings):
    """One layer's output, and its slope by the input for a slope of ones by the output."""
    weights = random_weights((spec,)) if arrays is None else arrays
    slopes = {name: np.zeros_like(array) for name, array in weights.items()}
    output, back = build((spec,), weights, slopes).forward(x, Pass(training=training, **settings))
    return output, back(np.ones_like(output), Sum()), weights


@pytest.mark.parametrize(("padding", "stride", "kernel"), [(0, 1, 3), (2, 1, 3), (1, 2, 2), (3, 3, 5)])
def test_a_convolution_is_scipys_correlation_summed_over_channels(padding, stride, kernel):
    """Zeros as padding, every `stride`-th place."""
    spec = ConvSpec(
        channels=2, width=9, out=3, kernel=kernel, stride=stride, padding=padding, dtype="float64"
    )
    x = np.random.default_rng(0).normal(size=(4, 2, 9))
    output, _, arrays = run_layer(spec, x)
    weight, bias = arrays["layers.0.weight"], arrays["layers.0.bias"]
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding)))
    for row in range(4):
        for out in range(3):
            expected = sum(signal.correlate(padded[row, c], weight[out, c], mode="valid") for c in range(2))
            np.testing.assert_allclose(output[row, out], expected[::stride] + bias[out], rtol=1e-12)
    assert output.shape[1:] == spec.output_shape


def test_max_pooling_takes_the_largest_and_gives_it_the_whole_slope():
    """Of equal numbers the first; a rest that fills no window has neither output nor slope."""
    spec = MaxPoolSpec(channels=1, width=7, window=3, stride=2)
    x = np.array([[[1.0, 5.0, 2.0, 2.0, 0.0, 9.0, 9.0]]])
    output, slope, _ = run_layer(spec, x)
    np.testing.assert_array_equal(output, [[[5, 2, 9]]])
    np.testing.assert_array_equal(slope, [[[0, 1, 1, 0, 0, 1, 0]]])
    cut = MaxPoolSpec(channels=1, width=5, window=2, stride=2)
    output, slope, _ = run_layer(cut, np.array([[[1.0, 2.0, 3.0, 4.0, 9.0]]]))
    np.testing.assert_array_equal(output, [[[2, 4]]])
    np.testing.assert_array_equal(slope, [[[0, 1, 0, 1, 0]]])


def test_max_pooling_gives_the_slope_to_the_first_that_is_nearly_the_largest_as_nnlib_does():
    """Equal up to half of the dtype's digits."""
    spec = MaxPoolSpec(channels=1, width=2, window=2, stride=2)
    near = np.array([[[1.0, 1.0001]]], dtype=np.float32)
    np.testing.assert_array_equal(run_layer(spec, near)[1], [[[1, 0]]])
    np.testing.assert_array_equal(run_layer(spec, near.astype(np.float64))[1], [[[0, 1]]])


@pytest.mark.parametrize("shape", [(4,), (3, 5)])
def test_batch_normalisation_uses_the_batch_while_training_and_the_running_statistics_after(shape):
    """Per feature or channel, biased in the output, unbiased in what is kept."""
    spec = BatchNormSpec(shape=shape, momentum=0.3, epsilon=1e-3, dtype="float64")
    x = np.random.default_rng(0).normal(2, 3, size=(20, *shape))
    axes = (0,) if len(shape) == 1 else (0, 2)
    over = (1, -1) if len(shape) == 1 else (1, -1, 1)
    run = Pass(training=True)
    arrays = random_weights((spec,))
    scale, bias = (arrays[f"layers.0.{name}"].reshape(over) for name in ("scale", "bias"))
    output, _ = build((spec,), arrays, {}).forward(x, run)
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    expected = (x - mean.reshape(over)) / np.sqrt(variance.reshape(over) + 1e-3) * scale + bias
    np.testing.assert_allclose(output, expected, rtol=1e-10)
    kept = 0.7 * arrays["layers.0.mean"] + 0.3 * mean
    np.testing.assert_allclose(run.moved["layers.0.mean"], kept, rtol=1e-12)
    kept = 0.7 * arrays["layers.0.variance"] + 0.3 * x.var(axis=axes, ddof=1)
    np.testing.assert_allclose(run.moved["layers.0.variance"], kept, rtol=1e-12)

    output, _, _ = run_layer(spec, x, arrays)
    mean, variance = (arrays[f"layers.0.{name}"].reshape(over) for name in ("mean", "variance"))
    np.testing.assert_allclose(output, (x - mean) / np.sqrt(variance + 1e-3) * scale + bias, rtol=1e-10)


def test_running_statistics_move_with_updates_that_are_made_and_with_no_others():
    """Not with a look at the gradient, an evaluation, or a batch that is skipped."""
    layers = golden.networks("float64")["batch_norm"]
    task = golden.problem(golden.Case("bn", "layer", layers, "float64"))
    task.x[0] = np.nan
    trainer = ReferenceTrainer(task)
    start = trainer.weights()["layers.1.mean"]
    trainer.propose(np.arange(1, 9), 0)
    trainer.evaluate(np.arange(1, 9))
    trainer.gradient_gram([np.arange(1, 9)])
    skipped = trainer.run(Batches(np.arange(8), np.array([0, 8]), np.ones(1)))
    assert skipped.skipped == 1
    np.testing.assert_array_equal(trainer.weights()["layers.1.mean"], start)
    trainer.run(Batches(np.arange(1, 9), np.array([0, 8]), np.ones(1)))
    assert (trainer.weights()["layers.1.mean"] != start).any()


def test_a_batch_of_one_row_is_skipped_where_there_is_batch_normalisation():
    """Its unbiased variance is not a number, which Flux would keep for good."""
    layers = golden.networks("float64")["batch_norm"]
    trainer = ReferenceTrainer(golden.problem(golden.Case("bn", "layer", layers, "float64")))
    done = trainer.run(Batches(np.arange(9), np.array([0, 1, 9]), np.ones(2)))
    assert (done.updates, done.skipped, done.rows, len(done.row_losses)) == (1, 1, 8, 9)
    assert all(np.isfinite(array).all() for array in trainer.weights().values())


def test_layer_normalisation_adds_the_square_of_epsilon_as_flux_does():
    """Row by row; with a large epsilon the difference is plain."""
    spec = LayerNormSpec(size=6, epsilon=0.5, dtype="float64")
    x = np.random.default_rng(0).normal(size=(5, 6))
    output, _, arrays = run_layer(spec, x)
    normal = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 0.25)
    expected = normal * arrays["layers.0.scale"] + arrays["layers.0.bias"]
    np.testing.assert_allclose(output, expected, rtol=1e-10)


def test_an_embedding_puts_the_vectors_first_and_the_other_features_behind():
    """In the order of the features."""
    columns = (EmbeddedColumn(feature=1, vocabulary=3), EmbeddedColumn(feature=3, vocabulary=2))
    spec = EmbeddingSpec(in_=4, dim=2, columns=columns, dtype="float64")
    x = np.array([[0.5, 2, -1, 0], [0.25, 0, 7, 1]])
    output, _, arrays = run_layer(spec, x)
    first, second = arrays["layers.0.table.0"], arrays["layers.0.table.1"]
    np.testing.assert_array_equal(output[0], [*first[2], *second[0], 0.5, -1])
    np.testing.assert_array_equal(output[1], [*first[0], *second[1], 0.25, 7])


@pytest.mark.parametrize("code", [-1.0, 3.0, 1.5, math.nan, math.inf])
def test_what_is_no_categorys_number_is_not_taken_for_another_category(code):
    """It becomes NaN, so that the batch is skipped and counted."""
    spec = EmbeddingSpec(in_=2, dim=2, columns=(EmbeddedColumn(feature=0, vocabulary=3),), dtype="float64")
    output, _, _ = run_layer(spec, np.array([[code, 1.0], [2.0, 1.0]]))
    assert np.isnan(output[0, :2]).all()
    assert np.isfinite(output[1]).all()


def test_dropout_masks_by_seed_step_and_layer_and_only_while_training():
    """What is kept is scaled up; the numbering goes through skips, depth first."""
    rate = 0.4
    inner = DropoutSpec(shape=(5,), rate=rate)
    spec = SkipSpec(layers=(DenseSpec(in_=5, out=5, dtype="float64"), inner), connection="concat")
    x = np.random.default_rng(0).normal(size=(6, 5))
    output, _, arrays = run_layer(spec, x, training=True, seed=9, step=4)
    dense = x @ arrays["layers.0.layers.0.weight"].T + arrays["layers.0.layers.0.bias"]
    kept = masks.keep(9, 4, 1, 6, 5, rate)
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(output, np.hstack([dense * kept / (1 - rate), x]), rtol=1e-12)
    output, _, _ = run_layer(spec, x, arrays)
    np.testing.assert_allclose(output, np.hstack([dense, x]), rtol=1e-12)


def test_dropouts_masks_are_the_ones_that_were_written_down():
    """Numbers from a big-integer implementation of splitmix64's finaliser, written from its definition."""

    def mix(word):
        word = (word + 0x9E3779B97F4A7C15) % 2**64
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    assert mix(0) == 0xE220A8397B1DCDAF  # the first number of splitmix64 from the seed 0
    for seed, step, layer in ((0, 0, 0), (5, 53, 2), (-1, 10**6, 255)):
        key = mix(mix(mix(seed % 2**64) ^ step) ^ layer)
        expected = [[(mix((key + r * 4 + j) % 2**64) >> 11) / 2**53 for j in range(4)] for r in range(3)]
        np.testing.assert_array_equal(masks.uniforms(seed, step, layer, 3, 4), expected)
        np.testing.assert_array_equal(masks.keep(seed, step, layer, 3, 4, 0.3), np.array(expected) >= 0.3)
    assert masks.uniforms(0, 0, 0, 1, 3)[0].tolist() == pytest.approx(
        [0.1296456182997474, 0.41232273959211374, 0.31059630345365596], abs=1e-15
    )


def test_dropout_keeps_the_share_that_it_should_and_the_rows_apart():
    """Within five standard errors; no two rows, steps or layers alike."""
    kept = masks.keep(3, 0, 0, 1000, 100, 0.3)
    assert abs(kept.mean() - 0.7) < 5 * math.sqrt(0.21 / kept.size)
    assert len({row.tobytes() for row in kept}) == 1000
    for step, layer in ((1, 0), (0, 1)):
        other = masks.keep(3, step, layer, 1000, 100, 0.3)
        assert abs((other == kept).mean() - 0.58) < 5 * math.sqrt(0.25 / kept.size)


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


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activations_slope_agrees_with_finite_differences(name):
    """On both sides of zero, away from the kinks."""
    function, slope = ACTIVATIONS[name]
    z = np.array([-3.0, -1.2, -0.4, 0.3, 1.1, 2.7])
    expected = (function(z + 1e-6) - function(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope(z, function(z)), expected, rtol=1e-7, atol=1e-9)


def test_activations_have_their_published_values():
    """One value on each side of zero, from the definition with the math module."""
    z = 0.7
    gate = 1 / (1 + math.exp(-z))
    bump = math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    expected = {
        "identity": (z, -z),
        "relu": (z, 0.0),
        "leakyrelu": (z, -0.007),
        "elu": (z, math.expm1(-z)),
        "gelu": (0.5 * z * (1 + bump), -0.5 * z * (1 - bump)),
        "selu": (scale * z, scale * alpha * math.expm1(-z)),
        "sigmoid": (gate, 1 - gate),
        "softplus": (math.log1p(math.exp(z)), math.log1p(math.exp(-z))),
        "swish": (z * gate, -z * (1 - gate)),
        "tanh": (math.tanh(z), -math.tanh(z)),
    }
    assert expected.keys() == ACTIVATIONS.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(ACTIVATIONS[name][0](np.array([z, -z])), values, rtol=1e-12)


def test_every_kind_of_layer_is_in_the_golden_networks():
    """So that finite differences, privacy and Julia see all of them."""
    from typing import get_args

    from assay.train.network.layers import LayerSpec, leaves

    seen = {"skip"} | {
        layer.type for layers in golden.networks("float64").values() for _, layer in leaves(layers)
    }
    assert seen == {kind.model_fields["type"].default for kind in get_args(get_args(LayerSpec)[0])}


def test_float32_and_float64_take_the_same_way():
    """Rounding apart, over fifty updates of a network with most of the layers."""
    ends = {}
    for dtype in golden.DTYPES:
        layers = golden.networks(dtype)["skip concat"]
        case = golden.Case("both", "layer", layers, dtype)
        trainer = ReferenceTrainer(golden.problem(case))
        trainer.run(golden.part(golden.plans()["constant"], 0, 50))
        ends[dtype] = trainer.weights()
        assert all(array.dtype == dtype for array in ends[dtype].values())
    for name, array in ends["float64"].items():
        np.testing.assert_allclose(ends["float32"][name], array, rtol=1e-3, atol=1e-4)


def test_the_problems_data_is_not_changed():
    """It may be a read-only memory map."""
    layers = golden.networks("float32")["embedding"]
    task = golden.problem(golden.Case("frozen", "layer", layers, "float32"))
    task.x.setflags(write=False)
    task.y.setflags(write=False)
    first = {name: array.copy() for name, array in task.weights.items()}
    trainer = ReferenceTrainer(task)
    trainer.run(golden.part(golden.plans()["constant"], 0, 5))
    for name, array in task.weights.items():
        np.testing.assert_array_equal(array, first[name])


def test_weights_of_another_shape_or_name_are_refused():
    """Rather than broadcast."""
    layers = (DenseSpec(in_=2, out=3, dtype="float64"),)
    weights = initial_weights(layers, 0, "float64")
    task = Problem(
        layers, weights, LossSpec(name="mse"), Optimizer(), np.zeros((1, 2), np.float32), np.zeros(1)
    )
    trainer = ReferenceTrainer(task._replace(dtype="float64"))
    with pytest.raises(ValueError, match=r"layers.0.bias has the shape \(1,\) instead of \(3,\)"):
        trainer.set_weights(weights | {"layers.0.bias": np.zeros(1)})
    with pytest.raises(KeyError):
        trainer.set_weights({})
