"""How Assay's figures go with the share of poison in a batch: a table for the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from benchmarks.detection import document, summary
from benchmarks.detection.attacks import BACKDOORS, CONTROLS, FIXED_RATE, HEADLINE
from benchmarks.detection.scene import TIERS

BEGIN, END = "<!-- rates: begin -->", "<!-- rates: end -->"
_AT5 = ("boundary_flip",)
"""Attacks that are told at 5 % false positives too."""
_BESIDE = "clean rows quarantined"


def table(found: pd.DataFrame) -> pd.DataFrame:
    """One row per attack, one column per tier and rate: recall at 1 %, means over tables of means within a table.

    An attack that has a rate of its own stands only in the mean of the nine, at each rate. Backdoors have a second
    row, trigger success above a clean model's. The last row is the share of clean rows quarantined beside poison.
    """
    ours = found[(found["tool"] == "assay") & found["not_checked"].isna() & ~found["attack"].isin(CONTROLS)]
    ours = summary.above(ours, summary.success_of_clean(found))
    fixed = ours["attack"].isin(FIXED_RATE)
    columns = {
        (tier, f"{100 * rate:g} %"): _column(part, ours[fixed & (ours["tier"] == tier)])
        for tier in TIERS
        for rate, part in ours[~fixed & (ours["tier"] == tier)].groupby("rate")
    }
    made = pd.DataFrame(columns)
    made.columns = pd.MultiIndex.from_tuples(list(columns))
    made.index.name = "attack"
    return made


def _column(mine: pd.DataFrame, fixed: pd.DataFrame) -> dict[str, float]:
    recalls, made = [], {}
    for attack in HEADLINE:
        part = (fixed if attack in FIXED_RATE else mine).query("attack == @attack")
        if part.empty:
            continue
        title = summary.TITLES[attack]
        recalls.append(_mean(part, "at1"))
        if attack not in FIXED_RATE:
            made[title] = recalls[-1]
        if attack in _AT5:
            made[f"{title}, at 5 %"] = _mean(part, "at5")
        if attack in BACKDOORS:
            made[f"{title}, success above"] = _mean(part, "above")
    if len(recalls) == len(HEADLINE):
        made[summary.MEAN] = sum(recalls) / len(recalls)
    return made | {_BESIDE: float(mine["false"].mean())}


def _mean(part: pd.DataFrame, figure: str) -> float:
    return float(part.groupby("table")[figure].mean().mean())


def write(page: Path, found: pd.DataFrame, arguments: Sequence[str]) -> None:
    """Put the table between the marks of a page, with what has no rate of its own below it.

    Raises:
        ValueError: A mark is missing.
    """
    made = table(found).dropna(how="all")
    ours = found[(found["tool"] == "assay") & found["not_checked"].isna()]
    lines = [
        (
            f"Measured on {document.today()} by `python -m benchmarks.detection {document.told(arguments)}`: "
            f"{ours['table'].nunique()} tables, {len(ours)} screenings; recall at 1 % false positives unless said.\n"
        ),
        document.markdown(made),
        "",
    ]
    for tier, part in ours.groupby("tier", sort=False):
        source, clean = part[part["attack"] == "one_source"], part[part["attack"].isin(CONTROLS)]
        if len(source):
            lines.append(
                f"- {tier}: one source's rows are found by {_mean(source, 'at1'):.3f} in {len(source)} batches, and "
                f"the source is named in {source['named'].astype(float).mean():.0%} of them."
            )
        if len(clean):
            lines.append(
                f"- {tier}: of the clean rows of {len(clean)} batches {clean['false'].mean():.2%} are quarantined "
                f"(at most {clean['false'].max():.2%} of a batch), {clean['held'].astype(float).mean():.0%} of the "
                f"batches held, a source wrongly named in {clean['accused_wrongly'].astype(float).mean():.0%}."
            )
    document.between(page, BEGIN, END, "\n".join(lines))
