"""The object store: immutable bytes, named by the SHA-256 of what they say, wherever they lie."""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from assay.settings import Settings
from assay.store.errors import ObjectMissing, StoreUriError, translated
from assay.store.places import LocalPlace, Place, RemotePlace, private_dir, sweep
from assay.store.sealing import CHUNK, Sealer, corrupt, store_key, unseal

_DIGEST = re.compile(r"[0-9a-f]{64}")
_RACY_NS = 2_000_000_000  # a file changed this recently may change again without its timestamps showing it
_IN_MEMORY = 8 << 20  # sealed and remote objects up to this size are opened in memory


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
            view = view[self._file.write(view) :]

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

    def _finish(self) -> Stored:
        with translated(self._where):
            if self._sealer is not None:
                self._sealer.finish()
            os.fsync(self._file.fileno())
        self.closed = True
        return Stored(self._hash.hexdigest(), self._size)


class ObjectStore:
    """Content-addressed objects under one URI.

    Laws: what was put under a digest comes back byte for byte or not at all (`StoreCorrupt`); putting the same bytes
    again changes nothing; a process that is killed while it puts leaves no object, and a later put works. Plain objects
    lie in `objects/aa/bb/<sha256>`, sealed ones (encrypted, for rejected and quarantined bytes) in
    `sealed/aa/bb/<sha256>`; the name is that of the plain bytes in both cases, and reading opens either.

    Args:
        uri: A path, `file://...`, or any URI that fsspec knows, e.g. `s3://bucket/prefix`.
        keys_dir: Folder of `store.key`; default: `keys` beside a local store, `~/.assay/keys` for others.
        work_dir: Scratch space of this machine; default: the system's temporary directory.

    Raises:
        StoreUriError: No file system answers to the URI.
    """

    def __init__(
        self, uri: str | Path, *, keys_dir: Path | None = None, work_dir: Path | None = None
    ) -> None:
        self._scratch = work_dir or Path(tempfile.gettempdir()) / f"assay-{os.getuid()}"
        self._place = _place(str(uri), self._scratch)
        self.uri = self._place.uri
        local_root = self._place.path("")
        self._keys_dir = keys_dir or (local_root.parent if local_root else Path.home() / ".assay") / "keys"
        self._verified: dict[str, tuple[int, ...]] = {}
        self._copies: Path | None = None

    # ---------------------------------------------------------------------------------------------------- writing
    @contextmanager
    def writer(self, *, sealed: bool = False) -> Iterator[ObjectWriter]:
        """A file-like sink; the object is there when the block has ended without an exception.

        After the block, `.stored` of the writer holds digest and size.

        Raises:
            StoreFull: There is no room left.
            StoreReadOnly: The store may not be written.
            StoreUnavailable: The store does not answer.
            StoreKeyError: `sealed` is wanted and the key is damaged.
        """
        key = self._key() if sealed else None
        folder = self._place.spool_dir()
        spooled = folder / f"put-{secrets.token_hex(16)}"
        with translated(self.uri):
            handle = os.open(spooled, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # tells sweepers that this file is being written
                with translated(self.uri):
                    writer = ObjectWriter(cast("BinaryIO", file), key, self.uri)
                yield writer
                stored = writer._finish()
                self._place.publish(spooled, _name(stored.sha256, sealed=sealed))
            writer.stored = stored
        finally:
            spooled.unlink(missing_ok=True)

    def put_stream(self, chunks: Iterable[bytes], *, sealed: bool = False) -> Stored:
        """Store what the chunks say together, hashing on the way; memory is one chunk.

        Raises:
            StoreError family: as `writer`; whatever `chunks` raises passes through, with nothing stored.
        """
        with self.writer(sealed=sealed) as writer:
            for chunk in chunks:
                writer.write(chunk)
        assert writer.stored is not None
        return writer.stored

    def put_bytes(self, data: bytes, *, sealed: bool = False) -> Stored:
        """Store bytes; raises as `writer`."""
        return self.put_stream((data,), sealed=sealed)

    def put_file(self, path: str | Path, *, sealed: bool = False) -> Stored:
        """Store a file's bytes in one pass; raises as `writer`, and OSError if the file cannot be read."""
        with Path(path).open("rb") as file:
            return self.put_stream(_chunks(cast("BinaryIO", file)), sealed=sealed)

    def seal(self, sha256: str) -> Stored:
        """Keep an object in sealed form only: nothing is lost, and reading by digest goes on working.

        Raises:
            ObjectMissing: No object has that digest.
            StoreCorrupt: The object is damaged; it was left as it is.
        """
        plain = _name(sha256, sealed=False)
        if not self._place.exists(plain):
            return self.verify(sha256)
        with self.open(sha256) as file:
            stored = self.put_stream(_chunks(file), sealed=True)
        self._place.remove(plain)
        return stored

    # ---------------------------------------------------------------------------------------------------- reading
    def exists(self, sha256: str) -> bool:
        """Whether an object of that digest is there, plain or sealed; its bytes are not looked at."""
        return self._find(sha256) is not None

    def is_sealed(self, sha256: str) -> bool:
        """Whether it is there in sealed form only.

        Raises:
            ObjectMissing: No object has that digest.
        """
        return self._found(sha256)[1]

    def verify(self, sha256: str) -> Stored:
        """Read all its bytes and compare them with the digest.

        Raises:
            ObjectMissing: No object has that digest.
            StoreCorrupt: The bytes are others.
            StoreKeyError: It is sealed and the key is not there.
        """
        size = sum(len(chunk) for chunk in self._checked(sha256))
        return Stored(sha256, size)

    def get_bytes(self, sha256: str) -> bytes:
        """All its bytes, compared with the digest; raises as `verify`."""
        return b"".join(self._checked(sha256))

    def open(self, sha256: str) -> BinaryIO:
        """A seekable file of its bytes, all of which were compared with the digest before; raises as `verify`.

        A local plain object is opened in place. Others are copied: into memory up to 8 MiB, else into an unnamed file
        in the scratch space.
        """
        name, sealed = self._found(sha256)
        if not sealed and self._place.path(name) is not None:
            return self._open_verified(sha256, name)
        with translated(str(self._scratch)):
            private_dir(self._scratch, self._scratch)
            copy = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, dir=str(self._scratch))  # noqa: SIM115 - handed out
        for chunk in self._checked(sha256):
            with translated(str(self._scratch)):
                copy.write(chunk)
        copy.seek(0)
        return cast("BinaryIO", copy)

    def local_path(self, sha256: str) -> Path:
        """A path of this machine with its bytes, which were compared with the digest; raises as `verify`.

        A local plain object's own path; else a copy in a private folder that goes when this process ends.
        Never write to it.
        """
        name, sealed = self._found(sha256)
        path = self._place.path(name)
        if not sealed and path is not None:
            self._open_verified(sha256, name).close()
            return path
        copy = self._copies_dir() / sha256
        if not copy.exists():
            with translated(str(copy.parent)):
                handle = os.open(copy.with_suffix(".part"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "wb") as file:
                for chunk in self._checked(sha256):
                    with translated(str(copy.parent)):
                        file.write(chunk)
            os.replace(copy.with_suffix(".part"), copy)
        return copy

    def uri_of(self, sha256: str) -> str:
        """Where the object lies.

        Raises:
            ObjectMissing: No object has that digest.
        """
        return f"{self.uri}/{self._found(sha256)[0]}"

    def digests(self, *, sealed: bool = False) -> Iterator[str]:
        """Digests of all plain, or of all sealed objects, in order."""
        for name in self._place.names("sealed" if sealed else "objects"):
            digest = name.rpartition("/")[2]
            if _DIGEST.fullmatch(digest):
                yield digest

    # --------------------------------------------------------------------------------------------------- internals
    def _find(self, sha256: str) -> tuple[str, bool] | None:
        for sealed in (False, True):
            name = _name(sha256, sealed=sealed)
            if self._place.exists(name):
                return name, sealed
        return None

    def _found(self, sha256: str) -> tuple[str, bool]:
        found = self._find(sha256)
        if found is None:
            raise ObjectMissing(
                f"the object store {self.uri} has no object {sha256}",
                next_step="check ASSAY_STORE_URI, or restore the object from a backup of the store",
            )
        return found

    def _checked(self, sha256: str) -> Iterator[bytes]:
        """Chunks of an object; raises at the end if their digest is another. For consumers that wait for the end."""
        name, sealed = self._found(sha256)
        digest = hashlib.sha256()
        with translated(self.uri), self._place.open(name) as file:
            for chunk in unseal(file, self._key(), sha256) if sealed else _chunks(file):
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != sha256:
            raise corrupt(sha256, f"bytes whose SHA-256 is {digest.hexdigest()}")

    def _open_verified(self, sha256: str, name: str) -> BinaryIO:
        """Open a local object after hashing it through the same handle; an unchanged file is hashed once."""
        with translated(self.uri):
            file = self._place.open(name)
            facts = os.fstat(file.fileno())
            mark = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            if self._verified.get(sha256) != mark:
                digest = hashlib.file_digest(cast("io.BufferedReader", file), "sha256").hexdigest()
                if digest != sha256:
                    file.close()
                    raise corrupt(sha256, f"bytes whose SHA-256 is {digest}")
                if time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > _RACY_NS:
                    self._verified[sha256] = mark
                file.seek(0)
        return file

    def _key(self) -> bytes:
        with translated(str(self._keys_dir)):
            return store_key(self._keys_dir)

    def _copies_dir(self) -> Path:
        if self._copies is None:
            with translated(str(self._scratch)):
                parent = self._scratch / "copies"
                private_dir(parent, self._scratch)
                sweep(parent)
                self._copies = Path(tempfile.mkdtemp(dir=parent))
                handle = os.open(self._copies, os.O_RDONLY)
                fcntl.flock(handle, fcntl.LOCK_EX)
            weakref.finalize(self, _discard, self._copies, handle)
        return self._copies


def open_store(settings: Settings) -> ObjectStore:
    """The object store that the settings name.

    Raises:
        StoreUriError: No file system answers to the URI.
        OSError: The state directory cannot be made.
    """
    settings.make_home()
    return ObjectStore(settings.store_uri, keys_dir=settings.keys_dir, work_dir=settings.work_dir)


def _place(uri: str, scratch: Path) -> Place:
    if "://" not in uri:
        return LocalPlace(Path(uri).expanduser().resolve())
    import fsspec

    try:
        # No cache of listings: what other processes stored must be seen.
        filesystem, root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise StoreUriError(
            f"no object store can be opened at {uri}",
            expected="a path, file:///path, s3://bucket/prefix or another URI that fsspec knows",
            found=str(error),
            next_step="correct ASSAY_STORE_URI, or install the fsspec backend that it names",
        ) from error
    if uri.startswith(("file://", "local://")):
        return LocalPlace(Path(root).resolve())
    return RemotePlace(uri, filesystem, root, scratch)


def _name(sha256: str, *, sealed: bool) -> str:
    if not _DIGEST.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hexadecimal: {sha256!r}")
    return f"{'sealed' if sealed else 'objects'}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _discard(folder: Path, handle: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)
