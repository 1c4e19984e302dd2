"""Checks on the training's stability: each must fire on what it is for, and keep still on healthy runs."""

from __future__ import annotations

import math

import pytest

from tests.train.curves import curve, feed, finding, outcomes, point, watch


@pytest.mark.parametrize("bad", [math.nan, math.inf, None])
def test_a_loss_that_is_not_finite_stops_the_run_at_once(bad):
    """NaN and infinity travel as null and count as lost."""
    assert feed(watch(), [0.6, bad]) == (2, "curve.non_finite")


def test_a_validation_loss_that_is_not_finite_stops_the_run():
    """The training loss is measured before the last update, which may be the one that broke it."""
    assert feed(watch(), [0.6], [math.inf]) == (1, "curve.non_finite")
    assert feed(watch(rows=0), [0.6], [math.nan]) is None


def test_one_skipped_update_stops_the_run():
    """A trainer that silently passes over a batch is a silent pass; something in it was not finite, too."""
    running = watch()
    lost, skipped = running.update(point(1, 0.5, skipped=1))
    assert (lost.check, skipped.check) == ("curve.non_finite", "curve.skipped_updates")
    assert skipped.evidence["skipped_updates"] == 1


def test_a_run_that_makes_every_update_passes():
    """Both checks say so."""
    running = watch()
    assert feed(running, [0.6, 0.5]) is None
    assert outcomes(running)["non_finite"] == outcomes(running)["skipped_updates"] == "passed"


def test_a_spike_against_the_best_so_far_stops_the_run():
    """Three times the best epoch, by default."""
    assert feed(watch(), [0.6, 0.2, 0.59]) is None
    assert feed(watch(), [0.6, 0.2, 0.61]) == (3, "curve.spike")
    assert feed(watch(max_spike=2), [0.6, 0.2, 0.41]) == (3, "curve.spike")


def test_the_first_epoch_is_held_against_the_untrained_network():
    """An absurd learning rate shows at once, although the run has no best epoch yet."""
    assert feed(watch(), [2.3]) == (1, "curve.spike")
    assert feed(watch(), [2.2, 0.6]) is None


def test_a_rare_class_starts_high_and_that_is_no_spike():
    """One row in a hundred: the trivial loss is 0.06, an untrained network's 0.75."""
    assert feed(watch(trivial=0.056, initial=0.75), [0.7, 0.4, 0.2, 0.06, 0.05]) is None


def test_a_first_loss_that_no_untrained_network_has_is_not_taken_as_yardstick():
    """Corrupted inputs make even the first loss absurd."""
    assert feed(watch(initial=1e6), [900.0]) == (1, "curve.spike")
    assert feed(watch(initial=math.nan), [900.0]) == (1, "curve.spike")


def test_noise_near_zero_is_no_spike():
    """From 0.0001 to 0.03 is three hundredfold and means nothing."""
    assert feed(watch(), [0.3, 0.01, 0.0001, 0.03, 0.0001]) is None


def test_without_a_trivial_loss_the_first_epoch_is_the_yardstick():
    """And learning cannot be judged."""
    blind = watch(trivial=None)
    assert feed(blind, [0.6, 0.5]) is None
    found = outcomes(blind)
    assert found["no_learning"] == found["plateau"] == found["too_fast"] == "not_checked"
    assert feed(watch(trivial=None), [0.5, 1.6]) == (2, "curve.spike")


def test_a_loss_that_keeps_rising_above_its_start_stops_the_run():
    """Three rises in a row, by default; rising back to where it started is not yet divergence."""
    assert feed(watch(), [0.5, 0.45, 0.46, 0.48, 0.49]) is None
    assert feed(watch(), [0.5, 0.51, 0.52, 0.53]) == (4, "curve.divergence")
    assert feed(watch(divergence_epochs=2), [0.5, 0.51, 0.52]) == (3, "curve.divergence")


def test_a_loss_that_gives_back_half_of_what_it_had_gained_stops_the_run():
    """From a trivial loss of 0.69 down to 0.29, and back to 0.5 for two epochs; for one it may be noise."""
    assert feed(watch(), [0.5, 0.29, 0.48, 0.48, 0.3]) is None
    assert feed(watch(), [0.5, 0.29, 0.5, 0.3, 0.5, 0.3]) is None
    assert feed(watch(), [0.5, 0.29, 0.5, 0.5]) == (4, "curve.divergence")
    assert feed(watch(max_relapse=0.8), [0.5, 0.29, 0.5, 0.5]) is None


def test_a_loss_that_gives_back_everything_stops_the_run_at_once():
    """It is where it would be without having learned anything."""
    assert feed(watch(), [0.5, 0.29, 0.7]) == (3, "curve.divergence")


def test_who_had_gained_next_to_nothing_cannot_lose_it():
    """A loss that trembles near the trivial one is no relapse."""
    assert feed(watch(), [0.68, 0.64, 0.68, 0.63, 0.67]) is None


def test_a_gradient_far_above_all_before_is_a_spike():
    """Twenty times the largest epoch's mean, by default; in the first epoch twenty times its own."""
    running = watch(stop="all")
    assert running.update(point(1, 0.6, max_gradient_norm=19.0)) == []
    assert running.update(point(2, 0.5, gradient_norm=0.1, max_gradient_norm=19.0)) == []
    [failing] = running.update(point(3, 0.4, gradient_norm=2.0, max_gradient_norm=21.0))
    assert (failing.check, failing.evidence["ratio"]) == ("curve.gradient_spike", 21.0)
    [first] = watch(stop="all").update(point(1, 0.6, max_gradient_norm=21.0))
    assert first.check == "curve.gradient_spike"


def test_a_trainer_that_tells_only_the_mean_gradient_is_judged_by_that():
    """A largest gradient that is missing is not a spike, and not a pass of everything."""
    running = watch(stop="all")
    assert running.update(point(1, 0.6, gradient_norm=1.0)) == []
    [failing] = running.update(point(2, 0.5, gradient_norm=30.0))
    assert failing.check == "curve.gradient_spike"


def test_the_largest_gradient_is_held_against_those_of_accepted_runs():
    """Theirs were one at the most, so that five is a spike although nothing in this run says so."""
    accepted = [curve([0.6, 0.4, 0.3], max_gradient_norm=1 + 0.02 * i) for i in range(5)]
    for norm, outcome in ((2.0, "passed"), (5.0, "failed")):
        running = watch(accepted=accepted)
        for each in curve([0.6, 0.4, 0.3], max_gradient_norm=norm):
            running.update(each)
        assert finding(running, "gradient_spike").outcome == outcome
        assert finding(running, "gradient_spike", finished=False).outcome == "passed"
    assert finding(running, "gradient_spike").evidence["accepted_runs"] == 5
