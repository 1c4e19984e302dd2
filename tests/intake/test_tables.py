"""Reading tables from outside: strict, bounded and streamed."""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.contract import Contract
from assay.contract.sources import Csv
from assay.errors import Terminal, UsageError
from assay.intake.tables import (
    BadCells,
    ReadError,
    ReadStats,
    TableFormat,
    count_rows,
    is_table_name,
    read_batches,
    read_table,
    sniff,
    table_batches,
    table_schema,
)

KINDS = ("integer", "number", "string", "boolean", "date", "timestamp")
UTC = pa.timestamp("us", "UTC")


def contract(columns: dict[str, Any], **bounds: Any) -> Contract:
    """A contract with these columns; a column may be just its type."""
    full = {name: {"type": value} if isinstance(value, str) else value for name, value in columns.items()}
    return Contract.model_validate(
        {"version": 1, "dataset": "things", "schema": {"columns": full}, "bounds": bounds}
    )


ABX = contract(
    {"a": "integer", "b": {"type": "string", "nullable": True}, "x": {"type": "number", "nullable": True}}
)
GOOD = b'a,b,x\n1,one,1.5\n2,"",2.5\n3,,\n'


def collect(path: Path, of: Contract, **options: Any) -> tuple[pa.Table, list[BadCells], ReadStats]:
    """All rows, all bad cells, and the counts."""
    bad: list[BadCells] = []
    stats = ReadStats()
    batches = read_batches(path, of, on_error="collect", on_bad_cells=bad.append, stats=stats, **options)
    return pa.Table.from_batches(batches), bad, stats


