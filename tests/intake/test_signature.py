"""Signatures over manifests: whose count, when, and over which bytes."""

from __future__ import annotations

import base64
import datetime as dt
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.contract import Publisher
from assay.intake import KeysMissing, SignatureRefused, verify_signature
from assay.intake.publish import generate_key, sign_ed25519, sign_minisign

MANIFEST = f"{'a' * 64}  people.csv\n".encode()
TODAY = dt.date(2026, 3, 15)
FORMATS = ["minisign", "ed25519"]


class Signer:
    """A key pair and what it signs."""

    def __init__(self, folder: Path, format: str) -> None:
        self.format = format
        self.secret = folder / "key.secret"
        self.key = generate_key(self.secret, format)
        self.manifest = folder / "SHA256SUMS"
        self.manifest.write_bytes(MANIFEST)

    def sign(self, **more: Any) -> bytes:
        sign = sign_minisign if self.format == "minisign" else sign_ed25519
        return sign(self.manifest, self.secret, **more).read_bytes()

    def publisher(self, **more: Any) -> Publisher:
        key = {"format": self.key.format, "public_key": self.key.public_key} | more
        return Publisher.model_validate({"id": "census", "keys": [key]})


@pytest.fixture(params=FORMATS)
def signer(request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
    """A signer of either format."""
    return Signer(tmp_path, request.param)


def test_a_good_signature_says_whose_it_is(signer: Signer) -> None:
    """The key's id is the contract's name for it."""
    signed = verify_signature(MANIFEST, signer.sign(), signer.publisher(), TODAY)
    assert signed.key_id == signer.key.id


def test_minisign_is_read_in_its_legacy_and_its_prehashed_form(tmp_path: Path) -> None:
    """`Ed` signs the bytes, `ED` their BLAKE2b digest; the trusted comment comes with either."""
    signer = Signer(tmp_path, "minisign")
    for prehash, letters in ((False, b"Ed"), (True, b"ED")):
        signature = signer.sign(prehash=prehash, trusted_comment="timestamp:1\tsequence:7")
        assert base64.b64decode(signature.splitlines()[1])[:2] == letters
        signed = verify_signature(MANIFEST, signature, signer.publisher(), TODAY)
        assert signed.trusted_comment == "timestamp:1\tsequence:7"


def test_ed25519_is_read_raw_and_in_base64(tmp_path: Path) -> None:
    """64 bytes, or their base64 with or without a line end."""
    signer = Signer(tmp_path, "ed25519")
    raw = signer.sign(raw=True)
    assert len(raw) == 64
    for form in (raw, base64.b64encode(raw), base64.b64encode(raw) + b"\r\n"):
        assert verify_signature(MANIFEST, form, signer.publisher(), TODAY).trusted_comment is None


def test_a_plain_signature_is_read_as_one_whatever_byte_it_begins_with() -> None:
    """Some begin like JSON, like a CMS file or like an OpenPGP packet; formats are told apart by more than that."""
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    publisher = Publisher.model_validate(
        {"id": "census", "keys": [{"format": "ed25519", "public_key": public}]}
    )
    first = set()
    for number in range(4000):
        manifest = MANIFEST + str(number).encode()
        signature = key.sign(manifest)
        first.add(signature[0])
        assert verify_signature(manifest, signature, publisher, TODAY).payload == manifest
    assert {ord("{"), ord("-"), 0x30, 0x88, 0xC2} <= first


@pytest.mark.parametrize("position", [0, 1, 40, -1])
def test_a_flipped_byte_of_the_manifest_is_refused(signer: Signer, position: int) -> None:
    """Wherever it is."""
    changed = bytearray(MANIFEST)
    changed[position] ^= 1
    with pytest.raises(SignatureRefused) as raised:
        verify_signature(bytes(changed), signer.sign(), signer.publisher(), TODAY)
    assert raised.value.reason == "wrong_bytes"


def test_any_flipped_byte_of_a_raw_signature_is_refused(tmp_path: Path) -> None:
    """All 64 of them count."""
    signer = Signer(tmp_path, "ed25519")
    signature = signer.sign(raw=True)
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 0x10
        with pytest.raises(SignatureRefused):
            verify_signature(MANIFEST, bytes(changed), signer.publisher(), TODAY)


def test_any_changed_letter_of_a_minisign_signature_is_refused_but_for_the_untrusted_comment(
    tmp_path: Path,
) -> None:
    """The untrusted comment is not signed, and nothing of it is used; all else is signed or says how to check."""
    signer = Signer(tmp_path, "minisign")
    signature = signer.sign(trusted_comment="timestamp:1700000000")
    first_line = signature.index(b"\n")
    for position in range(first_line + 1, len(signature) - 1):
        changed = bytearray(signature)
        changed[position] = ord("7") if changed[position] != ord("7") else ord("8")
        with pytest.raises(SignatureRefused):
            verify_signature(MANIFEST, bytes(changed), signer.publisher(), TODAY)
    free = b"untrusted comment: sequence:99" + signature[first_line:]
    assert (
        verify_signature(MANIFEST, free, signer.publisher(), TODAY).trusted_comment == "timestamp:1700000000"
    )


def test_a_trusted_comment_of_another_signature_is_refused(tmp_path: Path) -> None:
    """It is bound to the signature above it: a newer date cannot be grafted on."""
    signer = Signer(tmp_path, "minisign")
    old = signer.sign(trusted_comment="sequence:1").splitlines()
    new = signer.sign(trusted_comment="sequence:2").splitlines()
    assert old[1] == new[1]  # Ed25519 is deterministic: the same manifest has the same signature
    signer.manifest.write_bytes(MANIFEST + b"more")
    other = signer.sign(trusted_comment="sequence:3").splitlines()
    with pytest.raises(SignatureRefused) as raised:
        verify_signature(MANIFEST, b"\n".join([*old[:2], *other[2:]]), signer.publisher(), TODAY)
    assert raised.value.reason == "wrong_bytes"


def test_a_signature_by_another_key_is_refused(signer: Signer, tmp_path: Path) -> None:
    """A valid signature by somebody whom the contract does not know is none."""
    (tmp_path / "stranger").mkdir()
    stranger = Signer(tmp_path / "stranger", signer.format)
    with pytest.raises(SignatureRefused) as raised:
        verify_signature(MANIFEST, stranger.sign(), signer.publisher(), TODAY)
    assert raised.value.reason == {"minisign": "unknown_key", "ed25519": "wrong_bytes"}[signer.format]
    assert signer.key.id in str(raised.value)


def test_a_forged_key_id_does_not_help(tmp_path: Path) -> None:
    """minisign's key id is only a name: another key under the same name fails on its bytes."""
    signer = Signer(tmp_path, "minisign")
    (tmp_path / "stranger").mkdir()
    stranger = Signer(tmp_path / "stranger", "minisign")
    lines = stranger.sign().splitlines()
    blob = base64.b64decode(lines[1])
    name = base64.b64decode(signer.key.public_key)[2:10]
    lines[1] = base64.b64encode(blob[:2] + name + blob[10:])
    with pytest.raises(SignatureRefused) as raised:
        verify_signature(MANIFEST, b"\n".join(lines), signer.publisher(), TODAY)
    assert raised.value.reason == "wrong_bytes"


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ({"valid_from": "2026-03-16"}, "not_yet_valid"),
        ({"valid_until": "2026-03-14"}, "expired"),
        ({"revoked": "2026-03-15", "revoked_reason": "laptop stolen"}, "revoked"),
        ({"revoked": "2026-03-01", "valid_from": "2026-01-01", "valid_until": "2026-12-31"}, "revoked"),
    ],
)
def test_a_key_outside_its_time_does_not_count(signer: Signer, window: dict[str, str], reason: str) -> None:
    """The signature fits, the key is the publisher's, and still it is refused, with the reason."""
    with pytest.raises(SignatureRefused) as raised:
        verify_signature(MANIFEST, signer.sign(), signer.publisher(**window), TODAY)
    assert raised.value.reason == reason
    assert ("laptop stolen" in str(raised.value)) == ("revoked_reason" in window)


