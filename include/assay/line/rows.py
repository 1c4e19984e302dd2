"""Rows of a delivery as the stations see them: from proved bytes, in a fixed order, with where each came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from assay.canonical import sha256_hex
from assay.db import delivery_files
from assay.intake.tables import is_table_name, read_batches, read_table, table_schema
from assay.line.context import Line
from assay.line.errors import TrustedSetChanged


@dataclass(frozen=True)
class DataFile:
    """One data file of a delivery: its path in the manifest, its digest, and where its bytes are."""

    path: str
    sha256: str
    local: Path


@dataclass(frozen=True)
class Batch:
    """Rows of one data file.

    Attributes:
        file: The file.
        first: Number of the batch's first row within the delivery, counted over its data files in order of path.
        record: Number of the batch's first row within the file.
        rows: The rows, typed as the contract says.
    """

    file: DataFile
    first: int
    record: int
    rows: pa.RecordBatch


def data_files(line: Line, delivery_id: str) -> list[DataFile]:
    """The files of a delivery that hold rows, by path."""
    with line.database.session() as session:
        files = [(f.path, f.sha256) for f in delivery_files(session, delivery_id)]
    return [
        DataFile(path, sha256, line.store.local_path(sha256)) for path, sha256 in files if is_table_name(path)
    ]


def delivery_batches(line: Line, delivery_id: str) -> Iterator[Batch]:
    """The rows of a delivery; a cell that could not be read is null here, and its row is among the failing ones."""
    first = 0
    for file in data_files(line, delivery_id):
        record = 0
        for rows in read_batches(
            file.local,
            line.contract,
            name=file.path,
            batch_rows=line.contract.screen.batch_rows,
            on_error="collect",
        ):
            yield Batch(file, first, record, rows)
            first += rows.num_rows
            record += rows.num_rows


def without(batch: Batch, excluded: np.ndarray) -> tuple[pa.RecordBatch, np.ndarray]:
    """The batch without the excluded rows.

    Args:
        batch: Rows of a delivery.
        excluded: Sorted row numbers within the delivery, int64, shape (k,).

    Returns:
        What is left, and the row numbers of it, int64.
    """
    numbers = np.arange(batch.first, batch.first + batch.rows.num_rows, dtype=np.int64)
    here = excluded[
        np.searchsorted(excluded, batch.first) : np.searchsorted(excluded, numbers[-1], side="right")
    ]
    if not len(here):
        return batch.rows, numbers
    keep = np.ones(len(numbers), dtype=bool)
    keep[here - batch.first] = False
    return batch.rows.filter(pa.array(keep)), numbers[keep]


def only(batch: Batch, wanted: np.ndarray) -> tuple[pa.RecordBatch, np.ndarray]:
    """The wanted rows of the batch.

    Args:
        batch: Rows of a delivery.
        wanted: Sorted row numbers within the delivery, int64, shape (k,).

    Returns:
        The rows, and their numbers.
    """
    here = wanted[
        np.searchsorted(wanted, batch.first) : np.searchsorted(wanted, batch.first + batch.rows.num_rows)
    ]
    return batch.rows.take(pa.array(here - batch.first)), here


def picked(line: Line, delivery_id: str, wanted: np.ndarray) -> pa.Table:
    """Some rows of a delivery, with their numbers as the column `_row`.

    Args:
        line: The open line.
        delivery_id: Which delivery.
        wanted: Sorted row numbers, int64, shape (k,).
    """
    parts = []
    for batch in delivery_batches(line, delivery_id):
        rows, here = only(batch, wanted)
        if len(here):
            parts.append(pa.Table.from_batches([rows]).append_column("_row", pa.array(here, pa.int64())))
    if parts:
        return pa.concat_tables(parts).combine_chunks()

    return table_schema(line.contract).append(pa.field("_row", pa.int64())).empty_table()


def trusted_table(line: Line) -> pa.Table | None:
    """The contract's trusted rows; None when it names none.

    Raises:
        ReadError: The file is not as the contract says.
    """
    if line.contract.trusted is None:
        return None
    path = Path(line.contract.locate(line.contract.trusted.uri).removeprefix("file://"))
    if line.contract.trusted.sha256 and sha256_hex(path.read_bytes()) != line.contract.trusted.sha256:
        raise TrustedSetChanged(
            f"{path} is not the trusted set that the contract names",
            expected=line.contract.trusted.sha256,
            found=sha256_hex(path.read_bytes()),
        )
    return read_table(path, line.contract)
