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

from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from assay.canonical import canonical_json, content_id
from assay.ledger.errors import SnapshotError
from assay.ledger.merkle import HASH_SIZE, root_of_edge

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
