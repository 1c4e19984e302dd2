"""Bands of accepted runs, and the runs that leave them."""

from __future__ import annotations

import numpy as np
import pytest

from assay.findings import Outcome
from assay.train import curve_outcome
from assay.train.curve import AcceptedRun
from assay.train.curve.bands import AcceptedRuns, band
from tests.train.curves import accepted_runs, curve, feed, finding, outcomes, watch, yardsticks


def test_a_run_like_the_accepted_ones_passes_the_comparison():
    """The distance is told either way."""
    running = watch(accepted=accepted_runs())
    assert feed(running, [0.61, 0.52, 0.41, 0.36, 0.31]) is None
    assert outcomes(running)["gap_to_accepted"] == "passed"
    assert finding(running, "gap_to_accepted").evidence["accepted_runs"] == 5
    assert curve_outcome(running.findings()) is Outcome.PASSED


def test_a_run_that_ends_above_the_accepted_ones_fails_the_comparison():
    """They ended between 0.3 and 0.32."""
    running = watch(accepted=accepted_runs(), rows=1000)
    assert feed(running, [0.6, 0.5, 0.45, 0.42, 0.4]) is None
    assert outcomes(running)["gap_to_accepted"] == "failed"
    assert curve_outcome(running.findings()) is Outcome.FAILED


def test_the_training_loss_is_compared_too():
    """It has more rows behind it than the validation loss, so that it tells wrong labels apart sooner."""
    running = watch(accepted=accepted_runs(), stop="none", rows=1000)
    feed(running, [0.6, 0.5, 0.45, 0.42, 0.4], [0.6, 0.5, 0.4, 0.35, 0.3])
    found = finding(running, "gap_to_accepted")
    assert found.outcome == "failed"
    assert "training loss" in found.message


def test_accepted_runs_that_differ_much_allow_no_more_than_the_contract_does():
    """Half as much again, by default."""
    wild = [curve([0.6, 0.5, last]) for last in (0.2, 0.3, 0.4, 0.5, 0.6)]
    for limit, outcome in ((0.5, "failed"), (2.0, "passed")):
        running = watch(accepted=wild, stop="none", max_gap_to_accepted=limit)
        feed(running, [0.64, 0.63, 0.62])
        assert outcomes(running)["gap_to_accepted"] == outcome


def test_a_run_that_falls_far_behind_the_accepted_ones_is_stopped_for_it():
    """Twice as far as at the end, three epochs long."""
    running = watch(accepted=accepted_runs(), rows=1000)
    assert feed(running, [0.67] * 7) == (5, "curve.gap_to_accepted")
    assert outcomes(running, finished=False)["gap_to_accepted"] == "failed"


def test_a_run_may_be_a_third_later_than_the_accepted_ones():
    """The same curve with every second epoch twice."""
    running = watch(accepted=accepted_runs(), rows=1000)
    assert feed(running, [0.6, 0.6, 0.5, 0.4, 0.4, 0.35, 0.31]) is None
    assert outcomes(running)["gap_to_accepted"] == "passed"


def test_few_validation_rows_leave_more_to_chance():
    """The same distance on 1000 rows, on 50, and on 1000 of which nearly none is of the rare class."""
    for options, outcome in (
        ({"rows": 1000}, "failed"),
        ({"rows": 50}, "passed"),
        ({"rows": 1000, "trivial": 0.05}, "passed"),
    ):
        unit = options.get("trivial", 0.69) / 0.69
        accepted = [curve([0.6 * unit, 0.3 * unit]) for _ in range(5)]
        running = watch(accepted=accepted, stop="none", **options)
        feed(running, [0.6 * unit, 0.38 * unit])
        assert outcomes(running)["gap_to_accepted"] == outcome


@pytest.mark.parametrize(("norm", "outcome"), [(0.1, "failed"), (0.25, "passed"), (0.6, "failed")])
def test_gradients_at_the_end_must_be_of_the_accepted_runs_size(norm, outcome):
    """Larger ones: a part of the network does not learn; smaller ones: the same rows again and again."""
    accepted = [curve([0.6, 0.4, 0.3], gradient_norm=0.2 + 0.01 * i) for i in range(5)]
    running = watch(accepted=accepted, stop="none")
    for each in curve([0.6, 0.4, 0.3], gradient_norm=norm):
        running.update(each)
    assert outcomes(running)["gap_to_accepted"] == outcome


