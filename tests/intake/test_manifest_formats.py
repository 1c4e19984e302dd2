"""Manifests of the formats beside plain checksum files: what each means, and what of it cannot be checked."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Contract
from assay.errors import AssayError
from assay.intake import ManifestError, parse_manifest, read_manifest
from assay.intake.digests import LENGTHS, Digest, Hashers, new_hash
from assay.intake.manifests import Entry, Manifest
from assay.intake.publish import sign_minisign
from tests.intake.support import Line, finding, outcomes, rejected_for, serve

A, B = "a" * 64, "b" * 64


def read(body: Any, name: str = "m.json", **more: Any) -> Manifest:
    """Read a JSON manifest."""
    return read_manifest(json.dumps(body).encode(), name, **more)


def refused(data: Any, name: str = "m.json", **more: Any) -> str:
    """The message that it is refused with."""
    with pytest.raises(ManifestError) as caught:
        read_manifest(data if isinstance(data, bytes) else json.dumps(data).encode(), name, **more)
    assert caught.value.next_step
    return str(caught.value)


def deliver(
    line: Line, content: dict[str, bytes], manifest: str, data: bytes, **source: Any
) -> tuple[Path, Contract]:
    """A signed delivery with a manifest of one's own."""
    folder = line.root / "delivery"
    for name, each in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(each)
    (folder / manifest).write_bytes(data)
    sign_minisign(folder / manifest, line.keys["first"], trusted_comment="timestamp:1700000000")
    listed = line.source(manifest=manifest, signature=f"{manifest}.minisig", **source)
    return folder, line.contract(sources=[listed])


