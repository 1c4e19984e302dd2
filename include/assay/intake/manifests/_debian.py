"""Debian's `Release` (https://wiki.debian.org/DebianRepository/Format): digests and sizes of an archive's indexes.

It lists all that the archive has, while a delivery carries a part of it. So completeness is meant in two halves: every
file that is there must be listed; and of the listed ones, those must be there that the contract's source names in
`files`. Where it names none, what came is checked, and whether it is all that was meant counts as not checked.
"""

from __future__ import annotations

import datetime as dt
import re
from email.utils import parsedate_to_datetime

from assay.intake.digests import LENGTHS, Digest
from assay.intake.manifests._model import Entry, Manifest, Raw
from assay.intake.manifests._paths import Entries, inside
from assay.intake.manifests._text import read_lines

SECTIONS = {"MD5Sum": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*):(.*)")
_ROW = re.compile(r" ([0-9A-Za-z]+) +(0|[1-9][0-9]{0,18}) (\S+)")
_NO_DIGESTS = frozenset(
    {"Changelogs", "Snapshots", "Description", "Signed-By", "Components", "Architectures"}
)


def parse(raw: Raw) -> Manifest:
    """Read a `Release` file, or the signed text of an `InRelease`.

    Raises:
        ManifestError: A line is not understood, a field or path stands twice, sections contradict each other, or
            nothing is listed.
    """
    fields: dict[str, str] = {}
    listed: dict[str, dict[str, Digest]] = {}
    places: dict[str, tuple[int, int]] = {}
    section = None
    for number, line in enumerate(read_lines(raw.data, raw), start=1):
        if line.startswith("-----BEGIN PGP"):
            raise raw.wrong(
                "is clear-signed, and the signature was not checked",
                "the same file as the source's `signature`",
                line=number,
            )
        if not line.startswith(" "):
            found = _FIELD.fullmatch(line)
            if found is None or found[1] in fields:
                raise raw.wrong("is not understood", "`Field: value`, each field once", line, line=number)
            fields[found[1]] = found[2].strip()
            section = found[1] if found[1] in SECTIONS else None
            if section is None and not found[2].strip() and found[1] not in _NO_DIGESTS:
                raise raw.wrong(f"uses the algorithm {found[1]}", ", ".join(SECTIONS), line, line=number)
        elif section is not None:
            _row(line, number, section, listed, places, raw)
        elif not fields:
            raise raw.wrong("is not understood", "`Field: value`", line, line=number)
    if not listed:
        raise raw.wrong("lists no file", "a section SHA256 with digest, size and path")
    entries = Entries(raw)
    for path, by_section in listed.items():
        entries.add(path, Entry(tuple(by_section.values()), places[path][1]), line=places[path][0])
    return Manifest(
        "debian",
        entries.all,
        archive=True,
        created=_date(fields.get("Date"), raw, "Date"),
        valid_until=_date(fields.get("Valid-Until"), raw, "Valid-Until"),
    )


def _row(
    line: str,
    number: int,
    section: str,
    listed: dict[str, dict[str, Digest]],
    places: dict[str, tuple[int, int]],
    raw: Raw,
) -> None:
    found = _ROW.fullmatch(line)
    algorithm = SECTIONS[section]
    if found is None or not re.fullmatch(rf"[0-9a-fA-F]{{{LENGTHS[algorithm]}}}", found[1]):
        raise raw.wrong("is not understood", f"` <{algorithm} digest> <size> <path>`", line, line=number)
    path, size = inside(found[3], raw, line=number), int(found[2])
    if section in listed.get(path, {}):
        raise raw.wrong(f"lists {path!r} a second time", f"once in {section}", line=number)
    if path in places and places[path][1] != size:
        raise raw.wrong(f"says another size for {path!r}", places[path][1], size, line=number)
    if path not in places and len(places) >= raw.max_files:
        raise raw.too_many(number)
    places.setdefault(path, (number, size))
    listed.setdefault(path, {})[section] = Digest(algorithm, found[1].lower())


def _date(text: str | None, raw: Raw, field: str) -> dt.datetime | None:
    if text is None:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        raise raw.wrong(f"has a {field} that cannot be read", "a date as RFC 2822 writes it", text) from None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
