r"""SHA256SUMS, SHA512SUMS, B2SUMS and B3SUMS, as coreutils, b3sum and the BSDs write them.

Two line forms, which may stand together:

    <hex digest><space><space or *><name>        a line that begins with \ has a name with \\, \n and \r in it
    SHA256 (<name>) = <hex digest>

`sha256sum -c` passes over lines that it cannot read and over files that are not listed; neither is done here. Two
algorithms may give digests of the same length: the name of the file or the contract says which one it is, or the
manifest is refused.
"""

from __future__ import annotations

import functools
import re

from assay.intake.digests import LENGTHS, STRONG, Digest
from assay.intake.manifests._model import Entry, Manifest, Raw
from assay.intake.manifests._paths import Entries, inside
from assay.intake.manifests._text import read_lines

_GNU = re.compile(r"(\\?)([0-9A-Fa-f]{8,}) [ *](.+)")
_BSD = re.compile(r"(\\?)([A-Za-z0-9/_-]+) \((.+)\) = ([0-9A-Fa-f]+)")
_TAGS = {name.replace("-", ""): name for name in LENGTHS}
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}
_IN_NAME = (
    (re.compile(r"sha-?256", re.IGNORECASE), {64: "sha256"}),
    (re.compile(r"sha-?384", re.IGNORECASE), {96: "sha384"}),
    (re.compile(r"sha-?512", re.IGNORECASE), {128: "sha512"}),
    (re.compile(r"b(lake)?2b?(?![0-9])", re.IGNORECASE), {128: "blake2b", 64: "blake2b-256"}),
    (re.compile(r"b(lake)?3(?![0-9])", re.IGNORECASE), {64: "blake3"}),
)
_SAME_LENGTH = {
    length: [name for name, digits in STRONG.items() if digits == length] for length in set(STRONG.values())
}
_WEAK_BY_LENGTH = {32: "md5", 40: "sha1"}  # whatever else has that length is no stronger


def parse(raw: Raw) -> Manifest:
    """Read it.

    Raises:
        ManifestError: A line is not understood, its algorithm is unknown or not said, or its path leaves the delivery
            or stands there already; or the manifest lists nothing, too much, or is no text.
    """
    entries = Entries(raw)
    for number, line in enumerate(read_lines(raw.data, raw), start=1):
        path, digest = _entry(line, number, raw)
        entries.add(path, Entry((digest,)), line=number)
    return Manifest("sums", entries.all)


@functools.lru_cache(maxsize=64)
def named_algorithm(name: str, length: int) -> str | None:
    """The algorithm that a manifest's file name says for digests of that many digits."""
    for pattern, by_length in _IN_NAME:
        if pattern.search(name):
            return by_length.get(length)
    return None


def _entry(line: str, number: int, raw: Raw) -> tuple[str, Digest]:
    if found := _BSD.fullmatch(line):
        escape, tag, path, digits = found.groups()
        algorithm = _TAGS.get(tag.lower().replace("-", ""))
        if algorithm is None:
            raise raw.wrong(f"uses the algorithm {tag}", "one of " + ", ".join(STRONG), line, line=number)
        if len(digits) != LENGTHS[algorithm]:
            raise raw.wrong(
                f"has a {tag} digest of the wrong length",
                f"{LENGTHS[algorithm]} hexadecimal digits",
                len(digits),
                line=number,
            )
    elif found := _GNU.fullmatch(line):
        escape, digits, path = found.groups()
        algorithm = _algorithm(len(digits), number, raw)
    else:
        raise raw.wrong(
            "is not understood", "`<digest>  <name>` or `SHA256 (<name>) = <digest>`", line, line=number
        )
    if algorithm == "blake3" and digits != digits.lower():
        raise raw.wrong(
            "has digits in upper case", "lower case, as b3sum writes and reads it", line, line=number
        )
    if escape:
        path = _unescaped(path, number, raw)
    path = inside(path, raw, line=number, escaped=bool(escape))
    return path, Digest(algorithm, digits.lower())


def _algorithm(length: int, number: int, raw: Raw) -> str:
    if length in _WEAK_BY_LENGTH:
        return _WEAK_BY_LENGTH[length]
    named = named_algorithm(raw.name, length)
    told = raw.algorithm if raw.algorithm and LENGTHS.get(raw.algorithm) == length else None
    if raw.algorithm and told is None:
        raise raw.wrong(
            f"has a digest of {length} digits",
            f"{LENGTHS.get(raw.algorithm)} digits: the contract says that they are {raw.algorithm}",
            line=number,
        )
    if named and told and named != told:
        raise raw.wrong(
            f"would be {named} by the manifest's name and is {told} in the contract",
            "one algorithm",
            "two",
            line=number,
        )
    answer = told or named
    if answer is None and length not in _SAME_LENGTH:
        raise raw.wrong(
            "has a digest of an unknown algorithm",
            ", ".join(f"{digits} hexadecimal digits ({name})" for name, digits in STRONG.items()),
            f"{length} digits",
            line=number,
        )
    if answer is None:
        candidates = " or ".join(_SAME_LENGTH[length])
        raise raw.wrong(
            f"has a digest of an unknown algorithm: {length} digits may be {candidates} or another",
            "a name such as SHA256SUMS, SHA512SUMS, B2SUMS or B3SUMS, or manifest_algorithm in the contract's source",
            raw.name,
            line=number,
        )
    return answer


def _unescaped(path: str, number: int, raw: Raw) -> str:
    pieces = re.split(r"(\\.|\\$)", path)
    if any(piece.startswith("\\") and piece not in _ESCAPES for piece in pieces) or len(pieces) == 1:
        raise raw.wrong(
            "has an escaped file name that is not understood", "\\\\, \\n and \\r in it", path, line=number
        )
    return "".join(_ESCAPES.get(piece, piece) for piece in pieces)