# ------------------------------------------------------------------------------------------------------------- digests
@pytest.mark.parametrize(
    ("algorithm", "tested"),
    [
        ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("blake2b-256", "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
        ("blake3", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ("crc32", "352441c2"),
        ("md5", "900150983cd24fb0d6963f7d28e17f72"),
    ],
)
def test_digests_of_abc_are_those_that_are_published(algorithm: str, tested: str) -> None:
    """RFC 6234, RFC 1321 and the reference implementations of BLAKE2 and BLAKE3."""
    hashed = new_hash(algorithm)
    hashed.update(b"abc")
    assert hashed.hexdigest() == tested
    assert len(tested) == LENGTHS[algorithm]


def test_several_digests_are_computed_in_one_pass_and_each_must_fit() -> None:
    """A wrong one beside right ones is found, whichever it is."""
    data = bytes(range(256)) * 5000
    right = [Digest(name, _hex(name, data)) for name in ("sha256", "sha512", "blake2b", "blake3", "md5")]
    for wrong in (None, *right):
        listed = [Digest(d.algorithm, d.hex[::-1]) if d is wrong else d for d in right]
        hashers = Hashers(listed, sha256_elsewhere=True)
        for start in range(0, len(data), 4096):
            hashers.update(data[start : start + 4096])
        found = hashers.differing(listed, hashlib.sha256(data).hexdigest())
        assert [each.algorithm for each in found] == ([] if wrong is None else [wrong.algorithm])


def _hex(algorithm: str, data: bytes) -> str:
    hashed = new_hash(algorithm)
    hashed.update(data)
    return hashed.hexdigest()


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_a_composite_digest_is_that_of_the_parts_digests(chunk: int) -> None:
    """As S3 computes it, however the bytes come; a file that is longer or shorter than its parts never fits."""
    data = b"0123456789abcdefg"
    sizes = (5, 5, 7)
    parts = [data[:5], data[5:10], data[10:]]
    expected = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    digest = Digest("sha256", expected, sizes)
    for content, fits in ((data, True), (data + b"x", False), (data[:-1], False), (b"", False)):
        hashers = Hashers([digest])
        for start in range(0, len(content), chunk):
            hashers.update(content[start : start + chunk])
        assert (hashers.differing([digest]) == []) is fits


# ------------------------------------------------------------------------------------------------------- which format
@pytest.mark.parametrize(
    ("body", "format"),
    [
        ({"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "subject": []}, "in-toto"),
        ({"resources": []}, "frictionless"),
        ({"@context": {}, "distribution": []}, "croissant"),
        ({"files": [{"oid_type": "sha256"}]}, "lfs"),
        ({"Contents": [{"Key": "x"}]}, "s3"),
    ],
)
def test_json_shows_its_format_and_contradicts_no_other(body: dict[str, Any], format: str) -> None:
    """`auto` reads it as that; a contract or a name that says another format is refused, not believed."""
    other = "frictionless" if format != "frictionless" else "croissant"
    assert f"content of {other}" in refused(body, format=other)
    assert "by its name" in refused(body, f"{'croissant' if other == 'croissant' else 'datapackage'}.json")
    for said in ("auto", format):
        message = ""
        try:
            assert read(body, format=said).format == format
        except ManifestError as error:
            message = str(error)
        assert "content of" not in message


def test_json_of_no_known_format_is_refused() -> None:
    """It is not read as anything."""
    assert "no format that is known" in refused({"hello": 1})
    assert "is no JSON" in refused(b"{")


def test_a_manifest_whose_name_and_content_differ_is_refused() -> None:
    """A checksum file that is called Release, or JSON in SHA256SUMS."""
    assert "is not understood" in refused(f"{A}  x.csv\n".encode(), "Release")
    assert "is not understood" in refused(b'{\n"a": 1}', "SHA256SUMS", format="sums")


def test_the_contract_says_the_algorithm_where_the_name_does_not() -> None:
    """Digests of one length may be of several algorithms; none of them is guessed."""
    data = f"{A}  x.csv\n".encode()
    assert "may be sha256 or blake2b-256 or blake3" in refused(data, "CHECKSUMS")
    for algorithm in ("sha256", "blake2b-256", "blake3"):
        assert parse_manifest(data, "CHECKSUMS", algorithm=algorithm) == {"x.csv": Digest(algorithm, A)}
    assert "in the contract" in refused(data, "SHA256SUMS", algorithm="blake3")
    assert "the contract says" in refused(data, "CHECKSUMS", algorithm="sha512")
    assert parse_manifest(data, "B3SUMS") == {"x.csv": Digest("blake3", A)}
    assert parse_manifest(data, "B2SUMS") == {"x.csv": Digest("blake2b-256", A)}
    assert parse_manifest(data * 1, "sha-256.txt") == {"x.csv": Digest("sha256", A)}
    assert parse_manifest(f"{A * 2}  x\n".encode(), "SHA512SUMS") == {"x": Digest("sha512", A * 2)}
    assert parse_manifest(f"{A * 2}  x\n".encode(), "B2SUMS") == {"x": Digest("blake2b", A * 2)}


def test_an_escaped_name_is_read_as_coreutils_wrote_it(line: Line) -> None:
    """A backslash in a name is one; a line break in a name is refused, and so is an unescaped backslash."""
    assert parse_manifest(f"\\{A}  a\\\\b.csv\n".encode()) == {"a\\b.csv": Digest("sha256", A)}
    assert "control characters" in refused(f"\\{A}  a\\nb.csv\n".encode(), "SHA256SUMS")
    assert "not understood" in refused(f"\\{A}  a\\tb.csv\n".encode(), "SHA256SUMS")
    assert "not understood" in refused(f"\\{A}  plain.csv\n".encode(), "SHA256SUMS")
    assert "leaves the delivery" in refused(f"\\{A}  ..\\\\b.csv\n".encode(), "SHA256SUMS")
    data = hashlib.sha256(b"x").hexdigest()
    folder, contract = deliver(line, {"a\\b.csv": b"x"}, "SHA256SUMS", f"\\{data}  a\\\\b.csv\n".encode())
    assert line.verify(folder, contract).verdict == "accept"


def test_a_name_with_a_line_break_is_not_taken_for_one_with_a_backslash(line: Line) -> None:
    """Both are shown alike; only the listed one may lie there."""
    digest = hashlib.sha256(b"x").hexdigest()
    files = {"a\\nb.csv": b"x", "a\nb.csv": b"evil"}
    folder, contract = deliver(line, files, "SHA256SUMS", f"\\{digest}  a\\\\nb.csv\n".encode())
    rejected_for(line.verify(folder, contract), "intake.completeness")


def test_what_zero_terminated_output_looks_like_is_said() -> None:
    """`sha256sum --zero` writes no lines."""
    assert "--zero" in refused(f"{A}  x.csv\0{B}  y.csv\0".encode(), "SHA256SUMS")


# ---------------------------------------------------------------------------------- which of the listed files are meant
def test_a_contract_names_the_files_that_it_wants_of_a_longer_list(line: Line) -> None:
    """Locally and over a network: the others need not be there, and are not fetched if they are."""
    files = {name: name.encode() for name in ("a.csv", "b.csv", "big.iso")}
    listed = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()
    folder, contract = deliver(line, files, "SHA256SUMS", listed, files=["*.csv"])
    assert [file.path for file in line.verify(folder, contract).files] == ["a.csv", "b.csv"]
    (folder / "big.iso").unlink()
    assert line.verify(folder, contract).verdict == "accept"
    with serve(folder) as web:
        assert line.verify(web.uri, contract, "west").verdict == "accept"
        assert "/big.iso" not in web.asked
    (folder / "b.csv").unlink()
    assert "b.csv" in rejected_for(line.verify(folder, contract), "intake.completeness").message
    _, other = deliver(line, files, "SHA256SUMS", listed, files=["*.csv", "*.parquet"])
    assert "*.parquet" in rejected_for(line.verify(folder, other), "intake.completeness").message


def test_files_that_a_server_would_have_to_list_are_not_checked(line: Line) -> None:
    """A FileSet over http, and an archive of which the contract wants nothing by name."""
    known = hashlib.sha256(b"x").hexdigest()
    set_ = {"@type": "cr:FileSet", "@id": "tables", "includes": ["*.csv"]}
    body = json.dumps(croissant(file_object("a.csv", known), set_)).encode()
    folder, contract = deliver(line, {"a.csv": b"x"}, "croissant.json", body)
    with serve(folder) as web:
        result = line.verify(web.uri, contract, "west")
        assert (result.verdict, outcomes(result)["intake.completeness"]) == ("hold", "not_checked")
        assert all(line.store.is_sealed(file.sha256) for file in result.files)
        release = f"SHA256:\n {known} 1 a.csv\n".encode()
        folder, contract = deliver(line, {"a.csv": b"x"}, "Release", release)
        result = line.verify(web.uri, contract, "west")
        assert (result.verdict, result.files) == ("hold", ())


# --------------------------------------------------------------------------------------------------------------- BagIt
BAG = {
    "bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n",
    "manifest-sha256.txt": f"{A}  data/x.csv\n".encode(),
}


def bag(changes: dict[str, bytes | None] | None = None) -> Manifest:
    """Read a bag of these tag files through a tag manifest that fits them."""
    files = {name: data for name, data in (BAG | (changes or {})).items() if data is not None}
    listed = "".join(f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in files.items())
    return read_manifest(
        listed.encode(), "tagmanifest-sha256.txt", read=lambda path, limit: files[path][: limit + 1]
    )


def test_a_tag_manifest_vouches_for_the_payload_through_the_payload_manifests() -> None:
    """One signature covers all; each payload manifest adds a digest to compare."""
    sums = f"{'c' * 128}  data/x.csv\n".encode()
    info = b"Bagging-Date: 2026-03-01\nPayload-Oxum: 12.1\nExternal-Description: long\n  text\n"
    read = bag({"manifest-sha512.txt": sums, "bag-info.txt": info})
    assert read.entries["data/x.csv"] == Entry((Digest("sha256", A), Digest("sha512", "c" * 128)))
    assert set(read.entries) == {
        "bagit.txt",
        "manifest-sha256.txt",
        "manifest-sha512.txt",
        "bag-info.txt",
        "data/x.csv",
    }
    assert read.total == (12, 1)
    assert read.created == dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"fetch.txt": b"https://example.org/x 1 data/x.csv\n"}, "completed from elsewhere"),
        ({"bagit.txt": None}, "does not list bagit.txt"),
        ({"bagit.txt": b"BagIt-Version: 0.93\nTag-File-Character-Encoding: UTF-8\n"}, "no declaration"),
        ({"bagit.txt": b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-16\n"}, "no declaration"),
        ({"manifest-sha256.txt": None}, "no payload manifest"),
        ({"manifest-sha512.txt": f"{'c' * 128}  data/y.csv\n".encode()}, "does not list the same files"),
        ({"manifest-whirlpool.txt": f"{'c' * 128}  data/x.csv\n".encode()}, "uses the algorithm whirlpool"),
        ({"manifest-sha256.txt": f"{A}  bagit.txt\n".encode()}, "of the other kind"),
        ({"manifest-sha256.txt": f"{A}  data/../../x\n".encode()}, "leaves the delivery"),
        ({"manifest-sha256.txt": f"{A}  data/x%0Ay\n".encode()}, "control characters"),
        ({"bag-info.txt": b"Payload-Oxum: 1.1\nPayload-Oxum: 2.1\n"}, "twice"),
        ({"bag-info.txt": b"Payload-Oxum: many\n"}, "cannot be read"),
        ({"bag-info.txt": b"no label\n"}, "not understood"),
    ],
)
def test_a_bag_that_is_not_whole_is_refused(changes: dict[str, bytes | None], says: str) -> None:
    """Holey bags, other versions and contradicting manifests, each by name."""
    with pytest.raises(ManifestError, match=says):
        bag(changes)


def test_a_tag_file_that_was_changed_is_refused_before_it_is_parsed() -> None:
    """Its digest stands in the tag manifest."""
    listed = "".join(f"{hashlib.sha256(data).hexdigest()} {name}\n" for name, data in BAG.items())
    with pytest.raises(ManifestError, match="not what the tag manifest says"):
        read_manifest(listed.encode(), "tagmanifest-sha256.txt", read=lambda path, _: BAG[path] + b"x")
    with pytest.raises(ManifestError, match="together with its bag"):
        read_manifest(listed.encode(), "tagmanifest-sha256.txt")


def test_a_percent_sign_in_a_name_means_what_the_bags_version_says() -> None:
    """From version 1.0 on it is written %25."""
    named = {"manifest-sha256.txt": f"{A}  data/a%25b.csv\n".encode()}
    assert "data/a%b.csv" in bag(named).entries
    old = {"bagit.txt": b"BagIt-Version: 0.97\nTag-File-Character-Encoding: UTF-8\n"}
    assert "data/a%25b.csv" in bag(named | old).entries


def test_a_signed_payload_manifest_vouches_for_the_payload_and_tag_files_are_not_read(line: Line) -> None:
    """They may lie there and say what they like; another file outside of the payload may not."""
    digest = hashlib.sha256(b"x").hexdigest()
    files = {"data/x.csv": b"x", "bagit.txt": b"anything", "bag-info.txt": b"Payload-Oxum: 99.9\n"}
    folder, contract = deliver(line, files, "manifest-sha256.txt", f"{digest}  data/x.csv\n".encode())
    result = line.verify(folder, contract)
    assert (result.verdict, [file.path for file in result.files]) == ("accept", ["data/x.csv"])
    (folder / "fetch.txt").write_bytes(b"https://example.org/y 1 data/y.csv\n")
    rejected_for(line.verify(folder, contract), "intake.completeness")


# ----------------------------------------------------------------------------------------------------------- Croissant
def croissant(*distribution: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Croissant description."""
    return {
        "@context": {"@vocab": "https://schema.org/"},
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "distribution": list(distribution),
        **more,
    }


def file_object(name: str, digest: str | None = A, **more: Any) -> dict[str, Any]:
    """A FileObject."""
    body = {"@type": "cr:FileObject", "@id": name, "contentUrl": name, "sha256": digest, **more}
    return {key: value for key, value in body.items() if value is not None}


def test_a_croissant_file_is_named_by_the_last_part_of_its_url() -> None:
    """Publishers give the address that a file is fetched from."""
    read_ = read(croissant(file_object("x", contentUrl="https://example.org/a/people%20all.csv?download=1")))
    assert read_.entries == {"people all.csv": Entry((Digest("sha256", A),))}


def test_files_in_an_archive_are_covered_by_the_archives_digest() -> None:
    """A FileObject or FileSet that is contained in another file is no file of the delivery."""
    inner = {"@type": "cr:FileSet", "@id": "inner", "containedIn": {"@id": "all.zip"}, "includes": "*.csv"}
    read_ = read(
        croissant(file_object("all.zip"), inner, file_object("one.csv", containedIn={"@id": "all.zip"}))
    )
    assert list(read_.entries) == ["all.zip"]
    assert read_.patterns == ()
    assert "does not describe" in refused(croissant(file_object("a.zip"), inner))


def test_files_of_a_fileset_without_a_digest_are_not_checked(line: Line) -> None:
    """Each file that the set means must be a FileObject as well."""
    known = hashlib.sha256(b"x").hexdigest()
    set_ = {"@type": "cr:FileSet", "@id": "tables", "includes": ["*.csv"], "excludes": ["skip-*"]}
    body = json.dumps(croissant(file_object("a.csv", known), set_)).encode()
    folder, contract = deliver(line, {"a.csv": b"x"}, "croissant.json", body)
    assert line.verify(folder, contract).verdict == "accept"
    (folder / "b.csv").write_bytes(b"y")
    result = line.verify(folder, contract)
    assert (result.verdict, outcomes(result)["intake.completeness"]) == ("hold", "passed")
    found = finding(result, "intake.checksums")
    assert (found.outcome, found.evidence["without_digest_files"]) == ("not_checked", ["b.csv"])
    assert "tables" in found.message
    (folder / "skip-me.csv").write_bytes(b"z")
    rejected_for(line.verify(folder, contract), "intake.completeness")


def test_a_fileset_of_a_repository_counts_as_one_without_digests() -> None:
    """The repository is no file, though its FileObject carries something in the place of a digest."""
    repository = file_object(
        "repo", digest="main", encodingFormat="git+https", contentUrl="https://example.org/r"
    )
    set_ = {"@type": "cr:FileSet", "@id": "parts", "containedIn": {"@id": "repo"}, "includes": "*.parquet"}
    read_ = read(croissant(repository, set_))
    assert read_.entries == {}
    assert [pattern.name for pattern in read_.patterns] == ["parts"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (croissant(), "no distribution"),
        (croissant(file_object("x", None)), "no sha256"),
        (croissant(file_object("x", "https://github.com/mlcommons/croissant/issues/80")), "can be read"),
        (croissant(file_object("x", A[:-1])), "can be read"),
        (croissant(file_object("x"), file_object("y", contentUrl="https://h/x")), "a second time"),
        (croissant({"@type": "cr:Other", "@id": "x"}), "unknown type"),
        (croissant(file_object("x"), conformsTo="http://mlcommons.org/croissant/2.0"), "Croissant 1.x"),
        (croissant(file_object("x", contentUrl="file:///etc/passwd")), "no file"),
        (croissant(file_object("x", contentUrl="https://example.org/")), "no file"),
        (croissant(file_object("x", contentUrl="https://example.org/%2e%2e")), "leaves the delivery"),
        (croissant(file_object("x", contentUrl="https://example.org/a%2Fb")), "no file"),
        (croissant(file_object("x", contentUrl=None)), "contentUrl"),
    ],
)
def test_a_croissant_file_that_cannot_be_proved_is_refused(body: dict[str, Any], says: str) -> None:
    """Placeholders and paths that lead elsewhere are no digests and no files."""
    assert says in refused(body)


# -------------------------------------------------------------------------------------------------------- Frictionless
def test_a_hash_without_a_prefix_is_md5_and_one_with_an_unknown_prefix_is_refused() -> None:
    """The standard says the first; the tool passes over the second."""
    entry = read({"resources": [{"path": "x", "hash": "0" * 32}]}).entries["x"]
    assert entry.digests == (Digest("md5", "0" * 32),)
    assert not entry.proved
    assert "whirlpool" in refused({"resources": [{"path": "x", "hash": "whirlpool:" + A}]})
    assert "can be read" in refused({"resources": [{"path": "x", "hash": A}]})


def test_resources_without_a_hash_or_with_several_files_are_not_checked() -> None:
    """One hash over several files cannot be compared with any of them."""
    entries = read(
        {
            "resources": [
                {"path": "x"},
                {"path": ["p1", "p2"], "hash": f"sha256:{A}"},
                {"name": "inline", "data": [{"a": 1}]},
            ]
        }
    ).entries
    assert list(entries) == ["x", "p1", "p2"]
    assert not any(entry.proved for entry in entries.values())
    assert all(entry.unchecked for entry in entries.values())


@pytest.mark.parametrize(
    ("resource", "says"),
    [
        ({"path": "https://example.org/x.csv", "hash": f"sha256:{A}"}, "several ways"),
        ({"path": "x", "hash": f"sha256:{A}", "bytes": -1}, "no size"),
        ({"path": "x", "hash": f"sha256:{A}", "bytes": True}, "no size"),
        ({"path": 5}, "no path"),
        ("x", "no object"),
    ],
)
def test_a_resource_that_is_no_file_of_the_delivery_is_refused(resource: Any, says: str) -> None:
    """Nor one whose size is nonsense."""
    assert says in refused({"resources": [resource]})


def test_objects_with_very_many_keys_or_patterns_are_refused_at_once() -> None:
    """A key that stands twice among a hundred thousand, and patterns that each file would be held against."""
    many = ", ".join(f'"{number}": 1' for number in range(100_000))
    assert "stands twice" in refused(f'{{{many}, "7": 2, "resources": []}}'.encode())
    set_ = {"@type": "cr:FileSet", "@id": "s", "includes": [f"{number}*" for number in range(201)]}
    assert "too many patterns" in refused(croissant(file_object("a"), set_))


# ----------------------------------------------------------------------------------------------------------------- LFS
def test_the_hubs_list_has_strong_digests_for_large_files_only() -> None:
    """Small files carry the SHA-1 of a Git object."""
    body = [
        {"type": "directory", "oid": "0" * 40, "path": "data"},
        {"type": "file", "path": "data/x.parquet", "size": 7, "oid": "1" * 40, "lfs": {"oid": A, "size": 7}},
        {"type": "file", "path": "README.md", "size": 3, "oid": "2" * 40},
    ]
    entries = read(body).entries
    assert entries["data/x.parquet"] == Entry((Digest("sha256", A),), 7)
    assert not entries["README.md"].proved
    assert str(entries["README.md"].unchecked).startswith("weak")


@pytest.mark.parametrize(
    "text",
    [
        "version https://git-lfs.github.com/spec/v2\noid sha256:{A}\nsize 1\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:{A}\nsize 01\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:{A}\nsize 1",
        "version https://git-lfs.github.com/spec/v1\nsize 1\noid sha256:{A}\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:{A}\nsize 1\nextra 1\n",
        "version https://git-lfs.github.com/spec/v1\next-0-foo sha256:{A}\noid sha256:{A}\nsize 1\n",
    ],
)
def test_a_pointer_that_is_not_canonical_is_refused(text: str) -> None:
    """Another version, order or line: the specification allows one form."""
    assert refused(text.replace("{A}", A).encode(), "x.csv.lfs")


def test_a_pointer_says_by_its_name_which_file_it_is_about() -> None:
    """Nothing inside does."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{A}\nsize 12\n".encode()
    assert read_manifest(text, "x.csv.pointer").entries == {"x.csv": Entry((Digest("sha256", A),), 12)}
    assert "which file" in refused(text, "pointer.txt")


def test_an_algorithm_that_is_no_text_is_refused() -> None:
    """Anything may stand in JSON where a name is expected."""
    for odd in ({}, [], 5, None, True):
        body = {"files": [{"name": "x", "oid_type": odd, "oid": A, "size": 1}]}
        assert "uses the algorithm" in refused(body)


# ------------------------------------------------------------------------------------------------------------------ S3
def b64(data: bytes) -> str:
    """Base64 of a SHA-256."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


PARTS = (b"a" * 10, b"b" * 10, b"c" * 3)
WHOLE = base64.b64encode(
    hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in PARTS)).digest()
).decode()


def multipart(**more: Any) -> dict[str, Any]:
    """What GetObjectAttributes says of an upload in three parts."""
    parts = [
        {"PartNumber": number, "Size": len(part), "ChecksumSHA256": b64(part)}
        for number, part in enumerate(PARTS, start=1)
    ]
    return {
        "Key": "x.csv",
        "Checksum": {"ChecksumSHA256": f"{WHOLE}-3", "ChecksumType": "COMPOSITE"},
        "ObjectParts": {"TotalPartsCount": 3, "Parts": parts},
        "ObjectSize": 23,
        **more,
    }


def test_a_composite_checksum_is_computed_from_the_sizes_of_the_parts(line: Line) -> None:
    """And catches a changed byte, wherever it is."""
    data = b"".join(PARTS)
    body = json.dumps({"Contents": [multipart()]}).encode()
    folder, contract = deliver(line, {"x.csv": data}, "objects.json", body, manifest_format="s3")
    assert line.verify(folder, contract).verdict == "accept"
    (folder / "x.csv").write_bytes(data[:-1] + b"d")
    rejected_for(line.verify(folder, contract), "intake.checksums")


@pytest.mark.parametrize(
    "change",
    [
        {"ObjectParts": {"TotalPartsCount": 3}},
        {"ObjectParts": None},
        {"ObjectParts": {"TotalPartsCount": 3, "IsTruncated": True, "Parts": [{"PartNumber": 1, "Size": 1}]}},
    ],
)
def test_a_composite_checksum_without_its_parts_is_not_checked(change: dict[str, Any]) -> None:
    """It is no digest of the file."""
    entry = read({"Contents": [multipart(**change)]}).entries["x.csv"]
    assert (entry.proved, entry.size) == (False, 23)
    assert "composite" in str(entry.unchecked)


def _parts(change: Callable[[list[dict[str, Any]]], object]) -> dict[str, Any]:
    body = multipart()
    change(body["ObjectParts"]["Parts"])
    return body


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (_parts(lambda parts: parts.pop()), "put together"),
        (_parts(lambda parts: parts.reverse()), "put together"),
        (_parts(lambda parts: parts[0].update(Size=0)), "put together"),
        (_parts(lambda parts: parts[0].update(Size=11)), "make up its size"),
        (_parts(lambda parts: parts[0].update(ChecksumSHA256=b64(b"x"))), "contradict"),
        (multipart(Size=24), "several sizes"),
        (multipart(Checksum={"ChecksumSHA256": f"{WHOLE}-2", "ChecksumType": "COMPOSITE"}), "two numbers"),
        (multipart(Checksum={"ChecksumSHA256": f"{WHOLE}-3", "ChecksumType": "FULL_OBJECT"}), "of parts"),
        (multipart(Checksum={"ChecksumSHA256": WHOLE[:-4], "ChecksumType": "FULL_OBJECT"}), "can be read"),
        (multipart(Checksum={"ChecksumSHA3": WHOLE}), "SHA3"),
        (multipart(Checksum={"ChecksumSHA256": WHOLE, "ChecksumType": "OTHER"}), "unknown type"),
        ({"Key": "../x", "ChecksumSHA256": WHOLE}, "leaves the delivery"),
        (multipart(Checksum={"ChecksumSHA256": WHOLE, "ChecksumType": {}}), "unknown type"),
    ],
)
def test_parts_that_contradict_their_object_are_refused(entry: dict[str, Any], says: str) -> None:
    """Nothing is put together that does not fit."""
    assert says in refused({"Contents": [entry]})


def test_an_etag_or_a_crc_alone_proves_nothing() -> None:
    """An ETag is no checksum of the bytes, a CRC none against somebody who means harm."""
    entries = read(
        [
            {"Key": "etag", "ETag": "0" * 32, "Size": 3},
            {"Key": "crc", "ChecksumCRC64NVME": base64.b64encode(bytes(8)).decode(), "Size": 3},
            {"Key": "crcs", "ChecksumCRC32": "AAAAAA==-3", "ChecksumType": "COMPOSITE"},
        ]
    ).entries
    assert not any(entry.proved for entry in entries.values())
    assert "ETag" in str(entries["etag"].unchecked)
    assert entries["crc"].digests[0].weak


# ------------------------------------------------------------------------------------------------------------- in-toto
def statement(*subjects: Any, **more: Any) -> dict[str, Any]:
    """A Statement."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://example.org/v1",
        "subject": list(subjects),
        **more,
    }


def test_all_known_digests_of_a_subject_count_and_unknown_ones_beside_them_do_not() -> None:
    """A gitCommit beside a sha256 is normal; alone it proves nothing here."""
    subject = {"name": "x", "digest": {"gitCommit": "0" * 40, "sha512": "c" * 128, "sha256": A}}
    read_ = read(statement(subject))
    assert {digest.algorithm for digest in read_.entries["x"].digests} == {"sha256", "sha512"}
    assert parse_manifest(json.dumps(statement(subject)).encode(), "m.json") == {"x": Digest("sha256", A)}
    assert "no digest of a known" in refused(statement({"name": "x", "digest": {"gitCommit": "0" * 40}}))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (statement(), "no subject"),
        (statement({"digest": {"sha256": A}}), "no name"),
        (statement({"name": "x"}), "no digests"),
        (statement({"name": "x", "digest": {"sha256": "xyz"}}), "can be read"),
        (statement("x"), "no object"),
        (
            statement({"name": "x", "digest": {"sha256": A}}, _type="https://in-toto.io/Statement/v9"),
            "no in-toto",
        ),
        (statement({"name": "x", "digest": {"sha256": A}}, predicateType=""), "predicateType"),
        ({"payloadType": "application/vnd.in-toto+json", "payload": "", "signatures": []}, "envelope"),
    ],
)
def test_a_statement_that_vouches_for_no_file_is_refused(body: dict[str, Any], says: str) -> None:
    """And so is an envelope whose signature nobody checked."""
    assert says in refused(body)


