"""Canonical row hashes: one value, one hash, whatever carried it."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import math
import struct

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.ledger.errors import RowError
from assay.ledger.rows.hashing import hash_cells, row_cells, row_hash, row_hashes

# Rows, and the hashes that the specification gives them. They must never change: snapshots carry them.
GOLDEN = [
    ({"a": None}, "1ac85c44d2eabbb2051d232ade5d517386093f4b26c8a3fd55308abfbe724f6c"),
    ({"a": True}, "eed3ca135fcc715fcf78e9a88919da6b227fdbe3cfead4821bedf991d68c6b42"),
    ({"a": 0}, "4f3651b3189100f9a86d004f78bb8b2df5b5673f5fcd1ec50e16b24f366c1201"),
    ({"a": -1}, "1c90f6a7d65f351db0bc3c9f33065035213f476863b1dce7430f9895092a8058"),
    ({"a": 0.5}, "272c71e27ef99be0686aec20b910779580e4b14c85afa586005e6c25881f9af1"),
    ({"a": math.nan}, "b464c57d02b297147fb10d3a6dbebfafa171a64aadb2cdb50d21c8bbdd5891d3"),
    ({"a": ""}, "0187762338156c2480c49d4e1710b209237155209f2f7ba7c54447e4c4fdc834"),
    ({"a": "assay"}, "48a78c86a78e999a6e3eb68e6dce655ceb5d3ca51caae7a7e7d1e67c3d76bf68"),
    ({"a": [0.5, -0.25, 1]}, "89185bb20d00b851eb175d94104fe500975e3d66d6e4ce331c3a8ddb71382ccc"),
    ({"a": dt.date(2026, 3, 1)}, "0590d8477fa38231173399c414b4c6d92282c25679cc4b3759503ae4e20b77b7"),
    (
        {
            "age": 39,
            "education": "Bachelors",
            "income": "<=50K",
            "workclass": None,
            "weight": 77516.25,
            "seen": dt.datetime(2026, 3, 1, 12, 30, tzinfo=dt.UTC),
        },
        "f32d540bf71995df5322eb039a8335e9867f1157ed0716835bac79077a3171dc",
    ),
]

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3, None], pa.int64()),
        "x": pa.array([0.5, -0.0, float("nan"), None], pa.float64()),
        "name": pa.array(["ash", "", None, "élan"], pa.string()),
        "ok": pa.array([True, False, None, True], pa.bool_()),
        "day": pa.array([dt.date(1970, 1, 1), dt.date(2026, 3, 1), None, dt.date(1900, 1, 1)], pa.date32()),
        "at": pa.array([0, 1_700_000_000_000_000, None, -1], pa.timestamp("us", "UTC")),
    }
)


def one(value: object, kind: pa.DataType | None = None) -> bytes:
    """Hash of a row with one column `a`."""
    return row_hashes(pa.table({"a": pa.array([value], kind)}), ["a"]).tobytes()


def by_hand(cells: dict[str, bytes]) -> bytes:
    """The specification, spelled out once more without any code of ours."""
    names = sorted(cells, key=str.encode)
    listed = "[" + ",".join(f'"{name}"' for name in names) + "]"
    columns = hashlib.sha256(b"assay/row/v2\x00" + listed.encode()).digest()
    return hashlib.sha256(b"\x00" + columns + b"".join(cells[name] for name in names)).digest()


def test_a_row_is_hashed_as_the_specification_says() -> None:
    """Every kind of cell, encoded by hand."""
    table = pa.table(
        {
            "null": pa.array([None], pa.int32()),
            "boolean": [True],
            "integer": pa.array([-7], pa.int16()),
            "unsigned": pa.array([2**64 - 1], pa.uint64()),
            "double": [0.1],
            "day": pa.array([dt.date(2026, 3, 1)]),
            "time": pa.array([1_700_000_000], pa.timestamp("s")),
            "fine": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
            "text": ["é"],
            "empty": [""],
            "edge": ["x" * 32],
            "long": ["x" * 33],
            "vector": pa.array([[0.1, 2.0, None]]),
            "none": pa.array([[]], pa.list_(pa.float32())),
        }
    )
    expected = by_hand(
        {
            "null": b"\x00" + bytes(8),
            "boolean": b"\x01" + struct.pack("<q", 1),
            "integer": b"\x02" + struct.pack("<q", -7),
            "unsigned": b"\x03" + b"\xff" * 8,
            "double": b"\x04" + struct.pack("<d", 0.1),
            "day": b"\x05" + struct.pack("<q", 20513 * 86_400_000_000),
            "time": b"\x05" + struct.pack("<q", 1_700_000_000_000_000),
            "fine": b"\x06" + struct.pack("<q", 1_700_000_000_000_000_001),
            "text": b"\x22" + "é".encode() + bytes(30),
            "empty": b"\x20" + bytes(32),
            "edge": b"\x40" + b"x" * 32,
            "long": b"\x07" + hashlib.sha256(b"x" * 33).digest(),
            "vector": b"\x08"
            + hashlib.sha256(
                b"\x04" + struct.pack("<d", 0.1) + b"\x02" + struct.pack("<q", 2) + bytes(9)
            ).digest(),
            "none": b"\x08" + hashlib.sha256(b"").digest(),
        }
    )
    assert row_hashes(table, table.column_names).tobytes() == expected


@pytest.mark.parametrize(("row", "expected"), GOLDEN)
def test_hashes_never_change(row: dict, expected: str) -> None:
    """Golden values: a change here would make every snapshot's root wrong."""
    assert row_hash(row).hex() == expected


