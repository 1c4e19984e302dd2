"""Signing keys: the ledger's Ed25519 key and the P-256 key that signs model bundles.

On a laptop a key is made at first use, in a file that only its owner can read. In production it comes from the
environment, from a mounted file, or stays on a token (PKCS#11: hardware modules and cloud key services). Wherever it
comes from, it is one of cryptography's private keys: `sign` and `public_key` are all that is asked of it. The public
half is written beside it and pins the key: a private key that does not belong to the public one is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.ledger.errors import KeyNotWritten, LedgerKeyError
from assay.settings import Settings

_MAX_PEM_BYTES = 64 * 1024

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
Private = TypeVar("Private", Ed25519PrivateKey, ec.EllipticCurvePrivateKey)


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The ledger's private key; made at first use, unless the environment names one.

    Order: the token of `ASSAY_LEDGER_KEY_URI`, the PEM text of `ASSAY_LEDGER_KEY`, the file of `ASSAY_LEDGER_KEY_FILE`,
    `<keys_dir>/ledger.pem`.

    Raises:
        LedgerKeyError: The key is readable by others, unreadable, no Ed25519 key, or not the pinned one.
        KeyNotWritten: A new key cannot be written.
    """
    return _obtain(
        settings,
        name="ledger",
        narrow=_ed25519,
        make=Ed25519PrivateKey.generate,
        token=_token(settings.ledger_key_uri, settings),
        pem=settings.ledger_key_pem,
        file=settings.ledger_key_file,
        variable="ASSAY_LEDGER_KEY_FILE",
    )


def model_key(settings: Settings) -> ec.EllipticCurvePrivateKey:
    """The private key that signs model bundles (P-256, as OpenSSF Model Signing asks); made at first use.

    Order: the token of `ASSAY_MODEL_KEY_URI`, the file of `ASSAY_MODEL_KEY_FILE`, `<keys_dir>/model.pem`.

    Raises:
        LedgerKeyError: The key is readable by others, unreadable, no P-256 key, or not the pinned one.
        KeyNotWritten: A new key cannot be written.
    """
    return _obtain(
        settings,
        name="model",
        narrow=_p256,
        make=lambda: ec.generate_private_key(ec.SECP256R1()),
        token=_token(settings.model_key_uri, settings, p256=True),
        pem=None,
        file=settings.model_key_file,
        variable="ASSAY_MODEL_KEY_FILE",
    )


def ledger_public_key(settings: Settings) -> Ed25519PublicKey | None:
    """The pinned public key of the ledger, or None where no key was ever made. Makes none.

    Raises:
        LedgerKeyError: There is a key, but it cannot be used.
    """
    pinned = public_key_path(settings, "ledger")
    if pinned.exists():
        return load_public_key(pinned)
    if (
        settings.ledger_key_uri
        or settings.ledger_key_pem
        or settings.ledger_key_file
        or _private_path(settings, "ledger").exists()
    ):
        return signing_key(settings).public_key()
    return None


