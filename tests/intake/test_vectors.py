"""Vectors from outside: the same data in every format, and a place for each that is none."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from assay.contract import Contract
from assay.intake.tables import BadCells, ReadError, read_batches, read_table, table_batches, table_schema

ROWS: list[list[float] | None] = [[1.0, 0.5, -2.0], None, [0.0, 0.25, 1e-9], [3.0, 4.0, 5.0]]


def contract(**column: Any) -> Contract:
    """A contract with a number and a vector of three components."""
    columns = {"id": {"type": "integer"}, "emb": {"type": "vector", "length": 3, "nullable": True, **column}}
    return Contract.model_validate({"version": 1, "dataset": "things", "schema": {"columns": columns}})


def table(rows: list[Any], kind: pa.DataType) -> pa.Table:
    """Rows numbered from 0."""
    return pa.table({"id": list(range(len(rows))), "emb": pa.array(rows, kind)})


def as_parquet(path: Path, rows: list[Any]) -> None:
    """Lists of variable size."""
    pq.write_table(table(rows, pa.list_(pa.float64())), path)


def as_fixed_parquet(path: Path, rows: list[Any]) -> None:
    """Lists of fixed size, in float32."""
    pq.write_table(table(rows, pa.list_(pa.float32(), 3)), path)


def as_arrow(path: Path, rows: list[Any]) -> None:
    """Large lists in an Arrow file."""
    whole = table(rows, pa.large_list(pa.float64()))
    with ipc.new_file(str(path), whole.schema) as writer:
        writer.write_table(whole)


def as_jsonl(path: Path, rows: list[Any]) -> None:
    """Lists of numbers in JSON."""
    path.write_text("".join(json.dumps({"id": i, "emb": row}) + "\n" for i, row in enumerate(rows)))


def as_csv(path: Path, rows: list[Any]) -> None:
    """JSON lists in quoted cells."""
    cells = ["" if row is None else f'"{json.dumps(row)}"' for row in rows]
    path.write_text("id,emb\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))


FORMATS = {
    "rows.parquet": as_parquet,
    "rows.arrow": as_arrow,
    "rows.jsonl": as_jsonl,
    "rows.csv": as_csv,
}


@pytest.mark.parametrize(("name", "write"), [*FORMATS.items(), ("fixed.parquet", as_fixed_parquet)])
def test_every_format_carries_the_same_vectors(
    name: str, write: Callable[[Path, list[Any]], None], tmp_path: Path
) -> None:
    """Lists of any size and width become one Arrow type; nulls stay nulls."""
    rows = [row and [part if part != 1e-9 else 0.125 for part in row] for row in ROWS]
    write(tmp_path / name, rows)
    found = read_table(tmp_path / name, contract())
    assert found.schema == table_schema(contract())
    assert found.column("emb").to_pylist() == rows


BAD: list[tuple[Any, str]] = [
    ([1.0, 2.0], "not of 3 components"),
    ([1.0, 2.0, 3.0, 4.0], "not of 3 components"),
    ([], "not of 3 components"),
    ([1.0, None, 3.0], "has a component that is null"),
    ([1.0, math.nan, 3.0], "not finite"),
    ([1.0, math.inf, 3.0], "not finite"),
    ([1.0, -7.0, 3.0], "not between -5.0 and 10.0"),
    ([1.0, 11.0, 3.0], "not between -5.0 and 10.0"),
]


@pytest.mark.parametrize(("name", "write"), FORMATS.items())
def test_what_is_no_vector_of_the_contract_is_reported_where_it_stands(
    name: str, write: Callable[[Path, list[Any]], None], tmp_path: Path
) -> None:
    """Length, gaps, numbers that are none, bounds: each bad cell with its row and its reason, and null in the table."""
    rows = [row for bad, _ in BAD for row in ([0.0, 1.0, 2.0], bad)]
    write(tmp_path / name, rows)
    found: list[BadCells] = []
    batches = list(
        read_batches(tmp_path / name, contract(min=-5, max=10), on_error="collect", on_bad_cells=found.append)
    )
    told = {int(row): cells.problem for cells in found for row in cells.rows}
    assert sorted(told) == list(range(1, len(rows), 2))
    for number, (_, reason) in enumerate(BAD):
        assert reason in told[2 * number + 1]
    vectors = pa.Table.from_batches(batches).column("emb").to_pylist()
    assert vectors == [row if i % 2 == 0 else None for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    "cell",
    ["[1, 2", '["1", 2, 3]', "[true, 2, 3]", "[[1], 2, 3]", '{"a": 1}', "7", "[9007199254740993, 1, 2]"],
)
def test_text_that_is_no_list_of_numbers_is_a_bad_cell(cell: str, tmp_path: Path) -> None:
    """In CSV; a whole number that a float64 cannot hold is one too."""
    path = tmp_path / "rows.csv"
    path.write_text('id,emb\n0,"' + cell.replace('"', '""') + '"\n')
    with pytest.raises(ReadError, match=r"not a list of numbers|would lose digits|JSON"):
        read_table(path, contract())


@pytest.mark.parametrize("value", [7, "x", True, {"a": 1}, [1, "x", 2], [1, [2], 3], [1, True, 3]])
def test_json_of_another_kind_is_a_bad_cell(value: Any, tmp_path: Path) -> None:
    """A number, a text or an object in the place of a vector, or in it."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": 0, "emb": value}) + "\n")
    with pytest.raises(ReadError, match=r"in the place of a list|not a list of numbers"):
        read_table(path, contract())


def test_integers_beyond_float_lose_digits_and_are_refused() -> None:
    """As they are in a column of numbers."""
    whole = pa.table({"id": [0], "emb": pa.array([[2**53 + 1, 0, 0]], pa.list_(pa.int64()))})
    with pytest.raises(ReadError, match="lose digits"):
        list(table_batches(whole, contract()))
    fine = pa.table({"id": [0], "emb": pa.array([[2**53, 0, 0]], pa.list_(pa.int64()))})
    assert next(table_batches(fine, contract())).column("emb").to_pylist() == [[2.0**53, 0.0, 0.0]]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.float64(), pa.list_(pa.string()), pa.list_(pa.list_(pa.float64()))]
)
def test_columns_of_another_type_are_refused(kind: pa.DataType, tmp_path: Path) -> None:
    """A Parquet column that is no list of numbers, before a row is read."""
    pq.write_table(pa.table({"id": [0], "emb": pa.nulls(1, kind)}), tmp_path / "rows.parquet")
    with pytest.raises(ReadError, match=r"emb is .*, not vector"):
        read_table(tmp_path / "rows.parquet", contract())


def test_a_file_of_lists_that_are_far_too_long_is_refused_before_they_are_read(tmp_path: Path) -> None:
    """Few bytes can promise gigabytes of numbers."""
    rows = [[0.0] * 1000] * 5
    pq.write_table(table(rows, pa.list_(pa.float64())), tmp_path / "rows.parquet")
    with pytest.raises(ReadError, match="5000 numbers in 5 vectors"):
        read_table(tmp_path / "rows.parquet", contract())


def test_slices_and_nulls_of_fixed_lists_keep_their_places() -> None:
    """A null of a list of fixed size has components behind it, which do not count."""
    whole = table([[9, 9, 9], None, [1, 2, 3], None, [4, 5, 6]], pa.list_(pa.float32(), 3)).slice(1)
    (batch,) = table_batches(whole, contract())
    assert batch.column("emb").to_pylist() == [None, [1, 2, 3], None, [4, 5, 6]]
