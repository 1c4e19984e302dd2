"""Puts the measured tables into a page of the docs, between two marks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from benchmarks.detection import summary
from benchmarks.detection.scene import TIERS

_FILES = ("--write", "--curve", "--by-rate", "--results")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write(path: Path, found: pd.DataFrame, main_part: pd.DataFrame, arguments: Sequence[str]) -> None:
    """Replace what stands between the marks of the file.

    Args:
        path: The Markdown file; it has both marks once.
        found: All results.
        main_part: Those of the headline's number of trusted rows.
        arguments: Of the command, to be quoted.

    Raises:
        ValueError: A mark is missing.
    """
    between(path, BEGIN, END, _measured(found, main_part, arguments))


def between(path: Path, begin: str, end: str, made: str) -> None:
    """Replace what stands between two marks of a file.

    Raises:
        ValueError: A mark is missing.
    """
    text = path.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{path} needs the marks {begin} and {end}, once each and in this order")
    before, rest = text.split(begin)
    path.write_text(before + begin + "\n\n" + made + "\n" + end + rest.split(end)[1])


def told(arguments: Sequence[str]) -> str:
    """The command's arguments as a page quotes them: without the files that it writes."""
    about_files = {
        number + offset for number, each in enumerate(arguments) if each in _FILES for offset in (0, 1)
    }
    return " ".join(
        each for number, each in enumerate(arguments) if number not in about_files and each != "--summary"
    )


def today() -> str:
    """The day, as a page tells it."""
    return f"{dt.datetime.now(tz=dt.UTC):%d %B %Y}".lstrip("0")


def _measured(found: pd.DataFrame, main_part: pd.DataFrame, arguments: Sequence[str]) -> str:
    own = main_part[(main_part["tool"] == "assay") & main_part["not_checked"].isna()]
    seeds = ", ".join(str(seed) for seed in sorted(set(own["seed"] % 1000)))
    parts = [
        f"Measured on {today()} by `python -m benchmarks.detection {told(arguments)}`".rstrip("` ") + "`:",
        f"{own['table'].nunique()} tables, {len(own)} screenings by Assay, seeds {seeds}.\n",
        summary.shows(main_part),
    ]
    for tier in TIERS:
        table = summary.per_attack(main_part, "assay", tier)
        if len(table):
            name = {"trusted": "with trusted rows and sources", "history": "with the accepted snapshot too"}[
                tier
            ]
            parts += [f"\nEvery attack, {name} (`above`: trigger success above a clean model's):\n"]
            parts += [markdown(table.drop(columns="seconds"))]
    for title, made in (
        ("Batches without poison:", summary.controls(main_part)),
        ("End effect, test accuracy and trigger success of models:", summary.effects(main_part)),
        ("Every detector, recall at 1 % (blank: not run):", summary.per_detector(main_part)),
    ):
        if len(made):
            parts += [f"\n{title}\n", markdown(made)]
    if len(found) > len(main_part):
        parts += ["\nFewer trusted rows, and poison among them:\n", markdown(summary.by_trust(found))]
    missing = summary.missing(main_part)
    if missing:
        parts += ["\nNot checked:\n", *(f"- {line.removeprefix('not checked, ')}" for line in missing)]
    return "\n".join(parts) + "\n"


def markdown(made: pd.DataFrame) -> str:
    """A frame as a Markdown table; numbers with as many digits as matter."""
    names = [str(name) for name in made.index.names if name] or [""]
    flat = [" ".join(map(str, name)) if isinstance(name, tuple) else str(name) for name in made.columns]
    out = [f"| {' | '.join([*names, *flat])} |", "|" + "---|" * (len(names) + len(flat))]
    for index, row in zip(made.index, made.to_numpy(dtype=object), strict=True):
        keys = list(map(str, index)) if isinstance(index, tuple) else [str(index)]
        out.append(f"| {' | '.join([*keys, *map(_cell, row)])} |")
    return "\n".join(out)


def _cell(value: object) -> str:
    if not isinstance(value, float | int):
        return str(value)
    if pd.isna(value):
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) > 1 else f"{value:.3f}"
