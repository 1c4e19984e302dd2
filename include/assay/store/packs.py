"""Packs: files that hold many small objects, so that a batch of them costs one write to the disk instead of thousands.

A pack is a magic number, the objects' bytes one after the other, an index, and a footer. The index has an entry of 48
bytes for each object (32 bytes SHA-256 of its plain bytes, 8 bytes offset, 8 bytes length, big-endian), sorted by
digest; the footer holds the index's own SHA-256, its number of entries and a magic number. The name of a pack is the
SHA-256 of its index, so that the same batch makes the same pack. Plain packs lie in `packs/`, packs of sealed objects
in `sealed-packs/`; there each object is sealed by itself, and the digest is that of its plain bytes in both.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from assay.store.errors import StoreCorrupt
from assay.store.places import Place

MAX_OBJECT = 1 << 20
"""Bytes of the largest object that goes into a pack."""

MAX_PACK = 256 << 20
"""Bytes after which a pack is closed and another one begun."""

MAX_ENTRIES = 1 << 18
"""Objects after which a pack is closed and another one begun."""

HEAD = b"ASSAYPK1"
_END = b"ASSAYPKE"
_ENTRY = struct.Struct(">32sQQ")
_FOOTER = struct.Struct(">32sQ8s")


def folder(*, sealed: bool) -> str:
    """The folder of packs."""
    return "sealed-packs" if sealed else "packs"


def closing(entries: Mapping[bytes, tuple[int, int]]) -> tuple[str, bytes]:
    """A pack's name without its folder (64 hex digits), and its last bytes: index and footer.

    Args:
        entries: Offset and length in bytes by digest (32 bytes).
    """
    index = b"".join(_ENTRY.pack(digest, *entries[digest]) for digest in sorted(entries))
    name = hashlib.sha256(index)
    return name.hexdigest(), index + _FOOTER.pack(name.digest(), len(entries), _END)


@dataclass(frozen=True)
class Pack:
    """One pack's index: 48 bytes of memory per object.

    Attributes:
        name: Its name in the store.
        index: The sorted entries.
    """

    name: str
    index: bytes

    def __len__(self) -> int:
        return len(self.index) // _ENTRY.size

    def find(self, digest: bytes) -> tuple[int, int] | None:
        """Offset and length of an object, or None."""
        index, size = self.index, _ENTRY.size
        at = bisect_left(range(len(self)), digest, key=lambda i: index[i * size : i * size + 32])
        if at == len(self) or index[at * size : at * size + 32] != digest:
            return None
        _, offset, length = _ENTRY.unpack_from(index, at * size)
        return offset, length

    def entries(self) -> Iterator[tuple[bytes, int, int]]:
        """Digest, offset and length of each object, sorted by digest."""
        return _ENTRY.iter_unpack(self.index)


def load(place: Place, name: str) -> Pack:
    """Read a pack's index.

    Raises:
        StoreCorrupt: Its footer or index is not what its name says.
        FileNotFoundError: It is not there.
    """
    size = place.size(name)
    if size >= len(HEAD) + _FOOTER.size:
        digest, count, end = _FOOTER.unpack(place.read(name, size - _FOOTER.size, _FOOTER.size))
        length = count * _ENTRY.size
        start = size - _FOOTER.size - length
        if end == _END and digest.hex() == name.rpartition("/")[2] and start >= len(HEAD):
            index = place.read(name, start, length)
            if hashlib.sha256(index).digest() == digest:
                return Pack(name, index)
    raise StoreCorrupt(
        f"the pack {name} in the store is damaged or was changed",
        expected="an index whose SHA-256 is the pack's name",
        found="another one, or none",
        state="nothing was read from it, and it was left as it is, as evidence",
        next_step="restore the pack from a backup, or deliver its files again; find out who can write to the store",
    )


class Packs:
    """All packs of one kind in a store, as far as they were seen; looked at again when something is not found.

    Args:
        place: Where they lie.
        sealed: Which kind.
    """

    def __init__(self, place: Place, *, sealed: bool) -> None:
        self._place = place
        self._folder = folder(sealed=sealed)
        self._known: dict[str, Pack] = {}
        self.damaged: set[str] = set()
        self._looked = False

    def refresh(self) -> bool:
        """Take note of packs that came or went; whether there were any."""
        self._looked = True
        there = set(self._place.names(self._folder))
        gone = self._known.keys() - there
        new = there - self._known.keys() - self.damaged
        if gone or self.damaged - there:
            self._known = {name: pack for name, pack in self._known.items() if name in there}
            self.damaged &= there
        for name in sorted(new):
            try:
                self._known = {**self._known, name: load(self._place, name)}
            except StoreCorrupt:
                self.damaged.add(name)
            except FileNotFoundError:
                continue  # replaced meanwhile by one with fewer objects
        return bool(gone or new)

    def all(self) -> list[Pack]:
        """The packs that are known."""
        if not self._looked:
            self.refresh()
        return list(self._known.values())

    def forget(self, name: str) -> None:
        """Leave out a pack that is not there any more, or read it anew."""
        self._known = {known: pack for known, pack in self._known.items() if known != name}
        self.damaged.discard(name)

    def holding(self, digest: bytes) -> Iterator[tuple[Pack, int, int]]:
        """Pack, offset and length of each copy of an object."""
        if not self._looked:
            self.refresh()
        for pack in self._known.values():  # never changed, only replaced: other threads may look meanwhile
            if (found := pack.find(digest)) is not None:
                yield pack, *found

    def read(self, digest: bytes, right: Callable[[bytes], bytes | None]) -> bytes | None:
        """The object's bytes from the first copy that is right, or None if there is none.

        Args:
            digest: Of the plain bytes.
            right: Gives the plain bytes for those that lie there, or None if they are damaged.
        """
        for _ in range(2):  # once more if a pack was replaced while we looked
            replaced = False
            for pack, offset, length in self.holding(digest):
                try:
                    lying = self._place.read(pack.name, offset, length)
                except FileNotFoundError:
                    self.forget(pack.name)
                    replaced = True
                    continue
                if (plain := right(lying)) is not None:
                    return plain
            if not replaced or not self.refresh():
                break
        return None