@pytest.mark.parametrize(
    "kind",
    [
        pa.int8(),
        pa.int16(),
        pa.int32(),
        pa.int64(),
        pa.uint8(),
        pa.uint16(),
        pa.uint32(),
        pa.uint64(),
        pa.float32(),
        pa.float64(),
    ],
)
def test_a_number_is_the_same_number_in_every_type(kind: pa.DataType) -> None:
    """Numbers compare by value."""
    assert one(100, kind) == row_hash({"a": 100}) == row_hash({"a": 100.0})
    assert one(None, kind) == row_hash({"a": None})


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_a_text_is_the_same_text_in_every_type(kind: pa.DataType) -> None:
    """Plain, large, view or dictionary-encoded."""
    assert one("ash", kind) == row_hash({"a": "ash"})
    assert one(None, kind) == row_hash({"a": None})


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp("s"), pa.timestamp("ms", "UTC"), pa.timestamp("us"), pa.timestamp("ns", "Asia/Tokyo")],
)
def test_a_moment_is_the_same_moment_in_every_type(kind: pa.DataType) -> None:
    """Any unit, with or without a zone, as a timestamp or as a date at midnight."""
    moment = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert one(moment if kind.tz else moment.replace(tzinfo=None), kind) == row_hash({"a": moment})
    assert (
        one(moment.date(), pa.date32()) == one(moment.date(), pa.date64()) == row_hash({"a": moment.date()})
    )
    assert row_hash({"a": moment.date()}) == row_hash({"a": moment})


def test_zero_has_no_sign_and_nan_has_one_form() -> None:
    """-0.0 is 0, and every NaN is the same NaN, but NaN is not null."""
    assert one(-0.0) == one(0.0) == one(0)
    odd = np.frombuffer(struct.pack("<Q", 0xFFF8_0000_0000_0001), dtype=np.float64)
    assert row_hashes(pa.table({"a": odd}), ["a"]).tobytes() == one(math.nan)
    assert one(math.nan) != one(None, pa.float64())


