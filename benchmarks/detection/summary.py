"""The tables that the benchmark prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.detection.attacks import ATTACKS, BACKDOORS, CONTROLS, HEADLINE
from benchmarks.detection.scene import TIERS, Case

MEAN = "mean of the nine"
LEAST_RATE = 0.01
"""Means of the headline are over rates from here on."""
_COLUMNS = (
    *("detector", "auc", "at1", "at5", "caught", "left", "false", "held", "named", "accused_wrongly"),
    *("accuracy", "success", "seconds", "poison", "not_checked"),
)
_TRUST = ("backdoor_fixed", "random_flip")
TITLES = {
    "backdoor_fixed": "fixed in-range backdoor, 3 features",
    "backdoor_jittered": "jittered backdoor",
    "garbage": "garbage",
    "flood": "near-duplicate flood",
    "one_source": "one-source compromise (30 %)",
    "random_flip": "random flip",
    "boundary_flip": "boundary flip",
    "shift": "0.5 sigma shift of two columns",
    "shift_existing": "the same, to existing values",
}


def frame_of(lines: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """One row per case and detector; a case that could not run has a reason in `not_checked` and no figures."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        case, figures = line["case"], line.get("figures")
        if figures is None:
            rows.append({**case, "not_checked": line.get("not_checked", "")})
            continue
        shared = {key: value for key, value in figures.items() if key not in {"detectors", "ends"}}
        for name, mine in figures.get("detectors", {}).items():
            rows.append({**case, **shared, "detector": name, **mine})
        for name, mine in figures.get("ends", {}).items():
            rows.append({**case, **shared, "detector": name, **mine})
    made = pd.DataFrame(rows)
    columns = [*(field.name for field in fields(Case)), *_COLUMNS]
    return made.reindex(columns=[*made.columns, *(name for name in columns if name not in made.columns)])


def headline(found: pd.DataFrame) -> pd.DataFrame:
    """The nine attacks: best other tool in hindsight, and Assay in both tiers.

    `at1` and `at5` are means over tables of means over rates and seeds, at rates of 1 % and more. `above` is the
    trigger's success above a clean model's after a model learnt from what was let through. The mean's best other tool
    is the single one with the best mean; in the lines above it each attack has a best one of its own.
    """
    ours = found[(found["tool"] == "assay") & (found["rate"] >= LEAST_RATE)]
    others = found[~found["tool"].isin(["assay", "none"]) & (found["rate"] >= LEAST_RATE)]
    clean = success_of_clean(found)
    rows: dict[str, dict[str, Any]] = {}
    for attack in HEADLINE:
        row: dict[str, Any] = {}
        theirs = others[others["attack"] == attack]
        for figure in ("at1", "at5"):
            best = _best(theirs, figure)
            row |= {f"best at {figure[2:]} %": best[0], f"other {figure}": best[1]} if best else {}
        if attack in BACKDOORS and (best := _best(above(theirs, clean), "above", least=True)):
            row["other above"] = best[1]
        for tier in TIERS:
            mine = ours[(ours["attack"] == attack) & (ours["tier"] == tier)]
            row |= {f"{tier} at1": _mean(mine, "at1"), f"{tier} at5": _mean(mine, "at5")}
            if attack in BACKDOORS:
                row[f"{tier} above"] = _mean(above(mine, clean), "above")
            if attack == "one_source" and len(mine):
                row[f"{tier} named"] = float(mine["named"].astype(float).mean())
        rows[TITLES[attack]] = row
    made = pd.DataFrame.from_dict(rows, orient="index")
    numbers = made.select_dtypes("number")
    mean: dict[str, Any] = {
        name: numbers[name].mean() for name in numbers if name.startswith(TIERS) and "at" in name
    }
    for figure in ("at1", "at5"):
        means = others[others["attack"].isin(HEADLINE)].pivot_table(
            index=["tool", "detector"], columns="attack", values=figure, observed=True
        )
        if len(means.columns):
            best_name = means.mean(axis=1).idxmax()
            mean |= {
                f"best at {figure[2:]} %": _name(*best_name),
                f"other {figure}": means.mean(axis=1).max(),
            }
    made.loc[MEAN] = {
        name: value for name, value in mean.items() if name in made.columns and "above" not in name
    }
    return made


