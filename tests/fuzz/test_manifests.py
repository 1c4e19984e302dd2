"""Manifests as an attacker would write them: each parser reads or refuses, and never believes more than the real tool.

How long it looks is said in this folder's `conftest.py`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assay.intake import ManifestError, read_manifest
from assay.intake.digests import LENGTHS
from assay.intake.manifests import MAX_PATH, Manifest

NAMES = {
    "sums": "SHA256SUMS",
    "bagit": "manifest-sha256.txt",
    "croissant": "croissant.json",
    "frictionless": "datapackage.json",
    "lfs": "x.csv.lfs",
    "s3": "objects.json",
    "in-toto": "statement.json",
    "debian": "Release",
}
A = "a" * 64
B64 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
SEEDS: dict[str, bytes] = {
    "sums": f"{A}  one.csv\n\\{A} *a\\\\b.csv\nSHA256 (x (1).csv) = {A}\n".encode(),
    "bagit": f"{A}  data/one.csv\n{A} *data/two%0Alines.csv\n".encode(),
    "croissant": json.dumps(
        {
            "@context": {},
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "distribution": [
                {
                    "@type": "cr:FileObject",
                    "@id": "a",
                    "contentUrl": "a.csv",
                    "sha256": A,
                    "contentSize": "5 B",
                },
                {"@type": "cr:FileSet", "@id": "s", "includes": ["*.csv"], "containedIn": {"@id": "a"}},
            ],
        }
    ).encode(),
    "frictionless": json.dumps(
        {"resources": [{"path": "a.csv", "hash": f"sha256:{A}", "bytes": 5}]}
    ).encode(),
    "lfs": f"version https://git-lfs.github.com/spec/v1\noid sha256:{A}\nsize 5\n".encode(),
    "s3": json.dumps(
        [
            {
                "Key": "a.csv",
                "Checksum": {"ChecksumSHA256": f"{B64}-1", "ChecksumType": "COMPOSITE"},
                "ObjectParts": {"TotalPartsCount": 1, "Parts": [{"PartNumber": 1, "Size": 5}]},
                "ObjectSize": 5,
            }
        ]
    ).encode(),
    "in-toto": json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": "https://example.org/v1",
            "subject": [{"name": "a.csv", "digest": {"sha256": A}}],
        }
    ).encode(),
    "debian": f"Origin: x\nDate: Sun, 01 Mar 2026 12:00:00 UTC\nSHA256:\n {A} 5 main/a\n".encode(),
}
PIECES = [
    b"",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xef\xbb\xbf",
    b"\\",
    b"../",
    b"/",
    b"  ",
    b" *",
    b"%2e%2e%2f",
    b'"',
    b"{}",
    b"[" * 3000,
    b"null",
    b"1e999",
    b"-1",
    b"NaN",
    b"\xff",
    "é".encode(),
    "\u202e".encode(),
    A.encode(),
    b"SHA256 (",
    b"MD5Sum:\n",
    b"sha256",
    b"9" * 5000,
    b'"\\ud800"',
]


def read(format: str, data: bytes, **more: Any) -> Manifest | None:
    """What is read; None where it is refused, which is the only other answer."""
    try:
        return read_manifest(data, NAMES[format], format=format, **more)
    except ManifestError as error:
        refusal = error
    assert refusal.next_step
    assert len(str(refusal)) < 3000
    return None


def sound(manifest: Manifest | None) -> None:
    """What holds of every manifest that is accepted."""
    if manifest is None:
        return
    assert manifest.entries or manifest.patterns
    for path, entry in manifest.entries.items():
        assert path == path.strip()
        assert path.isprintable() or all(ord(char) > 160 or char.isprintable() for char in path)
        assert len(path) <= MAX_PATH
        assert not path.startswith("/")
        assert not {"", ".", ".."} & set(path.replace("\\", "/").split("/"))
        assert Path("/base", path).resolve().is_relative_to("/base")
        assert entry.size is None or 0 <= entry.size < 2**63
        assert entry.digests or entry.unchecked
        for digest in entry.digests:
            assert len(digest.hex) == LENGTHS[digest.algorithm]
            assert digest.hex == digest.hex.lower()
            int(digest.hex, 16)
            assert all(part > 0 for part in digest.parts)


@st.composite
def changed(draw: st.DrawFn, format: str) -> bytes:
    """A manifest of the format in which pieces were put, cut out or doubled."""
    data = SEEDS[format]
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.just(data[start:end] * 2)))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.parametrize("format", NAMES)
def test_the_seeds_are_read(format: str) -> None:
    """The fuzzer starts from manifests that are good, but for a line break that a bag's name has."""
    data = SEEDS[format].replace(b"%0A", b"") if format == "bagit" else SEEDS[format]
    assert read(format, data) is not None
    sound(read(format, data))


