"""Canonical row hashes: the same row has the same hash in every file format and on every machine.

A row's hash is the RFC 9162 leaf hash of its canonical encoding, so that the Merkle root over row hashes is the root of
a tree over the rows themselves:

    row hash  = SHA-256( 0x00 || columns || cell || cell || ... )
    columns   = SHA-256( "assay/row/v2" || 0x00 || the column names, sorted, as canonical JSON )
    cell      = tag (1 byte) || body, one cell for each column, in the order of the sorted names

| value                       | tag | body                                                                        |
|-----------------------------|-----|-----------------------------------------------------------------------------|
| null                        | 00  | 8 zero bytes                                                                |
| boolean                     | 01  | 0 or 1, 8 bytes                                                             |
| number, whole, -2**63..2**63-1 | 02 | the value, signed, 8 bytes                                                |
| number, whole, 2**63..2**64-1  | 03 | the value, unsigned, 8 bytes                                              |
| any other number            | 04  | IEEE 754 double, 8 bytes; every NaN is 7ff8000000000000                     |
| date or time                | 05  | microseconds since 1970-01-01T00:00:00 UTC, signed, 8 bytes                 |
| time with odd nanoseconds   | 06  | nanoseconds since then, signed, 8 bytes                                     |
| text, more than 32 bytes of UTF-8 | 07 | SHA-256 of its UTF-8 bytes, 32 bytes                                  |
| list of numbers             | 08  | SHA-256 of its components as cells, in order, 32 bytes                      |
| text, n = 0..32 bytes of UTF-8 | 20 + n | its UTF-8 bytes, then zeros up to 32 bytes                            |

Tags are hexadecimal; all integers are little-endian. What follows from it, on purpose:

- Numbers compare by value: 1 as int8, int64, uint32, float32 or float64 is the same number, and -0.0 is 0. A float32 is
  the double that it is exactly, so 0.1 as float32 is another number than 0.1 as float64.
- Null, NaN, the empty text and zero are four different things. True is not 1, and "1" is not 1.
- A date is midnight UTC of that day; a timestamp without a zone is taken as UTC.
- Text is compared byte by byte, without Unicode normalisation. Whether it is dictionary-encoded does not matter.
- Nor does it matter whether lists are of fixed or variable size. A component is a number as above, or null.
- Neither the order of the columns nor their widths matter; their names do.

Cells have no more than 33 bytes and are told apart by their tags, so no two rows share an encoding.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.canonical import canonical_json
from assay.ledger.errors import RowError
from assay.ledger.merkle import HASH_SIZE, Hashes, hash_slices, leaf_hash

NULL, BOOLEAN, WHOLE, UNSIGNED, DOUBLE, TIME, NANOSECONDS, TEXT, VECTOR = range(9)
SHORT = 0x20  # tag of the empty text; a text of n bytes, up to WIDTH of them, has the tag SHORT + n
WIDTH = 32
_NAN = 0x7FF8_0000_0000_0000
_BATCH_ROWS = 16_384  # the encoding of one batch stays in the processor's cache
_SCALAR = 9  # bytes of a cell that holds no text
# Row n keeps the first n of 32 bytes and clears the others.
_KEEP = np.where(np.arange(WIDTH)[None, :] < np.arange(WIDTH + 1)[:, None], 0xFF, 0).astype(np.uint8)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

KINDS = ("null", "boolean", "integer", "unsigned", "double", "time", "nanoseconds", "text", "vector")
"""Names of the tags."""

_COMPONENTS = frozenset({"null", "integer", "unsigned", "double"})

_FORMATS = {
    "null": "<q",
    "boolean": "<q",
    "integer": "<q",
    "unsigned": "<Q",
    "double": "<d",
    "time": "<q",
    "nanoseconds": "<q",
}

Cell = tuple[str, str, Any]
"""Column, kind and JSON-ready value of one cell.

A time's value is its number, NaN and infinities are text, and a vector is a list of numbers, such texts and nulls.
"""

Cells = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Tags (n,) uint8 and bodies (n, 8 or 32) uint8."""


