"""Checksums of S3 objects, as `GetObjectAttributes` and `HeadObject` answer, one answer for each object.

A checksum of a full object is compared as it is. A composite one, of an upload in several parts, is the checksum of the
parts' checksums: it is computed from the parts' sizes where they are given, and counts as not checked where they are
not. ETags are no checksums, and CRCs prove nothing against somebody who means harm.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from typing import Any

from assay.intake.digests import WEAK, Digest
from assay.intake.manifests._json import base64_digest, load, text_of, whole_number
from assay.intake.manifests._model import Entry, Manifest, Raw
from assay.intake.manifests._paths import Entries, inside

_ALGORITHMS = {
    "ChecksumSHA256": "sha256",
    "ChecksumSHA512": "sha512",
    "ChecksumMD5": "md5",
    "ChecksumSHA1": "sha1",
    "ChecksumCRC32": "crc32",
    "ChecksumCRC32C": "crc32c",
    "ChecksumCRC64NVME": "crc64nvme",
}
_COMPOSITE = re.compile(r"(.+)-([1-9][0-9]{0,4})", re.DOTALL)
_NO_PARTS = "its checksum is composite, of {} parts whose sizes are not given"


def is_listing(body: Any) -> bool:
    """Whether a JSON value is such a list."""
    listed = body.get("Contents") if isinstance(body, dict) else body
    return isinstance(listed, list) and any(isinstance(each, dict) and "Key" in each for each in listed)


def parse(raw: Raw) -> Manifest:
    """Read the answers: a list, or an object with `Contents`; each with `Key` and what S3 said about that object.

    Raises:
        ManifestError: It is no such list, has an unknown checksum, or parts that contradict their composite.
    """
    body = load(raw)
    listed = body.get("Contents") if isinstance(body, dict) else body
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise raw.wrong("lists no objects", "`Contents`: a list of objects with Key and Checksum")
    entries = Entries(raw)
    for each in listed:
        path = inside(text_of(each.get("Key"), raw, "Key"), raw)
        entries.add(path, _entry(each, path, raw))
    return Manifest("s3", entries.all)


def _entry(each: dict[str, Any], path: str, raw: Raw) -> Entry:
    sizes = [each[key] for key in ("ObjectSize", "Size", "ContentLength") if each.get(key) is not None]
    if len(set(map(str, sizes))) > 1:
        raise raw.wrong(f"says several sizes for {path!r}", "one", sizes)
    size = whole_number(sizes[0], raw, path) if sizes else None
    nested = each.get("Checksum")
    checksum = nested if isinstance(nested, dict) else each
    kind = checksum.get("ChecksumType", each.get("ChecksumType"))
    if kind not in (None, "FULL_OBJECT", "COMPOSITE"):  # a tuple: it may be a list or an object
        raise raw.wrong(f"has an unknown type of checksum for {path!r}", "FULL_OBJECT or COMPOSITE", kind)
    digests, why = [], None
    for name, text in _named(checksum, path, raw):
        digest, reason = _digest(name, text, kind, size, each, path, raw)
        digests += [] if digest is None else [digest]
        why = reason or why
    if not digests and why is None:
        why = "it has no checksum (an ETag is none)"
    return Entry(tuple(digests), size, why if not any(not digest.weak for digest in digests) else None)


def _named(checksum: dict[str, Any], path: str, raw: Raw) -> Iterator[tuple[str, Any]]:
    for name, text in checksum.items():
        if name in _ALGORITHMS:
            yield name, text
        elif name.startswith("Checksum") and name not in {"ChecksumType", "ChecksumAlgorithm"}:
            raise raw.wrong(f"uses the algorithm {name[8:48]} for {path!r}", ", ".join(_ALGORITHMS), text)


def _digest(
    name: str, text: Any, kind: Any, size: int | None, each: dict[str, Any], path: str, raw: Raw
) -> tuple[Digest | None, str | None]:
    algorithm = _ALGORITHMS[name]
    composite = _COMPOSITE.fullmatch(text) if isinstance(text, str) else None
    attributes = each.get("ObjectParts")
    parts = attributes if isinstance(attributes, dict) else {}
    total = parts.get("TotalPartsCount", parts.get("PartsCount"))
    if kind == "FULL_OBJECT" and composite:
        raise raw.wrong(f"has a checksum of parts for {path!r}", "one of the full object", text)
    if composite is None and kind != "COMPOSITE" and (kind == "FULL_OBJECT" or not total):
        return base64_digest(algorithm, text, raw, path), None
    whole = base64_digest(algorithm, composite[1] if composite else text, raw, path)
    count = int(composite[2]) if composite else total
    if composite and total is not None and total != count:
        raise raw.wrong(f"says two numbers of parts for {path!r}", count, total)
    if algorithm in WEAK:
        return None, f"weak: it has only {algorithm} of its parts"
    listed = parts.get("Parts")
    if not isinstance(listed, list) or not listed or parts.get("IsTruncated"):
        return None, _NO_PARTS.format(count or "several")
    sizes = _sizes(listed, count, size, path, raw)
    _agree(listed, name, whole, path, raw)
    return Digest(algorithm, whole.hex, sizes), None


def _sizes(listed: list[Any], count: Any, size: int | None, path: str, raw: Raw) -> tuple[int, ...]:
    numbers: list[Any] = [part.get("PartNumber") if isinstance(part, dict) else None for part in listed]
    sizes = [whole_number(part.get("Size"), raw, path) for part in listed if isinstance(part, dict)]
    right = all(type(n) is int and n > 0 for n in numbers) and all(
        one < two for one, two in itertools.pairwise(numbers)
    )
    if not right or any(not each for each in sizes) or (count is not None and count != len(listed)):
        raise raw.wrong(
            f"has parts of {path!r} that cannot be put together", "numbers that rise, and sizes", numbers
        )
    plain = tuple(each for each in sizes if each)
    if size is not None and sum(plain) != size:
        raise raw.wrong(f"has parts of {path!r} that do not make up its size", size, sum(plain))
    return plain


def _agree(listed: list[Any], name: str, whole: Digest, path: str, raw: Raw) -> None:
    """The parts' own checksums, where they are given, must give the composite one."""
    texts = [part.get(name) for part in listed]
    if all(text is None for text in texts):
        return
    over = hashlib.new(whole.algorithm)
    for text in texts:
        over.update(bytes.fromhex(base64_digest(whole.algorithm, text, raw, path).hex))
    if over.hexdigest() != whole.hex:
        raise raw.wrong(
            f"has parts of {path!r} that contradict their composite checksum", whole.hex, over.hexdigest()
        )