def test_too_few_accepted_runs_are_not_compared_with():
    """The reason names how many are needed, and the absolute limits stand in."""
    running = watch(accepted=[*accepted_runs(4), []])
    assert feed(running, [0.68] * 3) is None
    found = finding(running, "gap_to_accepted")
    assert found.outcome is Outcome.NOT_CHECKED
    assert "4 accepted runs" in found.message
    assert "5 are needed" in found.message
    assert found.evidence["required"] is False


def test_epochs_of_other_sizes_are_not_compared_one_by_one():
    """Ten times the updates in an epoch: only the ends can be compared."""
    slow = [0.67, 0.67, 0.66, 0.65, 0.64, 0.4, 0.31]
    known = yardsticks(updates=500)
    other = watch(accepted=[AcceptedRun(each, known) for each in accepted_runs()], rows=1000)
    assert feed(other, slow) is None
    assert outcomes(other)["gap_to_accepted"] == "passed"
    same = watch(accepted=[AcceptedRun(each, yardsticks()) for each in accepted_runs()], rows=1000)
    assert feed(same, slow) == (5, "curve.gap_to_accepted")


def test_a_data_set_that_has_grown_is_only_compared_by_its_validation_loss():
    """Twice the updates: more rows are harder to learn by heart, and their gradients are others."""
    grown = curve([0.6, 0.5, 0.45], [0.6, 0.4, 0.31], gradient_norm=5.0)
    for updates, outcome in ((25, "passed"), (50, "failed"), (100, "failed")):
        known = yardsticks(updates=updates)
        accepted = [AcceptedRun(each, known) for each in accepted_runs()]
        running = watch(accepted=accepted, stop="none", rows=1000)
        for each in grown:
            running.update(each)
        found = finding(running, "gap_to_accepted")
        assert found.outcome == outcome
        assert ("not_compared" in found.evidence) is (updates == 25)


def test_losses_are_counted_in_each_runs_own_trivial_loss():
    """Where the classes' shares changed, 0.3 is not what it was."""
    known = yardsticks(trivial=0.35)
    running = watch(accepted=[AcceptedRun(each, known) for each in accepted_runs()], stop="none")
    feed(running, [0.69, 0.68, 0.66, 0.62, 0.6])
    assert outcomes(running)["gap_to_accepted"] == "passed"


def test_accepted_losses_that_are_not_finite_are_no_comparison():
    """Not checked, and here it counts: there are runs, and they could not be used."""
    running = watch(accepted=[curve([0.5, None]) for _ in range(5)])
    assert feed(running, [0.6, 0.5]) is None
    found = finding(running, "gap_to_accepted")
    assert found.outcome is Outcome.NOT_CHECKED
    assert curve_outcome(running.findings()) is Outcome.NOT_CHECKED


@pytest.mark.parametrize("runs", [5, 8, 20, 60])
def test_one_healthy_value_in_two_hundred_lies_above_the_reach(runs):
    """Of values with heavy tails, as losses have; for any number of runs between a sixth of a per cent and one."""
    rng = np.random.default_rng(runs)
    outside, trials = 0, 8000
    for values in rng.standard_t(4, size=(trials, runs + 1)):
        found = band(values[:-1].tolist(), 5)
        outside += values[-1] > found.middle + found.reach
    assert 0.0015 < outside / trials < 0.011


def test_one_wild_run_among_many_does_not_open_the_band():
    """The outer tenths decide, so that less than a tenth of the runs can be anything."""
    values = np.random.default_rng(0).normal(size=15).tolist()
    calm, wild = band(values, 5), band([*values[:-1], 1e6], 5)
    assert wild.reach < 2 * calm.reach
    assert wild.middle == pytest.approx(calm.middle, abs=1)


def test_too_few_finite_values_make_no_band():
    """Nor do none."""
    assert band([0.1, 0.2, None, float("nan"), float("inf")], 3) is None
    assert band([0.1, 0.2, 0.3], 3).runs == 3
    assert AcceptedRuns([], yardsticks(), 5).last_gap() is None
