"""Manifests of every format that publishers ship, behind one face.

Each parser is strict: what it does not understand fails the delivery and is never passed over. Which format a manifest
has is said by the contract's source (`manifest_format`), or told by its name and content together; the two never
contradict each other silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from assay.intake.digests import Digest
from assay.intake.errors import ManifestError
from assay.intake.manifests import (
    _bagit,
    _croissant,
    _debian,
    _frictionless,
    _intoto,
    _lfs,
    _s3,
    _sums,
)
from assay.intake.manifests._json import load
from assay.intake.manifests._model import Entry, Manifest, Pattern, Raw, Reader
from assay.intake.manifests._paths import MAX_PATH, visible
from assay.intake.manifests._sums import named_algorithm
from assay.intake.manifests._text import MAX_LINE

__all__ = [
    "MAX_LINE",
    "MAX_PATH",
    "Digest",
    "Entry",
    "Manifest",
    "ManifestError",
    "Pattern",
    "Reader",
    "named_algorithm",
    "parse_manifest",
    "read_manifest",
    "visible",
]

_PARSERS: dict[str, Callable[[Raw], Manifest]] = {
    "sums": _sums.parse,
    "bagit": _bagit.parse,
    "croissant": _croissant.parse,
    "frictionless": _frictionless.parse,
    "lfs": _lfs.parse,
    "s3": _s3.parse,
    "in-toto": _intoto.parse,
    "debian": _debian.parse,
}
_NAMES = {
    "datapackage.json": "frictionless",
    "croissant.json": "croissant",
    "Release": "debian",
    "InRelease": "debian",
}


def read_manifest(
    data: bytes,
    name: str,
    *,
    max_files: int = 10_000,
    format: str = "auto",
    algorithm: str | None = None,
    read: Reader | None = None,
) -> Manifest:
    """Read a manifest's bytes.

    Args:
        data: The exact bytes, whose signature was checked before.
        name: The manifest's own file name: for messages, because it cannot list itself, and because it may say format
            and algorithm.
        max_files: Most files that it may list.
        format: A format's name as contracts have it, or `auto`.
        algorithm: The algorithm of digests that do not say it; None: the manifest's name must say it.
        read: Reads other files of the delivery, for formats that consist of several.

    Raises:
        ManifestError: Something in it is not understood, is not known, or contradicts itself, its name or the contract.
        SourceRefused: `read` did not give a file that the manifest leads to.
        SourceUnreachable: `read` could not be answered.
    """
    raw = Raw(data, name, max_files, algorithm, read)
    return _PARSERS[_format(raw, format)](raw)


def parse_manifest(
    data: bytes,
    name: str = "SHA256SUMS",
    *,
    max_files: int = 10_000,
    format: str = "auto",
    algorithm: str | None = None,
    read: Reader | None = None,
) -> dict[str, Digest]:
    """The digest that proves most of each file that a manifest gives one for, by path, in the manifest's order.

    Args:
        data: As for `read_manifest`, which says more.
        name: As there.
        max_files: As there.
        format: As there.
        algorithm: As there.
        read: As there.

    Raises:
        ManifestError: As there.
    """
    manifest = read_manifest(data, name, max_files=max_files, format=format, algorithm=algorithm, read=read)
    return {path: entry.best for path, entry in manifest.entries.items() if entry.best is not None}


def _format(raw: Raw, said: str) -> str:
    """The manifest's format: what the contract says or the name says, held against the content."""
    named = _NAMES.get(raw.name) or ("bagit" if _bagit.NAME.fullmatch(raw.name) else None)
    found = _by_content(raw)
    if said != "auto":
        wanted, because = said, "by the contract's manifest_format"
    elif named is not None:
        wanted, because = named, "by its name"
    elif found is not None:
        return found
    elif raw.data.lstrip()[:1] in {b"{", b"["}:
        load(raw)
        raise raw.wrong(
            "is JSON of no format that is known",
            ", ".join(_PARSERS) + ", or manifest_format in the contract's source",
        )
    else:
        return "sums"
    if found is not None and found != wanted:
        raise raw.wrong(f"is a manifest of the format {wanted} {because}", f"content of {wanted}", f"{found}")
    return wanted


def _by_content(raw: Raw) -> str | None:
    """The format that the content shows for certain; None where it shows none."""
    head = raw.data[:64].lstrip()
    if head.startswith(b"version https://git-lfs"):
        return "lfs"
    if head[:1] not in {b"{", b"["}:
        return None
    try:
        body: Any = json.loads(raw.data)
    except (ValueError, RecursionError):
        return None  # the format's own parser says what is wrong with it
    if isinstance(body, dict) and ("_type" in body or "payloadType" in body):
        return "in-toto"
    if _croissant.is_croissant(body):
        return "croissant"
    if isinstance(body, dict) and isinstance(body.get("resources"), list):
        return "frictionless"
    if _lfs.is_list(body):
        return "lfs"
    return "s3" if _s3.is_listing(body) else None
