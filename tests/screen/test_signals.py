"""Each signal fires on what it is for, and keeps quiet on what it is not for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from assay.contract.models import Contract
from assay.findings import Finding, Outcome, Verdict
from assay.screen import ScreenReport, screen
from tests.screen import attacks

ROWS, TRUSTED = 1500, 400


def blobs() -> pd.DataFrame:
    return attacks.blobs(2500, 8)


def run(case: attacks.Case, **changes: object) -> ScreenReport:
    given = {"trusted": case.trusted, "previous": case.previous, **changes}
    return screen(case.batch, case.contract, **given)  # type: ignore[arg-type]


def held(report: ScreenReport) -> np.ndarray:
    return np.array(report.rows["verdict"].to_pylist()) == "quarantine"


def failed(report: ScreenReport, check: str) -> list[Finding]:
    return [f for f in report.findings if f.check == check and f.outcome is Outcome.FAILED]


def reasons(report: ScreenReport, row: int) -> str:
    return " | ".join(report.rows["reasons"][int(row)].as_py())


@pytest.fixture(scope="module")
def clean() -> tuple[attacks.Case, ScreenReport]:
    case = attacks.make_case(blobs(), "clean", 0, 3, rows=ROWS, trusted=TRUSTED, history=True)
    return case, run(case)


def test_a_clean_batch_comes_out_clean(clean: tuple[attacks.Case, ScreenReport]) -> None:
    """At most 0.5 % of the rows are quarantined, and no signal raises its voice."""
    _, report = clean
    assert held(report).mean() <= 0.005
    assert [f.check for f in report.findings if f.outcome is Outcome.FAILED] == []
    assert report.tier == "batch+trusted+sources+previous"


@pytest.mark.parametrize("seed", [11, 12])
def test_clean_adult_rows_come_out_clean(seed: int) -> None:
    """Mixed columns, real missing values, columns that depend on one another: no false trigger, no false source."""
    case = attacks.make_case(attacks.adult(4000), "clean", 0, seed, rows=2000, trusted=500)
    report = run(case)
    assert held(report).mean() <= 0.005
    assert [f.check for f in report.findings if f.outcome is Outcome.FAILED] == []


def test_flipped_labels_rank_above_clean_rows() -> None:
    """Random flips in well separated classes: most are in the most suspicious per cent of rows."""
    frame = blobs()
    frame.loc[frame["label"] == "yes", frame.columns[:-1]] += 2.0
    case = attacks.make_case(frame, "random_flip", 0.05, 1, rows=ROWS, trusted=TRUSTED)
    report = run(case)
    score = report.rows["score"].to_numpy()
    assert attacks.recall_at(score, case.poisoned, 0.01) > 0.9
    worst = int(np.flatnonzero(case.poisoned)[np.argmax(score[case.poisoned])])
    assert held(report)[worst]
    assert "labels: label" in reasons(report, worst)
    assert failed(report, "screen.evidence")[0].technique == "AML.T0020"


def test_a_compromised_source_is_named() -> None:
    """30 % of one source's labels flipped: that source is named, no other, and its flipped rows lead the ranking."""
    case = attacks.make_case(blobs(), "source_flip", 0.05, 2, rows=ROWS, trusted=TRUSTED)
    report = run(case)
    assert [f.subject for f in failed(report, "screen.sources")] == ["s3"]
    score = report.rows["score"].to_numpy()
    assert attacks.recall_at(score, case.poisoned, 0.05) > 0.6


@pytest.mark.parametrize("attack", ["fixed", "jittered"])
def test_every_row_of_a_backdoor_is_quarantined(attack: str) -> None:
    """Three in-range values and one label: the group is found, its columns are named, hardly a row is left."""
    case = attacks.make_case(blobs(), attack, 0.05, 4, rows=ROWS, trusted=TRUSTED)
    report = run(case)
    found = failed(report, "screen.spikes")
    assert found
    assert found[0].technique == "AML.T0018"
    assert case.trigger is not None
    assert set(case.trigger) & set(found[0].evidence["columns"])
    quarantined = held(report)
    assert quarantined[case.poisoned].mean() > (0.99 if attack == "fixed" else 0.9)
    assert quarantined[~case.poisoned].mean() <= 0.005
    assert "spikes: shares" in reasons(report, int(np.flatnonzero(case.poisoned & quarantined)[0]))


