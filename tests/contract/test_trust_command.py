"""`assay trust`: keys of every format by the command line, as people come with them."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from assay.cli import app
from assay.contract import advice, parse_contract
from assay.contract.keyforms import KEY_FORMATS
from tests.contract.examples import ED25519, MINISIGN
from tests.contract.test_keys import EDWARDS, P256, ROOT, certificate, pem, ssh


def trust(*arguments: str, folder: Path) -> Any:
    return CliRunner().invoke(app, ["trust", *arguments, "--contracts", str(folder)])


KEYS: dict[str, tuple[str, list[str]]] = {
    "minisign": (MINISIGN, []),
    "signify": (f"untrusted comment: signify public key\n{MINISIGN}\n", []),
    "ed25519": (ED25519, []),
    "pem": (pem(P256), []),
    "x509": ("subject=CN = Data\n" + certificate(P256), ["--purpose", "any"]),
    "openssh": (ssh(P256), ["--identity", "data@example.org", "--namespace", "file"]),
    "cms": (certificate(P256, authority=True), ["--format", "cms", "--identity", "email:data@example.org"]),
    "dsse": (pem(EDWARDS), ["--format", "dsse"]),
    "sigstore": (ROOT, ["--identity", "data@example.org", "--issuer", "https://idp.example.org"]),
    "jws": (pem(P256), ["--format", "jws"]),
}


@pytest.mark.parametrize("format", sorted(KEYS))
def test_a_key_of_each_format_is_added_listed_and_revoked(format: str, tmp_path: Path) -> None:
    """From a file, with what is to be pinned; the answer names the key as the list does."""
    text, options = KEYS[format]
    file = tmp_path / "key"
    file.write_text(text)
    added = trust("add", "census", str(file), *options, "--json", folder=tmp_path)
    assert added.exit_code == 0, added.output
    key = json.loads(added.stdout)["key"]
    assert key["format"] == format
    listed = json.loads(trust("list", "--json", folder=tmp_path).stdout)["keys"]
    assert [(each["id"], each["status"]) for each in listed] == [(key["id"], "valid")]
    shown = trust("list", folder=tmp_path).stdout
    assert "census" in shown
    gone = trust("revoke", "census", key["id"], "--reason", "laptop stolen", "--json", folder=tmp_path)
    assert json.loads(gone.stdout)["key"]["status"] == "revoked"
    again = trust("add", "census", str(file), *options, folder=tmp_path)
    assert again.exit_code == 1
    assert "cannot be trusted again" in again.stderr


def test_all_formats_but_openpgp_are_tried_here() -> None:
    """A key of that one cannot be made without gpg."""
    assert set(KEYS) == set(KEY_FORMATS) - {"openpgp"}


@pytest.mark.parametrize(
    ("key", "options", "says"),
    [
        (ssh(P256), [], "need identity"),
        (certificate(P256, authority=True), [], "does not say whose"),
        (pem(P256), ["--format", "ed25519"], "not one for ed25519"),
        (ED25519, ["--namespace", "file"], "means nothing"),
        (MINISIGN, ["--until", "2030-01-01"], "needs the last day"),
        (pem(P256), ["--digest", "md5"], "sha256"),
    ],
)
def test_a_key_that_does_not_pin_enough_is_not_added(
    key: str, options: list[str], says: str, tmp_path: Path
) -> None:
    """And nothing is written."""
    file = tmp_path / "key"
    file.write_text(key)
    done = trust("add", "census", str(file), *options, folder=tmp_path)
    assert done.exit_code in {1, 2}
    assert says in done.stderr
    assert not (tmp_path / "publishers" / "census.yaml").exists()


def test_a_key_is_rotated_in_one_step(tmp_path: Path) -> None:
    """The new one is added, the old one gets its last day."""
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    new = tmp_path / "new.pub"
    new.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert trust("add", "census", MINISIGN, folder=tmp_path).exit_code == 0
    options = ["--valid-from", "2030-01-01", "--replaces", MINISIGN, "--until", "2030-01-31"]
    done = trust("add", "census", str(new), *options, folder=tmp_path)
    assert done.exit_code == 0, done.output
    old, fresh = json.loads(trust("list", "--json", folder=tmp_path).stdout)["keys"]
    assert (old["valid_until"], fresh["valid_from"]) == ("2030-01-31", "2030-01-01")


def test_more_keys_than_there_are_cannot_be_wanted_in_silence() -> None:
    """Each delivery would be refused; the check of the contract says so before the first one comes."""
    text = f"""\
version: 1
dataset: adult
schema: {{columns: {{age: {{type: integer}}}}}}
publishers:
- {{id: census, keys: [{{format: minisign, public_key: {MINISIGN}}}, {{format: ed25519, public_key: {ED25519}}}]}}
sources:
- {{id: west, publisher: census, uri: west/, signatures: {{files: [a, b, c], threshold: 3}}}}
- {{id: east, publisher: census, uri: east/, signatures: {{files: [a, b], threshold: 2}}}}
"""
    lines = [line for line in advice(parse_contract(text), dt.date(2026, 3, 1)) if "wants" in line]
    assert lines == ["sources: west wants 3 keys, and census has 2 today"]
