"""Checkpoints in the formats of C2SP: signed notes that other tools can read."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.ledger.errors import NoteError
from assay.ledger.log.checkpoints import (
    MAX_NOTE_BYTES,
    Checkpoint,
    open_checkpoint,
    open_note,
    origin_of,
    sign_checkpoint,
    sign_note,
    verifier_key,
)
from tests.ledger.support import KEY, OTHER_KEY

PUBLIC = KEY.public_key()
POINT = Checkpoint(origin_of(PUBLIC), 7, bytes(range(32)))

# The example of the signed-note specification: a verifier key, and a note that it verifies.
PUBLISHED_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PUBLISHED_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def published_key() -> Ed25519PublicKey:
    """The public key inside the published verifier key."""
    material = base64.b64decode(PUBLISHED_KEY.split("+", 2)[2])
    return Ed25519PublicKey.from_public_bytes(material[1:])


def test_the_published_note_is_verified() -> None:
    """The specification's own example."""
    assert open_note(PUBLISHED_NOTE, "example.com/foo", published_key()) == "This is an example message.\n"


def test_the_published_verifier_key_is_written() -> None:
    """Name, key id and material, as the specification's example has them."""
    assert verifier_key(published_key(), "example.com/foo") == PUBLISHED_KEY


def test_a_checkpoint_comes_back_from_its_note() -> None:
    """`open_checkpoint(sign_checkpoint(c)) == c`."""
    assert open_checkpoint(sign_checkpoint(POINT, KEY), PUBLIC) == POINT


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    """Origin, size in decimal, root in base64, an empty line, a line that begins with a dash and the origin."""
    lines = sign_checkpoint(POINT, KEY).split("\n")
    assert lines[:4] == [POINT.origin, "7", base64.b64encode(POINT.root).decode(), ""]
    assert lines[4].startswith(f"— {POINT.origin} ")
    assert lines[5:] == [""]


def test_signatures_of_witnesses_are_ignored() -> None:
    """Others may sign the same note; only ours counts."""
    note = sign_checkpoint(POINT, KEY)
    witness = sign_note(POINT.text, "witness.example/w1", OTHER_KEY).rpartition("\n\n")[2]
    assert open_checkpoint(note + witness, PUBLIC) == POINT
    with pytest.raises(NoteError, match="not signed by the ledger's key"):
        open_checkpoint(f"{POINT.text}\n{witness}", PUBLIC)


def test_a_checkpoint_of_another_log_is_refused() -> None:
    """Signed with our key and under our name, but about another origin."""
    foreign = Checkpoint("assay.local/other", 7, POINT.root)
    with pytest.raises(NoteError, match="another log"):
        open_checkpoint(sign_note(foreign.text, POINT.origin, KEY), PUBLIC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "only text\n",
        f"{POINT.text}\n",
        sign_checkpoint(POINT, KEY)[:-1],
        sign_checkpoint(POINT, KEY).replace("— ", "- "),
        sign_checkpoint(POINT, KEY).replace("\n7\n", "\n8\n"),
        sign_checkpoint(POINT, OTHER_KEY),
        sign_checkpoint(POINT, KEY).replace("=\n\n", "=\n\r\n\n"),
        sign_checkpoint(POINT, KEY) + "trailing\n",
        sign_checkpoint(POINT, KEY) + "— x AA=A\n",
        sign_note("x" * MAX_NOTE_BYTES + "\n", POINT.origin, KEY),
    ],
)
def test_a_note_that_is_not_signed_as_it_stands_is_refused(text: str) -> None:
    """Changed, cut, foreign, malformed, too large."""
    with pytest.raises(NoteError):
        open_checkpoint(text, PUBLIC)


@pytest.mark.parametrize(
    "text",
    [
        f"{POINT.origin}\n07\n{base64.b64encode(POINT.root).decode()}\n",
        f"{POINT.origin}\n-1\n{base64.b64encode(POINT.root).decode()}\n",
        f"{POINT.origin}\n7\n{base64.b64encode(bytes(31)).decode()}\n",
        f"{POINT.origin}\n7\nnot base64\n",
        f"{POINT.origin}\n7\n{base64.b64encode(POINT.root).decode()}\nextension\n",
        f"\n7\n{base64.b64encode(POINT.root).decode()}\n",
        f"{POINT.origin}\n7\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    """Leading zeros, negative sizes, short roots, extension lines that nobody audits."""
    with pytest.raises(NoteError):
        open_checkpoint(sign_note(text, POINT.origin, KEY), PUBLIC)