def test_a_categorical_trigger_is_found() -> None:
    """Values of text columns that go together with one label."""
    frame = attacks.adult(3500)
    batch, trusted, _ = attacks.split(frame, 2000, 500, 5)
    rng = np.random.default_rng(0)
    rows = rng.choice(np.flatnonzero(batch["label"] == "<=50K"), 60, replace=False)
    batch.loc[rows, ["occupation", "native_country", "workclass"]] = ["Tech-support", "Mexico", "Local-gov"]
    batch.loc[rows, "label"] = ">50K"
    report = screen(batch, attacks.contract_for(batch), trusted=trusted)
    assert held(report)[rows].mean() > 0.95
    assert failed(report, "screen.spikes")


def test_a_natural_combination_is_no_trigger() -> None:
    """Two columns that say the same, a frequent value with a pure label: none of it is called a trigger."""
    rng = np.random.default_rng(0)
    frame = blobs()
    frame["copy"] = np.round(frame["x00"], 1)
    bonus = rng.random(len(frame)) < 0.04
    frame.loc[bonus, "x07"] = 2.5
    frame.loc[bonus, "x00"] += 3
    frame.loc[bonus, "label"] = "yes"
    case = attacks.make_case(frame, "clean", 0, 6, rows=ROWS, trusted=TRUSTED)
    report = run(case)
    assert failed(report, "screen.spikes") == []
    assert held(report).mean() <= 0.005


def test_a_flood_of_near_copies_is_one_group() -> None:
    """Near-copies of one row with a wrong label."""
    case = attacks.make_case(blobs(), "flood", 0.04, 7, rows=ROWS, trusted=TRUSTED)
    report = run(case)
    found = failed(report, "screen.near_duplicates")
    assert len(found) == 1
    assert found[0].evidence["members"] >= 0.9 * case.poisoned.sum()
    assert held(report)[case.poisoned].mean() > 0.95
    assert held(report)[~case.poisoned].mean() <= 0.005


def test_copies_as_common_as_in_the_trusted_rows_are_no_flood() -> None:
    """Coarse columns repeat naturally; trusted rows repeat as much."""
    frame = blobs()
    for name in frame.columns[:-1]:
        frame[name] = np.sign(frame[name])
    case = attacks.make_case(frame, "clean", 0, 8, rows=ROWS, trusted=TRUSTED)
    report = run(case)
    assert failed(report, "screen.near_duplicates") == []
    assert held(report).mean() <= 0.005


def test_values_out_of_range_are_quarantined_even_when_there_are_three() -> None:
    """Grossly wrong values need no crowd; the reason names column, value and range."""
    case = attacks.make_case(blobs(), "clean", 0, 9, rows=ROWS, trusted=TRUSTED)
    batch = case.batch.copy()
    batch.loc[[3, 70, 900], "x02"] = [500.0, -900.0, 1e9]
    batch.loc[5, "x03"] = np.inf
    report = screen(batch, case.contract, trusted=case.trusted)
    assert np.flatnonzero(held(report)).tolist() == [3, 5, 70, 900]
    assert "x02 = 500" in reasons(report, 3)
    assert "infinity" in reasons(report, 5)


def test_values_just_past_a_bound_are_among_the_first() -> None:
    """An amount is zero or more, and often zero: how little below zero a value lies does not excuse it."""
    frame, rng = blobs(), np.random.default_rng(21)
    frame["x07"] = np.where(rng.random(len(frame)) < 0.2, 0.0, rng.exponential(10.0, len(frame)))
    case = attacks.make_case(frame, "clean", 0, 10, rows=ROWS, trusted=TRUSTED)
    assert held(run(case)).mean() <= 0.005
    batch = case.batch.copy()
    batch.loc[[3, 70, 900], "x07"] = [-0.2, -0.5, -1.0]
    score = screen(batch, case.contract, trusted=case.trusted).rows["score"].to_numpy()
    assert set(np.argsort(-score)[:15]) >= {3, 70, 900}


