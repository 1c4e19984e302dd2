"""Tables in every format and compression: the same data, the same strictness, and a place for every fault."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.contract import Contract
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
    table_schema,
)

COLUMNS = {
    "id": {"type": "integer"},
    "x": {"type": "number", "nullable": True},
    "name": {"type": "string", "nullable": True},
    "ok": {"type": "boolean", "nullable": True},
    "day": {"type": "date", "nullable": True},
    "at": {"type": "timestamp", "nullable": True},
}
ROWS: list[dict[str, Any]] = [
    {"id": 1, "x": 1.5, "name": "Ada", "ok": True, "day": "2026-03-01", "at": "2026-03-01T12:00:00Z"},
    {"id": 2, "x": None, "name": "données", "ok": False, "day": None, "at": None},
    {"id": 3, "x": 2.0, "name": "", "ok": None, "day": "1999-12-31", "at": "1969-12-31T23:59:59.5Z"},
]
KEPT: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def contract(
    columns: dict[str, Any] | None = None, *, csv: dict[str, Any] | None = None, **bounds: Any
) -> Contract:
    """A contract with these columns."""
    full = {
        name: {"type": value} if isinstance(value, str) else value
        for name, value in (columns or COLUMNS).items()
    }
    body = {
        "version": 1,
        "dataset": "things",
        "schema": {"columns": full},
        "bounds": bounds,
        "csv": csv or {},
    }
    return Contract.model_validate(body)


ABC = contract()


def lines(rows: list[dict[str, Any]]) -> bytes:
    """JSON Lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def table() -> pa.Table:
    """The rows, in the contract's types."""
    stamps = pa.array([row["at"] for row in ROWS], pa.string()).cast(pa.timestamp("us", "UTC"))
    days = pa.array([row["day"] for row in ROWS], pa.string()).cast(pa.date32())
    plain = [pa.array([row[name] for row in ROWS]) for name in ("id", "x", "name", "ok")]
    return pa.Table.from_arrays([*plain, days, stamps], schema=table_schema(ABC))


