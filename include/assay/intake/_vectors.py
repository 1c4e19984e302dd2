"""Vectors as they come from outside: lists of numbers of one length, finite, within the contract's bounds."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.contract.models import Column
from assay.intake._reading import EXAMPLES, Reading, shorten

Mask = npt.NDArray[np.bool_]

VECTOR = pa.list_(pa.float64())
"""The Arrow type of vectors; lists of fixed and variable size are both cast to it."""

NOT_A_VECTOR = "not a list of numbers"
GAP = "has a component that is null"
NOT_FINITE = "has a component that is not finite"
LOSSY = "has a component that would lose digits"
_EXACT = 2**53  # integers up to here are exact in a float64


def acceptable(found: pa.DataType) -> bool:
    """Whether an Arrow column of this type can hold vectors without coercion."""
    lists = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
    if not lists:
        return False
    part = found.value_type
    return bool(pa.types.is_floating(part) or pa.types.is_integer(part) or pa.types.is_null(part))


def width(column: Column) -> int:
    """How many values a cell of the column stands for."""
    return column.length or 1


def from_arrow(values: pa.Array, name: str, reading: Reading) -> pa.Array:
    """Cast lists of numbers to vectors; what is no vector of the contract's is reported and becomes null.

    Args:
        values: Lists, of a type that `acceptable` accepts.
        name: The column.
        reading: Where bad cells are reported.

    Raises:
        ReadError: A cell is bad and bad cells are not collected.
    """
    column = reading.column(name)
    size = width(column)
    there = np.asarray(values.is_valid())
    lengths = np.asarray(pc.fill_null(pc.list_value_length(values), -1))
    kept = there & (lengths == size)
    _refuse(values, there & ~kept, name, f"not of {size} components", reading)
    flat = values.filter(pa.array(kept)).flatten()
    numbers, lossy = _numbers(flat)
    matrix = numbers.reshape(-1, size)
    gaps = np.asarray(flat.is_null()).reshape(-1, size)
    places, refused = np.flatnonzero(kept), np.zeros(len(matrix), dtype=bool)
    for bad, problem in (
        (gaps.any(axis=1), GAP),
        (lossy.reshape(-1, size).any(axis=1), LOSSY),
        (~(np.isfinite(matrix) | gaps).all(axis=1), NOT_FINITE),
        (_outside(matrix, column).any(axis=1), _range(column)),
    ):
        mask = np.zeros(len(values), dtype=bool)
        mask[places[bad & ~refused]] = True
        _refuse(values, mask, name, problem, reading)
        refused |= bad
    kept[places[refused]] = False
    return build(matrix[~refused], kept)


def from_text(text: pa.Array, name: str, reading: Reading) -> pa.Array:
    """Read cells written as JSON lists of numbers.

    Raises:
        ReadError: A cell is bad and bad cells are not collected.
    """
    lists: list[list[float | None] | None] = []
    bad = np.zeros(len(text), dtype=bool)
    rounded = np.zeros(len(text), dtype=bool)
    for place, cell in enumerate(text.to_pylist()):
        found = _parsed(cell) if cell is not None else None
        bad[place] = cell is not None and found is None
        rounded[place] = found is not None and any(type(part) is int and _lossy(part) for part in found)
        lists.append([_float(part) for part in found] if found is not None and not rounded[place] else None)
    _refuse(text, bad, name, NOT_A_VECTOR, reading)
    _refuse(text, rounded, name, LOSSY, reading)
    return from_arrow(pa.array(lists, VECTOR), name, reading)


def build(matrix: npt.NDArray[np.float64], there: Mask) -> pa.Array:
    """Vectors from a matrix that has a row for each cell that is there; the others are null."""
    size = matrix.shape[1]
    offsets = np.concatenate([[0], np.cumsum(there) * size]).astype(np.int32)
    flat = pa.array(np.ascontiguousarray(matrix).reshape(-1), pa.float64())
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=pa.array(~there))


def _parsed(cell: str) -> list[int | float | None] | None:
    """The numbers of a JSON list; None for what is no such list."""
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, list):
        return None
    if any(part is not None and type(part) not in (int, float) for part in found):
        return None
    return found


def _lossy(part: int) -> bool:
    """Whether a float64 in range would hold another whole number."""
    return abs(part) > _EXACT and np.isfinite(_float(part) or 0.0) and float(part) != part


def _float(part: float | None) -> float | None:
    if part is None:
        return None
    try:
        return float(part)
    except OverflowError:
        return float("inf")


def _numbers(flat: pa.Array) -> tuple[npt.NDArray[np.float64], Mask]:
    """Components as float64, NaN for null, and which integers a float64 cannot hold."""
    lossy = np.zeros(len(flat), dtype=bool)
    if pa.types.is_null(flat.type):
        return np.full(len(flat), np.nan), lossy
    if pa.types.is_integer(flat.type) and flat.type.bit_width == 64:
        whole = pc.fill_null(flat, 0).to_numpy(zero_copy_only=False)
        lossy = whole > _EXACT
        if flat.type == pa.int64():
            lossy |= whole < -_EXACT
    numbers = pc.cast(flat, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers.astype(np.float64, copy=True), lossy


def _outside(matrix: npt.NDArray[np.float64], column: Column) -> Mask:
    out = np.zeros(matrix.shape, dtype=bool)
    if isinstance(column.min, float):
        out |= matrix < column.min
    if isinstance(column.max, float):
        out |= matrix > column.max
    return out


def _range(column: Column) -> str:
    if column.min is None:
        return f"has a component above {column.max}"
    if column.max is None:
        return f"has a component below {column.min}"
    return f"has a component not between {column.min} and {column.max}"


def _refuse(values: pa.Array, bad: Mask, name: str, problem: str, reading: Reading) -> None:
    """Report the cells under the mask.

    Raises:
        ReadError: There are some and bad cells are not collected.
    """
    if not bad.any():
        return
    where = np.flatnonzero(bad)
    examples: list[Any] = values.take(pa.array(where[:EXAMPLES])).to_pylist()
    reading.report(name, problem, where, [shorten(str(cell)) for cell in examples])
