"""The checks on real trainings: the reference backend, and the faults of `benchmarks/curves.py`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from assay.findings import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import curve_data
import curve_faults
import curve_runs
import curves

SETS = ("breast cancer", "one in ten", "friedman 1")
ADAM, MOMENTUM = curve_runs.SETUPS[0], curve_runs.SETUPS[2]


def cells(*setups: curve_runs.Setup, sources: str = "alike"):
    """Some data sets with some networks."""
    return [curves.Cell(data, setup, sources) for data in curve_data.data_sets(SETS) for setup in setups]


def judged(cell, fault, seed: int) -> curves.Verdict:
    """One run, without accepted runs beside it."""
    return curves.judge(curves.train(cell, fault, seed), ())


def test_healthy_runs_pass_with_and_without_accepted_runs():
    """Three data sets, five runs beside which two more are judged; all checks are asked."""
    for cell in cells(ADAM):
        curves.measure(cell, accepted=5, fresh=2)
        for alone, beside in cell.healthy:
            assert alone.outcome is Outcome.PASSED, (cell.data.name, alone)
            assert beside is None or beside.outcome is Outcome.PASSED, (cell.data.name, beside)
        missed = [name for name, _, beside, _ in cell.broken if beside.outcome is Outcome.PASSED]
        assert len(cell.broken) >= 20
        assert len(missed) <= 2, (cell.data.name, missed)


def test_a_run_that_learns_from_rows_that_are_no_numbers_stops_in_its_first_epoch():
    """Whatever the data."""
    for cell in cells(ADAM, MOMENTUM):
        verdict = judged(cell, curve_faults.NotNumbers(), 1)
        assert verdict.stopped == 1
        assert {"non_finite", "skipped_updates"} <= set(verdict.failed)


def test_an_exploding_loss_is_stopped_within_two_epochs():
    """By default, without any accepted run."""
    for cell in cells(ADAM, MOMENTUM):
        assert judged(cell, curve_faults.Exploding(), 2).stopped in {1, 2}


def test_labels_that_do_not_belong_to_their_rows_do_not_pass():
    """From the start, or from the middle of the run on."""
    for cell in cells(ADAM):
        for fault in (curve_faults.Misaligned(), curve_faults.ShuffledLabels()):
            assert judged(cell, fault, 3).outcome is Outcome.FAILED, (cell.data.name, fault.name)


def test_a_source_with_inverted_labels_is_named_without_any_accepted_run():
    """Three of four sources agree, and the fourth turns them round."""
    for cell in cells(ADAM):
        verdict = judged(cell, curve_faults.InvertedSource(), 4)
        assert "source_conflict" in verdict.failed, (cell.data.name, verdict)


@pytest.mark.parametrize("factor", [0.1, 0.03])
def test_a_small_learning_rate_is_slow_and_not_stopped(factor):
    """A tenth of the usual, or less: no check may call that broken while it runs."""
    rate = ADAM.optimizer.learning_rate * factor
    slow = replace(ADAM, optimizer=ADAM.optimizer.model_copy(update={"learning_rate": rate}))
    for cell in cells(slow):
        assert judged(cell, curve_runs.Fault(), 5).stopped is None, cell.data.name


def test_the_benchmark_prints_false_alarms_and_misses(capsys):
    """On one data set: every kind of fault has its line, and the figures are shares."""
    [cell] = [each for each in cells(MOMENTUM) if each.data.name == "breast cancer"]
    curves.measure(cell, accepted=5, fresh=1)
    figures = curves.report([cell], 5)
    printed = capsys.readouterr().out
    assert all(kind.name in printed for kind in curve_faults.FAULTS)
    assert figures["broken_runs"] == len(curve_faults.FAULTS) == figures["kinds"]
    assert figures["caught_alone"] <= figures["caught_beside"] <= 1
    assert figures["caught_beside"] > 0.8
    assert figures["healthy_runs"] == 7
