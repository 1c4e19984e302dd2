"""Checkpoints published outside our power, and read back: folders, object stores, git repositories.

Whoever rules our database and our disk can roll both back, together with the anchor file. A checkpoint that stands in
another's bucket or repository cannot be taken back, and `assay ledger verify` compares the log with it. A place is
named by a URI: anything that fsspec opens (`file:///mnt/audit/assay`, `s3://bucket/assay`), or `git+` and what git
clones (`git+https://example.org/audit.git`, `git+file:///srv/audit.git`). Each checkpoint is a file of its own, named
by its size; none is ever written over.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from assay.errors import Transient, UsageError
from assay.ledger.errors import LedgerError, NoLedgerKey, NoteError, ProofError
from assay.ledger.keys.signing import write_whole
from assay.ledger.log.checkpoints import MAX_NOTE_BYTES, Checkpoint, open_checkpoint
from assay.ledger.log.heads import newest_row, open_row
from assay.ledger.log.ledger import Ledger
from assay.ledger.outside.proofs import prove_consistency
from assay.ledger.outside.witnesses import cosigned_note

_NAME = re.compile(r"checkpoint-([0-9]{19})\.txt")
_GIT_SECONDS = 120


class PlaceUnreachable(Transient):
    """A place of checkpoints cannot be read or written now."""


class Place(Protocol):
    """Where checkpoints are published."""

    @property
    def uri(self) -> str:
        """Its name, as it was given."""

    def newest(self) -> str | None:
        """The signed note of the largest checkpoint there; None where there is none.

        Raises:
            PlaceUnreachable: It cannot be read now.
            NoteError: What stands there is no note at all.
        """

    def put(self, size: int, note: str) -> None:
        """Write a checkpoint under its size; it must not be there yet.

        Raises:
            PlaceUnreachable: It cannot be written now.
        """


@dataclass(frozen=True)
class Published:
    """What a publication came to: the place, the checkpoint's size, and whether it was new there."""

    uri: str
    size: int
    new: bool


def open_place(uri: str) -> Place:
    """A place by its URI.

    Raises:
        UsageError: It is no URI that fsspec or git knows.
    """
    if uri.startswith("git+"):
        return _Repository(uri, uri.removeprefix("git+"))
    if "://" not in uri:
        raise UsageError(
            f"{uri!r} is not a place for checkpoints",
            expected="file:///folder, s3://bucket/folder or git+URL",
            next_step="write the URI in full",
        )
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise UsageError(
            f"{uri!r} cannot be opened", found=error, expected="a URI that fsspec knows"
        ) from error
    return _Folder(uri, files, path.rstrip("/"))


def publish(ledger: Ledger, place: Place) -> Published:
    """Publish the newest checkpoint, if the log still contains what was published there before.

    Raises:
        LedgerError: The log is empty, or not the one whose checkpoint stands there; nothing is written.
        NoteError: What stands there is not signed by this ledger's key.
        PlaceUnreachable: The place cannot be used now; the same call again does the rest.
    """
    with ledger.database.session() as session:
        row = newest_row(session)
        if row is None:
            raise LedgerError("the ledger is empty: there is no checkpoint to publish")
        checkpoint, note = open_row(row, ledger.public_key), cosigned_note(session, row)
    known = read_place(ledger, place)
    if known is not None:
        _still_contained(ledger, known, checkpoint, place)
        if known.size == checkpoint.size:
            return Published(place.uri, checkpoint.size, new=False)
    place.put(checkpoint.size, note)
    return Published(place.uri, checkpoint.size, new=True)


def read_place(ledger: Ledger, place: Place) -> Checkpoint | None:
    """The newest checkpoint of a place, its signature checked.

    Raises:
        NoteError: It is not this ledger's.
        PlaceUnreachable: The place cannot be read now.
    """
    note = place.newest()
    if not ledger.has_key:
        raise NoLedgerKey("there is no public key to check published checkpoints with")
    return None if note is None else open_checkpoint(note, ledger.public_key)