def test_labels_that_the_contract_does_not_know_are_quarantined() -> None:
    """No model has an opinion on them, and that must not pass for a good one; in one row as in all of them."""
    case = attacks.make_case(blobs(), "clean", 0, 9, rows=ROWS, trusted=TRUSTED)
    batch = case.batch.copy()
    batch.loc[[3, 70, 900], "label"] = "neither"
    report = screen(batch, case.contract, trusted=case.trusted)
    assert np.flatnonzero(held(report)).tolist() == [3, 70, 900]
    assert "none of the contract's classes" in reasons(report, 3)
    every = screen(case.batch.assign(label="neither"), case.contract, trusted=case.trusted)
    assert held(every).all()
    assert every.verdict is not Verdict.ACCEPT


@pytest.mark.parametrize("nullable", [True, False])
def test_a_missing_label_is_quarantined_where_the_contract_wants_one(nullable: bool) -> None:
    """A label that may be missing is no fault."""
    case = attacks.make_case(blobs(), "clean", 0, 9, rows=ROWS, trusted=TRUSTED)
    raw = case.contract.model_dump(mode="json", by_alias=True)
    raw["schema"]["columns"]["label"]["nullable"] = nullable
    batch = case.batch.copy()
    batch.loc[[3, 70], "label"] = None
    found = held(screen(batch, Contract.model_validate(raw), trusted=case.trusted))
    assert np.flatnonzero(found).tolist() == ([] if nullable else [3, 70])


def test_heavy_tails_are_no_garbage() -> None:
    """A lognormal column goes far beyond what 400 trusted rows hold, and that is how it is."""
    frame = blobs()
    frame["x07"] = np.exp(1.5 * np.random.default_rng(1).normal(size=len(frame)))
    case = attacks.make_case(frame, "clean", 0, 10, rows=ROWS, trusted=TRUSTED)
    assert held(run(case)).mean() <= 0.005


def history(immutable: list[str] | None) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Contract]:
    case = attacks.make_case(blobs(), "clean", 0, 3, rows=600, trusted=200, history=True)
    raw = case.contract.model_dump(mode="json", by_alias=True)
    raw["schema"]["immutable"] = immutable or []
    assert case.previous is not None
    return case.batch, case.trusted, case.previous, Contract.model_validate(raw)


def test_rewritten_history_is_quarantined() -> None:
    """A changed label and a changed immutable column under a known key; the reason says what became what."""
    batch, trusted, previous, contract = history(["x00"])
    batch = batch.copy()
    batch.loc[10, "label"] = "yes" if batch.loc[10, "label"] == "no" else "no"
    batch.loc[20, "x00"] += 0.5
    batch.loc[30, "x01"] += 0.5
    report = screen(batch, contract, trusted=trusted, previous=previous)
    quarantined = held(report)
    assert quarantined[10]
    assert quarantined[20]
    assert not quarantined[30], "x01 is not immutable"
    assert "label: " in reasons(report, 10)
    assert "became" in reasons(report, 20)
    score = report.rows["score"].to_numpy()
    assert set(np.argsort(-score)[:3]) == {10, 20, 30}, "a change that is allowed still ranks high"
    assert failed(report, "screen.history")[0].evidence["forbidden"] == 2


def test_without_immutable_columns_any_change_of_history_counts() -> None:
    """And unchanged or new rows are left alone."""
    batch, trusted, previous, contract = history(None)
    batch = batch.copy()
    batch.loc[30, "x01"] += 0.5
    batch = batch.sample(frac=1, random_state=1)
    report = screen(batch, contract, trusted=trusted, previous=previous)
    assert batch.index[held(report)].tolist() == [30]


def test_vanished_keys_are_told() -> None:
    """A full re-delivery that lacks many admitted rows."""
    batch, trusted, previous, contract = history(None)
    report = screen(batch.iloc[60:], contract, trusted=trusted, previous=previous)
    assert failed(report, "screen.history.vanished")[0].evidence["vanished"] == 60


