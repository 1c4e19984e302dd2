"""The robust aggregations against slow ones written from the papers, and against a hostile source."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
from scipy import optimize, stats

from assay.train.backends import Batches
from assay.train.backends.reference import ReferenceTrainer
from assay.train.errors import PreconditionError, TrainError
from assay.train.network.spec import AggregationSpec
from assay.train.steps import aggregation
from assay.train.steps.aggregation import aggregate
from tests.train import aggregation_oracle, golden

ROBUST = ("median", "trimmed_mean", "krum", "multi_krum", "geometric_median")


def gradients(sources, size=5, seed=0):
    """Normal numbers (sources, size)."""
    return np.random.default_rng(seed).normal(size=(sources, size))


def slow_krum_scores(given, byzantine):
    """Pair by pair, as the definition reads."""
    n = len(given)
    scores = []
    for i in range(n):
        distances = sorted(math.dist(given[i], given[j]) ** 2 for j in range(n) if j != i)
        scores.append(sum(distances[: n - byzantine - 2]))
    return scores


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 1), (7, 2), (9, 3), (12, 4)])
def test_krum_and_multi_krum_choose_as_their_definition_says(n, f, seed):
    """The best score, and the mean of the n - f best; the others are named as dropped."""
    given = gradients(n, seed=seed)
    order = np.argsort(slow_krum_scores(given, f), kind="stable")
    one = aggregate(given, AggregationSpec(name="krum", byzantine=f))
    np.testing.assert_array_equal(one.gradient, given[order[0]])
    assert one.dropped == tuple(i for i in range(n) if i != order[0])
    several = aggregate(given, AggregationSpec(name="multi_krum", byzantine=f))
    np.testing.assert_allclose(several.gradient, given[order[: n - f]].mean(axis=0), rtol=1e-12)
    assert several.dropped == tuple(sorted(order[n - f :].tolist()))


def test_the_rules_agree_with_those_of_byzfl_and_flwr():
    """Their answers, as `tests.train.aggregation_oracle` wrote them; Weiszfeld's iterations end a little apart."""
    known = json.loads(aggregation_oracle.FILE.read_text())
    assert known["versions"].keys() == {"byzfl", "flwr"}
    compared = Counter()
    for case in known["cases"]:
        given = np.array(case["gradients"])
        for library, answers in case["answers"].items():
            for rule, expected in answers.items():
                found = aggregate(given, AggregationSpec(name=rule, byzantine=case["byzantine"])).gradient
                tolerance = 1e-6 if rule == "geometric_median" else 1e-12
                np.testing.assert_allclose(
                    found, expected, rtol=0, atol=tolerance, err_msg=f"{library} {rule}"
                )
                compared[library, rule] += 1
    assert {rule for library, rule in compared if library == "byzfl"} == set(ROBUST) - {"multi_krum"}
    assert {rule for library, rule in compared if library == "flwr"} == set(ROBUST) - {"geometric_median"}
    assert min(compared.values()) == 12


