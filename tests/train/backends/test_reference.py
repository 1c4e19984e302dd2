"""The reference backend's losses, optimisers and account of itself, against scikit-learn and textbooks."""

from __future__ import annotations

import math
import tomllib
import warnings

import numpy as np
import pytest
from scipy import special

from assay.contract.optimization import Optimizer
from assay.train.backends import Batches, Problem, join
from assay.train.backends.reference import ReferenceTrainer, forward, log_softmax, predict
from assay.train.backends.reference.losses import row_losses
from assay.train.network.layers import DenseSpec
from assay.train.network.spec import BundleSpec, LossSpec
from assay.train.run.batches import initial_weights
from tests.train import conformance, golden
from tests.train.backends.test_reference_layers import batch_loss, flat_trainable, numerical_gradient

ROWS = 20
LOSSES = {
    "cross-entropy": LossSpec(name="logit_cross_entropy"),
    "weighted cross-entropy": LossSpec(name="logit_cross_entropy", class_weights=(0.5, 1.0, 2.5)),
    "binary": LossSpec(name="binary_logit_cross_entropy"),
    "weighted binary": LossSpec(name="binary_logit_cross_entropy", class_weights=(0.3, 3.0)),
    "mse": LossSpec(name="mse"),
    "huber": LossSpec(name="huber", huber_delta=0.4),
}


def problem(loss="cross-entropy", optimizer=golden.ADAM, dtype="float64", hidden=4):
    """A network of 3 → hidden → outputs on twenty random rows."""
    generator = np.random.default_rng(5)
    spec = LOSSES[loss]
    outputs = 3 if spec.name == "logit_cross_entropy" else 1
    classes = {"logit_cross_entropy": 3, "binary_logit_cross_entropy": 2}.get(spec.name)
    layers = (
        DenseSpec(in_=3, out=hidden, activation="tanh", dtype=dtype),
        DenseSpec(in_=hidden, out=outputs, dtype=dtype),
    )
    y = generator.normal(size=ROWS) if classes is None else generator.integers(0, classes, ROWS)
    x = generator.normal(size=(ROWS, 3)).astype(np.float32)
    return Problem(layers, initial_weights(layers, 1, dtype), spec, optimizer, x, y, dtype=dtype)


