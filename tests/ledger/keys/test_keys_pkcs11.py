"""Keys on a token, with SoftHSM as the token: they sign for the ledger and for models, and never leave."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from copy import copy, deepcopy
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from assay.db import open_database
from assay.findings import Outcome, worst
from assay.ledger import LedgerKeyError, model_key, open_ledger, public_key_path, sign_statement, signing_key
from assay.ledger import verify_envelope as verify
from assay.ledger.keys.pkcs11 import TokenEd25519, TokenUri, pin_of
from assay.model import check_signature, sign_bundle
from tests.ledger.support import settings, statement

MODULE = next(
    (
        path
        for path in ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
        if Path(path).exists()
    ),
    "/usr/lib/softhsm/libsofthsm2.so",
)
PIN = "4711"


def uri(label: str, **more: str) -> str:
    """Where a key of the token is."""
    options = "&".join(f"{name}={value}" for name, value in {"module-path": MODULE, **more}.items())
    return f"pkcs11:token=assay%20keys;object={label}?{options}"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A token with an Ed25519 pair and a P-256 pair; its library is loaded once in a process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        command = ["softhsm2-util", "--init-token", "--free", "--label", "assay keys"]
        subprocess.run([*command, "--pin", PIN, "--so-pin", PIN], check=True, capture_output=True)
        import pkcs11
        from asn1crypto.core import PrintableString
        from pkcs11.util.ec import encode_named_curve_parameters

        edwards = PrintableString("edwards25519").dump()  # as PKCS#11 names that curve

        library = pkcs11.lib(MODULE)
        library.reinitialize()
        with library.get_token(token_label="assay keys").open(user_pin=PIN, rw=True) as session:
            for kind, label, parameters in (
                (pkcs11.KeyType.EC_EDWARDS, "ledger", edwards),
                (pkcs11.KeyType.EC_EDWARDS, "next", edwards),
                (pkcs11.KeyType.EC, "model", encode_named_curve_parameters("secp256r1")),
                (pkcs11.KeyType.EC, "large", encode_named_curve_parameters("secp384r1")),
            ):
                domain = session.create_domain_parameters(
                    kind, {pkcs11.Attribute.EC_PARAMS: parameters}, local=True
                )
                domain.generate_keypair(store=True, label=label)
        yield


@pytest.fixture
def tokened(token: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of someone whose keys are on the token."""
    monkeypatch.setenv("ASSAY_LEDGER_KEY_URI", uri("ledger"))
    monkeypatch.setenv("ASSAY_MODEL_KEY_URI", uri("model"))
    monkeypatch.setenv("ASSAY_PKCS11_PIN", PIN)


@pytest.mark.softhsm
def test_the_ledger_signs_with_a_key_on_a_token(tokened: None, assay_home: Path) -> None:
    """Entries and checkpoints verify with the public half alone; no private key is on the disk."""
    chosen = settings()
    log = open_ledger(chosen, open_database(chosen))
    for number in range(3):
        log.append(statement(number))
    assert worst(finding.outcome for finding in log.verify()) is Outcome.PASSED
    assert {path.name for path in chosen.keys_dir.iterdir()} == {"ledger.pub.pem"}
    assert PIN not in repr(chosen)


@pytest.mark.softhsm
def test_a_token_signs_statements_that_anyone_can_verify(tokened: None) -> None:
    """DSSE by securesystemslib, like with any other key."""
    key = signing_key(settings())
    assert verify(sign_statement(statement(1), key), key.public_key()).id == statement(1).id


@pytest.mark.softhsm
def test_models_are_signed_with_a_key_on_a_token(tokened: None, tmp_path: Path) -> None:
    """OpenSSF Model Signing, checked with the public half by the library's own verifier."""
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "weights.bin").write_bytes(b"weights")
    sign_bundle(bundle, model_key(settings()))
    found = check_signature(bundle, public_key_path(settings(), "model"))
    assert found.outcome is Outcome.PASSED
    (bundle / "weights.bin").write_bytes(b"other")
    assert check_signature(bundle, public_key_path(settings(), "model")).outcome is Outcome.FAILED


