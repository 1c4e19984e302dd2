"""What became of admitted rows: rewritten, corrected in the open, lost, repeated, or back from the dead."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.screen import Corrections, ScreenError, ScreenReport, read_corrections, screen, value_digest
from assay.screen.encoding import Encoder
from assay.screen.hashing import mix, salt
from tests.screen import attacks


@pytest.fixture(scope="module")
def town() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, Contract]:
    """A batch that is the accepted snapshot come again, trusted rows, that snapshot, and the contract."""
    case = attacks.make_case(attacks.blobs(1500, 6), "clean", 0, 3, rows=600, trusted=200, history=True)
    assert case.previous is not None
    return case.batch, case.trusted, case.previous, case.contract


def held(report: ScreenReport) -> list[int]:
    return np.flatnonzero(np.array(report.rows["verdict"].to_pylist()) == "quarantine").tolist()


def found(report: ScreenReport, check: str) -> Finding:
    return next(f for f in report.findings if f.check == check)


def flip(batch: pd.DataFrame, row: int) -> tuple[str, str]:
    """Change a label in place; returns what it was and is."""
    old = str(batch.loc[row, "label"])
    new = "no" if old == "yes" else "yes"
    batch.loc[row, "label"] = new
    return old, new


def entry(
    batch: pd.DataFrame, row: int, old: Any, new: Any, column: str = "label", **more: Any
) -> dict[str, Any]:
    return {
        "key": {"id": int(batch.loc[row, "id"])},
        "column": column,
        "old": old,
        "new": new,
        "reason": "typing error",
        **more,
    }


def listed(contract: Contract, entries: list[dict[str, Any]], **how: Any) -> Corrections:
    data = json.dumps({"dataset": contract.dataset, "corrections": entries}).encode()
    return read_corrections(data, contract, **{"signed_by": "census", **how})


def test_a_listed_correction_is_no_rewritten_history(town: Any) -> None:
    """The listed change is told and admitted, the other one is quarantined, and the reason of each is there."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old, new = flip(batch, 10)
    flip(batch, 20)
    report = screen(
        batch,
        contract,
        trusted=trusted,
        previous=previous,
        corrections=[listed(contract, [entry(batch, 10, old, new)])],
    )
    assert 20 in held(report)
    assert not any("history" in reason for reason in report.rows["reasons"][10].as_py())
    told = found(report, "screen.history.corrected")
    assert told.outcome is Outcome.PASSED
    assert told.evidence["row_numbers"] == [10]
    assert told.evidence["reasons"] == ["typing error"]
    assert found(report, "screen.history").evidence["row_numbers"] == [20]
    assert found(report, "screen.history.corrections").outcome is Outcome.PASSED


def test_the_old_value_may_be_given_by_its_digest(town: Any) -> None:
    """A publisher need not repeat what was wrong."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old, new = flip(batch, 10)
    item = entry(batch, 10, old, new, old_sha256=value_digest(old, "string"))
    del item["old"]
    report = screen(
        batch, contract, trusted=trusted, previous=previous, corrections=[listed(contract, [item])]
    )
    assert found(report, "screen.history.corrected").evidence["row_numbers"] == [10]


@pytest.mark.parametrize(
    ("change", "check", "outcome"),
    [
        ({"old": "maybe"}, "screen.history.corrections", Outcome.FAILED),
        ({"new": "maybe"}, "screen.history.corrections", Outcome.FAILED),
        ({"column": "x00", "old": 1.0, "new": 2.0}, "screen.history.corrections", Outcome.PASSED),
        ({"key": {"id": 10**9}}, "screen.history.corrections", Outcome.PASSED),
    ],
    ids=["wrong old value", "wrong new value", "other column", "key not in the snapshot"],
)
def test_a_correction_that_does_not_match_gets_no_credit(
    town: Any, change: dict[str, Any], check: str, outcome: Outcome
) -> None:
    """The changed row stays quarantined as rewritten history."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old, new = flip(batch, 10)
    item = {**entry(batch, 10, old, new), **change}
    report = screen(
        batch, contract, trusted=trusted, previous=previous, corrections=[listed(contract, [item])]
    )
    assert 10 in held(report)
    assert not [f for f in report.findings if f.check == "screen.history.corrected"]
    assert found(report, check).outcome is outcome
    assert found(report, check).evidence["credited"] == 0