def put(folder: Path, name: str, content: bytes | pa.Table) -> Path:
    """A file of that name with that content."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    return path


def refused(path: Path, of: Contract = ABX, **options: Any) -> ReadError:
    """The error that reading the file ends in."""
    with pytest.raises(ReadError) as caught:
        list(read_batches(path, of, **options))
    assert isinstance(caught.value, Terminal)
    assert path.name in str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------------------ formats
def test_the_schema_has_the_contracts_columns_in_order_in_exact_types() -> None:
    """One Arrow type for each of the contract's."""
    schema = table_schema(contract({kind[0] + kind[-1]: kind for kind in KINDS}))
    assert schema.types == [pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.date32(), UTC]
    assert schema.names == ["ir", "nr", "sg", "bn", "de", "tp"]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("t.csv", bytes),
        ("t.CSV", bytes),
        ("t.csv.gz", gzip.compress),
        ("t.csv.zst", lambda data: pa.compress(data, codec="zstd", asbytes=True)),
        ("0123abcd", bytes),
        ("0123abcf", gzip.compress),
    ],
)
def test_csv_is_read_plain_or_compressed_and_an_empty_cell_is_no_empty_string(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    """Null and the empty string stay apart; a stored object has no ending and is told by its content."""
    table, bad, stats = collect(put(tmp_path, name, pack(GOOD)), ABX)
    assert table.to_pydict() == {"a": [1, 2, 3], "b": ["one", "", None], "x": [1.5, 2.5, None]}
    assert not bad
    assert (stats.files, stats.rows, stats.bytes) == (1, 3, len(GOOD))


def test_a_stored_object_is_held_against_its_name_in_the_delivery(tmp_path: Path) -> None:
    """The path is a digest; the name makes the promise and stands in messages."""
    path = put(tmp_path, "0f" * 32, GOOD)
    assert sniff(path, name="part-1.csv") is TableFormat.CSV
    with pytest.raises(ReadError, match=r"part-1\.parquet: is not what its name says"):
        sniff(path, name="part-1.parquet")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.parquet", GOOD, ["expected: parquet", "starts with"]),
        ("t.csv", pa.table({"a": [1]}), ["expected: csv", "found: content of parquet"]),
        ("t.csv.gz", GOOD, ["expected: csv.gz"]),
        ("t.csv.gz", pa.compress(GOOD, codec="zstd", asbytes=True), ["content of csv.zst"]),
        ("t.csv", b"\x80\x04\x95abc", ["a pickle"]),
        ("t.csv", b"PK\x03\x04abc", ["ZIP"]),
        ("t.parquet", b"PAREabc", ["encrypted"]),
        ("blob", b"BZh9abc", ["no table that can be read", "bzip2"]),
        ("t.csv", b"", ["the file is empty"]),
    ],
)
def test_content_decides_what_a_file_is_and_its_name_must_agree(
    tmp_path: Path, name: str, content: bytes | pa.Table, words: list[str]
) -> None:
    """A file that is not what its name says is refused before it is parsed."""
    text = str(refused(put(tmp_path, name, content)))
    assert all(word in text for word in words), text
    assert "next:" in text


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder and a missing path are no tables."""
    assert "not a regular file" in str(refused(tmp_path))
    assert "cannot be opened" in str(refused(tmp_path / "missing.csv"))


def test_tables_are_known_by_their_names() -> None:
    """Other files of a delivery are no data."""
    assert all(map(is_table_name, ["a.parquet", "b/c.CSV", "d.csv.gz", "e.csv.zst"]))
    assert not any(map(is_table_name, ["README.md", "delivery.json", "csv", "x.parquet.asc", "y.csv.bz2"]))


# ------------------------------------------------------------------------------------------------------------ columns
@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], ["missing: x"]),
        (["a", "b", "x", "y", "z"], ["not in the contract: y, z"]),
        (["a", "b", "X"], ["missing: x", "not in the contract: X"]),
        (["a", "b", "x", "a"], ["stand twice: a"]),
    ],
)
def test_missing_unknown_and_repeated_columns_are_named(
    tmp_path: Path, form: str, names: list[str], words: list[str]
) -> None:
    """Nothing is guessed about columns."""
    if form == "csv":
        path = put(
            tmp_path, "t.csv", ",".join(names).encode() + b"\n" + b",".join([b"1"] * len(names)) + b"\n"
        )
    else:
        path = put(tmp_path, "t.parquet", pa.Table.from_arrays([pa.array([1])] * len(names), names))
    text = str(refused(path))
    assert all(word in text for word in words), text


def test_a_semicolon_file_is_told_to_use_commas(tmp_path: Path) -> None:
    """The likeliest mistake gets its own hint."""
    assert "separate cells by commas" in str(refused(put(tmp_path, "t.csv", b"a;b;x\n1;2;3\n")))


def test_columns_can_be_picked_but_the_file_must_still_be_whole(tmp_path: Path) -> None:
    """A projection is in the order asked for; it does not excuse a missing column."""
    for path in (
        put(tmp_path, "t.csv", GOOD),
        put(tmp_path, "t.parquet", read_table(put(tmp_path, "u.csv", GOOD), ABX)),
    ):
        assert read_table(path, ABX, columns=["x", "a"]).to_pydict() == {
            "x": [1.5, 2.5, None],
            "a": [1, 2, 3],
        }
    short = put(tmp_path, "short.csv", b"a,x\n1,2\n")
    assert "missing: b" in str(refused(short, columns=["a"]))
    with pytest.raises(UsageError, match="no column 'c'"):
        read_table(short, ABX, columns=["c"])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array(["1"]), "integer"),
        (pa.array(["1"]), "number"),
        (pa.array([True]), "integer"),
        (pa.array([1]), "boolean"),
        (pa.array([1]), "string"),
        (pa.array([b"x"]), "string"),
        (pa.array([[1.0]]), "number"),
        (pa.array([{"k": 1}]), "string"),
        (pa.array(["2026-01-01"]), "date"),
        (pa.array([0], pa.timestamp("us")), "date"),
        (pa.array([dt.date(2026, 1, 1)]), "timestamp"),
        (pa.array([1], pa.decimal128(20, 2)), "number"),
        (pa.array(["a"]).dictionary_encode(), "integer"),
    ],
)
def test_a_parquet_column_of_another_type_is_refused_not_coerced(
    tmp_path: Path, values: pa.Array, kind: str
) -> None:
    """Text in place of numbers is not parsed, numbers in place of text are not printed."""
    text = str(refused(put(tmp_path, "t.parquet", pa.table({"v": values})), contract({"v": kind})))
    assert re.search(rf"v is \S+.*, not {kind}$", text, re.MULTILINE), text


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (pa.array([1, None], pa.int8()), "integer", [1, None]),
        (pa.array([7, 2**63 - 1], pa.uint64()), "integer", [7, 2**63 - 1]),
        (pa.array([1.0, -3.0, None]), "integer", [1, -3, None]),
        (pa.array([12], pa.decimal128(10, 0)), "integer", [12]),
        (pa.array([1, 2], pa.int32()), "number", [1.0, 2.0]),
        (pa.array([2**53], pa.int64()), "number", [2.0**53]),
        (pa.array([0.5], pa.float32()), "number", [0.5]),
        (pa.array([1.25]).cast(pa.decimal128(10, 2)), "number", [1.25]),
        (pa.array(["a", None, "a"]).dictionary_encode(), "string", ["a", None, "a"]),
        (pa.array(["é"], pa.large_string()), "string", ["é"]),
        (pa.array([None, None]), "boolean", [None, None]),
        (pa.array([None, None]), "string", [None, None]),
        (pa.array([dt.date(2026, 1, 2)], pa.date64()), "date", [dt.date(2026, 1, 2)]),
    ],
)
def test_a_parquet_column_that_holds_the_value_exactly_is_taken(
    tmp_path: Path, values: pa.Array, kind: str, expected: list[Any]
) -> None:
    """Other widths of the same kind of value are no other type."""
    of = contract({"v": {"type": kind, "nullable": True}})
    table = read_table(put(tmp_path, "t.parquet", pa.table({"v": values})), of)
    assert table.schema == table_schema(of)
    assert table["v"].to_pylist() == expected


@pytest.mark.parametrize(
    ("unit", "zone"), [("s", "UTC"), ("ms", None), ("us", "Europe/Berlin"), ("ns", "UTC")]
)
def test_timestamps_of_every_unit_mean_the_same_moment(tmp_path: Path, unit: str, zone: str | None) -> None:
    """A zone moves the clock's face, not the moment; without one it is UTC, and that is noted."""
    moment = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    values = pa.array([moment], UTC).cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit, zone))
    of = contract({"v": "timestamp"})
    table, _, stats = collect(put(tmp_path, "t.parquet", pa.table({"v": values})), of)
    assert table["v"].cast(pa.int64()).to_pylist() == [int(moment.timestamp()) * 1_000_000]
    assert stats.assumed_utc == (set() if zone else {"v"})


