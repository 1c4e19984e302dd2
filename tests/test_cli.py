"""The command's outside: which sub-commands there are, their help, exit codes and JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    "demo",
    "doctor",
    "contract",
    "trust",
    "verify",
    "validate",
    "screen",
    "cases",
    "ledger",
    "train",
    "model",
]
SUBCOMMANDS = {
    "contract": ["check", "schema", "import"],
    "trust": ["add", "list", "revoke"],
    "cases": ["list", "show", "release", "reject"],
    "ledger": ["verify", "prove", "trace", "export"],
    "model": ["verify", "show", "promote", "rollback"],
}


def assay(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assay.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def overview() -> str:
    return assay("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_overview_and_has_help(overview, command):
    """`assay --help` lists it, and `assay COMMAND --help` explains it with exit code 0."""
    assert f"  {command} " in overview
    shown = assay(command, "--help")
    assert shown.returncode == 0
    assert "Usage: assay" in shown.stdout
    for sub in SUBCOMMANDS.get(command, []):
        assert sub in shown.stdout
    if command not in SUBCOMMANDS:
        assert "--json" in shown.stdout


@pytest.mark.parametrize("command", ["serve", "audit", "predict", "nonsense"])
def test_what_does_not_exist_is_a_usage_error_and_no_stub(overview, command):
    """A command that there is not is not listed, and exits with 2."""
    assert f"  {command} " not in overview
    assert assay(command).returncode == 2


def test_the_version_is_the_package_s_own():
    """`assay --version` prints it."""
    from assay import __version__

    assert assay("--version").stdout.strip() == f"assay {__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "/nowhere", "--contract", "/nowhere.yaml"),
        ("validate", "/nowhere.parquet", "--contract", "/nowhere.yaml"),
        ("screen", "/nowhere.parquet", "--contract", "/nowhere.yaml", "--out", "/tmp/never.parquet"),
        ("train", "latest", "--contract", "/nowhere.yaml"),
    ],
)
def test_a_missing_contract_is_a_usage_error_without_a_traceback(arguments):
    """Exit code 2, one message that names the path and the next step."""
    done = assay(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "/nowhere" in done.stderr + done.stdout


def test_a_contract_with_errors_lists_each_with_field_and_fix(tmp_path: Path):
    """`contract check` exits with 1 and names the unknown key and what was meant."""
    path = tmp_path / "c.yaml"
    path.write_text("version: 1\ndataset: x\nschema: {columns: {a: {type: integr}}}\nsorces: []\n")
    done = assay("contract", "check", str(path), "--json")
    assert done.returncode == 1
    said = done.stdout
    json.loads(said)
    assert "sorces" in said
    assert "sources" in said
    assert "integr" in said
