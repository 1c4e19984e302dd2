"""The same rows through file formats and engines have the same hashes; the vectors in the repository never change."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.util
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.json as pajson
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.ledger.rows.hashing import hash_cells, row_cells, row_hash, row_hashes

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rows-v2.json").read_text(encoding="utf-8"))
STANDALONE = Path(__file__).resolve().parents[3] / "docs" / "verify" / "verify.py"

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "weight": pa.array([0.1, -0.0, 1e300, 77516.25], pa.float64()),
        "name": pa.array(
            ["ash", "élan", "x" * 32, "a text that does not fit into thirty-two bytes"], pa.string()
        ),
        "ok": pa.array([True, False, True, False], pa.bool_()),
        "day": pa.array([dt.date(1970, 1, 1), dt.date(2026, 3, 1), dt.date(1900, 1, 1), dt.date(2100, 1, 1)]),
        "at": pa.array([0, 1_700_000_000_123_456, -1, 86_400_000_000], pa.timestamp("us")),
    }
)
NAMES = TABLE.column_names
EXPECTED = row_hashes(TABLE, NAMES).tobytes()


def through_csv(path: Path) -> pa.Table:
    """Text, read with the contract's types."""
    pacsv.write_csv(TABLE, path)
    options = pacsv.ConvertOptions(column_types=TABLE.schema, strings_can_be_null=False)
    return pacsv.read_csv(path, convert_options=options)


def through_json_lines(path: Path) -> pa.Table:
    """One object a line; dates and times as ISO 8601 text, read with the contract's types."""
    lines = [
        json.dumps({**row, "day": row["day"].isoformat(), "at": row["at"].isoformat(sep=" ")})
        for row in TABLE.to_pylist()
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    schema = TABLE.schema.set(4, pa.field("day", pa.string()))
    read = pajson.read_json(path, parse_options=pajson.ParseOptions(explicit_schema=schema))
    return read.set_column(4, "day", read["day"].cast(pa.date32()))


def through_parquet(path: Path) -> pa.Table:
    """Dictionary-encoded pages, small row groups, dictionaries kept on reading."""
    pq.write_table(TABLE, path, row_group_size=2, use_dictionary=True, version="2.6")
    return pq.read_table(path, read_dictionary=["name"])


def through_old_parquet(path: Path) -> pa.Table:
    """The format's first version, plain pages, another compression."""
    pq.write_table(TABLE, path, use_dictionary=False, version="1.0", compression="gzip", store_schema=False)
    return pq.read_table(path)


def through_arrow(path: Path) -> pa.Table:
    """Arrow's own file format."""
    feather.write_feather(TABLE, str(path), chunksize=3)
    return feather.read_table(str(path))


def through_pandas(_: Path) -> pa.Table:
    """NumPy types, nanoseconds, objects."""
    frame = TABLE.to_pandas().assign(at=lambda each: each["at"].astype("datetime64[ns]"))
    assert isinstance(frame, pd.DataFrame)
    return pa.Table.from_pandas(frame, preserve_index=False)


def through_pandas_arrow(_: Path) -> pa.Table:
    """pandas over Arrow's types."""
    return pa.Table.from_pandas(TABLE.to_pandas(types_mapper=pd.ArrowDtype), preserve_index=False)


def through_duckdb(path: Path) -> pa.Table:
    """A database's own storage and back, in its own types."""
    rows = TABLE
    with duckdb.connect(str(path)) as connection:
        connection.register("rows", rows)
        connection.execute("CREATE TABLE kept AS SELECT * FROM rows")
        return connection.execute("SELECT * FROM kept ORDER BY id").to_arrow_table()


@pytest.mark.parametrize(
    "carry",
    [
        through_csv,
        through_json_lines,
        through_parquet,
        through_old_parquet,
        through_arrow,
        through_pandas,
        through_pandas_arrow,
        through_duckdb,
    ],
)
def test_every_carrier_gives_the_same_hashes(carry: Callable[[Path], pa.Table], tmp_path: Path) -> None:
    """What a format or an engine makes of the types does not matter; the values do."""
    table = carry(tmp_path / "rows")
    assert table.num_rows == TABLE.num_rows
    assert row_hashes(table, NAMES).tobytes() == EXPECTED


def test_python_values_give_the_same_hashes() -> None:
    """The specification as code agrees with the fast path."""
    assert b"".join(row_hash(row) for row in TABLE.to_pylist()) == EXPECTED


@pytest.mark.parametrize("vector", VECTORS["rows"], ids=range(len(VECTORS["rows"])))
def test_the_vectors_of_the_format_never_change(vector: dict[str, Any]) -> None:
    """They are what another implementation is checked with; snapshots carry such hashes."""
    assert VECTORS["format"] == "assay/row/v2"
    cells = [(name, kind, value) for name, kind, value in vector["cells"]]
    assert hash_cells(cells).hex() == vector["hash"]
    assert hash_cells(cells[::-1]).hex() == vector["hash"]


def test_the_standalone_verifier_computes_the_same_vectors() -> None:
    """Its encoding, written apart from ours, leads to the same hashes."""
    spec = importlib.util.spec_from_file_location("standalone_verify", STANDALONE)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    for vector in VECTORS["rows"]:
        cells = {name: theirs.cell(kind, value) for name, kind, value in vector["cells"]}
        names = sorted(cells, key=str.encode)
        columns = theirs.sha256(b"assay/row/v2\0", theirs.canonical(names))
        leaf = theirs.sha256(b"\0", columns, *(cells[name] for name in names))
        assert leaf.hex() == vector["hash"]


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.text(alphabet="ab\0", min_size=28, max_size=36),
    st.text(alphabet="é🜁", max_size=20),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30), st.integers(0, 5), st.booleans())