# -------------------------------------------------------------------------------------------------------------- cells
@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "integer",
            {"7": 7, "-7": -7, "+7": 7, " 7 ": 7, "7.0": 7, "007": 7, "-9223372036854775808": -(2**63)},
            ["7.5", "0x10", "1e3", "1_000", "abc", "9223372036854775808", "NaN", "--1", "1,5", "٣", "true"],
        ),
        (
            "number",
            {"1.5": 1.5, "-.5": -0.5, "5.": 5.0, "+1": 1.0, "1e-3": 0.001, " 2 ": 2.0, "0.1": 0.1},
            ["abc", "0x10", "1,5", "1_0", "inf", "-Infinity", "1e999", "1.2.3", "$5", "e5", "."],
        ),
        (
            "boolean",
            {"true": True, "False": False, "1": True, "0": False, "TRUE": True, " true": True},
            ["yes", "t", "2", "tru", "1.0"],
        ),
        (
            "date",
            {"2026-02-28": dt.date(2026, 2, 28), "2024-02-29": dt.date(2024, 2, 29), "0001-01-01": dt.date.min},
            ["2026-02-30", "28.02.2026", "2026-2-8", "20260228", "2026-02-28T00:00", "0000-01-01", "today"],
        ),
        (
            "timestamp",
            {
                "2026-02-28T12:00:00Z": dt.datetime(2026, 2, 28, 12, tzinfo=dt.UTC),
                "2026-02-28 12:00:00.25": dt.datetime(2026, 2, 28, 12, 0, 0, 250_000, dt.UTC),
                "2026-02-28T12:00+01:00": dt.datetime(2026, 2, 28, 11, tzinfo=dt.UTC),
                "2026-02-28": dt.datetime(2026, 2, 28, tzinfo=dt.UTC),
            },
            ["2026-02-30T00:00:00Z", "12:00", "2026-02-28T25:00:00Z", "2026-02-28T12:00:00.1234567Z", "1772280000",
             "0001-01-01T00:00:00+14:00"],
        ),
    ],
)  # fmt: skip
def test_cells_of_csv_are_parsed_by_the_contracts_type(
    tmp_path: Path, kind: str, good: dict[str, Any], bad: list[str]
) -> None:
    """What a type takes and what it does not; bad cells become nulls and are reported with row and text."""
    cells = [*good, *bad]
    path = put(tmp_path, "t.csv", "\n".join(["v", *(f'"{cell}"' for cell in cells)]).encode())
    table, reported, _ = collect(path, contract({"v": {"type": kind, "nullable": False}}))
    assert table["v"].to_pylist() == [*good.values(), *[None] * len(bad)]
    rows = sorted(int(row) for each in reported for row in each.rows)
    assert rows == list(range(len(good), len(cells)))
    for cell in bad[:3]:
        one = put(tmp_path, "one.csv", f'v\n"{next(iter(good))}"\n"{cell}"\n'.encode())
        error = refused(one, contract({"v": kind}))
        assert (error.column, error.record) == ("v", 2)
        assert f"expected: {kind}" in str(error)


