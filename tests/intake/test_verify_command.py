"""`assay verify`: what a person sees, what a script gets, and the exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from assay.cli import app
from assay.contract import Contract, dump_contract
from assay.db import advance_delivery
from tests.intake.support import Line, serve

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that do not answer are given up soon."""
    from assay.intake import sources

    monkeypatch.setattr(sources.Transfer.__init__, "__defaults__", (1.0, 1.0, 2, 0.01, 5))


def write(line: Line, contract: Contract | None = None) -> str:
    path = line.root / "adult.yaml"
    path.write_text(dump_contract(contract or line.contract()))
    return str(path)


def assay(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["verify", *map(str, arguments)])


def as_json(*arguments: object) -> dict[str, Any]:
    return json.loads(assay(*arguments, "--json").stdout)  # type: ignore[no-any-return]


def test_an_accepted_delivery_ends_with_0_and_says_who_signed(line: Line) -> None:
    """Table of checks, facts, verdict."""
    result = assay(line.deliver(), "--contract", write(line))
    assert result.exit_code == 0, result.output
    assert "verdict: accept" in result.stdout
    assert line.public["first"].id in result.stdout
    assert "intake.signature" in result.stdout


def test_a_rejected_delivery_ends_with_1_and_says_why(line: Line) -> None:
    """No traceback, and the reason in words."""
    folder = line.deliver()
    (folder / "people.csv").write_text("x")
    result = assay(folder, "--contract", write(line))
    assert result.exit_code == 1
    assert "verdict: reject" in result.stdout
    assert "people.csv" in result.stdout
    assert "Traceback" not in result.output


def test_a_delivery_on_hold_ends_with_3(line: Line) -> None:
    """Nothing failed, and something was not checked."""
    contract = line.contract(sources=[line.source(signature=None)])
    result = assay(line.deliver(), "--contract", write(line, contract))
    assert result.exit_code == 3
    assert "verdict: hold" in result.stdout
    assert "nobody that the contract knows" in result.stdout


def test_an_unchanged_delivery_ends_with_0_and_nothing_to_do(line: Line) -> None:
    """Where repeats are normal."""
    contract = line.contract(sources=[line.source(on_repeat="skip")])
    folder = line.deliver(contract=contract)
    first = as_json(folder, "--contract", write(line, contract))
    with line.database.write() as session:
        advance_delivery(session, first["delivery_id"], "admitted", verdict="accept")
    result = assay(folder, "--contract", write(line, contract))
    assert result.exit_code == 0
    assert "unchanged" in result.stdout


def test_json_holds_the_whole_answer(line: Line) -> None:
    """Findings, files, ids; on standard output alone."""
    answer = as_json(line.deliver(sequence=4), "--contract", write(line))
    assert answer["verdict"] == "accept"
    assert answer["sequence"] == 4
    assert {each["check"]: each["outcome"] for each in answer["findings"]}["intake.signature"] == "passed"
    assert [each["path"] for each in answer["files"]] == [
        "README.md",
        "delivery.json",
        "part/more.csv",
        "people.csv",
    ]
    assert answer == line.verify(line.root / "delivery").model_dump(mode="json")


def test_a_served_delivery_is_verified_by_its_address(line: Line) -> None:
    """http with a signature."""
    with serve(line.deliver()) as web:
        assert assay(web.uri, "--contract", write(line)).exit_code == 0


@pytest.mark.parametrize(
    ("delivery", "says"),
    [
        ("/nowhere", "no delivery at /nowhere"),
        ("/etc/hostname", "is not a folder"),
        ("gopher://bucket/x", "cannot be read from gopher://"),
    ],
)
def test_a_delivery_that_is_not_there_is_a_usage_error(line: Line, delivery: str, says: str) -> None:
    """Exit code 2, in JSON as well."""
    result = assay(delivery, "--contract", write(line))
    assert result.exit_code == 2
    assert says in result.stderr
    answer = as_json(delivery, "--contract", write(line))
    assert says in answer["message"]
    assert answer["next"]


