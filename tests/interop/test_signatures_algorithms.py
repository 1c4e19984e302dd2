"""Algorithms swapped and algorithms that no longer protect: the key decides how a signature is checked."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.interop.authorities import X509, Cms, CmsPem, X509Authority, X509Ed25519
from tests.interop.cells import caught
from tests.interop.deliveries import MANIFEST, delivered, kinds
from tests.interop.signers import (
    Bench,
    Dsse,
    DsseEd25519,
    Ed25519,
    Gpg,
    GpgBinary,
    GpgClear,
    GpgText,
    Jws,
    JwsEdDsa,
    JwsUnencoded,
    Minisign,
    MinisignLegacy,
    OpenSsh,
    OpenSshEcdsa,
    OpenSshRsa,
    PemEd25519,
    PemP256,
    PemP384,
    PemRsa,
    PemRsa512,
    Signify,
    Sigstore,
    SigstoreDsse,
    b64url,
)
from tests.interop.tools import Signer

A_DAY = dt.timedelta(days=1)
SSH = (OpenSsh, OpenSshRsa, OpenSshEcdsa)
PGP = (Gpg, GpgBinary, GpgText, GpgClear)
CERTIFIED = (X509, X509Ed25519, X509Authority, Cms, CmsPem)


# ---------------------------------------------------------------------------------------- algorithms, swapped and weak
@pytest.mark.parametrize("kind", kinds(Minisign, MinisignLegacy, Signify))
def test_the_letters_of_the_algorithm_cannot_be_swapped(kind: type[Signer], bench: Bench) -> None:
    """`Ed` is over the bytes, `ED` over their digest."""
    made = delivered(bench, kind)
    lines = made.signature.splitlines()
    blob = base64.b64decode(lines[1])
    swapped = {b"Ed": b"ED", b"ED": b"Ed"}[blob[:2]] + blob[2:]
    lines[1] = base64.b64encode(swapped)
    replace(made, signature=b"\n".join([*lines, b""])).refused("wrong_bytes", "format")
    caught(kind.name, "algorithm swapped")


@pytest.mark.parametrize(
    ("kind", "signing"),
    [
        pytest.param(PemP256, ("-sha512",), marks=pytest.mark.openssl),
        pytest.param(PemP384, ("-sha256",), marks=pytest.mark.openssl),
        pytest.param(PemRsa, ("-sha256",), marks=pytest.mark.openssl, id="PKCS1"),
        pytest.param(PemRsa512, ("-sha256", "-sigopt", "rsa_padding_mode:pss"), marks=pytest.mark.openssl),
        pytest.param(
            X509Authority, ("-sha256", "-sigopt", "rsa_padding_mode:pss"), marks=pytest.mark.openssl
        ),
        pytest.param(X509, ("-sha1",), marks=pytest.mark.openssl),
    ],
)
def test_the_key_decides_the_digest_and_the_padding(
    kind: Any, signing: tuple[str, ...], bench: Bench
) -> None:
    """A signature by the right key, but made in a way that the contract does not pin."""
    delivered(bench, kind).resigned(signing=signing).refused("wrong_bytes")
    caught(kind.name, "algorithm swapped")


@pytest.mark.parametrize("kind", kinds(PemRsa, PemP256))
def test_plain_signatures_over_sha1_are_refused(kind: Any, bench: Bench) -> None:
    """Collisions of SHA-1 are for sale."""
    padding = ("-sigopt", "rsa_padding_mode:pss") if kind is PemRsa else ()
    delivered(bench, kind).resigned(signing=("-sha1", *padding)).refused("wrong_bytes")
    caught(kind.name, "weak digest")


@pytest.mark.parametrize("kind", kinds(Ed25519, PemEd25519, X509Ed25519))
def test_a_signature_of_another_key_type_is_refused(kind: Any, bench: Bench) -> None:
    """An ECDSA signature has no business where an Ed25519 key is pinned."""
    other = bench.signer(PemP256, "stranger").sign(MANIFEST)
    replace(delivered(bench, kind), signature=other).refused("format")
    caught(kind.name, "algorithm swapped")


@pytest.mark.parametrize("kind", kinds(*SSH))
def test_a_digest_that_is_rewritten_in_an_openssh_signature_is_refused(
    kind: type[Signer], bench: Bench
) -> None:
    """sha512 becomes sha256, or something that nobody knows."""
    made = delivered(bench, kind)
    lines = made.signature.splitlines()
    blob = base64.b64decode(b"".join(lines[1:-1]))
    for name, reasons in ((b"sha256", ("wrong_bytes",)), (b"shake1", ("weak",))):
        forged = base64.b64encode(blob.replace(b"\0\0\0\x06sha512", b"\0\0\0\x06" + name, 1))
        replace(made, signature=b"\n".join([lines[0], forged, lines[-1], b""])).refused(*reasons)
    caught(kind.name, "algorithm swapped")


@pytest.mark.parametrize("kind", kinds(*PGP))
def test_an_openpgp_signature_over_sha1_is_refused(kind: Any, bench: Bench) -> None:
    """gpg makes and takes it, when asked to."""
    weak = ("--digest-algo", "SHA1", "--allow-weak-digest-algos")
    delivered(bench, kind).resigned(more=weak).refused("weak")
    caught(kind.name, "weak digest")


@pytest.mark.parametrize("kind", kinds(Cms, CmsPem))
def test_a_cms_signature_over_sha1_is_refused(kind: Any, bench: Bench) -> None:
    """openssl verifies it without a word."""
    delivered(bench, kind).resigned(more=("-md", "sha1")).refused("weak")
    caught(kind.name, "weak digest")


@pytest.mark.parametrize("kind", kinds(Cms, CmsPem))
def test_a_cms_signature_that_carries_its_own_content_is_refused(kind: Any, bench: Bench) -> None:
    """It would vouch for what it carries, and the manifest beside it could be anything."""
    made = delivered(bench, kind)
    made.resigned(more=("-md", "sha256", "-nodetach")).refused("format")
    made.resigned(b"something else", more=("-md", "sha256", "-nodetach")).refused("format")
    caught(kind.name, "content inside")


@pytest.mark.parametrize("kind", kinds(Jws, JwsEdDsa, JwsUnencoded))
@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES512", "RS256"])
def test_the_header_of_a_jws_does_not_choose_the_algorithm(kind: Any, algorithm: str, bench: Bench) -> None:
    """Neither none at all, nor a MAC whose secret is the public key, nor one that the key is not for."""
    made = delivered(bench, kind)
    head = b64url(json.dumps({"alg": algorithm}).encode())
    signed = head + b"." + b64url(MANIFEST)
    secret = made.keys[0]["public_key"].encode()
    value = b64url(hmac.new(secret, signed, hashlib.sha256).digest()) if algorithm == "HS256" else b"AAAA"
    replace(made, signature=head + b".." + value).refused("weak")
    caught(
        kind.name,
        {"none": "algorithm none", "HS256": "algorithm swapped for a MAC"}.get(
            algorithm, "algorithm swapped"
        ),
    )


@pytest.mark.openssl
def test_a_key_in_the_header_of_a_jws_means_nothing(bench: Bench) -> None:
    """The stranger's key comes along, and the signature fits it."""
    made = delivered(bench, JwsEdDsa)
    stranger = bench.signer(JwsEdDsa, "stranger")
    raw = base64.b64decode("".join(stranger.public().splitlines()[1:-1]))[-32:]
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64url(raw).decode()}
    made.resigned(by=stranger, head={"alg": "EdDSA", "jwk": jwk}).refused("wrong_bytes")
    made.resigned(head={"alg": "EdDSA", "crit": ["exp"], "exp": 1}).refused("format")
    caught("jws EdDSA", "key in the header")


@pytest.mark.parametrize("kind", kinds(Dsse, DsseEd25519))
def test_an_envelope_whose_signature_is_over_the_bare_payload_is_refused(kind: Any, bench: Bench) -> None:
    """DSSE signs type and length as well, so that a payload cannot be read as another type."""
    made = delivered(bench, kind)
    plain = PemP256 if kind is Dsse else PemEd25519
    signer = bench.signer(plain, "for dsse")
    (signer.folder / "key.pem").write_bytes((made.signer.folder / "key.pem").read_bytes())
    body = json.loads(made.signature)
    body["signatures"][0]["sig"] = base64.b64encode(signer.sign(MANIFEST)).decode()
    replace(made, signature=json.dumps(body).encode()).refused("wrong_bytes")
    caught(kind.name, "algorithm swapped")


@pytest.mark.parametrize("kind", kinds(Dsse, Sigstore, SigstoreDsse))
def test_json_in_which_a_key_stands_twice_is_refused(kind: Any, bench: Bench) -> None:
    """Two readers would read two different things."""
    made = delivered(bench, kind)
    doubled = b'{"payloadType": "x", "mediaType": "x", ' + made.signature[1:]
    replace(made, signature=doubled).refused("format")
    caught(kind.name, "key twice in JSON")