@given(
    cells=st.lists(
        st.one_of(
            st.sampled_from(
                ["", "1", "0x1F", "+3", " 4", "5.0", "nan", "NaN(1)", "1e5", "inf", "true", "2026-01-31", "x"]
            ),
            st.integers(-(2**64), 2**64).map(str),
            st.floats().map(repr),
            st.dates().map(str),
            st.datetimes().map(lambda moment: moment.isoformat()),
            st.datetimes(timezones=st.just(dt.UTC)).map(str),
            st.text("0123456789-+:.TZ eE", max_size=12),
        ),
        min_size=1,
        max_size=12,
    ),
    kind=st.sampled_from([kind for kind in KINDS if kind != "string"]),
    nullable=st.booleans(),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_answer_for_a_cell_does_not_depend_on_its_neighbours(
    tmp_path: Path, cells: list[str], kind: str, nullable: bool
) -> None:
    """Cells are first parsed together and only then one by one; both ways must agree."""
    of = contract({"v": {"type": kind, "nullable": nullable}, "w": "string"})
    together, bad, _ = collect(
        put(tmp_path, "all.csv", "\n".join(["v,w", *(f"{c},w" for c in cells)]).encode()), of
    )
    values, problems = [], {}
    for row, cell in enumerate(cells):
        alone, reported, _ = collect(put(tmp_path, "one.csv", f"v,w\n{cell},w\n".encode()), of)
        values += alone["v"].to_pylist()
        problems |= dict.fromkeys([row] if reported else [], reported[0].problem if reported else "")
    assert together["v"].to_pylist() == values
    assert {int(row): each.problem for each in bad for row in each.rows} == problems


@pytest.mark.parametrize(
    ("values", "kind", "problem"),
    [
        (pa.array([1.0, 2.5]), "integer", "has a fraction"),
        (pa.array([1.0, 1e19]), "integer", "not an integer of 64 bits"),
        (pa.array([1.0, math.nan]), "integer", "NaN"),
        (pa.array([1.0, math.inf]), "integer", "infinite"),
        (pa.array([1, 2**63], pa.uint64()), "integer", "not an integer of 64 bits"),
        (pa.array([1, 2**53 + 1]), "number", "would lose digits"),
        (pa.array([1, -(2**53) - 1]), "number", "would lose digits"),
        (pa.array([1, 2**60], pa.uint64()), "number", "would lose digits"),
        (pa.array([1.0, math.nan]), "number", "NaN"),
        (pa.array([1.0, -math.inf], pa.float32()), "number", "infinite"),
        (pa.array(["a", "b\0c"]), "string", "NUL"),
        (pa.array([0, 86_400_001], pa.date64()), "date", "not a date"),
        (pa.array([0, 2**31 - 1], pa.date32()), "date", "outside the years"),
        (pa.array([0, 1], pa.timestamp("ns", "UTC")), "timestamp", "would lose digits"),
        (pa.array([0, 2**62], pa.timestamp("us", "UTC")), "timestamp", "outside the years"),
        (pa.array([0, 2**62], pa.timestamp("s", "UTC")), "timestamp", "outside the years"),
    ],
)
def test_a_parquet_value_that_the_type_cannot_hold_exactly_is_reported(
    tmp_path: Path, values: pa.Array, kind: str, problem: str
) -> None:
    """Nothing is rounded, cut off or wrapped around."""
    bad: list[BadCells] = []
    of, given = contract({"v": kind}), pa.table({"v": values})
    (batch,) = table_batches(given, of, name="t", on_error="collect", on_bad_cells=bad.append)
    assert batch["v"].null_count == 1
    assert batch["v"][0].as_py() is not None
    assert [(each.file, each.column, each.rows.tolist()) for each in bad] == [("t", "v", [1])]
    assert problem in bad[0].problem
    assert bad[0].examples
    if values.type not in (pa.date64(), pa.timestamp("s", "UTC")):  # which Parquet cannot hold as they are
        path = put(tmp_path, "t.parquet", given)
        assert collect(path, of)[0]["v"].null_count == 1
        assert refused(path, of).record == 2


def test_nan_is_null_only_where_nulls_may_be_and_is_counted_then(tmp_path: Path) -> None:
    """pandas writes NaN for what is missing; that is no reason to let it pass where nothing may be missing."""
    values = pa.array([1.0, math.nan, None, math.nan])
    path = put(tmp_path, "t.parquet", pa.table({"n": values, "i": values, "s": values}))
    of = contract(
        {"n": {"type": "number", "nullable": True}, "i": {"type": "integer", "nullable": True}, "s": "number"}
    )
    table, bad, stats = collect(path, of)
    assert table.to_pydict() == {
        "n": [1.0, None, None, None],
        "i": [1, None, None, None],
        "s": [1.0, None, None, None],
    }
    assert stats.nan_as_null == {"n": 2, "i": 2}
    assert [(each.column, each.rows.tolist()) for each in bad] == [("s", [1, 3])]


def test_bad_cells_are_numbered_through_the_file_and_quoted_briefly(tmp_path: Path) -> None:
    """Rows count from 0 through all batches; however many cells are bad, a report quotes a few, shortened."""
    lines = ["a,b,x"] + [f"{'y' * 200 if i % 10 == 3 else i},q,1" for i in range(1000)]
    _, bad, _ = collect(put(tmp_path, "t.csv", "\n".join(lines).encode()), ABX, batch_rows=64)
    assert np.concatenate([each.rows for each in bad]).tolist() == list(range(3, 1000, 10))
    assert all(len(each.examples) <= 5 for each in bad)
    assert all(len(text) <= 80 for each in bad for text in each.examples)


# --------------------------------------------------------------------------------------------------------- broken CSV
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b,x\n1,2,3\n1,\xe9,3\n", ["line 3: is not UTF-8"]),
        (b"a,b,x\n1,2,3\n4,\xe9", ["line 3: is not UTF-8"]),
        (b"a,b,x\n1,2,3\n1,\0,3\n", ["line 3: holds a NUL byte"]),
        ("a,b,x\n1,2,3\n".encode("utf-16"), ["UTF-16"]),
        (b"a,b,x\n1,2,3\n1,2\n", ["record 2", "has 2 cells", "expected: 3 cells"]),
        (b"a,b,x\n1,2,3,4\n", ["record 1", "has 4 cells"]),
        (b'a,b,x\n1,"two,3\n4,5,6\n', ["never closed"]),
        (b'a,b,x\n1,2,"3\n4,5,6\n', ["never closed"]),
        (b'"a,b,x\n1,2,3\n', ["header"]),
        (b"\n\n", ["empty"]),
        (b"a,b,x\n", ["no rows"]),
    ],
)
def test_broken_csv_is_refused_with_its_place(tmp_path: Path, content: bytes, words: list[str]) -> None:
    """Nothing is skipped, mended or guessed."""
    text = str(refused(put(tmp_path, "t.csv", content)))
    assert all(word in text for word in words), text


