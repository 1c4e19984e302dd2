"""Checks on what a run learns: nothing, hardly anything, suspiciously fast, or by heart."""

from __future__ import annotations

import pytest

from assay.findings import Outcome
from assay.train import curve_outcome
from tests.train.curves import accepted_runs, curve, feed, finding, outcomes, watch


def test_a_run_that_stands_still_above_the_trivial_loss_is_stopped_after_its_patience():
    """Five epochs here; more where an epoch is few updates."""
    assert feed(watch(updates=50), [0.75] * 10) == (5, "curve.no_learning")
    assert feed(watch(updates=10), [0.75] * 30) == (20, "curve.no_learning")
    assert feed(watch(updates=50), [0.72, *[0.7] * 10]) == (7, "curve.no_learning")


def test_a_slow_start_is_no_standstill():
    """A small learning rate on a rare class: far above the trivial loss for long, and falling all the time."""
    slow = watch(trivial=0.056, stop="all")
    assert feed(slow, [0.75 * 0.95**epoch for epoch in range(60)]) is None


def test_at_its_end_a_run_must_have_learned_whatever_its_patience():
    """One epoch that learned nothing is not a pass."""
    short = watch(updates=1)
    assert feed(short, [0.69]) is None
    assert outcomes(short)["no_learning"] == "failed"
    assert outcomes(short, finished=False)["no_learning"] == "not_checked"


def test_learning_by_heart_what_does_not_generalise_is_no_learning():
    """Training loss falls, validation loss never does."""
    running = watch()
    assert feed(running, [0.6, 0.4, 0.3], [0.69, 0.7, 0.75]) is None
    assert outcomes(running)["no_learning"] == "failed"


def test_a_run_that_stands_still_near_the_trivial_loss_has_hardly_learned():
    """At 98 %; the same standstill at 90 % is what there was to learn."""
    high, low = watch(stop="all"), watch(stop="all")
    assert feed(high, [0.68, *[0.676] * 8]) == (6, "curve.plateau")
    assert feed(low, [0.65, *[0.62] * 8]) is None
    assert outcomes(low)["plateau"] == "passed"
    assert feed(watch(stop="all", max_plateau=0.99), [0.68, *[0.676] * 8]) is None


def test_a_standstill_far_above_accepted_runs_is_a_plateau():
    """They had come down to 43 % of the trivial loss; a run that still falls is only behind."""
    stuck = watch(stop=["plateau"], accepted=accepted_runs(), updates=1000)
    assert feed(stuck, [0.6, *[0.55] * 8]) == (7, "curve.plateau")
    falling = watch(stop=["plateau"], accepted=accepted_runs(), updates=1000)
    assert feed(falling, [0.6 * 0.97**epoch for epoch in range(9)]) is None


def test_a_plateau_is_not_asked_of_a_run_that_was_cut_short():
    """It might have gone on."""
    running = watch()
    feed(running, [0.6, 0.5])
    assert outcomes(running, finished=False)["plateau"] == "not_checked"


@pytest.mark.parametrize("validation", [None, [0.69, 0.7]])
def test_a_loss_that_collapses_in_the_first_epochs_is_too_fast(validation):
    """A leaked label brings both losses down, rows that repeat only the training loss."""
    running = watch(stop="all")
    assert feed(running, [0.3, 0.002], validation) == (2, "curve.too_fast")
    assert "does a feature tell the label" in finding(running, "too_fast").message


def test_a_loss_that_comes_down_in_its_time_is_not_too_fast():
    """The same loss, two epochs later; or where the contract says that the data are that easy."""
    assert feed(watch(stop=["too_fast"]), [0.3, 0.1, 0.05, 0.002]) is None
    assert feed(watch(stop=["too_fast"], min_early_loss=0), [0.3, 0.002]) is None
    assert feed(watch(stop=["too_fast"], early_epochs=1), [0.3, 0.002]) is None


def test_a_run_far_better_than_all_accepted_ones_is_too_fast():
    """They were at 0.4 in the third epoch; a little better than they is only good."""
    leaked = watch(stop="all", accepted=accepted_runs())
    assert feed(leaked, [0.5, 0.3, 0.12]) == (3, "curve.too_fast")
    assert finding(leaked, "too_fast").evidence["accepted_runs"] == 5
    better = watch(stop=["too_fast"], accepted=accepted_runs())
    assert feed(better, [0.5, 0.4, 0.3, 0.26, 0.22]) is None


def test_where_accepted_runs_lose_next_to_nothing_nobody_is_too_fast():
    """Half of nearly nothing is noise."""
    accepted = [curve([0.6, 0.2, 0.1, 0.05, 0.04]) for _ in range(5)]
    assert feed(watch(stop=["too_fast"], accepted=accepted), [0.5, 0.15, 0.06, 0.02, 0.01]) is None


def test_a_validation_loss_far_above_the_training_loss_fails():
    """In units of the trivial loss; on few validation rows it cannot be told, and is not called passed."""
    losses, validation = [0.5, 0.2, 0.05], [0.5, 0.6, 0.9]
    running = watch()
    assert feed(running, losses, validation) is None
    assert outcomes(running)["generalisation_gap"] == "failed"
    few = watch(rows=20)
    feed(few, losses, validation)
    assert outcomes(few)["generalisation_gap"] == "not_checked"
    assert curve_outcome(few.findings()) is Outcome.NOT_CHECKED
    blind = watch(trivial=None)
    feed(blind, losses, validation)
    assert outcomes(blind)["generalisation_gap"] == "not_checked"


def test_a_gap_that_the_limit_allows_is_held_against_accepted_runs():
    """Three quarters of a trivial loss, where the accepted ones had no gap; where they had one, it passes."""
    losses, validation = [0.5, 0.3, 0.1], [0.5, 0.5, 0.6]
    for gap, outcome in ((0.0, "failed"), (0.4, "passed")):
        accepted = [curve([0.5, 0.3, 0.1], [0.5, 0.3 + gap, 0.1 + gap]) for _ in range(5)]
        running = watch(accepted=accepted, stop="none")
        feed(running, losses, validation)
        assert outcomes(running)["generalisation_gap"] == outcome
    alone = watch()
    feed(alone, losses, validation)
    assert outcomes(alone)["generalisation_gap"] == "passed"


def test_accepted_runs_never_widen_the_contracts_limit():
    """Whoever gets five bad runs accepted must not get a worse sixth one through."""
    accepted = [curve([0.5, 0.2, 0.05], [0.5, 0.6, 0.9 + 0.1 * i]) for i in range(5)]
    running = watch(accepted=accepted, stop="none")
    feed(running, [0.5, 0.2, 0.05], [0.5, 0.6, 0.9])
    assert outcomes(running)["generalisation_gap"] == "failed"
