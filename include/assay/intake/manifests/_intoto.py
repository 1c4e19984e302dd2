"""in-toto Statements (https://github.com/in-toto/attestation): the digests of their subjects."""

from __future__ import annotations

import re
from typing import Any

from assay.intake.digests import LENGTHS, STRONG
from assay.intake.manifests._json import hex_digest, load, text_of
from assay.intake.manifests._model import Entry, Manifest, Raw
from assay.intake.manifests._paths import Entries, inside

TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


def parse(raw: Raw) -> Manifest:
    """Read a Statement.

    A subject may carry digests of algorithms that are not known here beside one that is.

    Raises:
        ManifestError: It is no Statement, or a subject has no name or no digest of a known algorithm.
    """
    body = load(raw)
    if not isinstance(body, dict) or body.get("_type") not in TYPES:
        said = body.get("_type") if isinstance(body, dict) else type(body).__name__
        if isinstance(body, dict) and "payloadType" in body:
            raise raw.wrong(
                "is an envelope, whose signature was not checked", "the same file as the source's `signature`"
            )
        raise raw.wrong("is no in-toto Statement", f"_type {TYPES[0]}", said)
    text_of(body.get("predicateType"), raw, "predicateType")
    subjects = body.get("subject")
    if not isinstance(subjects, list) or not subjects:
        raise raw.wrong("has no subject: it vouches for no file", "subjects with name and digest")
    entries = Entries(raw)
    for subject in subjects:
        if not isinstance(subject, dict):
            raise raw.wrong("has a subject that is no object", "name and digest", subject)
        path = inside(text_of(subject.get("name"), raw, "name of a subject"), raw)
        entries.add(path, _entry(subject.get("digest"), path, raw))
    return Manifest("in-toto", entries.all)


def _entry(digests: Any, path: str, raw: Raw) -> Entry:
    if not isinstance(digests, dict) or not all(_NAME.fullmatch(name) for name in digests):
        raise raw.wrong(f"has no digests for {path!r}", 'an object such as {"sha256": ...}', digests)
    known = {name: text for name, text in digests.items() if name.lower() in LENGTHS}
    if not known:
        raise raw.wrong(
            f"has no digest of a known algorithm for {path!r}", ", ".join(STRONG), sorted(digests)
        )
    return Entry(tuple(hex_digest(name.lower(), text, raw, path) for name, text in known.items()))