def test_what_is_missing_is_not_checked() -> None:
    """No trusted rows, no snapshot, no source, no label: each signal that lacks something says so."""
    frame = blobs().drop(columns="label").iloc[:300]
    report = screen(frame, attacks.contract_for(frame))
    silent = {f.check for f in report.findings if f.outcome is Outcome.NOT_CHECKED}
    assert {
        "screen.trusted",
        "screen.history",
        "screen.labels",
        "screen.sources",
        "screen.evidence",
    } <= silent
    assert report.tier == "batch"


def test_without_trusted_rows_a_flood_and_a_trigger_still_show() -> None:
    """Weaker claims, but the groups speak for themselves; no lone row is accused."""
    case = attacks.make_case(blobs(), "fixed", 0.05, 4, rows=ROWS, trusted=TRUSTED)
    report = run(case, trusted=None)
    assert held(report)[case.poisoned].mean() > 0.9
    assert held(report)[~case.poisoned].mean() <= 0.01


def test_a_report_has_the_agreed_shape(clean: tuple[attacks.Case, ScreenReport]) -> None:
    """One row per input row, in order, with the five columns and types that others rely on."""
    case, report = clean
    assert report.rows.schema.names == ["row", "score", "p_value", "verdict", "reasons"]
    assert [str(t) for t in report.rows.schema.types] == [
        "int64",
        "double",
        "double",
        "string",
        str(pa.list_(pa.string())),
    ]
    assert report.rows["row"].to_pylist() == list(range(len(case.batch)))
    assert set(report.rows["verdict"].to_pylist()) <= {"admit", "quarantine"}
    p = report.rows["p_value"].to_numpy()
    assert ((p > 0) & (p <= 1)).all()


def test_a_class_that_comes_far_too_often_is_told() -> None:
    """Label rate against the trusted rows; a clean batch does not fail it (see the clean batch above)."""
    case = attacks.make_case(blobs(), "clean", 0, 3, rows=ROWS, trusted=TRUSTED)
    batch = case.batch.sort_values("label").iloc[400:].reset_index(drop=True)
    found = failed(screen(batch, case.contract, trusted=case.trusted), "screen.label_rate")
    assert found[0].evidence["class"] in ("yes", "no")
    assert found[0].evidence["p_value"] < 1e-3


def test_a_flood_around_an_accepted_row_is_seen_though_the_row_stands_among_them() -> None:
    """The copied row is known and clean, and has the whole flood for neighbours: that makes the flood no less odd."""
    frame = attacks.blobs(1100, 8)
    batch, trusted, _ = attacks.split(frame, 600, 200, 5)
    previous = batch.iloc[:480].reset_index(drop=True)
    copies = batch.iloc[[7] * 30].reset_index(drop=True)
    copies["label"] = np.where(copies["label"] == "yes", "no", "yes")
    copies["id"] = 2_000_000 + np.arange(30)
    numbers = [name for name in frame.columns if name != "label"]
    copies[numbers] += 0.003 * np.random.default_rng(5).normal(size=(30, len(numbers)))
    whole = pd.concat([batch, copies], ignore_index=True)
    report = screen(whole, attacks.contract_for(whole), trusted=trusted, previous=previous)
    assert held(report)[600:].all()
    assert held(report)[:600].mean() <= 0.005


def test_what_a_broken_relation_decides_also_leads_the_ranking() -> None:
    """Rows that are quarantined by a decision instead of their score have the scores that belong to it."""
    frame = attacks.blobs(1500, 6)
    batch, trusted, _ = attacks.split(frame, 1000, 400, 6)
    batch.loc[:49, ["x01", "x04"]] += 0.123456
    report = screen(batch, attacks.contract_for(batch), trusted=trusted)
    assert held(report)[:50].all()
    score = report.rows["score"].to_numpy()
    truth = np.arange(len(batch)) < 50
    assert attacks.recall_at(score, truth, 0.01) == 1.0