def row_hashes(data: pa.Table | pa.RecordBatch, columns: Sequence[str]) -> Hashes:
    """Hash rows as described above.

    Args:
        data: Table or record batch; columns other than those named do not count.
        columns: Names of the columns that make up a row, in any order.

    Returns:
        uint8 array of shape (n, 32), one row hash for each row.

    Raises:
        RowError: A column is missing, named twice, or of a type that has no canonical form.
    """
    names = sorted_columns(columns)
    _present(data.schema, names)
    prefix = b"\x00" + columns_digest(names)
    parts = [_hash_batch(batch, names, prefix) for batch in _small_batches(data, names)]
    packed = b"".join(parts)
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, HASH_SIZE)


def row_hash(row: Mapping[str, Any]) -> bytes:
    """Hash one row of Python values: the specification as code, and slow.

    Args:
        row: Value of each column: None, bool, int, float, str, date, datetime, or a list of numbers.

    Raises:
        RowError: A value has no canonical form.
    """
    return hash_cells([(name, *_canonical(value, name)) for name, value in row.items()])


def row_cells(row: pa.Table | pa.RecordBatch, columns: Sequence[str]) -> list[Cell]:
    """The cells of one row, from which `hash_cells` computes its hash.

    Args:
        row: Table or batch of one row.
        columns: Names of the columns that make up a row.

    Raises:
        RowError: As `row_hashes`.
    """
    names = sorted_columns(columns)
    _present(row.schema, names)
    (batch,) = _small_batches(row, names)
    out: list[Cell] = []
    for name in names:
        column = batch.column(name)
        tags, body = _cells(column, name)
        kind = "text" if tags[0] >= SHORT else KINDS[int(tags[0])]
        value: Any = body[0].tobytes()
        if kind == "text":
            value = column.to_pylist()[0]
        elif kind == "vector":
            value = _canonical(column.to_pylist()[0], name)[1]
        else:
            (value,) = struct.unpack(_FORMATS[kind], value)
        out.append((name, kind, _json_value(kind, value)))
    return out


def hash_cells(cells: Sequence[Cell]) -> bytes:
    """The hash of the row that has these cells, one for each column, in any order.

    Raises:
        RowError: A cell is malformed, or a column stands twice.
    """
    names = sorted_columns([name for name, _, _ in cells])
    encoded = {name: _cell_bytes(name, kind, value) for name, kind, value in cells}
    return leaf_hash(columns_digest(names) + b"".join(encoded[name] for name in names))


def sorted_columns(columns: Sequence[str]) -> list[str]:
    """Column names in the order in which their cells are hashed.

    Raises:
        RowError: There are none, or one stands twice.
    """
    names = sorted(columns, key=str.encode)
    if not names:
        raise RowError("a row without columns has no hash", expected="at least one column")
    twice = [a for a, b in itertools.pairwise(names) if a == b]
    if twice:
        raise RowError(f"the column {twice[0]!r} is named twice", next_step="name each column once")
    return names


def columns_digest(names: Sequence[str]) -> bytes:
    """SHA-256 that binds a row's hash to its columns' names; `names` sorted."""
    return hashlib.sha256(b"assay/row/v2\x00" + canonical_json(list(names))).digest()


# -------------------------------------------------------------------------------------------------------------- private
def _canonical(value: Any, column: str) -> tuple[str, Any]:
    """Kind and value of a Python value, as the table above has it."""
    if value is None:
        return "null", None
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value) and value.is_integer()):
        whole = int(value)
        if -(2**63) <= whole < 2**63:
            return "integer", whole
        if 0 < whole < 2**64:
            return "unsigned", whole
    if isinstance(value, float):
        return "double", _json_value("double", value)
    if isinstance(value, str):
        return "text", value
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return "time", (moment - _EPOCH) // dt.timedelta(microseconds=1)
    if isinstance(value, dt.date):
        return "time", (value - _EPOCH.date()) // dt.timedelta(microseconds=1)
    if isinstance(value, list | tuple):
        parts = [_canonical(part, column) for part in value]
        if all(kind in _COMPONENTS for kind, _ in parts):
            return "vector", [part for _, part in parts]
    raise RowError(
        f"a value of the column {column!r} has no canonical form",
        expected="null, boolean, number below 2**64, text, date, timestamp or list of numbers",
        found=type(value).__name__,
    )


