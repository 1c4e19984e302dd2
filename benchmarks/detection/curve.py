"""What fewer trusted rows, and poison among them, do to the figures: a table and a picture for the docs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from benchmarks.detection import document, summary
from benchmarks.detection.attacks import HEADLINE

BEGIN, END = "<!-- curve: begin -->", "<!-- curve: end -->"
PICTURE = Path("images") / "detection-trusted.png"
_LIMIT = 0.005
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#666633")


def table(found: pd.DataFrame) -> pd.DataFrame:
    """One row per number of trusted rows and share of poison: recall at 1 %, and what becomes of clean rows."""
    ours = found[(found["tool"] == "assay") & (found["tier"] == "trusted") & found["not_checked"].isna()]
    rows: dict[tuple[int, float], dict[str, float]] = {}
    for trusted, tainted in sorted(set(zip(ours["trusted"], ours["tainted"], strict=True))):
        part = ours[(ours["trusted"] == trusted) & (ours["tainted"] == tainted)]
        row: dict[str, float] = {}
        for attack in HEADLINE:
            mine = part[part["attack"] == attack]
            if len(mine):
                row[summary.TITLES[attack]] = float(mine.groupby("table")["at1"].mean().mean())
        if len(row) == len(HEADLINE):
            row[summary.MEAN] = sum(row.values()) / len(row)
        clean = part[part["attack"] == "clean"]
        row["clean rows quarantined"] = float(clean["false"].mean())
        row["at most"] = float(clean["false"].max())
        row["clean batches held"] = float(clean["held"].astype(float).mean())
        rows[int(trusted), float(tainted)] = row
    made = pd.DataFrame.from_dict(rows, orient="index")
    made.index = pd.MultiIndex.from_tuples(made.index, names=["trusted rows", "poison among them"])
    return made.reindex(sorted(made.index, key=lambda key: (-key[0], key[1])))


def write(page: Path, found: pd.DataFrame, arguments: Sequence[str]) -> None:
    """Put the table between the marks of a page, and draw the picture beside it.

    Raises:
        ValueError: A mark is missing.
    """
    made = table(found)
    told = document.told(arguments)
    shown = made.drop(columns=[name for name in made.columns if made[name].isna().all()])
    text = (
        f"Measured on {document.today()} by `python -m benchmarks.detection {told}`: "
        f"{', '.join(sorted(set(found['table'])))}; recall at 1 % false positives.\n\n"
        f"{document.markdown(shown)}\n\n![recall and false alarms by the number of trusted rows]({PICTURE})"
    )
    document.between(page, BEGIN, END, text)
    draw(made, page.parent / PICTURE)


def draw(made: pd.DataFrame, path: Path) -> None:
    """Recall by attack above, clean rows quarantined below; dashed lines are of tainted trusted rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6.4, 5.6), dpi=100, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    attacks = [title for title in [*summary.TITLES.values(), summary.MEAN] if title in made.columns]
    shares = sorted({tainted for _, tainted in made.index})
    for tainted, style in zip(shares, ("-", "--", ":", "-."), strict=False):
        part = made.xs(tainted, level="poison among them").sort_index()
        for title, colour in zip(attacks, (*_COLOURS, "#000000"), strict=False):
            width = 2.2 if title == summary.MEAN else 1.1
            label = title if tainted == shares[0] else None
            above.plot(part.index, part[title], style, color=colour, linewidth=width, marker=".", label=label)
        below.plot(
            part.index,
            100 * part["clean rows quarantined"],
            style,
            color="#d55e00",
            marker=".",
            label=f"{tainted:.0%} of the trusted rows poison",
        )
    below.axhline(100 * _LIMIT, color="#999999", linewidth=0.8)
    above.set(ylabel="recall at 1 % false positives", ylim=(-0.02, 1.05))
    below.set(xlabel="trusted rows", ylabel="clean rows\nquarantined (%)", xscale="log", ylim=(0, 0.7))
    counts = sorted({trusted for trusted, _ in made.index})
    below.set_xticks(counts, [str(count) for count in counts])
    below.minorticks_off()
    above.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    below.legend(fontsize=7, loc="upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