def test_csv_may_have_line_breaks_in_quotes_a_mark_and_any_line_ending(tmp_path: Path) -> None:
    """All of that is CSV."""
    for ending in ("\n", "\r\n", "\r"):
        text = f'\ufeffa,b,x{ending}1,"two\n""lines"", one comma",3{ending}{ending}2,é,4'
        table = read_table(put(tmp_path, "t.csv", text.encode()), ABX)
        assert table.to_pydict() == {"a": [1, 2], "b": ['two\n"lines", one comma', "é"], "x": [3.0, 4.0]}


def test_an_empty_line_is_a_null_where_there_is_one_column(tmp_path: Path) -> None:
    """It cannot be told from a record, so no row may vanish."""
    of = contract({"v": {"type": "integer", "nullable": True}})
    assert read_table(put(tmp_path, "t.csv", b"v\n1\n\n3\n"), of)["v"].to_pylist() == [1, None, 3]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize("where", [0.5, 0.98])
def test_a_compressed_file_that_is_cut_short_is_refused(tmp_path: Path, codec: str, where: float) -> None:
    """Half a file is no file, even where the half reads well."""
    plain = b"a,b,x\n" + b"".join(b"%d,text %d,%f\n" % (i, i * 7919, i / 7) for i in range(20_000))
    packed = gzip.compress(plain) if codec == "gzip" else pa.compress(plain, codec="zstd", asbytes=True)
    name = "t.csv.gz" if codec == "gzip" else "t.csv.zst"
    assert "cut short" in str(refused(put(tmp_path, name, packed[: int(len(packed) * where)])))


