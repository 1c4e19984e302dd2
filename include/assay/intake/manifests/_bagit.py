"""BagIt (RFC 8493): payload manifests, tag manifests, and the number of bytes and files in `bag-info.txt`.

What a contract names as the manifest, and what is signed, is best `tagmanifest-<algorithm>.txt`: it lists the payload
manifests and all other tag files, so that one signature vouches for the whole bag. Where it is a payload manifest
itself, the payload is vouched for, and the bag's own tag files are not read at all.
"""

from __future__ import annotations

import datetime as dt
import re

from assay.intake.digests import LENGTHS, STRONG, Digest, matches
from assay.intake.manifests._model import Entry, Manifest, Raw
from assay.intake.manifests._paths import Entries, inside
from assay.intake.manifests._text import read_lines

NAME = re.compile(r"(tag)?manifest-([a-z0-9-]+)\.txt")
_LARGEST_TAG = 1 << 20
_LARGEST_MANIFEST = 256 << 20
_LINE = re.compile(r"([0-9A-Fa-f]+)[ \t]+\*?(.+)")
_DECLARATION = re.compile(rb"BagIt-Version: (0\.97|1\.0)\r?\nTag-File-Character-Encoding: UTF-8(\r?\n)?")
_OXUM = re.compile(r"([0-9]{1,18})\.([0-9]{1,12})")
_LABEL = re.compile(r"([^:\s][^:]*):[ \t]*(.*)")


def parse(raw: Raw) -> Manifest:
    """Read a tag manifest and what it leads to, or a payload manifest alone.

    Raises:
        ManifestError: A line is not understood, a manifest's algorithm is unknown, payload manifests differ, the bag is
            to be completed from elsewhere (`fetch.txt`), or a tag file is not what the tag manifest says.
    """
    named = NAME.fullmatch(raw.name)
    if named is None:
        raise raw.wrong("is no manifest of a bag", "tagmanifest-sha256.txt or manifest-sha256.txt", raw.name)
    algorithm = _algorithm(named[2], raw)
    if named[1] is None:
        payload = _read(raw.data, raw.name, algorithm, True, raw, "1.0")
        beside = {"bagit.txt", "bag-info.txt"}
        beside |= {f"{kind}-{each}.txt" for kind in ("manifest", "tagmanifest") for each in LENGTHS}
        return Manifest(
            "bagit", _joined({}, payload, raw).all, own=frozenset(beside - {raw.name}), counted="data/"
        )
    return _bag(raw, algorithm)


def _bag(raw: Raw, algorithm: str) -> Manifest:
    tags = _read(raw.data, raw.name, algorithm, False, raw, "1.0")
    if "fetch.txt" in tags:
        raise raw.wrong("is of a bag to be completed from elsewhere", "a bag without fetch.txt", "fetch.txt")
    if "bagit.txt" not in tags:
        raise raw.wrong("does not list bagit.txt", "all tag files of the bag", sorted(tags)[:5])
    declared = _DECLARATION.fullmatch(_tag("bagit.txt", tags, raw, _LARGEST_TAG))
    if declared is None:
        raise raw.wrong(
            "is no declaration of a bag that is understood",
            "BagIt-Version 0.97 or 1.0, Tag-File-Character-Encoding UTF-8",
            name="bagit.txt",
        )
    version = declared[1].decode()
    payload: dict[str, tuple[Digest, ...]] = {}
    first = ""
    for path in tags:
        found = NAME.fullmatch(path)
        if found is None or found[1]:
            continue
        each = _read(
            _tag(path, tags, raw, _LARGEST_MANIFEST), path, _algorithm(found[2], raw), True, raw, version
        )
        if payload and each.keys() != payload.keys():
            odd = min(each.keys() ^ payload.keys())
            raise raw.wrong(f"does not list the same files as {first}", "each file in both", odd, name=path)
        first = first or path
        payload = {name: (*payload.get(name, ()), *digests) for name, digests in each.items()}
    if not first:
        raise raw.wrong("lists no payload manifest", "manifest-sha256.txt", sorted(tags)[:5])
    total, created = _info(tags, raw)
    beside = {f"tagmanifest-{each}.txt" for each in LENGTHS} - {raw.name}
    return Manifest(
        "bagit",
        _joined(tags, payload, raw).all,
        own=frozenset(beside),
        total=total,
        counted="data/",
        created=created,
    )


