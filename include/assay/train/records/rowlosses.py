"""The loss of every training row at every epoch: which rows fought the model, for screening and for reviewers.

While the run goes on they are appended to a plain file, one float32 per training row and epoch; at its end that file is
turned into Parquet, in pieces, so that memory does not grow with rows or epochs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from assay.train.backends import Batches, Rows, Stats

ROW_LOSSES_FILE = "row_losses.parquet"
SPOOL_FILE = "row_losses.f32"
SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("losses", pa.list_(pa.float32()), nullable=False),
    ]
)
"""`row` is the number of the row in the table that was prepared; `losses` has one entry per epoch that the metadata
names, null where the row was in no batch of it."""
EPOCHS = b"assay.epochs"
"""Metadata: the epochs of the losses, as JSON."""
MAX_SPOOL_BYTES = 4 << 30

_PIECE = 1 << 20
"""Losses that are turned into Parquet at a time."""
_REQUEST = b"assay.request"


def losses_of_epoch(train: Rows, batches: Batches, stats: Stats) -> npt.NDArray[np.float32]:
    """Each training row's loss, not weighted, as it was in its batch before the update.

    Returns:
        float32 (training rows,): the mean where a row was in several batches, NaN where it was in none.
    """
    place = np.empty(int(train.max()) + 1, dtype=np.int64)
    place[train] = np.arange(len(train))
    at = place[batches.rows]
    counts = np.bincount(at, minlength=len(train))
    sums = np.bincount(at, weights=stats.row_losses, minlength=len(train))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / counts, dtype=np.float32)


class Spool:
    """The growing file of a run: (epochs kept, training rows) float32, little-endian.

    Args:
        path: Where it lies.
        rows: Training rows.
        epochs: Of the whole run. Where all of them would take more than `MAX_SPOOL_BYTES`, every k-th is kept.
    """

    def __init__(self, path: Path, rows: int, epochs: int) -> None:
        self._path = path
        self._rows = rows
        self._every = max(1, -(-epochs * rows * 4 // MAX_SPOOL_BYTES))

    def kept(self, epochs: int) -> range:
        """Which of the first `epochs` are kept, counted from 1."""
        return range(1, epochs + 1, self._every)

    def cut(self, epochs: int) -> None:
        """Forget what comes after so many epochs."""
        with self._open() as stream:
            stream.truncate(len(self.kept(epochs)) * self._rows * 4)
            os.fsync(stream.fileno())

    def add(self, epoch: int, losses: npt.NDArray[np.float32]) -> str | None:
        """Write the losses of one epoch (from 1) to its place; returns their SHA-256, or `None` if it is not kept."""
        kept = self.kept(epoch)
        if epoch not in kept:
            return None
        data = losses.astype("<f4", copy=False).tobytes()
        with self._open() as stream:
            stream.seek((len(kept) - 1) * len(data))
            stream.write(data)
        return hashlib.sha256(data).hexdigest()

    def sync(self) -> None:
        """See to it that what was written survives a power cut."""
        with self._open() as stream:
            os.fsync(stream.fileno())

    def holds(self, digests: Sequence[str]) -> bool:
        """Whether the first epochs are those of these digests."""
        try:
            with self._path.open("rb") as stream:
                return all(
                    hashlib.sha256(stream.read(self._rows * 4)).hexdigest() == digest for digest in digests
                )
        except OSError:
            return False

    def write_parquet(self, target: Path, train: Rows, epochs: int, request: str) -> None:
        """Write the first `epochs` as Parquet, whole or not at all; the same losses give the same bytes.

        Args:
            target: The file to make.
            train: Row numbers, in the order of the losses.
            epochs: How many were run.
            request: Digest of the request, kept in the file's metadata.
        """
        kept = self.kept(epochs)
        piece = max(1, _PIECE // len(kept))
        temporary = target.with_name(f".{target.name}.partial")
        try:
            schema = SCHEMA.with_metadata({_REQUEST: request.encode(), EPOCHS: json.dumps([*kept]).encode()})
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for start in range(0, self._rows, piece):
                    # Mapped anew each time, so that what was read does not count as this process's memory.
                    matrix = np.memmap(self._path, dtype="<f4", mode="r", shape=(len(kept), self._rows))
                    part = np.ascontiguousarray(matrix[:, start : start + piece].T)
                    del matrix
                    writer.write_table(_table(train[start : start + piece], part, schema))
            temporary.chmod(0o600)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def _open(self) -> IO[bytes]:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(handle, "r+b")


def _table(rows: Rows, losses: npt.NDArray[np.float32], schema: pa.Schema) -> pa.Table:
    flat = losses.reshape(-1)
    values = pa.array(flat, type=pa.float32(), mask=np.isnan(flat))
    offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * losses.shape[1])
    return pa.table([pa.array(rows), pa.ListArray.from_arrays(offsets, values)], schema=schema)


def row_losses_of(run_dir: Path, request: str) -> Path | None:
    """The finished file of this request's run; `None` where there is none, or one of another request."""
    path = run_dir / ROW_LOSSES_FILE
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return None
    return path if metadata.get(_REQUEST) == request.encode() else None
