"""Where objects lie: a folder of this machine, or anything that fsspec reaches."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from assay.store.errors import StoreUnavailable, StoreUriError, translated

DIGEST = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 as objects are named."""

_STALE_SECONDS = 3600
# Object services that show a new object only once all its bytes have arrived; elsewhere we rename.
_ATOMIC_PUT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl"})


class Place(Protocol):
    """What the object store needs from where its objects lie. Names are relative, with `/`."""

    uri: str
    local: bool
    """Whether its files have paths on this machine."""

    def spool_dir(self) -> Path:
        """A folder of this machine in which a new object's bytes are collected."""

    def publish(self, spooled: Path, name: str) -> None:
        """Make the spooled file appear under `name`, whole or not at all; the spooled file is used up."""

    def open(self, name: str) -> BinaryIO:
        """Open for reading.

        Raises:
            FileNotFoundError: Nothing has that name.
        """

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes out of the middle of a file; fewer if it ends before.

        Raises:
            FileNotFoundError: Nothing has that name.
        """

    def size(self, name: str) -> int:
        """Its size in bytes.

        Raises:
            FileNotFoundError: Nothing has that name.
        """

    def exists(self, name: str) -> bool:
        """Whether something has that name."""

    def remove(self, name: str) -> None:
        """Take it away; nothing happens if it is not there."""

    def path(self, name: str) -> Path | None:
        """Its path on this machine, None where it has none."""

    def names(self, folder: str) -> Iterator[str]:
        """Names of all files under a folder."""


class LocalPlace:
    """A folder of this machine: directories 0700, files 0600, renamed into place."""

    local = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = root.as_uri()
        self._base = str(root)

    def spool_dir(self) -> Path:
        """On the store's own file system, so that publishing is a rename."""
        folder = self.root / "tmp"
        with translated(self.uri):
            private_dir(folder, self.root)
            sweep(folder)
        return folder

    def publish(self, spooled: Path, name: str) -> None:
        """Rename; a damaged object of the same name is thereby replaced by the right bytes."""
        target = self.root / name
        with translated(self.uri):
            private_dir(target.parent, self.root)
            os.replace(spooled, target)
            _sync_dir(target.parent)

    def open(self, name: str) -> BinaryIO:
        """Open for reading."""
        return cast("BinaryIO", (self.root / name).open("rb"))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes out of the middle of a file."""
        with translated(self.uri, but=(FileNotFoundError,)):
            handle = os.open(f"{self._base}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(handle, length, offset)
            finally:
                os.close(handle)

    def size(self, name: str) -> int:
        """Its size in bytes."""
        with translated(self.uri, but=(FileNotFoundError,)):
            return os.stat(f"{self._base}/{name}").st_size

    def exists(self, name: str) -> bool:
        """Whether something has that name."""
        return os.path.isfile(f"{self._base}/{name}")

    def remove(self, name: str) -> None:
        """Take it away."""
        with translated(self.uri):
            (self.root / name).unlink(missing_ok=True)

    def path(self, name: str) -> Path | None:
        """The file itself."""
        return self.root / name

    def names(self, folder: str) -> Iterator[str]:
        """Names of all files under a folder, sorted."""
        for path in sorted((self.root / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()


class RemotePlace:
    """Anything that fsspec reaches: `s3://bucket/prefix`, `memory://name` ..."""

    local = False

    def __init__(self, uri: str, filesystem: Any, root: str, scratch: Path) -> None:
        self.uri = uri.rstrip("/")
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._scratch = scratch
        protocols = (
            filesystem.protocol if isinstance(filesystem.protocol, tuple | list) else (filesystem.protocol,)
        )
        self._atomic = bool(_ATOMIC_PUT.intersection(protocols))

    def spool_dir(self) -> Path:
        """A folder on this machine; objects are sent once they are whole."""
        folder = self._scratch / "spool"
        with translated(str(folder)):
            private_dir(folder, folder)
            sweep(folder)
        return folder

    def publish(self, spooled: Path, name: str) -> None:
        """Send the file unless an object of that name and size is there."""
        target = self._full(name)
        with self._told():
            if not (self._fs.exists(target) and self._fs.info(target)["size"] == spooled.stat().st_size):
                if self._atomic:
                    self._fs.put_file(str(spooled), target)
                else:
                    self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                    temporary = self._full(f"tmp/{secrets.token_hex(16)}")
                    self._fs.makedirs(temporary.rpartition("/")[0], exist_ok=True)
                    self._fs.put_file(str(spooled), temporary)
                    self._fs.mv(temporary, target)
        spooled.unlink()

    def open(self, name: str) -> BinaryIO:
        """Open for reading."""
        with self._told():
            return cast("BinaryIO", self._fs.open(self._full(name), "rb"))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes out of the middle of a file."""
        with self._told():
            return bytes(self._fs.cat_file(self._full(name), start=offset, end=offset + length))

    def size(self, name: str) -> int:
        """Its size in bytes."""
        with self._told():
            return int(self._fs.info(self._full(name))["size"])

    def exists(self, name: str) -> bool:
        """Whether something has that name."""
        with self._told():
            return bool(self._fs.isfile(self._full(name)))

    def remove(self, name: str) -> None:
        """Take it away."""
        with self._told():
            if self._fs.exists(self._full(name)):
                self._fs.rm_file(self._full(name))

    def path(self, name: str) -> Path | None:
        """It has none."""
        return None

    def names(self, folder: str) -> Iterator[str]:
        """Names of all files under a folder, sorted."""
        with self._told():
            found = sorted(self._fs.find(self._full(folder)))
        for full in found:
            # Some services list an emptied folder as an object of its own.
            if (at := full.rfind(f"/{folder}/")) >= 0:
                yield full[at + 1 :]

    def _full(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Client libraries raise families of their own, which have no common base: all become one of ours."""
        try:
            with translated(self.uri, but=(FileNotFoundError,)):
                yield
        except FileNotFoundError:
            raise
        except Exception as error:
            from assay.errors import AssayError

            if isinstance(error, AssayError):
                raise
            raise StoreUnavailable(
                f"the object store {self.uri} does not answer as it should",
                found=f"{type(error).__name__}: {str(error)[:200]}",
                state="no object was added or changed",
                next_step="check the address and credentials in the environment, then run the same command again",
            ) from error


def place_of(uri: str, scratch: Path) -> Place:
    """The place that a store's URI names.

    Raises:
        StoreUriError: No file system answers to it.
    """
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


def object_name(sha256: str, *, sealed: bool) -> str:
    """The name of an object that lies alone.

    Raises:
        ValueError: That is no digest.
    """
    if not DIGEST.fullmatch(sha256):
        raise ValueError(f"not a SHA-256 in lower-case hexadecimal: {sha256!r}")
    return f"{'sealed' if sealed else 'objects'}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def private_dir(folder: Path, root: Path) -> None:
    """Make a folder and those between it and `root` with mode 0700, whatever the umask."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder == root:
            folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            break
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def sweep(folder: Path) -> None:
    """Take away what killed processes left: old entries on which nobody holds a lock."""
    now = time.time()
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                if now - entry.stat(follow_symlinks=False).st_mtime < _STALE_SECONDS:
                    continue
                handle = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW)
            except OSError:
                continue  # gone meanwhile, or not ours
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)
            except OSError:
                continue  # in use
            finally:
                os.close(handle)


def _sync_dir(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
