"""The ledger's anchor: the newest checkpoint, kept in a file outside the database.

Someone who can rewrite the database could cut off its newest entries together with their checkpoints. The anchor still
names the larger log then. It only ever moves forward. Where the file itself is gone, the next append begins a new one,
and what came before is vouched for only by checkpoints that others were given: publish the file's content now and then.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.errors import Transient
from assay.ledger.errors import NoteError
from assay.ledger.keys.signing import write_whole
from assay.ledger.log.checkpoints import MAX_NOTE_BYTES, Checkpoint, open_checkpoint


class AnchorNotWritten(Transient):
    """The entry is in the ledger, but the anchor file could not be written."""


@dataclass(frozen=True)
class Anchor:
    """The anchor's file, e.g. `<home>/ledger-head.txt`, mode 0600."""

    path: Path

    def read(self, key: Ed25519PublicKey) -> Checkpoint | None:
        """The anchored checkpoint, or None where there is no file.

        Raises:
            NoteError: The file holds something else than a checkpoint signed by this key.
        """
        try:
            with self.path.open("rb") as file:
                note = file.read(MAX_NOTE_BYTES + 1).decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise NoteError(f"the ledger's anchor {self.path} cannot be read", found=error) from error
        return open_checkpoint(note, key)

    def advance(self, note: str, size: int, key: Ed25519PublicKey) -> None:
        """Write a newer checkpoint; one that is there already, or an older one, changes nothing.

        Raises:
            NoteError: What stands in the file now is not a checkpoint signed by this key.
            AnchorNotWritten: The file system refused.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.path.with_name(f".{self.path.name}.lock").open("a") as lock:
                fcntl.flock(
                    lock, fcntl.LOCK_EX
                )  # without it, a slower process could put an older checkpoint back
                known = self.read(key)
                if known is None or known.size < size:
                    write_whole(self.path, note.encode(), 0o600)
        except OSError as error:
            raise AnchorNotWritten(
                f"the ledger's anchor {self.path} cannot be written",
                found=error.strerror,
                state="the entry is in the ledger; only the anchor is behind",
                next_step="free disk space or mend the permissions, then run the same step again",
            ) from error