@pytest.mark.parametrize(("n", "f"), [(3, 1), (4, 1), (5, 2), (8, 3)])
def test_median_and_trimmed_mean_agree_with_scipy_and_with_sorting(n, f):
    """Coordinate by coordinate; scipy trims the share that f of n is."""
    given = gradients(n)
    middle = [
        sorted(column)[n // 2] if n % 2 else sum(sorted(column)[n // 2 - 1 : n // 2 + 1]) / 2
        for column in given.T
    ]
    np.testing.assert_allclose(aggregate(given, AggregationSpec(name="median", byzantine=f)).gradient, middle)
    trimmed = aggregate(given, AggregationSpec(name="trimmed_mean", byzantine=f)).gradient
    np.testing.assert_allclose(trimmed, stats.trim_mean(given, (f + 0.5) / n, axis=0))


@pytest.mark.parametrize("seed", range(4))
def test_the_geometric_median_minimises_the_sum_of_distances(seed):
    """Against scipy's minimiser, and no step in any direction lowers the sum."""
    given = gradients(6, 3, seed)

    def total(point):
        return np.linalg.norm(given - point, axis=1).sum()

    found = aggregate(given, AggregationSpec(name="geometric_median", byzantine=1)).gradient
    best = optimize.minimize(
        total, given.mean(axis=0), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    assert total(found) <= best.fun + 1e-10
    np.testing.assert_allclose(found, best.x, atol=1e-6)


def test_the_geometric_median_does_not_stop_on_a_point_that_is_not_the_answer():
    """Weiszfeld's plain iteration starts here on one of the points and would divide by zero."""
    given = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [3.0, 3.0], [-3.0, -3.0], [0.0, 0.0]])
    found = aggregate(given, AggregationSpec(name="geometric_median", byzantine=1)).gradient
    np.testing.assert_allclose(found, [0, 0], atol=1e-9)
    shifted = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, -1.0], [1.0, 0.0], [-3.0, 0.0]])
    np.testing.assert_allclose(shifted.mean(axis=0), [0, 0], atol=1e-12)
    found = aggregate(shifted, AggregationSpec(name="geometric_median", byzantine=1)).gradient
    best = optimize.minimize(
        lambda p: np.linalg.norm(shifted - p, axis=1).sum(), [0.5, 0.1], method="Nelder-Mead"
    )
    np.testing.assert_allclose(found, best.x, atol=1e-4)


def test_of_equal_gradients_every_rule_gives_that_gradient():
    """No division by a distance of zero."""
    given = np.tile(gradients(1), (7, 1))
    for rule in ("mean", *ROBUST):
        found = aggregate(given, AggregationSpec(name=rule, byzantine=2)).gradient
        np.testing.assert_allclose(found, given[0], rtol=1e-12)


@pytest.mark.parametrize("rule", ROBUST)
def test_the_order_of_the_sources_does_not_matter(rule):
    """Every rotation gives the same gradient."""
    given = gradients(7)
    spec = AggregationSpec(name=rule, byzantine=2)
    first = aggregate(given, spec).gradient
    for turn in range(1, 7):
        np.testing.assert_allclose(aggregate(np.roll(given, turn, axis=0), spec).gradient, first, rtol=1e-7)


@pytest.mark.parametrize("rule", ROBUST)
def test_hostile_gradients_of_any_size_do_not_carry_the_answer_away(rule):
    """Two of seven, a million times as large: the mean goes with them, the robust rule stays near the honest ones."""
    honest = gradients(5) * 0.1 + 1
    for hostile in (np.full((2, 5), 1e6), np.full((2, 5), -1e6), honest[:2] * -50):
        given = np.vstack([honest, hostile])
        found = aggregate(given, AggregationSpec(name=rule, byzantine=2)).gradient
        assert np.linalg.norm(found - honest.mean(axis=0)) < 1.0
        away = aggregate(given, AggregationSpec(name="mean")).gradient
        assert np.linalg.norm(away - honest.mean(axis=0)) > 10


@pytest.mark.parametrize(("rule", "least"), [
    ("krum", lambda f: 2 * f + 3), ("multi_krum", lambda f: 2 * f + 3), ("median", lambda f: 2 * f + 1),
    ("trimmed_mean", lambda f: 2 * f + 1), ("geometric_median", lambda f: 2 * f + 1),
])  # fmt: skip
def test_too_few_sources_are_an_error_and_never_a_quiet_mean(rule, least):
    """One source below the precondition, for several f; at the precondition it works."""
    for byzantine in (1, 2, 3):
        spec = AggregationSpec(name=rule, byzantine=byzantine)
        enough = least(byzantine)
        aggregate(gradients(enough), spec)
        with pytest.raises(PreconditionError, match=f"{rule} cannot stand {byzantine} hostile of") as caught:
            aggregate(gradients(enough - 1), spec)
        assert f"at least {enough} sources" in str(caught.value)
        assert isinstance(caught.value, TrainError)