# ----------------------------------------------------------------------------------------------------- broken Parquet
def _parquet(folder: Path, rows: int = 5000, **options: Any) -> Path:
    path = folder / "t.parquet"
    table = pa.table(
        {
            "a": np.arange(rows),
            "b": [f"text {i}" for i in range(rows)],
            "x": np.random.default_rng(0).normal(size=rows),
        }
    )
    pq.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("keep", [4, 8, 100, 0.5, -1, -8])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, keep: float) -> None:
    """Wherever it is cut."""
    path = _parquet(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    assert "cut short, damaged or encrypted" in str(refused(path))


def test_a_flipped_byte_in_a_page_is_seen(tmp_path: Path) -> None:
    """By the page's checksum where it has one, else by what does not decode; never a traceback."""
    path = _parquet(tmp_path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[2000] ^= 0x40
    path.write_bytes(data)
    assert "damaged after record" in str(refused(path))


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_damage_to_parquet_ends_in_anything_but_rows_or_a_read_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Bytes changed anywhere, footer and pages."""
    path = _parquet(tmp_path, rows=300)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 5))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(ReadError):
        table, _, _ = collect(path, ABX)
        assert table.schema == table_schema(ABX)


def test_strings_of_parquet_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    """Parquet readers do not look; this one does."""
    buffers = [None, pa.py_buffer(np.array([0, 2], np.int32).tobytes()), pa.py_buffer(b"\xff\xfe")]
    table = pa.table({"v": pa.Array.from_buffers(pa.string(), 1, buffers)})
    assert "UTF-8" in str(refused(put(tmp_path, "t.parquet", table), contract({"v": "string"})))


def test_encrypted_parquet_is_refused_in_words(tmp_path: Path) -> None:
    """Assay holds no key for it."""
    path = put(tmp_path, "t.parquet", b"PARE" + b"x" * 100 + b"PARE")
    assert "encrypted footer" in str(refused(path))


@pytest.mark.parametrize(
    "content",
    [
        pa.table(
            {"a": pa.array([], pa.int64()), "b": pa.array([], pa.string()), "x": pa.array([], pa.float64())}
        )
    ],
)
def test_a_table_of_no_rows_is_refused(tmp_path: Path, content: pa.Table) -> None:
    """An empty delivery is a fault at the sender, not a passed check."""
    assert "no rows" in str(refused(put(tmp_path, "t.parquet", content)))
    with pytest.raises(ReadError, match="no rows"):
        list(table_batches(content, ABX))


# ------------------------------------------------------------------------------------------------------------- bounds
def _bounded(**bounds: Any) -> Contract:
    return contract({"a": "integer", "b": "string", "x": "number"}, **bounds)


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        ({"max_rows": 999}, "max_rows"),
        ({"max_bytes": 500}, "max_bytes"),
        ({"max_columns": 2}, "max_columns"),
        ({"max_string_bytes": 5}, "max_string_bytes"),
        ({"timeout": dt.timedelta(microseconds=1)}, "timeout"),
    ],
)
def test_every_bound_of_the_contract_stops_reading(
    tmp_path: Path, form: str, bounds: dict[str, Any], word: str
) -> None:
    """And the message names the bound to change."""
    table = pa.table({"a": range(1000), "b": [f"text {i}" for i in range(1000)], "x": [0.5] * 1000})
    path = tmp_path / f"t.{form}"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        with pa.output_stream(str(path), compression="gzip" if form == "csv.gz" else None) as out:
            pacsv.write_csv(table, out)
    assert sum(batch.num_rows for batch in read_batches(path, _bounded())) == 1000
    assert f"bounds.{word}" in str(refused(path, _bounded(**bounds)))


def test_a_record_that_never_ends_is_stopped(tmp_path: Path) -> None:
    """A cell of many megabytes is refused, at the latest when it fills a whole block."""
    path = put(tmp_path, "t.csv", b"a,b,x\n1," + b"y" * (9 << 20) + b",0.5\n2,z,0.5\n")
    assert "bounds.max_string_bytes" in str(refused(path, _bounded()))


def test_a_bomb_is_stopped_by_its_ratio(tmp_path: Path) -> None:
    """Megabytes from a few kilobytes, by gzip and by Parquet's footer."""
    packed = gzip.compress(b"a,b,x\n" + b"1,text,0.5\n" * 1_000_000)
    error = refused(put(tmp_path, "t.csv.gz", packed), _bounded(max_ratio=50))
    assert "bounds.max_ratio" in str(error)
    path = tmp_path / "t.parquet"
    long = pa.array(["y" * 1000] * 20_000)
    table = pa.table({"a": range(20_000), "b": long, "x": [0.5] * 20_000})
    pq.write_table(table, path, use_dictionary=False, compression="zstd")
    assert "bounds.max_ratio" in str(refused(path, _bounded(max_ratio=50)))


def test_a_run_of_one_long_string_cannot_fill_the_memory(tmp_path: Path) -> None:
    """A dictionary makes gigabytes of a few bytes, and no ratio in the footer tells."""
    count = 40_000
    table = pa.table(
        {
            "a": np.zeros(count, np.int64),
            "b": pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(count, np.int32)), pa.array(["y" * 60_000])
            ),
            "x": np.zeros(count),
        }
    )
    path = put(tmp_path, "t.parquet", table)
    assert path.stat().st_size < 100_000
    before = pa.total_allocated_bytes()
    error = refused(path, _bounded())
    assert "bytes of text" in str(error)
    assert error.column == "b"
    assert pa.total_allocated_bytes() - before < 64 << 20


