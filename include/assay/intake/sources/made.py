"""Deliveries that Assay makes from what a database or a web service answers: a file, an account of it, a manifest.

The manifest says what Assay saw, not what the publisher meant: nobody but Assay vouches for it unless the answers were
signed. It holds no time, so that the same answers are the same delivery.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from assay.canonical import file_sha256
from assay.intake.errors import LandingFailed
from assay.intake.sources.base import Deadline, Listing, Sink, T
from assay.intake.sources.folder import FolderPlace
from assay.store.places import private_dir, sweep

ACCOUNT = "landing.json"
"""The file that says what was asked, and what came."""

MANIFEST = "SHA256SUMS"
"""The manifest that lists both files."""


class MadePlace:
    """A delivery that is made when it is first read, in a folder that goes when it is closed.

    Args:
        shown: Its address without credentials.
        deadline: When all must be over.
        work: Scratch space of this machine; the system's if not given.
    """

    at_once = 1
    made = True

    def __init__(self, shown: str, deadline: Deadline, work: Path | None) -> None:
        self.shown = shown
        self.vouched: str | None = None
        self.deadline = deadline
        self._work = work or Path(tempfile.gettempdir()) / f"assay-{os.getuid()}"
        self._folder: FolderPlace | None = None
        self._path: Path | None = None
        self._lock = -1

    def make(self, folder: Path) -> dict[str, Any]:
        """Write the delivery's one file into the folder; its account, with the file's name as `file`."""
        raise NotImplementedError

    def fetch(self, path: str, limit: int, sink: Sink[T]) -> T:
        """See `Place.fetch`."""
        return self._made().fetch(path, limit, sink)

    def listing(self, most: int) -> Listing:
        """See `Place.listing`."""
        return self._made().listing(most)

    def close(self) -> None:
        """Take the folder away."""
        if self._folder is not None:
            self._folder.close()
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            os.close(self._lock)
            self._path = None

    def _made(self) -> FolderPlace:
        if self._folder is not None:
            return self._folder
        try:
            if self._path is None:
                parent = self._work / "made"
                private_dir(parent, self._work)
                sweep(parent)
                self._path = Path(tempfile.mkdtemp(dir=parent))
                self._lock = os.open(self._path, os.O_RDONLY)
                fcntl.flock(self._lock, fcntl.LOCK_EX)  # tells sweepers that this folder is in use
            folder = self._path / "delivery"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            account = self.make(folder)
            text = json.dumps(account, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            (folder / ACCOUNT).write_text(text, "utf-8")
            lines = [f"{file_sha256(folder / name)}  {name}\n" for name in sorted((account["file"], ACCOUNT))]
            (folder / MANIFEST).write_text("".join(lines), "utf-8")
        except OSError as error:
            raise LandingFailed(
                f"what {self.shown} answers cannot be written down",
                found=error.strerror or type(error).__name__,
                state="nothing was registered",
                next_step=f"look after {self._work} (space, permissions), then run the same command again",
            ) from error
        self._folder = FolderPlace(str(folder), self.deadline)
        return self._folder