# -------------------------------------------------------------------------------------------------------------- Debian
RELEASE = f"Origin: Test\nDate: Sun, 01 Mar 2026 12:00:00 UTC\nSHA256:\n {A} 5 main/x\n {B} 6 main/y\n"


def test_a_release_lists_digests_sizes_and_its_date() -> None:
    """Sections of several algorithms are joined."""
    text = RELEASE + f"SHA512:\n {'c' * 128} 5 main/x\nValid-Until: Sun, 08 Mar 2026 12:00:00 UTC\n"
    read_ = read_manifest(text.encode(), "Release")
    assert read_.entries["main/x"] == Entry((Digest("sha256", A), Digest("sha512", "c" * 128)), 5)
    assert read_.archive
    assert read_.created == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert read_.valid_until == dt.datetime(2026, 3, 8, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RELEASE + f"SHA256:\n {A} 5 main/z\n", "each field once"),
        (RELEASE + f" {B} 6 main/y\n", "a second time"),
        (RELEASE + f"SHA512:\n {'c' * 128} 7 main/x\n", "another size"),
        (RELEASE + f"SHA3:\n {A} 5 main/x\n", "uses the algorithm SHA3"),
        (RELEASE.replace(A, A[:-1]), "not understood"),
        (RELEASE.replace("main/x", "../x"), "leaves the delivery"),
        (RELEASE.replace(" 5 ", " -5 "), "not understood"),
        (RELEASE.replace("Sun, 01 Mar 2026 12:00:00 UTC", "soon"), "cannot be read"),
        ("Origin: Test\n", "lists no file"),
        (" continued\n", "not understood"),
        ("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + RELEASE, "clear-signed"),
    ],
)
def test_a_release_that_contradicts_itself_is_refused(text: str, says: str) -> None:
    """Nothing in it is passed over."""
    assert says in refused(text.encode(), "Release")


def test_a_manifest_error_is_an_error_of_ours() -> None:
    """With a next step, like all of them."""
    assert issubclass(ManifestError, AssayError)