def stream(data: pa.Table, **options: Any) -> bytes:
    """The Arrow stream format."""
    sink = io.BytesIO()
    with ipc.new_stream(sink, data.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(data, max_chunksize=2)
    return sink.getvalue()


def file(data: pa.Table, **options: Any) -> bytes:
    """The Arrow file format."""
    sink = io.BytesIO()
    with ipc.new_file(sink, data.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(data, max_chunksize=2)
    return sink.getvalue()


def parquet(data: pa.Table) -> bytes:
    """Parquet."""
    sink = io.BytesIO()
    pq.write_table(data, sink)
    return sink.getvalue()


def csv(data: pa.Table) -> bytes:
    """CSV."""
    sink = io.BytesIO()
    pacsv.write_csv(data, sink)
    return sink.getvalue()


WRITE: dict[str, Callable[[pa.Table], bytes]] = {
    "parquet": parquet,
    "arrow": file,
    "feather": file,
    "arrows": stream,
    "csv": csv,
    "jsonl": lambda _: lines(ROWS),
    "ndjson": lambda _: lines(ROWS),
}


def put(folder: Path, name: str, data: bytes) -> Path:
    """A file."""
    path = folder / name
    path.write_bytes(data)
    return path


def collect(path: Path, of: Contract = ABC, **options: Any) -> tuple[pa.Table, list[BadCells]]:
    """All rows, and what was bad."""
    bad: list[BadCells] = []
    batches = read_batches(path, of, on_error="collect", on_bad_cells=bad.append, **options)
    return pa.Table.from_batches(batches), bad


def refused(path: Path, of: Contract = ABC, **options: Any) -> ReadError:
    """The error that reading ends in."""
    with pytest.raises(ReadError) as caught:
        list(read_batches(path, of, **options))
    assert path.name in str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------------------- formats
@pytest.mark.parametrize("packed", KEPT)
@pytest.mark.parametrize("ending", WRITE)
def test_every_format_gives_the_same_rows_plain_and_compressed(
    tmp_path: Path, ending: str, packed: str
) -> None:
    """By its name, and by its content where a stored object has no ending."""
    data = KEPT[packed](WRITE[ending](table()))
    path = put(tmp_path, f"t.{ending}{packed}", data)
    assert is_table_name(path.name)
    assert read_table(path, ABC).equals(table())
    assert count_rows(path, ABC) == len(ROWS)
    bare = put(tmp_path, "0f" * 32, data)
    assert sniff(bare) is sniff(path)
    assert read_table(bare, ABC, columns=["name", "id"]).equals(table().select(["name", "id"]))
    assert sniff(path).codec == {"": None, ".gz": "gzip", ".zst": "zstd"}[packed]


@pytest.mark.parametrize(
    "name", ["t.jsonl", "t.arrow", "t.arrows", "t.parquet.gz", "t.csv.zst", "t.jsonl.gz"]
)
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str) -> None:
    """Content decides; a name that promises another format or compression is a fault."""
    for other in ("parquet", "arrow", "arrows"):
        if not name.startswith(f"t.{other}") or "." in name[2:]:
            if name == f"t.{other}":
                continue
            assert "name says" in str(refused(put(tmp_path, name, WRITE[other](table()))))


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_what_is_compressed_twice_is_refused(tmp_path: Path, packed: str) -> None:
    """A way round the bound on the ratio."""
    twice = KEPT[packed](KEPT[packed](csv(table())))
    assert "compressed twice" in str(refused(put(tmp_path, f"t.csv{packed}", twice)))


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("ending", ["parquet", "arrow", "arrows", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (lambda data: data[:-4], "cut short"),
        (lambda data: data + b"garbage", "followed by something else"),
    ],
)
def test_a_truncated_stream_and_one_with_something_behind_it_are_refused(
    tmp_path: Path, ending: str, packed: str, attack: Callable[[bytes], bytes], says: str
) -> None:
    """Whatever is inside."""
    data = KEPT[packed](WRITE[ending](table()))
    assert says in str(refused(put(tmp_path, f"t.{ending}{packed}", attack(data))))


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv", "jsonl"])
def test_a_decompression_bomb_is_refused_at_the_bound(tmp_path: Path, ending: str, packed: str) -> None:
    """40 MB of zeros or blanks in a few kB: no more than the bound is taken in."""
    filler = {"csv": b"id,x\n" + b" " * 40_000_000, "jsonl": b'{"id": ' + b" " * 40_000_000}
    heads = {"parquet": b"PAR1" + bytes(40_000_000), "arrow": b"ARROW1\0\0" + bytes(40_000_000)}
    data = KEPT[packed]((filler | heads)[ending])
    path = put(tmp_path, f"t.{ending}{packed}", data)
    stats = ReadStats()
    of = contract({"id": "integer", "x": "integer"}, max_ratio=50)
    assert "max_ratio" in str(refused(path, of, stats=stats))
    assert stats.bytes < 10_000_000
    assert "max_bytes" in str(
        refused(path, contract({"id": "integer", "x": "integer"}, max_bytes=2_000_000, max_ratio=1e9))
    )


def test_a_git_lfs_pointer_in_the_place_of_data_is_named(tmp_path: Path) -> None:
    """A repository that was cloned without its large files."""
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5\n"
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        assert "Git LFS pointer" in str(refused(put(tmp_path, name, pointer)))


# ----------------------------------------------------------------------------------------------------------------- CSV
TEXTS = contract({"id": "integer", "t": {"type": "string", "nullable": True}})


@pytest.mark.parametrize(
    "cell", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", " =HYPERLINK(1)", "\t=x", "=A1"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_a_bad_cell(tmp_path: Path, cell: str) -> None:
    """With file, line and column."""
    path = put(tmp_path, "t.csv", f'id,t\n1,fine\n2,"{cell}"\n'.encode())
    rows, bad = collect(path, TEXTS)
    assert [(each.file, each.column, list(each.rows), each.lines) for each in bad] == [
        ("t.csv", "t", [1], (3,))
    ]
    assert "formula" in bad[0].problem
    assert rows["t"].to_pylist() == ["fine", None]
    error = refused(path, TEXTS)
    assert (error.line, error.record, error.column) == (3, 2, "t")
    assert "t.csv, line 3, record 2, column 't'" in str(error)


@pytest.mark.parametrize("cell", ["-1", "+1.5e3", "-0,5", "-", "a=b", "me@example.org", "-5%", "+ ", "- x"])
def test_a_number_or_a_lone_sign_is_no_formula(tmp_path: Path, cell: str) -> None:
    """Texts like others."""
    rows, bad = collect(put(tmp_path, "t.csv", f'id,t\n1,"{cell}"\n'.encode()), TEXTS)
    assert (rows["t"].to_pylist(), bad) == ([cell], [])


def test_the_contract_may_allow_formulas_or_say_itself_what_a_text_may_be(tmp_path: Path) -> None:
    """`csv.formulas: allow`, or `allowed` and `pattern` of the column."""
    path = put(tmp_path, "t.csv", b"id,t\n1,=x\n")
    columns = {"id": "integer", "t": {"type": "string", "nullable": True}}
    assert collect(path, contract(columns, csv={"formulas": "allow"}))[0]["t"].to_pylist() == ["=x"]
    for more in ({"allowed": ["=x"]}, {"pattern": "=x"}):
        of = contract({"id": "integer", "t": {"type": "string", **more}})
        assert collect(path, of)[1] == []


def test_dialect_and_encoding_come_from_the_contract(tmp_path: Path) -> None:
    """As spreadsheets in many countries write it."""
    text = "id;t;x\r\n1;'Größe; groß';1,5\r\n2;'it''s';-3\r\n"
    of = contract(
        {"id": "integer", "t": "string", "x": "number"},
        csv={"delimiter": ";", "quote": "'", "encoding": "cp1252", "decimal": ","},
    )
    rows, bad = collect(put(tmp_path, "t.csv", text.encode("cp1252")), of)
    assert rows.to_pydict() == {"id": [1, 2], "t": ["Größe; groß", "it's"], "x": [1.5, -3.0]}
    assert bad == []
    assert "csv.delimiter" in str(
        refused(
            tmp_path / "t.csv",
            contract({"id": "integer", "t": "string", "x": "number"}, csv={"encoding": "cp1252"}),
        )
    )


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "shift_jis", "utf-8-sig"]
)
def test_text_of_any_encoding_is_read_and_broken_text_is_refused_with_its_line(
    tmp_path: Path, encoding: str
) -> None:
    """More of it than fits one block."""
    word = "データ" if encoding == "shift_jis" else "Zürich"
    text = "id,t\n" + "".join(f"{number},{word}\n" for number in range(60_000))
    of = contract({"id": "integer", "t": "string"}, csv={"encoding": encoding})
    rows, bad = collect(put(tmp_path, "t.csv", text.encode(encoding)), of)
    assert (rows.num_rows, set(rows["t"].to_pylist()), bad) == (60_000, {word}, [])
    if encoding in {"shift_jis", "utf-8-sig"}:
        broken = refused(put(tmp_path, "u.csv", text.encode(encoding) + b"1,\xfd\xff\n"), of)
        assert broken.line == 60_002


