"""Checksum manifests, read strictly: a line that is not understood fails the delivery, it is never skipped.

Two line forms, as GNU coreutils and the BSDs write them; a manifest may hold both:

    <hex digest><space><space or *><name>        the digest's length says which algorithm made it
    SHA256 (<name>) = <hex digest>

`sha256sum -c` passes over lines that it cannot read and over files that are not listed; this parser and the
completeness check do neither.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from assay.intake.errors import ManifestError

MAX_LINE = 4096
"""Longest line in bytes."""

MAX_PATH = 512
"""Longest name of a file in characters: what the registry keeps."""

STRONG = frozenset({"sha256", "sha512"})
WEAK = frozenset({"md5", "sha1"})
_BY_LENGTH = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_LENGTHS = {name: length for length, name in _BY_LENGTH.items()}
_GNU = re.compile(r"([0-9A-Fa-f]{8,}) [ *](.+)")
_BSD = re.compile(r"([A-Za-z0-9/_-]+) \((.+)\) = ([0-9A-Fa-f]+)")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_BOM = b"\xef\xbb\xbf"
_SUGGEST = "have the publisher make the manifest again, e.g. with `sha256sum -- FILES > SHA256SUMS`, and sign it again"


@dataclass(frozen=True)
class Digest:
    """A file's expected digest: the algorithm's name and lower-case hexadecimal digits."""

    algorithm: str
    hex: str

    @property
    def weak(self) -> bool:
        """Whether collisions can be made for the algorithm, so that a match proves little."""
        return self.algorithm in WEAK


def parse_manifest(data: bytes, name: str = "SHA256SUMS", *, max_files: int = 10_000) -> dict[str, Digest]:
    """Read a manifest's bytes.

    Line ends may be LF or, throughout, CRLF; a leading UTF-8 byte order mark is passed over. Both are read as what they
    are, so that the first and the last line name the files that a person sees. `./name` is the same as `name`.

    Args:
        data: The exact bytes, whose signature was checked before.
        name: The manifest's own file name, for messages, and because it cannot list itself.
        max_files: Most files that it may list.

    Returns:
        The expected digest of each file, by path relative to the manifest, in the manifest's order.

    Raises:
        ManifestError: A line is not understood, names an algorithm that is neither known nor weak, a path that leaves
            the delivery or one that stands there already; or the manifest lists nothing, too much, or is no text.
    """
    entries: dict[str, Digest] = {}
    seen: dict[str, int] = {}
    for number, line in enumerate(_lines(data, name), start=1):
        if number > max_files:
            raise ManifestError(
                f"{name} lists too many files",
                line=number,
                expected=f"at most {max_files}",
                next_step="raise bounds.max_files in the contract, if so many files are right",
            )
        path, digest = _entry(line, number, name)
        folded = unicodedata.normalize("NFC", path)
        if folded in seen:
            raise _wrong(name, number, f"lists {path!r} a second time", f"once, as in line {seen[folded]}")
        seen[folded] = number
        entries[path] = digest
    return entries


def visible(text: str) -> str:
    """The text with characters written out that a terminal obeys or hides instead of showing them."""
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSEEN else char
        for char in text
    )


def _lines(data: bytes, name: str) -> list[str]:
    body = data.removeprefix(_BOM)
    if not body.strip():
        raise ManifestError(
            f"{name} is empty: it vouches for no file",
            expected="one line per file",
            found=f"{len(data)} bytes",
            next_step=_SUGGEST,
        )
    for number, raw in enumerate(body.split(b"\n"), start=1):
        if len(raw) > MAX_LINE:
            raise _wrong(name, number, "is too long", f"at most {MAX_LINE} bytes", f"{len(raw)} bytes")
    if b"\0" in body:
        number = body[: body.index(b"\0")].count(b"\n") + 1
        raise _wrong(name, number, "holds a NUL byte", "text", "NUL; UTF-16 looks like this too")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        number = body[: error.start].count(b"\n") + 1
        raise _wrong(name, number, "is not UTF-8", "UTF-8 text", f"byte 0x{body[error.start]:02x}") from None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    with_cr = {line.endswith("\r") for line in (lines if text.endswith("\n") else lines[:-1])}
    if len(with_cr) > 1 or (not text.endswith("\n") and lines[-1].endswith("\r")):
        first = lines[0].endswith("\r")
        odd = next((i for i, line in enumerate(lines, 1) if line.endswith("\r") != first), len(lines))
        raise _wrong(name, odd, "ends otherwise than the others", "LF everywhere, or CRLF everywhere", "both")
    if True in with_cr:
        lines = [line.removesuffix("\r") for line in lines]
    return lines


def _entry(line: str, number: int, name: str) -> tuple[str, Digest]:
    if line.startswith("\\"):
        raise _wrong(name, number, "has an escaped file name", "names without backslash or line break", line)
    if found := _BSD.fullmatch(line):
        algorithm, path, digits = found[1].lower().replace("-", ""), found[2], found[3]
        if algorithm not in _LENGTHS:
            raise _wrong(name, number, f"uses the algorithm {found[1]}", "SHA256 or SHA512", line)
        if len(digits) != _LENGTHS[algorithm]:
            raise _wrong(
                name,
                number,
                f"has a {found[1]} digest of the wrong length",
                f"{_LENGTHS[algorithm]} hexadecimal digits",
                f"{len(digits)}",
            )
    elif found := _GNU.fullmatch(line):
        digits, path = found[1], found[2]
        if len(digits) not in _BY_LENGTH:
            raise _wrong(
                name,
                number,
                "has a digest of an unknown algorithm",
                "64 hexadecimal digits (SHA-256) or 128 (SHA-512)",
                f"{len(digits)} digits",
            )
        algorithm = _BY_LENGTH[len(digits)]
    else:
        raise _wrong(
            name, number, "is not understood", "`<digest>  <name>` or `SHA256 (<name>) = <digest>`", line
        )
    return _path(path, number, name), Digest(algorithm, digits.lower())


def _path(path: str, number: int, name: str) -> str:
    """The path, if it stays inside the delivery and is written in one way only."""
    plain = path.removeprefix("./")
    problem = None
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        problem = "names an absolute path"
    elif "\\" in plain:
        problem = "names a path with a backslash"
    elif visible(plain) != plain:
        problem = "names a path with control characters"
    elif ".." in plain.split("/"):
        problem = "names a path that leaves the delivery"
    elif any(part in {"", "."} for part in plain.split("/")) or plain != plain.strip():
        problem = "names a path that can be written in several ways"
    elif len(plain) > MAX_PATH or any(len(part.encode()) > 255 for part in plain.split("/")):
        problem = "names a path that is too long"
    elif plain == name:
        problem = "lists the manifest itself, whose digest it cannot hold"
    if problem:
        raise _wrong(name, number, problem, "a relative path inside the delivery", path)
    return plain


def _wrong(name: str, number: int, problem: str, expected: str, found: str | None = None) -> ManifestError:
    shown = None if found is None else ascii(found)[1:-1][:120]
    return ManifestError(
        f"{name}, line {number}: {problem}", line=number, expected=expected, found=shown, next_step=_SUGGEST
    )
