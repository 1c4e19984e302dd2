"""What the tests run is measured by two tools that agree, and too little of it is a fault."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import slipcover
from coverage import Coverage, CoverageData
from slipcover.branch import preinstrument

from tests import measured

ROOT = measured.REPOSITORY
PROGRAM = '''\
"""A program with branches of all kinds, some of them taken."""


def sign(number):
    if number < 0:
        return -1
    elif number == 0:
        return 0
    return 1


def leaves(numbers, wanted):
    for number in numbers:
        if (
            number == wanted
            and number
        ):
            break
    else:
        wanted = None
    if wanted:
        numbers.clear()


def counts(limit):
    made = []
    while limit:
        limit -= 1
        try:
            made.append(1 / limit)
        except ZeroDivisionError:
            made.append(None)
        finally:
            made.append(0)
    return made


def never():
    with open("nothing") as file:
        return file.read()


@staticmethod
def late(values):
    for value in values:
        def inner():
            return value
        if value:
            continue
        return inner


sign(3), sign(0)
leaves([1, 2], 2), leaves([1], 2)
counts(3)
late([0]), late([1])
'''


def unmeasured() -> dict[str, str]:
    """The environment without what a measurement of this very test put there."""
    ours = ("COVERAGE_", "PYTEST_", measured.FOLDER)
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def figures(tool: Coverage, program: Path, folder: Path) -> dict[str, object]:
    """Which lines and branches of the program were not run."""
    told = folder / "told.json"
    tool.json_report(morfs=[str(program)], outfile=str(told))
    (file,) = json.loads(told.read_text())["files"].values()
    return {name: sorted(file[name]) for name in ("missing_lines", "missing_branches", "executed_lines")}


def test_probes_tell_what_a_tracer_tells(tmp_path: Path) -> None:
    """Line by line and branch by branch, on a program in which some were taken."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    run = ["coverage", "run", "--branch", f"--data-file={tmp_path / 'traced'}", str(program)]
    subprocess.run([sys.executable, "-m", *run], cwd=tmp_path, check=True, env=unmeasured())
    traced = Coverage(data_file=str(tmp_path / "traced"), config_file=False)
    traced.load()

    probes = slipcover.Slipcover(branch=True, exclude_lines=[])
    code = probes.instrument(compile(preinstrument(ast.parse(PROGRAM)), str(program), "exec"))
    exec(code, {"__name__": "program"})
    (seen,) = probes.get_coverage()["files"].values()
    data = CoverageData(basename=str(tmp_path / "probed"))
    branches = {(start, stop) for start, stop in seen["executed_branches"]}
    data.add_arcs({str(program): measured.arcs_of(program, set(seen["executed_lines"]), branches)})
    data.write()
    probed = Coverage(data_file=str(tmp_path / "probed"), config_file=False)
    probed.load()

    told = figures(traced, program, tmp_path)
    assert figures(probed, program, tmp_path) == told
    assert told["missing_lines"]
    assert told["missing_branches"]


def test_test_processes_and_those_that_they_start_are_measured(tmp_path: Path) -> None:
    """With the tests spread over two processes, as in CI."""
    tests = ["tests/test_strictjson.py", "tests/test_cli.py::test_the_version_is_the_package_s_own"]
    run = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *tests]
    subprocess.run(run, cwd=ROOT, check=True, env={**unmeasured(), measured.FOLDER: str(tmp_path)})
    passed = [json.loads(part.read_text()) for part in tmp_path.glob("probes-*.json")]
    strict = str(measured.SOURCE / "strictjson.py")
    assert any(part[strict]["branches"] for part in passed if strict in part)
    started = [CoverageData(basename=str(part)) for part in tmp_path.glob(".coverage.*")]
    for part in started:
        part.read()
    assert any(str(measured.SOURCE / "cli.py") in part.measured_files() for part in started)


def test_too_little_is_a_fault_and_nothing_at_all_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three of five lines were run; what was measured can be reported again."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "five.py").write_text("a = 1\nb = 2\n\n\ndef c():\n    d = 4\n    return d\n")
    settings = tmp_path / "settings.toml"
    settings.write_text(f"[tool.coverage.run]\nbranch = true\nsource = ['{tmp_path / 'source'}']\n")
    monkeypatch.setattr(measured, "CONFIGURATION", str(settings))
    with pytest.raises(SystemExit, match="no test process left anything"):
        measured.report(tmp_path, 0)
    seen = {str(tmp_path / "source" / "five.py"): {"lines": [1, 2, 5], "branches": []}}
    (tmp_path / "probes-1.json").write_text(json.dumps(seen))
    assert measured.report(tmp_path, 60) == 0
    assert measured.report(tmp_path, 61) == 2
    assert "60.00 % of lines and branches were run, fewer than 61 %" in capsys.readouterr().err
