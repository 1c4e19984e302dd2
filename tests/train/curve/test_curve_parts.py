"""Classes and sources: a part that goes wrong must show although the mean improves."""

from __future__ import annotations

import math

import pytest

from assay.train.curve import CurveWatch
from assay.train.curve.parts import cosines_with_rest
from assay.train.records.events import SourceStats
from tests.train.curves import classes, curve, finding, outcomes, point, sources, watch, yardsticks

COUNTED = yardsticks(class_rows=(500, 500), class_validation_rows=(50, 50))
FALLING = [0.6, 0.5, 0.45, 0.4, 0.38, 0.36, 0.34]
APART = [[1.0, -0.9, -0.9], [-0.9, 1.0, 0.9], [-0.9, 0.9, 1.0]]
TOGETHER = [[1.0, 0.8, 0.8], [0.8, 1.0, 0.8], [0.8, 0.8, 1.0]]


def stops(watching: CurveWatch, points) -> tuple[int, str] | None:
    """Epoch and check that would have stopped the run."""
    for each in points:
        if failing := watching.update(each):
            return each.epoch, failing[0].check
    return None


def of_class(losses, falling=FALLING):
    """A falling mean, and class b with these losses."""
    return [
        point(i + 1, mean, classes=classes(a=mean, b=loss))
        for i, (mean, loss) in enumerate(zip(falling, losses, strict=True))
    ]


def test_a_class_that_gets_worse_while_the_mean_improves_fails():
    """From 0.5 up to 2, three epochs long."""
    running = watch(known=COUNTED, stop="all")
    assert stops(running, of_class([0.6, 0.5, 0.5, 0.9, 1.8, 1.9, 2.0])) == (7, "curve.class_regression")
    assert finding(running, "class_regression").evidence["class_name"] == "b"


def test_a_class_that_trembles_or_was_always_hard_does_not_fail():
    """One bad epoch is none; a class that stays at its loss gets no worse."""
    for losses in ([0.6, 0.5, 2.0, 0.5, 2.0, 2.0, 0.5], [2.0] * 7):
        running = watch(known=COUNTED, stop="all")
        assert stops(running, of_class(losses)) is None
        assert outcomes(running)["class_regression"] == "passed"


def test_a_class_that_gets_worse_with_the_mean_is_for_the_other_checks():
    """Divergence has a name of its own."""
    running = watch(known=COUNTED, stop=["class_regression"])
    assert (
        stops(
            running, of_class([0.5, 0.5, 2.0, 2.0, 2.0, 2.0, 2.0], falling=[0.5 + 0.01 * i for i in range(7)])
        )
        is None
    )


def test_a_rare_class_is_counted_in_what_its_share_alone_costs():
    """One row in a hundred costs 4.6 to a predictor of shares; a rise by 1.5 is little beside that."""
    rare = yardsticks(trivial=0.056, class_rows=(9900, 100), class_validation_rows=(990, 40))
    losses = [0.7, 3.0, 3.0, 4.4, 4.5, 4.5, 4.5]
    assert stops(watch(known=rare, stop=["class_regression"]), of_class(losses)) is None
    assert stops(watch(known=COUNTED, stop=["class_regression"]), of_class(losses)) is not None


def test_a_class_whose_rows_are_no_longer_learned_from_fails():
    """Its training loss is null for three epochs, although the split has rows of it."""
    gone = [each.model_copy(update={"classes": classes(a=0.4, b=None)}) for each in of_class([0.5] * 7)]
    running = watch(known=COUNTED, stop="all")
    assert stops(running, gone) == (3, "curve.class_regression")
    assert "no row of class b" in finding(running, "class_regression").message


def test_a_class_without_the_rows_to_judge_it_by_is_not_judged():
    """Nine validation rows prove nothing; the limits on the mean stand in."""
    few = yardsticks(class_rows=(20, 20), class_validation_rows=(9, 9))
    running = watch(known=few, stop="all")
    assert stops(running, of_class([0.6, 0.5, 0.5, 0.9, 1.8, 1.9, 2.0])) is None
    found = finding(running, "class_regression")
    assert (found.outcome, found.evidence["required"]) == ("not_checked", False)


def test_a_class_is_held_against_the_same_class_of_accepted_runs():
    """They ended at 0.3; another class, or another name, is not compared."""
    accepted = [curve([0.6, 0.4, 0.3], classes=classes(a=0.3, b=0.3 + 0.01 * i)) for i in range(5)]
    for name, loss, outcome in (("b", 0.9, "failed"), ("b", 0.4, "passed"), ("c", 0.9, "passed")):
        running = watch(known=COUNTED, accepted=accepted, stop="none")
        for i, mean in enumerate([0.6, 0.4, 0.3]):
            running.update(point(i + 1, mean, classes=classes(a=0.3, **{name: loss})))
        assert outcomes(running)["class_regression"] == outcome


def run_of_sources(losses, cosines, *, rows: int = 100, epochs: int = 5, **options) -> CurveWatch:
    """A watch that has seen some epochs of these sources."""
    running = watch(stop="none", **options)
    for each in curve(FALLING[:epochs], sources=sources(losses, cosines, rows)):
        running.update(each)
    return running


