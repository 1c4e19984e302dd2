"""`assay screen`: files in, files out, exit codes."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from assay.commands._progress import rows_bar
from assay.commands.screen import app
from tests.screen import attacks

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean and a poisoned table, trusted rows, a snapshot, and a contract that names the trusted rows."""
    home = tmp_path_factory.mktemp("screen")
    case = attacks.make_case(
        attacks.blobs(1500, 6), "fixed", 0.08, 1, rows=700, trusted=300, hold_delivery_above=0.05
    )
    calm = attacks.make_case(attacks.blobs(1500, 6), "clean", 0, 1, rows=700, trusted=300, history=True)
    assert calm.previous is not None
    for name, frame in (
        ("poisoned", case.batch),
        ("clean", calm.batch),
        ("trusted", case.trusted),
        ("old", calm.previous),
    ):
        pq.write_table(attacks.to_table(frame), home / f"{name}.parquet")
    raw = case.contract.model_dump(mode="json", by_alias=True)
    contract = {k: raw[k] for k in ("version", "dataset", "schema", "screen")} | {
        "trusted": {"uri": "trusted.parquet"}
    }
    (home / "contract.yaml").write_text(yaml.safe_dump(contract))
    return home


def call(folder: Path, table: str, *more: str) -> tuple[int, str]:
    arguments = [
        str(folder / table),
        "--contract",
        str(folder / "contract.yaml"),
        "--out",
        str(folder / "out.parquet"),
    ]
    result = runner.invoke(app, [*arguments, *more])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_clean_table_is_accepted_with_0(folder: Path) -> None:
    """The contract's own trusted rows are used; the report is written, nothing else is left."""
    before = set(folder.iterdir())
    code, output = call(folder, "clean.parquet", "--previous", str(folder / "old.parquet"))
    assert code == 0
    assert "accept" in output
    assert "batch+trusted+sources+previous" in output.replace("\n", "")
    assert pq.read_table(folder / "out.parquet").num_rows == 700
    assert set(folder.iterdir()) - before == {folder / "out.parquet"}


def test_a_poisoned_table_is_held_with_1(folder: Path) -> None:
    """JSON says why, and the findings file holds the group."""
    code, output = call(folder, "poisoned.parquet", "--json", "--findings", str(folder / "f.json"))
    assert code == 1
    answer = json.loads(output[output.index("{") :])
    assert answer["verdict"] == "hold"
    assert answer["quarantined"] == np.sum(
        np.array(pq.read_table(folder / "out.parquet")["verdict"].to_pylist()) == "quarantine"
    )
    found = json.loads((folder / "f.json").read_text())
    assert any(f["check"] == "screen.spikes" and f["technique"] == "AML.T0018" for f in found)


def test_people_see_the_worst_rows(folder: Path) -> None:
    """Row numbers and reasons."""
    code, output = call(folder, "poisoned.parquet")
    assert code == 1
    assert "Most suspicious rows" in output
    assert "spikes" in output


def test_wrong_calls_are_2(folder: Path) -> None:
    """A table that is not there, trusted rows that are not there, an output over an input."""
    assert call(folder, "none.parquet")[0] == 2
    assert call(folder, "clean.parquet", "--trusted", str(folder / "none.parquet"))[0] == 2
    code, output = call(folder, "clean.parquet", "--findings", str(folder / "clean.parquet"))
    assert code == 2
    assert "overwritten" in output
    assert pq.read_table(folder / "clean.parquet").num_rows == 700


def test_no_rows_is_no_pass(folder: Path) -> None:
    """Nothing could be looked at, and that is said."""
    pq.write_table(pq.read_table(folder / "clean.parquet").slice(0, 0), folder / "empty.parquet")
    code, output = call(folder, "empty.parquet")
    print(output)
    assert code in (1, 3)
    assert "no rows" in output


def test_a_file_cut_short_is_an_error_not_a_traceback(folder: Path) -> None:
    """And no report is written."""
    whole = (folder / "clean.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "out.parquet").unlink(missing_ok=True)
    code, output = call(folder, "cut.parquet")
    assert code in (1, 2)
    assert "error" in output
    assert not (folder / "out.parquet").exists()


def test_trusted_rows_that_are_not_the_pinned_ones_are_refused(folder: Path, tmp_path: Path) -> None:
    """Whoever can change the reference can change every verdict."""
    raw = yaml.safe_load((folder / "contract.yaml").read_text())
    right = hashlib.sha256((folder / "trusted.parquet").read_bytes()).hexdigest()
    for pinned, expected in ((right, 0), ("0" * 64, 1)):
        raw["trusted"] = {"uri": str(folder / "trusted.parquet"), "sha256": pinned}
        (tmp_path / "pinned.yaml").write_text(yaml.safe_dump(raw))
        result = runner.invoke(
            app,
            [
                str(folder / "clean.parquet"),
                "-c",
                str(tmp_path / "pinned.yaml"),
                "-o",
                str(tmp_path / "o.parquet"),
            ],
        )
        assert result.exit_code == expected
    assert "not the one that the contract pins" in result.output


@pytest.mark.parametrize("terminal", [True, False])
def test_long_work_shows_a_bar_on_a_terminal_only(terminal: bool) -> None:
    """Anew for each pass over the rows; nothing in a log."""
    drawn = io.StringIO()
    batch = pa.record_batch({"x": [1, 2, 3]})
    console = Console(file=drawn, force_terminal=terminal, width=120)
    with rows_bar(6, console) as watched:
        opener = watched(lambda size: [batch, batch])
        for _ in range(2):
            assert sum(b.num_rows for b in opener(10)) == 6
    assert ("scoring" in drawn.getvalue()) is terminal
    assert terminal or drawn.getvalue() == ""
