"""What a snapshot is made of: a manifest that lists its parts, and the Merkle root over all its rows.

A part is a Parquet object in the store: the admitted rows of one delivery, in order, with the columns of the contract
and these columns of ours beside each row:

| column      | type       | what it says                                                     |
|-------------|------------|------------------------------------------------------------------|
| `_row_hash` | binary(32) | the row's canonical hash (`assay.ledger.rows.hashing`)                    |
| `_delivery` | string     | the delivery that brought it                                     |
| `_source`   | string     | the source that sent it                                          |
| `_file`     | string     | the file of the delivery that it stood in                        |
| `_record`   | int64      | its number in that file, from 0                                  |
| `_decision` | string     | the decision that released it from quarantine; null for most rows |

The snapshot's tree has one leaf per row, in the order of the parts and of the rows in them, leaving out what a part's
`excluded` ranges name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assay.canonical import canonical_json, content_id
from assay.errors import AssayError
from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger.errors import SnapshotError
from assay.ledger.merkle import HASH_SIZE, Hashes, StreamingRoot, root_of_edge
from assay.ledger.rows.hashing import row_hashes
from assay.store import ObjectStore

ROW_HASH, DELIVERY, SOURCE, FILE, RECORD, DECISION = META = (
    "_row_hash",
    "_delivery",
    "_source",
    "_file",
    "_record",
    "_decision",
)
"""Names of our columns in a part."""

META_FIELDS: tuple[pa.Field, ...] = (
    pa.field(ROW_HASH, pa.binary(HASH_SIZE), nullable=False),
    pa.field(DELIVERY, pa.string(), nullable=False),
    pa.field(SOURCE, pa.string(), nullable=False),
    pa.field(FILE, pa.string(), nullable=False),
    pa.field(RECORD, pa.int64(), nullable=False),
    pa.field(DECISION, pa.string()),
)
_BATCH_ROWS = 65_536

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Range = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)]]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Part(_Strict):
    """One Parquet object of a snapshot.

    Attributes:
        sha256: The object.
        rows: Rows in it.
        root: Merkle root over the hashes of the rows that count.
        delivery_id: The delivery that brought them.
        excluded: Row numbers that do not count, as ranges [first, last), ascending and apart.
    """

    sha256: Sha256
    rows: int = Field(ge=0)
    root: Sha256
    delivery_id: str
    excluded: tuple[Range, ...] = ()

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        edge = 0
        for first, last in self.excluded:
            if not edge <= first < last <= self.rows:
                raise ValueError("excluded ranges must ascend within the part's rows, without overlap")
            edge = last
        return self

    @property
    def kept(self) -> int:
        """Rows that count."""
        return self.rows - sum(last - first for first, last in self.excluded)

    def mask(self, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which of the rows [start, stop) count: bool, shape (stop - start,)."""
        keep = np.ones(stop - start, dtype=bool)
        for first, last in self.excluded:
            keep[max(first - start, 0) : max(last - start, 0)] = False
        return keep

    def place(self, row: int) -> int | None:
        """Position of a row among those that count, or None if it does not count."""
        before = 0
        for first, last in self.excluded:
            if first <= row < last:
                return None
            if last <= row:
                before += last - first
        return row - before

    def row_at(self, place: int) -> int:
        """Row number of the `place`-th row that counts; the inverse of `place()`."""
        row = place
        for first, last in self.excluded:
            if row >= first:
                row += last - first
        return row