def test_what_is_different_stays_different() -> None:
    """No two of these are one value."""
    different = [
        one(None, pa.string()),
        one(""),
        one("0"),
        one(0),
        one(False),
        one(1),
        one(True),
        one("1"),
        one(math.nan),
        one("nan"),
        one(math.inf),
        one(-math.inf),
        one(0.1, pa.float32()),
        one(0.1, pa.float64()),
        one(2**53),
        one(2**53 + 1),
        one(2**63, pa.uint64()),
        one(-(2**63)),
        one(2.0**64),
        one(dt.date(1970, 1, 1)),
        one(1, pa.timestamp("us")),
        one(1, pa.timestamp("ns")),
        one("e\u0301"),
        one("\u00e9"),
        one([], pa.list_(pa.float64())),
        one([0]),
        one([0, 0]),
        one([1, 2]),
        one([2, 1]),
        one([None], pa.list_(pa.float64())),
        one([math.nan]),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("part", [pa.float32(), pa.float64(), pa.int64(), pa.uint8()])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_vector_is_the_same_vector_in_every_type(part: pa.DataType, fixed: bool) -> None:
    """Lists of fixed, variable and large size, of any numbers, whole and sliced, with nulls between."""
    values = [[1, 2, 3], None, [4, 5, 6], [1, 2, 3]]
    for kind in (pa.list_(part, 3),) if fixed else (pa.list_(part), pa.large_list(part)):
        column = pa.array(values, kind)
        expected = [row_hash({"a": value}) for value in values]
        for skip in range(4):
            table = pa.table({"a": column.slice(skip)})
            assert [bytes(value) for value in row_hashes(table, ["a"])] == expected[skip:]
    assert expected[0] == expected[3] != expected[1]


def test_large_numbers_keep_their_value() -> None:
    """At the edges of 64 bits, integers and doubles of one value agree."""
    for whole in (2**62, -(2**63), 2**63, 2**64 - 2**11):
        kind = pa.uint64() if whole >= 2**63 else pa.int64()
        assert (
            one(whole, kind) == one(float(whole)) == row_hash({"a": whole}) == row_hash({"a": float(whole)})
        )
    assert one(1e300) == row_hash({"a": 1e300})


def test_names_count_and_their_order_does_not() -> None:
    """The same values under other names are another row; the same columns in another order are not."""
    names = TABLE.column_names
    expected = row_hashes(TABLE, names).tobytes()
    assert row_hashes(TABLE.select(names[::-1]), names[::-1]).tobytes() == expected
    renamed = TABLE.rename_columns([*names[:-1], "time"])
    assert row_hashes(renamed, renamed.column_names).tobytes() != expected


def test_columns_that_are_not_asked_for_do_not_count() -> None:
    """Neither their values nor their presence."""
    more = TABLE.append_column("_note", pa.array([1, 2, 3, 4]))
    assert row_hashes(more, TABLE.column_names).tobytes() == row_hashes(TABLE, TABLE.column_names).tobytes()


def test_values_do_not_slip_into_the_next_column() -> None:
    """A null beside a text is not a text beside a null, and no split of a text equals another."""
    kinds = pa.schema([("a", pa.string()), ("b", pa.string())])
    rows = [("x", None), (None, "x"), ("xy", ""), ("x", "y"), ("", "xy"), (None, None), ("", None)]
    table = pa.table({"a": [a for a, _ in rows], "b": [b for _, b in rows]}, schema=kinds)
    hashes = row_hashes(table, ["a", "b"])
    assert len({bytes(value) for value in hashes}) == len(rows)


def test_a_column_without_any_value_is_null_whatever_its_type() -> None:
    """An all-null text column hashes as an untyped null column does."""
    typed = pa.table({"a": pa.nulls(3, pa.string()), "b": [1, 2, 3]})
    untyped = pa.table({"a": pa.nulls(3), "b": [1, 2, 3]})
    assert row_hashes(typed, ["a", "b"]).tobytes() == row_hashes(untyped, ["a", "b"]).tobytes()


def test_parquet_and_csv_carry_the_same_rows() -> None:
    """Through both file formats, with the contract's types, the hashes are those of the table."""
    table = TABLE.slice(0, 2).select(["id", "x", "name", "ok", "day"])
    parquet, csv = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, use_dictionary=True)
    pacsv.write_csv(table, csv)
    options = pacsv.ConvertOptions(column_types=table.schema, strings_can_be_null=False)
    from_parquet = pq.read_table(io.BytesIO(parquet.getvalue()), read_dictionary=["name"])
    from_csv = pacsv.read_csv(io.BytesIO(csv.getvalue()), convert_options=options)
    expected = row_hashes(table, table.column_names).tobytes()
    assert row_hashes(from_parquet, table.column_names).tobytes() == expected
    assert row_hashes(from_csv, table.column_names).tobytes() == expected


def test_chunks_slices_and_batches_do_not_matter() -> None:
    """However the table was cut, and wherever a slice begins."""
    many = pa.concat_tables([TABLE] * 9)
    expected = np.tile(row_hashes(TABLE, TABLE.column_names), (9, 1))
    assert np.array_equal(row_hashes(many, many.column_names), expected)
    assert np.array_equal(row_hashes(many.slice(5, 20), many.column_names), expected[5:25])
    (batch,) = many.combine_chunks().to_batches()
    assert np.array_equal(row_hashes(batch.slice(3), many.column_names), expected[3:])
    assert row_hashes(TABLE.slice(0, 0), TABLE.column_names).shape == (0, 32)