def test_a_source_that_pulls_against_the_rest_at_their_cost_fails():
    """Its rows lose 0.5 trivial losses more than the others', and its gradient points the other way."""
    running = run_of_sources([0.9, 0.4, 0.4], APART)
    failing = finding(running, "source_conflict")
    assert (failing.outcome, failing.evidence["source"]) == ("failed", "a")
    assert failing.evidence["cosine"] < -0.8
    assert failing.evidence["epoch"] == 3


def test_a_source_that_costs_more_than_a_blind_guess_while_it_pulls_against_the_rest_fails():
    """0.8 where the trivial predictor has 0.69, and the others 0.5."""
    assert outcomes(run_of_sources([0.8, 0.5, 0.5], APART))["source_conflict"] == "failed"


@pytest.mark.parametrize(
    ("losses", "cosines"),
    [([0.9, 0.4, 0.4], TOGETHER), ([0.42, 0.4, 0.4], APART), ([0.6, 0.4, 0.4], APART)],
    ids=["hard, and going along", "against, and no worse", "a little harder"],
)
def test_a_source_that_is_only_hard_or_only_against_passes(losses, cosines):
    """At a minimum the sources' gradients cancel each other; and some sources are harder than others."""
    running = run_of_sources(losses, cosines)
    assert outcomes(running)["source_conflict"] == "passed"


def test_a_conflict_of_two_epochs_is_none():
    """The third decides."""
    assert outcomes(run_of_sources([0.9, 0.4, 0.4], APART, epochs=2))["source_conflict"] == "passed"
    assert outcomes(run_of_sources([0.9, 0.4, 0.4], APART, epochs=3))["source_conflict"] == "failed"


def test_one_source_or_few_rows_cannot_be_compared_and_do_not_hold_the_curve_back():
    """Not checked, with the reason."""
    for running, reason in (
        (run_of_sources([0.9], [[1.0]]), "no second source"),
        (run_of_sources([0.9, 0.4, 0.4], APART, rows=10), "training rows"),
        (run_of_sources([], []), "not told apart"),
    ):
        found = finding(running, "source_conflict")
        assert (found.outcome, found.evidence["required"]) == ("not_checked", False)
        assert reason in found.message


def test_a_source_too_small_to_be_judged_is_named():
    """The others are judged without it."""
    small = SourceStats(name="d", rows=3, loss=5.0, gradient_norm=1.0, cosines=(-1.0, -1.0, -1.0, 1.0))
    wide = [[*row, -1.0] for row in TOGETHER]
    running = watch()
    for each in curve(FALLING, sources=(*sources([0.5, 0.4, 0.4], wide), small)):
        running.update(each)
    found = finding(running, "source_conflict")
    assert found.outcome == "passed"
    assert (found.evidence["sources_judged"], found.evidence["too_few_rows"]) == (3, ["d"])


def test_a_source_is_held_against_itself_in_accepted_runs():
    """It was always a little harder, by 0.1; now it is by 0.3, and nothing else shows."""
    accepted = [
        curve([0.6, 0.4, 0.3], sources=sources([0.5 + 0.01 * i, 0.43, 0.43], TOGETHER)) for i in range(5)
    ]
    for loss, outcome in ((0.7, "failed"), (0.55, "passed")):
        running = run_of_sources([loss, 0.43, 0.43], TOGETHER, accepted=accepted)
        assert outcomes(running)["source_conflict"] == outcome


def test_the_cosine_with_the_rest_is_that_of_the_gradients_themselves():
    """From pairwise cosines and norms alone, against vectors; rows are weights."""
    import numpy as np

    rng = np.random.default_rng(0)
    gradients, rows = rng.normal(size=(4, 7)) * [[1], [5], [0.1], [2]], [10, 400, 30, 7]
    norms = np.linalg.norm(gradients, axis=1)
    told = [
        SourceStats(
            name=str(i),
            rows=rows[i],
            loss=0.5,
            gradient_norm=norms[i],
            cosines=tuple(gradients @ gradients[i] / norms / norms[i]),
        )
        for i in range(4)
    ]
    for i, cosine in enumerate(cosines_with_rest(told)):
        rest = sum(rows[k] * gradients[k] for k in range(4) if k != i)
        assert cosine == pytest.approx(gradients[i] @ rest / norms[i] / np.linalg.norm(rest))


def test_a_gradient_of_zero_has_no_direction():
    """Nor has a rest that cancels to nothing."""
    zero = SourceStats(name="a", rows=50, loss=0.1, gradient_norm=0.0, cosines=(None, None))
    one = SourceStats(name="b", rows=50, loss=0.1, gradient_norm=1.0, cosines=(None, 1.0))
    assert cosines_with_rest([zero, one]) == [None, None]
    assert cosines_with_rest([]) == []
    lost = SourceStats(name="b", rows=50, loss=0.1, gradient_norm=math.inf, cosines=(None, 1.0))
    assert cosines_with_rest([zero, lost]) == [None, None]