def test_bounds_hold_for_all_files_of_a_delivery_together(tmp_path: Path) -> None:
    """A delivery cannot pass its limit by being cut into shards."""
    of = contract(
        {
            "a": "integer",
            "b": {"type": "string", "nullable": True},
            "x": {"type": "number", "nullable": True},
        },
        max_rows=5,
    )
    path = put(tmp_path, "t.csv", GOOD)
    stats = ReadStats()
    assert sum(batch.num_rows for batch in read_batches(path, of, stats=stats)) == 3
    with pytest.raises(ReadError, match="more rows"):
        list(read_batches(path, of, stats=stats))
    assert stats.files == 1


def test_the_callers_own_time_does_not_count(tmp_path: Path) -> None:
    """The bound is on parsing; what is done with a batch takes as long as it takes."""
    of = contract({"a": "integer", "b": "string", "x": "number"}, timeout=dt.timedelta(seconds=5))
    stats = ReadStats()
    for _ in read_batches(_parquet(tmp_path), of, batch_rows=2500, stats=stats):
        time.sleep(0.15)
    assert 0 < stats.seconds < 0.25


# ---------------------------------------------------------------------------------------------------------- streaming
def test_batches_are_cut_to_size_whatever_the_files_own_blocks_are(tmp_path: Path) -> None:
    """All but the last have the size asked for, and no row is lost, doubled or moved."""
    path = tmp_path / "t.parquet"
    table = pa.table({"a": np.arange(1000), "b": [str(i) for i in range(1000)], "x": np.arange(1000) / 8})
    pq.write_table(table, path, row_group_size=333)
    csv = tmp_path / "t.csv"
    pacsv.write_csv(table, csv)
    for source in (path, csv):
        batches = list(read_batches(source, ABX, batch_rows=128))
        assert [batch.num_rows for batch in batches] == [128] * 7 + [104]
        assert pa.Table.from_batches(batches).to_pydict() == table.to_pydict()