def test_a_decimal_comma_is_no_second_way_to_write_a_number(tmp_path: Path) -> None:
    """Where the contract says comma, a point is a bad cell, and the other way round."""
    of = contract({"x": "number"}, csv={"delimiter": ";", "decimal": ","})
    rows, bad = collect(put(tmp_path, "t.csv", b"x\n1,5\n1.5\n1.234,5\n"), of)
    assert rows["x"].to_pylist() == [1.5, None, None]
    assert [list(each.rows) for each in bad] == [[1, 2]]


@pytest.mark.parametrize(
    "csv_",
    [
        {"delimiter": "ab"},
        {"delimiter": "x"},
        {"delimiter": '"'},
        {"quote": "ä"},
        {"encoding": "rot13"},
        {"decimal": ","},
        {"encoding": "nonsense"},
    ],
)
def test_a_dialect_that_cannot_be_is_refused_in_the_contract(csv_: dict[str, Any]) -> None:
    """Before any delivery is read."""
    with pytest.raises(ValidationError):
        contract({"x": "number"}, csv=csv_)


def test_a_line_is_counted_also_after_cells_with_line_breaks_and_empty_lines(tmp_path: Path) -> None:
    """Record and line are two things."""
    text = 'id,t\n1,"two\nlines"\n\n2,"a ""b""\r\nc"\r\nx,bad\n4,fine\n'
    error = refused(put(tmp_path, "t.csv", text.encode()), TEXTS)
    assert (error.record, error.line, error.column) == (3, 7, "id")