def _json_value(kind: str, value: Any) -> Any:
    if kind == "null":
        return None
    if kind == "boolean":
        return bool(value)
    if kind == "double" and not math.isfinite(value):
        return str(value)  # nan, inf or -inf
    return value


def _cell_bytes(column: str, kind: str, value: Any) -> bytes:
    """Tag and body of one cell."""
    wanted: Any = {
        "null": type(None),
        "boolean": bool,
        "double": (float, int, str),
        "text": str,
        "vector": list,
    }.get(kind, int)
    if kind not in KINDS or not isinstance(value, wanted):
        raise RowError(f"a cell of the column {column!r} is malformed", expected=", ".join(KINDS), found=kind)
    tag, content = bytes([KINDS.index(kind)]), cast("Any", value)
    try:
        if kind == "text":
            data: bytes = content.encode()
            if len(data) <= WIDTH:
                return bytes([SHORT + len(data)]) + data.ljust(WIDTH, b"\0")
            return tag + hashlib.sha256(data).digest()
        if kind == "vector":
            return tag + hashlib.sha256(b"".join(_component(column, part) for part in content)).digest()
        if kind == "double":
            number = float(content)
            return tag + struct.pack("<Q", _NAN) if math.isnan(number) else tag + struct.pack("<d", number)
        return tag + struct.pack(_FORMATS[kind], content or 0)
    except (struct.error, ValueError, OverflowError) as error:
        raise RowError(f"a cell of the column {column!r} does not hold a {kind}", found=error) from error


def _component(column: str, value: Any) -> bytes:
    """The cell of one component of a vector, as JSON has it."""
    if isinstance(value, str):
        if value not in {"nan", "inf", "-inf"}:
            raise RowError(f"a vector of the column {column!r} is malformed", expected="numbers", found=value)
        return _cell_bytes(column, "double", value)
    kind, number = _canonical(value, column)
    if kind not in _COMPONENTS:
        raise RowError(f"a vector of the column {column!r} is malformed", expected="numbers", found=kind)
    return _cell_bytes(column, kind, number)


def _present(schema: pa.Schema, names: Sequence[str]) -> None:
    for name in names:
        found = len(schema.get_all_field_indices(name))
        if found != 1:
            raise RowError(
                f"the rows have {'no column' if found == 0 else f'{found} columns'} {name!r}",
                expected="one column of that name",
                found=", ".join(schema.names[:20]),
            )


