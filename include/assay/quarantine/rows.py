"""The rows of a case: a sealed Parquet object, for quarantined bytes are nobody's to stumble over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.ledger.rows.casenames import case_digest, digest_of_numbers
from assay.quarantine.errors import DecisionRefused
from assay.store import ObjectStore, StoreCorrupt, Stored, put_table, read_table

ADDED = pa.schema(
    [
        ("_row", pa.int64()),
        ("_score", pa.float64()),
        ("_p_value", pa.float64()),
        ("_reasons", pa.list_(pa.string())),
    ]
)
"""Columns that stand beside the original ones: row number in the delivery, and what screening said."""

Numbers = npt.NDArray[np.int64]
_BATCH_ROWS = 65_536


def numbers_digest(rows: pa.Table | None) -> str:
    """SHA-256 over the sorted row numbers, as little-endian 64-bit integers.

    Raises:
        ValueError: There is no column `_row` of whole numbers.
    """
    if rows is None:
        return digest_of_numbers(None)
    if "_row" not in rows.column_names or not pa.types.is_integer(rows.schema.field("_row").type):
        raise ValueError("the rows of a case need the integer column _row")
    numbers = rows["_row"].cast(pa.int64()).combine_chunks()
    if numbers.null_count:
        raise ValueError("a row of a case has no number")
    return digest_of_numbers(numbers.to_numpy(zero_copy_only=False))


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


def held_numbers(store: ObjectStore, sha256: str, *, delivery_id: str, kind: str, digest: str) -> Numbers:
    """The row numbers of a case, ascending, int64, shape (rows,): they must be those that its digest comes from.

    Raises:
        ObjectMissing: The store lacks the rows.
        StoreCorrupt: The object is not the one that was held, or the registry names another one.
    """
    column = read_table(store, sha256, ["_row"])["_row"]
    numbers = np.asarray(column.to_numpy(), dtype=np.int64)
    if case_digest(delivery_id, kind, digest_of_numbers(numbers)) != digest:
        raise StoreCorrupt(
            "the rows that the registry names for a case are not the rows that were held",
            expected=f"rows with the digest {digest}",
            found=f"object {sha256} with {len(numbers)} rows",
            state="nothing was decided or admitted",
            next_step="`assay ledger verify` names what was changed; restore the registry",
        )
    return np.sort(numbers)


def chosen_numbers(rows: Iterable[int] | npt.NDArray[Any]) -> Numbers:
    """Row numbers as somebody named them: ascending, each once, int64.

    Raises:
        DecisionRefused: There is none, or one is not a whole number.
    """
    given = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
    if given.ndim != 1 or not len(given) or given.dtype.kind not in "iu":
        raise DecisionRefused(
            "no rows were named" if given.size == 0 else "rows are named by whole numbers",
            expected="numbers of rows of the case, as its column _row has them",
            state="the case stays as it is",
        )
    if given.max() > np.iinfo(np.int64).max:
        raise DecisionRefused("a row's number is too large", found=str(given.max()))
    return np.unique(given.astype(np.int64))


def expect_inside(chosen: Numbers, held: Numbers) -> None:
    """Refuse rows that the case does not hold.

    Raises:
        DecisionRefused: Names the first of them.
    """
    strange = np.setdiff1d(chosen, held, assume_unique=True)
    if len(strange):
        raise DecisionRefused(
            f"{len(strange)} of the {len(chosen)} rows are not in the case",
            expected=f"rows of the case, {len(held)} in all",
            found=", ".join(str(number) for number in strange[:10]) + (", …" if len(strange) > 10 else ""),
            state="nothing was decided",
            next_step="`assay cases show CASE` shows the rows of a case",
        )


def keep_some(store: ObjectStore, sha256: str, wanted: Numbers, *, others: bool = False) -> Stored:
    """Store some rows of a case as an object of their own, streamed.

    Args:
        store: Where the case's rows are.
        sha256: The case's object.
        wanted: Row numbers, ascending.
        others: Keep all other rows instead.
    """
    with store.open(sha256) as file:
        source = pq.ParquetFile(file)
        schema = source.schema_arrow

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in source.iter_batches(batch_size=_BATCH_ROWS):
                numbers = batch.column("_row").to_numpy(zero_copy_only=False)
                inside = np.isin(numbers, wanted, assume_unique=True)
                kept = batch.filter(pa.array(~inside if others else inside))
                if kept.num_rows:
                    yield kept

        return put_table(store, batches(), schema=schema, sealed=True)
