"""Arrow to pandas, in the types that Great Expectations compares fast and right."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_EXACT = 2**53
_NANO_DAYS = (dt.date(1677, 9, 22), dt.date(2262, 4, 10))  # days that nanoseconds since 1970 can count


def to_frame(table: pa.Table, rows: Any) -> Any:
    """A pandas DataFrame whose index is the row numbers.

    Of a vector only whether it is there is told: its numbers are held against the contract as they are read.

    Integers with nulls become floats where that is exact, else pandas' nullable integers. Dates become datetimes at
    midnight, in nanoseconds where they fit, because only these are compared as a whole column.

    Args:
        table: Columns in the contract's Arrow types.
        rows: Their row numbers: a range, or an array of int64.

    Returns:
        A `pandas.DataFrame`.
    """
    import pandas as pd

    wide: dict[str, Any] = {}
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_list(field.type):
            there = pc.if_else(column.is_valid(), pa.scalar(True), pa.scalar(None, pa.bool_()))
            table = table.set_column(position, field.name, there)
        elif field.type == pa.date32():
            low, high = pc.min_max(column).as_py().values()
            fits = low is None or (_NANO_DAYS[0] <= low and high <= _NANO_DAYS[1])
            table = table.set_column(position, field.name, column.cast(pa.timestamp("ns" if fits else "us")))
        elif field.type == pa.int64() and column.null_count:
            low, high = pc.min_max(column).as_py().values()
            if low is not None and (low < -_EXACT or high > _EXACT):
                wide[field.name] = column
    frame = table.drop_columns(list(wide)).to_pandas(split_blocks=True)
    for name, column in wide.items():
        frame[name] = pd.array(column.to_pylist(), dtype="Int64")
    if wide:
        frame = frame[table.column_names]
    frame.index = pd.RangeIndex(rows.start, rows.stop) if isinstance(rows, range) else pd.Index(rows)
    return frame