def public_key_path(settings: Settings, name: str) -> Path:
    """Where the public half of the key `ledger` or `model` is kept."""
    return settings.keys_dir / f"{name}.pub.pem"


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read an Ed25519 public key from a PEM file.

    Raises:
        LedgerKeyError: The file is missing or holds something else.
    """
    try:
        return parse_public_key(_bounded(path), str(path))
    except OSError as error:
        raise LedgerKeyError(
            f"the public key {path} cannot be read",
            found=error.strerror,
            next_step="check the path and its permissions",
        ) from error


def parse_public_key(pem: bytes, where: str = "the key given") -> Ed25519PublicKey:
    """Read an Ed25519 public key from PEM text.

    Raises:
        LedgerKeyError: It is something else.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LedgerKeyError(
            f"{where} is not a public key",
            expected="PEM text with BEGIN PUBLIC KEY",
            next_step="name the ledger.pub.pem that the ledger's owner published",
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise LedgerKeyError(
            f"{where} is of the wrong kind",
            expected="an Ed25519 public key",
            found=type(key).__name__.strip("_"),
        )
    return key


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key from a PEM file that only its owner can read.

    Raises:
        LedgerKeyError: The file is missing, readable by others, or holds something else.
    """
    return _ed25519(_parse(_private_bytes(path, "the path"), str(path)), str(path))


def make_private_file(path: Path) -> None:
    """Make a new Ed25519 key in a file, mode 0600, unless the file is there.

    Raises:
        KeyNotWritten: It cannot be written; there is no half key.
    """
    with _writing(path):
        _create(path, Ed25519PrivateKey.generate())


def public_pem(key: PublicKey) -> bytes:
    """The key as PEM text (SubjectPublicKeyInfo)."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def raw_public_key(key: Ed25519PublicKey) -> bytes:
    """The key's 32 bytes (RFC 8032)."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def key_id(key: Ed25519PublicKey) -> str:
    """`ed25519:` and the first 16 hexadecimal digits of SHA-256 over the key's 32 bytes."""
    return f"ed25519:{hashlib.sha256(raw_public_key(key)).hexdigest()[:16]}"


# -------------------------------------------------------------------------------------------------------------- private
def _private_path(settings: Settings, name: str) -> Path:
    return settings.keys_dir / f"{name}.pem"


def _obtain(
    settings: Settings,
    *,
    name: str,
    narrow: Callable[[object, str], Private],
    make: Callable[[], Private],
    token: PrivateKey | None,
    pem: str | None,
    file: Path | None,
    variable: str,
) -> Private:
    given = token is not None or pem is not None or file is not None
    path = _private_path(settings, name)
    if token is not None:
        key = narrow(token, "the key on the token")
    elif pem is not None:
        key = narrow(_parse(pem.encode(), "the key in the environment"), "the key in the environment")
    elif file is not None:
        key = narrow(_parse(_private_bytes(file, variable), str(file)), str(file))
    else:
        with _writing(path):
            if not path.exists():
                _create(path, make())
        key = narrow(_parse(_private_bytes(path, variable), str(path)), str(path))
    pinned = public_key_path(settings, name)
    with _writing(pinned):
        _pin(pinned, key, given)
    return key


def _token(uri: str | None, settings: Settings, *, p256: bool = False) -> PrivateKey | None:
    """The key of a PKCS#11 URI; None without one."""
    if uri is None:
        return None
    from assay.ledger.keys.pkcs11 import TokenEd25519, TokenP256, TokenUri, pin_of

    place = TokenUri.parse(uri)
    pin = pin_of(place, settings.pkcs11_pin)
    return TokenP256(place, pin) if p256 else TokenEd25519(place, pin)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise KeyNotWritten(
            f"the key {path} cannot be written",
            found=error.strerror,
            state="no key was made",
            next_step="free disk space or mend the folder's permissions, or point ASSAY_KEYS_DIR to another place",
        ) from error


def _parse(pem: bytes, where: str) -> object:
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:  # cryptography's way to say that a password is needed
        raise LedgerKeyError(
            f"{where} is encrypted",
            expected="a PEM private key without a password",
            next_step="decrypt it with `openssl pkey`, or let a secrets manager mount it",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise LedgerKeyError(
            f"{where} is not a private key",
            expected="PEM text with BEGIN PRIVATE KEY (PKCS#8)",
            next_step="`openssl genpkey -algorithm ed25519` makes a ledger key",
        ) from error


def _ed25519(key: object, where: str) -> Ed25519PrivateKey:
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise LedgerKeyError(
        f"{where} is of the wrong kind",
        expected="an Ed25519 private key",
        found=type(key).__name__.strip("_"),
    )


def _p256(key: object, where: str) -> ec.EllipticCurvePrivateKey:
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    found = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else type(key).__name__.strip("_")
    raise LedgerKeyError(f"{where} is of the wrong kind", expected="a P-256 private key", found=found)


def _private_bytes(path: Path, variable: str) -> bytes:
    """Read a private key's file, unless others may read it too."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening it: a pipe would keep us waiting
            raise LedgerKeyError(f"the key {path} is not a plain file", next_step=f"check {variable}")
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise LedgerKeyError(
                    f"the private key {path} can be read by others",
                    expected="mode 0600",
                    found=f"mode {stat.S_IMODE(mode):04o}",
                    state="it was not used",
                    next_step=f"chmod 600 {path}; if others may have read it, make a new key",
                )
            return file.read(_MAX_PEM_BYTES)
    except OSError as error:
        raise LedgerKeyError(
            f"the private key {path} cannot be read",
            found=error.strerror,
            next_step=f"check the path and its permissions, or set {variable}",
        ) from error


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_PEM_BYTES)


def _create(path: Path, key: PrivateKey) -> None:
    """Write a new key so that it appears whole, once, and never readable by others."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with (path.parent / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():  # another process may have been faster: then its key counts
            write_whole(path, pem, 0o600)


def _pin(path: Path, key: PrivateKey, given: bool) -> None:
    """Write the public half at first use; from then on only that key is accepted."""
    pem = public_pem(key.public_key())
    try:
        known = _bounded(path)
    except (FileNotFoundError, NotADirectoryError):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, pem, 0o644)
        except OSError:
            if not given:  # a key that was mounted may well come with a read-only folder
                raise
        return
    if known != pem:
        raise LedgerKeyError(
            f"the private key does not belong to the public key {path}",
            expected=hashlib.sha256(known).hexdigest()[:16],
            found=hashlib.sha256(pem).hexdigest()[:16],
            state="nothing was signed",
            next_step="bring back the key that this state was made with; `assay ledger rotate-key` changes it",
        )


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """Put a file in place whole: written beside it, synced, then renamed.

    Raises:
        OSError: The folder cannot be written; what was there before stays.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
