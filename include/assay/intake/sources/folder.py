"""A delivery in a local folder: regular files only, opened without following a link anywhere below the folder."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from assay.intake.errors import LandingFailed, LocationError, NotThere, SourceRefused
from assay.intake.manifests import visible
from assay.intake.sources.base import CHUNK, Deadline, Listing, Sink, T, metered, too_large, too_many_files

_DEPTH = 64
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
}


class FolderPlace:
    """A folder of this machine.

    Raises:
        LocationError: Nothing is there, or it is not a folder.
    """

    def __init__(self, path: str, deadline: Deadline) -> None:
        self._root = Path(path).expanduser().absolute()
        self._deadline = deadline
        self.shown = str(self._root)
        self.made = False
        self.vouched: str | None = None
        self.at_once = min(4, os.cpu_count() or 1)
        self._held: int | None = None
        self._lock = threading.Lock()
        if not self._root.exists():
            raise LocationError(
                f"no delivery at {self._root}",
                expected="a folder with a manifest",
                found="nothing",
                next_step="check the path",
            )
        if not self._root.is_dir():
            raise LocationError(
                f"{self._root} is not a folder",
                expected="the folder that holds the delivery",
                found="a file",
                next_step=f"name its folder: {self._root.parent}",
            )

    def fetch(self, path: str, limit: int, sink: Sink[T]) -> T:
        """See `Place.fetch`."""
        handle, size = self._open(path)
        try:
            what = f"{path} in {self.shown}"
            if size > limit:
                raise too_large(what, limit, size)
            return sink(metered(self._chunks(handle, path), limit, what, self._deadline))
        finally:
            os.close(handle)

    def listing(self, most: int) -> Listing:
        """See `Place.listing`."""
        found = Listing()
        folders = [("", 0)]
        while folders:
            below, depth = folders.pop()
            try:
                entries = sorted(os.scandir(self._root / below), key=lambda entry: entry.name)
            except OSError as error:
                raise _unreadable(self.shown, below or ".", error) from error
            for entry in entries:
                path = below + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if depth >= _DEPTH:
                        found.refused[_text(path)] = f"a folder more than {_DEPTH} levels down"
                    else:
                        folders.append((path + "/", depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    if _text(path) == path:
                        found.files[path] = entry.stat(follow_symlinks=False).st_size
                    else:  # no manifest can list it, and written out it may look like another one
                        found.refused[_text(path)] = "a file whose name has characters that cannot be shown"
                else:
                    kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
                    found.refused[_text(path)] = _KINDS.get(kind, "no regular file")
                if len(found.files) + len(found.refused) + len(folders) > most:
                    raise too_many_files(self.shown, most)
        return found

    def close(self) -> None:
        """Let go of the folder."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _open(self, path: str) -> tuple[int, int]:
        """Open a file below the root, refusing a link in any place, so that nobody can swap one in meanwhile.

        Returns:
            A handle, and the file's size in bytes.
        """
        *folders, name = path.split("/")
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        here = path
        try:
            root = parent = self._folder()
            try:
                for here in folders:
                    inner = os.open(here, flags | os.O_DIRECTORY, dir_fd=parent)
                    if parent != root:
                        os.close(parent)
                    parent = inner
                here = name
                kind = stat.S_IFMT(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
                if kind != stat.S_IFREG:
                    raise self._not_regular(path, _KINDS.get(kind, "no regular file"))
                # A pipe put there since would block an open that waits for its other end.
                handle = os.open(name, flags | os.O_NONBLOCK, dir_fd=parent)
            finally:
                if parent != root:
                    os.close(parent)
        except FileNotFoundError as error:
            raise NotThere(
                f"no {path} in {self.shown}",
                expected=f"the file {path}",
                found="nothing of that name",
                next_step="check that the delivery is complete",
            ) from error
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise self._not_regular(path, f"{here!r} on its way is a link or no folder") from error
            raise _unreadable(self.shown, path, error) from error
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            os.close(handle)
            raise self._not_regular(path, "something else by now")
        return handle, facts.st_size

    def _folder(self) -> int:
        """The root, opened once: all files come from the folder that was there at first."""
        with self._lock:
            if self._held is None:
                self._held = os.open(self._root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
            return self._held

    def _not_regular(self, path: str, what: str) -> SourceRefused:
        return SourceRefused(
            f"{path} in {self.shown} is not a regular file",
            expected="a regular file: links, pipes, sockets and devices are refused",
            found=what,
            next_step="have the publisher deliver the file itself",
        )

    def _chunks(self, handle: int, path: str) -> Iterator[bytes]:
        while True:
            try:
                chunk = os.read(handle, CHUNK)
            except OSError as error:
                raise _unreadable(self.shown, path, error) from error
            if not chunk:
                return
            yield chunk


def _text(path: str) -> str:
    """A name for records: bytes that are no UTF-8, and characters that are not seen, are written out."""
    if path.isascii() and path.isprintable():
        return path
    return visible(os.fsencode(path).decode("utf-8", "backslashreplace"))


def _unreadable(where: str, path: str, error: OSError) -> LandingFailed:
    return LandingFailed(
        f"{path} in {where} cannot be read",
        found=error.strerror or str(error),
        state="nothing was registered",
        next_step="mend that (permissions, device), then run the same command again",
    )
