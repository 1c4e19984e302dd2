"""The watch over a run: what stops it, what the checks make together, what an epoch costs, and the curve's file."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.canonical import canonical_json
from assay.contract.training import CurveLimits
from assay.findings import Outcome
from assay.train import CurvePoint, RequestError, curve_outcome, read_curve
from assay.train.curve import CHECKS, CurveWatch
from assay.train.records.curvefile import write_curve
from assay.train.records.events import ClassStats, SourceStats
from tests.train.curves import accepted_runs, classes, feed, finding, outcomes, point, watch, yardsticks


def test_a_falling_curve_passes_and_says_what_it_could_not_ask():
    """No classes, no sources and no accepted runs: other limits stand in, so that the curve as a whole passes."""
    healthy = watch()
    assert feed(healthy, [0.6, 0.5, 0.4, 0.35, 0.33]) is None
    unasked = {"class_regression", "source_conflict", "gap_to_accepted"}
    assert outcomes(healthy) == {check: "not_checked" if check in unasked else "passed" for check in CHECKS}
    assert curve_outcome(healthy.findings()) is Outcome.PASSED
    assert all(
        f.message and f.evidence["required"] is False
        for f in healthy.findings()
        if f.outcome is Outcome.NOT_CHECKED
    )
    assert "0 accepted runs" in finding(healthy, "gap_to_accepted").message


def test_each_check_answers_once_and_by_its_name():
    """In the contract's order, whether or not there were epochs."""
    names = [f"curve.{check}" for check in CHECKS]
    running = watch()
    assert [f.check for f in running.findings()] == names
    feed(running, [0.6, math.nan])
    assert [f.check for f in running.findings(finished=False)] == names


def test_a_run_without_epochs_checked_nothing():
    """An empty curve is not a healthy one."""
    findings = watch().findings()
    assert {f.outcome for f in findings} == {Outcome.NOT_CHECKED}
    assert curve_outcome(findings) is Outcome.NOT_CHECKED
    assert curve_outcome([]) is Outcome.NOT_CHECKED


def test_a_run_cut_short_is_not_asked_what_only_a_whole_one_can_answer():
    """The gaps are not checked, and so is the curve."""
    running = watch()
    feed(running, [0.6, 0.5])
    found = outcomes(running, finished=False)
    assert found["generalisation_gap"] == found["gap_to_accepted"] == found["plateau"] == "not_checked"
    assert curve_outcome(running.findings(finished=False)) is Outcome.NOT_CHECKED


def spiking() -> list[CurvePoint]:
    """A run with a gradient spike in its third epoch, which does not stop it by default."""
    return [point(1, 0.6), point(2, 0.5), point(3, 0.4, max_gradient_norm=50.0), point(4, 0.3)]


def test_by_default_a_check_of_the_first_rank_stops_the_run_and_the_others_only_fail():
    """Either way the failure stands in the findings."""
    running = watch()
    assert [running.update(each) for each in spiking()] == [[]] * 4
    assert [f.check for f in running.failed] == ["curve.gradient_spike"]
    assert outcomes(running)["gradient_spike"] == "failed"
    assert curve_outcome(running.findings()) is Outcome.FAILED


@pytest.mark.parametrize(
    ("stop", "stops"), [("all", True), ("none", False), (["gradient_spike"], True), (["spike"], False)]
)
def test_the_contract_says_which_failures_stop_the_run(stop, stops):
    """All, none, or those named."""
    running = watch(stop=stop)
    stopped = [finding.check for each in spiking() for finding in running.update(each)]
    assert stopped == (["curve.gradient_spike"] if stops else [])
    assert outcomes(running)["gradient_spike"] == "failed"


def test_without_any_stop_even_a_lost_loss_is_only_a_finding():
    """The gate stays closed all the same."""
    running = watch(stop="none")
    assert feed(running, [0.6, math.nan, 0.5]) is None
    assert outcomes(running)["non_finite"] == "failed"


def test_a_check_that_does_not_exist_cannot_be_named():
    """A typing error in the contract must not switch a check off."""
    with pytest.raises(ValidationError):
        CurveLimits(stop=["spikes"])


def test_a_failure_is_told_once():
    """The run may go on, and the first failure of a check is the one that counts."""
    running = watch(stop="all")
    [first] = [f for f in running.update(point(1, 0.6, skipped=2)) if f.check == "curve.skipped_updates"]
    assert all(f.check != "curve.skipped_updates" for f in running.update(point(2, 0.5, skipped=9)))
    assert finding(running, "skipped_updates") == first


