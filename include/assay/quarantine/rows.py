"""The rows of a case: a sealed Parquet object, for quarantined bytes are nobody's to stumble over."""

from __future__ import annotations

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from assay.store import ObjectStore, Stored, put_table

ADDED = pa.schema(
    [
        ("_row", pa.int64()),
        ("_score", pa.float64()),
        ("_p_value", pa.float64()),
        ("_reasons", pa.list_(pa.string())),
    ]
)
"""Columns that stand beside the original ones: row number in the delivery, and what screening said."""


def numbers_digest(rows: pa.Table | None) -> str:
    """SHA-256 over the sorted row numbers, as little-endian 64-bit integers.

    Raises:
        ValueError: There is no column `_row` of whole numbers.
    """
    if rows is None:
        return hashlib.sha256(b"").hexdigest()
    if "_row" not in rows.column_names or not pa.types.is_integer(rows.schema.field("_row").type):
        raise ValueError("the rows of a case need the integer column _row")
    numbers = rows["_row"].cast(pa.int64()).combine_chunks()
    if numbers.null_count:
        raise ValueError("a row of a case has no number")
    ordered = numbers.take(pc.sort_indices(numbers)).to_numpy(zero_copy_only=False)
    return hashlib.sha256(ordered.astype("<i8").tobytes()).hexdigest()


def keep_rows(store: ObjectStore, rows: pa.Table) -> Stored:
    """Store rows sealed, in the order of their numbers, with the four added columns last."""
    original = [name for name in rows.column_names if name not in ADDED.names]
    ordered = rows.take(pc.sort_indices(rows["_row"]))
    columns = [ordered[name] for name in original]
    for field in ADDED:
        if field.name in ordered.column_names:
            columns.append(ordered[field.name].cast(field.type))
        else:
            columns.append(pa.chunked_array([pa.nulls(ordered.num_rows, field.type)]))
    fields = [rows.schema.field(name) for name in original]
    return put_table(store, pa.Table.from_arrays(columns, schema=pa.schema([*fields, *ADDED])), sealed=True)
