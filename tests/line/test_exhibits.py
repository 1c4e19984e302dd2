"""What is counted for reviewers at screening time: whole, bounded, and the same however the batch was cut."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.contract import load_contract
from assay.findings import Finding, Outcome, Scope, Severity
from assay.line import inspect, screen
from assay.line.exhibits import Screened, columns_in, make_exhibits, pack_rows, unpack_rows
from assay.quarantine import list_cases, show_case
from assay.screen import ScreenReport
from assay.screen.report import REPORT_SCHEMA


@pytest.mark.parametrize("members", [[], [0], [5, 9, 4_000], list(range(0, 5_000, 2)), list(range(5_000))])
def test_row_numbers_survive_their_packing(members):
    """Few rows as a list, many as bits."""
    rows = np.array(members, dtype=np.int64)
    every = np.arange(5_000, dtype=np.int64)
    packed = pack_rows(rows, every)
    assert unpack_rows(packed).tolist() == members
    assert len(json.dumps(packed)) < 1_000


def test_columns_are_found_in_texts_as_whole_words_and_the_longest_first():
    """`age` is not found in `wage`, and `education_num` is not `education`."""
    found = columns_in(
        ["age = 37 and education_num in 3..4", "wage is odd", "x[1] is new"],
        ["age", "education", "education_num", "x[1]"],
    )
    assert found == {"age": 1, "education_num": 1, "x[1]": 1}


def a_report(rows: int, bad: np.ndarray, findings=(), **more) -> ScreenReport:
    p_values = np.linspace(0.001, 1, rows)
    p_values[bad] = 1e-9
    verdict = ["quarantine" if row in set(bad.tolist()) else "admit" for row in range(rows)]
    table = pa.table(
        [
            pa.array(np.arange(rows)),
            pa.array(-np.log10(p_values)),
            pa.array(p_values),
            pa.array(verdict),
            pa.array(
                [["labels: odd age (p = 1e-9)"] if v == "quarantine" else [] for v in verdict],
                pa.list_(pa.string()),
            ),
        ],
        schema=REPORT_SCHEMA,
    )
    return ScreenReport(table, list(findings), "batch", len(bad), 0.1, **more)


@pytest.fixture
def screened(town, tmp_path):
    """1,000 rows with 10 bad ones in the middle of a batch of 1,500."""
    rows = pa.concat_tables(
        [town.rounds.first["west"], town.rounds.first["east"], town.rounds.first["north"]]
    ).slice(0, 1500)
    path = tmp_path / "batch.parquet"
    with pq.ParquetWriter(path, rows.schema) as writer:
        for start in range(0, 1500, 400):
            writer.write_table(rows.slice(start, 400))
    bad = np.arange(300, 310)
    held = rows.slice(250, 1000).take(bad).append_column("_row", pa.array(bad))
    reasons = pa.array([["labels: odd age (p = 1e-9)"]] * 10, pa.list_(pa.string()))
    held = held.append_column("_reasons", reasons)
    numbers = np.arange(1000, dtype=np.int64)
    return rows, Screened(path, 250, numbers, {"west": (1500, 10)}, held, None)


def test_a_delivery_in_the_middle_of_a_batch_is_counted_alone(town, screened):
    """The rows of other deliveries in the same batch, before and behind, are left out."""
    rows, mine = screened
    contract = load_contract(town.stage.contract)
    said = json.loads(make_exhibits(mine, contract, a_report(1500, np.arange(550, 560)), None))
    ages = next(each for each in said["columns"] if each["name"] == "age")
    counted = np.histogram(rows.slice(250, 1000)["age"].to_numpy(), ages["edges"])[0]
    assert ages["batch"]["counts"] == counted.tolist()
    assert said["rows"] == sum(said["score"]["all"]) == 1000
    assert [each["name"] for each in said["columns"]][:2] == ["income", "age"]
    assert ages["trusted"] is None


def test_the_same_screening_makes_the_same_bytes_however_the_batch_is_cut(town, screened, tmp_path):
    """Row groups are no content."""
    rows, mine = screened
    contract = load_contract(town.stage.contract)
    other = tmp_path / "other.parquet"
    pq.write_table(rows, other, row_group_size=77)
    report = a_report(1500, np.arange(550, 560))
    again = Screened(other, mine.first, mine.numbers, mine.sources, mine.held, None)
    assert make_exhibits(mine, contract, report, None) == make_exhibits(again, contract, report, None)


def test_the_members_of_a_group_are_numbered_within_their_delivery(town, screened):
    """A group of the batch that has rows of several deliveries is cut to this one's."""
    _, mine = screened
    contract = load_contract(town.stage.contract)
    found = Finding(
        check="screen.spikes",
        outcome=Outcome.FAILED,
        severity=Severity.HIGH,
        scope=Scope.GROUP,
        subject="trigger 1",
        evidence={"columns": ["age"]},
    )
    groups = {("screen.spikes", "trigger 1"): np.array([3, 551, 553, 1400])}
    report = a_report(1500, np.arange(550, 560), [found], groups=groups)
    said = json.loads(make_exhibits(mine, contract, report, None))
    (group,) = said["groups"]
    assert unpack_rows(group["members"]).tolist() == [301, 303]
    assert [each["name"] for each in group["columns"]] == ["age"]


def test_a_line_with_nothing_suspicious_keeps_no_exhibits(settled_town):
    """The clean round's deliveries have no case that would need them."""
    with settled_town.line() as line:
        for case in list_cases(line.database):
            assert ("exhibits" in case.evidence) == bool(case.rows or case.kind == "delivery")


def test_verdicts_stand_when_the_plots_cannot_be_made(settled_town, monkeypatch):
    """The cases are opened all the same, and say that there are no plots and why."""

    def broken(*_):
        raise ValueError("no such luck")

    monkeypatch.setattr(inspect, "make_exhibits", broken)
    from assay.line import validate

    deliveries = settled_town.take_in(settled_town.rounds.second, 2)
    with settled_town.line() as line:
        validate(line, deliveries)
        assert screen(line, deliveries)["held"]
        cases = [
            show_case(line.database, c.id)
            for c in list_cases(line.database, status="open")
            if c.source == "west"
        ]
    assert {case.kind for case in cases} == {"screening", "delivery"}
    for case in cases:
        assert case.evidence["exhibits_missing"] == "the plots could not be prepared: ValueError"
        assert "exhibits" not in case.evidence


def test_exhibits_are_sealed(held_town):
    """They hold values of quarantined rows."""
    with held_town.line() as line:
        stored = {
            case.evidence["exhibits"] for case in list_cases(line.database) if "exhibits" in case.evidence
        }
        assert stored
        assert all(line.store.is_sealed(each) for each in stored)
