"""Signed tree heads: who says that the log had which root at which size.

A checkpoint is a C2SP signed note (c2sp.org/signed-note, c2sp.org/tlog-checkpoint): three lines of text, an empty line,
and an Ed25519 signature line. Tools that know transparency logs can read and witness them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.ledger.errors import NoteError
from assay.ledger.keys.ring import KeyRing, first_of
from assay.ledger.keys.signing import raw_public_key
from assay.ledger.merkle import HASH_SIZE

MAX_NOTE_BYTES = 256 * 1024
ED25519, COSIGNATURE = b"\x01", b"\x04"
"""Signature types of the signed-note specification: Ed25519, and Ed25519 with a time by a witness."""

_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line of a note: who is said to have signed, with which key, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line, without its newline; `read_signature_line(s.line) == s`."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode()}"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a log: its origin, its number of entries, and the Merkle root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text; `read(text)` gives the checkpoint back."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        """Read a note's text.

        Raises:
            NoteError: It is not a checkpoint, or has lines that nobody audits.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0] or not _SIZE.fullmatch(lines[1]):
            raise NoteError("a checkpoint is malformed", expected="three lines: origin, size, root")
        checkpoint = cls(lines[0], int(lines[1]), _base64(lines[2]))
        if len(checkpoint.root) != HASH_SIZE or checkpoint.text != text:
            raise NoteError("a checkpoint's root is malformed", expected="32 bytes in base64", found=lines[2])
        return checkpoint


def origin_of(key: Ed25519PublicKey) -> str:
    """The log's name: `assay.local/` and 16 hexadecimal digits of its first key's SHA-256."""
    return f"assay.local/{hashlib.sha256(raw_public_key(first_of(key))).hexdigest()[:16]}"


def verifier_key(key: Ed25519PublicKey, name: str | None = None, kind: bytes = ED25519) -> str:
    """The key in the form that note tools take (vkey): name, key id and base64 of type and key, joined by `+`."""
    name = name or origin_of(key)
    material = base64.b64encode(kind + raw_public_key(key)).decode()
    return f"{name}+{note_key_id(name, key, kind).hex()}+{material}"


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """The checkpoint as a note signed by the log's key under the log's origin."""
    return sign_note(checkpoint.text, checkpoint.origin, key)


def open_checkpoint(note: str, key: Ed25519PublicKey) -> Checkpoint:
    """Check a note's signature, then read its checkpoint.

    Raises:
        NoteError: The note is malformed, not signed by this key, or from another log.
    """
    origin = origin_of(key)
    if isinstance(key, KeyRing):  # of a log whose key was rotated: the key that signed its newest entry
        key = key.at(Checkpoint.read(note_parts(note)[0]).size - 1)
    checkpoint = Checkpoint.read(open_note(note, origin, key))
    if checkpoint.origin != origin:
        raise NoteError("a checkpoint is from another log", expected=origin, found=checkpoint.origin)
    return checkpoint


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """A signed note over `text`, which ends in a newline."""
    signature = note_key_id(name, key.public_key()) + key.sign(text.encode())
    return f"{text}\n— {name} {base64.b64encode(signature).decode()}\n"


def open_note(note: str, name: str, key: Ed25519PublicKey) -> str:
    """The text of a note that this key signed under this name; signatures by others are ignored, as the format asks.

    Raises:
        NoteError: The note is malformed, or this key did not sign it.
    """
    text, lines = note_parts(note)
    wanted, seen = note_key_id(name, key), False
    for line in lines:
        if (line.name, line.key_id) != (name, wanted):
            continue
        try:
            key.verify(line.signature, text.encode())
        except InvalidSignature as error:
            raise NoteError("a note's signature is wrong", expected=f"a signature by {name}") from error
        seen = True
    if not seen:
        raise NoteError("a note is not signed by the ledger's key", expected=f"a signature by {name}")
    return text


def note_parts(note: str) -> tuple[str, list[NoteSignature]]:
    """A note's text, with its last newline, and its signature lines; no signature is checked.

    Raises:
        NoteError: It is too large or malformed.
    """
    if len(note.encode(errors="replace")) > MAX_NOTE_BYTES or _CONTROL.search(note):
        raise NoteError("a note is too large or holds control characters")
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteError("a note is malformed", expected="text, an empty line, and signature lines")
    return f"{text}\n", [read_signature_line(line) for line in signatures[:-1].split("\n")]


def read_signature_line(line: str) -> NoteSignature:
    """A signature line, without its newline.

    Raises:
        NoteError: It is malformed.
    """
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise NoteError("a note has a malformed signature line", expected="— name base64", found=line[:120])
    data = _base64(match[2])
    return NoteSignature(match[1], data[:4], data[4:])


def note_key_id(name: str, key: Ed25519PublicKey, kind: bytes = ED25519) -> bytes:
    """The four bytes that name a key in signature lines: SHA-256 over name, newline, type and key, cut."""
    return hashlib.sha256(name.encode() + b"\n" + kind + raw_public_key(key)).digest()[:4]


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise NoteError("a note holds malformed base64", found=text[:120]) from error
