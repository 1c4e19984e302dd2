"""Croissant 1.x (https://docs.mlcommons.org/croissant): the SHA-256 of each FileObject of the `distribution`.

A FileSet names files by pattern, without digests. Those in an archive are covered by the archive's own digest; each
other file that a FileSet means must be a FileObject as well, or it counts as not checked.
"""

from __future__ import annotations

from typing import Any

from assay.intake.digests import Digest
from assay.intake.manifests._frictionless import moment
from assay.intake.manifests._json import hex_digest, load, text_of
from assay.intake.manifests._model import Entry, Manifest, Pattern, Raw
from assay.intake.manifests._paths import Entries, from_url

_STANDARD = "http://mlcommons.org/croissant/1."
_PATTERNS = 200
_FOLDERS = ("git+https", "git+ssh", "application/x-git")


def is_croissant(body: Any) -> bool:
    """Whether a JSON value says that it is Croissant."""
    if not isinstance(body, dict) or "@context" not in body:
        return False
    said = [str(each) for each in _many(body.get("conformsTo", body.get("dct:conformsTo")))]
    return any("mlcommons.org/croissant" in each for each in said) or "distribution" in body


def parse(raw: Raw) -> Manifest:
    """Read a Croissant description.

    Raises:
        ManifestError: It is no Croissant 1.x, or a FileObject has no path in the delivery or an unreadable digest.
    """
    body = load(raw)
    if not isinstance(body, dict):
        raise raw.wrong("is no Croissant description", "a JSON object", type(body).__name__)
    said = [str(each) for each in _many(body.get("conformsTo", body.get("dct:conformsTo")))]
    if not any(each.replace("https://", "http://").startswith(_STANDARD) for each in said):
        raise raw.wrong("does not say that it is Croissant 1.x", f"conformsTo {_STANDARD}0", said)
    parts = [_typed(part, raw) for part in _many(body.get("distribution"))]
    if not parts:
        raise raw.wrong(
            "has no distribution: it vouches for no file", "FileObjects with contentUrl and sha256"
        )
    folders, archived = set(), set()
    for kind, part in parts:
        if kind == "FileObject" and str(part.get("encodingFormat", "")).startswith(_FOLDERS):
            folders.add(_id(part))
    entries = Entries(raw)
    patterns, named = [], 0
    for kind, part in parts:
        inner = [ref for ref in _references(part.get("containedIn")) if ref not in folders]
        if inner:
            archived.update(inner)  # it lies in another file, whose digest covers it
        elif kind == "FileSet":
            includes = tuple(text_of(each, raw, "includes") for each in _many(part.get("includes")))
            excludes = tuple(text_of(each, raw, "excludes") for each in _many(part.get("excludes")))
            patterns.append(Pattern(_id(part), includes, excludes))
            named += len(includes) + len(excludes)
            if named > _PATTERNS:  # each is tried on each file
                raise raw.wrong("names files by too many patterns", f"at most {_PATTERNS}")
        elif _id(part) not in folders:
            path = from_url(text_of(part.get("contentUrl"), raw, f"contentUrl of {_id(part)!r}"), raw)
            entries.add(path, Entry(_digests(part, raw, path), _size(part.get("contentSize"))))
    known = {_id(part) for kind, part in parts if kind == "FileObject"}
    if unknown := sorted(archived - known):
        raise raw.wrong(f"has files in {unknown[0]!r}, which it does not describe", "the @id of a FileObject")
    if not entries.all and not patterns:
        raise raw.wrong("names no file", "at least one FileObject with contentUrl and sha256")
    modified = body.get("dateModified")
    return Manifest(
        "croissant",
        entries.all,
        patterns=tuple(patterns),
        created=None if modified is None else moment(modified, raw, "dateModified"),
    )


def _digests(part: dict[str, Any], raw: Raw, path: str) -> tuple[Digest, ...]:
    found = []
    for algorithm in ("sha256", "md5"):
        text = part.get(algorithm, part.get(f"sc:{algorithm}"))
        if text is not None:
            found.append(hex_digest(algorithm, text, raw, path))
    if not found:
        raise raw.wrong(f"has no sha256 for {path!r}", "sha256 of each FileObject", sorted(part)[:8])
    return tuple(found)


def _size(value: Any) -> int | None:
    """The size where it is said in plain bytes; `1.2 MB` is no exact size."""
    words = str(value).split()
    exact = len(words) in {1, 2} and words[0].isascii() and words[0].isdigit() and len(words[0]) < 19
    return int(words[0]) if exact and words[1:] in ([], ["B"], ["bytes"]) else None


def _typed(part: Any, raw: Raw) -> tuple[str, dict[str, Any]]:
    kind = str(part.get("@type", "")) if isinstance(part, dict) else ""
    name = kind.rpartition("/")[2].rpartition(":")[2]
    if not isinstance(part, dict) or name not in {"FileObject", "FileSet"}:
        raise raw.wrong("has a distribution of an unknown type", "cr:FileObject or cr:FileSet", kind or part)
    return name, part


def _references(value: Any) -> list[str]:
    return [str(each.get("@id", "")) if isinstance(each, dict) else str(each) for each in _many(value)]


def _id(part: dict[str, Any]) -> str:
    return str(part.get("@id") or part.get("name") or "")


def _many(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