@pytest.mark.parametrize("packed", KEPT)
def test_lines_are_right_in_every_batch_of_a_long_file_and_for_every_column(
    tmp_path: Path, packed: str
) -> None:
    """Each bad cell, wherever it is, with line breaks in cells before it."""
    of = contract({"id": "integer", "t": {"type": "string", "nullable": True}, "x": "integer"})
    lines_, expected = ["id,t,x"], []
    for number in range(1, 30_001):
        bad = number % 997 == 0
        where = sum(each.count("\n") + 1 for each in lines_[-1:]) if number > 1 else 1
        expected.append((expected[-1] if expected else 1) + where)
        text = f'"a\nb {"long " * 20}"' if number % 5 == 0 else "plain " * 20
        lines_.append(f"{'x' if bad else number},{text},{'y' if bad else 1}")
    path = put(tmp_path, f"t.csv{packed}", KEPT[packed](("\n".join(lines_) + "\n").encode()))
    _, bad_cells = collect(path, of)
    assert {each.column for each in bad_cells} == {"id", "x"}
    assert sum(len(each.rows) for each in bad_cells) == 60
    for each in bad_cells:
        assert each.lines == tuple(expected[row] for row in each.rows[: len(each.examples)])


def test_a_whole_number_that_a_float_cannot_hold_is_a_bad_cell_of_csv_and_json(tmp_path: Path) -> None:
    """An identifier in a column of numbers would become another one."""
    of = contract({"x": {"type": "number", "nullable": True}})
    kept, lost = 2**53, 2**53 + 1
    for path in (
        put(tmp_path, "t.csv", f"x\n{kept}\n{lost}\n1e30\n".encode()),
        put(tmp_path, "t.jsonl", f'{{"x": {kept}}}\n{{"x": {lost}}}\n{{"x": 1e30}}\n'.encode()),
    ):
        rows, bad = collect(path, of)
        assert rows["x"].to_pylist() == [float(kept), None, 1e30]
        assert [(each.problem, each.examples) for each in bad] == [("would lose digits", (str(lost),))]


# ---------------------------------------------------------------------------------------------------------- JSON Lines
@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ('{"id": 1}\n{"id": 2,}\n', 2, "no JSON"),
        ('{"id": 1}\n\n{"id": 2}\n', 2, "no JSON"),
        ('{"id": 1}\n[1]\n', 2, "no object"),
        ('{"id": 1, "id": 2}\n', 1, "twice"),
        ('{"id": 1}\n{"id": 2, "y": 3}\n', 2, "not in the contract"),
        ('[{"id": 1}]', 1, "no object"),
        ('\ufeff{"id": 1}\n', 1, "byte order mark"),
        ('{"id": ' + "[" * 100_000 + "]" * 100_000 + "}\n", 1, "nested"),
        ('{"id": ' + "[" * 40 + "]" * 40 + "}\n", 1, "nested"),
        ('{"id": 1}{"id": 2}\n', 1, "no JSON"),
        ('{"id": 1}\n{"id": 1\0}\n', 2, "NUL"),
    ],
)
def test_a_line_that_is_no_record_is_refused_with_its_number(
    tmp_path: Path, text: str, line: int, says: str
) -> None:
    """Never a traceback."""
    error = refused(put(tmp_path, "t.jsonl", text.encode()), contract({"id": "integer"}), name="t.jsonl")
    assert says in str(error)
    assert error.line == line