@pytest.mark.parametrize("format", NAMES)
@given(data=st.data())
def test_a_changed_manifest_is_sound_or_refused(format: str, data: st.DataObject) -> None:
    """No other exception, no path that leads elsewhere, no digest that is none."""
    sound(read(format, data.draw(changed(format))))


@pytest.mark.parametrize("format", NAMES)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_sound_or_refused(format: str, data: bytes) -> None:
    """Nothing is assumed of them."""
    sound(read(format, data))


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([A, B64, "../x", "a.csv"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "path",
                        "hash",
                        "bytes",
                        "resources",
                        "subject",
                        "name",
                        "digest",
                        "sha256",
                        "Key",
                        "Checksum",
                    ),
                    *(
                        "ChecksumSHA256",
                        "ObjectParts",
                        "Parts",
                        "Size",
                        "PartNumber",
                        "distribution",
                        "@type",
                        "@id",
                    ),
                    *(
                        "contentUrl",
                        "includes",
                        "containedIn",
                        "files",
                        "oid",
                        "oid_type",
                        "size",
                        "lfs",
                        "data",
                    ),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("format", ["croissant", "frictionless", "lfs", "s3", "in-toto"])
@given(data=st.data())
def test_json_of_any_shape_is_sound_or_refused(format: str, data: st.DataObject) -> None:
    """Where a list, an object or a text is expected, anything may stand."""
    body = (
        json.loads(SEEDS[format])
        if format != "lfs"
        else {"files": [{"name": "a", "oid_type": "sha256", "oid": A, "size": 1}]}
    )
    top = body[0] if isinstance(body, list) else body
    keys = [key for key in top if key not in {"_type", "conformsTo"}]
    top[data.draw(st.sampled_from(keys))] = data.draw(_JSON)
    sound(read(format, json.dumps(body).encode()))
    listed = data.draw(st.lists(_JSON, max_size=3))
    key = next(
        (each for each in ("subject", "resources", "distribution", "files", "Contents") if each in top), None
    )
    sound(read(format, json.dumps({**top, key: listed} if key else listed).encode()))


# ----------------------------------------------------------------------------------------- held against the real tools
CONTENT = {"one.csv": b"1\n", "two.csv": b"2\n", "a b.csv": b"3\n", "back\\slash.csv": b"4\n"}
TOOLS = {
    "sha256": (["sha256sum", "--strict", "--status", "-c"], "SHA256SUMS", "sha256"),
    "sha512": (["sha512sum", "--strict", "--status", "-c"], "SHA512SUMS", "sha512"),
    "b2": (["b2sum", "--strict", "--status", "-c"], "B2SUMS", "blake2b"),
    "b3": (["b3sum", "--quiet", "-c"], "B3SUMS", "blake3"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files for the tools to check."""
    made = tmp_path_factory.mktemp("files")
    for name, data in CONTENT.items():
        (made / name).write_bytes(data)
    return made


def _digest(algorithm: str, data: bytes) -> str:
    if algorithm == "blake3":
        from blake3 import blake3

        return blake3(data).hexdigest()
    return hashlib.new(algorithm, data).hexdigest()


@st.composite
def sums_lines(draw: st.DrawFn, algorithm: str) -> bytes:
    """Checksum lines over the files, most of them right, in every form and with every small fault."""
    tag = {"sha256": "SHA256", "sha512": "SHA512", "blake2b": "BLAKE2b", "blake3": "BLAKE3"}[algorithm]
    lines = []
    for name in draw(st.lists(st.sampled_from(sorted(CONTENT)), min_size=1, max_size=3, unique=True)):
        digits = _digest(algorithm, CONTENT[name])
        digits = draw(st.sampled_from([digits, digits, digits, digits.upper(), digits[:-1], digits + "0"]))
        written = draw(
            st.sampled_from([name, name, f"./{name}", name.replace("\\", "\\\\"), f" {name}", f"{name} "])
        )
        form = draw(
            st.sampled_from(
                [
                    f"{digits}  {written}",
                    f"{digits} *{written}",
                    f"{tag} ({written}) = {digits}",
                    f"{digits} {written}",
                ]
            )
        )
        lines.append(draw(st.sampled_from(["", "", "", "\\", " ", "#"])) + form)
    end = draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n", "\0"]))
    text = end.join(lines) + draw(st.sampled_from([end, end, ""]))
    return draw(st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf"])) + text.encode()


@pytest.mark.parametrize("tool", ["sha256", "sha512", "b2", pytest.param("b3", marks=pytest.mark.b3sum)])
@given(data=st.data())
def test_nothing_is_accepted_that_the_real_tool_refuses(tool: str, folder: Path, data: st.DataObject) -> None:
    """Whatever we read as right digests, `--strict -c` of the tool finds right as well."""
    command, name, algorithm = TOOLS[tool]
    manifest = data.draw(sums_lines(algorithm))
    try:
        ours = read_manifest(manifest, name, format="sums")
    except ManifestError:
        return
    tags = {digest.algorithm for entry in ours.entries.values() for digest in entry.digests}
    right = tags == {algorithm} and all(
        path in CONTENT and entry.digests[0].hex == _digest(algorithm, CONTENT[path])
        for path, entry in ours.entries.items()
    )
    if not right or (tool == "b3" and (b"BLAKE3 (" in manifest or b"\r" in manifest or b" *" in manifest)):
        return  # not a delivery that would pass; b3sum of this age reads neither tags, modes nor CRLF
    path = folder.parent / name
    path.write_bytes(manifest)
    said = subprocess.run([*command, str(path)], cwd=folder, capture_output=True)
    assert said.returncode == 0, (manifest, said.stderr)


@example(b"")
@example(b"Payload-Oxum: 1.1\n")
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))  # each starts a process
@given(more=st.binary(max_size=60))
def test_no_bag_is_accepted_that_bagit_refuses(tmp_path_factory: pytest.TempPathFactory, more: bytes) -> None:
    """With anything at the end of its payload manifest, under a tag manifest that fits."""
    bag = tmp_path_factory.mktemp("bag")
    (bag / "data").mkdir()
    (bag / "data/x.csv").write_bytes(b"1\n")
    tags = {
        "bagit.txt": b"BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n",
        "manifest-sha256.txt": f"{hashlib.sha256(b'1' + bytes([10])).hexdigest()}  data/x.csv\n".encode()
        + more,
    }
    for name, data in tags.items():
        (bag / name).write_bytes(data)
    listed = "".join(f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in tags.items()).encode()
    (bag / "tagmanifest-sha256.txt").write_bytes(listed)
    try:
        ours = read_manifest(listed, "tagmanifest-sha256.txt", read=lambda path, limit: tags[path])
    except ManifestError:
        return
    if [path for path in ours.entries if path.startswith("data/")] != ["data/x.csv"]:
        return  # it lists what is not there
    said = subprocess.run(
        [sys.executable, "-m", "bagit", "--quiet", "--validate", str(bag)], capture_output=True
    )
    assert said.returncode == 0, said.stderr


_DEEP: list[Callable[[int], bytes]] = [
    lambda depth: b"[" * depth + b"]" * depth,
    lambda depth: b'{"resources":' * depth + b"1" + b"}" * depth,
    lambda depth: b'{"subject":[' * depth,
]


@pytest.mark.parametrize("make", _DEEP)
@pytest.mark.parametrize("depth", [33, 1000, 100_000])
@pytest.mark.parametrize("format", ["auto", "croissant", "frictionless", "lfs", "s3", "in-toto"])
def test_nesting_of_any_depth_is_refused(format: str, make: Callable[[int], bytes], depth: int) -> None:
    """Neither the stack nor the time ends before the manifest does."""
    with pytest.raises(ManifestError):
        read_manifest(make(depth), "m.json", format=format)


@pytest.mark.parametrize("format", NAMES)
def test_a_manifest_of_megabytes_without_sense_is_refused(format: str) -> None:
    """In one pass: no pattern of ours takes more than that."""
    for piece in (b"a", b" ", b"\\", b"(", b"\n", b"a: ", b"A) = ", b'"', b"{", b"0"):
        sound(read(format, piece * (2_000_000 // len(piece))))