def _joined(tags: dict[str, tuple[Digest, ...]], payload: dict[str, tuple[Digest, ...]], raw: Raw) -> Entries:
    entries = Entries(raw)
    for path, digests in (*tags.items(), *payload.items()):
        entries.add(path, Entry(digests))
    return entries


def _algorithm(name: str, raw: Raw) -> str:
    algorithm = {"blake2b512": "blake2b", "blake2b256": "blake2b-256"}.get(name, name)
    if algorithm not in LENGTHS:
        raise raw.wrong(f"uses the algorithm {name[:40]}", ", ".join(STRONG), name)
    return algorithm


def _tag(path: str, tags: dict[str, tuple[Digest, ...]], raw: Raw, limit: int) -> bytes:
    """The bytes of a tag file, which are what the tag manifest says."""
    if raw.read is None:
        raise raw.wrong("can only be read together with its bag", f"the delivery's {path}")
    data = raw.read(path, limit)
    digests = tags[path]
    strong = [digest for digest in digests if not digest.weak]
    if not (matches(data, strong) if strong else _weakly(data, digests)):
        raise raw.wrong("is not what the tag manifest says", f"its {digests[0].algorithm} digest", name=path)
    return data


def _weakly(data: bytes, digests: tuple[Digest, ...]) -> bool:
    from assay.intake.digests import Hashers

    hashers = Hashers(digests)
    hashers.update(data)
    return not hashers.differing(digests)


def _read(
    data: bytes, name: str, algorithm: str, payload: bool, raw: Raw, version: str
) -> dict[str, tuple[Digest, ...]]:
    entries = Entries(raw)
    for number, line in enumerate(read_lines(data, raw, name=name), start=1):
        found = _LINE.fullmatch(line)
        if found is None or len(found[1]) != LENGTHS[algorithm]:
            raise raw.wrong(
                "is not understood",
                f"`<{algorithm} digest, {LENGTHS[algorithm]} hexadecimal digits> <path>`",
                line,
                line=number,
                name=name,
            )
        path = inside(_decoded(found[2], version), raw, line=number, name=name)
        if path.startswith("data/") is not payload:
            expected = "paths below data/" if payload else "tag files only, nothing below data/"
            raise raw.wrong("names a path of the other kind", expected, path, line=number, name=name)
        entries.add(path, Entry((Digest(algorithm, found[1].lower()),)), line=number, name=name)
    return {path: entry.digests for path, entry in entries.all.items()}


def _decoded(path: str, version: str) -> str:
    """Line breaks in names are written %0A and %0D; from version 1.0 on, the percent sign itself is %25."""
    plain = re.sub("%0[Aa]", "\n", path)
    plain = re.sub("%0[Dd]", "\r", plain)
    return plain.replace("%25", "%") if version == "1.0" else plain


def _info(tags: dict[str, tuple[Digest, ...]], raw: Raw) -> tuple[tuple[int, int] | None, dt.datetime | None]:
    """Payload-Oxum and Bagging-Date of `bag-info.txt`."""
    if "bag-info.txt" not in tags:
        return None, None
    said: dict[str, str] = {}
    data = _tag("bag-info.txt", tags, raw, _LARGEST_TAG)
    for number, line in enumerate(read_lines(data, raw, name="bag-info.txt"), start=1):
        if line.startswith((" ", "\t")) and number > 1:
            continue  # goes on with the value above
        found = _LABEL.fullmatch(line)
        if found is None:
            raise raw.wrong("is not understood", "`Label: value`", line, line=number, name="bag-info.txt")
        label = found[1].strip().lower()
        if label in {"payload-oxum", "bagging-date"}:
            if label in said:
                raise raw.wrong(f"says {found[1]} twice", "once", line, line=number, name="bag-info.txt")
            said[label] = found[2].strip()
    total, created = None, None
    if "payload-oxum" in said:
        oxum = _OXUM.fullmatch(said["payload-oxum"])
        if oxum is None:
            raise raw.wrong(
                "has a Payload-Oxum that cannot be read",
                "<bytes>.<files>",
                said["payload-oxum"],
                name="bag-info.txt",
            )
        total = (int(oxum[1]), int(oxum[2]))
    if "bagging-date" in said:
        try:
            created = dt.datetime.combine(
                dt.date.fromisoformat(said["bagging-date"]), dt.time(), tzinfo=dt.UTC
            )
        except ValueError:
            created = None  # the standard asks for YYYY-MM-DD; another text orders nothing
    return total, created
