"""Downloads that outlive the process: what came of a large file is kept until all of it is there.

A part is named by the file's address and used only for the same strong ETag and size, with `If-Range` (RFC 9110,
section 13.1.5); the digest of the whole decides in any case.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

WORTH = 8 << 20
"""Bytes from which on a file is worth keeping a part of it."""

_STALE = 7 * 24 * 3600  # seconds after which nobody is expected to come back for a part
_HEAD = 4096  # bytes at the start of a part that say what it is a part of


@dataclass
class Part:
    """The beginning of a file.

    Attributes:
        etag: The strong ETag of the version that it is a part of.
        size: Bytes of the whole file.
        done: Bytes that are there.
    """

    etag: str
    size: int
    done: int
    _handle: int

    def add(self, data: bytes) -> None:
        """Keep more bytes; a full disk ends the keeping, not the download."""
        if self._handle < 0:
            return
        try:
            written = os.pwrite(self._handle, data, _HEAD + self.done)
        except OSError:
            written = -1
        if written != len(data):
            self._handle = -1
            return
        self.done += written

    def chunks(self, piece: int) -> Iterator[bytes]:
        """The bytes that are there."""
        at = 0
        while at < self.done:
            data = os.pread(self._handle, min(piece, self.done - at), _HEAD + at)
            if not data:
                return
            at += len(data)
            yield data


class Parts:
    """The folder of parts; `None` keeps nothing.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    @contextmanager
    def of(self, address: str) -> Iterator[Slot]:
        """The place for a part of the file at an address, for this process alone; an empty one if another has it."""
        if self._folder is None:
            yield Slot(-1)
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{hashlib.sha256(address.encode()).hexdigest()}.part"
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            yield Slot(-1)
            return
        slot = Slot(handle)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            yield Slot(-1)
            return
        try:
            yield slot
        finally:
            if not slot.worth_keeping:
                path.unlink(missing_ok=True)
            os.close(handle)

    def sweep(self) -> None:
        """Take away what nobody came back for."""
        with contextlib.suppress(OSError):
            if self._folder is not None:
                for path in self._folder.glob("*.part"):
                    if time.time() - path.stat().st_mtime > _STALE:
                        path.unlink(missing_ok=True)


class Slot:
    """Where a part of one file is kept.

    Attributes:
        worth_keeping: Whether another process could go on with what is there.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.worth_keeping = False

    def found(self) -> Part | None:
        """What an earlier process left."""
        if self._handle < 0:
            return None
        try:
            head = json.loads(os.pread(self._handle, _HEAD, 0).rstrip(b"\0") or b"null")
            done = os.fstat(self._handle).st_size - _HEAD
            etag, size = str(head["etag"]), int(head["size"])
        except (ValueError, TypeError, KeyError, OSError):
            return None
        if not 0 < done < size:
            return None
        self.worth_keeping = True
        return Part(etag, size, done, self._handle)

    def begin(self, etag: str, size: int) -> Part | None:
        """Keep a file's bytes from the first one on, if that is worth it."""
        head = json.dumps({"etag": etag, "size": size}).encode()
        if self._handle < 0 or size < WORTH or len(head) > _HEAD:
            return None
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, head.ljust(_HEAD, b"\0"), 0)
        except OSError:
            return None
        self.worth_keeping = True
        return Part(etag, size, 0, self._handle)
