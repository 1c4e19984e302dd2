"""Git LFS pointers, as Hugging Face stores large files: `oid sha256:` and `size`.

Three shapes: one pointer (https://git-lfs.com spec v1) beside its file, under the file's name and `.lfs` or
`.pointer`; what `git lfs ls-files --json` prints; and the hub's own list of a repository's files, in which files
outside of LFS have only the weak digest of a Git object.
"""

from __future__ import annotations

import re
from typing import Any

from assay.intake.manifests._json import hex_digest, load, text_of, whole_number
from assay.intake.manifests._model import Entry, Manifest, Raw
from assay.intake.manifests._paths import Entries, inside

SPEC = b"version https://git-lfs.github.com/spec/v1\n"
_LARGEST = 1024
_POINTER = re.compile(
    r"version https://git-lfs\.github\.com/spec/v1\n"
    r"((?:ext-[0-9]-[a-z0-9.-]+ [^\n]+\n)*)"
    r"oid ([a-z0-9]+):([0-9a-zA-Z]+)\nsize (0|[1-9][0-9]{0,18})\n"
)
_ENDINGS = (".lfs", ".pointer")


def is_list(body: Any) -> bool:
    """Whether a JSON value is one of the two lists."""
    if isinstance(body, dict):
        files = body.get("files")
        return isinstance(files, list) and any(
            isinstance(each, dict) and "oid_type" in each for each in files
        )
    return isinstance(body, list) and any(
        isinstance(each, dict) and "oid" in each and "path" in each for each in body
    )


def parse(raw: Raw) -> Manifest:
    """Read a pointer or a list.

    Raises:
        ManifestError: It is neither, names another algorithm than SHA-256, or vouches for no file.
    """
    if raw.data.startswith(b"version "):
        return Manifest("lfs", _pointer(raw).all)
    body = load(raw)
    entries = Entries(raw)
    listed = body.get("files") if isinstance(body, dict) else body
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise raw.wrong("is no list of LFS files", "a pointer, or `git lfs ls-files --json`")
    for each in listed:
        if isinstance(body, dict):
            _ours(each, entries, raw)
        elif each.get("type", "file") == "file":
            _hub(each, entries, raw)
    if not entries.all:
        raise raw.wrong("lists no file", "at least one file with its oid and size")
    return Manifest("lfs", entries.all)


def _pointer(raw: Raw) -> Entries:
    if len(raw.data) > _LARGEST:
        raise raw.wrong("is too long for a pointer", f"at most {_LARGEST} bytes", f"{len(raw.data)} bytes")
    found = _POINTER.fullmatch(raw.data.decode("utf-8", "replace"))
    if found is None:
        raise raw.wrong(
            "is no whole Git LFS pointer", "version, oid and size, each in a line of its own", raw.data
        )
    if found[1]:
        raise raw.wrong(
            "uses an extension, which changes the bytes", "a pointer without ext- lines", found[1]
        )
    path = next((raw.name[: -len(end)] for end in _ENDINGS if raw.name.endswith(end)), "")
    if not path:
        raise raw.wrong("does not say which file it is about", f"a name that ends in {' or '.join(_ENDINGS)}")
    entries = Entries(raw)
    _add(path, found[2], found[3], int(found[4]), entries, raw)
    return entries


def _ours(each: dict[str, Any], entries: Entries, raw: Raw) -> None:
    version = each.get("version", SPEC[8:-1].decode())
    if version != SPEC[8:-1].decode():
        raise raw.wrong("is of another version of the LFS specification", SPEC[8:-1].decode(), version)
    _add(each.get("name"), each.get("oid_type"), each.get("oid"), each.get("size"), entries, raw)


def _hub(each: dict[str, Any], entries: Entries, raw: Raw) -> None:
    large = each.get("lfs")
    if large is None:
        path = inside(text_of(each.get("path"), raw, "path"), raw)
        size = whole_number(each.get("size"), raw, path)
        hex_digest("sha1", each.get("oid"), raw, path)
        # It is the SHA-1 of a Git object, not of the file: weak, whether it is compared or not.
        entries.add(path, Entry(size=size, unchecked="weak: it has only the SHA-1 of a Git object"))
        return
    if not isinstance(large, dict):
        raise raw.wrong("has an `lfs` that is no object", "oid and size", large)
    oid = str(large.get("oid", "")).removeprefix("sha256:")
    _add(each.get("path"), "sha256", oid, large.get("size"), entries, raw)


def _add(path: Any, algorithm: Any, oid: Any, size: Any, entries: Entries, raw: Raw) -> None:
    plain = inside(text_of(path, raw, "file name"), raw)
    if algorithm in ("md5", "sha1"):  # a tuple: it may be a list or an object
        entries.add(plain, Entry((hex_digest(algorithm, oid, raw, plain),), whole_number(size, raw, plain)))
        return
    if algorithm != "sha256":
        raise raw.wrong(f"uses the algorithm {str(algorithm)[:40]}", "sha256", path)
    if size is None:
        raise raw.wrong(f"says no size for {plain!r}", "a whole number of bytes")
    digest = hex_digest("sha256", oid, raw, plain)
    if digest.hex != oid:
        raise raw.wrong(
            f"has an oid of {plain!r} in upper case", "lower case, as the specification says", oid
        )
    entries.add(plain, Entry((digest,), whole_number(size, raw, plain)))