@pytest.mark.parametrize(
    ("kind", "cell", "problem"),
    [
        ("integer", '"1"', "a text in the place of a number"),
        ("integer", "true", "true or false in the place of a number"),
        ("integer", "1.5", "not an integer"),
        ("integer", "1e3", "not an integer"),
        ("integer", str(2**63), "not an integer"),
        ("number", "1e999", "infinite"),
        ("number", "-Infinity", "infinite"),
        ("number", "NaN", "NaN"),
        ("number", '"1.5"', "a text"),
        ("number", "{}", "an object"),
        ("string", "1", "a number in the place of a text"),
        ("string", '["a"]', "a list"),
        ("string", '"\\ud800"', "UTF-16"),
        ("string", '"a\\u0000b"', "NUL"),
        ("boolean", "1", "a number"),
        ("boolean", '"true"', "a text"),
        ("date", '"2026-02-30"', "not a date"),
        ("date", '"10000-01-01"', "not a date"),
        ("date", "20260301", "a number"),
        ("timestamp", '"yesterday"', "ISO 8601"),
        ("timestamp", '"0000-01-01T00:00:00Z"', "outside the years"),
        ("timestamp", '"2026-01-01T25:00:00Z"', "ISO 8601"),
    ],
)
def test_a_value_of_another_type_is_a_bad_cell_and_never_coerced(
    tmp_path: Path, kind: str, cell: str, problem: str
) -> None:
    """With line and column; what stands there instead is null."""
    good = {
        "integer": "7",
        "number": "7.5",
        "string": '"x"',
        "boolean": "true",
        "date": '"2026-01-01"',
        "timestamp": '"2026-01-01"',
    }
    text = f'{{"id": 1, "v": {good[kind]}}}\n{{"id": 2, "v": {cell}}}\n'
    path = put(tmp_path, "t.jsonl", text.encode())
    rows, bad = collect(path, contract({"id": "integer", "v": {"type": kind}}))
    assert [(each.column, list(each.rows), each.lines) for each in bad] == [("v", [1], (2,))]
    assert problem in bad[0].problem
    assert rows["v"].to_pylist()[1] is None
    assert rows["v"].to_pylist()[0] is not None


def test_a_column_that_no_record_has_is_missing_and_one_that_some_have_is_null(tmp_path: Path) -> None:
    """Leaving a column out is how JSON Lines writes a null."""
    of = contract({"id": "integer", "v": {"type": "string", "nullable": True}})
    rows, bad = collect(put(tmp_path, "t.jsonl", b'{"id": 1}\n{"v": "x", "id": 2}'), of)
    assert (rows["v"].to_pylist(), bad) == ([None, "x"], [])
    assert "no record has v" in str(refused(put(tmp_path, "u.jsonl", b'{"id": 1}\n'), of))


def test_a_record_or_a_text_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """The bound is named."""
    of = contract({"v": "string"}, max_string_bytes=1000)
    long = put(tmp_path, "t.jsonl", b'{"v": "' + b"x" * 1001 + b'"}\n')
    assert "max_string_bytes" in str(refused(long, of))
    endless = put(tmp_path, "u.jsonl", b'{"v": "' + b"x" * 9_000_000)
    assert "max_string_bytes" in str(refused(endless, of))


