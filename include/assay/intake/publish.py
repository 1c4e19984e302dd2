"""The publisher's side: write a manifest over a folder, say what the delivery is, and sign.

For those who publish, for tests and for the demo. minisign signatures made here are accepted by the `minisign` tool,
and its signatures by `verify_signature`.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.contract import Contract, Key
from assay.intake.claims import NOTE
from assay.intake.digests import LENGTHS
from assay.intake.errors import ManifestError, PublishError
from assay.intake.manifests import named_algorithm, parse_manifest
from assay.intake.sources import Deadline
from assay.intake.sources.folder import FolderPlace

MANIFEST = "SHA256SUMS"
_ENDINGS = {"minisign": ".minisig", "ed25519": ".sig"}


def generate_key(path: str | Path, format: str = "minisign") -> Key:
    """Make a key pair; the secret half goes to `path` with mode 0600, unencrypted.

    Args:
        path: A file that does not exist yet. minisign: in the tool's own form (use it with `minisign -W`-made keys
            alike); ed25519: PKCS #8 PEM.
        format: `minisign` or `ed25519`.

    Returns:
        The public half, as a contract's publisher lists it.

    Raises:
        PublishError: The file exists, or there is no such format.
    """
    if format == "minisign":
        from minisign import KeyPair

        pair = KeyPair.generate()
        secret = bytes(pair.secret_key) + b"\n"
        public = pair.public_key.to_base64().decode()
        pair.secret_key.wipe()
    elif format == "ed25519":
        private = Ed25519PrivateKey.generate()
        secret = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
    else:
        raise PublishError(
            f"no key format {format!r}", expected="minisign or ed25519", next_step="choose one of them"
        )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise PublishError(
            f"{path} exists already",
            expected="a new file",
            next_step="keep the key that is there, or name another file",
        ) from None
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
    return Key.model_validate({"format": format, "public_key": public})


def write_delivery_json(
    folder: str | Path,
    dataset: str,
    source: str,
    sequence: int | None = None,
    created: dt.datetime | None = None,
) -> Path:
    """Say what the delivery is: which data set and source it is for, and its number or date, which must advance.

    Write it before the manifest, which lists it.

    Args:
        folder: The delivery.
        dataset: The contract's data set.
        source: The source's id in the contract.
        sequence: Higher for each delivery of the source.
        created: When it was made; now if not given.
    """
    moment = (created or dt.datetime.now(dt.UTC)).astimezone(dt.UTC).replace(microsecond=0, tzinfo=None)
    body = {"dataset": dataset, "source": source, "sequence": sequence, "created": f"{moment.isoformat()}Z"}
    path = Path(folder) / NOTE
    text = json.dumps({key: value for key, value in body.items() if value is not None}, indent=2) + "\n"
    _replace(path, text.encode())
    return path


def write_manifest(folder: str | Path, name: str = MANIFEST, *, algorithm: str = "sha256") -> Path:
    """List all files of a folder with their digests, in the form of GNU coreutils, sorted by name.

    Where the manifest's name does not say the algorithm, each line does (the BSD form). The manifest itself and
    signatures over it (`<name>.*`) are left out.

    Raises:
        PublishError: The folder is empty, or holds links, or names that a manifest cannot hold.
    """
    root = Path(folder)
    listing = FolderPlace(str(root), Deadline(float("inf"))).listing(1_000_000)
    if listing.refused:
        path, what = next(iter(listing.refused.items()))
        raise PublishError(
            f"{root / path} cannot be delivered: it is {what}",
            expected="regular files",
            next_step="put the file itself there",
        )
    lines = []
    tagged = named_algorithm(name, LENGTHS.get(algorithm, 0)) != algorithm
    for path in sorted(listing.files):
        if "\\" in path:  # so are names with characters written out, which a listing cannot show otherwise
            raise PublishError(
                f"{path} in {root} cannot be delivered",
                expected="names without backslashes and control characters, in UTF-8",
                next_step="rename the file",
            )
        if path == name or path.startswith(f"{name}."):
            continue
        with (root / path).open("rb") as file:
            digits = hashlib.file_digest(file, algorithm).hexdigest()
        lines.append(f"{algorithm.upper()} ({path}) = {digits}\n" if tagged else f"{digits}  {path}\n")
    data = "".join(lines).encode("utf-8")
    try:
        parse_manifest(data, name, max_files=len(lines) + 1, format="sums")
    except ManifestError as error:
        raise PublishError(
            f"{root} cannot be delivered: {error.message}",
            expected=error.expected,
            found=error.found,
            next_step="put files there, and give them names without backslashes, control characters or outer blanks",
        ) from error
    _replace(root / name, data)
    return root / name


def sign_minisign(
    manifest: str | Path, secret_key: str | Path, *, trusted_comment: str | None = None, prehash: bool = True
) -> Path:
    """Sign a manifest as `minisign -S` does; the signature goes beside it as `<name>.minisig`.

    Args:
        manifest: The file to sign.
        secret_key: An unencrypted minisign secret key, of `generate_key` or of `minisign -G -W`.
        trusted_comment: Signed as well; the time and the file's name if not given. `sequence:N` and `timestamp:SECONDS`
            in it are understood by verification.
        prehash: `ED`, over the BLAKE2b digest; else the legacy `Ed`.

    Raises:
        PublishError: The key cannot be read, or is encrypted.
    """
    from minisign import Error, SecretKey

    path = Path(manifest)
    if trusted_comment is None:
        now = int(dt.datetime.now(dt.UTC).timestamp())
        trusted_comment = f"timestamp:{now}\tfile:{path.name}" + ("\thashed" if prehash else "")
    try:
        with SecretKey.from_file(secret_key) as key:
            signature = key.sign(path.read_bytes(), prehash=prehash, trusted_comment=trusted_comment)
    except Error as error:
        raise PublishError(
            f"{path} could not be signed with {secret_key}",
            expected="an unencrypted minisign secret key",
            found=str(error),
            next_step="make one with generate_key, or take the password away with `minisign -C -W`",
        ) from error
    target = path.with_name(path.name + _ENDINGS["minisign"])
    _replace(target, bytes(signature) + b"\n")
    return target


def sign_ed25519(manifest: str | Path, secret_key: str | Path, *, raw: bool = False) -> Path:
    """Sign a manifest with Ed25519 (RFC 8032); the signature goes beside it as `<name>.sig`.

    Args:
        manifest: The file to sign.
        secret_key: PKCS #8 PEM, of `generate_key` or of `openssl genpkey -algorithm ed25519`.
        raw: Write the 64 bytes themselves instead of base64.

    Raises:
        PublishError: The key cannot be read.
    """
    path = Path(manifest)
    try:
        key = serialization.load_pem_private_key(Path(secret_key).read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise PublishError(
            f"{secret_key} is not a key that can be used",
            expected="an unencrypted Ed25519 key, PKCS #8 PEM",
            found=str(error)[:200],
            next_step="make one with generate_key or `openssl genpkey -algorithm ed25519`",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise PublishError(
            f"{secret_key} is a key of another kind",
            expected="Ed25519",
            found=type(key).__name__,
            next_step="make one with generate_key or `openssl genpkey -algorithm ed25519`",
        )
    signature = key.sign(path.read_bytes())
    target = path.with_name(path.name + _ENDINGS["ed25519"])
    _replace(target, signature if raw else base64.b64encode(signature) + b"\n")
    return target


def publish(
    folder: str | Path,
    contract: Contract,
    source_id: str,
    secret_key: str | Path,
    *,
    sequence: int | None = None,
    created: dt.datetime | None = None,
) -> Path:
    """Make a folder the next delivery of a source: `delivery.json`, manifest, signature, under the contract's names.

    Returns:
        The signature's path.

    Raises:
        PublishError: The source names no signature, or the folder or key cannot be used.
    """
    source = contract.source(source_id)
    if source.signature is None:
        raise PublishError(
            f"the source {source_id!r} names no signature",
            expected="a file name in the source's `signature`",
            next_step="add e.g. `signature: SHA256SUMS.minisig`",
        )
    write_delivery_json(folder, contract.dataset, source_id, sequence, created)
    manifest = write_manifest(folder, source.manifest)
    text = Path(secret_key).read_bytes()
    signature = (
        sign_minisign(manifest, secret_key)
        if text.startswith(b"untrusted comment:")
        else sign_ed25519(manifest, secret_key)
    )
    wanted = manifest.with_name(source.signature)
    if signature != wanted:
        os.replace(signature, wanted)
    return wanted


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
