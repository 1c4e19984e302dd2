"""Publishers' keys of every format: what is read, what is pinned with them, and what is refused as weak or not one."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from assay.contract import Key, Publisher
from assay.contract.openpgp import NotOpenPGP, read_public_key
from tests.contract.examples import ED25519, MINISIGN

SSH = {"identity": "data@example.org", "namespace": "file"}
ROOT = json.dumps({"certificateAuthorities": [{}], "tlogs": [{}]})


def pem(key: Any) -> str:
    text: str = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return text


def ssh(key: Any) -> str:
    text: str = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return text


def certificate(key: Any, *, authority: bool = False) -> str:
    now, name = dt.datetime.now(dt.UTC), x509.Name.from_rfc4514_string("CN=Data,O=Example")
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 7, now, now + dt.timedelta(1)
    ).add_extension(x509.BasicConstraints(ca=authority, path_length=None), True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def key(**more: Any) -> Key:
    return Key.model_validate(more)


def refused(**more: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        key(**more)
    return str(caught.value)


P256 = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()
SHORT = rsa.generate_private_key(65537, 1024)
RSA = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("signify:1FE8B442180F62E7", {"format": "signify", "public_key": MINISIGN}),
        ("pem:", {"format": "pem", "public_key": pem(P256)}),
        ("pem:", {"format": "pem", "public_key": pem(RSA), "digest": "sha512"}),
        ("dsse:", {"format": "dsse", "public_key": pem(EDWARDS), "payload_type": "text/plain"}),
        ("jws:", {"format": "jws", "public_key": pem(P256)}),
        ("openssh:SHA256:", {"format": "openssh", "public_key": ssh(P256) + " me@here", **SSH}),
        ("openssh:SHA256:", {"format": "openssh", "public_key": ssh(RSA), **SSH}),
        ("x509:", {"format": "x509", "public_key": certificate(P256)}),
        ("cms:", {"format": "cms", "public_key": certificate(RSA, authority=True), "identity": "dns:x.org"}),
        (
            "sigstore:",
            {"format": "sigstore", "public_key": ROOT, "identity": "a@b.org", "issuer": "https://i"},
        ),
    ],
)
def test_a_key_of_each_format_is_read_and_named(name: str, more: dict[str, Any]) -> None:
    """The name begins with the format, and fits the registry's column."""
    made = key(**more)
    assert made.id.startswith(name)
    assert len(made.id) <= 128
    assert made.raw


def test_a_key_has_the_same_bytes_in_every_format() -> None:
    """So that it counts once, whatever it is called."""
    raw = EDWARDS.public_key().public_bytes_raw()
    same = [
        key(format="ed25519", public_key=base64.b64encode(raw).decode()),
        *(key(format=each, public_key=pem(EDWARDS)) for each in ("pem", "dsse", "jws")),
        key(format="openssh", public_key=ssh(EDWARDS), **SSH),
        key(format="minisign", public_key=base64.b64encode(b"Ed" + b"12345678" + raw).decode()),
    ]
    assert {each.raw for each in same} == {raw}
    assert len({each.id for each in same}) == len(same)
    with pytest.raises(ValidationError, match="twice"):
        Publisher(id="census", keys=tuple(same[:2]))
    ecdsa = [key(format="pem", public_key=pem(P256)), key(format="openssh", public_key=ssh(P256), **SSH)]
    ecdsa.append(key(format="x509", public_key=certificate(P256)))
    assert len({each.raw for each in ecdsa}) == 1


