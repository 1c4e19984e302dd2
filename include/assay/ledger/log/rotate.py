"""Changing the ledger's key: one entry in the log, and files that another try puts right if they were left half way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.errors import UsageError
from assay.ledger.errors import KeyNotWritten
from assay.ledger.keys.signing import (
    key_id,
    load_signing_key,
    make_private_file,
    parse_public_key,
    public_key_path,
    public_pem,
    signing_key,
    write_whole,
)
from assay.ledger.log.entries import Entry
from assay.ledger.log.ledger import Ledger
from assay.settings import Settings


@dataclass(frozen=True)
class Rotated:
    """A change of the ledger's key.

    Attributes:
        previous: Id of the key until then.
        new: Id of the key from then on.
        entry: Its entry in the log; None where an earlier try had entered it and only files were put right.
        public_key: File with the new public key.
    """

    previous: str
    new: str
    entry: Entry | None
    public_key: Path


def rotate_key(settings: Settings, ledger: Ledger, *, reason: str, new_key: Path | None = None) -> Rotated:
    """Let a new key take over from the ledger's present one.

    The rotation is entered first, signed by both keys. Then the files follow: the new public key is pinned, the old
    one is kept beside it as `ledger.<key id>.pub.pem`, and the old private key, where it is a file of ours, is gone. A
    try that was killed in between is finished by the next one.

    Args:
        settings: Where the keys are.
        ledger: The log, opened with the present key.
        reason: Why.
        new_key: PEM file of the new private key, for a key that is not kept in `keys_dir`; by default one is made.

    Raises:
        UsageError: The present key comes from elsewhere, and no new key was named; or the new key is the present one.
        LedgerKeyError: A key cannot be used.
        LedgerError: The log is not the one that was signed; nothing changed.
        KeyNotWritten: The files could not follow; the same call again puts them right.
    """
    kept_here = not (settings.ledger_key_uri or settings.ledger_key_pem or settings.ledger_key_file)
    if new_key is None and not kept_here:
        raise UsageError(
            "the ledger's key is kept elsewhere, so the new one must be named",
            expected="--new-key FILE with an Ed25519 private key",
            next_step="`openssl genpkey -algorithm ed25519 -out new.pem && chmod 600 new.pem` makes one",
        )
    candidate = new_key or settings.keys_dir / "ledger.next.pem"
    if new_key is None and not candidate.exists():
        signing_key(settings)  # the present key must be usable before a new one is made
        make_private_file(candidate)
    new = load_signing_key(candidate)
    newest = ledger.public_key if ledger.has_key else signing_key(settings).public_key()
    if newest == new.public_key():
        if new_key is not None and _pinned(settings) == public_pem(new.public_key()):
            raise UsageError("the new key is the ledger's key already", found=key_id(newest))
        return _follow(settings, newest, new, None, kept_here)
    entry = ledger.rotate(new, reason=reason)
    return _follow(settings, newest, new, entry, kept_here)


def _pinned(settings: Settings) -> bytes:
    path = public_key_path(settings, "ledger")
    return path.read_bytes() if path.exists() else b""


def _follow(
    settings: Settings,
    previous: Ed25519PublicKey,
    new: Ed25519PrivateKey,
    entry: Entry | None,
    kept_here: bool,
) -> Rotated:
    """Pin the new key, keep the old public one, and put the new private key into the old one's place."""
    pinned = public_key_path(settings, "ledger")
    try:
        pinned.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = _pinned(settings)
        fresh = public_pem(new.public_key())
        if old and old != fresh:
            name = key_id(parse_public_key(old)).replace(":", "-")
            write_whole(pinned.with_name(f"ledger.{name}.pub.pem"), old, 0o644)
        # The public key first: between the two, the old private key is refused, and the next try ends here again.
        write_whole(pinned, fresh, 0o644)
        candidate = settings.keys_dir / "ledger.next.pem"
        if kept_here and candidate.exists():
            candidate.replace(settings.keys_dir / "ledger.pem")
    except OSError as error:
        raise KeyNotWritten(
            "the rotation is in the ledger, but the key files could not follow",
            found=error.strerror,
            state="the old key signs nothing any more",
            next_step="mend the folder's permissions or free disk space, then run `assay ledger rotate-key` again",
        ) from error
    return Rotated(key_id(previous), key_id(new.public_key()), entry, pinned)