@pytest.mark.softhsm
def test_a_private_key_cannot_be_written_out(tokened: None) -> None:
    """Every way out of the token is refused; a copy is the same key."""
    forms = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    ledger, model = signing_key(settings()), model_key(settings())
    for way in (
        lambda: ledger.private_bytes(*forms),
        ledger.private_bytes_raw,
        lambda: model.private_bytes(*forms),
        model.private_numbers,
        lambda: model.exchange(ec.ECDH(), model.public_key()),
    ):
        with pytest.raises(LedgerKeyError, match="stays on the token"):
            way()
    assert copy(ledger) is deepcopy(ledger) is ledger
    assert copy(model) is deepcopy(model) is model
    assert (model.curve.name, model.key_size) == ("secp256r1", 256)


@pytest.mark.softhsm
@pytest.mark.parametrize(
    ("label", "pin"), [("ledger", "0000"), ("nobody", PIN), ("model", PIN)], ids=["pin", "object", "kind"]
)
def test_a_token_that_does_not_open_is_refused_by_name(
    label: str, pin: str, token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong PIN, a key that is not there, a key of another kind: nothing is signed."""
    monkeypatch.setenv("ASSAY_LEDGER_KEY_URI", uri(label))
    monkeypatch.setenv("ASSAY_PKCS11_PIN", pin)
    with pytest.raises(LedgerKeyError, match="on the token 'assay keys'"):
        signing_key(settings())


@pytest.mark.softhsm
def test_a_model_key_on_another_curve_is_refused(token: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """P-384 is no P-256."""
    monkeypatch.setenv("ASSAY_MODEL_KEY_URI", uri("large"))
    monkeypatch.setenv("ASSAY_PKCS11_PIN", PIN)
    with pytest.raises(LedgerKeyError, match="wrong kind"):
        model_key(settings())


@pytest.mark.softhsm
def test_another_token_key_than_the_pinned_one_is_refused(
    tokened: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public half pins it, wherever the private one is."""
    signing_key(settings())
    monkeypatch.setenv("ASSAY_LEDGER_KEY_URI", uri("next"))
    with pytest.raises(LedgerKeyError, match="does not belong"):
        signing_key(settings())


@pytest.mark.softhsm
def test_a_ledger_moves_onto_a_token_by_rotation(
    token: None, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began with a file; from the rotation on, the token signs."""
    chosen = settings()
    log = open_ledger(chosen, open_database(chosen))
    log.append(statement(0))
    log.rotate(TokenEd25519(TokenUri.parse(uri("next")), PIN), reason="onto the token")
    log.append(statement(1))
    assert worst(finding.outcome for finding in log.verify()) is Outcome.PASSED


def test_the_pin_comes_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    """`pin-source`, as RFC 7512 has it."""
    source = tmp_path / "pin"
    source.write_text(f"{PIN}\n")
    place = TokenUri.parse(uri("ledger", **{"pin-source": f"file:{source}"}))
    source.chmod(0o600)
    assert pin_of(place, None) == PIN
    source.chmod(0o644)
    with pytest.raises(LedgerKeyError, match="can be read by others"):
        pin_of(place, None)
    with pytest.raises(LedgerKeyError, match="cannot be read"):
        pin_of(TokenUri.parse(uri("ledger", **{"pin-source": str(tmp_path / "none")})), None)
    assert pin_of(TokenUri.parse(uri("ledger")), "1234") == "1234"


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:object=ledger?module-path=/x",
        "pkcs11:token=a;object=b",
        "pkcs11:token=a?module-path=/x",
        "file:token=a;object=b?module-path=/x",
        "pkcs11:token=a;object=b?module-path=/x&pin-value=1234",
        "",
    ],
)
def test_a_uri_that_lacks_a_part_or_carries_the_pin_is_refused(text: str) -> None:
    """The message shows the form, and never the PIN."""
    with pytest.raises(LedgerKeyError, match="cannot be used") as caught:
        TokenUri.parse(text)
    assert "1234" not in str(caught.value)
