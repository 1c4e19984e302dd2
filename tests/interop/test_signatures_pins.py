"""What a contract pins beside a key, chains of certificates, and logs: each format's own ways to be fooled."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Publisher
from assay.intake import SignatureRefused, verify_signature
from tests.interop.authorities import X509, Authority, Cms, CmsPem, X509Authority, X509Ed25519
from tests.interop.cells import caught
from tests.interop.deliveries import MANIFEST, Delivered, delivered, kinds, today
from tests.interop.signers import (
    Bench,
    Dsse,
    DsseEd25519,
    Gpg,
    GpgBinary,
    GpgClear,
    GpgText,
    OpenSsh,
    OpenSshEcdsa,
    OpenSshRsa,
    Sigstore,
    SigstoreDsse,
)
from tests.interop.tools import ISSUER, OTHER_IDENTITY, OTHER_ISSUER, OTHER_NAMESPACE, Signer

A_DAY = dt.timedelta(days=1)
SSH = (OpenSsh, OpenSshRsa, OpenSshEcdsa)
PGP = (Gpg, GpgBinary, GpgText, GpgClear)
CERTIFIED = (X509, X509Ed25519, X509Authority, Cms, CmsPem)


# ------------------------------------------------------------------------------------------- who signed, and for what
@pytest.mark.parametrize("kind", kinds(*SSH))
def test_a_signature_for_another_namespace_is_refused(kind: type[Signer], bench: Bench) -> None:
    """A key that also signs commits does not let its commits pass as deliveries."""
    delivered(bench, kind).resigned(namespace=OTHER_NAMESPACE).refused("identity")
    caught(kind.name, "other namespace")


@pytest.mark.parametrize("kind", kinds(*SSH))
def test_a_namespace_that_is_rewritten_in_the_signature_is_refused(kind: type[Signer], bench: Bench) -> None:
    """The namespace is part of what is signed."""
    made = delivered(bench, kind)
    other = "assay-delivering"[: len("assay-delivery")].replace("delivery", "delivera")
    foreign = made.resigned(namespace=other).signature
    lines = foreign.splitlines()
    blob = base64.b64decode(b"".join(lines[1:-1])).replace(other.encode(), b"assay-delivery")
    forged = b"\n".join([lines[0], base64.b64encode(blob), lines[-1], b""])
    replace(made, signature=forged).refused("wrong_bytes")
    caught(kind.name, "namespace rewritten")


@pytest.mark.parametrize("kind", kinds(Sigstore, SigstoreDsse))
@pytest.mark.parametrize(
    ("attack", "more"),
    [("other identity", {"identity": OTHER_IDENTITY}), ("other issuer", {"issuer": OTHER_ISSUER})],
)
def test_a_bundle_of_somebody_else_is_refused(
    kind: type[Signer], attack: str, more: dict[str, str], bench: Bench
) -> None:
    """Anyone can sign with sigstore; identity and issuer both have to be the pinned ones."""
    delivered(bench, kind).resigned(**more).refused("identity")
    caught(kind.name, attack)


@pytest.mark.parametrize("kind", kinds(Dsse, DsseEd25519, SigstoreDsse))
def test_an_envelope_of_another_type_is_refused(kind: type[Signer], bench: Bench) -> None:
    """The same key signs other documents too."""
    delivered(bench, kind).resigned(kind="application/vnd.other+json").refused("identity")
    caught(kind.name, "other payload type")


@pytest.mark.parametrize("kind", kinds(*CERTIFIED))
@pytest.mark.parametrize(
    ("attack", "more", "reason"),
    [
        ("other identity", {"identity": OTHER_IDENTITY}, "identity"),
        ("other purpose", {"usage": "serverAuth"}, "identity"),
        ("expired certificate", {"until": -dt.timedelta(hours=1), "since": -2 * A_DAY}, "expired"),
        ("not yet valid certificate", {"since": dt.timedelta(hours=1)}, "not_yet_valid"),
    ],
)
def test_a_certificate_that_does_not_count_is_refused(
    kind: Any, attack: str, more: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """The chain leads up to what is pinned, and still the name, the purpose or the time is wrong."""
    signer = kind(tmp_path / "signer")
    signer.become(**more)
    Delivered(signer, MANIFEST, signer.sign(MANIFEST), (signer.key(),), signer.certificate()).refused(reason)
    caught(kind.name, attack)


@pytest.mark.parametrize("kind", kinds(X509Authority, Cms))
def test_a_certificate_that_a_signer_issued_is_refused(kind: Any, tmp_path: Path) -> None:
    """A signer is no authority, though its certificate leads up to the pinned one."""
    signer = kind(tmp_path / "signer")
    authority: Authority = signer.authority
    forged = authority.leaf("forged", usage=kind.usage, by="leaf")
    (tmp_path / "signer" / "key.pem").write_bytes(forged.with_suffix(".key").read_bytes())
    chain = authority.text("leaf", "between")
    (authority.folder / "between.pem").write_text(chain)
    for ending in (".pem", ".key"):
        (authority.folder / f"leaf{ending}").write_bytes(forged.with_suffix(ending).read_bytes())
    made = Delivered(signer, MANIFEST, signer.sign(MANIFEST), (signer.key(),), signer.certificate())
    made.refused("unknown_key")
    caught(kind.name, "issued by a signer")


@pytest.mark.parametrize("kind", kinds(X509Authority, Cms))
def test_a_revoked_signer_under_a_pinned_authority_is_refused(kind: Any, bench: Bench) -> None:
    """Listing its certificate with `revoked` is enough; the authority stays."""
    made = delivered(bench, kind)
    made.verify()
    leaf = {**made.keys[0], "public_key": made.signer.authority.text("leaf"), "revoked": str(today())}
    replace(made, keys=(*made.keys, leaf)).refused("revoked")
    caught(kind.name, "revoked certificate")


@pytest.mark.openssl
def test_a_signature_without_its_certificate_is_refused(bench: Bench) -> None:
    """Where the authority is pinned, the delivery has to say who signed."""
    made = delivered(bench, X509Authority)
    assert "certificate" in (replace(made, certificate=None).refused("format").next_step or "")
    replace(made, certificate=b"-----BEGIN CERTIFICATE-----\nAAAA\n").refused("format")
    caught("x509 CA", "certificate missing")


# ---------------------------------------------------------------------------------- keys that their owner has given up
@pytest.mark.parametrize("kind", kinds(*PGP))
def test_an_openpgp_key_that_its_owner_revoked_is_refused(kind: Any, tmp_path: Path) -> None:
    """The contract has no word of it, but the key that it lists does."""
    signer = kind(tmp_path / "signer")
    signature = signer.sign(MANIFEST)
    certificate = tmp_path / "signer" / "openpgp-revocs.d" / f"{signer.fingerprint}.rev"
    signer.gpg("--import", stdin=certificate.read_bytes().replace(b":-----BEGIN", b"-----BEGIN"))
    Delivered(signer, MANIFEST, signature, (signer.key(),)).refused("revoked")
    caught(kind.name, "revoked by its owner")


@pytest.mark.parametrize("kind", kinds(*PGP))
def test_an_openpgp_key_that_has_expired_is_refused(kind: Any, tmp_path: Path) -> None:
    """Though the contract sets no end."""
    signer = kind(tmp_path / "signer")
    signature = signer.sign(MANIFEST)
    signer.gpg("--quick-set-expire", signer.fingerprint, "seconds=1")
    made = Delivered(signer, MANIFEST, signature, (signer.key(),))
    publisher = Publisher.model_validate({"id": "census", "keys": list(made.keys)})
    with pytest.raises(SignatureRefused) as refused:
        verify_signature(signature if made.inline else MANIFEST, signature, publisher, today() + A_DAY)
    assert refused.value.reason == "expired"
    caught(kind.name, "expired by its owner")


@pytest.mark.gnupg
def test_unsigned_lines_around_a_clear_signed_text_are_refused(bench: Bench) -> None:
    """gpg passes over them; whoever parses the file would not."""
    made = delivered(bench, GpgClear)
    line = b"e" * 64 + b"  evil.csv\n"
    for forged in (line + made.signature, made.signature + line, made.signature + made.signature):
        replace(made, signature=forged).refused("format")
    header = made.signature.replace(b"\n\n", b"\nComment: " + line + b"\n", 1)
    refused = replace(made, signature=header)
    assert refused.signature != made.signature
    refused.refused("format", "wrong_bytes", "unknown_key")
    caught("openpgp clear-signed", "unsigned lines around")


@pytest.mark.parametrize("kind", kinds(GpgText, GpgClear))
def test_the_line_ends_of_signed_text_change_nothing(kind: type[Signer], bench: Bench) -> None:
    """A text that is signed as text may come with CRLF: what is parsed, and known again as a replay, stays the same."""
    made = delivered(bench, kind)
    if made.inline:
        moved = replace(made, signature=made.signature.replace(b"\n", b"\r\n"))
    else:
        moved = replace(made, manifest=made.manifest.replace(b"\n", b"\r\n"))
    assert moved != made
    assert moved.verify().payload == made.verify().payload == MANIFEST
    caught(kind.name, "CRLF")


# ------------------------------------------------------------------------------------------------------------ sigstore
@pytest.mark.parametrize("kind", kinds(Sigstore, SigstoreDsse))
@pytest.mark.parametrize(
    "attack", ["inclusion proof removed", "promise forged", "log time changed", "log entry of another bundle"]
)
def test_a_bundle_whose_log_entry_does_not_hold_is_refused(kind: Any, attack: str, bench: Bench) -> None:
    """The log is what makes a short-lived certificate worth something."""
    made = delivered(bench, kind)
    body = json.loads(made.signature)
    (entry,) = body["verificationMaterial"]["tlogEntries"]
    if attack == "inclusion proof removed":
        del entry["inclusionProof"]
    elif attack == "promise forged":
        entry["inclusionPromise"]["signedEntryTimestamp"] = base64.b64encode(b"0" * 70).decode()
    elif attack == "log time changed":
        entry["integratedTime"] = str(int(entry["integratedTime"]) + 1)
    else:
        other = json.loads(made.resigned(b"another").signature)
        body["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    replace(made, signature=json.dumps(body).encode()).refused("format", "wrong_bytes")
    caught(kind.name, attack)


@pytest.mark.openssl
def test_a_bundle_is_judged_on_the_day_of_the_log(bench: Bench) -> None:
    """A key that is revoked today still counts for what the log took yesterday, and no longer for what came after."""
    signer = bench.signer(Sigstore)
    now = dt.datetime.now(dt.UTC)
    before = signer.sign(MANIFEST, at=now - 2 * A_DAY)
    after = signer.sign(MANIFEST, at=now - dt.timedelta(minutes=2))
    key = {**signer.key(), "revoked": str((now - A_DAY).date())}
    made = Delivered(signer, MANIFEST, before, (key,))
    vouched = made.verify().vouched_at
    assert vouched == (now - 2 * A_DAY).replace(microsecond=0)
    replace(made, signature=after).refused("revoked")
    made.with_key(revoked=None, valid_from=str(now.date() - A_DAY)).refused("not_yet_valid")
    made.with_key(revoked=None, valid_until=str(now.date() - 3 * A_DAY)).refused("expired")
    caught("sigstore", "signed after the revocation")


@pytest.mark.parametrize("kind", kinds(Sigstore))
def test_a_bundle_under_another_trusted_root_is_refused(kind: Any, bench: Bench) -> None:
    """Even with the right identity and issuer: the authority that says so is not the contract's."""
    made = delivered(bench, kind)
    stranger = bench.signer(kind, "stranger").key()
    assert stranger["issuer"] == ISSUER
    replace(made, keys=(stranger,)).refused("unknown_key")
    caught(kind.name, "other trusted root")


