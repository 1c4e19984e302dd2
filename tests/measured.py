"""What of `include/assay` the tests run, measured so that it hardly slows them.

Before Python 3.12 a tracer costs every line of every library a call, and a test run a third of its time. SlipCover
instead puts probes into our own code alone, and takes them out once they have been passed. It knows only the process
it is in, so that coverage.py measures the processes that tests start, and reports the two together.

`ASSAY_TEST_COVERAGE` names the folder for what is measured; without it, nothing is. Afterwards, in the same folder:
`python -m tests.measured FOLDER --fail-under=90`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

FOLDER = "ASSAY_TEST_COVERAGE"
REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGURATION = str(REPOSITORY / "pyproject.toml")
SOURCE = REPOSITORY / "include" / "assay"
_EXIT = 0  # where a branch leads that leaves its function, to SlipCover
_ENTRY = -1  # where a function is entered from, to coverage.py

_probes: Any = None


def begin() -> None:
    """Puts probes into what this process imports of ours from now on."""
    global _probes
    if FOLDER not in os.environ:
        return
    import slipcover

    _probes = slipcover.Slipcover(branch=True, exclude_lines=[])
    slipcover.ImportManager(_probes, slipcover.FileMatcher(sources=[SOURCE])).__enter__()


def follow() -> None:
    """Has coverage.py measure the processes that this one starts from now on."""
    if FOLDER not in os.environ:
        return
    from coverage import Coverage

    settings = Coverage(
        config_file=CONFIGURATION, data_file=str(Path(os.environ[FOLDER]) / ".coverage")
    ).config
    settings.source = [str(SOURCE)]
    os.environ["COVERAGE_PROCESS_CONFIG"] = settings.serialize()


def end() -> None:
    """Writes down which probes were passed."""
    if _probes is None:
        return
    found = {
        str(Path(name).resolve()): {"lines": file["executed_lines"], "branches": file["executed_branches"]}
        for name, file in _probes.get_coverage()["files"].items()
    }
    (Path(os.environ[FOLDER]) / f"probes-{os.getpid()}.json").write_text(json.dumps(found))


def arcs_of(file: Path, lines: set[int], branches: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """What SlipCover saw of a file, in coverage.py's terms: steps from line to line.

    Where a branch leaves a function, coverage.py names the function. It sees a branch in each `case`, SlipCover one in
    the whole `match`: those count as not taken.
    """
    from coverage.parser import PythonParser

    parser = PythonParser(text=file.read_text(), filename=str(file))
    parser.parse_source()
    exits = {start: stop for start, stop in sorted(parser.arcs(), reverse=True) if stop < 0}
    arcs = [(_ENTRY, line) for line in lines]
    for start, stop in branches:
        if stop != _EXIT:
            arcs.append((start, stop))
        elif start in exits:
            arcs.append((start, exits[start]))
    return arcs


def report(folder: Path, fail_under: float) -> int:
    """Prints what was run and what was not; says whether that is enough.

    Returns:
        The exit status: 0, or 2 where less than `fail_under` per cent of lines and branches were run.
    """
    from coverage import Coverage, CoverageData

    lines: dict[str, set[int]] = defaultdict(set)
    branches: dict[str, set[tuple[int, int]]] = defaultdict(set)
    written = sorted(folder.glob("probes-*.json"))
    if not written:
        sys.exit(f"coverage: no test process left anything in {folder}")
    for part in written:
        for name, seen in json.loads(part.read_text()).items():
            lines[name].update(seen["lines"])
            branches[name].update((start, stop) for start, stop in seen["branches"])
    passed = CoverageData(basename=str(folder / ".coverage"), suffix="probes")
    passed.add_arcs({name: arcs_of(Path(name), lines[name], branches[name]) for name in lines})
    passed.write()
    measured = Coverage(config_file=CONFIGURATION, data_file=str(folder / ".coverage"))
    measured.combine([str(folder)], keep=True)
    percent = measured.report()
    if percent >= fail_under:
        print(f"coverage: {percent:.2f} % of lines and branches were run")
        return 0
    print(
        f"coverage: {percent:.2f} % of lines and branches were run, fewer than {fail_under} %",
        file=sys.stderr,
    )
    return 2


def main() -> int:
    """Reports what a test run measured."""
    options = argparse.ArgumentParser(prog="tests.measured", description=main.__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--fail-under", type=float, required=True, metavar="PERCENT")
    given = options.parse_args()
    return report(given.folder.resolve(), given.fail_under)


if __name__ == "__main__":
    sys.exit(main())