# ------------------------------------------------------------------------------------------------------------ Arrow IPC
@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
@pytest.mark.parametrize("write", [stream, file])
def test_batches_and_dictionaries_of_arrow_are_read_compressed_or_not(
    tmp_path: Path, write: Callable[..., bytes], codec: str | None
) -> None:
    """As Arrow's own writers make them."""
    encoded = table().set_column(2, "name", table()["name"].dictionary_encode())
    path = put(tmp_path, "t.arrow" if write is file else "t.arrows", write(encoded, compression=codec))
    assert read_table(path, ABC).equals(table())


@pytest.mark.parametrize("write", [stream, file])
@pytest.mark.parametrize("cut", [1, 8, 9, 40, 200])
def test_an_arrow_file_that_is_cut_short_is_refused(
    tmp_path: Path, write: Callable[..., bytes], cut: int
) -> None:
    """Also where a whole message is missing, which Arrow itself takes for the end."""
    path = put(tmp_path, "t.arrow" if write is file else "t.arrows", write(table())[:-cut])
    assert "next:" in str(refused(path))


@pytest.mark.parametrize("write", [stream, file])
def test_an_arrow_file_with_something_behind_it_is_refused(
    tmp_path: Path, write: Callable[..., bytes]
) -> None:
    """Arrow would not look."""
    for more in (b"x", bytes(8), stream(table())):
        path = put(tmp_path, "t.arrow" if write is file else "t.arrows", write(table()) + more)
        refused(path)


def test_an_arrow_buffer_that_promises_gigabytes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Each compressed buffer says first how large it becomes."""
    wide = pa.table({"id": pa.array(range(100_000))})
    data = bytearray(stream(wide, compression="zstd"))
    at = data.index(b"\x28\xb5\x2f\xfd") - 8
    assert 0 < struct.unpack("<q", data[at : at + 8])[0] <= 800_000
    data[at : at + 8] = struct.pack("<q", 2**40)
    path = put(tmp_path, "t.arrows", bytes(data))
    assert "max_ratio" in str(refused(path, contract({"id": "integer"})))
    loose = contract({"id": "integer"}, max_ratio=1e12, max_bytes=2**50)
    assert "too large" in str(refused(path, loose))


def test_types_and_names_of_arrow_are_held_against_the_contract(tmp_path: Path) -> None:
    """Nothing is cast that would lose something; a name that stands twice is refused."""
    wrong = pa.table({"id": pa.array(["1"])})
    assert "not integer" in str(
        refused(put(tmp_path, "t.arrows", stream(wrong)), contract({"id": "integer"}))
    )
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    assert "twice" in str(refused(put(tmp_path, "u.arrows", stream(twice)), contract({"id": "integer"})))
    halves = pa.table({"id": pa.array([1.0, 1.5])})
    assert "fraction" in str(refused(put(tmp_path, "v.arrow", file(halves)), contract({"id": "integer"})))


def test_more_rows_than_allowed_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """From what the messages promise."""
    path = put(tmp_path, "t.arrow", file(table()))
    assert "max_rows" in str(refused(path, contract(max_rows=2)))


@given(data=st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_arrow_file_with_changed_bytes_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """No crash and no other exception, whichever bytes are changed."""
    write = data.draw(st.sampled_from([stream, file]))
    whole = bytearray(write(table(), compression=data.draw(st.sampled_from([None, "lz4", "zstd"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(8, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = put(tmp_path, "t.arrow" if write is file else "t.arrows", bytes(whole))
    try:
        rows, _ = collect(path, contract(max_rows=1000, max_bytes=10_000_000))
    except ReadError:
        return
    assert rows.num_rows <= 1000


def test_formats_have_names_that_say_their_compression() -> None:
    """What the enumeration promises."""
    assert TableFormat.JSONL_ZST.plain is TableFormat.JSONL
    assert TableFormat.ARROWS_GZ.codec == "gzip"
    assert not is_table_name("notes.json")