def test_texts_of_any_length_are_hashed_as_specified(
    rows: list[tuple[str | None, str | None]], skip: int, dictionary: bool
) -> None:
    """Short, long, empty, null, with zeros inside; whole columns and slices, plain and dictionary-encoded."""
    kind: pa.DataType = pa.dictionary(pa.int16(), pa.string()) if dictionary else pa.string()
    table = pa.table(
        {
            "a": pa.array([a for a, _ in rows], pa.string()).cast(kind),
            "b": pa.array([b for _, b in rows], pa.large_string()),
            "n": pa.array(range(len(rows)), pa.int32()),
        }
    ).slice(skip)
    expected = [row_hash({"a": a, "b": b, "n": n}) for n, (a, b) in enumerate(rows)][skip:]
    assert [bytes(value) for value in row_hashes(table, ["a", "b", "n"])] == expected


def test_what_stands_behind_a_null_does_not_count() -> None:
    """Arrow lets a null's place hold any bytes: they are not the value."""
    offsets = np.array([0, 3, 6], dtype=np.int32)
    validity = pa.py_buffer(bytes([0b10]))
    column = pa.StringArray.from_buffers(
        2, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"abcdef"), validity
    )
    assert column.to_pylist() == [None, "def"]
    expected = [row_hash({"a": None}), row_hash({"a": "def"})]
    assert [bytes(value) for value in row_hashes(pa.table({"a": column}), ["a"])] == expected


def test_a_cell_is_encoded_as_written_down() -> None:
    """Two cells by hand: a short text in place, a long one by its digest."""
    long = "a text that does not fit into thirty-two bytes"
    names = hashlib.sha256(b'assay/row/v2\0["n","short","text"]').digest()
    short = bytes([0x20 + 5]) + b"\xc3\xa9lan" + bytes(27)
    number, digest = b"\x02" + struct.pack("<q", 7), b"\x07" + hashlib.sha256(long.encode()).digest()
    row = {"text": long, "short": "élan", "n": 7}
    assert row_hash(row) == hashlib.sha256(b"\0" + names + number + short + digest).digest()
    assert [kind for _, kind, _ in row_cells(pa.table({key: [value] for key, value in row.items()}), list(row))] == [
        "integer", "text", "text",
    ]  # fmt: skip