def trainer_of_sources(rule, byzantine=2, **changes):
    """A golden network whose rows come from seven sources."""
    layers = (golden._dense("float64", golden.FEATURES, 3),)
    case = golden.Case(
        rule, "aggregation", layers, "float64", optimizer=golden.SGD, plan="of sources",
        aggregation=AggregationSpec(name=rule, byzantine=byzantine),
    )  # fmt: skip
    return ReferenceTrainer(golden.problem(case)._replace(**changes))


@pytest.mark.parametrize("rule", ROBUST)
def test_an_update_hands_the_aggregate_of_the_sources_mean_gradients_to_the_optimiser(rule):
    """Each source's own gradient from a plain trainer, then the rule."""
    rows = golden.plans()["of sources"].rows[:14]
    sources = golden.data()["sources"][rows]
    plain = trainer_of_sources("mean")
    own = np.stack([plain.propose(rows[sources == source], 0).gradient for source in range(7)])
    update = trainer_of_sources(rule).propose(rows, 0)
    expected = aggregate(own, AggregationSpec(name=rule, byzantine=2))
    np.testing.assert_allclose(update.gradient, expected.gradient, rtol=1e-9, atol=1e-12)
    assert update.dropped == expected.dropped


def test_the_sources_that_krum_leaves_out_are_told_by_their_numbers():
    """For each update, also where a batch lacks some of the sources."""
    trainer = trainer_of_sources("multi_krum", byzantine=1)
    rows = np.array([row for row in range(28) if row % 7 not in {0, 2}])
    done = trainer.run(Batches(np.tile(rows, 3), np.arange(4) * len(rows), np.full(3, 0.01)))
    assert len(done.dropped) == done.updates == 3
    for dropped in done.dropped:
        assert len(dropped) == 1
        assert dropped[0] not in {0, 2}
    assert (
        trainer_of_sources("median").run(Batches(np.arange(14), np.array([0, 14]), np.ones(1))).dropped == ()
    )


def test_a_batch_with_too_few_sources_ends_the_run_with_an_error():
    """Not with an update that is not robust."""
    trainer = trainer_of_sources("krum", byzantine=2)
    before = trainer.weights()
    rows = np.array([row for row in range(14) if row % 7 != 3])
    with pytest.raises(PreconditionError, match="krum cannot stand 2 hostile of 6 sources"):
        trainer.run(Batches(rows, np.array([0, len(rows)]), np.ones(1)))
    for name, array in trainer.weights().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_source_with_inverted_labels_is_left_out_more_often_than_any_other():
    """What the events are for."""
    table = golden.data()
    labels = table["classes"].copy()
    hostile = table["sources"] == 4
    labels[hostile] = 2 - labels[hostile]
    x = table["x"].copy()
    x[:, 2] = table["classes"] * 2.0 - 2.0  # easy to learn, so that a wrong label pulls the other way
    trainer = trainer_of_sources("multi_krum", byzantine=1, y=labels, x=x)
    plan = golden.plans()["of sources"]
    done = trainer.run(plan._replace(learning_rates=plan.learning_rates * 20))
    counts = np.bincount(list(itertools.chain(*done.dropped)), minlength=7)
    assert counts.argmax() == 4
    assert counts[4] > 2 * np.delete(counts, 4).max()


def test_batch_normalisation_cannot_be_told_apart_by_source():
    """It mixes rows across sources."""
    case = golden.Case(
        "mixed", "aggregation", golden.networks("float64")["batch_norm"], "float64",
        aggregation=AggregationSpec(name="median"),
    )  # fmt: skip
    with pytest.raises(PreconditionError, match="batch_norm mixes the rows"):
        ReferenceTrainer(golden.problem(case))


def test_a_robust_aggregation_without_sources_is_refused():
    """Rather than taking all rows for one source."""
    with pytest.raises(PreconditionError, match="needs to know each row's source"):
        trainer_of_sources("median", sources=None)


def test_the_rules_are_those_of_the_contract():
    """None is missing, none is more."""
    from typing import get_args

    from assay.contract.optimization import Aggregation

    assert set(aggregation._RULES) == set(get_args(Aggregation))