def test_a_dictionary_larger_than_its_column_is_read_only_where_it_is_used() -> None:
    """A slice of a column with thousands of words, nulls in the indices and in the dictionary itself."""
    words = [f"word {number}" for number in range(5000)]
    indices = pa.array([4999, None, 0, 4999], pa.int32())
    column = pa.DictionaryArray.from_arrays(indices, pa.array(words))
    plain = pa.array([words[4999], None, words[0], words[4999]])
    assert np.array_equal(
        row_hashes(pa.table({"a": column}), ["a"]), row_hashes(pa.table({"a": plain}), ["a"])
    )
    holey = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["x", None]))
    assert row_hashes(pa.table({"a": holey}), ["a"])[1].tobytes() == row_hash({"a": None})
    numbers = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([5, 6]))
    assert row_hashes(pa.table({"a": numbers}), ["a"])[0].tobytes() == row_hash({"a": 6})
    nothing = pa.DictionaryArray.from_arrays(pa.array([None, None], pa.int8()), pa.array([], pa.string()))
    assert row_hashes(pa.table({"a": nothing}), ["a"])[0].tobytes() == row_hash({"a": None})


EARLY, LATE = (dt.datetime(year, 1, 1) for year in (1700, 2200))  # noqa: DTZ001 - without a zone on purpose

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=5),
    st.datetimes(EARLY, LATE),
    st.dates(dt.date(1700, 1, 1), dt.date(2200, 1, 1)),
    st.lists(st.none() | st.floats(), max_size=4),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4),
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=4), values, min_size=1, max_size=5))
def test_the_fast_way_and_the_plain_way_agree(row: dict) -> None:
    """Columns at a time, a value at a time, and from the cells that a proof carries: one hash."""
    table = pa.table({name: pa.array([value]) for name, value in row.items()})
    expected = row_hash(row)
    assert row_hashes(table, list(row)).tobytes() == expected
    assert hash_cells(row_cells(table, list(row))) == expected


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.text(max_size=2), st.none() | st.text(max_size=2), st.none() | st.floats(width=32)
        ),
        min_size=1,
        max_size=40,
    )
)
def test_rows_with_nulls_in_any_pattern_agree_with_the_plain_way(rows: list) -> None:
    """Texts that are missing here and there make rows of different lengths."""
    names = ["a", "b", "c"]
    kinds = [pa.string(), pa.string(), pa.float64()]
    table = pa.table({name: pa.array([row[i] for row in rows], kinds[i]) for i, name in enumerate(names)})
    fast = row_hashes(table, names)
    assert [bytes(value) for value in fast] == [row_hash(dict(zip(names, row, strict=True))) for row in rows]


@pytest.mark.parametrize(
    ("table", "columns", "told"),
    [
        (TABLE, ["nothing"], "no column 'nothing'"),
        (TABLE, [], "without columns"),
        (TABLE, ["id", "id"], "named twice"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), ["a"], "2 columns 'a'"),
        (pa.table({"a": pa.array([["x"]])}), ["a"], "without a canonical form"),
        (pa.table({"a": pa.array([[[1]]])}), ["a"], "without a canonical form"),
        (pa.table({"a": pa.array([b"x"])}), ["a"], "without a canonical form"),
        (pa.table({"a": pa.array([None], pa.decimal128(5, 2))}), ["a"], "without a canonical form"),
        (pa.table({"a": pa.array([2**62], pa.timestamp("s"))}), ["a"], "cannot hold"),
    ],
)
def test_rows_without_a_canonical_form_are_refused(table: pa.Table, columns: list[str], told: str) -> None:
    """The column is named, and what would be right."""
    with pytest.raises(RowError, match=told):
        row_hashes(table, columns)


def test_values_without_a_canonical_form_are_refused() -> None:
    """Bytes, lists of anything but numbers and integers beyond 64 bits, as values and as cells of a proof."""
    for value in (b"x", ["x"], [True], [[1]], 2**64, -(2**63) - 1):
        with pytest.raises(RowError, match="no canonical form"):
            row_hash({"a": value})
    for kind, value in (
        ("integer", 2**63),
        ("integer", "1"),
        ("integer", 1.5),
        ("unsigned", -1),
        ("double", "many"),
        ("text", 1),
        ("null", 0),
        ("boolean", 1),
        ("vector", 1),
        ("vector", ["x"]),
        ("vector", [True]),
        ("vector", [[1]]),
        ("other", 1),
    ):
        with pytest.raises(RowError):
            hash_cells([("a", kind, value)])
