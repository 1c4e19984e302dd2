"""Deliveries whose manifests the real tools of each format write, and the ways to spoil such a manifest."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.interop.manifest_tools import FILES, TARGET, b64, md5, script, sent_checksum, tool


@dataclass(frozen=True)
class Kit:
    """One format: how its tool makes the manifest, and how it is spoiled.

    Attributes:
        name: The format's name in the table.
        manifest: The manifest's file name.
        make: Writes the manifest over a folder's files with the real tool.
        weak: The same with a weak algorithm.
        unknown: Makes the target's algorithm one that nobody knows.
        resize: Makes the manifest say another size of the target; None where it says none.
        source: More of the contract's source.
        below: The folder of the data.
        files: What is delivered.
        lines: Whether the manifest consists of lines, else of JSON.
        encoded: How the target's digest stands in it.
        seal: Puts the format's own manifests over the changed one right again.
        edited: The file that lists the data, where it is not the manifest.
    """

    name: str
    manifest: str
    make: Callable[[Path], None]
    weak: Callable[[Path], None]
    unknown: Callable[[Path], None]
    resize: Callable[[Path], None] | None = None
    source: dict[str, Any] = field(default_factory=dict)
    below: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    lines: bool = True
    encoded: Callable[[str], str] = str
    seal: Callable[[Path], None] | None = None
    edited: str | None = None
    algorithm: str = "sha256"
    emptied: str = ""

    def data(self, folder: Path, name: str = TARGET) -> Path:
        """Where a file of data lies."""
        return folder / self.below / name

    def listing(self, folder: Path) -> Path:
        """The file that lists the data."""
        return folder / (self.edited or self.manifest)

    def build(self, folder: Path, more: bytes = b"") -> Path:
        """A delivery that is not signed yet; `more` stands at the end of each file."""
        folder.mkdir(parents=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data + more)
        self.make(folder)
        return folder

    def replace(self, folder: Path, old: str, new: str) -> None:
        """Change the manifest's text in the first place where it stands."""
        path = self.listing(folder)
        text = path.read_bytes().decode()
        assert old in text, f"{old!r} is not in {path.name}"
        path.write_bytes(text.replace(old, new, 1).encode())

    def rename(self, folder: Path, new: str) -> None:
        """List the target under another path."""
        old = f"{self.below}/{TARGET}" if self.below else TARGET
        if self.lines:
            self.replace(folder, old, new)
            return
        path = self.listing(folder)
        body = json.loads(path.read_text())
        for entry in entries(body):
            for key in ("path", "name", "contentUrl", "Key"):
                if entry.get(key) == old:
                    entry[key] = new
        path.write_text(json.dumps(body, indent=2))

    def duplicate(self, folder: Path) -> None:
        """List the target a second time."""
        path = self.listing(folder)
        if self.lines:
            lines = path.read_text().splitlines(keepends=True)
            at = max(number for number, line in enumerate(lines) if TARGET in line)
            path.write_text("".join([*lines[: at + 1], lines[at], *lines[at + 1 :]]))
            return
        body = json.loads(path.read_text())
        listed = entries(body)
        listed.append(next(entry for entry in listed if TARGET in json.dumps(entry)))
        path.write_text(json.dumps(body, indent=2))

    def digest(self, folder: Path) -> str:
        """The target's digest as the manifest writes it."""
        data = self.data(folder).read_bytes()
        if self.algorithm == "blake3":
            from blake3 import blake3

            return blake3(data).hexdigest()
        if self.algorithm == "blake2b-256":
            return hashlib.blake2b(data, digest_size=32).hexdigest()
        return self.encoded(hashlib.new(self.algorithm, data).hexdigest())


def entries(body: Any) -> list[dict[str, Any]]:
    """The list of files in a JSON manifest."""
    if isinstance(body, list):
        return body
    return next(
        body[key] for key in ("subject", "resources", "distribution", "files", "Contents") if key in body
    )


def sums(name: str, manifest: str, command: list[str], weak: list[str], algorithm: str, tag: str = "") -> Kit:
    """A kit of one of the coreutils and their like."""

    def make(folder: Path) -> None:
        made = tool(folder, *command, *sorted(path.name for path in folder.iterdir()))
        (folder / manifest).write_text(made)

    def make_weak(folder: Path) -> None:
        (folder / manifest).write_text(tool(folder, *weak, *sorted(FILES)))

    def unknown(folder: Path) -> None:
        path = folder / manifest
        text = path.read_text()
        if tag:
            path.write_text(text.replace(tag, "WHIRLPOOL", 1))
        else:
            made = hashlib.sha3_224((folder / TARGET).read_bytes()).hexdigest()
            path.write_text(
                "".join(
                    f"{made}  {TARGET}\n" if TARGET in line else line
                    for line in text.splitlines(keepends=True)
                )
            )

    return Kit(name, manifest, make, make_weak, unknown, algorithm=algorithm)