def _small_batches(data: pa.Table | pa.RecordBatch, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    selected = data.select(list(names))
    batches = selected.to_batches() if isinstance(selected, pa.Table) else [selected]
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


def _hash_batch(batch: pa.RecordBatch, names: Sequence[str], prefix: bytes) -> bytes:
    """Row hashes of a small batch, joined."""
    cells = [_cells(batch.column(name), name) for name in names]
    width = len(prefix) + sum(1 + body.shape[1] for _, body in cells)
    matrix = np.empty((batch.num_rows, width), dtype=np.uint8)
    matrix[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    start, short = len(prefix), []
    for tags, body in cells:
        stop = start + 1 + body.shape[1]
        matrix[:, start] = tags
        matrix[:, start + 1 : stop] = body
        if body.shape[1] > 8 and bool((missing := tags == NULL).any()):
            short.append((start + _SCALAR, stop, missing))  # a null cell has 9 bytes in any column
        start = stop
    if not short:
        return hash_slices(matrix.tobytes(), width)
    return _hash_ragged(matrix, short)


def _hash_ragged(
    matrix: np.ndarray[Any, Any], short: Sequence[tuple[int, int, np.ndarray[Any, Any]]]
) -> bytes:
    """Hash the rows of a matrix, leaving out `matrix[missing, start:stop]` for each of `short`.

    Rows that leave out the same cells have the same width and are hashed together.
    """
    flags = np.packbits(np.stack([missing for _, _, missing in short], axis=1), axis=1)
    packed = (
        np.ascontiguousarray(flags).view(f"V{flags.shape[1]}").reshape(-1)
    )  # one comparable value per row
    _, first, members = np.unique(packed, return_index=True, return_inverse=True)
    members = members.reshape(-1)
    out = np.empty((len(matrix), HASH_SIZE), dtype=np.uint8)
    for number, example in enumerate(first):
        rows = np.flatnonzero(members == number)
        part = matrix[rows]
        gone = [(start, stop) for start, stop, missing in short if missing[example]]
        if gone:
            edges = [0, *(edge for pair in gone for edge in pair), part.shape[1]]
            part = np.concatenate(
                [part[:, a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)], axis=1
            )
        hashed = hash_slices(part.tobytes(), part.shape[1])
        out[rows] = np.frombuffer(hashed, dtype=np.uint8).reshape(-1, HASH_SIZE)
    return out.tobytes()


def _cells(column: pa.Array, name: str) -> Cells:
    """Tags and bodies of one column."""
    kind = column.type
    if pa.types.is_dictionary(kind) and not _is_text(kind.value_type):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_null(kind):
        return _fixed(np.zeros(len(column), dtype="<i8"), NULL, None)
    if _is_text(kind) or pa.types.is_dictionary(kind):
        return _text(column)
    valid = None if column.null_count == 0 else np.asarray(column.is_valid())
    if pa.types.is_boolean(kind):
        return _fixed(_values(column, pa.uint8(), 0), BOOLEAN, valid)
    if pa.types.is_integer(kind):
        return _integers(column, kind, valid)
    if pa.types.is_floating(kind):
        return _floats(_values(column, pa.float64(), 0.0), valid)
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _times(column, kind, valid, name)
    if _is_list(kind) and _is_number(kind.value_type):
        return _vectors(column, name)
    raise RowError(
        f"the column {name!r} has a type without a canonical form",
        expected="integer, number, string, boolean, date, timestamp or a list of numbers",
        found=kind,
        next_step="convert the column to the type that the contract gives it",
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind))


def _values(column: pa.Array, kind: pa.DataType, filler: Any) -> np.ndarray[Any, Any]:
    """The column's values without nulls, as a NumPy array."""
    if column.null_count:
        column = pc.fill_null(column.cast(kind), pa.scalar(filler, kind))
    return np.asarray(column.cast(kind))


def _fixed(
    values: np.ndarray[Any, Any], tag: int | np.ndarray[Any, Any], valid: np.ndarray[Any, Any] | None
) -> Cells:
    """Cells of 8-byte values; `tag` is one for all, or one each."""
    if values.dtype.itemsize != 8:
        values = values.astype("<i8")
    tags = np.full(len(values), tag, dtype=np.uint8) if isinstance(tag, int) else tag
    if valid is not None:
        values = np.where(valid, values, np.zeros((), dtype=values.dtype))
        tags = np.where(valid, tags, np.uint8(NULL))
    little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return tags, little.view(np.uint8).reshape(-1, 8)


def _integers(column: pa.Array, kind: pa.DataType, valid: np.ndarray[Any, Any] | None) -> Cells:
    if not pa.types.is_uint64(kind):
        return _fixed(_values(column, pa.int64(), 0), WHOLE, valid)
    values = _values(column, pa.uint64(), 0)
    tags = np.where(values < np.uint64(2**63), np.uint8(WHOLE), np.uint8(UNSIGNED))
    return _fixed(values, tags, valid)


def _floats(values: np.ndarray[Any, Any], valid: np.ndarray[Any, Any] | None) -> Cells:
    bits = values.view(np.int64)
    whole = (values == np.floor(values)) & (values >= -(2.0**63)) & (values < 2.0**64)  # false for NaN
    large = whole & (values >= 2.0**63)
    small = whole & ~large
    body = np.where(np.isnan(values), np.int64(_NAN), bits)
    body = np.where(small, np.where(small, values, 0.0).astype(np.int64), body)
    tags = np.where(small, np.uint8(WHOLE), np.uint8(DOUBLE))
    if large.any():
        body = np.where(large, np.where(large, values, 0.0).astype(np.uint64).view(np.int64), body)
        tags = np.where(large, np.uint8(UNSIGNED), tags)
    return _fixed(body, tags, valid)


def _times(column: pa.Array, kind: pa.DataType, valid: np.ndarray[Any, Any] | None, name: str) -> Cells:
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        nanoseconds = _values(column, pa.int64(), 0)
        even = nanoseconds % 1000 == 0
        tags = np.where(even, np.uint8(TIME), np.uint8(NANOSECONDS))
        return _fixed(np.where(even, nanoseconds // 1000, nanoseconds), tags, valid)
    try:
        microseconds = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)))
    except pa.ArrowInvalid as error:
        raise RowError(
            f"the column {name!r} holds a time that microseconds cannot hold",
            expected="a time within about 290,000 years of 1970",
            found=error,
        ) from error
    return _fixed(_values(microseconds, pa.int64(), 0), TIME, valid)