def batches(updates=1, size=ROWS, rates=0.01, first_step=0):
    """Batches of rows in order, from the first row again where they run out."""
    rows = np.arange(updates * size) % ROWS
    return Batches(
        rows, np.arange(updates + 1) * size, np.broadcast_to(np.float64(rates), (updates,)), first_step
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_backpropagation_agrees_with_finite_differences_for_every_loss(loss):
    """Weighted and not."""
    task = problem(loss)
    trainer = ReferenceTrainer(task)
    rows = np.arange(ROWS)
    expected = numerical_gradient(trainer, task.layers, lambda: batch_loss(trainer, rows, 0))
    np.testing.assert_allclose(trainer.propose(rows, 0).gradient, expected, rtol=1e-5, atol=1e-8)


def test_losses_have_the_values_of_their_definitions():
    """Against scipy's functions."""
    generator = np.random.default_rng(0)
    z, y = generator.normal(size=(9, 3)) * 3, generator.integers(0, 3, 9)
    expected = -np.log(special.softmax(z, axis=1)[np.arange(9), y])
    np.testing.assert_allclose(row_losses(LOSSES["cross-entropy"], z, y).losses, expected)
    one, two = z[:, :1], y % 2
    chance = special.expit(one[:, 0])
    expected = -np.log(np.where(two == 1, chance, 1 - chance))
    np.testing.assert_allclose(row_losses(LOSSES["binary"], one, two).losses, expected)
    target = generator.normal(size=9)
    error = one[:, 0] - target
    np.testing.assert_allclose(row_losses(LOSSES["mse"], one, target).losses, error**2)
    expected = special.huber(0.4, error)
    assert (np.abs(error) < 0.4).any()
    np.testing.assert_allclose(row_losses(LOSSES["huber"], one, target).losses, expected)
    weighted = row_losses(LOSSES["weighted cross-entropy"], z, y)
    np.testing.assert_array_equal(weighted.weights, np.array([0.5, 1.0, 2.5])[y])
    np.testing.assert_array_equal(weighted.losses, row_losses(LOSSES["cross-entropy"], z, y).losses)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_survive_huge_outputs(loss):
    """Certain, not NaN, in float32 too, and of the outputs' dtype."""
    task = problem(loss)
    outputs = 3 if "cross" in loss else 1
    z = np.full((2, outputs), 1e4, dtype=np.float32)
    z[0, 0] = -1e4
    found = row_losses(task.loss, z, np.array([0, 1]))
    for array in found:
        assert array.dtype == np.float32
        assert np.isfinite(array).all()


def test_log_softmax_survives_huge_logits():
    """Ten thousand against zero is certain, not a NaN."""
    logs = log_softmax(np.array([[1e4, 0.0], [-1e4, 0.0]], dtype=np.float32))
    np.testing.assert_allclose(logs, [[0, -1e4], [-1e4, 0]])


@pytest.mark.parametrize("solver", ["sgd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("loss", ["cross-entropy", "binary", "mse"])
def test_the_loss_curve_and_the_weights_are_scikit_learns(loss, solver):
    """Thirty full batches from the same weights; sklearn halves the squared error, and lets epsilon stand elsewhere."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    half = 0.5 if loss == "mse" else 1.0
    own = {
        "sgd": Optimizer(name="sgd"),
        "momentum": Optimizer(name="sgd", momentum=0.9),
        "nesterov": Optimizer(name="sgd", momentum=0.9, nesterov=True),
        "adam": Optimizer(epsilon=1e-14),
    }
    task = problem(loss, own[solver])
    trainer = ReferenceTrainer(task)
    rate = 0.05
    theirs = (MLPRegressor if loss == "mse" else MLPClassifier)(
        hidden_layer_sizes=(4,), activation="tanh", solver="adam" if solver == "adam" else "sgd", alpha=0.0,
        batch_size=ROWS,
        learning_rate_init=rate, shuffle=False, momentum=0.0 if solver == "sgd" else 0.9, epsilon=1e-14,
        nesterovs_momentum=solver == "nesterov", tol=0.0, n_iter_no_change=1000, max_iter=1, warm_start=True,
    )  # fmt: skip
    x = task.x.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(x, task.y)
        for i in range(2):
            theirs.coefs_[i][...] = task.weights[f"layers.{i}.weight"].T
            theirs.intercepts_[i][...] = task.weights[f"layers.{i}.bias"]
        theirs.set_params(max_iter=30).fit(x, task.y)
    scale = 1.0 if solver == "adam" else half  # Adam does not see the half
    curve = [trainer.run(batches(1, rates=rate * scale)).loss_sum / ROWS * half for _ in range(30)]
    np.testing.assert_allclose(curve, theirs.loss_curve_[-30:], rtol=1e-8)
    assert curve[-1] < curve[0]
    for i in range(2):
        np.testing.assert_allclose(trainer.weights()[f"layers.{i}.weight"], theirs.coefs_[i].T, rtol=1e-7)
        np.testing.assert_allclose(trainer.weights()[f"layers.{i}.bias"], theirs.intercepts_[i], rtol=1e-7)


def textbook(settings, steps):
    """Each optimiser as its paper or manual writes it, one number at a time: f(weight, gradients, rates) at the end."""

    def run(weight, gradient_of, rates):
        mean = square = velocity = 0.0
        for t in range(1, steps + 1):
            rate = rates[t - 1]
            g = gradient_of(weight)
            if settings.name != "adamw":
                g += settings.weight_decay * weight
            if settings.name in {"adam", "adamw"}:
                mean = settings.beta1 * mean + (1 - settings.beta1) * g
                square = settings.beta2 * square + (1 - settings.beta2) * g * g
                step = mean / (1 - settings.beta1**t)
                step /= math.sqrt(square / (1 - settings.beta2**t)) + settings.epsilon
                decay = settings.weight_decay * weight if settings.name == "adamw" else 0.0
                weight -= rate * (step + decay)
            elif settings.name == "rmsprop":
                square = settings.rho * square + (1 - settings.rho) * g * g
                weight -= rate * g / (math.sqrt(square) + settings.epsilon)
            else:
                before, velocity = velocity, settings.momentum * velocity - rate * g
                ahead = settings.momentum * (velocity - before) + velocity
                weight += ahead if settings.nesterov else velocity
        return weight

    return run


OPTIMIZERS = {
    **golden._optimizers(),
    "adam": golden.ADAM,
    "adamw without decay": Optimizer(name="adamw"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_follows_its_textbook_form_over_many_steps(name):
    """On one weight and a squared error, with a rate that changes; Nesterov's in Sutskever's form of the velocity."""
    settings = OPTIMIZERS[name]
    layers = (DenseSpec(in_=1, out=1, bias=False, dtype="float64"),)
    x, y = np.array([[0.5], [2.0]], np.float32), np.array([1.0, -1.5])
    task = Problem(
        layers, {"layers.0.weight": np.array([[1.5]])}, LossSpec(name="mse"), settings, x, y, dtype="float64"
    )
    trainer = ReferenceTrainer(task)
    rates = 0.05 * 0.97 ** np.arange(60)
    trainer.run(Batches(np.tile([0, 1], 60), np.arange(61) * 2, rates))

    def gradient(weight):
        return sum(2 * (weight * float(a[0]) - b) * float(a[0]) for a, b in zip(x, y, strict=True)) / 2

    expected = textbook(settings, 60)(1.5, gradient, rates)
    assert trainer.weights()["layers.0.weight"][0, 0] == pytest.approx(expected, rel=1e-9)
    assert expected != pytest.approx(1.5, abs=0.01)


def test_every_optimiser_of_the_contract_is_tried():
    """And each with what it can do."""
    from typing import get_args

    names = get_args(Optimizer.model_fields["name"].annotation)
    assert {settings.name for settings in OPTIMIZERS.values()} == set(names)
    assert all(any(s.name == name and s.weight_decay for s in OPTIMIZERS.values()) for name in names)


def test_weight_decay_is_no_part_of_the_gradients_norm():
    """The norm is what the data says."""
    heavy = problem(optimizer=Optimizer(name="sgd", weight_decay=10.0))
    light = problem(optimizer=Optimizer(name="sgd"))
    ours, theirs = ReferenceTrainer(heavy).run(batches()), ReferenceTrainer(light).run(batches())
    assert ours.norm_sum == theirs.norm_sum == ours.norm_max > 0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_killed_and_restored_training_ends_with_the_same_bits(name, tmp_path):
    """State through a file into a new trainer, in float32, with dropout, batch normalisation and changing rates."""
    from safetensors.numpy import load_file, save_file

    layers = (*golden.networks("float32")["dropout"][:2], *golden.networks("float32")["batch_norm"][1:])
    layers = (
        golden.networks("float32")["dropout"][0],
        DenseSpec(in_=8, out=4, dtype="float32"),
        *golden.networks("float32")["batch_norm"][1:],
    )
    task = golden.problem(golden.Case(name, "optimizer", layers, "float32", optimizer=OPTIMIZERS[name]))
    plan = golden.plans()["warm-up"]
    whole = ReferenceTrainer(task)
    together = [whole.run(golden.part(plan, 0, 23)), whole.run(golden.part(plan, 23, 54))]
    first = ReferenceTrainer(task)
    first.run(golden.part(plan, 0, 23))
    save_file(first.state(), tmp_path / "state.safetensors")
    second = ReferenceTrainer(task)
    second.restore(load_file(tmp_path / "state.safetensors"))
    resumed = second.run(golden.part(plan, 23, 54))
    np.testing.assert_array_equal(resumed.row_losses, together[1].row_losses)
    assert resumed[:6] == together[1][:6]
    state = second.state()
    for key, array in whole.state().items():
        np.testing.assert_array_equal(state[key], array, err_msg=key)
    assert {key.split("/")[0] for key in state} <= {"weights", "optimizer"}


def test_state_and_weights_are_copies():
    """What was saved does not learn on."""
    trainer = ReferenceTrainer(problem())
    state, weights = trainer.state(), trainer.weights()
    kept = {key: array.copy() for key, array in {**state, **weights}.items()}
    trainer.run(batches(3))
    for key, array in {**state, **weights}.items():
        np.testing.assert_array_equal(array, kept[key])
    assert not np.array_equal(trainer.weights()["layers.0.weight"], weights["layers.0.weight"])


def test_set_weights_keeps_the_optimisers_memory():
    """As the protocol says: going back to the best weights does not forget the moments."""
    trainer = ReferenceTrainer(problem())
    start = trainer.weights()
    trainer.run(batches(5))
    before = trainer.state()
    trainer.set_weights(start)
    after = trainer.state()
    np.testing.assert_array_equal(after["optimizer/mean"], before["optimizer/mean"])
    np.testing.assert_array_equal(after["weights/layers.0.weight"], start["layers.0.weight"])


def test_stats_of_parts_join_to_the_stats_of_the_whole():
    """However a run's updates are handed over."""
    whole = ReferenceTrainer(problem()).run(batches(10, 8))
    trainer = ReferenceTrainer(problem())
    plan = batches(10, 8)
    joined = join([trainer.run(golden.part(plan, *bounds)) for bounds in ((0, 3), (3, 4), (4, 10))])
    np.testing.assert_array_equal(joined.row_losses, whole.row_losses)
    assert joined.loss_sum == pytest.approx(whole.loss_sum, rel=1e-14)
    assert joined.norm_sum == pytest.approx(whole.norm_sum, rel=1e-14)
    assert (joined.rows, joined.updates, joined.norm_max) == (whole.rows, whole.updates, whole.norm_max)


def test_no_updates_are_an_empty_account():
    """Not an error."""
    stats = ReferenceTrainer(problem()).run(batches(0))
    assert (stats.rows, stats.updates, stats.norm_max, len(stats.row_losses)) == (0, 0, 0.0, 0)


def test_a_batch_that_is_not_finite_makes_no_update_and_is_counted():
    """The field's trainers skip such a batch without a word; the optimiser's memory does not move either."""
    task = problem(dtype="float32")
    task.x[3] = np.nan
    trainer = ReferenceTrainer(task)
    before = trainer.state()
    stats = trainer.run(batches(1, 8))
    assert (stats.updates, stats.skipped, stats.rows, stats.loss_sum, stats.norm_sum) == (0, 1, 0, 0.0, 0.0)
    assert np.isnan(stats.row_losses[3])
    assert np.isfinite(np.delete(stats.row_losses, 3)).all()
    for key, array in trainer.state().items():
        np.testing.assert_array_equal(array, before[key])
    mixed = trainer.run(batches(2, 10))
    assert (mixed.updates, mixed.skipped, mixed.rows) == (1, 1, 10)
    assert math.isfinite(mixed.loss_sum)


def test_row_losses_are_unweighted_and_before_the_update():
    """One per entry of the batches, in their order."""
    task = problem("weighted cross-entropy")
    trainer = ReferenceTrainer(task)
    before = trainer.evaluate(np.arange(ROWS))
    stats = trainer.run(batches())
    np.testing.assert_allclose(stats.row_losses, before.row_losses, rtol=1e-6)
    weights = np.array(task.loss.class_weights)[task.y]
    assert stats.loss_sum == pytest.approx(float((before.row_losses * weights).sum()), rel=1e-6)
    assert before.loss == pytest.approx(stats.loss_sum / ROWS, rel=1e-12)
    assert stats.row_losses.dtype == before.row_losses.dtype == np.float32


def test_equal_class_weights_change_the_loss_by_their_factor_alone():
    """The mean is over rows, not over weights."""
    task = problem()
    doubled = task._replace(loss=LossSpec(name="logit_cross_entropy", class_weights=(2.0, 2.0, 2.0)))
    ours, theirs = ReferenceTrainer(doubled), ReferenceTrainer(task)
    rows = np.arange(ROWS)
    assert ours.evaluate(rows).loss == pytest.approx(2 * theirs.evaluate(rows).loss)
    np.testing.assert_allclose(
        ours.propose(rows, 0).gradient, 2 * theirs.propose(rows, 0).gradient, rtol=1e-12
    )


def test_a_linear_regression_finds_the_least_squares_solution():
    """Against the closed form of the normal equations."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(64, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.3 + generator.normal(size=64) * 0.1
    layers = (DenseSpec(in_=3, out=1, dtype="float64"),)
    weights = initial_weights(layers, 0, "float64")
    trainer = ReferenceTrainer(
        Problem(layers, weights, LossSpec(name="mse"), golden.ADAM, x, y, dtype="float64")
    )
    trainer.run(Batches(np.tile(np.arange(64), 1500), np.arange(1501) * 64, np.full(1500, 0.05)))
    design = np.column_stack([x, np.ones(64)]).astype(np.float64)
    best, *_ = np.linalg.lstsq(design, y, rcond=None)
    np.testing.assert_allclose(flat_trainable(layers, trainer.weights()), best, atol=1e-5)
    seen = trainer.evaluate(np.arange(64))
    residual = y - design @ best
    assert seen.loss == pytest.approx((residual**2).mean(), rel=1e-6)
    assert seen.metric == pytest.approx(1 - (residual**2).sum() / ((y - y.mean()) ** 2).sum(), rel=1e-6)


@pytest.mark.parametrize(("loss", "expected"), [
    ("cross-entropy", math.log(3)), ("binary", math.log(2)),
    ("weighted binary", None), ("mse", None), ("huber", None),
])  # fmt: skip
def test_a_network_of_zeros_has_the_loss_of_knowing_nothing(loss, expected):
    """The logarithm of the classes; or the loss of always answering the mean."""
    task = problem(loss)
    zeros = {name: np.zeros_like(array) for name, array in task.weights.items()}
    trainer = ReferenceTrainer(task._replace(weights=zeros))
    if loss == "mse":
        expected = float((task.y**2).mean())
    elif loss == "huber":
        expected = float(special.huber(0.4, task.y).mean())
    elif loss == "weighted binary":
        expected = math.log(2) * float(np.array(task.loss.class_weights)[task.y].mean())
    seen = trainer.evaluate(np.arange(ROWS))
    assert seen.loss == pytest.approx(expected, rel=1e-9)
    if task.loss.of_classes:
        assert seen.metric == pytest.approx((task.y == 0).mean())  # of equal outputs the first class wins


def test_accuracy_and_r2_are_scikit_learns():
    """From the outputs of the same weights."""
    from sklearn.metrics import accuracy_score, r2_score

    for loss in LOSSES:
        task = problem(loss)
        trainer = ReferenceTrainer(task)
        outputs = forward(task.weights, spec_of(task), task.x)
        metric = trainer.evaluate(np.arange(ROWS)).metric
        if task.loss.name == "logit_cross_entropy":
            assert metric == pytest.approx(accuracy_score(task.y, outputs.argmax(axis=1)))
        elif task.loss.name == "binary_logit_cross_entropy":
            assert metric == pytest.approx(accuracy_score(task.y, outputs[:, 0] > 0))
        else:
            assert metric == pytest.approx(r2_score(task.y, outputs[:, 0]))


def test_nothing_to_evaluate_is_not_a_number():
    """No rows, or a label that never changes."""
    trainer = ReferenceTrainer(problem("mse"))
    nothing = trainer.evaluate(np.arange(0))
    assert math.isnan(nothing.loss)
    assert math.isnan(nothing.metric)
    assert math.isnan(trainer.evaluate(np.array([4, 4])).metric)


def spec_of(task):
    """As much of a bundle's spec as forward and predict read."""
    kind = "classification" if task.loss.of_classes else "regression"
    return BundleSpec.model_construct(layers=task.layers, dtype=task.dtype, loss=task.loss, task=kind)


def test_predictions_are_probabilities_of_each_class():
    """For several classes, and for two behind one logit."""
    for loss, classes in (("cross-entropy", 3), ("binary", 2)):
        task = problem(loss)
        chances = predict(task.weights, spec_of(task), task.x)
        assert chances.shape == (ROWS, classes)
        assert chances.dtype == np.float64
        np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-12)
        outputs = forward(task.weights, spec_of(task), task.x)
        if classes == 2:
            np.testing.assert_allclose(chances[:, 1], special.expit(outputs[:, 0]), rtol=1e-12)
        else:
            np.testing.assert_allclose(chances, special.softmax(outputs, axis=1), rtol=1e-12)


@pytest.mark.parametrize("name", golden.networks("float64"))
def test_forward_gives_what_evaluation_measured(name):
    """For every layer, from the arrays of a finished training alone."""
    layers = golden.networks("float64")[name]
    task = golden.problem(golden.Case(name, "layer", layers, "float64"))
    trainer = ReferenceTrainer(task)
    trainer.run(golden.part(golden.plans()["constant"], 0, 10))
    seen = trainer.evaluate(np.arange(golden.ROWS))
    outputs = forward(trainer.weights(), spec_of(task), task.x)
    losses = -log_softmax(outputs)[np.arange(golden.ROWS), task.y]
    np.testing.assert_allclose(losses, seen.row_losses, rtol=1e-6)


def test_forward_misses_an_array_rather_than_making_it_up():
    """Weights of another network."""
    task = problem()
    weights = {name: array for name, array in task.weights.items() if name != "layers.1.weight"}
    with pytest.raises(KeyError, match=r"layers\.1\.weight"):
        forward(weights, spec_of(task), task.x)


def test_the_golden_vectors_for_julia_are_what_the_reference_computes():
    """The file in the Julia package is current; rounding of another BLAS is allowed for."""
    kept = tomllib.loads(golden.FILE.read_text())
    now = tomllib.loads(golden.render(golden.compute()))
    assert kept.keys() == now.keys()
    for part in ("data", "plans", "masks", "aggregations"):
        assert_close(kept[part], now[part], 1e-9, part)
    assert [case["name"] for case in kept["cases"]] == [case["name"] for case in now["cases"]]
    for old, new in zip(kept["cases"], now["cases"], strict=True):
        assert_close(old, new, 1e-3 if old["dtype"] == "float32" else 1e-6, old["name"])


def assert_close(old, new, tolerance, place):
    """Equal words and whole numbers, close fractions, in the same shape."""
    if isinstance(old, dict):
        assert old.keys() == new.keys(), place
        for key, value in old.items():
            assert_close(value, new[key], tolerance, f"{place}.{key}")
    elif isinstance(old, list) and old and isinstance(old[0], dict | list):
        assert len(old) == len(new), place
        for i, value in enumerate(old):
            assert_close(value, new[i], tolerance, f"{place}[{i}]")
    elif isinstance(old, float) or (isinstance(old, list) and any(isinstance(v, float) for v in old)):
        np.testing.assert_allclose(new, old, rtol=tolerance, atol=tolerance / 10, err_msg=place)
    else:
        assert old == new, place


def test_the_golden_cases_cover_every_choice_of_the_contract():
    """Layers are seen to elsewhere; here losses, optimisers, schedules, aggregations, activations, both dtypes."""
    from typing import get_args

    from assay.contract.network import Activation
    from assay.contract.optimization import Aggregation
    from assay.train.network.spec import LossName

    for dtype in golden.DTYPES:
        cases = [case for case in golden.cases() if case.dtype == dtype]
        assert {case.loss.name for case in cases} == set(get_args(LossName))
        assert {case.optimizer.name for case in cases} == {"adam", "adamw", "sgd", "rmsprop"}
        assert {case.aggregation.name for case in cases} == set(get_args(Aggregation))
        assert {case.plan for case in cases} == set(golden.plans())
        assert {case.name for case in cases} >= set(get_args(Activation))
        assert sum(case.clipping is not None for case in cases) >= 5
    assert golden.UPDATES > 50
    assert golden.FILE.stat().st_size < 1_500_000


def test_the_comparison_of_two_backends_notices_a_small_difference():
    """Another epsilon, another running statistic, another count: otherwise its agreement would mean nothing."""
    cases = {case.name: case for case in golden.cases() if case.dtype == "float64"}
    case = cases["batch_norm"]
    task = golden.problem(case)
    ours = golden.drive(case, ReferenceTrainer(task))
    same = conformance.compare(golden.drive(case, ReferenceTrainer(task)), ours, "float64")
    assert (same.worst, same.where) == (0.0, "")
    assert same.compared > 600
    other = task._replace(optimizer=Optimizer(learning_rate=golden.RATE, epsilon=1e-6))
    theirs = golden.drive(case, ReferenceTrainer(other))
    assert conformance.compare(theirs, ours, "float64").worst > 1e-8
    theirs = {
        **ours,
        "weights": {**ours["weights"], "layers.1.mean": ours["weights"]["layers.1.mean"] + 1e-6},
    }
    found = conformance.compare(theirs, ours, "float64")
    assert (found.worst > 1e-8, found.where) == (True, "layers.1.mean")
    calls = [ours["calls"][0]._replace(skipped=1), ours["calls"][1]]
    assert conformance.compare({**ours, "calls": calls}, ours, "float64").worst == math.inf
    lost = [ours["calls"][0]._replace(loss_sum=math.nan), ours["calls"][1]]
    assert conformance.compare({**ours, "calls": lost}, ours, "float64").worst == math.inf
