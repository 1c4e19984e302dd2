"""The figures by rate: a table on the page of the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.detection import rates, summary, tables
from benchmarks.detection.attacks import FIXED_RATE, HEADLINE
from benchmarks.detection.scene import Case


def line(table: str, attack: str, rate: float, at1: float) -> dict:
    """One result of Assay."""
    case = Case(table, attack, rate, 0, "trusted", "assay", 3000, 500, 0.0)
    figures = {"at1": at1, "at5": at1 + 0.1, "false": 0.002}
    return {
        "case": case.fields(),
        "figures": {"detectors": {"assay": figures}, "held": False, "named": True, "accused_wrongly": False},
    }


def found(attacks: list[str]) -> list[dict]:
    """Two tables, two rates."""
    return [
        line(table, attack, FIXED_RATE.get(attack, rate), recall)
        for table, recall in (("adult", 0.4), ("digits", 0.8))
        for attack in attacks
        for rate in (0.01, 0.1)
    ] + [line("adult", "clean", 0.0, float("nan"))]


def test_each_rate_has_a_column_and_each_attack_a_row() -> None:
    """Tables count alike however many cases they have; one attack's own rate stands only in the mean of the nine."""
    made = rates.table(summary.frame_of([*found(list(HEADLINE)), line("adult", "flood", 0.1, 0.1)]))
    assert list(made.columns) == [("trusted", "1 %"), ("trusted", "10 %")]
    assert made.loc[summary.TITLES["flood"], ("trusted", "1 %")] == pytest.approx(0.6)
    assert made.loc[summary.TITLES["flood"], ("trusted", "10 %")] == pytest.approx((0.25 + 0.8) / 2)
    assert made.loc["boundary flip, at 5 %", ("trusted", "1 %")] == pytest.approx(0.7)
    assert made.loc[summary.MEAN, ("trusted", "1 %")] == pytest.approx(0.6)
    assert summary.TITLES["one_source"] not in made.index


def test_there_is_no_mean_of_the_nine_without_all_nine() -> None:
    """A mean of fewer would be another figure."""
    assert summary.MEAN not in rates.table(summary.frame_of(found(["flood", "garbage"]))).index


def test_the_table_comes_to_the_page(tmp_path: Path) -> None:
    """Between the marks, with what has no rate of its own below; the page of the docs has the marks."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{rates.BEGIN}\nold\n{rates.END}\nafter\n")
    rates.write(page, summary.frame_of(found(list(HEADLINE))), ["--by-rate", "page.md", "--tools", "assay"])
    text = page.read_text()
    assert "old" not in text
    assert "`python -m benchmarks.detection --tools assay`" in text
    assert "the source is named in 100% of them" in text
    assert "of the clean rows of 1 batches 0.20% are quarantined" in text
    docs = (tables.PROJECT / "docs" / "detection.md").read_text()
    assert docs.count(rates.BEGIN) == docs.count(rates.END) == 1
