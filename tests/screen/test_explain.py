"""What a reviewer reads: the nearest trusted rows, groups with their members, a technique for every failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from assay.findings import Finding, Outcome, Scope
from assay.screen import ScreenReport, screen
from assay.screen.explain import MAX_LISTED, findings_schema, members, shown
from tests.screen import attacks

DOCS = Path(__file__).resolve().parents[2] / "docs"


def held(report: ScreenReport) -> np.ndarray:
    return np.flatnonzero(np.array(report.rows["verdict"].to_pylist()) == "quarantine")


def nearest(report: ScreenReport, row: int) -> str:
    return next(r for r in report.rows["reasons"][int(row)].as_py() if r.startswith("nearest: "))


@pytest.fixture(scope="module")
def poisoned() -> tuple[attacks.Case, ScreenReport]:
    case = attacks.make_case(attacks.blobs(2500, 8), "fixed", 0.08, 4, rows=1500, trusted=400, history=True)
    case.batch.loc[:, "label"] = case.batch["label"]
    report = screen(case.batch, case.contract, trusted=case.trusted, previous=case.previous)
    return case, report


def test_every_quarantined_row_names_its_nearest_trusted_rows(poisoned: Any) -> None:
    """By key, with label and distance, and how far apart trusted rows usually are; admitted rows have no reasons."""
    case, report = poisoned
    keys = set(case.trusted["id"])
    for row in held(report):
        text = nearest(report, row)
        assert int(text.split("trusted row id ")[1].split(",")[0]) in keys
        assert "at distance" in text
        assert "9 of 10 trusted rows" in text
    admitted = np.setdiff1d(np.arange(report.rows.num_rows), held(report))
    assert report.rows["reasons"][int(admitted[0])].as_py() == []


def test_the_nearest_trusted_row_of_a_copy_is_that_row() -> None:
    """At distance 0, under the other label, and the nearest one with the row's own label beside it."""
    case = attacks.make_case(attacks.blobs(1500, 6), "clean", 0, 3, rows=600, trusted=200, history=True)
    assert case.previous is not None
    batch = case.batch.copy()
    features = [name for name in batch.columns if name.startswith("x")]
    batch.loc[10, features] = case.trusted.loc[5, features]
    own, other = str(case.trusted.loc[5, "label"]), "no" if case.trusted.loc[5, "label"] == "yes" else "yes"
    batch.loc[10, "label"] = other
    report = screen(batch, case.contract, trusted=case.trusted, previous=case.previous)
    text = nearest(report, 10)
    assert text.startswith(
        f"nearest: trusted row id {case.trusted.loc[5, 'id']}, labelled '{own}', at distance 0.00"
    )
    assert "with the row's own label trusted row id" in text


def test_without_trusted_rows_nothing_is_said_of_them() -> None:
    """No empty sentence either."""
    case = attacks.make_case(attacks.blobs(2500, 8), "fixed", 0.08, 4, rows=1500, trusted=400)
    report = screen(case.batch, case.contract)
    assert len(held(report))
    assert not any(r.startswith("nearest") for reasons in report.rows["reasons"].to_pylist() for r in reasons)


def test_a_trigger_is_one_finding_with_its_members(poisoned: Any) -> None:
    """Not 120 lone rows: the count is exact, the listed rows are quarantined, and not too many."""
    _, report = poisoned
    groups = [f for f in report.findings if f.scope is Scope.GROUP and f.outcome is Outcome.FAILED]
    assert groups
    quarantined = set(held(report).tolist())
    covered: set[int] = set()
    for finding in groups:
        rows = finding.evidence["row_numbers"]
        assert rows == sorted(rows)
        assert len(rows) == min(finding.evidence["members"], MAX_LISTED)
        assert set(rows) <= quarantined
        covered |= set(rows)
    assert len(covered) >= min(len(quarantined), MAX_LISTED) * 0.9


def test_a_compromised_source_lists_its_rows() -> None:
    """The finding on the source carries the quarantined rows that it delivered."""
    frame = attacks.blobs(3000, 8)
    frame.loc[frame["label"] == "yes", frame.columns[:-1]] += 2.0
    case = attacks.make_case(frame, "source_flip", 0.05, 2, rows=1500, trusted=400)
    report = screen(case.batch, case.contract, trusted=case.trusted)
    finding = next(f for f in report.findings if f.check == "screen.sources")
    assert finding.subject == "s3"
    rows = finding.evidence["row_numbers"]
    assert rows
    assert set(case.batch.loc[rows, "src"]) == {"s3"}
    assert finding.evidence["members"] == (case.batch.loc[held(report), "src"] == "s3").sum()


def test_every_failed_finding_names_an_atlas_technique(poisoned: Any) -> None:
    """Whatever fails speaks of a technique that is in MITRE ATLAS' form."""
    case, report = poisoned
    drifting = case.batch.copy()
    drifting["x00"] += 5
    double = pd.concat([drifting, drifting.iloc[:3].assign(x01=0.5)])
    other = screen(double, case.contract, trusted=case.trusted, previous=case.previous)
    failed = [f for r in (report, other) for f in r.findings if f.outcome is Outcome.FAILED]
    assert len({f.check for f in failed}) >= 4
    assert [f.check for f in failed if not (f.technique or "").startswith("AML.T")] == []


def test_reasons_do_not_depend_on_the_order_of_rows(poisoned: Any) -> None:
    """The same rows in another order: the same reasons, row by row."""
    case, report = poisoned
    order = np.random.default_rng(0).permutation(len(case.batch))
    again = screen(
        case.batch.iloc[order], case.contract, trusted=case.trusted.iloc[::-1], previous=case.previous
    )
    mine = {int(order[row]): again.rows["reasons"][int(row)].as_py() for row in held(again)}
    assert mine == {int(row): report.rows["reasons"][int(row)].as_py() for row in held(report)}


def test_findings_fit_their_schema(poisoned: Any) -> None:
    """The schema in docs is the one that the code makes, and real findings are valid by it."""
    jsonschema = pytest.importorskip("jsonschema")
    _, report = poisoned
    filed = json.loads(json.dumps([{"id": f.id, **f.model_dump(mode="json")} for f in report.findings]))
    validator = jsonschema.Draft202012Validator(findings_schema())
    validator.validate(filed)
    assert not validator.is_valid([{**filed[0], "outcome": "maybe"}])
    assert json.loads((DOCS / "findings.schema.json").read_text()) == findings_schema()


def test_a_long_group_is_cut_with_an_exact_count() -> None:
    """The first hundred row numbers, in order."""
    evidence = members(np.arange(250, dtype=np.int64)[::-1])
    assert evidence == {"members": 250, "row_numbers": list(range(100))}


def test_long_values_are_cut() -> None:
    """A reason stays one line."""
    assert len(shown("x" * 5000)) == 60
    assert shown(None) == "None"
    assert shown(np.datetime64("2026-01-01")) == "2026-01-01"


def test_a_finding_that_names_its_rows_itself_is_left_alone(poisoned: Any) -> None:
    """Rewritten history counts all its rows, whatever else was quarantined."""
    _, report = poisoned
    told: Finding = next(f for f in report.findings if f.check == "screen.history")
    assert told.evidence["members"] == told.evidence["forbidden"]