def test_signers_under_one_authority_are_different_keys() -> None:
    """And so are identities under one sigstore."""
    authority = certificate(P256, authority=True)
    pair = [key(format="x509", public_key=authority, identity=f"email:{who}@b.org") for who in ("a", "b")]
    pair += [
        key(format="sigstore", public_key=ROOT, identity=who, issuer="https://i")
        for who in ("a@b.org", "b@b.org")
    ]
    assert len({each.raw for each in pair}) == len({each.id for each in pair}) == 4


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"format": "pem", "public_key": pem(SHORT)}, "at least 2048"),
        ({"format": "openssh", "public_key": ssh(SHORT), **SSH}, "at least 2048"),
        ({"format": "x509", "public_key": certificate(SHORT)}, "at least 2048"),
        ({"format": "pem", "public_key": pem(ec.generate_private_key(ec.SECP256K1()))}, "only P-256"),
        ({"format": "pem", "public_key": pem(P256) + pem(EDWARDS)}, "not one PEM block"),
        ({"format": "pem", "public_key": pem(EDWARDS).replace("PUBLIC", "PRIVATE")}, "secret key"),
        ({"format": "pem", "public_key": MINISIGN}, "not one PEM block"),
        ({"format": "pem", "public_key": pem(P256), "digest": "sha256"}, "fixes its digest"),
        ({"format": "pem", "public_key": pem(P256), "identity": "a"}, "means nothing"),
        ({"format": "ed25519", "public_key": ED25519, "namespace": "a"}, "means nothing"),
        ({"format": "openssh", "public_key": ssh(P256)}, "need identity"),
        ({"format": "openssh", "public_key": ssh(P256), "identity": "me"}, "need namespace"),
        (
            {"format": "openssh", "public_key": ssh(P256), "identity": "*", "namespace": "file"},
            "not a plain identity",
        ),
        (
            {"format": "openssh", "public_key": ssh(P256), "identity": "a,b", "namespace": "file"},
            "not a plain",
        ),
        (
            {"format": "openssh", "public_key": ssh(P256), "identity": "a", "namespace": 'f" x="'},
            "not a plain",
        ),
        ({"format": "openssh", "public_key": "ssh-dss AAAA", **SSH}, "not one line"),
        ({"format": "openssh", "public_key": f"ssh-rsa {ssh(P256).split()[1]}", **SSH}, "one type"),
        ({"format": "openssh", "public_key": f"cert-authority {ssh(P256)}", **SSH}, "not one line"),
        ({"format": "openssh", "public_key": f"{ssh(P256)}\n{ssh(RSA)}", **SSH}, "not one line"),
        ({"format": "x509", "public_key": certificate(P256, authority=True)}, "does not say whose"),
        ({"format": "x509", "public_key": certificate(P256), "identity": "me"}, "which name"),
        ({"format": "x509", "public_key": pem(P256)}, "no certificate"),
        ({"format": "cms", "public_key": certificate(P256) * 9}, "8 is the most"),
        ({"format": "sigstore", "public_key": ROOT, "identity": "a"}, "need issuer"),
        ({"format": "sigstore", "public_key": "{}", "identity": "a", "issuer": "b"}, "trusted root without"),
        ({"format": "sigstore", "public_key": "no", "identity": "a", "issuer": "b"}, "not JSON"),
        ({"format": "openpgp", "public_key": "x", "fingerprint": "A" * 40}, "armored block"),
        ({"format": "openpgp", "public_key": "x"}, "need fingerprint"),
    ],
)
def test_a_key_that_would_not_protect_is_refused(more: dict[str, Any], problem: str) -> None:
    """With the reason, when the contract is read and not when the first delivery comes."""
    assert problem in refused(**more)


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """gpg with a home of its own."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)

    def run(*arguments: str) -> str:
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", "", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    for algorithm, who in (("ed25519", "a@b.org"), ("rsa2048", "c@b.org"), ("rsa1024", "d@b.org")):
        run("--quick-gen-key", who, algorithm, "sign", "1y")
    run.home = home  # type: ignore[attr-defined]
    return run


@pytest.mark.gnupg
@pytest.mark.parametrize("who", ["a@b.org", "c@b.org"])
def test_the_fingerprint_of_an_openpgp_key_is_the_one_that_gpg_prints(gpg: Any, who: str) -> None:
    """Read without gpg, so that a contract can be checked on any machine."""
    printed = next(
        line.split(":")[9]
        for line in gpg("--with-colons", "--list-keys", who).splitlines()
        if line.startswith("fpr")
    )
    text = gpg("--armor", "--export", who)
    assert key(format="openpgp", public_key=text, fingerprint=printed).id == f"openpgp:{printed}"
    assert "and not the fingerprint" in refused(format="openpgp", public_key=text, fingerprint="0" * 40)
    assert "40 upper-case" in refused(format="openpgp", public_key=text, fingerprint=printed[-16:])


@pytest.mark.gnupg
def test_openpgp_keys_that_are_several_secret_short_or_damaged_are_refused(gpg: Any) -> None:
    """One key, and the public half of it."""
    one = gpg("--armor", "--export", "a@b.org")
    secret = gpg("--armor", "--pinentry-mode", "loopback", "--export-secret-keys", "a@b.org")
    for text, problem in (
        (gpg("--armor", "--export", "a@b.org", "c@b.org"), "exactly one"),
        (gpg("--armor", "--export", "d@b.org"), "at least 2048"),
        (secret.replace("PRIVATE", "PUBLIC"), "secret key"),
        (one + one, "armored block"),
        (one[:200], "armored block"),
        (one.replace("\n", "\nx!", 3), "not base64"),
    ):
        with pytest.raises(NotOpenPGP, match=problem):
            read_public_key(text)
    lines = one.splitlines()
    with pytest.raises(NotOpenPGP, match=r"cut short|begin where"):
        read_public_key("\n".join([*lines[:3], *lines[4:]]))


@pytest.mark.gnupg
def test_no_openpgp_key_that_is_cut_or_changed_ends_in_a_traceback(gpg: Any, tmp_path: Path) -> None:
    """Every length, and every byte of the first packets."""
    data = base64.b64decode("".join(gpg("--armor", "--export", "a@b.org").splitlines()[2:-2]))
    head, tail = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n", "\n-----END PGP PUBLIC KEY BLOCK-----\n"
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            with contextlib.suppress(NotOpenPGP):
                read_public_key(head + base64.b64encode(changed).decode() + tail)
