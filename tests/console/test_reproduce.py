"""The commands that the pages show run as they stand."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from assay.console.desk import Contracts, Desk
from assay.console.reproduce import commands

pytestmark = pytest.mark.usefixtures("unfollowed")

_RIGHT = {0, 1, 3}  # passed, failed, not checked; 2 would be a command that was put together wrongly


def shown(console, ids) -> list[dict[str, str]]:
    """All commands of all pages."""
    return [
        *console.delivery(ids["west"])["reproduce"],
        *console.case(ids["west/screening"])["reproduce"],
        *console.run(ids["run"])["reproduce"],
        *console.model(ids["model"])["reproduce"],
        *console.verify(0.01)["reproduce"],
    ]


def test_every_command_that_a_page_shows_runs_as_it_stands(world, tmp_path):
    """In a shell without any of our variables, each does what its title says."""
    console = world.console
    told = list({each["command"]: each for each in shown(console, world.ids)}.values())
    console.close()
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "assay"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m assay.cli "$@"\n')
    script.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    clean["PATH"] = f"{folder}:{clean['PATH']}"
    for each in told:
        done = subprocess.run(
            each["command"], shell=True, env=clean, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode in _RIGHT, (each, done.stdout[-500:], done.stderr[-2000:])
        assert "Traceback" not in done.stderr
        assert done.stdout.strip(), each
    assert len(told) >= 10


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"database_url": "postgresql://assay:s3cret@db/assay"}, "ASSAY_DATABASE_URL"),
        ({"store_uri": "https://user:s3cret@store/objects"}, "ASSAY_STORE_URI"),
    ],
)
def test_no_command_shows_a_secret(world, changes, variable):
    """What holds a password is asked of the reader's environment, not written down."""
    settings = replace(world.town.settings, **changes)
    desk = Desk(
        settings, world.console._desk.database, world.console._desk.store, Contracts(settings.contracts_dir)
    )
    (said,) = commands(desk, ("Check", ["ledger", "verify"]))
    assert "s3cret" not in said["command"] + said["title"]
    assert variable in said["title"]