def _vectors(column: pa.Array, name: str) -> Cells:
    """Lists of numbers: the components' cells joined, list by list, and hashed."""
    missing = np.asarray(column.is_null())
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)
    tags, body = _cells(column.flatten(), name)  # leaves out what stands behind nulls
    packed = np.column_stack([tags, body]).tobytes()
    ends = np.cumsum(lengths) * _SCALAR
    bodies = np.zeros((len(column), WIDTH), dtype=np.uint8)
    for number in np.flatnonzero(~missing).tolist():
        part = packed[ends[number] - lengths[number] * _SCALAR : ends[number]]
        bodies[number] = np.frombuffer(hashlib.sha256(part).digest(), dtype=np.uint8)
    return np.where(missing, np.uint8(NULL), np.uint8(VECTOR)), bodies


def _text(column: pa.Array) -> Cells:
    """Text that is dictionary-encoded is encoded once for each word."""
    if not pa.types.is_dictionary(column.type):
        return _words(column)
    words, indices = column.dictionary, column.indices
    if len(words) > len(indices):  # a slice of a column with a large dictionary: only what is used
        used = pc.unique(indices.drop_null())
        indices, words = pc.index_in(indices, used), words.take(used)
    places = np.asarray(pc.fill_null(indices.cast(pa.int64()), len(words)))
    tags, bodies = _words(words)
    null = np.zeros((1, WIDTH), dtype=np.uint8)
    return np.append(tags, np.uint8(NULL))[places], np.concatenate([bodies, null])[places]


def _words(column: pa.Array) -> Cells:
    """Cells of plain text, copied from Arrow's buffers; only long text is hashed, each distinct one once."""
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    count, (_, offsets, data) = len(column), column.buffers()
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    if count == 0 or offsets is None:
        return np.full(count, NULL, dtype=np.uint8), np.zeros((count, WIDTH), dtype=np.uint8)
    edges = np.frombuffer(offsets, dtype=width)[column.offset : column.offset + count + 1].astype(np.int64)
    slab = np.zeros(edges[-1] - edges[0] + WIDTH, dtype=np.uint8)  # a window at the last text stays inside
    if data is not None:
        slab[:-WIDTH] = np.frombuffer(data, dtype=np.uint8)[edges[0] : edges[-1]]
    starts, lengths = edges[:-1] - edges[0], np.diff(edges)
    # One item of 32 bytes at every byte of the slab, so that taking items copies whole windows.
    windows = np.lib.stride_tricks.as_strided(slab[:WIDTH].view(f"V{WIDTH}"), (len(slab) - WIDTH + 1,), (1,))
    bodies = windows[starts].view(np.uint8).reshape(count, WIDTH)
    bodies &= _KEEP[np.minimum(lengths, WIDTH)]
    tags = (SHORT + np.minimum(lengths, WIDTH)).astype(np.uint8)
    known: dict[bytes, np.ndarray[Any, Any]] = {}
    for number in np.flatnonzero(lengths > WIDTH).tolist():
        text = slab[starts[number] : starts[number] + lengths[number]].tobytes()
        if (digest := known.get(text)) is None:
            digest = known[text] = np.frombuffer(hashlib.sha256(text).digest(), dtype=np.uint8)
        tags[number], bodies[number] = TEXT, digest
    if column.null_count:
        missing = ~np.asarray(column.is_valid())
        tags[missing], bodies[missing] = NULL, 0
    return tags, bodies
