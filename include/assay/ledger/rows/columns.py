"""The cells of a whole column at once, from Arrow's buffers: the format of `hashing`, made fast."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assay.ledger.errors import RowError
from assay.ledger.rows.cells import (
    BOOLEAN,
    DOUBLE,
    NAN_BITS,
    NANOSECONDS,
    NULL,
    SCALAR,
    SHORT,
    TEXT,
    TIME,
    UNSIGNED,
    VECTOR,
    WHOLE,
    WIDTH,
)

# Row n keeps the first n of 32 bytes and clears the others.
_KEEP = np.where(np.arange(WIDTH)[None, :] < np.arange(WIDTH + 1)[:, None], 0xFF, 0).astype(np.uint8)

Cells = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
"""Tags (n,) uint8 and bodies (n, 8 or 32) uint8."""


def column_cells(column: pa.Array, name: str) -> Cells:
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
    body = np.where(np.isnan(values), np.int64(NAN_BITS), bits)
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
    tags, body = column_cells(column.flatten(), name)  # leaves out what stands behind nulls
    packed = np.column_stack([tags, body]).tobytes()
    ends = np.cumsum(lengths) * SCALAR
    bodies = np.zeros((len(column), WIDTH), dtype=np.uint8)
    for number in np.flatnonzero(~missing).tolist():
        part = packed[ends[number] - lengths[number] * SCALAR : ends[number]]
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
