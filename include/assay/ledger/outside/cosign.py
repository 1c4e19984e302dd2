"""Cosignatures of witnesses: others who saw the log grow, and say when (c2sp.org/tlog-cosignature, Ed25519).

A cosignature is one more signature line of a checkpoint's note. Its key id has the type byte 04, its bytes are eight
of time (seconds since 1970, big-endian) and an Ed25519 signature over `cosignature/v1`, that time, and the note's text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.errors import UsageError
from assay.ledger.errors import NoteError
from assay.ledger.log.checkpoints import (
    COSIGNATURE,
    NoteSignature,
    note_key_id,
    note_parts,
    verifier_key,
)

_NAME = re.compile(r"[^\s+]+")
_MAX_TIME = 2**63 - 1


@dataclass(frozen=True)
class Witness:
    """A witness that we know: its name and its key."""

    name: str
    key: Ed25519PublicKey

    @classmethod
    def parse(cls, vkey: str) -> Witness:
        """Read a verifier key: `name+hex key id+base64(04 || 32 bytes)`.

        Raises:
            UsageError: It is malformed, of another type, or its id is not that of its key.
        """
        name, _, rest = vkey.strip().partition("+")
        key_id, _, material = rest.partition("+")
        try:
            raw = base64.b64decode(material, validate=True)
            if not _NAME.fullmatch(name) or raw[:1] != COSIGNATURE or len(raw) != 33:
                raise ValueError("not an Ed25519 cosignature key")
            witness = cls(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
        except (ValueError, binascii.Error) as error:
            raise UsageError(
                "a witness's key cannot be read",
                expected="NAME+HEX+BASE64 with the type byte 04 (Ed25519 cosignature)",
                found=vkey[:120],
                next_step="take the verifier key (vkey) that the witness publishes",
            ) from error
        if key_id != witness.id.hex():
            raise UsageError(
                f"the key id of the witness {name} is not that of its key",
                expected=witness.id.hex(),
                found=key_id[:20],
            )
        return witness

    @property
    def id(self) -> bytes:
        """The four bytes that its signatures begin with."""
        return note_key_id(self.name, self.key, COSIGNATURE)

    @property
    def vkey(self) -> str:
        """The verifier key; `Witness.parse(w.vkey) == w`."""
        return verifier_key(self.key, self.name, COSIGNATURE)


def cosign(text: str, name: str, key: Ed25519PrivateKey, time: int) -> str:
    """A witness's signature line, with its newline, over a note's text.

    Args:
        text: The checkpoint's text, as `Checkpoint.text` gives it.
        name: The witness's name.
        key: The witness's key, which signs nothing else.
        time: When it saw the checkpoint, in seconds since 1970.
    """
    signature = key.sign(_message(text, time))
    packed = note_key_id(name, key.public_key(), COSIGNATURE) + time.to_bytes(8, "big") + signature
    return f"— {name} {base64.b64encode(packed).decode()}\n"


def cosigned_at(note: str, witness: Witness) -> int | None:
    """When a witness cosigned a checkpoint: seconds since 1970, or None where it did not.

    Raises:
        NoteError: The note is malformed, or a signature under the witness's name and id is wrong.
    """
    text, lines = note_parts(note)
    times = [_check(text, line, witness) for line in lines if _is_by(line, witness)]
    return max(times, default=None)


def accepted(
    text: str, offered: Sequence[NoteSignature], witnesses: Sequence[Witness]
) -> list[NoteSignature]:
    """Of the signature lines offered for a checkpoint, those by known witnesses, each checked.

    Args:
        text: The checkpoint's text.
        offered: What somebody brought.
        witnesses: Those whose signatures are taken; lines by others are left out.

    Raises:
        NoteError: There is none by a known witness, or one is wrong.
    """
    taken: list[NoteSignature] = []
    for witness in witnesses:
        for line in offered:
            if _is_by(line, witness):
                _check(text, line, witness)
                taken.append(line)
    if not taken:
        raise NoteError(
            "there is no signature by a known witness",
            expected=", ".join(witness.name for witness in witnesses) or "a witness's verifier key",
            found=", ".join(sorted({line.name for line in offered})) or "none",
        )
    return taken


def _is_by(line: NoteSignature, witness: Witness) -> bool:
    return (line.name, line.key_id) == (witness.name, witness.id)


def _check(text: str, line: NoteSignature, witness: Witness) -> int:
    time = int.from_bytes(line.signature[:8], "big")
    if len(line.signature) != 72 or time > _MAX_TIME:
        raise NoteError(f"the cosignature by {witness.name} is malformed", expected="a time and 64 bytes")
    try:
        witness.key.verify(line.signature[8:], _message(text, time))
    except InvalidSignature as error:
        raise NoteError(f"the cosignature by {witness.name} is wrong") from error
    return time


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