def test_an_unsigned_list_gets_no_credit(town: Any) -> None:
    """It is `not_checked`, and every change that it names counts as rewriting."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old, new = flip(batch, 10)
    given = listed(contract, [entry(batch, 10, old, new)], signed_by=None)
    report = screen(batch, contract, trusted=trusted, previous=previous, corrections=[given])
    assert 10 in held(report)
    assert found(report, "screen.history.corrections").outcome is Outcome.NOT_CHECKED


def test_a_list_that_corrects_too_much_gets_no_credit_at_all(town: Any) -> None:
    """At 1 % of the snapshot it is a correction list, at one row more a new history."""
    batch, trusted, previous, contract = town
    most = len(previous) // 100
    for count, credited in ((most, True), (most + 1, False)):
        changed = batch.copy()
        entries = [entry(changed, row, *flip(changed, row)) for row in range(count)]
        report = screen(
            changed, contract, trusted=trusted, previous=previous, corrections=[listed(contract, entries)]
        )
        assert (found(report, "screen.history").evidence["forbidden"] == 0) is credited
        assert (found(report, "screen.history.corrections").outcome is Outcome.PASSED) is credited


def test_many_small_lists_share_one_limit(town: Any) -> None:
    """Cutting a new history into lists of one row each does not help."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    lists = [listed(contract, [entry(batch, row, *flip(batch, row))], name=f"{row}.json") for row in range(9)]
    report = screen(batch, contract, trusted=trusted, previous=previous, corrections=lists)
    assert found(report, "screen.history").evidence["forbidden"] == 9


def test_a_list_speaks_only_for_the_rows_that_came_with_it(town: Any) -> None:
    """Another delivery's list does not excuse a change in this one."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old, new = flip(batch, 10)
    given = listed(contract, [entry(batch, 10, old, new)], first=0, last=10)
    report = screen(batch, contract, trusted=trusted, previous=previous, corrections=[given])
    assert 10 in held(report)


def test_a_source_corrects_only_its_own_rows(town: Any) -> None:
    """A row that another source delivered first is not this one's to correct."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old, new = flip(batch, 10)
    batch.loc[10, "src"] = "s1" if batch.loc[10, "src"] != "s1" else "s2"
    given = listed(contract, [entry(batch, 10, old, new)])
    report = screen(batch, contract, trusted=trusted, previous=previous, corrections=[given])
    assert 10 in held(report)


