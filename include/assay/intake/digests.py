"""The digests that manifests give: which are known, which of them prove something, and several in one pass."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

STRONG: dict[str, int] = {
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "blake2b": 128,
    "blake2b-256": 64,
    "blake3": 64,
}
"""Algorithms without known collisions, the one that is preferred first, and their hexadecimal digits."""

WEAK: dict[str, int] = {"md5": 32, "sha1": 40, "crc32": 8, "crc32c": 8, "crc64nvme": 16}
"""Algorithms to whose digests other data can be made, and their hexadecimal digits."""

LENGTHS: dict[str, int] = STRONG | WEAK

_NOT_COMPUTED = frozenset({"crc32c", "crc64nvme"})


class Hash(Protocol):
    """What `hashlib` calls a hash object."""

    def update(self, data: bytes, /) -> object:
        """Take in more bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far, in lower-case hexadecimal digits."""


@dataclass(frozen=True)
class Digest:
    """A file's expected digest.

    Attributes:
        algorithm: One of `LENGTHS`.
        hex: The digest in lower-case hexadecimal digits.
        parts: Sizes of the file's parts in bytes where the digest is taken over the digests of the parts, as S3 does
            for uploads in several parts; empty where it is taken over the file.
    """

    algorithm: str
    hex: str
    parts: tuple[int, ...] = ()

    @property
    def weak(self) -> bool:
        """Whether collisions can be made for the algorithm, so that a match proves little."""
        return self.algorithm not in STRONG

    @property
    def computed(self) -> bool:
        """Whether it is compared with the file's bytes; some checksums that prove nothing anyway are not."""
        return self.algorithm not in _NOT_COMPUTED


class _Crc32:
    """CRC-32 (ISO-HDLC) in the shape of a hash object."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _Parts:
    """The digest over the digests of a file's parts."""

    def __init__(self, algorithm: str, sizes: tuple[int, ...]) -> None:
        self._algorithm = algorithm
        self._sizes = iter(sizes)
        self._left = next(self._sizes, 0)
        self._part = new_hash(algorithm)
        self._whole = new_hash(algorithm)
        self._beyond = False

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        while len(view):
            if not self._left:
                self._beyond = True
                return
            piece = view[: self._left]
            self._part.update(bytes(piece))
            self._left -= len(piece)
            view = view[len(piece) :]
            if not self._left:
                self._close()

    def _close(self) -> None:
        self._whole.update(bytes.fromhex(self._part.hexdigest()))
        self._part = new_hash(self._algorithm)
        self._left = next(self._sizes, 0)

    def hexdigest(self) -> str:
        """The digest; of no bytes at all where the file is not as long as its parts are."""
        return "" if self._left or self._beyond else self._whole.hexdigest()


def new_hash(algorithm: str) -> Hash:
    """A hash object.

    Args:
        algorithm: One of `LENGTHS` that is computed here.

    Raises:
        ValueError: It is not.
    """
    if algorithm == "blake3":
        from blake3 import blake3

        return blake3()
    if algorithm == "blake2b-256":
        return hashlib.blake2b(digest_size=32)
    if algorithm == "crc32":
        return _Crc32()
    if algorithm in _NOT_COMPUTED:
        raise ValueError(f"{algorithm} is not computed")
    return hashlib.new(algorithm, usedforsecurity=algorithm in STRONG)


class Hashers:
    """The digests of one file, computed together while its bytes pass once."""

    def __init__(self, digests: Iterable[Digest], *, sha256_elsewhere: bool = False) -> None:
        """Prepare what the digests need.

        Args:
            digests: What will be compared.
            sha256_elsewhere: Somebody else computes SHA-256 over the same bytes, and `differing` is told its value.
        """
        self._running: dict[tuple[str, tuple[int, ...]], Hash] = {}
        for digest in digests:
            key = (digest.algorithm, digest.parts)
            plain = digest.algorithm == "sha256" and not digest.parts
            if digest.computed and not (plain and sha256_elsewhere):
                self._running[key] = (
                    _Parts(digest.algorithm, digest.parts) if digest.parts else new_hash(digest.algorithm)
                )

    def update(self, data: bytes) -> None:
        """Take in more bytes."""
        for running in self._running.values():
            running.update(data)

    def differing(self, digests: Iterable[Digest], sha256: str | None = None) -> list[Digest]:
        """Those of the digests that the bytes do not have."""
        wrong = []
        for digest in digests:
            running = self._running.get((digest.algorithm, digest.parts))
            found = running.hexdigest() if running is not None else sha256
            if digest.computed and found != digest.hex:
                wrong.append(digest)
        return wrong


def matches(data: bytes, digests: Iterable[Digest]) -> bool:
    """Whether bytes in memory have all of the digests, and a strong one is among them."""
    listed = tuple(digests)
    hashers = Hashers(listed)
    hashers.update(data)
    return any(not digest.weak for digest in listed) and not hashers.differing(listed)
