"""Many objects stored together: small ones share packs, and the disk confirms each pack once."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from assay.store.errors import translated
from assay.store.packs import HEAD, MAX_ENTRIES, MAX_OBJECT, MAX_PACK, closing, folder
from assay.store.places import Place, object_name
from assay.store.sealing import seal_bytes
from assay.store.writer import Stored

if TYPE_CHECKING:
    from assay.store.objects import ObjectStore

_BUFFER = 1 << 20
_FEW = 16  # objects of which each gets a file of its own: packs pay off with many, and every pack is looked through


class Batch:
    """Objects that become visible when the `with` block of `ObjectStore.batch` ends.

    Objects of more than 1 MiB are stored by themselves and are there at once; so are, at the end, fewer than 16 small
    ones. May be used by several threads.
    """

    def __init__(self, store: ObjectStore, place: Place) -> None:
        self._store = store
        self._place = place
        self._lock = threading.Lock()
        self._open: dict[bool, _PackFile] = {}
        self._few: dict[bool, dict[bytes, bytes]] = {False: {}, True: {}}
        self._key: bytes | None = None

    def put_bytes(self, data: bytes, *, sealed: bool = False, digest: bytes | None = None) -> Stored:
        """Add an object; raises as `ObjectStore.writer`.

        Args:
            data: Its bytes.
            sealed: Encrypt it.
            digest: Its SHA-256 (32 bytes), if the caller has just computed it from these bytes.
        """
        if len(data) > MAX_OBJECT:
            return self._store.put_bytes(data, sealed=sealed)
        if digest is None:
            digest = hashlib.sha256(data).digest()
        stored = Stored(digest.hex(), len(data))
        if self._store.holds(stored.sha256, data, sealed=sealed):
            return stored
        if sealed:
            if self._key is None:
                self._key = self._store.key()
            data = seal_bytes(self._key, data)
        with self._lock, translated(self._store.uri):
            try:
                self._add(digest, data, sealed)
            except OSError:
                if (pack := self._open.pop(sealed, None)) is not None:
                    pack.close()  # half of what it holds may be missing
                raise
        return stored

    def _add(self, digest: bytes, data: bytes, sealed: bool) -> None:
        pack, few = self._open.get(sealed), self._few[sealed]
        if pack is None:
            few[digest] = data
            if len(few) < _FEW:
                return
            pack = self._open[sealed] = _PackFile(self._place)
            for each in few:
                pack.add(each, few[each])
            few.clear()
        else:
            pack.add(digest, data)
        if pack.full:
            self._finish(sealed)

    def put_stream(self, chunks: Iterable[bytes], *, sealed: bool = False) -> Stored:
        """Add what the chunks say together; raises as `ObjectStore.put_stream`."""
        first, rest = gathered(chunks, MAX_OBJECT)
        if rest is None:
            return self.put_bytes(first, sealed=sealed)
        return self._store.put_stream(chain((first,), rest), sealed=sealed)

    def commit(self) -> None:
        """Have the disk confirm what is in open packs, then show them; raises as `ObjectStore.writer`."""
        with self._lock:
            for sealed, few in self._few.items():
                for digest, data in few.items():
                    _put_alone(self._place, object_name(digest.hex(), sealed=sealed), data, self._store.uri)
                few.clear()
            for sealed in list(self._open):
                self._finish(sealed)

    def discard(self) -> None:
        """Take open packs away."""
        with self._lock:
            for few in self._few.values():
                few.clear()
            for pack in self._open.values():
                pack.close()
            self._open.clear()

    def _finish(self, sealed: bool) -> None:
        pack = self._open.pop(sealed)
        try:
            with translated(self._store.uri):
                name = f"{folder(sealed=sealed)}/{pack.finish()}"
            self._place.publish(pack.path, name)
            packs = self._store.packs(sealed=sealed)
            packs.forget(name)
            packs.refresh()
        finally:
            pack.close()


class _PackFile:
    """A pack while it is written, under a name of its own in the store's scratch space."""

    def __init__(self, place: Place) -> None:
        self.path: Path = place.spool_dir() / f"pack-{secrets.token_hex(16)}"
        self._entries: dict[bytes, tuple[int, int]] = {}
        self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)  # tells sweepers that this file is being written
        self._buffer = bytearray(HEAD)
        self._size = len(HEAD)

    @property
    def full(self) -> bool:
        return self._size >= MAX_PACK or len(self._entries) >= MAX_ENTRIES

    def add(self, digest: bytes, data: bytes) -> None:
        if digest in self._entries:
            return
        self._entries[digest] = (self._size, len(data))
        self._buffer += data
        self._size += len(data)
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        view = memoryview(self._buffer)
        self._buffer = bytearray()
        while view:
            view = view[os.write(self._handle, view) :]

    def finish(self) -> str:
        """Write the index and have the disk confirm all of it; the pack's name without its folder."""
        name, index = closing(self._entries)
        self._buffer += index
        self._flush()
        os.fsync(self._handle)
        return name

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
        self.path.unlink(missing_ok=True)


def _put_alone(place: Place, name: str, data: bytes, where: str) -> None:
    spooled = place.spool_dir() / f"put-{secrets.token_hex(16)}"
    try:
        with translated(where):
            handle = os.open(spooled, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
                place.publish(spooled, name)
    finally:
        spooled.unlink(missing_ok=True)


def repack(store: ObjectStore, place: Place, digests: Mapping[bytes, object]) -> None:
    """Write each plain pack that holds one of these objects anew without them.

    The new pack is there before the old one goes: an object that stays can be read at every moment.
    """
    packs = store.packs(sealed=False)
    packs.refresh()
    for pack in packs.all():
        staying = [entry for entry in pack.entries() if entry[0] not in digests]
        if len(staying) == len(pack):
            continue
        if staying:
            with translated(store.uri):
                new = _PackFile(place)
            try:
                with translated(store.uri):
                    for digest, offset, length in staying:
                        new.add(digest, place.read(pack.name, offset, length))
                    name = f"{folder(sealed=False)}/{new.finish()}"
                place.publish(new.path, name)
            finally:
                new.close()
        place.remove(pack.name)
        packs.forget(pack.name)


def gathered(chunks: Iterable[bytes], most: int) -> tuple[bytes, Iterator[bytes] | None]:
    """The bytes of all chunks, and None; or, if there are more than `most`, those of the first ones, and the rest."""
    source = iter(chunks)
    taken: list[bytes] = []
    size = 0
    for chunk in source:
        taken.append(chunk)
        size += len(chunk)
        if size > most:
            return b"".join(taken), source
    return (taken[0] if len(taken) == 1 else b"".join(taken)), None