def _still_contained(ledger: Ledger, known: Checkpoint, newest: Checkpoint, place: Place) -> None:
    problem = None
    if known.size > newest.size:
        problem = f"the log has {newest.size} entries, and {known.size} were published"
    else:
        try:
            prove_consistency(ledger, known.size, newest.size).verify(known, ledger.public_key)
        except ProofError as error:
            problem = error.message
    if problem:
        raise LedgerError(
            f"the log is not the one whose checkpoint was published at {place.uri}: {problem}",
            expected=f"the root {known.root.hex()[:16]}… at {known.size} entries",
            state="nothing was published",
            next_step="`assay ledger verify` says what is wrong; restore the database from a backup",
        )


def _name(size: int) -> str:
    return f"checkpoint-{size:019}.txt"


def _decoded(data: bytes, uri: str) -> str:
    try:
        if len(data) <= MAX_NOTE_BYTES:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise NoteError(f"the checkpoint published at {uri} is no signed note")


@dataclass(frozen=True)
class _Folder:
    """A folder of any file system that fsspec knows."""

    uri: str
    files: Any
    path: str

    def newest(self) -> str | None:
        try:
            self.files.invalidate_cache()
            listed = self.files.ls(self.path, detail=False)
        except FileNotFoundError:
            return None
        except Exception as error:  # each file system has its own kinds of trouble
            raise self._unreachable(error) from error
        names = sorted(name for path in listed if _NAME.fullmatch(name := PurePosixPath(path).name))
        if not names:
            return None
        try:
            return _decoded(self.files.cat_file(f"{self.path}/{names[-1]}", end=MAX_NOTE_BYTES + 1), self.uri)
        except NoteError:
            raise
        except Exception as error:
            raise self._unreachable(error) from error

    def put(self, size: int, note: str) -> None:
        target = f"{self.path}/{_name(size)}"
        try:
            self.files.makedirs(self.path, exist_ok=True)
            if "file" in self.files.protocol:
                write_whole(Path(target), note.encode(), 0o644)
            else:
                self.files.pipe_file(target, note.encode())
        except Exception as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> PlaceUnreachable:
        return PlaceUnreachable(
            f"the place of checkpoints {self.uri} cannot be used",
            found=f"{type(error).__name__}: {error}"[:300],
            next_step="check the URI, the network and the credentials, then run the same command again",
        )


@dataclass(frozen=True)
class _Repository:
    """A git repository: what is published is a commit on its default branch."""

    uri: str
    url: str

    def newest(self) -> str | None:
        with tempfile.TemporaryDirectory(prefix="assay-git-") as folder:
            clone = self._clone(Path(folder))
            names = sorted(path.name for path in clone.iterdir() if _NAME.fullmatch(path.name))
            if not names:
                return None
            with (clone / names[-1]).open("rb") as file:
                return _decoded(file.read(MAX_NOTE_BYTES + 1), self.uri)

    def put(self, size: int, note: str) -> None:
        with tempfile.TemporaryDirectory(prefix="assay-git-") as folder:
            clone = self._clone(Path(folder))
            (clone / _name(size)).write_text(note, encoding="utf-8")
            self._git(clone, "add", "--", _name(size))
            self._git(clone, "commit", "--quiet", "--no-gpg-sign", "-m", f"Checkpoint at {size} entries")
            self._git(clone, "push", "--quiet", "origin", "HEAD")

    def _clone(self, folder: Path) -> Path:
        # Links are written as plain files: a name in the repository must not lead to a file of this machine.
        self._git(
            folder, "-c", "core.symlinks=false", "clone", "--quiet", "--depth", "1", "--", self.url, "clone"
        )
        return folder / "clone"

    def _git(self, folder: Path, *arguments: str) -> None:
        settled = [
            ("core.hooksPath", "/dev/null"),
            ("core.symlinks", "false"),
            ("user.name", "assay"),
            ("user.email", "assay@localhost"),
            ("credential.interactive", "false"),
        ]
        options = [item for name, value in settled for item in ("-c", f"{name}={value}")]
        try:
            done = subprocess.run(
                ["git", *options, *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_GIT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._unreachable(str(error)) from error
        if done.returncode:
            raise self._unreachable(done.stderr.decode(errors="replace").strip()[-300:])

    def _unreachable(self, found: str) -> PlaceUnreachable:
        return PlaceUnreachable(
            f"the repository {self.url} cannot be used",
            found=found,
            next_step="check that git is installed, the URL and the credentials, then run the same command again",
        )