@pytest.mark.parametrize(
    "window",
    [{"valid_from": "2026-03-15"}, {"valid_until": "2026-03-15"}, {"revoked": "2026-03-16"}],
)
def test_the_first_and_the_last_day_count(signer: Signer, window: dict[str, str]) -> None:
    """Windows include both ends; a revocation works from its own day on."""
    assert (
        verify_signature(MANIFEST, signer.sign(), signer.publisher(**window), TODAY).key_id == signer.key.id
    )


def test_a_key_counts_only_for_signatures_of_its_own_format(tmp_path: Path) -> None:
    """The same Ed25519 key, listed as minisign's, does not vouch for a raw signature, which lacks the comment."""
    signer = Signer(tmp_path, "minisign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from minisign import SecretKey

    seed = bytes(SecretKey.from_file(signer.secret)._keynum_sk.secret_key)
    raw = Ed25519PrivateKey.from_private_bytes(seed).sign(MANIFEST)
    with pytest.raises(SignatureRefused) as raised:
        verify_signature(MANIFEST, raw, signer.publisher(), TODAY)
    assert raised.value.reason == "unknown_key"


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\0" * 63,
        b"A" * 65,
        b"-----BEGIN PGP SIGNATURE-----\n\niQEzBA==\n-----END PGP SIGNATURE-----\n",
        base64.b64encode(b"x" * 63),
        b"untrusted comment: nothing more",
        b"untrusted comment: x\nRU\ntrusted comment: y\nAA==\n",
        b"untrusted comment: x\n"
        + base64.b64encode(b"XX" + b"\0" * 72)
        + b"\ntrusted comment: y\n"
        + b"A" * 86
        + b"==\n",
        b"untrusted comment: " + b"x" * 20_000,
    ],
)
def test_a_file_that_is_no_signature_is_refused_as_such(signer: Signer, signature: bytes) -> None:
    """Whatever lies in the signature's place, the answer is an error for people; one in another format has no key."""
    with pytest.raises(SignatureRefused) as raised:
        verify_signature(MANIFEST, signature, signer.publisher(), TODAY)
    frames = {"minisign": b"untrusted comment:", "ed25519": b"no frame"}
    other = signature.startswith((b"-----BEGIN PGP", b"untrusted comment:")) and not signature.startswith(
        frames[signer.format]
    )
    assert raised.value.reason == ("unknown_key" if other else "format")
    assert raised.value.next_step