def _json_edit(manifest: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    """An edit of the target's entry in a JSON manifest."""

    def edit(folder: Path) -> None:
        path = folder / manifest
        body = json.loads(path.read_text())
        for entry in entries(body):
            if TARGET in json.dumps(entry):
                change(entry)
        path.write_text(json.dumps(body, indent=2))

    return edit


# --------------------------------------------------------------------------------------------------------------- BagIt
def _bag(*algorithms: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        options = [f"--{name}" for name in algorithms]
        tool(folder.parent, sys.executable, "-m", "bagit", "--quiet", *options, str(folder))

    return make


def _weak_bag(folder: Path) -> None:
    for name in FILES:
        (folder / "data" / name).rename(folder / name)
    for path in [*folder.glob("*.txt"), *folder.glob("*.minisig")]:
        path.unlink()
    (folder / "data").rmdir()
    _bag("md5")(folder)


def _seal_bag(folder: Path) -> None:
    path = folder / "tagmanifest-sha256.txt"
    if not path.exists():
        return
    names = sorted(each.name for each in folder.glob("*.txt") if not each.name.startswith("tagmanifest-"))
    path.write_text(
        "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()} {name}\n" for name in names)
    )


def _unknown_bag(folder: Path) -> None:
    (folder / "manifest-sha256.txt").rename(folder / "manifest-whirlpool.txt")


def _resize_bag(folder: Path) -> None:
    path = folder / "bag-info.txt"
    size = sum(map(len, FILES.values()))
    text = path.read_text()
    assert f"Payload-Oxum: {size}.2" in text
    path.write_text(text.replace(f"Payload-Oxum: {size}.2", f"Payload-Oxum: {size + 1}.2"))


# ------------------------------------------------------------------------------------------------------------ Git LFS
def _git(folder: Path, *command: str) -> str:
    return tool(folder, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", *command)


def _lfs_list(folder: Path) -> None:
    """Put the files in a repository of its own elsewhere, and keep what git-lfs says about them."""
    repository = folder.with_name(folder.name + "-repository")
    repository.mkdir()
    _git(repository, "init", "-q", ".")
    _git(repository, "lfs", "install", "--local")
    _git(repository, "lfs", "track", "*.csv")
    for path in folder.iterdir():
        (repository / path.name).write_bytes(path.read_bytes())
    _git(repository, "add", "-A")
    (folder / "lfs.json").write_text(_git(repository, "lfs", "ls-files", "--json"))


def _lfs_pointer(folder: Path) -> None:
    (folder / f"{TARGET}.lfs").write_text(tool(folder, "git", "lfs", "pointer", f"--file={TARGET}"))


def _weak_pointer(folder: Path) -> None:
    path = folder / f"{TARGET}.lfs"
    text = path.read_text().splitlines()
    path.write_text(f"{text[0]}\noid md5:{md5()}\n{text[2]}\n")


def _unknown_pointer(folder: Path) -> None:
    path = folder / f"{TARGET}.lfs"
    path.write_text(path.read_text().replace("oid sha256:", "oid whirlpool:"))


def _resize_pointer(folder: Path) -> None:
    path = folder / f"{TARGET}.lfs"
    size = len(FILES[TARGET])
    path.write_text(path.read_text().replace(f"size {size}", f"size {size + 1}"))


def _weak_list(folder: Path) -> None:
    """As the hub lists small files: only the digest of a Git object."""
    body = [
        {
            "type": "file",
            "path": name,
            "size": len(data),
            "oid": tool(folder, "git", "hash-object", name).strip(),
        }
        for name, data in FILES.items()
    ]
    (folder / "lfs.json").write_text(json.dumps(body))


# ----------------------------------------------------------------------------------------------------------------- S3
def _s3(algorithm: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        body = [
            {
                "Key": path.name,
                "ETag": hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest(),
                "Checksum": sent_checksum(path.read_bytes(), algorithm) | {"ChecksumType": "FULL_OBJECT"},
                "ObjectSize": path.stat().st_size,
            }
            for path in sorted(folder.glob("*.csv"))
        ]
        (folder / "objects.json").write_text(json.dumps({"Contents": body}, indent=2))

    return make


def _s3_unknown(entry: dict[str, Any]) -> None:
    entry["Checksum"] = {"ChecksumWHIRLPOOL": entry["Checksum"]["ChecksumSHA256"]}


# -------------------------------------------------------------------------------------------------------------- Debian
def _release(*without: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        options = [f"APT::FTPArchive::Release::{name}=false" for name in without]
        options += [
            "APT::FTPArchive::Release::Default-Patterns=false",
            "APT::FTPArchive::Release::Patterns::=*.csv",
        ]
        command = ["apt-ftparchive", *(part for option in options for part in ("-o", option))]
        (folder / "Release").unlink(missing_ok=True)
        (folder / "Release").write_text(tool(folder, *command, "release", "."))

    return make


def _release_unknown(folder: Path) -> None:
    path = folder / "Release"
    path.write_text(path.read_text().replace("SHA256:", "Whirlpool:"))


def _release_resize(folder: Path) -> None:
    path = folder / "Release"
    size = len(FILES[TARGET])
    path.write_text(path.read_text().replace(f" {size} {TARGET}", f" {size + 1} {TARGET}"))


def _set(**values: Any) -> Callable[[dict[str, Any]], None]:
    def change(entry: dict[str, Any]) -> None:
        entry.update(values)
        for key in [key for key, value in values.items() if value is None]:
            del entry[key]

    return change


def _weak_all(manifest: str, change: Callable[[dict[str, Any], str], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / manifest
        body = json.loads(path.read_text())
        for entry in entries(body):
            name = next(name for name in FILES if name in json.dumps(entry))
            change(entry, name)
        path.write_text(json.dumps(body, indent=2))

    return edit


def _croissant_weak(entry: dict[str, Any], name: str) -> None:
    del entry["sha256"]
    entry["md5"] = md5(name)


BIGGER = len(FILES[TARGET]) + 1
MD5 = ["md5sum", "--"]

KITS = {
    kit.name: kit
    for kit in (
        sums("SHA256SUMS", "SHA256SUMS", ["sha256sum", "--"], MD5, "sha256"),
        sums("SHA256SUMS *", "SHA256SUMS", ["sha256sum", "-b", "--"], ["md5sum", "-b", "--"], "sha256"),
        sums(
            "SHA256SUMS tag",
            "SHA256SUMS",
            ["sha256sum", "--tag", "--"],
            ["md5sum", "--tag"],
            "sha256",
            "SHA256",
        ),
        sums("SHA512SUMS", "SHA512SUMS", ["sha512sum", "--"], ["sha1sum", "--"], "sha512"),
        sums(
            "SHA512SUMS tag", "SHA512SUMS", ["sha512sum", "--tag"], ["sha1sum", "--tag"], "sha512", "SHA512"
        ),
        sums("B2SUMS", "B2SUMS", ["b2sum", "--"], MD5, "blake2b"),
        sums("B2SUMS 256", "B2SUMS", ["b2sum", "-l", "256", "--"], MD5, "blake2b-256"),
        sums("B2SUMS tag", "B2SUMS", ["b2sum", "--tag", "--"], ["md5sum", "--tag"], "blake2b", "BLAKE2b"),
        sums("B3SUMS", "B3SUMS", ["b3sum", "--"], MD5, "blake3"),
        Kit(
            "BagIt",
            "tagmanifest-sha256.txt",
            _bag("sha256"),
            _weak_bag,
            _unknown_bag,
            _resize_bag,
            below="data",
            seal=_seal_bag,
            edited="manifest-sha256.txt",
        ),
        Kit(
            "Croissant",
            "croissant.json",
            lambda folder: script(folder, "croissant"),
            _weak_all("croissant.json", _croissant_weak),
            _json_edit("croissant.json", lambda entry: entry.update(whirlpool=entry.pop("sha256"))),
            _json_edit("croissant.json", _set(contentSize=f"{BIGGER} B")),
            lines=False,
            emptied='"distribution"',
        ),
        Kit(
            "Frictionless",
            "datapackage.json",
            lambda folder: script(folder, "frictionless"),
            _weak_all("datapackage.json", lambda entry, name: entry.update(hash=md5(name))),
            _json_edit("datapackage.json", _set(hash=f"whirlpool:{'a' * 128}")),
            _json_edit("datapackage.json", _set(bytes=BIGGER)),
            lines=False,
            emptied='"resources"',
        ),
        Kit(
            "Git LFS list",
            "lfs.json",
            _lfs_list,
            _weak_list,
            _json_edit("lfs.json", _set(oid_type="whirlpool")),
            _json_edit("lfs.json", _set(size=BIGGER)),
            source={"manifest_format": "lfs"},
            lines=False,
            emptied='"files"',
        ),
        Kit(
            "Git LFS pointer",
            f"{TARGET}.lfs",
            _lfs_pointer,
            _weak_pointer,
            _unknown_pointer,
            _resize_pointer,
            files={TARGET: FILES[TARGET]},
        ),
        Kit(
            "S3",
            "objects.json",
            _s3("SHA256"),
            _s3("CRC32"),
            _json_edit("objects.json", _s3_unknown),
            _json_edit("objects.json", _set(ObjectSize=BIGGER)),
            source={"manifest_format": "s3"},
            lines=False,
            encoded=b64,
            emptied='"Contents"',
        ),
        Kit(
            "in-toto",
            "statement.json",
            lambda folder: script(folder, "in-toto"),
            _weak_all("statement.json", lambda entry, name: entry.update(digest={"md5": md5(name)})),
            _json_edit("statement.json", _set(digest={"whirlpool": "a" * 128})),
            lines=False,
            emptied='"subject"',
        ),
        Kit(
            "Debian Release",
            "Release",
            _release("MD5", "SHA1", "SHA512"),
            _release("SHA1", "SHA256", "SHA512"),
            _release_unknown,
            _release_resize,
            source={"files": ["*.csv"]},
        ),
    )
}