def test_a_correction_of_one_column_does_not_excuse_another(town: Any) -> None:
    """The row's other change is still rewriting."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old, new = flip(batch, 10)
    batch.loc[10, "x01"] += 3
    given = listed(contract, [entry(batch, 10, old, new)])
    report = screen(batch, contract, trusted=trusted, previous=previous, corrections=[given])
    assert 10 in held(report)
    assert found(report, "screen.history").evidence["forbidden"] == 1


def test_a_corrected_row_is_judged_like_a_new_one(town: Any) -> None:
    """A signature does not make a value plausible: garbage that is listed is quarantined as garbage."""
    batch, trusted, previous, contract = town
    batch = batch.copy()
    old = float(batch.loc[10, "x01"])
    batch.loc[10, "x01"] = 1e6
    given = listed(contract, [entry(batch, 10, old, 1e6, column="x01")])
    report = screen(batch, contract, trusted=trusted, previous=previous, corrections=[given])
    assert found(report, "screen.history.corrected").evidence["row_numbers"] == [10]
    assert 10 in held(report)
    assert any("x01 = 1e+06" in reason for reason in report.rows["reasons"][10].as_py())


WHOLE = {"key": {"id": 1}, "column": "x00", "old": 1.0, "new": 2.0, "reason": "x"}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"old": None, "old_sha256": "0" * 64}, "exactly one"),
        ({"column": "id"}, "'id' cannot be corrected"),
        ({"column": "src"}, "'src' cannot be corrected"),
        ({"column": "nothing"}, "'nothing' cannot be corrected"),
        ({"key": {"no": 1}}, "the key is id"),
        ({"key": {}}, "the key is id"),
        ({"old": "a"}, "not of type number"),
        ({"old": True}, "not of type number"),
        ({"old": float("nan")}, "NaN"),
        ({"reason": ""}, "reason"),
        ({"more": 1}, "more"),
    ],
)
def test_a_malformed_correction_is_refused_with_what_is_wrong(
    town: Any, item: dict[str, Any], said: str
) -> None:
    """One bad entry, and nothing of the list counts."""
    data = json.dumps({"dataset": "test", "corrections": [{**WHOLE, **item}]}).encode()
    with pytest.raises(ScreenError, match=said):
        read_corrections(data, town[3], signed_by="census")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[]", "should be"),
        (b'{"dataset": "test", "corrections": [], "corrections": []}', "twice"),
        (b'{"dataset": "other", "corrections": []}', "for the data set 'other'"),
        (b"\xff", "utf-8"),
        (b"[" * 100_000, "nested"),
    ],
)
def test_what_is_no_correction_list_is_refused(town: Any, text: bytes, said: str) -> None:
    """With what is wrong, and nothing of it counts."""
    with pytest.raises(ScreenError, match=said):
        read_corrections(text, town[3], signed_by="census")


def test_the_same_cell_twice_is_refused(town: Any) -> None:
    """One of the two would be the wrong one."""
    batch, _, _, contract = town
    with pytest.raises(ScreenError, match="twice"):
        listed(contract, [entry(batch, 1, "no", "yes"), entry(batch, 1, "yes", "no")])


def test_without_a_snapshot_corrections_are_not_checked(town: Any) -> None:
    """There is nothing to correct."""
    batch, trusted, _, contract = town
    report = screen(batch, contract, trusted=trusted, corrections=[Corrections(signed_by="census")])
    assert found(report, "screen.history.corrections").outcome is Outcome.NOT_CHECKED


def test_vanished_keys_of_one_class_fail_even_when_they_are_few(town: Any) -> None:
    """Deleting rows of one class shifts a model as surely as adding some: 5 of 600 rows, chosen."""
    batch, trusted, previous, contract = town
    random = batch.drop(index=batch.sample(5, random_state=4).index)
    rare = previous.copy()
    chosen = batch.index[:15]
    rare.loc[rare["id"].isin(batch.loc[chosen, "id"]), "label"] = "no"
    rare.loc[~rare["id"].isin(batch.loc[chosen, "id"]), "label"] = "yes"
    report = screen(random, contract, trusted=trusted, previous=previous)
    assert found(report, "screen.history.vanished").outcome is Outcome.PASSED
    gone = screen(batch.drop(index=chosen[:5]), contract, trusted=trusted, previous=rare)
    loss = found(gone, "screen.history.vanished")
    assert loss.outcome is Outcome.FAILED
    assert loss.evidence["class"] == "no"
    assert len(loss.evidence["examples"]) == 5
    assert loss.technique == "AML.T0020"


def test_of_two_rows_under_one_key_the_one_that_contradicts_history_is_the_impostor(town: Any) -> None:
    """The accepted row beside it is left alone."""
    batch, trusted, previous, contract = town
    double = batch.iloc[[40]].copy()
    double["label"] = "no" if double["label"].iloc[0] == "yes" else "yes"
    both = pd.concat([batch, double], ignore_index=True)
    report = screen(both, contract, trusted=trusted, previous=previous)
    assert held(report) == [600]
    assert any("impostor" in reason for reason in report.rows["reasons"][600].as_py())
    assert found(report, "screen.history.repeated_keys").evidence["row_numbers"] == [600]


def test_conflicting_new_keys_are_told_and_rank_high(town: Any) -> None:
    """Nobody can say which of the two is right: both lead the ranking, and the finding names them."""
    batch, trusted, _, contract = town
    double = batch.iloc[[40]].copy()
    double["x00"] += 0.5
    both = pd.concat([batch, double], ignore_index=True)
    report = screen(both, contract, trusted=trusted)
    told = found(report, "screen.history.repeated_keys")
    assert (told.outcome, told.evidence["row_numbers"]) == (Outcome.FAILED, [40, 600])
    assert set(np.argsort(-report.rows["score"].to_numpy())[:2]) == {40, 600}


def test_a_row_sent_twice_unchanged_is_no_conflict(town: Any) -> None:
    """It is told as a repetition, and neither copy is accused of contradiction."""
    batch, trusted, _, contract = town
    report = screen(pd.concat([batch, batch.iloc[[40]]]), contract, trusted=trusted)
    told = found(report, "screen.history.repeated_keys")
    assert (told.evidence["repeated"], told.evidence["conflicting_keys"]) == (1, 0)


def test_a_rejected_row_that_comes_back_is_quarantined(town: Any) -> None:
    """The very row; another content under its key is told and ranks high."""
    batch, trusted, _, contract = town
    rejected = batch.iloc[[5, 9]].copy()
    rejected.loc[9, "x00"] += 1
    report = screen(batch, contract, trusted=trusted, rejected=rejected)
    assert held(report) == [5]
    told = found(report, "screen.history.resurrected")
    assert (told.outcome, told.evidence["row_numbers"], told.evidence["returned"]) == (Outcome.FAILED, [5], 1)
    assert set(np.argsort(-report.rows["score"].to_numpy())[:2]) == {5, 9}


def test_rejected_rows_that_stay_away_are_no_finding_to_worry_about(town: Any) -> None:
    """Passed, with how many were compared."""
    batch, trusted, _, contract = town
    rejected = batch.iloc[:20].assign(id=range(2_000_000, 2_000_020))
    report = screen(batch, contract, trusted=trusted, rejected=rejected)
    assert found(report, "screen.history.resurrected").outcome is Outcome.PASSED
    assert held(report) == []


def unmix(values: np.ndarray) -> np.ndarray:
    """The inverse of splitmix64's finaliser, which is no secret."""
    with np.errstate(over="ignore"):
        z = values.copy()
        z = z ^ (z >> np.uint64(31)) ^ (z >> np.uint64(62))
        z = z * np.uint64(pow(0x94D049BB133111EB, -1, 2**64))
        z = z ^ (z >> np.uint64(27)) ^ (z >> np.uint64(54))
        z = z * np.uint64(pow(0xBF58476D1CE4E5B9, -1, 2**64))
        z = z ^ (z >> np.uint64(30)) ^ (z >> np.uint64(60))
        return z - np.uint64(0x9E3779B97F4A7C15)


