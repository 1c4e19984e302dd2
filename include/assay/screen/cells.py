"""Cells of one Arrow column as floats, texts or category codes, by the contract's type and whatever the file holds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

MISSING = -1
"""Code of a null label, source or category."""
UNSEEN = -2
"""Code of a label, source or category that was not among those the encoder was fitted on."""

_HUGE = 1e100  # larger numbers are as good as this one, and their squares still fit
_EXACT = 2**53  # integers up to here are exact in a float64
_TRUTH = {"true": 1.0, "false": 0.0}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column in one plain piece: no chunks, no dictionary."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # pyarrow answers so for zero chunks
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def plain(value: object) -> str:
    """One spelling for a class or category, whether it came as text, integer or boolean."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def text(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column as one array of strings; whole floats lose their `.0`, so that 1 and 1.0 are one class."""
    column = whole(column)
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_floating(kind):
        integral = pc.all(pc.fill_null(pc.equal(column, pc.round(column)), True)).as_py()
        column = pc.cast(column, pa.int64(), safe=False) if integral else column
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        cells = [None if v is None else v.decode("utf-8", "backslashreplace") for v in column.to_pylist()]
        return pa.array(cells, pa.string())
    try:
        return pc.cast(column, pa.string(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())


def numbers(column: pa.Array | pa.ChunkedArray, kind: str) -> tuple[F64, Mask]:
    """A column as float64, and which cells are infinite or not of the contract's type.

    Args:
        column: The cells, of any Arrow type.
        kind: The contract's type: integer, number, boolean, date (days from 1970) or timestamp (seconds from 1970).

    Returns:
        (n,) values, NaN where null, infinite or of another type; (n,) mask of the infinite and those of another type.
    """
    column = whole(column)
    found = column.type
    if pa.types.is_null(found):
        return np.full(len(column), np.nan), np.zeros(len(column), dtype=bool)
    if pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found):
        return _parsed(column, kind)
    temporal = pa.types.is_date(found) or pa.types.is_timestamp(found)
    if temporal and kind in {"date", "timestamp"}:
        return _time(column, kind)
    numeric = pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found)
    if not (numeric or pa.types.is_boolean(found)):
        return np.full(len(column), np.nan), _present(column)
    if pa.types.is_boolean(found):
        column = pc.cast(column, pa.uint8())
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return _bounded(values.astype(np.float64, copy=True))


def beyond_float(column: pa.Array | pa.ChunkedArray) -> tuple[Mask, NDArray[np.uint64]] | None:
    """Which integers a float64 cannot hold, and the bits of all; None where there are none.

    Identifiers are such integers: as floats two of them could look like one.
    """
    column = whole(column)
    if not pa.types.is_integer(column.type) or column.type.bit_width < 64 or len(column) == 0:
        return None
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    large = values > _EXACT
    if column.type == pa.int64():
        large |= values < -_EXACT
    return (large, values.view(np.uint64)) if large.any() else None


def codes(column: pa.Array | pa.ChunkedArray, levels: Sequence[str]) -> I64:
    """Positions of the values in `levels`; -1 for null, -2 for a value that is not there."""
    cells = text(column)
    if not levels:
        found = np.full(len(cells), UNSEEN, dtype=np.int64)
    else:
        index = pc.fill_null(pc.index_in(cells, value_set=pa.array(levels, pa.string())), UNSEEN)
        found = index.to_numpy(zero_copy_only=False).astype(np.int64)
    if cells.null_count:
        found[~_present(cells)] = MISSING
    return found


def counts(tables: Sequence[pa.Table], name: str) -> dict[str, int]:
    """How often each value stands in a column, nulls left out."""
    out: dict[str, int] = {}
    for table in tables:
        found = pc.value_counts(text(table.column(name)))
        for value, count in zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True):
            if value is not None:
                out[value] = out.get(value, 0) + count
    return out


def _present(column: pa.Array) -> Mask:
    return np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False), dtype=bool)


def _bounded(values: F64) -> tuple[F64, Mask]:
    odd = np.isinf(values)
    values[odd] = np.nan
    return np.clip(values, -_HUGE, _HUGE), odd


def _time(column: pa.Array, kind: str) -> tuple[F64, Mask]:
    """Dates and times in the unit of the contract's type, whichever of both the file holds."""
    if pa.types.is_date(column.type):
        days = pc.cast(pc.cast(column, pa.date32()), pa.int32())
        values = pc.cast(days, pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        return (values if kind == "date" else values * 86_400.0), np.zeros(len(column), dtype=bool)
    per_second = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[column.type.unit]
    ticks = pc.cast(pc.cast(column, pa.int64()), pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    values = ticks.astype(np.float64) / per_second
    return (np.floor(values / 86_400.0) if kind == "date" else values), np.zeros(len(column), dtype=bool)


def _parsed(column: pa.Array, kind: str) -> tuple[F64, Mask]:
    """Cells written as text; what cannot be read is odd."""
    if kind in {"integer", "number"}:
        try:
            values = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
            return _bounded(values.astype(np.float64, copy=True))
        except pa.ArrowInvalid:
            pass
    values = np.full(len(column), np.nan)
    odd = np.zeros(len(column), dtype=bool)
    read = _moment if kind in {"date", "timestamp"} else _number
    for position, value in enumerate(column.to_pylist()):
        if value is None:
            continue
        found = read(value.strip())
        if found is None:
            odd[position] = True
        else:
            values[position] = found / 86_400 // 1 if kind == "date" else found
    values, infinite = _bounded(values)
    return values, odd | infinite


def _number(cell: str) -> float | None:
    try:
        return _TRUTH[cell.lower()] if cell.lower() in _TRUTH else float(cell)
    except ValueError:
        return None


def _moment(cell: str) -> float | None:
    """Seconds from 1970 of a day or moment in ISO 8601; without a zone it is taken as UTC."""
    try:
        moment = dt.datetime.fromisoformat(cell)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH).total_seconds()