def test_an_epoch_costs_the_same_however_many_there_were():
    """Twenty epochs take the same number of calls at the start and after two thousand."""
    known = yardsticks(class_rows=(100, 100), class_validation_rows=(50, 50))
    running = watch(accepted=accepted_runs(), known=known, stop="none")
    last = point(
        1,
        0.3,
        classes=classes(a=0.3, b=0.3),
        sources=tuple(
            SourceStats(name=name, rows=50, loss=0.3, gradient_norm=1.0, cosines=(1.0, 0.5, 0.5))
            for name in "abc"
        ),
    )

    def calls(epochs: int) -> int:
        count = 0

        def note(_frame, event, _argument):
            nonlocal count
            count += event in {"call", "c_call"}

        sys.setprofile(note)
        try:
            for _ in range(epochs):
                running.update(last)
        finally:
            sys.setprofile(None)
        return count

    calls(100)
    early = calls(20)
    calls(2000)
    assert early > 1000
    assert calls(20) <= early * 1.1
    assert outcomes(running)["divergence"] == "passed"


NUMBERS = st.none() | st.floats(allow_nan=True, allow_infinity=True)
POINTS = st.builds(
    CurvePoint,
    epoch=st.integers(-3, 10**6),
    train_loss=NUMBERS,
    validation_loss=NUMBERS,
    accuracy=NUMBERS,
    gradient_norm=NUMBERS,
    max_gradient_norm=NUMBERS,
    learning_rate=st.floats(0, 1),
    skipped_updates=st.integers(0, 3),
    classes=st.lists(
        st.builds(ClassStats, name=st.sampled_from("ab"), train_loss=NUMBERS, validation_loss=NUMBERS),
        max_size=3,
    ),
    sources=st.lists(
        st.builds(
            SourceStats,
            name=st.sampled_from("abc"),
            rows=st.integers(0, 10**9),
            loss=NUMBERS,
            gradient_norm=NUMBERS,
            cosines=st.lists(NUMBERS, max_size=4),
        ),
        max_size=4,
    ),
)
YARDSTICKS = st.builds(
    yardsticks,
    trivial=NUMBERS,
    initial=NUMBERS,
    rows=st.integers(0, 100),
    updates=st.integers(0, 1000),
    class_rows=st.lists(st.integers(0, 1000), max_size=3),
    class_validation_rows=st.lists(st.integers(0, 1000), max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(
    points=st.lists(POINTS, max_size=12),
    known=YARDSTICKS,
    accepted=st.lists(st.lists(POINTS, max_size=4), max_size=6),
    finished=st.booleans(),
)
def test_no_curve_whatever_makes_the_watch_raise_and_every_answer_is_json(points, known, accepted, finished):
    """Numbers of any size, classes and sources that come and go, cosines that do not fit."""
    running = CurveWatch(CurveLimits(min_accepted_runs=2, stop="all"), known, accepted=accepted)
    for each in points:
        for failing in running.update(each):
            assert failing.outcome is Outcome.FAILED
    findings = running.findings(finished=finished)
    assert [f.check for f in findings] == [f"curve.{check}" for check in CHECKS]
    for each in findings:
        assert canonical_json(each.model_dump(mode="json"))
        assert each.id.startswith("finding-")


def test_evidence_is_json_even_where_numbers_are_not_finite():
    """Findings have content ids, and canonical JSON has no infinity."""
    running = watch()
    [failing, *_] = running.update(point(1, math.inf))
    assert failing.id.startswith("finding-")
    for each in running.findings():
        assert each.id.startswith("finding-")


def test_a_curve_survives_its_file(tmp_path):
    """Null stands for what was not finite; no timings, so the bytes are the same each time."""
    told = point(3, 0.4, classes=classes(a=0.1, b=None), max_gradient_norm=3.0)
    curve = [point(1, 0.5), point(2, None, 0.4, skipped=3), told]
    write_curve(tmp_path / "a", curve)
    write_curve(tmp_path / "b", curve)
    assert read_curve(tmp_path / "a") == curve
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", None])
def test_a_file_that_is_no_curve_is_refused(tmp_path, content):
    """Missing, truncated or nonsense."""
    path = tmp_path / "curve.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match="cannot be read"):
        read_curve(path)


def test_a_parquet_file_of_something_else_is_refused(tmp_path):
    """The columns are held against the curve's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"epoch": [1]}), tmp_path / "curve.parquet")
    with pytest.raises(RequestError, match="not a training curve"):
        read_curve(tmp_path / "curve.parquet")