def test_reading_can_be_left_in_the_middle(tmp_path: Path) -> None:
    """The file is closed and the time is kept."""
    stats = ReadStats()
    batches = read_batches(_parquet(tmp_path), ABX, batch_rows=1000, stats=stats)
    assert next(batches).num_rows == 1000
    batches.close()
    assert stats.files == 0
    assert stats.seconds > 0


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_rows_are_counted_without_keeping_them(tmp_path: Path, form: str) -> None:
    """Cells are not looked at."""
    path = put(tmp_path, "t.csv", GOOD + b"x,bad,row\n") if form == "csv" else _parquet(tmp_path, rows=77)
    assert count_rows(path, ABX) == (4 if form == "csv" else 77)


def test_a_table_in_memory_is_held_to_the_same_rules(tmp_path: Path) -> None:
    """Types, names and cells."""
    bad: list[BadCells] = []
    table = pa.table({"x": [1.5, math.inf], "a": [1, 2], "b": ["q", None]})
    (batch,) = table_batches(table, ABX, on_error="collect", on_bad_cells=bad.append)
    assert batch.to_pydict() == {"a": [1, 2], "b": ["q", None], "x": [1.5, None]}
    assert [each.rows.tolist() for each in bad] == [[1]]
    with pytest.raises(ReadError, match="record 2, column 'x'"):
        list(table_batches(table, ABX))
    with pytest.raises(ReadError, match="missing: x"):
        list(table_batches(table.drop_columns(["x"]), ABX))


_COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "integer": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "number": (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    "string": (
        pa.string(),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    ),
    "boolean": (pa.bool_(), st.booleans()),
    "date": (pa.date32(), st.dates()),
    "timestamp": (UTC, st.datetimes(timezones=st.just(dt.UTC))),
}


@given(
    data=st.data(),
    rows=st.integers(1, 40),
    batch_rows=st.integers(1, 17),
    pack=st.sampled_from([None, "gzip", "zstd"]),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_parquet_and_csv_of_the_same_data_give_the_same_batches(
    tmp_path: Path, data: st.DataObject, rows: int, batch_rows: int, pack: str | None
) -> None:
    """Every type, nulls, empty strings, quotes, line breaks, extreme values."""
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    arrays, columns = [], {}
    for number, kind in enumerate(kinds):
        type_, values = _COLUMNS[kind]
        arrays.append(pa.array(data.draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), type_))
        columns[f"c{number}"] = {"type": kind, "nullable": True}
    of = contract(columns).model_copy(update={"csv": Csv(formulas="allow")})
    table = pa.Table.from_arrays(arrays, list(columns))
    parquet = put(tmp_path, "t.parquet", table)
    csv = tmp_path / {None: "t.csv", "gzip": "t.csv.gz", "zstd": "t.csv.zst"}[pack]
    with pa.output_stream(str(csv), compression=pack) as out:
        pacsv.write_csv(table, out)
    from_parquet = list(read_batches(parquet, of, batch_rows=batch_rows))
    from_csv = list(read_batches(csv, of, batch_rows=batch_rows))
    assert from_parquet == from_csv
    assert pa.Table.from_batches(from_parquet).equals(table.cast(table_schema(of)))