# ----------------------------------------------------------------------------------------------- chains of certificates
class _LeafAlone(X509):
    """Nothing but the signer's own certificate is pinned."""

    pinned = ("leaf",)


class _CmsLeafAlone(Cms):
    pinned = ("leaf",)


@pytest.mark.openssl
@pytest.mark.parametrize("kind", [_LeafAlone, _CmsLeafAlone])
def test_a_signers_certificate_may_stand_alone(kind: Any, tmp_path: Path) -> None:
    """Then only this one counts, and not another that the same authority issued to the same name."""
    signer = kind(tmp_path / "signer")
    made = Delivered(signer, MANIFEST, signer.sign(MANIFEST), (signer.key(),))
    made.verify()
    signer.become()
    made.resigned().refused("wrong_bytes", "unknown_key")
    caught(kind.name, "certificate of another key")


@pytest.mark.openssl
@pytest.mark.parametrize("kind", [X509Authority, Cms])
def test_a_certificate_that_is_signed_with_sha1_is_refused(kind: Any, tmp_path: Path) -> None:
    """Another one with the same signature could be made."""
    signer = kind(tmp_path / "signer")
    signer.become(digest="-sha1")
    made = Delivered(signer, MANIFEST, signer.sign(MANIFEST), (signer.key(),), signer.certificate())
    made.refused("weak")
    caught(kind.name, "certificate signed with SHA-1")


