"""The object store: immutable bytes, named by the SHA-256 of what they say, wherever they lie."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import heapq
import io
import os
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from assay.errors import AssayError
from assay.settings import Settings
from assay.store.batch import Batch, repack
from assay.store.errors import ObjectMissing, StoreCorrupt, translated
from assay.store.packs import Packs, load
from assay.store.places import DIGEST, object_name, place_of, private_dir, sweep
from assay.store.sealing import CHUNK, corrupt, store_key, unseal
from assay.store.writer import ObjectWriter, Stored

_RACY_NS = 2_000_000_000  # a file changed this recently may change again without its timestamps showing it
_IN_MEMORY = 8 << 20  # sealed and remote objects up to this size are opened in memory


class ObjectStore:
    """Content-addressed objects under one URI.

    Laws: what was put under a digest comes back byte for byte or not at all (`StoreCorrupt`); putting the same bytes
    again changes nothing; a process that is killed while it puts leaves no object, and a later put works. Plain objects
    lie in `objects/aa/bb/<sha256>`, sealed ones (encrypted, for rejected and quarantined bytes) in
    `sealed/aa/bb/<sha256>`, and small ones that came together in packs (`assay.store.packs`); the name is that of the
    plain bytes in all cases, and reading finds each.

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
        self._place = place_of(str(uri), self._scratch)
        self.uri = self._place.uri
        local_root = self._place.path("")
        self._keys_dir = keys_dir or (local_root.parent if local_root else Path.home() / ".assay") / "keys"
        self._packs = {sealed: Packs(self._place, sealed=sealed) for sealed in (False, True)}
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
        key = self.key() if sealed else None
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
                stored = writer.finish()
                self._place.publish(spooled, object_name(stored.sha256, sealed=sealed))
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

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Store many objects at once: small ones share a pack, and are there when the block has ended.

        If it ends with an exception, what was put whole is there as well, unless the store itself refused.

        Raises:
            StoreError family: as `writer`.
        """
        for packs in self._packs.values():
            packs.refresh()  # what is there already is not stored again
        batch = Batch(self, self._place)
        try:
            yield batch
        except Exception:
            with contextlib.suppress(AssayError):
                batch.commit()
            raise
        else:
            batch.commit()
        finally:
            batch.discard()

    def seal(self, sha256: str) -> Stored:
        """Keep an object in sealed form only: nothing is lost, and reading by digest goes on working.

        Raises:
            ObjectMissing: No object has that digest.
            StoreCorrupt: The object is damaged; it was left as it is.
        """
        self.seal_all((sha256,))
        return self.verify(sha256)

    def seal_all(self, digests: Iterable[str]) -> None:
        """Keep objects in sealed form only, as `seal`; the sealed ones are there before a plain one goes."""
        self._packs[False].refresh()
        plain = {digest for digest in digests if not self._found(digest)[1]}
        with self.batch() as batch:
            for digest in plain:
                batch.put_stream(self._checked(digest), sealed=True)
        repack(self, self._place, {bytes.fromhex(digest): None for digest in plain})
        for digest in plain:
            self._place.remove(object_name(digest, sealed=False))

    # ---------------------------------------------------------------------------------------------------- reading
    def exists(self, sha256: str) -> bool:
        """Whether an object of that digest is there, plain or sealed; its bytes are not looked at."""
        return self._find(sha256) is not None

    def is_sealed(self, sha256: str) -> bool:
        """Whether it is there in sealed form only.

        Raises:
            ObjectMissing: No object has that digest.
        """
        if self._found(sha256)[1]:
            self._packs[False].refresh()  # another process may have brought a plain copy meanwhile
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
        if name is not None and not sealed and self._place.path(name) is not None:
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
        path = None if name is None else self._place.path(name)
        if name is not None and not sealed and path is not None:
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
        """Where the object lies: a file, or a range of bytes in a pack (`...#bytes=FIRST-LAST`).

        Raises:
            ObjectMissing: No object has that digest.
        """
        name, sealed = self._found(sha256)
        if name is not None:
            return f"{self.uri}/{name}"
        pack, offset, length = next(self._packs[sealed].holding(bytes.fromhex(sha256)))
        return f"{self.uri}/{pack.name}#bytes={offset}-{offset + length - 1}"

    def digests(self, *, sealed: bool = False) -> Iterator[str]:
        """Digests of all plain, or of all sealed objects, in order, each once."""
        loose = (name.rpartition("/")[2] for name in self._place.names("sealed" if sealed else "objects"))
        self._packs[sealed].refresh()
        packed = [(digest.hex() for digest, _, _ in pack.entries()) for pack in self._packs[sealed].all()]
        before = None
        for digest in heapq.merge(filter(DIGEST.fullmatch, loose), *packed):
            if digest != before:
                yield digest
            before = digest

    def packs(self, *, sealed: bool) -> Packs:
        """The packs of one kind."""
        return self._packs[sealed]

    def key(self) -> bytes:
        """The key of sealed objects, 32 bytes; raises as `writer`."""
        with translated(str(self._keys_dir)):
            return store_key(self._keys_dir)

    def holds(self, sha256: str, data: bytes, *, sealed: bool) -> bool:
        """Whether the object is there in that form and undamaged; one that lies elsewhere is taken at its word.

        Args:
            sha256: Its digest.
            data: Its plain bytes.
            sealed: In which form.
        """
        local = self._place.local
        if next(self._packs[sealed].holding(bytes.fromhex(sha256)), None) is not None:
            return not local or self._packed(sha256, sealed=sealed) == data
        name = object_name(sha256, sealed=sealed)
        if not local or not self._place.exists(name):
            return False
        try:
            return b"".join(self._loose(sha256, name, sealed=sealed)) == data
        except StoreCorrupt:
            return False

    # --------------------------------------------------------------------------------------------------- internals
    def _find(self, sha256: str) -> tuple[str | None, bool] | None:
        """Name (None: in a pack) and form of an object."""
        names = {sealed: object_name(sha256, sealed=sealed) for sealed in (False, True)}
        digest = bytes.fromhex(sha256)
        for again in (False, True):
            for sealed, packs in self._packs.items():
                if again and not packs.refresh():
                    continue
                if next(packs.holding(digest), None) is not None:
                    return None, sealed
                if not again and self._place.exists(names[sealed]):
                    return names[sealed], sealed
        return None

    def _found(self, sha256: str) -> tuple[str | None, bool]:
        found = self._find(sha256)
        if found is None:
            for name in sorted(self._packs[False].damaged | self._packs[True].damaged):
                load(self._place, name)  # says that it may have been in there
            raise ObjectMissing(
                f"the object store {self.uri} has no object {sha256}",
                next_step="check ASSAY_STORE_URI, or restore the object from a backup of the store",
            )
        return found

    def _checked(self, sha256: str) -> Iterator[bytes]:
        """Chunks of an object; raises at the end if their digest is another. For consumers that wait for the end."""
        name, sealed = self._found(sha256)
        if name is None:
            plain = self._packed(sha256, sealed=sealed)
            if plain is not None:
                yield plain
                return
            name, sealed = self._damaged_in_pack(sha256)
        yield from self._loose(sha256, name, sealed=sealed)

    def _loose(self, sha256: str, name: str, *, sealed: bool) -> Iterator[bytes]:
        digest = hashlib.sha256()
        with translated(self.uri), self._place.open(name) as file:
            for chunk in unseal(file, self.key(), sha256) if sealed else _chunks(file):
                digest.update(chunk)
                yield chunk
        if digest.hexdigest() != sha256:
            raise corrupt(sha256, f"bytes whose SHA-256 is {digest.hexdigest()}")

    def _packed(self, sha256: str, *, sealed: bool) -> bytes | None:
        """An object's bytes from a pack, or None if no copy in any pack is undamaged."""

        def right(lying: bytes) -> bytes | None:
            try:
                plain = b"".join(unseal(io.BytesIO(lying), self.key(), sha256)) if sealed else lying
            except StoreCorrupt:
                return None
            return plain if hashlib.sha256(plain).hexdigest() == sha256 else None

        return self._packs[sealed].read(bytes.fromhex(sha256), right)

    def _damaged_in_pack(self, sha256: str) -> tuple[str, bool]:
        """The object outside of packs, for one whose copies in packs are damaged."""
        for sealed in (False, True):
            name = object_name(sha256, sealed=sealed)
            if self._place.exists(name):
                return name, sealed
        raise corrupt(sha256, "other bytes in its pack")

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


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _discard(folder: Path, handle: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(handle)
