"""What binds columns together: learnt from trusted rows, told when rows break it, silent when they do not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.screen import ScreenReport, screen
from assay.screen.context import MIN_REFERENCE
from assay.screen.encoding import Encoder
from assay.screen.rules import Rule, learn
from tests.screen import attacks

CITIES = {
    "Rome": "IT",
    "Milan": "IT",
    "Oslo": "NO",
    "Bergen": "NO",
    "Bonn": "DE",
    "Berlin": "DE",
    "Nice": "FR",
}
KINDS = {
    "id": "integer",
    "city": "string",
    "country": "string",
    "ordered": "date",
    "shipped": "date",
    "goods": "number",
    "freight": "number",
    "total": "number",
    "cents": "integer",
    "married": "boolean",
    "spouse_age": "number",
    "x": "number",
    "label": "string",
}


def orders(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    city = rng.choice(list(CITIES), rows)
    ordered = pd.to_datetime("2023-01-01") + pd.to_timedelta(rng.integers(0, 600, rows), "D")
    goods, freight = np.round(rng.lognormal(3, 0.6, rows), 2), np.round(rng.uniform(1, 60, rows), 2)
    married = rng.random(rows) < 0.5
    return pd.DataFrame(
        {
            "id": np.arange(rows) + seed * 10**6,
            "city": city,
            "country": [CITIES[c] for c in city],
            "ordered": ordered.date,
            "shipped": (ordered + pd.to_timedelta(rng.integers(0, 40, rows), "D")).date,
            "goods": goods,
            "freight": freight,
            "total": np.round(goods + freight, 2),
            "cents": np.round(100 * goods).astype(int),
            "married": married,
            "spouse_age": np.where(married, rng.integers(20, 80, rows), np.nan),
            "x": rng.normal(size=rows) + y,
            "label": np.where(y, "yes", "no"),
        }
    )


def contract() -> Contract:
    schema = {
        "key": ["id"],
        "label": {"column": "label", "classes": ["no", "yes"]},
        "columns": {name: {"type": kind, "nullable": name == "spouse_age"} for name, kind in KINDS.items()},
    }
    return Contract.model_validate({"version": 1, "dataset": "orders", "schema": schema})


def held(report: ScreenReport) -> np.ndarray:
    return np.array(report.rows["verdict"].to_pylist()) == "quarantine"


def of(report: ScreenReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.check == "screen.invariants"]


def learnt(frame: pd.DataFrame, agreed: Contract) -> list[Rule]:
    table = attacks.to_table(frame)
    encoder = Encoder(agreed).fit([table])
    return learn(encoder, encoder.encode(table.combine_chunks().to_batches()[0]))


def test_relations_of_every_kind_are_learnt_and_nothing_else() -> None:
    """A dependency, an order, an equation of two and of three columns, an implied gap."""
    words = {rule.words for rule in learnt(orders(400, 1), contract())}
    assert {
        "city decides country",
        "ordered <= shipped",
        "total = goods + freight",
        "cents = 100 * goods",
        "goods <= total",
        "freight <= total",
    } <= words
    assert any("married = false" in w and "spouse_age is missing" in w for w in words)
    assert not [w for w in words if "x" in w.replace("<=", " ").split()], "x binds nothing"


def test_columns_that_have_nothing_to_do_with_one_another_bind_nothing() -> None:
    """However the values of 400 rows fall."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"n{i}": rng.normal(size=400) for i in range(6)})
    frame["rare"] = np.where(rng.random(400) < 0.01, "b", "a")
    frame["k"] = rng.choice(list("pqrst"), 400)
    frame["small"] = rng.integers(0, 3, 400)
    frame["apart"] = 1000 + rng.normal(size=400)
    frame["label"] = rng.choice(["no", "yes"], 400)
    assert learnt(frame, attacks.contract_for(frame)) == []


def test_support_bounds_how_often_clean_rows_may_break_a_relation() -> None:
    """The rule of three."""
    rule = Rule("a <= b", (0, 1), 300, "order")
    assert rule.bound == pytest.approx(3 / 300, rel=0.01)
    assert rule.broken(np.array([[1.0, 2.0], [2.0, 1.0], [np.nan, 1.0]])).tolist() == [False, True, False]


BREAKS: dict[str, Callable[[pd.DataFrame, np.ndarray], None]] = {
    "country": lambda f, rows: f.__setitem__("country", f["country"].where(~f.index.isin(rows), "XX")),
    "shipped": lambda f, rows: f.__setitem__(
        "shipped",
        [
            o - dt.timedelta(3) if i in rows else s
            for i, (o, s) in enumerate(zip(f["ordered"], f["shipped"], strict=True))
        ],
    ),
    "total": lambda f, rows: f.__setitem__("total", f["total"] * np.where(f.index.isin(rows), 1.06, 1.0)),
    "cents": lambda f, rows: f.__setitem__("cents", f["cents"] + np.where(f.index.isin(rows), 400, 0)),
}


@pytest.mark.parametrize("column", BREAKS)
def test_rows_that_break_a_relation_are_quarantined_with_the_relation_as_reason(column: str) -> None:
    """Values that are all in range, in 4 % of the rows."""
    batch = orders(1000, 2)
    rows = np.random.default_rng(1).choice(1000, 40, replace=False)
    BREAKS[column](batch, rows)
    report = screen(batch, contract(), trusted=orders(400, 1))
    quarantined = held(report)
    assert quarantined[rows].mean() > 0.9
    assert quarantined[np.delete(np.arange(1000), rows)].mean() <= 0.01
    reason = " | ".join(report.rows["reasons"][int(rows[0])].as_py())
    assert "breaks what binds columns together" in reason
    assert column in reason
    assert "reference rows" in reason


def test_a_relation_that_many_rows_break_is_a_finding() -> None:
    """A quarter of the batch: more than 400 trusted rows without a single one allow."""
    batch = orders(800, 2)
    rows = np.arange(200)
    BREAKS["total"](batch, rows)
    found = [f for f in of(screen(batch, contract(), trusted=orders(400, 1))) if f.outcome is Outcome.FAILED]
    assert "total = goods + freight" in {f.evidence["relation"] for f in found}
    assert all(f.evidence["p_value"] <= 1e-4 and f.technique == "AML.T0020" for f in found)


@pytest.mark.parametrize("seed", [11, 12])
def test_clean_rows_break_nothing(seed: int) -> None:
    """No false alarm, with few trusted rows."""
    report = screen(orders(900, seed), contract(), trusted=orders(120, seed + 50))
    assert [f.outcome for f in of(report)] == [Outcome.PASSED]
    assert held(report).mean() <= 0.005


def test_without_trusted_rows_no_relation_is_checked() -> None:
    """The batch cannot vouch for itself."""
    report = screen(orders(200, 1), contract(), trusted=orders(MIN_REFERENCE - 1, 2))
    assert [f.outcome for f in of(report)] == [Outcome.NOT_CHECKED]
