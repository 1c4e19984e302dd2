"""Damaged and invented signatures: refused in words, never with another payload, never where the real tool refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from assay.contract import Key, Publisher
from assay.contract.keyforms import KEY_FORMATS, KeyFormat
from assay.intake import SignatureRefused, SignedBy, verify_signature
from tests.fuzz.limits import limited
from tests.fuzz.mutations import TOKENS, Mutation, mutated, mutations
from tests.interop import signers as kinds
from tests.interop.deliveries import MANIFEST, Delivered, delivered, today
from tests.interop.signers import Bench
from tests.interop.tools import Signer

KINDS = (
    *(kinds.Minisign, kinds.Signify, kinds.SignifyEmbedded, kinds.Ed25519, kinds.PemP384, kinds.PemRsa),
    *(
        kinds.X509Authority,
        kinds.Cms,
        kinds.CmsPem,
        kinds.OpenSsh,
        kinds.Gpg,
        kinds.GpgBinary,
        kinds.GpgClear,
    ),
    *(kinds.Dsse, kinds.Sigstore, kinds.SigstoreDsse, kinds.Jws, kinds.JwsUnencoded),
)
PARAMETERS = [
    pytest.param(kind, id=kind.name.replace(" ", "_"), marks=getattr(pytest.mark, kind.part))
    for kind in KINDS
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Signers that all tests of this file share."""
    return Bench(tmp_path_factory.mktemp("signers"))


def verify(made: Delivered, manifest: bytes, signature: bytes, certificate: bytes | None) -> SignedBy | None:
    """What verification says; None if it refuses in words. Any other exception ends the test."""
    publisher = Publisher.model_validate({"id": "census", "keys": list(made.keys)})
    try:
        return verify_signature(manifest, signature, publisher, today(), certificate=certificate)
    except SignatureRefused:
        return None


@pytest.mark.parametrize("kind", PARAMETERS)
@limited
@given(changes=mutations)
@example(changes=[("cut", 0.0, b"")])
@example(changes=[("cut", 0.5, b"")])
@example(changes=[("flip", 0.0, b"")])
@example(changes=[("flip", 0.99, b"")])
@example(changes=[("insert", 1.0, b"\n")])
@example(changes=[("insert", 0.0, b"\n")])
@example(changes=[("insert", 0.5, b"\0")])  # gpg says VALIDSIG all the same, and fails
@example(changes=[("insert", 0.125, b"\0")])  # in a comment: the tools take text only
@example(changes=[("insert", 0.25, b"\x88\x00")])
@example(changes=[("delete", 0.999, b"")])  # signify wants the last line end
@example(changes=[("repeat", 0.0, b"x" * 12)])
@example(changes=[("delete", 0.3, b"x" * 12)])
@example(changes=[("replace", 0.01, b"\x30\x84\xff\xff\xff\xff")])
@example(changes=[("swap", 0.5, b"")])
def test_a_damaged_signature_is_refused_or_vouches_for_the_same(
    kind: type[Signer], changes: list[Mutation], bench: Bench
) -> None:
    """What no signature covers may change (a comment, a line end); what is vouched for may not."""
    made = delivered(bench, kind)
    damaged = mutated(made.signature, changes)
    signed = verify(made, damaged if made.inline else MANIFEST, damaged, made.certificate)
    if signed is not None:
        assert signed.payload == MANIFEST
        assert signed.trusted_comment in {None, "sequence:1"}
        accepts = REAL.get(kind)
        assert accepts is None or accepts(bench.signer(kind), damaged)


@pytest.mark.parametrize("kind", PARAMETERS)
@limited
@given(changes=mutations)
@example(changes=[("insert", 1.0, b"\n")])
@example(changes=[("insert", 0.5, b"\r")])
@example(changes=[("cut", 0.0, b"")])
def test_a_damaged_manifest_is_refused(kind: type[Signer], changes: list[Mutation], bench: Bench) -> None:
    """Whatever became of it, the signature does not cover it."""
    made = delivered(bench, kind)
    damaged = mutated(MANIFEST, changes)
    attacked = made.changed(lambda data: damaged)
    manifest = attacked.signature if made.inline else attacked.manifest
    signed = verify(made, manifest, attacked.signature, made.certificate)
    assert signed is None or signed.payload == MANIFEST


