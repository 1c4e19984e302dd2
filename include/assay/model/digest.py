"""Digests of bundles, and private copies of them that nobody can change while they are read."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.canonical import canonical_json, file_sha256, sha256_hex
from assay.model.signing import SIGNATURE_FILE


class NotPlain(Exception):
    """An entry of a bundle is something else than a plain file."""


def bundle_digest(bundle: Path) -> str:
    """SHA-256 over names and digests of all files but the signature (which is made with fresh randomness)."""
    files = sorted(path for path in bundle.iterdir() if path.is_file() and path.name != SIGNATURE_FILE)
    return sha256_hex(canonical_json({path.name: file_sha256(path) for path in files}))


def model_id(digest: str) -> str:
    """Id of a model from its bundle's digest."""
    return f"model-{digest[:32]}"


@contextmanager
def private_copy(bundle: Path) -> Iterator[Path]:
    """A copy of the bundle's files that only this process works on.

    What is checked and what is read afterwards are then the same bytes, also where the bundle lies on a shared disk and
    changes in between.

    Raises:
        NotPlain: An entry is a link, a folder, a device, a pipe or a socket.
        OSError: A file cannot be read or copied.
    """
    with tempfile.TemporaryDirectory(prefix="assay-bundle-") as folder:
        copy = Path(folder) / bundle.resolve().name
        copy.mkdir(mode=0o700)
        for entry in sorted(bundle.iterdir()):
            try:
                # Without waiting for the other end of a pipe, and without following a link.
                handle = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in {errno.ELOOP, errno.ENXIO}:
                    raise NotPlain(entry.name) from error
                raise
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                raise NotPlain(entry.name)
            with os.fdopen(handle, "rb") as source, (copy / entry.name).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        yield copy
