"""What takes one object's bytes: hashed and, where wanted, sealed on their way to the disk."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import BinaryIO

from assay.store.errors import translated
from assay.store.sealing import Sealer

_WINDOW = (
    8 << 20
)  # bytes after which the system is asked to write out what it has, and to keep none of it in memory


@dataclass(frozen=True)
class Stored:
    """One object: the SHA-256 of its plain bytes (64 hex digits), and how many bytes those are."""

    sha256: str
    size: int


class ObjectWriter:
    """Takes an object's bytes; the object appears when the `with` block of `ObjectStore.writer` ends well."""

    def __init__(self, file: BinaryIO, sealer_key: bytes | None, where: str) -> None:
        self._file = file
        self._where = where
        self._hash = hashlib.sha256()
        self._size = 0
        self._written = 0
        self._let_go = 0
        self._sealer = None if sealer_key is None else Sealer(sealer_key, self._append)
        self.stored: Stored | None = None
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Add bytes.

        Raises:
            StoreFull: There is no room left.
            StoreUnavailable: The device failed.
        """
        plain = memoryview(data).cast("B")
        with translated(self._where):
            self._hash.update(plain)
            self._size += len(plain)
            if self._sealer is None:
                self._append(plain)
            else:
                self._sealer.update(plain)
        return len(plain)

    def _append(self, data: bytes | memoryview) -> None:
        """The file is unbuffered, so that no later close() can fail; the system may take less than it was given."""
        view = memoryview(data)
        while view:
            taken = self._file.write(view)
            view = view[taken:]
            self._written += taken
        if self._written - self._let_go >= _WINDOW:
            # Writing starts now instead of at the end, and pages are used again: a large file takes no memory.
            os.posix_fadvise(self._file.fileno(), 0, self._written, os.POSIX_FADV_DONTNEED)
            self._let_go = self._written

    def tell(self) -> int:
        """Plain bytes so far."""
        return self._size

    def flush(self) -> None:
        """Nothing to do: bytes become visible only as a whole."""

    def close(self) -> None:
        """Nothing to do: the `with` block decides."""

    def readable(self) -> bool:
        """It cannot be read."""
        return False

    def writable(self) -> bool:
        """It can be written."""
        return True

    def seekable(self) -> bool:
        """It only grows."""
        return False

    def finish(self) -> Stored:
        """Have the disk confirm all bytes; digest and size."""
        with translated(self._where):
            if self._sealer is not None:
                self._sealer.finish()
            os.fsync(self._file.fileno())
        self.closed = True
        return Stored(self._hash.hexdigest(), self._size)
