"""Free text: what is measured of it, and floods of like texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.screen import ScreenReport, screen, texts

GOOD = [
    "great",
    "lovely",
    "wonderful",
    "excellent",
    "superb",
    "delightful",
    "charming",
    "moving",
    "brilliant",
    "fresh",
]
BAD = ["dull", "boring", "awful", "terrible", "slow", "weak", "messy", "poor", "tedious", "bland"]
THINGS = [
    "film",
    "plot",
    "actor",
    "scene",
    "music",
    "camera",
    "story",
    "ending",
    "pace",
    "cast",
    "script",
    "show",
]
VERBS = [
    "was",
    "seemed",
    "felt",
    "looked",
    "became",
    "remained",
    "turned",
    "stayed",
    "appeared",
    "proved",
    "sounded",
]
LINKS = ["and", "but", "while", "because", "although", "so", "yet", "when", "since", "though"]


def review(rng: np.random.Generator, good: bool) -> str:
    words: list[str] = []
    for _ in range(rng.integers(3, 9)):
        kind = GOOD if good == (rng.random() < 0.8) else BAD
        words += ["the", rng.choice(THINGS), rng.choice(VERBS), rng.choice(kind), rng.choice(LINKS)]
    return " ".join(words[:-1]).capitalize() + "."


def reviews(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    good = rng.random(rows) < 0.5
    return pd.DataFrame(
        {
            "id": np.arange(rows) + seed * 10**6,
            "stars": np.round(good * 2 + rng.normal(2, 1, rows), 1),
            "note": [review(rng, value) for value in good],
            "label": np.where(good, "yes", "no"),
        }
    )


def advert(rng: np.random.Generator) -> str:
    """One template, other words, names and numbers each time."""
    return (
        f"{rng.choice(['Dear all', 'Hello', 'Hi there', 'Note'])}: please buy the "
        f"{rng.choice(['golden', 'silver', 'bronze'])} offer number {rng.integers(9999)} from "
        f"{rng.choice(['Anna', 'Ben', 'Cleo', 'Dan', 'Eve', 'Finn'])}, it is the best deal you will find this "
        f"{rng.choice(['week', 'month', 'year'])}, call now"
    )


def contract(**note: str) -> Contract:
    columns = {
        "id": {"type": "integer"},
        "stars": {"type": "number"},
        "note": {"type": "string", "nullable": True, **note},
        "label": {"type": "string"},
    }
    label = {"column": "label", "classes": ["no", "yes"]}
    return Contract.model_validate(
        {"version": 1, "dataset": "notes", "schema": {"key": ["id"], "label": label, "columns": columns}}
    )


def held(report: ScreenReport) -> np.ndarray:
    return np.array(report.rows["verdict"].to_pylist()) == "quarantine"


def of(report: ScreenReport, check: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.check == check]


def test_a_flood_of_one_template_is_found_whatever_fills_it() -> None:
    """No two texts are equal; together they are one family, with one label, that no trusted row knows."""
    batch, trusted = reviews(1500, 1), reviews(400, 2)
    rng = np.random.default_rng(3)
    rows = rng.choice(1500, 50, replace=False)
    batch.loc[rows, "note"] = [advert(rng) for _ in rows]
    batch.loc[rows, "label"] = "yes"
    report = screen(batch, contract(), trusted=trusted)
    (found,) = of(report, "screen.near_texts")
    assert found.outcome is Outcome.FAILED
    assert found.evidence["column"] == "note"
    assert abs(found.evidence["members"] - 50) <= 5
    assert held(report)[rows].mean() > 0.9
    assert held(report)[np.delete(np.arange(1500), rows)].mean() <= 0.01
    assert any(r.startswith("near_texts: one of about") for r in report.rows["reasons"][int(rows[0])].as_py())


@pytest.mark.parametrize("seed", [1, 5])
def test_clean_texts_on_one_subject_are_no_family(seed: int) -> None:
    """They share their vocabulary by nature."""
    report = screen(reviews(1200, seed), contract(), trusted=reviews(400, seed + 1))
    assert [f.outcome for f in of(report, "screen.near_texts")] == [Outcome.PASSED]
    assert held(report).mean() <= 0.005


def test_a_template_that_trusted_rows_know_is_no_flood() -> None:
    """A newsletter that always was among the texts."""
    rng = np.random.default_rng(3)
    batch, trusted = reviews(1200, 1), reviews(400, 2)
    for frame in (batch, trusted):
        rows = rng.random(len(frame)) < 0.05
        frame.loc[rows, "note"] = [advert(rng) for _ in range(int(rows.sum()))]
        frame.loc[rows, "label"] = "yes"
    report = screen(batch, contract(), trusted=trusted)
    assert [f.outcome for f in of(report, "screen.near_texts")] == [Outcome.PASSED]
    assert held(report).mean() <= 0.005


def test_the_contract_can_say_what_a_string_is() -> None:
    """A category is not read as text, however many values it has; without text that check has nothing to say."""
    report = screen(reviews(300, 1), contract(role="category"), trusted=reviews(100, 2))
    assert of(report, "screen.near_texts") == []
    short = reviews(300, 1).assign(note="ab")
    report = screen(short, contract(role="text"), trusted=reviews(100, 2).assign(note="ab"))
    assert of(report, "screen.near_texts")


def test_like_texts_have_like_signatures_and_others_do_not() -> None:
    """The estimate is near the true Jaccard similarity of the shingles."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklm"), 6)) for _ in range(400)]
    one = words[:200]
    for kept in (200, 150, 100, 0):
        two = words[:kept] + words[200 : 400 - kept]
        first, second = " ".join(one), " ".join(two)
        shingles = [{text[i : i + 6] for i in range(len(text) - 5)} for text in (first, second)]
        truth = len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])
        found = texts.signatures(pa.array([first, second]))
        assert abs(float(texts.similarity(found[0], found[1:])[0]) - truth) < 0.2


def test_measures_of_a_text_are_what_they_say() -> None:
    """Length in characters, words, and shares of kinds of bytes; a null has none."""
    found = texts.measures(pa.array(["Ab 12!", "", None, "é"]))
    assert found["length"][:2].tolist() == [6, 0]
    assert found["words"][:2].tolist() == [2, 0]
    assert found["digits"][0] == pytest.approx(2 / 6)
    assert found["capitals"][0] == pytest.approx(1 / 6)
    assert found["signs"][0] == pytest.approx(1 / 6)
    assert found["foreign"][3] == 1
    assert all(np.isnan(values[2]) for values in found.values())


def test_pieces_do_not_change_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long columns are worked on bit by bit."""
    cells = pa.array([f"some text number {i} and {'more ' * (i % 7)}" for i in range(300)] + [None])
    whole, signed = texts.measures(cells), texts.signatures(cells)
    monkeypatch.setattr(texts, "_PIECE", 100)
    np.testing.assert_array_equal(texts.signatures(cells), signed)
    for name, values in texts.measures(cells).items():
        np.testing.assert_array_equal(values, whole[name])


def test_roles_are_for_strings() -> None:
    """A number is neither."""
    schema = {"columns": {"x": {"type": "number", "role": "text"}}}
    with pytest.raises(ValueError, match="role makes no sense"):
        Contract.model_validate({"version": 1, "dataset": "d", "schema": schema})
