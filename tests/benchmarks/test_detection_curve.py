"""The figures by trusted rows: a table and a picture on the page of the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.detection import curve, summary, tables
from benchmarks.detection.scene import Case


def line(attack: str, trusted: int, tainted: float, at1: float) -> dict:
    """One result of Assay."""
    case = Case("adult", attack, 0.05, 0, "trusted", "assay", 3000, trusted, tainted)
    figures = {"at1": at1, "false": trusted / 1e6} if attack != "clean" else {"false": trusted / 1e6}
    return {"case": case.fields(), "figures": {"detectors": {"assay": figures}, "held": False}}


FOUND = summary.frame_of(
    line(attack, trusted, tainted, trusted / 1000 - tainted)
    for attack in ("backdoor_fixed", "flood", "clean")
    for trusted in (50, 500)
    for tainted in (0.0, 0.01)
)


def test_each_number_of_trusted_rows_has_a_line() -> None:
    """The most first; recall by attack, and what became of clean rows; no mean of the nine without all nine."""
    made = curve.table(FOUND)
    assert list(made.index) == [(500, 0.0), (500, 0.01), (50, 0.0), (50, 0.01)]
    assert made.loc[(50, 0.01), summary.TITLES["flood"]] == pytest.approx(0.04)
    assert made.loc[(500, 0.0), "clean rows quarantined"] == pytest.approx(0.0005)
    assert summary.MEAN not in made.columns


def test_table_and_picture_come_to_the_page(tmp_path: Path) -> None:
    """Between the marks, as often as it is measured; what stands around stays."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{curve.BEGIN}\nold\n{curve.END}\nafter\n")
    for _ in range(2):
        curve.write(page, FOUND, ["--curve", "page.md", "--tables", "adult"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "`python -m benchmarks.detection --tables adult`" in text
    assert (tmp_path / curve.PICTURE).read_bytes().startswith(b"\x89PNG")
    page.write_text("no marks")
    with pytest.raises(ValueError, match="needs the marks"):
        curve.write(page, FOUND, [])


def test_the_page_of_the_docs_has_the_marks() -> None:
    """So that figures can be put there."""
    text = (tables.PROJECT / "docs" / "detection.md").read_text()
    assert text.count(curve.BEGIN) == text.count(curve.END) == 1
