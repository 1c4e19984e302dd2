"""What a finished training shows of its rows: real networks, trained on clean and on poisoned rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from assay.findings import Finding, Outcome, Scope
from assay.screen import RunRecord, ScreenReport, ScreenUsageError, screen_run
from assay.screen.errors import NotApplicable
from assay.screen.signals.training import follow_losses
from tests.screen import attacks

EPOCHS = 12


def train(case: attacks.Case, seed: int = 0) -> RunRecord:
    """A small network's loss of every row after every epoch, and its penultimate layer."""
    features = [name for name in case.batch.columns if name not in ("id", "src", "label")]
    scale = StandardScaler().fit(case.batch[features])
    batch, trusted = scale.transform(case.batch[features]), scale.transform(case.trusted[features])
    labels = case.batch["label"].to_numpy()
    classes = np.unique(labels)
    model = MLPClassifier((64, 32), learning_rate_init=1e-3, batch_size=32, random_state=seed)
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(EPOCHS):
            model.partial_fit(batch, labels, classes=classes)
            own = model.predict_proba(batch)[np.arange(len(batch)), np.searchsorted(classes, labels)]
            losses.append(-np.log(np.maximum(own, 1e-9)))

    def inside(x: np.ndarray) -> np.ndarray:
        for weights, bias in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
            x = np.maximum(x @ weights + bias, 0)
        return x.astype(np.float32)

    return RunRecord("run-1", np.array(losses, dtype=np.float32).T, inside(batch), inside(trusted))


def held(report: ScreenReport) -> np.ndarray:
    return np.array(report.rows["verdict"].to_pylist()) == "quarantine"


def failed(report: ScreenReport, check: str) -> list[Finding]:
    return [f for f in report.findings if f.check == check and f.outcome is Outcome.FAILED]


def made(attack: str, rate: float, seed: int) -> attacks.Case:
    return attacks.make_case(attacks.blobs(3200, 10), attack, rate, seed, rows=2000, trusted=400)


@pytest.fixture(scope="module")
def backdoor() -> tuple[attacks.Case, RunRecord, ScreenReport]:
    case = attacks.make_case(attacks.blobs(5000, 12), "fixed", 0.05, 4, rows=3000, trusted=500)
    record = train(case)
    return case, record, screen_run(case.batch, case.contract, record, trusted=case.trusted)


def test_a_backdoor_that_was_learnt_stands_apart_on_the_penultimate_layer(backdoor: Any) -> None:
    """Most of its rows lie out along one direction or in one cluster; the finding lists them."""
    case, _, report = backdoor
    found = failed(report, "screen.activations") + failed(report, "screen.spectral")
    assert found
    assert found[0].scope is Scope.GROUP
    assert found[0].technique == "AML.T0018"
    assert set(found[0].evidence["row_numbers"]) <= set(np.flatnonzero(held(report)).tolist())
    assert held(report)[case.poisoned].mean() > 0.8
    assert held(report)[~case.poisoned].mean() <= 0.01
    row = int(np.flatnonzero(held(report) & case.poisoned)[0])
    assert any("penultimate layer" in reason for reason in report.rows["reasons"][row].as_py())
    assert report.tier == "run run-1+trusted"


def test_a_flood_is_a_cluster_that_trusted_rows_do_not_visit() -> None:
    """Copies of one row under another label: the finding names the class, and how many trusted rows stand there."""
    case = made("flood", 0.06, 4)
    report = screen_run(case.batch, case.contract, train(case), trusted=case.trusted)
    found = failed(report, "screen.activations")
    assert found
    assert (
        found[0].evidence["trusted_inside"]
        <= 0.2 * found[0].evidence["share"] * found[0].evidence["trusted_rows"]
    )
    assert held(report)[case.poisoned].mean() > 0.9
    assert held(report)[~case.poisoned].mean() <= 0.02


