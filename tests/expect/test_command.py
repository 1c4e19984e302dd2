"""`assay validate`: what it prints, writes and exits with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from assay.cli import app
from assay.commands import validate as command
from assay.expect import FAILING_SCHEMA

CONTRACT = """
version: 1
dataset: people
schema:
  key: [id]
  columns:
    id: {type: integer}
    age: {type: integer, min: 17, max: 90}
expectations: %s
"""


def run(*arguments: object) -> Result:
    """The command line, as a person calls it."""
    return CliRunner().invoke(app, ["validate", *map(str, arguments)], env={"COLUMNS": "200"})


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A contract, and a table that keeps to it."""
    contract, table = tmp_path / "people.yaml", tmp_path / "people.csv"
    contract.write_text(CONTRACT % "[]")
    table.write_text("id,age\n1,39\n2,50\n3,38\n")
    return contract, table


def test_a_table_that_keeps_to_its_contract_exits_0(files: tuple[Path, Path]) -> None:
    """With every expectation and its outcome in a table."""
    contract, table = files
    result = run(table, "--contract", contract)
    assert result.exit_code == 0, result.output
    assert "column_values_to_be_unique" in result.stdout
    assert "3 rows, 0 of them fail; expectations: 5 passed" in result.stdout


def test_failing_rows_exit_1_are_shown_and_written(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Row numbers go through all tables in order."""
    contract, table = files
    second = tmp_path / "more.parquet"
    pq.write_table(pa.table({"id": [3, 4], "age": [7, 200]}), second)
    out = tmp_path / "new" / "failing.parquet"
    result = run(table, second, "--contract", contract, "--failing-rows", out)
    assert result.exit_code == 1
    assert "row 3: 7" in result.stdout
    assert str(out) in result.stdout.replace("\n", "")
    written = pq.read_table(out)
    assert written.schema == FAILING_SCHEMA
    double, outside = "id: the key stands more than once", "age: not between 17 and 90"
    assert written.to_pylist() == [
        {"row": 2, "reasons": [double]},
        {"row": 3, "reasons": [outside, double]},
        {"row": 4, "reasons": [outside]},
    ]
    assert [each.name for each in out.parent.iterdir()] == ["failing.parquet"]


def test_an_expectation_that_cannot_be_evaluated_exits_3(files: tuple[Path, Path]) -> None:
    """Not checked is not passed."""
    contract, table = files
    asked = "[{type: expect_table_row_count_to_equal_other_table, other_table_name: elsewhere}]"
    contract.write_text(CONTRACT % asked)
    result = run(table, "--contract", contract)
    assert result.exit_code == 3
    assert "not_checked" in result.stdout


def test_json_carries_outcome_findings_and_files(files: tuple[Path, Path], tmp_path: Path) -> None:
    """And nothing else stands on standard output."""
    contract, table = files
    result = run(table, "--contract", contract, "--json", "--docs", tmp_path / "docs")
    facts: dict[str, Any] = json.loads(result.stdout)
    assert (facts["outcome"], facts["rows"], facts["failing_rows"]) == ("passed", 3, 0)
    assert facts["files"] == [{"name": str(table), "first_row": 0, "rows": 3}]
    assert Path(facts["docs"]).is_file()
    assert {finding["evidence"]["level"] for finding in facts["findings"]} == {"row", "table"}


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("no table", 2, ["no table at", "next:"]),
        ("no contract", 2, ["no contract at", "next:"]),
        ("wrong expectation", 2, ["expectations[0]", "no expectation of this name", "next:"]),
        ("unknown column", 1, ["not in the contract: pay", "next:"]),
        ("not a table", 1, ["is not what its name says", "next:"]),
    ],
)
def test_mistakes_end_in_one_message_and_no_traceback(
    files: tuple[Path, Path], change: str, code: int, words: list[str]
) -> None:
    """What, where, expected, found and the next step."""
    contract, table = files
    if change == "no table":
        table.unlink()
    elif change == "no contract":
        contract.unlink()
    elif change == "wrong expectation":
        contract.write_text(CONTRACT % "[{type: expect_columns_to_sing}]")
    elif change == "unknown column":
        table.write_text("id,age,pay\n1,39,5\n")
    else:
        table.write_bytes(b"PK\x03\x04 a spreadsheet")
    result = run(table, "--contract", contract)
    assert result.exit_code == code
    assert not result.stdout
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.stderr


def test_a_full_disk_leaves_no_half_written_file(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failing rows are written beside their place first; what stood there before still stands."""
    contract, table = files
    out = tmp_path / "failing.parquet"
    out.write_text("what stood there before")

    class FullDisk(pq.ParquetWriter):  # type: ignore[misc]
        def __exit__(self, *given: object) -> None:
            super().__exit__(*given)
            raise OSError(28, "No space left on device", str(out))

    monkeypatch.setattr(pq, "ParquetWriter", FullDisk)
    result = run(table, "--contract", contract, "--failing-rows", out)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert "free some disk space" in result.stderr
    assert out.read_text() == "what stood there before"
    assert sorted(each.name for each in tmp_path.iterdir() if "failing" in each.name) == ["failing.parquet"]


def test_the_command_is_light_until_it_is_used() -> None:
    """Its module is imported for `--help`; Great Expectations and pandas are not."""
    import subprocess
    import sys

    source = Path(command.__file__).parents[2]
    heavy = "('pandas', 'great_expectations')"
    code = f"import sys, assay.commands.validate; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
