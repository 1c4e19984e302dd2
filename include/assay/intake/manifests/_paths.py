"""Paths in manifests: each stays inside the delivery, is written in one way only, and stands once."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

from assay.intake.manifests._model import Entry, Raw

MAX_PATH = 512
"""Longest name of a file in characters: what the registry keeps."""

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_DRIVE = re.compile(r"[A-Za-z]:")


def visible(text: str) -> str:
    """The text with characters written out that a terminal obeys or hides instead of showing them."""
    if text.isascii() and text.isprintable():
        return text  # nearly every name; the rest costs a look at each character
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSEEN else char
        for char in text
    )


def inside(path: str, raw: Raw, *, line: int | None = None, name: str = "", escaped: bool = False) -> str:
    """The path, if it stays inside the delivery and is written in one way only.

    Args:
        path: As the manifest has it; a leading `./` means nothing.
        raw: The manifest, for messages, and because it cannot list itself.
        line: The line that it stands in.
        name: The file that it stands in, where that is not the manifest itself.
        escaped: It was written in the form that tells a backslash in a name from a Windows separator.

    Raises:
        ManifestError: It is no such path.
    """
    plain = path.removeprefix("./")
    read = plain.replace("\\", "/")  # as another system would take it
    problem = None
    if read.startswith("/") or _DRIVE.match(read):
        problem = "names an absolute path"
    elif "\\" in plain and not escaped:
        problem = "names a path with a backslash"
    elif visible(plain) != plain:
        problem = f"names {'an escaped' if escaped else 'a'} path with control characters"
    elif ".." in read.split("/"):
        problem = "names a path that leaves the delivery"
    elif any(part in {"", "."} for part in read.split("/")) or plain != plain.strip():
        problem = "names a path that can be written in several ways"
    elif len(plain) > MAX_PATH or any(len(part.encode()) > 255 for part in plain.split("/")):
        problem = "names a path that is too long"
    elif plain == raw.name:
        problem = "lists the manifest itself, whose digest it cannot hold"
    if problem:
        raise raw.wrong(problem, "a relative path inside the delivery", path, line=line, name=name)
    return plain


def from_url(url: str, raw: Raw, *, line: int | None = None) -> str:
    """The file of the delivery that a URL means: a relative one is its path, of another one the last part counts.

    Raises:
        ManifestError: It means no file of a delivery.
    """
    if "://" not in url:
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", url):
            raise raw.wrong("names a URL that is no file", "a path or an https:// URL", url, line=line)
        return inside(url, raw, line=line)
    scheme, _, rest = url.partition("://")
    last = unquote(rest.partition("?")[0].partition("#")[0].rpartition("/")[2])
    if scheme.lower() not in {"http", "https", "s3", "gs", "ftp"} or not last or "/" in last:
        raise raw.wrong("names a URL that is no file", "a path or an https:// URL", url, line=line)
    return inside(last, raw, line=line)


class Entries:
    """The entries of a manifest, each path once: also not in another spelling that a file system takes for the same."""

    def __init__(self, raw: Raw) -> None:
        self.all: dict[str, Entry] = {}
        self._raw = raw
        self._seen: dict[str, int | None] = {}

    def add(self, path: str, entry: Entry, *, line: int | None = None, name: str = "") -> None:
        """Add a file.

        Raises:
            ManifestError: It stands there already, or there are too many.
        """
        if len(self.all) >= self._raw.max_files:
            raise self._raw.too_many(line)
        folded = unicodedata.normalize("NFC", path)
        if folded in self._seen:
            before = self._seen[folded]
            raise self._raw.wrong(
                f"lists {path!r} a second time",
                "once" if before is None else f"once, as in line {before}",
                line=line,
                name=name,
            )
        self._seen[folded] = line
        self.all[path] = entry