class SnapshotManifest(_Strict):
    """An immutable, versioned, admitted training set.

    Attributes:
        dataset: The data set.
        version: 1 for the first, then one more than its parent's.
        parent: Id of the snapshot that it grew from.
        contract_sha256: Digest of the contract under which it was admitted.
        columns: The columns that make up a row, in the contract's order.
        key: The columns that identify a row; may be empty.
        parts: In the order of the tree.
        rows: Rows that count.
        merkle_root: Root of the tree over their hashes.
        edge: That tree's full subtrees, largest first: what the next version needs to go on from here.
    """

    dataset: str
    version: int = Field(ge=1)
    parent: str | None
    contract_sha256: Sha256
    columns: tuple[str, ...] = Field(min_length=1)
    key: tuple[str, ...] = ()
    parts: tuple[Part, ...]
    rows: int = Field(ge=0)
    merkle_root: Sha256
    edge: tuple[Sha256, ...]

    @model_validator(mode="after")
    def _sums(self) -> Self:
        if self.rows != sum(part.kept for part in self.parts):
            raise ValueError("the parts do not have as many rows as the snapshot")
        if len(self.edge) != self.rows.bit_count():
            raise ValueError("the edge does not fit the number of rows")
        if root_of_edge([bytes.fromhex(node) for node in self.edge]).hex() != self.merkle_root:
            raise ValueError("the edge does not lead to the Merkle root")
        return self

    @property
    def id(self) -> str:
        """Content id: `snapshot-` and 32 hexadecimal digits."""
        return content_id("snapshot", self.model_dump(mode="json"))

    def delivery_of(self, index: int) -> str:
        """The delivery that brought the row at `index` of the tree.

        Raises:
            IndexError: The snapshot has no such row.
        """
        if index >= 0:
            for part in self.parts:
                if index < part.kept:
                    return part.delivery_id
                index -= part.kept
        raise IndexError("the snapshot has no such row")

    def to_json(self) -> bytes:
        """Canonical JSON; `SnapshotManifest.from_json(m.to_json()) == m`."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_json(cls, data: bytes) -> SnapshotManifest:
        """Read a manifest strictly.

        Raises:
            SnapshotError: It is malformed, or not written canonically.
        """
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            raise SnapshotError(
                "a snapshot's manifest is malformed", found=error.errors()[0]["msg"]
            ) from error
        if manifest.to_json() != data:
            raise SnapshotError("a snapshot's manifest is not written canonically")
        return manifest


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
    for batch, keep in _batches(store, part, [ROW_HASH]):
        yield _stored_hashes(batch)[keep]


def verify_snapshot(
    store: ObjectStore, manifest: SnapshotManifest, verified: SnapshotManifest | None = None
) -> list[Finding]:
    """Recompute every row's hash from its values, and every root from the hashes.

    Args:
        store: Where the parts are.
        manifest: What the snapshot is said to be.
        verified: An earlier version that passed just now: parts that both begin with are not read again.

    Returns:
        A finding for each part that was read, and one for the whole; each row that differs is named by part and number.
    """
    findings, tree, parts = [], StreamingRoot(), manifest.parts
    if (
        verified is not None
        and verified.columns == manifest.columns
        and verified.parts == manifest.parts[: len(verified.parts)]
    ):
        tree = StreamingRoot(verified.rows, [bytes.fromhex(node) for node in verified.edge])
        parts = parts[len(verified.parts) :]
    for part in parts:
        problem, evidence = None, {"rows": part.rows, "delivery": part.delivery_id}
        own, number = StreamingRoot(), 0
        try:
            for batch, keep in _batches(store, part, [ROW_HASH, *manifest.columns]):
                computed = row_hashes(batch, manifest.columns)
                wrong = np.flatnonzero((computed != _stored_hashes(batch)).any(axis=1))
                if len(wrong) and problem is None:
                    problem = f"row {number + int(wrong[0])} is not the one that was admitted"
                    evidence["row"] = number + int(wrong[0])
                own.extend(computed[keep])
                tree.extend(computed[keep])
                number += batch.num_rows
        except AssayError as error:
            problem = error.message
        if problem is None and (own.root().hex() != part.root or own.size != part.kept):
            problem = "its rows do not have the Merkle root that was stated"
        findings.append(
            _finding(
                "snapshot.part", part.sha256, problem, "all rows have the hash that was admitted", evidence
            )
        )
    whole = (
        None
        if tree.root().hex() == manifest.merkle_root
        else "the rows do not have the snapshot's Merkle root"
    )
    evidence = {"rows": tree.size, "merkle_root": manifest.merkle_root}
    findings.append(
        _finding("snapshot.root", manifest.id, whole, "the rows have the snapshot's Merkle root", evidence)
    )
    return findings


# -------------------------------------------------------------------------------------------------------------- private
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


def _batches(
    store: ObjectStore, part: Part, columns: Sequence[str]
) -> Iterator[tuple[pa.RecordBatch, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Some columns of a part, with which rows count."""
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


def _stored_hashes(batch: pa.RecordBatch) -> Hashes:
    column = batch.column(ROW_HASH)
    if column.null_count:
        raise SnapshotError("a part has rows without a hash", expected=f"no null in {ROW_HASH}")
    buffer = column.buffers()[1]
    packed = np.frombuffer(buffer, dtype=np.uint8) if buffer is not None else np.empty(0, dtype=np.uint8)
    first = column.offset * HASH_SIZE
    return packed[first : first + len(column) * HASH_SIZE].reshape(-1, HASH_SIZE)


def _finding(check: str, subject: str, problem: str | None, good: str, evidence: dict[str, Any]) -> Finding:
    return Finding(
        check=check,
        outcome=Outcome.PASSED if problem is None else Outcome.FAILED,
        severity=Severity.INFO if problem is None else Severity.CRITICAL,
        scope=Scope.SNAPSHOT,
        subject=subject,
        message=good if problem is None else f"{subject[:20]}: {problem}",
        evidence=evidence,
    )
