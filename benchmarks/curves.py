"""How often the curve checks cry wolf on healthy trainings, and how many broken ones they catch.

    python benchmarks/curves.py [--quick] [--accepted N] [--json FILE]

Every pair of a data set and a network (`curve_data.py`, `curve_runs.py`) is trained N times to be the accepted runs,
then some more times, healthy, and once with each fault of `curve_faults.py`. The reference backend trains, the worker's
own functions make each epoch's event, and `CurveWatch` with the contract's default limits judges it, once without any
accepted run and once with them.

The limits were set with a look at the data sets marked `known`, at seeds below 5000. All figures printed here come from
seeds from 5000 on, which nobody looked at, and the data sets that are not `known` were not looked at either; they have
a line of their own. The accepted runs themselves count as healthy runs of the line without accepted runs.

A broken run is caught if a check failed, and held if the curve as a whole is `not_checked`: both keep the model from
promotion. A missed one is called harmless if its last validation loss is no worse than that of the worst accepted run,
and its fault does not spoil the validation rows too: nothing in such a curve tells it from a healthy one's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from curve_data import Data, data_sets
from curve_faults import FAULTS, Leak
from curve_runs import Fault, Run, Setup, epochs, suitable

from assay.contract.training import CurveLimits
from assay.findings import Outcome
from assay.train import CurvePoint, Yardsticks
from assay.train.curve import CHECKS, AcceptedRun, CurveWatch, curve_outcome

FIRST_SEED = 5000
FRESH = 4
SETUPS_EACH = 2
LIMITS = CurveLimits()
QUICK_SETS = ("breast cancer", "adult", "wine", "friedman 1", "clusters", "waves")
AIM_FALSE, AIM_CAUGHT = 0.02, 0.95


@dataclass
class Verdict:
    """What the watch said of one run.

    Attributes:
        outcome: Of the curve as a whole.
        failed: Checks that failed.
        first: Epoch of the first failure; the last epoch for a check of the whole curve.
        stopped: Epoch at which the contract's default policy would have stopped it.
        epochs: That the run had.
    """

    outcome: Outcome
    failed: tuple[str, ...]
    first: int | None
    stopped: int | None
    epochs: int


@dataclass
class Cell:
    """One data set with one network: its accepted runs, fresh healthy ones, and broken ones."""

    data: Data
    setup: Setup
    sources: str
    accepted: list[AcceptedRun] = field(default_factory=list)
    healthy: list[tuple[Verdict, Verdict | None]] = field(default_factory=list)
    broken: list[tuple[str, Verdict, Verdict, bool]] = field(default_factory=list)


def train(cell: Cell, fault: Fault, seed: int) -> AcceptedRun:
    """One whole training, whatever the checks would say."""
    made = epochs(Run(cell.data, cell.setup, seed, cell.sources, fault), fault)
    known = next(made)
    assert isinstance(known, Yardsticks)
    return AcceptedRun([point for point in made if isinstance(point, CurvePoint)], known)


def judge(run: AcceptedRun, accepted: Sequence[AcceptedRun]) -> Verdict:
    """Feed the epochs one by one, as they would arrive, and ask again at the end."""
    assert run.yardsticks is not None
    watch = CurveWatch(LIMITS, run.yardsticks, accepted=accepted)
    first = stopped = None
    for point in run.curve:
        if watch.update(point) and stopped is None:
            stopped = point.epoch
        if watch.failed and first is None:
            first = point.epoch
        if stopped is not None:
            break
    findings = watch.findings(finished=stopped is None)
    failed = tuple(f.check.removeprefix("curve.") for f in findings if f.outcome is Outcome.FAILED)
    if failed and first is None:
        first = len(run.curve)
    return Verdict(curve_outcome(findings), failed, first, stopped, len(watch.points))


def last_loss(run: AcceptedRun) -> float:
    """Validation loss of the last epoch, in trivial losses."""
    assert run.yardsticks is not None
    loss, trivial = run.curve[-1].validation_loss, run.yardsticks.trivial_validation_loss
    return float("inf") if loss is None or not trivial else loss / trivial


def cells(quick: bool) -> Iterable[Cell]:
    """Every data set with two networks, which go round."""
    for number, data in enumerate(data_sets()):
        fitting = suitable(data)
        for turn in range(1 if quick else SETUPS_EACH):
            if not quick or data.name in QUICK_SETS:
                sources = ("none", "alike", "unlike")[(number + turn) % 3]
                yield Cell(data, fitting[(2 * number + turn) % len(fitting)], sources)


def measure(cell: Cell, accepted: int, fresh: int) -> None:
    """Train and judge all runs of a cell."""
    cell.accepted = [train(cell, Fault(), FIRST_SEED + i) for i in range(accepted)]
    cell.healthy = [(judge(run, ()), None) for run in cell.accepted]
    worst = max(last_loss(run) for run in cell.accepted)
    for i in range(fresh):
        run = train(cell, Fault(), FIRST_SEED + accepted + i)
        cell.healthy.append((judge(run, ()), judge(run, cell.accepted)))
    for i, kind in enumerate(FAULTS):
        fault = kind()
        if fault.applies(cell.data):
            run = train(cell, fault, FIRST_SEED + 100 + i)
            harmless = last_loss(run) <= worst and not isinstance(fault, Leak)
            cell.broken.append((fault.name, judge(run, ()), judge(run, cell.accepted), harmless))


def print_healthy(title: str, verdicts: Sequence[Verdict]) -> None:
    """One line, and the checks that failed."""
    false = [each for each in verdicts if each.failed]
    unchecked = sum(each.outcome is Outcome.NOT_CHECKED for each in verdicts)
    by_check = Counter(check for each in false for check in each.failed)
    told = ", ".join(f"{check} {count}" for check, count in by_check.most_common()) or "none"
    print(
        f"{title:44} {len(verdicts):5} {len(false):5} {share(len(false), len(verdicts)):>7} {unchecked:6}  {told}"
    )


def share(part: int, whole: int) -> str:
    """As per cent."""
    return f"{part / whole:.1%}" if whole else "-"


def middle(numbers: Iterable[int | None]) -> str:
    """The median."""
    known = [number for number in numbers if number is not None]
    return f"{median(known):g}" if known else "-"


def report(done: Sequence[Cell], accepted: int) -> dict[str, Any]:
    """Print the tables; returns the figures of the summary."""
    print("\nHealthy runs\n")
    print(f"{'':44} {'runs':>5} {'false':>5} {'share':>7} {'unchk':>6}  by check")
    lines: dict[str, list[Verdict]] = {}
    for known, name in ((True, "known data sets, new seeds"), (False, "new data sets")):
        of = [pair for cell in done if cell.data.known == known for pair in cell.healthy]
        lines[f"{name}, no accepted runs"] = [alone for alone, _ in of]
        lines[f"{name}, {accepted} accepted runs"] = [beside for _, beside in of if beside is not None]
    for title, verdicts in lines.items():
        print_healthy(title, verdicts)
    alone = [pair[0] for cell in done for pair in cell.healthy]
    beside = [pair[1] for cell in done for pair in cell.healthy if pair[1] is not None]
    print_healthy("all, no accepted runs", alone)
    print_healthy(f"all, {accepted} accepted runs", beside)

    print(f"\nBroken runs: caught without accepted runs, and with {accepted}\n")
    print(
        f"{'':30} {'runs':>4} | {'alone':>5} {'held':>4} | {'beside':>6} {'held':>4} {'missed':>6} {'harmless':>8} "
        f"{'epoch':>6} {'stop':>6}  by check"
    )
    total: Counter[str] = Counter()
    firsts: list[int | None] = []
    stops: list[int | None] = []
    for name in [kind.name for kind in FAULTS]:
        of = [each for cell in done for each in cell.broken if each[0] == name]
        count: Counter[str] = Counter(runs=len(of))
        by_check: Counter[str] = Counter()
        for _, by_itself, compared, harmless in of:
            count["alone"] += bool(by_itself.failed)
            count["held alone"] += by_itself.outcome is Outcome.NOT_CHECKED
            count["beside"] += bool(compared.failed)
            count["held"] += compared.outcome is Outcome.NOT_CHECKED
            count["missed"] += compared.outcome is Outcome.PASSED
            count["harmless"] += compared.outcome is Outcome.PASSED and harmless
            by_check.update(compared.failed)
        first, stop = [each[2].first for each in of], [each[2].stopped for each in of]
        firsts, stops = [*firsts, *first], [*stops, *stop]
        total += count
        print(
            f"{name:30} {count['runs']:4} | {count['alone']:5} {count['held alone']:4} | {count['beside']:6} "
            f"{count['held']:4} {count['missed']:6} {count['harmless']:8} {middle(first):>6} {middle(stop):>6}  "
            + ", ".join(f"{check} {n}" for check, n in by_check.most_common(3))
        )
    caught = total["beside"] + total["held"]
    figures = {
        "healthy_runs": len(alone) + len(beside),
        "false_alone": sum(bool(each.failed) for each in alone) / len(alone),
        "false_beside": sum(bool(each.failed) for each in beside) / len(beside),
        "broken_runs": total["runs"],
        "kinds": len(FAULTS),
        "caught_alone": (total["alone"] + total["held alone"]) / total["runs"],
        "caught_beside": caught / total["runs"],
        "caught_harmful": caught / (total["runs"] - total["harmless"]),
        "median_epoch": median([each for each in firsts if each is not None]),
        "median_stop": median([each for each in stops if each is not None]),
        "stopped_live": sum(each is not None for each in stops) / total["runs"],
    }
    healthy_trained = len(alone)
    print(
        f"\n{healthy_trained} healthy trainings, {total['runs']} broken ones of {len(FAULTS)} kinds\n"
        f"false alarms: {figures['false_alone']:.1%} without accepted runs, {figures['false_beside']:.1%} with them "
        f"(aim: at most {AIM_FALSE:.0%})\n"
        f"broken runs that do not pass: {figures['caught_alone']:.1%} without accepted runs, "
        f"{figures['caught_beside']:.1%} with them (aim: at least {AIM_CAUGHT:.0%}); "
        f"{figures['caught_harmful']:.1%} of those that did harm\n"
        f"median epochs to the first failure: {figures['median_epoch']:g}; the default policy stops "
        f"{figures['stopped_live']:.0%} of broken runs at once, at a median of {figures['median_stop']:g} epochs"
    )
    return figures


def main(arguments: Sequence[str]) -> dict[str, Any]:
    """Run the benchmark; returns the figures of its summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="six data sets with one network each")
    parser.add_argument("--accepted", type=int, default=8, help="accepted runs of each data set and network")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args(arguments)
    start, done = time.monotonic(), []
    for cell in cells(options.quick):
        measure(cell, options.accepted, FRESH)
        done.append(cell)
        print(f"{time.monotonic() - start:6.0f} s  {cell.data.name}, {cell.setup.name}", file=sys.stderr)
    figures = report(done, options.accepted)
    unused = set(CHECKS) - {check for cell in done for _, _, v, _ in cell.broken for check in v.failed}
    if unused:
        print(f"checks that no broken run failed: {', '.join(sorted(unused))}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