@pytest.mark.openssl
def test_the_machines_own_authorities_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the environment nor by openssl's settings: only what the contract lists is trusted."""
    signer, stranger = X509Authority(tmp_path / "signer"), X509Authority(tmp_path / "stranger")
    monkeypatch.setenv("SSL_CERT_FILE", str(stranger.folder / "root.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(stranger.folder))
    made = Delivered(signer, MANIFEST, signer.sign(MANIFEST), (signer.key(),), signer.certificate())
    made.verify()
    made.resigned(by=stranger).refused("unknown_key")
    caught("x509 CA", "trusted by the machine alone")


@pytest.mark.gnupg
def test_the_users_own_keyring_means_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that this machine's user knows, and even trusts, is a stranger's unless the contract lists it."""
    signer, stranger = Gpg(tmp_path / "signer"), Gpg(tmp_path / "stranger")
    monkeypatch.setenv("GNUPGHOME", str(stranger.folder))
    made = Delivered(signer, MANIFEST, signer.sign(MANIFEST), (signer.key(),))
    made.verify()
    made.resigned(by=stranger).refused("unknown_key")
    caught("openpgp", "trusted by the user alone")


@pytest.mark.gnupg
def test_an_opaque_openpgp_message_is_no_detached_signature(bench: Bench) -> None:
    """It carries what it signs, and `gpg --verify` would look at that and not at the manifest."""
    made = delivered(bench, Gpg)
    for how in (("--sign",), ("--armor", "--sign"), ("--compress-algo", "zlib", "--sign")):
        opaque = made.signer.gpg("--yes", *how, "--output", "-", made.signer.file(MANIFEST))
        armored = opaque.replace(b"PGP MESSAGE", b"PGP SIGNATURE")
        for forged in (opaque, armored):
            replace(made, signature=forged).refused("format", "unknown_key", "wrong_bytes")
            replace(made, manifest=b"something else", signature=forged).refused(
                "format", "unknown_key", "wrong_bytes"
            )
    caught("openpgp", "content inside")


@pytest.mark.gnupg
def test_armor_whose_checksum_is_wrong_is_refused(bench: Bench) -> None:
    """gpg says that the signature is valid, and ends with an error."""
    made = delivered(bench, Gpg)
    lines = made.signature.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith(b"=")]
    lines[at] = b"=AAAA" if lines[at] != b"=AAAA" else b"=BBBB"
    replace(made, signature=b"\n".join([*lines, b""])).refused("format")
    caught("openpgp", "armor checksum")
