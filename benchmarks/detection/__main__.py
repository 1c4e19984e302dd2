"""How well screening finds poison, with the truth known.

    python -m benchmarks.detection [--quick] [--tables adult,digits] [--attacks flood] [--rates 0.01,0.05]

`docs/detection.md` says how it is measured, and holds the tables that this prints. Results are kept under `.assay`, one
line each; a run that was stopped goes on, and one after a change measures only what the change may have moved.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import pandas as pd
from benchmarks.detection import curve, document, floors, rates, runs, summary, tables
from benchmarks.detection.attacks import ATTACKS, CONTROLS, FIXED_RATE, HEADLINE
from benchmarks.detection.scene import TIERS, Case
from benchmarks.detection.tools import TOOLS

RATES, FEW = (0.005, 0.01, 0.03, 0.05, 0.1), (0.01, 0.05)
ONE_RATE = {"slow_backdoor": (0.05,)}
"""Ten screenings each: one rate is enough."""


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """All cases of the options.

    Unless rates are named, a table meets each attack of the headline at every other rate and the other attacks at one
    of two, in turn, so that over the tables all rates come equally often; other tools get half of the headline's cases.
    Unless every seed is asked for, each of these cases has one of the seeds, in turn. Attacks with a rate of their own
    and clean batches get them all.
    """
    peers = [tool for tool in options.tools if tool != "assay"]
    own = [("none", "trusted"), *(("assay", tier) for tier in options.tiers if "assay" in options.tools)]
    for (i, table), (j, attack) in product(enumerate(options.tables), enumerate(options.attacks)):
        for number, (rate, seed) in _turns(attack, i + j, options):
            told = table, attack, rate, seed
            for trusted, tainted in product(options.trusted, options.tainted):
                more = options.rows, trusted, tainted
                yield from (Case(*told, tier, tool, *more) for tool, tier in own)
                headline = number % 4 == 0 and (attack in HEADLINE or attack == "clean")
                if options.rates or options.every or headline:
                    yield from (Case(*told, "trusted", tool, *more) for tool in peers)


def _turns(attack: str, start: int, options: argparse.Namespace) -> Iterator[tuple[int, tuple[float, int]]]:
    """Rates and seeds of one attack on one table, with a number by which some may be left out."""
    seeds = options.seeds
    if attack in CONTROLS:
        drawn = [seed + 1000 * more for more in range(options.controls) for seed in seeds]
        yield from enumerate((0.0, seed) for seed in (drawn if attack == "clean" else drawn[:1]))
    elif attack in FIXED_RATE:
        yield from enumerate((FIXED_RATE[attack], seed) for seed in seeds)
    else:
        rates = options.rates or ONE_RATE.get(attack) or (RATES if attack in HEADLINE else FEW)
        for number, rate in enumerate(rates, start):
            if options.every:
                yield from ((number, (rate, seed)) for seed in seeds)
            elif options.rates or len(rates) == 1 or number % 2 == 0:
                yield number, (rate, seeds[number % len(seeds)])


_SHARED = "--attacks headline,clean --rates 0.05 --seeds 0 --tools assay"
_FORMS = {
    "--quick": f"--tables {','.join(tables.OFFLINE)} --rows 1500 --controls 2 --effects backdoors {_SHARED}",
    "--small": f"--tables breast_cancer --controls 1 --effects none {_SHARED}",
}


def _form(arguments: Sequence[str]) -> list[str]:
    """The options that a form stands for, to be overridden by those that follow."""
    return [option for name, meant in _FORMS.items() if name in arguments for option in meant.split()]


def _names(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        given = text.split(",")
        for name in given:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(allowed)}")
        return given

    return parse


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.detection",
        description=(__doc__ or "").split("\n")[0],
        allow_abbrev=False,
    )
    form = made.add_mutually_exclusive_group()
    form.add_argument(
        "--quick", action="store_true", help="three tables, one rate, Assay alone; fails below a floor"
    )
    form.add_argument(
        "--small", action="store_true", help="one table, one rate, Assay alone; fails below a floor"
    )
    made.add_argument("--tables", type=_names(list(tables.LOADERS)), default=list(tables.LOADERS))
    made.add_argument("--attacks", type=_names(["headline", *ATTACKS]), default=list(ATTACKS))
    made.add_argument(
        "--rates", type=_floats, help="these, for every table and attack; else some of 0.5 to 10 %%"
    )
    made.add_argument("--seeds", type=_integers, default=[0, 1, 2])
    made.add_argument("--every", action="store_true", help="every seed and rate for every table and attack")
    made.add_argument("--tiers", type=_names(TIERS), default=list(TIERS))
    made.add_argument("--tools", type=_names(list(TOOLS)), default=list(TOOLS))
    made.add_argument("--rows", type=int, default=3000, help="of a batch, at most")
    made.add_argument(
        "--trusted", type=_integers, default=[500], help="trusted rows, at most; the first counts"
    )
    made.add_argument(
        "--tainted", type=_floats, default=[0.0], help="share of the trusted rows that are poison"
    )
    made.add_argument("--controls", type=int, default=2, help="clean batches per table and seed")
    made.add_argument("--workers", type=int, default=2, help="processes, each with one thread")
    made.add_argument(
        "--effects", choices=["all", "backdoors", "none"], default="all", help="for which to train models"
    )
    made.add_argument("--summary", action="store_true", help="measure nothing, print what is kept already")
    made.add_argument("--again", action="store_true", help="measure anew what is kept already")
    made.add_argument("--results", type=Path, default=runs.RESULTS, help="file that results are kept in")
    made.add_argument("--write", type=Path, help="put the tables between the marks of this Markdown file")
    made.add_argument(
        "--curve",
        type=Path,
        help="put the figures by trusted rows between the marks of this file, and draw them",
    )
    made.add_argument(
        "--by-rate", type=Path, help="put Assay's figures by rate between the marks of this Markdown file"
    )
    made.add_argument("--each", action="store_true", help="print the recall per table and per rate as well")
    return made


def _floats(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(arguments: Sequence[str]) -> int:
    """Run and print; returns the exit status: 0, 1 below a floor or where Assay crashed, 3 if nothing was measured."""
    options = parser().parse_args([*_form(arguments), *arguments])
    if "headline" in options.attacks:
        options.attacks = list(dict.fromkeys([*HEADLINE, *(a for a in options.attacks if a != "headline")]))
    absent = {name: why for name in options.tables if (why := tables.present(name)) is not None}
    for name, why in absent.items():
        print(f"not checked: table {name}: {why}")
    options.tables = [name for name in options.tables if name not in absent]
    begun, lines, versions = time.monotonic(), [], runs.versions(options.tools)
    asked = runs.run(
        cases(options),
        path=options.results,
        workers=options.workers,
        effects=options.effects,
        again=options.again,
    )
    for done, of, new in asked:
        lines += new
        if options.summary:
            print(f"{done} of {of} cases are kept in {options.results}")
            break
        _progress(done, of, time.monotonic() - begun)
    print(file=sys.stderr)
    if not lines:
        print("not checked: there was nothing to measure")
        return 3
    found = summary.frame_of(lines)
    main_part = found[(found["trusted"] == options.trusted[0]) & (found["tainted"] == options.tainted[0])]
    report(main_part, options)
    if len(options.trusted) * len(options.tainted) > 1:
        _show("Assay by number of trusted rows and share of poison among them", summary.by_trust(found))
    try:
        if options.write:
            document.write(options.write, found, main_part, arguments)
        if options.curve:
            curve.write(options.curve, found, arguments)
        if options.by_rate:
            rates.write(options.by_rate, main_part, arguments)
    except (OSError, ValueError) as error:
        print(f"the page was not written: {error}", file=sys.stderr)
        return 2
    faults = [f"Assay ended with an error in {count} cases"] if (count := summary.crashed(found)) else []
    if options.quick or options.small:
        faults += floors.broken(main_part, options.small)
    for fault in faults:
        print(f"FAILED: {fault}")
    if runs.changed_since(versions):
        print("The code changed while this ran: some figures are of one version, some of another.")
    return 1 if faults else 0


def _progress(done: int, of: int, seconds: float) -> None:
    """A bar, written over the last one."""
    full = 40 * done // max(of, 1)
    bar = "#" * full + "." * (40 - full)
    print(f"\r[{bar}] {done}/{of} cases, {seconds / 60:.1f} min ", end="", file=sys.stderr, flush=True)


def report(found: pd.DataFrame, options: argparse.Namespace) -> None:
    """Print all tables."""
    for line in summary.missing(found):
        print(line)
    print("\nRecall at 1 % false positives unless said, mean over tables and rates from 1 %\n")
    print(summary.shows(found))
    _show("Headline: recall at 1 % and 5 % false positives", summary.headline(found))
    _show("Clean batches", summary.controls(found))
    for tier in options.tiers:
        _show(f"Assay, tier {tier}, per attack", summary.per_attack(found, "assay", tier))
        if options.each:
            _show(
                f"Assay, tier {tier}, recall at 1 % per table", summary.pivot(found, "assay", tier, "table")
            )
            _show(f"Assay, tier {tier}, recall at 1 % per rate", summary.pivot(found, "assay", tier, "rate"))
    _show("End effect", summary.effects(found))
    if len(options.tools) > 1:
        _show("Every detector: recall at 1 %", summary.per_detector(found))


def _show(title: str, made: pd.DataFrame) -> None:
    if len(made):
        with pd.option_context("display.width", 200, "display.max_columns", 40, "display.max_rows", 200):
            print(f"\n{title}\n\n{made.round(3).to_string(na_rep='')}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
