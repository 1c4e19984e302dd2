"""The Parquet objects that snapshots are made of: written, described as parts, and read again with their row hashes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from assay.ledger.errors import SnapshotError
from assay.ledger.merkle import HASH_SIZE, Hashes, StreamingRoot
from assay.ledger.rows.hashing import row_hashes
from assay.ledger.rows.snapshot import META, META_FIELDS, ROW_HASH, Part, SnapshotManifest
from assay.store import ObjectStore

_BATCH_ROWS = 65_536


def annotate(
    rows: pa.Table | pa.RecordBatch,
    columns: Sequence[str],
    *,
    delivery: str,
    source: str | pa.Array,
    file: str | pa.Array,
    record: pa.Array,
    decision: str | pa.Array | None = None,
) -> pa.Table:
    """Admitted rows with our columns beside them, ready to become a part.

    Args:
        rows: The rows, n of them.
        columns: The columns that make up a row, as the manifest will name them.
        delivery: The delivery's id.
        source: The source's id, one for all or one each.
        file: Path in the delivery, one for all or one each.
        record: Row number in that file, int64, shape (n,).
        decision: Id of the decision that released the rows, one for all or one each.

    Returns:
        A table with `columns` in that order and then the columns of `META`.

    Raises:
        RowError: The rows cannot be hashed.
    """
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
    count = table.num_rows
    hashes = row_hashes(table, columns)
    packed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(HASH_SIZE), count, [None, pa.py_buffer(hashes.tobytes())]
    )
    texts = [
        value
        if isinstance(value, pa.Array | pa.ChunkedArray)
        else pa.repeat(pa.scalar(value, pa.string()), count)
        for value in (delivery, source, file, decision)
    ]
    meta = [packed, *texts[:3], record, texts[3]]
    names = [*columns, *META]
    data = [*(table.column(name) for name in columns), *meta]
    fields = [*(table.schema.field(name) for name in columns), *META_FIELDS]
    arrays = [array.cast(field.type) for array, field in zip(data, fields, strict=True)]
    return pa.table(dict(zip(names, arrays, strict=True)), schema=pa.schema(fields))


def make_part(
    store: ObjectStore, sha256: str, delivery_id: str, excluded: Iterable[tuple[int, int]] = ()
) -> Part:
    """Describe a Parquet object of the store as a part; reads its row hashes once.

    Raises:
        SnapshotError: The object is not a part, or `excluded` does not fit it.
    """
    with open_part(store, sha256) as file:
        rows = file.metadata.num_rows
    empty = StreamingRoot().root().hex()
    try:
        part = Part(
            sha256=sha256,
            rows=rows,
            root=empty,
            delivery_id=delivery_id,
            excluded=tuple(sorted(excluded)),
        )
    except ValidationError as error:
        raise SnapshotError("a part's excluded rows are malformed", found=error.errors()[0]["msg"]) from error
    tree = StreamingRoot()
    for hashes in part_hashes(store, part):
        tree.extend(hashes)
    return part.model_copy(update={"root": tree.root().hex()})


def make_manifest(
    store: ObjectStore,
    *,
    dataset: str,
    contract_sha256: str,
    columns: Sequence[str],
    key: Sequence[str] = (),
    parts: Sequence[Part],
    parent: SnapshotManifest | None = None,
) -> SnapshotManifest:
    """Describe a snapshot; where it begins with its parent's parts, only the new parts are read.

    Raises:
        SnapshotError: A part's object does not hold what the part says.
    """
    tree = StreamingRoot()
    fresh = list(parts)
    if parent is not None and tuple(parts[: len(parent.parts)]) == parent.parts:
        tree = StreamingRoot(parent.rows, [bytes.fromhex(node) for node in parent.edge])
        fresh = fresh[len(parent.parts) :]
    for part in fresh:
        own = StreamingRoot()
        for hashes in part_hashes(store, part):
            own.extend(hashes)
            tree.extend(hashes)
        if own.root().hex() != part.root:
            raise SnapshotError(
                f"the part {part.sha256} does not have the root that was stated", expected=part.root
            )
    return SnapshotManifest(
        dataset=dataset,
        version=1 if parent is None else parent.version + 1,
        parent=None if parent is None else parent.id,
        contract_sha256=contract_sha256,
        columns=tuple(columns),
        key=tuple(key),
        parts=tuple(parts),
        rows=tree.size,
        merkle_root=tree.root().hex(),
        edge=tuple(node.hex() for node in tree.edge),
    )


def part_hashes(store: ObjectStore, part: Part) -> Iterator[Hashes]:
    """Hashes of the rows that count, in order, as arrays of shape (n, 32).

    Raises:
        SnapshotError: The object is not a part.
    """
    for batch, keep in part_batches(store, part, [ROW_HASH]):
        yield stored_hashes(batch)[keep]


@contextmanager
def open_part(store: ObjectStore, sha256: str) -> Iterator[pq.ParquetFile]:
    """A part's Parquet file, through the very handle whose bytes were compared with the digest.

    Raises:
        SnapshotError: It is not Parquet, or damaged.
    """
    with store.open(sha256) as file:
        try:
            yield pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:  # pyarrow reports damaged pages as OSError
            raise SnapshotError(f"the object {sha256} cannot be read as Parquet", found=error) from error


def part_batches(
    store: ObjectStore, part: Part, columns: Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Some columns of a part, with which rows count: bool, shape (n,), for each batch of n rows.

    Raises:
        SnapshotError: The object is not that part.
    """
    with open_part(store, part.sha256) as file:
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing or file.schema_arrow.field(ROW_HASH).type != pa.binary(HASH_SIZE):
            raise SnapshotError(
                f"the object {part.sha256} is not a part of a snapshot",
                expected=f"{ROW_HASH} as binary({HASH_SIZE}), and {', '.join(columns)}",
                found=", ".join(file.schema_arrow.names),
            )
        if file.metadata.num_rows != part.rows:
            raise SnapshotError(
                f"the object {part.sha256} has another number of rows",
                expected=part.rows,
                found=file.metadata.num_rows,
            )
        start = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
            yield batch, part.mask(start, start + batch.num_rows)
            start += batch.num_rows


def stored_hashes(batch: pa.RecordBatch) -> Hashes:
    """The row hashes that stand in a part, shape (n, 32).

    Raises:
        SnapshotError: A row has none.
    """
    column = batch.column(ROW_HASH)
    if column.null_count:
        raise SnapshotError("a part has rows without a hash", expected=f"no null in {ROW_HASH}")
    buffer = column.buffers()[1]
    packed = np.frombuffer(buffer, dtype=np.uint8) if buffer is not None else np.empty(0, dtype=np.uint8)
    first = column.offset * HASH_SIZE
    return packed[first : first + len(column) * HASH_SIZE].reshape(-1, HASH_SIZE)