@pytest.mark.parametrize("kind", PARAMETERS)
@limited
@given(start=st.sampled_from(TOKENS), data=st.binary(max_size=400))
@example(start=b"", data=b"\x30\x82\x01\x00\x06\x09*\x86H\x86\xf7\r\x01\x07\x02\xa0\x80")
@example(start=b"", data=b"\x88\x04\x04\x00\x00\x00")
@example(start=b"{", data=b'"payloadType": 1, "payload": [], "signatures": {}}')
@example(start=b"{", data=b'"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": 0}')
@example(start=b"", data=b"[" * 100_000)
@example(start=b"{", data=b'"a":' + b"[" * 100_000)
@example(start=b"", data=b"eyJhbGciOiJub25lIn0..")
def test_an_invented_signature_is_refused(
    kind: type[Signer], start: bytes, data: bytes, bench: Bench
) -> None:
    """Nobody signed it, inside or beside."""
    made = delivered(bench, kind)
    for manifest in (MANIFEST, start + data):
        assert verify(made, manifest, start + data, made.certificate) is None


@pytest.mark.openssl
@limited
@given(changes=mutations)
@example(changes=[("cut", 0.9, b"")])
@example(changes=[("flip", 0.1, b"")])  # a key of no known algorithm
def test_a_damaged_certificate_does_not_help(changes: list[Mutation], bench: Bench) -> None:
    """It is refused, or is the same signer's."""
    made = delivered(bench, kinds.X509Authority)
    assert made.certificate is not None
    signed = verify(made, MANIFEST, made.signature, mutated(made.certificate, changes))
    assert signed is None or signed.key_id.startswith("x509:")


@limited
@given(
    format=st.sampled_from(KEY_FORMATS),
    text=st.one_of(st.text(max_size=200), st.sampled_from([token.decode("latin-1") for token in TOKENS])),
    pins=st.dictionaries(
        st.sampled_from(["identity", "namespace", "issuer", "fingerprint"]), st.text(max_size=40)
    ),
)
@example(format="sigstore", text="[" * 50_000, pins={"identity": "a", "issuer": "b"})
@example(format="openssh", text="ssh-ed25519 AAAA", pins={"identity": "a", "namespace": "b"})
@example(format="x509", text="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", pins={})
def test_no_invented_key_ends_in_a_traceback(format: KeyFormat, text: str, pins: dict[str, str]) -> None:
    """A contract is refused with a problem for people."""
    with pytest.raises(ValidationError):
        Key.model_validate({"format": format, "public_key": text, **pins})


def _minisign(signer: Any, signature: bytes) -> bool:
    (signer.folder / "x.minisig").write_bytes(signature)
    return _runs(
        ["minisign", "-V", "-p", signer.folder / "key.pub", "-x", signer.folder / "x.minisig"], signer
    )


def _signify(signer: Any, signature: bytes) -> bool:
    (signer.folder / "x.sig").write_bytes(signature)
    return _runs(
        ["signify-openbsd", "-V", "-p", signer.folder / "key.pub", "-x", signer.folder / "x.sig"], signer
    )


def _ssh(signer: Any, signature: bytes) -> bool:
    (signer.folder / "x.sig").write_bytes(signature)
    (signer.folder / "allowed").write_text(f"me {signer.key()['public_key']}")
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-n",
        kinds.NAMESPACE,
        "-I",
        "me",
        "-f",
        signer.folder / "allowed",
    ]
    done = subprocess.run(
        [*command, "-s", signer.folder / "x.sig"], input=MANIFEST, capture_output=True, check=False
    )
    return done.returncode == 0


def _gpg(signer: Any, signature: bytes) -> bool:
    (signer.folder / "x.sig").write_bytes(signature)
    (signer.folder / "x").write_bytes(MANIFEST)
    data = [] if signer.inline else [signer.folder / "x"]
    command = ["gpg", "--homedir", signer.folder, "--batch", "--verify", signer.folder / "x.sig", *data]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _runs(command: list[str | Path], signer: Any) -> bool:
    (signer.folder / "x").write_bytes(MANIFEST)
    done = subprocess.run([*command, "-m", signer.folder / "x"], capture_output=True, check=False)
    return done.returncode == 0


REAL: dict[type[Signer], Callable[[Any, bytes], bool]] = {
    kinds.Minisign: _minisign,
    kinds.Signify: _signify,
    kinds.OpenSsh: _ssh,
    kinds.Gpg: _gpg,
    kinds.GpgBinary: _gpg,
    kinds.GpgClear: _gpg,
}
