"""Frictionless Data Package (https://datapackage.org): `hash` and `bytes` of each resource."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from assay.intake.digests import LENGTHS, STRONG, Digest
from assay.intake.manifests._json import hex_digest, load, text_of, whole_number
from assay.intake.manifests._model import Entry, Manifest, Raw
from assay.intake.manifests._paths import Entries, inside

_PREFIX = re.compile(r"(?:([A-Za-z0-9-]+):)?(.+)", re.DOTALL)


def parse(raw: Raw) -> Manifest:
    """Read a `datapackage.json`.

    A hash without a prefix is md5, as the standard says, and so is weak; a prefix that is not known fails, where the
    tool that the format comes from passes over it.

    Raises:
        ManifestError: It is no such descriptor, has an unknown algorithm, or a resource that is no file here.
    """
    body = load(raw)
    resources = body.get("resources") if isinstance(body, dict) else None
    if not isinstance(resources, list) or not resources:
        raise raw.wrong("lists no resources: it vouches for no file", "`resources` with path, hash and bytes")
    entries = Entries(raw)
    for resource in resources:
        if not isinstance(resource, dict):
            raise raw.wrong(
                "has a resource that is no object", "an object with path, hash and bytes", resource
            )
        if "data" in resource and "path" not in resource:
            continue  # its rows stand in the descriptor itself
        _add(resource, entries, raw)
    if not entries.all:
        raise raw.wrong("names no file", "at least one resource with a path")
    return Manifest("frictionless", entries.all, created=_created(body.get("created"), raw))


def _add(resource: dict[str, Any], entries: Entries, raw: Raw) -> None:
    said = resource.get("path")
    several = isinstance(said, list)
    extra = resource.get("extrapaths") or []
    paths = [*(said if isinstance(said, list) else [said]), *(extra if isinstance(extra, list) else [extra])]
    if len(paths) > 1:
        several = True
    digest = _digest(resource.get("hash"), raw, paths)
    size = whole_number(resource.get("bytes"), raw, str(paths[0] if paths else ""))
    for path in paths:
        plain = inside(text_of(path, raw, "path"), raw)
        if several:
            entries.add(
                plain, Entry(unchecked="its resource has several files and one hash over all of them")
            )
        elif digest is None:
            entries.add(plain, Entry(size=size, unchecked="its resource has no hash"))
        else:
            entries.add(plain, Entry((digest,), size))


def _digest(value: Any, raw: Raw, paths: object) -> Digest | None:
    if value is None or value == "":
        return None
    found = _PREFIX.fullmatch(text_of(value, raw, "hash"))
    algorithm = (found[1] or "md5").lower().replace("sha-", "sha") if found else ""
    if found is None or algorithm not in LENGTHS:
        raise raw.wrong(f"uses the algorithm {found[1] if found else value}", ", ".join(STRONG), value)
    return hex_digest(algorithm, found[2], raw, paths)


def _created(value: Any, raw: Raw) -> dt.datetime | None:
    if value is None:
        return None
    return moment(value, raw, "created")


def moment(value: Any, raw: Raw, what: str) -> dt.datetime:
    """An ISO 8601 date or time; UTC where it names no zone.

    Raises:
        ManifestError: It is none.
    """
    try:
        parsed = dt.datetime.fromisoformat(value)
        return parsed.replace(tzinfo=dt.UTC) if parsed.tzinfo is None else parsed.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        raise raw.wrong(f"says no {what} that can be read", "an ISO 8601 date or time", value) from None