def test_wrong_labels_rank_high_by_how_they_were_learnt() -> None:
    """The mean loss over the run leads to flipped labels, in a data set where features tell the class."""
    frame = attacks.blobs(3200, 10)
    frame.loc[frame["label"] == "yes", frame.columns[:-1]] += 1.0
    case = attacks.make_case(frame, "random_flip", 0.04, 4, rows=2000, trusted=400)
    record = train(case)
    report = screen_run(
        case.batch, case.contract, RunRecord("run-1", record.losses, why={"activations": "no model"})
    )
    assert attacks.recall_at(report.rows["score"].to_numpy(), case.poisoned, 0.01) > 0.9
    assert not held(report).any(), "losses rank, and decide nothing"
    silent = {f.check: f.message for f in report.findings if f.outcome is Outcome.NOT_CHECKED}
    assert silent == {
        "screen.activations": "not checked: no model",
        "screen.spectral": "not checked: no model",
    }


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_a_run_on_clean_rows_comes_out_clean(seed: int) -> None:
    """Training rows were seen by the model and trusted rows were not, and that alone accuses nobody."""
    case = made("clean", 0, seed)
    report = screen_run(case.batch, case.contract, train(case, seed), trusted=case.trusted)
    assert [f.check for f in report.findings if f.outcome is Outcome.FAILED] == []
    assert not held(report).any()


def test_a_record_without_anything_is_not_checked() -> None:
    """Neither losses nor model: no signal ran, and the outcome says so."""
    case = made("clean", 0, 5)
    report = screen_run(case.batch, case.contract, RunRecord("run-1"), trusted=case.trusted)
    assert report.outcome is Outcome.NOT_CHECKED
    assert {f.check for f in report.findings} == {"screen.losses", "screen.activations", "screen.spectral"}


def test_without_trusted_rows_activations_are_not_checked(backdoor: Any) -> None:
    """There is nothing that says what is normal."""
    case, record, _ = backdoor
    alone = RunRecord("run-1", record.losses, record.activations)
    report = screen_run(case.batch, case.contract, alone)
    checks = {f.check: f.outcome for f in report.findings}
    assert checks["screen.activations"] is Outcome.NOT_CHECKED
    assert not held(report).any()


def test_a_record_of_other_rows_is_refused(backdoor: Any) -> None:
    """One row too many."""
    case, record, _ = backdoor
    with pytest.raises(ScreenUsageError, match="losses"):
        screen_run(case.batch.iloc[1:], case.contract, record, trusted=case.trusted)
    with pytest.raises(ScreenUsageError, match="trusted_activations"):
        screen_run(case.batch, case.contract, record, trusted=case.trusted.iloc[1:])


def test_activations_that_are_not_finite_are_not_checked(backdoor: Any) -> None:
    """A diverged network says nothing."""
    case, record, _ = backdoor
    assert record.activations is not None
    broken = record.activations.copy()
    broken[3, 0] = np.nan
    report = screen_run(
        case.batch,
        case.contract,
        RunRecord("run-1", None, broken, record.trusted_activations),
        trusted=case.trusted,
    )
    assert {f.outcome for f in report.findings} == {Outcome.NOT_CHECKED}


def test_the_same_record_gives_the_same_report(backdoor: Any) -> None:
    """Byte for byte."""
    case, record, report = backdoor
    again = screen_run(case.batch, case.contract, record, trusted=case.trusted)
    assert again.rows.equals(report.rows)
    assert [f.id for f in again.findings] == [f.id for f in report.findings]


def test_a_table_without_a_label_is_compared_as_a_whole(backdoor: Any) -> None:
    """All rows are one class then."""
    case, record, _ = backdoor
    frames = [frame.drop(columns="label") for frame in (case.batch, case.trusted)]
    contract = attacks.contract_for(pd.DataFrame(frames[0]))
    report = screen_run(frames[0], contract, record, trusted=frames[1])
    assert {f.check for f in report.findings} >= {"screen.losses", "screen.spectral", "screen.activations"}


def test_forgetting_and_gaps_in_losses_are_counted() -> None:
    """Learnt, forgotten and learnt again is once forgotten; an epoch without the row is no change; one loss is none."""
    nan = np.nan
    losses = np.array(
        [[2, 0.1, 2, 0.1], [2, 0.1, nan, 0.1], [nan, nan, nan, nan], [3, 3, 3, 3]], dtype=np.float32
    )
    found = follow_losses(losses, np.zeros(4, dtype=np.int64))
    assert found.forgotten.tolist() == [1, 0, 0, 0]
    assert found.p_value.tolist() == [0.5, 0.75, 1.0, 0.25]
    with pytest.raises(NotApplicable):
        follow_losses(losses[:, :1], np.zeros(4, dtype=np.int64))