def shows(found: pd.DataFrame) -> str:
    """The headline as one Markdown table, in fewer lines."""
    table, clean = headline(found), controls(found)

    def cell(side: str, *parts: tuple[str, str]) -> str:
        texts = []
        for attack, figure in parts:
            title, column = TITLES.get(attack, attack), f"{side} {figure}"
            value = table.loc[title, column] if column in table.columns else float("nan")
            texts.append("–" if pd.isna(value) else f"{value:+.2f}" if figure == "above" else f"{value:.2f}")
        return " / ".join(texts)

    lines = (
        ("fixed in-range backdoor, 3 features", ("backdoor_fixed", "at1")),
        ("jittered backdoor", ("backdoor_jittered", "at1")),
        (
            "attack success after cleaning, above a clean model's (fixed / jittered)",
            ("backdoor_fixed", "above"),
            ("backdoor_jittered", "above"),
        ),
        ("garbage / near-duplicate flood", ("garbage", "at1"), ("flood", "at1")),
        (
            "one-source compromise, 30 % of one of five (recall / source named)",
            ("one_source", "at1"),
            ("one_source", "named"),
        ),
        ("random flip", ("random_flip", "at1")),
        ("boundary flip, recall at 5 %", ("boundary_flip", "at5")),
        (
            "0.5 σ shift of two columns (raw / to existing values)",
            ("shift", "at1"),
            ("shift_existing", "at1"),
        ),
        (MEAN, (MEAN, "at1")),
    )
    out = ["| attack | best other tool | trusted rows + sources | + accepted snapshot |", "|---|---|---|---|"]
    for title, *parts in lines:
        out.append(f"| {title} | " + " | ".join(cell(side, *parts) for side in ("other", *TIERS)) + " |")
    cells = []
    for side in ("other", *TIERS):
        mine = clean.reset_index()
        mine = mine[mine["attack"] == "clean"] if len(mine) else mine
        ours = mine["tool"] == "assay"
        mine = mine[~ours] if side == "other" else mine[ours & (mine["tier"] == side)]
        cells.append(" / ".join(_range(mine[name]) for name in ("rows quarantined", "batches held")))
    out.append("| clean rows quarantined / clean batches held | " + " | ".join(cells) + " |")
    return "\n".join(out)


def _range(values: pd.Series) -> str:
    known = values.dropna()
    if known.empty:
        return "–"
    low, high = f"{known.min():.1%}", f"{known.max():.1%}"
    return low if low == high else f"{low} to {high}"


def controls(found: pd.DataFrame) -> pd.DataFrame:
    """Clean batches: rows quarantined, batches held, sources accused."""
    mine = found[found["attack"].isin(CONTROLS) & found["not_checked"].isna()]
    mine = mine.assign(accused=mine["accused_wrongly"].astype(float) > 0)
    mine = mine[mine["false"].notna() | mine["held"].notna()]
    group = mine.groupby(["attack", "tier", "tool", "detector"], sort=False)
    return pd.DataFrame(
        {
            "batches": group.size(),
            "rows quarantined": group["false"].mean(),
            "at most": group["false"].max(),
            "batches held": group["held"].apply(lambda values: values.astype(float).mean()),
            "sources accused": group["accused"].mean(),
        }
    )


def per_attack(found: pd.DataFrame, tool: str, tier: str) -> pd.DataFrame:
    """One tool's figures per attack, mean over tables."""
    mine = found[(found["tool"] == tool) & (found["tier"] == tier) & found["auc"].notna()]
    mine = above(mine, success_of_clean(found))
    names = ["auc", "at1", "at5", "caught", "left", "false", "accuracy", "above", "seconds"]
    made = pd.DataFrame({name: mine.groupby("attack")[name].mean() for name in names})
    return made.reindex([name for name in ATTACKS if name in made.index])


def pivot(found: pd.DataFrame, tool: str, tier: str, by: str, figure: str = "at1") -> pd.DataFrame:
    """One figure of one tool, attacks by tables or rates."""
    mine = found[(found["tool"] == tool) & (found["tier"] == tier) & found[figure].notna()]
    if mine.empty:
        return mine[[]]
    made = mine.pivot_table(index="attack", columns=by, values=figure)
    return made.reindex([name for name in ATTACKS if name in made.index])