def test_a_publisher_without_keys_cannot_be_checked(signer: Signer) -> None:
    """A missing key is `not checked`, never passed."""
    with pytest.raises(KeysMissing, match="has no key") as raised:
        verify_signature(MANIFEST, signer.sign(), Publisher(id="census"), TODAY)
    assert raised.value.exit_code == 3


@pytest.mark.minisign
def test_the_minisign_tool_accepts_what_is_signed_here(tmp_path: Path) -> None:
    """Both forms, with the public key as a contract holds it."""
    signer = Signer(tmp_path, "minisign")
    for prehash in (True, False):
        signer.sign(prehash=prehash)
        done = subprocess.run(
            ["minisign", "-V", "-P", signer.key.public_key, "-m", str(signer.manifest)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "Signature and comment signature verified" in done.stdout


@pytest.mark.minisign
def test_the_minisign_tool_signs_with_a_key_made_here(tmp_path: Path) -> None:
    """The secret key file is in the tool's own form."""
    signer = Signer(tmp_path, "minisign")
    subprocess.run(
        ["minisign", "-S", "-s", str(signer.secret), "-m", str(signer.manifest)],
        check=True,
        capture_output=True,
    )
    signature = signer.manifest.with_name("SHA256SUMS.minisig").read_bytes()
    assert verify_signature(MANIFEST, signature, signer.publisher(), TODAY).key_id == signer.key.id


@pytest.mark.minisign
@pytest.mark.parametrize("option", [[], ["-l"]])
def test_what_the_minisign_tool_signs_is_accepted_here(tmp_path: Path, option: list[str]) -> None:
    """With a key of the tool's, prehashed and legacy; its key id is the one that the tool prints."""
    manifest, public, secret = tmp_path / "SHA256SUMS", tmp_path / "key.pub", tmp_path / "key.secret"
    manifest.write_bytes(MANIFEST)
    subprocess.run(
        ["minisign", "-G", "-W", "-p", str(public), "-s", str(secret)], check=True, capture_output=True
    )
    subprocess.run(
        ["minisign", "-S", *option, "-s", str(secret), "-m", str(manifest), "-t", "sequence:12"],
        check=True,
        capture_output=True,
    )
    comment, line = public.read_text().splitlines()
    publisher = Publisher.model_validate(
        {"id": "census", "keys": [{"format": "minisign", "public_key": line}]}
    )
    signed = verify_signature(
        MANIFEST, manifest.with_name("SHA256SUMS.minisig").read_bytes(), publisher, TODAY
    )
    assert signed.trusted_comment == "sequence:12"
    assert int(signed.key_id.removeprefix("minisign:"), 16) == int(comment.rpartition(" ")[2], 16)
