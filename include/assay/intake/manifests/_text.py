"""Manifests of lines: strict UTF-8, LF or throughout CRLF, no line so long that it can hide something."""

from __future__ import annotations

from assay.intake.manifests._model import Raw

MAX_LINE = 4096
"""Longest line in bytes."""

_BOM = b"\xef\xbb\xbf"


def read_lines(data: bytes, raw: Raw, *, name: str = "") -> list[str]:
    """The lines of a text file.

    Line ends may be LF or, throughout, CRLF, as the tools that read such files take them. A byte order mark is refused,
    as they do: it would become part of the first line.

    Args:
        data: The file's bytes.
        raw: The manifest, for messages.
        name: The file's name, where it is not the manifest itself.

    Raises:
        ManifestError: It is empty, is no such text, or has a line that is too long.
    """
    place = name or raw.name
    if not data.removeprefix(_BOM).strip():
        raise raw.wrong(
            "is empty: it vouches for no file", "one line per file", f"{len(data)} bytes", name=name
        )
    if data.startswith(_BOM):
        raise raw.wrong("begins with a byte order mark", "plain UTF-8", "U+FEFF", line=1, name=place)
    if b"\0" in data:
        number = data[: data.index(b"\0")].count(b"\n") + 1
        problem = (
            "holds NUL instead of line ends, as `--zero` writes it"
            if data.endswith(b"\0")
            else "holds a NUL byte"
        )
        raise raw.wrong(
            problem, "text with one line per file", "NUL; UTF-16 looks like this too", line=number, name=place
        )
    for number, each in enumerate(data.split(b"\n"), start=1):
        if len(each) > MAX_LINE:
            raise raw.wrong(
                "is too long", f"at most {MAX_LINE} bytes", f"{len(each)} bytes", line=number, name=place
            )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise raw.wrong(
            "is not UTF-8", "UTF-8 text", f"byte 0x{data[error.start]:02x}", line=number, name=place
        ) from None
    return _without_ends(text, raw, place)


def _without_ends(text: str, raw: Raw, place: str) -> list[str]:
    lines = text.split("\n")
    whole = lines[-1] == ""
    if whole:
        lines.pop()
    with_cr = {line.endswith("\r") for line in (lines if whole else lines[:-1])}
    if len(with_cr) > 1 or (not whole and lines[-1].endswith("\r")):
        first = lines[0].endswith("\r")
        odd = next((i for i, line in enumerate(lines, 1) if line.endswith("\r") != first), len(lines))
        raise raw.wrong(
            "ends otherwise than the others",
            "LF everywhere, or CRLF everywhere",
            "both",
            line=odd,
            name=place,
        )
    return [line.removesuffix("\r") for line in lines] if True in with_cr else lines