def test_a_forged_row_hash_does_not_pass_for_accepted_history(town: Any) -> None:
    """A flipped label whose row sums to the accepted row's hash, by choice of one number, is still a change."""
    batch, trusted, previous, contract = town
    encoder, rows = Encoder(contract), attacks.to_table(batch).slice(10, 1)
    columns = list(contract.schema_.columns)
    (old,) = rows.select(columns).to_batches()
    goal = encoder.hashes(old)["admitted"]
    flipped = "no" if batch.loc[10, "label"] == "yes" else "yes"
    tries = pa.table(
        {name: rows[name].combine_chunks().take(pa.array(np.zeros(1 << 16, int))) for name in columns}
    )
    tries = tries.set_column(columns.index("label"), "label", pa.array([flipped] * len(tries)))
    near = batch.loc[10, "x01"] + np.arange(len(tries)) * 1e-7
    tries = tries.set_column(columns.index("x01"), "x01", pa.array(near))
    (many,) = tries.select(columns).combine_chunks().to_batches()
    with np.errstate(over="ignore", invalid="ignore"):
        own = mix(encoder.cells(many, "x00") + salt("row:x00"))
        rest = encoder.hashes(many)["admitted"] - own
        wanted = (unmix(unmix(goal - rest) - salt("row:x00")) ^ salt("x00")).view(np.float64)
        fits = int(np.argmin(np.where(np.abs(wanted) < 1e9, np.abs(wanted - 1.0), np.inf)))
    assert abs(wanted[fits]) < 3, "a plausible value is found in a moment"
    forged = batch.copy()
    forged.loc[10, ["label", "x00", "x01"]] = [flipped, wanted[fits], near[fits]]
    (new,) = attacks.to_table(forged).slice(10, 1).select(columns).to_batches()
    assert encoder.hashes(new)["admitted"] == goal
    report = screen(forged, contract, trusted=trusted, previous=previous)
    assert 10 in held(report)
    assert found(report, "screen.history").evidence["row_numbers"] == [10]
