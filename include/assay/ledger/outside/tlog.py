"""Proofs as text that other tools read: C2SP tlog-proof, and the request that a C2SP witness takes.

An inclusion proof (c2sp.org/tlog-proof) is `c2sp.org/tlog-proof@v1`, perhaps a line `extra BASE64`, `index N`, the
hashes of the path in base64, an empty line, and the signed checkpoint. A consistency proof has the form of a witness's
add-checkpoint request (c2sp.org/tlog-witness): `old N`, the hashes, an empty line, and the larger tree's checkpoint.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.ledger.errors import ProofError
from assay.ledger.log.checkpoints import MAX_NOTE_BYTES, Checkpoint, open_checkpoint
from assay.ledger.merkle import HASH_SIZE, MAX_PATH, verify_consistency, verify_inclusion

HEADER = "c2sp.org/tlog-proof@v1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_MAX_EXTRA = 8 * 2**20


@dataclass(frozen=True)
class TlogProof:
    """That a leaf is in a log: its index, the path to the root, and a signed checkpoint.

    Attributes:
        index: The leaf's number, from 0.
        path: Sibling hashes from the leaf up.
        checkpoint: The signed note, as the log (and its witnesses) made it.
        extra: Bytes that nobody vouches for, e.g. the entry itself.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    @property
    def text(self) -> str:
        """The file's content; `TlogProof.parse(proof.text) == proof`."""
        extra = [] if self.extra is None else [f"extra {_encoded(self.extra)}"]
        lines = [HEADER, *extra, f"index {self.index}", *map(_encoded, self.path)]
        return "\n".join(lines) + f"\n\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> TlogProof:
        """Read a proof; nothing is verified yet.

        Raises:
            ProofError: It is malformed.
        """
        lines, checkpoint = _split(text)
        if lines.pop(0) != HEADER:
            raise ProofError("this is no tlog-proof", expected=HEADER)
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = _decoded(lines.pop(0).removeprefix("extra "))
        index = _number(lines.pop(0) if lines else "", "index")
        return cls(index, _path(lines), checkpoint, extra)

    def verify(self, leaf: bytes, key: Ed25519PublicKey) -> Checkpoint:
        """Check that the leaf hash is in the log whose key this is; returns the checkpoint.

        Raises:
            ProofError: It is not.
            NoteError: The checkpoint is not signed by the key.
        """
        checkpoint = open_checkpoint(self.checkpoint, key)
        verify_inclusion(leaf, self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint


@dataclass(frozen=True)
class ConsistencyProof:
    """That a log only grew: the old size, the proof's hashes, and the newer signed checkpoint."""

    old: int
    path: tuple[bytes, ...]
    checkpoint: str

    @property
    def text(self) -> str:
        """The file's content, which is also what a witness's `add-checkpoint` takes."""
        return "\n".join([f"old {self.old}", *map(_encoded, self.path)]) + f"\n\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> ConsistencyProof:
        """Read a proof; nothing is verified yet.

        Raises:
            ProofError: It is malformed.
        """
        lines, checkpoint = _split(text)
        return cls(_number(lines.pop(0), "old"), _path(lines), checkpoint)

    def verify(self, old: Checkpoint, key: Ed25519PublicKey) -> Checkpoint:
        """Check that the log of an older checkpoint is the beginning of this one; returns the newer checkpoint.

        Raises:
            ProofError: It is not, or the proof is for another size.
            NoteError: The newer checkpoint is not signed by the key.
        """
        new = open_checkpoint(self.checkpoint, key)
        if old.size != self.old or old.origin != new.origin:
            raise ProofError(
                "the proof begins at another checkpoint",
                expected=f"{old.origin} at {old.size} entries",
                found=f"{new.origin} at {self.old} entries",
            )
        verify_consistency(old.size, new.size, old.root, new.root, self.path)
        return new


def _split(text: str) -> tuple[list[str], str]:
    head, separator, checkpoint = text.partition("\n\n")
    if not separator or len(text) > MAX_NOTE_BYTES + _MAX_EXTRA:
        raise ProofError("a proof is malformed", expected="lines, an empty line, and a signed checkpoint")
    return head.split("\n"), checkpoint


def _number(line: str, word: str) -> int:
    name, _, number = line.partition(" ")
    if name != word or not _NUMBER.fullmatch(number):
        raise ProofError("a proof is malformed", expected=f"{word} and a number", found=line[:120])
    return int(number)


def _path(lines: list[str]) -> tuple[bytes, ...]:
    path = tuple(_decoded(line) for line in lines[: MAX_PATH + 1])
    if len(lines) > MAX_PATH or any(len(node) != HASH_SIZE for node in path):
        raise ProofError("a proof's path is malformed", expected=f"at most {MAX_PATH} SHA-256 hashes")
    return path


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofError("a proof holds malformed base64", found=text[:120]) from error
    if _encoded(data) != text:  # another spelling of the same bytes
        raise ProofError("a proof holds base64 that is not canonical", found=text[:120])
    return data
