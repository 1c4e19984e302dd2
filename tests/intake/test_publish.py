"""The publisher's side."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from assay.intake import PublishError
from assay.intake.publish import (
    generate_key,
    publish,
    sign_ed25519,
    sign_minisign,
    write_delivery_json,
    write_manifest,
)
from tests.intake.support import Line, new_line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one in a folder of its own."""
    root = tmp_path / "delivery"
    (root / "part").mkdir(parents=True)
    (root / "b.csv").write_bytes(b"b")
    (root / "part" / "a.csv").write_bytes(b"a")
    return root


def test_a_manifest_lists_all_files_but_itself_and_its_signatures(folder: Path) -> None:
    """Sorted by name, in a form that coreutils checks as well."""
    (folder / "SHA256SUMS").write_text("an old one")
    (folder / "SHA256SUMS.minisig").write_text("an old one")
    manifest = write_manifest(folder)
    digests = {name: hashlib.sha256(name[-5:-4].encode()).hexdigest() for name in ("b.csv", "part/a.csv")}
    assert manifest.read_text() == "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    assert (
        subprocess.run(
            ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, capture_output=True
        ).returncode
        == 0
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda root: shutil.rmtree(root) or root.mkdir(), "empty"),
        (lambda root: (root / "link.csv").symlink_to("b.csv"), "a symbolic link"),
        (lambda root: (root / "two\nlines.csv").touch(), "cannot be delivered"),
        (lambda root: (root / "back\\slash.csv").touch(), "without backslashes"),
        (lambda root: (root / " outer blank.csv").touch(), "several ways"),
    ],
)
def test_a_folder_that_would_be_rejected_cannot_be_published(folder: Path, make: object, says: str) -> None:
    """Better the publisher hears of it than the receiver."""
    make(folder)  # type: ignore[operator]
    with pytest.raises(PublishError, match=says):
        write_manifest(folder)
    assert not list(folder.glob(".SHA256SUMS*"))


@pytest.mark.parametrize("format", ["minisign", "ed25519"])
def test_a_secret_key_is_its_owners_alone_and_never_overwritten(tmp_path: Path, format: str) -> None:
    """Mode 0600 whatever the umask; the public half says its format."""
    old = os.umask(0)
    try:
        key = generate_key(tmp_path / "key", format)
    finally:
        os.umask(old)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert key.format == format
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(PublishError, match="exists already"):
        generate_key(tmp_path / "key", format)
    assert (tmp_path / "key").read_bytes() == before


def test_a_key_format_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    """Nothing is written."""
    with pytest.raises(PublishError, match="no key format 'rsa'"):
        generate_key(tmp_path / "key", "rsa")
    assert not (tmp_path / "key").exists()


def test_a_key_that_cannot_sign_is_a_usage_error(folder: Path, tmp_path: Path) -> None:
    """Garbage, an encrypted key, a key of another kind: each named with what would do."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from minisign import KeyPair

    manifest = write_manifest(folder)
    (tmp_path / "garbage").write_text("no key")
    pair = KeyPair.generate()
    pair.secret_key.encrypt("password", opslimit=32768, memlimit=1 << 20)
    (tmp_path / "encrypted").write_bytes(bytes(pair.secret_key))
    (tmp_path / "ec.pem").write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    for name in ("garbage", "encrypted"):
        with pytest.raises(PublishError, match="could not be signed"):
            sign_minisign(manifest, tmp_path / name)
    with pytest.raises(PublishError, match="not a key"):
        sign_ed25519(manifest, tmp_path / "garbage")
    with pytest.raises(PublishError, match="another kind"):
        sign_ed25519(manifest, tmp_path / "ec.pem")
    assert [path.name for path in folder.glob("SHA256SUMS.*")] == []


def test_delivery_json_leaves_out_what_is_not_said(folder: Path) -> None:
    """No sequence is not the sequence null."""
    body = json.loads(write_delivery_json(folder, "adult", "west").read_text())
    assert set(body) == {"dataset", "source", "created"}
    assert json.loads(write_delivery_json(folder, "adult", "west", 3).read_text())["sequence"] == 3


@pytest.mark.parametrize("format", ["minisign", "ed25519"])
def test_what_is_published_is_accepted_under_the_contracts_names(tmp_path: Path, format: str) -> None:
    """Manifest and signature get the names that the source gives them."""
    with new_line(tmp_path, format) as line:
        contract = line.contract(
            sources=[line.source(manifest="CHECKSUMS.txt", signature="CHECKSUMS.txt.signed")]
        )
        folder = line.deliver(contract=contract)
        assert {path.name for path in folder.iterdir()} >= {
            "CHECKSUMS.txt",
            "CHECKSUMS.txt.signed",
            "delivery.json",
        }
        assert line.verify(folder, contract).verdict == "accept"


def test_publishing_for_a_source_without_a_signature_is_a_usage_error(line: Line) -> None:
    """The contract has to name the file first."""
    contract = line.contract(sources=[line.source(signature=None)])
    with pytest.raises(PublishError, match="names no signature"):
        publish(line.root, contract, "west", line.keys["first"])