def by_trust(found: pd.DataFrame) -> pd.DataFrame:
    """Assay's mean of the nine and its false alarms, by trusted rows and poison among them."""
    rows = {}
    for (trusted, tainted), part in found.groupby(["trusted", "tainted"]):
        table, clean = headline(part), part[(part["tool"] == "assay") & (part["attack"] == "clean")]
        row = {
            f"{tier}, {TITLES[attack]}": table.loc[TITLES[attack], f"{tier} at1"]
            for tier in TIERS
            for attack in _TRUST
        }
        row |= {f"{tier}, mean of the nine": table.loc[MEAN, f"{tier} at1"] for tier in TIERS}
        for tier in TIERS:
            row[f"{tier}, clean rows quarantined"] = clean.loc[clean["tier"] == tier, "false"].mean()
        rows[trusted, tainted] = row
    made = pd.DataFrame(rows)
    made.columns = pd.MultiIndex.from_tuples(list(rows), names=["trusted rows", "poison among them"])
    return made[sorted(rows, key=lambda key: (-key[0], key[1]))]


def per_detector(found: pd.DataFrame) -> pd.DataFrame:
    """Recall at 1 % of every detector, given what other tools can use, detectors by attacks."""
    mine = found[~found["tool"].isin(["none"]) & (found["tier"] == "trusted") & found["at1"].notna()]
    mine = mine[mine["rate"] >= LEAST_RATE]
    if mine.empty:
        return mine[[]]
    made = mine.pivot_table(index=["tool", "detector"], columns="attack", values="at1")
    made = made[[name for name in ATTACKS if name in made.columns]]
    return made.assign(mean=made[[name for name in made.columns if name in HEADLINE]].mean(axis=1))


def effects(found: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy and trigger success per attack: clean, poisoned, screened by Assay, perfectly cleaned."""
    mine = found[found["accuracy"].notna() & found["tool"].isin(["none", "assay"])]
    if mine.empty:
        return mine[[]]
    mine = mine.assign(rows=np.where(mine["tool"] == "assay", "screened, " + mine["tier"], mine["detector"]))
    made = mine.pivot_table(index="attack", columns="rows", values=["accuracy", "success"])
    order = ["clean", "poisoned", "screened, trusted", "screened, history", "perfect"]
    columns = [
        (figure, name)
        for figure in ("accuracy", "success")
        for name in order
        if (figure, name) in made.columns
    ]
    return made[columns].reindex([name for name in ATTACKS if name in made.index])


def success_of_clean(found: pd.DataFrame) -> pd.DataFrame:
    """Per case the success that the trigger has on a clean model."""
    mine = found[(found["tool"] == "none") & (found["detector"] == "clean")]
    return mine[["table", "attack", "rate", "seed", "rows", "success"]].rename(
        columns={"success": "by_chance"}
    )


def above(mine: pd.DataFrame, clean: pd.DataFrame) -> pd.DataFrame:
    """With a column `above`: the trigger's success above a clean model's."""
    merged = mine.drop(columns="rows").merge(
        clean.drop(columns="rows"), on=["table", "attack", "rate", "seed"], how="left"
    )
    return merged.assign(above=merged["success"].astype(float) - merged["by_chance"].astype(float))


def _best(theirs: pd.DataFrame, figure: str, least: bool = False) -> tuple[str, float] | None:
    """The detector with the best mean of a figure, with hindsight."""
    theirs = theirs[theirs[figure].notna()]
    means = {_name(*name): _mean(part, figure) for name, part in theirs.groupby(["tool", "detector"])}
    if not means:
        return None
    best = (min if least else max)(means, key=lambda name: means[name])
    return best, means[best]


def _name(tool: str, detector: str) -> str:
    return tool if tool == detector else f"{tool} {detector}"


def _mean(mine: pd.DataFrame, figure: str) -> float:
    """Mean over tables of the mean within a table, so that no table counts more for having more cases."""
    return float(mine.groupby("table")[figure].mean().mean()) if len(mine) else float("nan")


def missing(found: pd.DataFrame) -> list[str]:
    """What was not checked and why, one line per tool and reason."""
    mine = found[found["not_checked"].notna() & (found["not_checked"] != "")]
    said = []
    for (tool, reason), part in mine.groupby(["tool", "not_checked"], sort=False):
        where = ", ".join(sorted(set(part["attack"] + " on " + part["table"])))
        said.append(f"not checked, {len(part)} cases of {tool}: {reason} ({where[:160]})")
    return said


def crashed(found: pd.DataFrame) -> int:
    """Cases in which Assay ended with an error."""
    reasons = found.loc[found["tool"] == "assay", "not_checked"].astype(str)
    return int(reasons.str.startswith("crashed").sum())