def test_a_contract_that_is_not_there_or_wrong_is_a_usage_error(line: Line) -> None:
    """Before the delivery is looked at."""
    folder = line.deliver()
    assert assay(folder, "--contract", line.root / "none.yaml").exit_code == 2
    (line.root / "wrong.yaml").write_text("version: 1\n")
    assert assay(folder, "--contract", line.root / "wrong.yaml").exit_code == 2
    assert assay(folder).exit_code == 2


def test_a_source_must_be_named_where_several_could_be_meant(line: Line) -> None:
    """The error lists them; --source decides."""
    contract = line.contract(sources=[line.source("west"), line.source("east")])
    folder = line.deliver(contract=contract)
    (folder / "delivery.json").unlink()
    from assay.intake.publish import write_manifest

    write_manifest(folder)
    line.sign(folder)
    result = assay(folder, "--contract", write(line, contract))
    assert result.exit_code == 2
    assert "west, east" in result.stderr
    assert assay(folder, "--contract", write(line, contract), "--source", "west").exit_code == 0
    assert assay(folder, "--contract", write(line, contract), "--source", "north").exit_code == 2


def test_a_folder_without_a_manifest_ends_with_1(line: Line, tmp_path: Path) -> None:
    """Empty, or with other files; the next step says how a manifest is made."""
    (tmp_path / "empty").mkdir()
    result = assay(tmp_path / "empty", "--contract", write(line))
    assert result.exit_code == 1
    assert "an empty folder" in result.stderr
    assert "sha256sum" in result.stderr


def test_a_server_that_does_not_answer_ends_with_1(line: Line) -> None:
    """What was tried, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        result = assay(f"http://127.0.0.1:{taken.getsockname()[1]}/", "--contract", write(line))
    assert result.exit_code == 1
    assert "could not be fetched" in result.stderr
    assert "next: check that the address is right" in result.stderr


def test_a_server_without_the_delivery_ends_with_1(line: Line, tmp_path: Path) -> None:
    """404 for the manifest."""
    (tmp_path / "empty").mkdir()
    with serve(tmp_path / "empty") as web:
        result = assay(web.uri, "--contract", write(line))
    assert result.exit_code == 1
    assert "404" in result.stderr


def test_names_in_a_delivery_cannot_style_the_output(line: Line) -> None:
    """Square brackets are text, and control characters never get in."""
    folder = line.deliver(files={"[bold]x[/bold].csv": b"x"})
    (folder / "[red]extra\x1b[31m.csv").touch()
    result = assay(folder, "--contract", write(line))
    assert result.exit_code == 1
    assert "[red]extra" in "".join(result.stdout.split())
    assert "\x1b[31m" not in result.stdout


def test_the_command_works_as_a_process_of_its_own(line: Line) -> None:
    """As a person or a script starts it; a local delivery needs no web client, and nothing needs pandas."""
    code = (
        "import atexit, sys; from assay.cli import main;"
        "atexit.register(lambda: print(sorted({'httpx', 'pandas'} & set(sys.modules)), file=sys.stderr)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "verify", str(line.deliver()), "-c", write(line), "--json"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "include")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "accept"
    assert done.stderr == "[]\n"


def test_somebody_who_looks_sees_the_bytes_arrive(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, on standard error, and not in JSON."""
    from assay.commands import verify as command

    seen: list[tuple[str, int]] = []
    true_progress = command._progress

    @contextmanager
    def watched(*, quiet: bool) -> Iterator[Any]:
        with true_progress(quiet=quiet) as tell:
            assert (tell is None) == quiet

            def both(path: str, size: int) -> None:
                seen.append((path, size))
                tell(path, size)

            yield None if quiet else both

    monkeypatch.setattr(command, "_progress", watched)
    monkeypatch.setattr(command, "_somebody_looks", lambda: True)
    folder = line.deliver()
    assert assay(folder, "-c", write(line)).exit_code == 0
    assert ("people.csv", len((folder / "people.csv").read_bytes())) in seen
    seen.clear()
    assert assay(folder, "-c", write(line), "--json").exit_code == 0
    assert seen == []
