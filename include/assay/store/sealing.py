"""Encryption of sealed objects: AES-256-GCM in chunks, so that any size streams and no change goes unseen.

A sealed object is a header and chunks. The header holds a magic number, the id of the key and a random salt; the
object's own key comes from the store's key and that salt (HKDF-SHA256, RFC 5869). Each chunk is up to 1 MiB of plain
text with its 16-byte tag; its nonce is the chunk's number and a flag that marks the last one (the STREAM construction,
Hoang, Reyhanitabar, Rogaway and Vizar, CRYPTO 2015), so that chunks cannot be cut off, swapped or taken from another
object. The header is authenticated with every chunk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from assay.canonical import sha256_hex
from assay.store.errors import StoreCorrupt, StoreKeyError

CHUNK = 1 << 20
"""Plain bytes in a chunk."""

_MAGIC = b"ASSAYSL1"
_SALT = 32
_KEY_ID = 8
_HEADER = len(_MAGIC) + _KEY_ID + _SALT
_TAG = 16


def store_key(keys_dir: Path) -> bytes:
    """The store's key, 32 bytes; made with mode 0600 at first use, whichever process comes first.

    Raises:
        StoreKeyError: The file is there but is no key.
        OSError: The file cannot be read or made.
    """
    path = keys_dir / "store.key"
    if not path.exists():
        keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = keys_dir / f".store.key.{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)  # never replaces: the key that another process made first stays
        finally:
            temporary.unlink(missing_ok=True)
    key = path.read_bytes()
    if len(key) != 32:
        raise StoreKeyError(
            f"{path} is not a store key",
            expected="32 bytes",
            found=f"{len(key)} bytes",
            state="sealed objects stay sealed",
            next_step="restore the key from its backup; without it sealed objects cannot be opened",
        )
    return key


class Sealer:
    """Encrypts one object, fed piece by piece.

    Args:
        key: The store's key, 32 bytes.
        write: Where the sealed bytes go.
    """

    def __init__(self, key: bytes, write: Callable[[bytes], object]) -> None:
        salt = secrets.token_bytes(_SALT)
        self._header = _MAGIC + _key_id(key) + salt
        self._cipher = _object_cipher(key, salt)
        self._write = write
        self._buffer = bytearray()
        self._count = 0
        write(self._header)

    def update(self, data: bytes | memoryview) -> None:
        """Add plain bytes."""
        self._buffer += data
        while len(self._buffer) > CHUNK:  # the last chunk, even a full one, waits for finish()
            self._emit(bytes(self._buffer[:CHUNK]), final=False)
            del self._buffer[:CHUNK]

    def finish(self) -> None:
        """Write the last chunk."""
        self._emit(bytes(self._buffer), final=True)
        self._buffer.clear()

    def _emit(self, plain: bytes, *, final: bool) -> None:
        self._write(self._cipher.encrypt(_nonce(self._count, final), plain, self._header))
        self._count += 1


def seal_bytes(key: bytes, data: bytes) -> bytes:
    """An object that fits into memory, sealed."""
    pieces: list[bytes] = []
    sealer = Sealer(key, pieces.append)
    sealer.update(data)
    sealer.finish()
    return b"".join(pieces)


def unseal(file: BinaryIO, key: bytes, name: str) -> Iterator[bytes]:
    """Plain chunks of a sealed object; each was authenticated before it is handed out.

    Args:
        file: The sealed object, at its start.
        key: The store's key, 32 bytes.
        name: What to call the object in messages.

    Raises:
        StoreCorrupt: A byte was changed, or chunks were cut off, added or reordered.
        StoreKeyError: It was sealed with another key.
    """
    header = file.read(_HEADER)
    if len(header) != _HEADER or header[: len(_MAGIC)] != _MAGIC:
        raise corrupt(name, "its header is not that of a sealed object")
    if header[len(_MAGIC) : len(_MAGIC) + _KEY_ID] != _key_id(key):
        raise StoreKeyError(
            f"sealed object {name} was sealed with another key than store.key",
            state="it stays sealed",
            next_step="put the store.key back that was there when the object was stored",
        )
    cipher = _object_cipher(key, header[-_SALT:])
    count, chunk = 0, file.read(CHUNK + _TAG)
    while True:
        following = file.read(CHUNK + _TAG)
        try:
            plain = cipher.decrypt(_nonce(count, final=not following), chunk, header)
        except (InvalidTag, ValueError) as error:
            raise corrupt(
                name, f"chunk {count} is changed, out of place, or what follows it is missing"
            ) from error
        yield plain
        if not following:
            return
        count, chunk = count + 1, following


def corrupt(name: str, found: str) -> StoreCorrupt:
    """The error for an object whose bytes are not those that were stored."""
    return StoreCorrupt(
        f"object {name} in the store is damaged or was changed",
        expected="the bytes whose SHA-256 is its name",
        found=found,
        state="nothing was read from it, and it was left as it is, as evidence",
        next_step="restore the object from a backup, or deliver its file again; find out who can write to the store",
    )


def _key_id(key: bytes) -> bytes:
    return bytes.fromhex(sha256_hex(b"assay store key id" + key))[:_KEY_ID]


def _object_cipher(key: bytes, salt: bytes) -> AESGCM:
    derived = HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=b"assay sealed object v1").derive(
        key
    )
    return AESGCM(derived)


def _nonce(count: int, final: bool) -> bytes:
    return count.to_bytes(11, "big") + (b"\x01" if final else b"\x00")
