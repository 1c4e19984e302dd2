"""Signing keys: made once, for their owner alone, and pinned."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.ledger import key_id, ledger_public_key, load_public_key, model_key, public_key_path, signing_key
from assay.ledger.errors import KeyNotWritten, LedgerKeyError
from assay.settings import Settings
from tests.ledger.support import KEY, OTHER_KEY, in_processes, settings


def pem(key, password: bytes | None = None) -> bytes:
    """A private key as PKCS#8."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def private_file(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """A file with a mode."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_key_is_made_at_first_use_for_its_owner_alone() -> None:
    """Mode 0600 in a folder of mode 0700; the second use reads the same key."""
    chosen = settings()
    first = signing_key(chosen)
    path = chosen.keys_dir / "ledger.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(chosen.keys_dir.stat().st_mode) == 0o700
    assert signing_key(chosen).public_key() == first.public_key()
    assert load_public_key(public_key_path(chosen, "ledger")) == first.public_key()


def test_no_other_file_is_left_beside_the_key() -> None:
    """No temporary copy of a private key remains."""
    chosen = settings()
    signing_key(chosen)
    model_key(chosen)
    names = {path.name for path in chosen.keys_dir.iterdir()}
    assert names == {".lock", "ledger.pem", "ledger.pub.pem", "model.pem", "model.pub.pem"}


def test_the_model_key_is_p256() -> None:
    """OpenSSF Model Signing knows no Ed25519."""
    chosen = settings()
    key = model_key(chosen)
    assert isinstance(key.curve, ec.SECP256R1)
    assert stat.S_IMODE((chosen.keys_dir / "model.pem").stat().st_mode) == 0o600
    assert model_key(chosen).private_numbers() == key.private_numbers()


def test_processes_that_start_together_agree_on_one_key() -> None:
    """Whoever is first makes the key; the others use it."""
    chosen = settings()
    seen = in_processes(4, lambda _: key_id(signing_key(chosen).public_key()))
    assert set(seen) == {key_id(signing_key(chosen).public_key())}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o660])
def test_a_key_that_others_can_read_is_refused(mode: int) -> None:
    """The message names the file, its mode and the command that mends it."""
    chosen = settings()
    signing_key(chosen)
    path = chosen.keys_dir / "ledger.pem"
    path.chmod(mode)
    with pytest.raises(LedgerKeyError, match="can be read by others") as caught:
        signing_key(chosen)
    assert caught.value.found == f"mode {mode:04o}"
    assert f"chmod 600 {path}" in str(caught.value)


def test_a_replaced_private_key_is_refused() -> None:
    """The public half pins it."""
    chosen = settings()
    signing_key(chosen)
    private_file(chosen.keys_dir / "ledger.pem", pem(OTHER_KEY))
    with pytest.raises(LedgerKeyError, match="does not belong to the public key"):
        signing_key(chosen)


def test_a_key_from_a_mounted_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASSAY_LEDGER_KEY_FILE and ASSAY_MODEL_KEY_FILE go before the home's keys; none is made there."""
    monkeypatch.setenv("ASSAY_LEDGER_KEY_FILE", str(private_file(tmp_path / "k", pem(KEY))))
    model = ec.generate_private_key(ec.SECP256R1())
    monkeypatch.setenv("ASSAY_MODEL_KEY_FILE", str(private_file(tmp_path / "m", pem(model))))
    chosen = settings()
    assert signing_key(chosen).public_key() == KEY.public_key()
    assert model_key(chosen).private_numbers() == model.private_numbers()
    assert not (chosen.keys_dir / "ledger.pem").exists()
    assert ledger_public_key(chosen) == KEY.public_key()


def test_a_key_from_the_environment_is_used_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """ASSAY_LEDGER_KEY holds PEM text; the settings do not print it."""
    monkeypatch.setenv("ASSAY_LEDGER_KEY", pem(KEY).decode())
    chosen = Settings.from_env()
    assert signing_key(chosen).public_key() == KEY.public_key()
    assert "PRIVATE" not in repr(chosen)


def test_a_mounted_key_needs_no_writable_folder(tmp_path: Path) -> None:
    """Where the public half cannot be written, the mounted key still signs."""
    (tmp_path / "file").touch()
    mounted = private_file(tmp_path / "k", pem(KEY))
    chosen = replace(settings(), ledger_key_file=mounted, keys_dir=tmp_path / "file" / "keys")
    assert signing_key(chosen).public_key() == KEY.public_key()
    with pytest.raises(KeyNotWritten, match="cannot be written"):
        signing_key(replace(chosen, ledger_key_file=None))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not a key", "is not a private key"),
        (b"", "is not a private key"),
        (pem(KEY, b"secret"), "is encrypted"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "is of the wrong kind"),
    ],
)
def test_a_file_that_holds_no_ledger_key_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    """Text, an empty file, an encrypted key and an elliptic-curve key each get their own words."""
    chosen = replace(settings(), ledger_key_file=private_file(tmp_path / "k", content))
    with pytest.raises(LedgerKeyError, match=told):
        signing_key(chosen)


def test_a_model_key_on_another_curve_is_refused(tmp_path: Path) -> None:
    """The message names the curve that was found, or the kind."""
    for key, found in ((ec.generate_private_key(ec.SECP384R1()), "secp384r1"), (KEY, "Ed25519PrivateKey")):
        chosen = replace(settings(), model_key_file=private_file(tmp_path / "k", pem(key)))
        with pytest.raises(LedgerKeyError, match="wrong kind") as caught:
            model_key(chosen)
        assert found in str(caught.value.found)


def test_a_key_file_that_is_not_there_or_not_a_file_is_refused(tmp_path: Path) -> None:
    """A missing file, and a folder."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "none", tmp_path, tmp_path / "pipe"):
        with pytest.raises(LedgerKeyError, match=r"cannot be read|not a plain file"):
            signing_key(replace(settings(), ledger_key_file=path))


def test_a_public_key_is_asked_for_without_making_one() -> None:
    """An auditor's look at an empty home leaves no key behind."""
    chosen = settings()
    assert ledger_public_key(chosen) is None
    assert not chosen.keys_dir.exists()


def test_a_public_key_comes_from_the_private_one_where_it_was_lost() -> None:
    """The pin is written again."""
    chosen = settings()
    key = signing_key(chosen)
    public_key_path(chosen, "ledger").unlink()
    assert ledger_public_key(chosen) == key.public_key()
    assert public_key_path(chosen, "ledger").exists()


def test_a_file_that_holds_no_public_key_is_refused(tmp_path: Path) -> None:
    """Missing, private instead of public, and of another kind."""
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    wrong_kind = other.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for content, told in (
        (None, "cannot be read"),
        (pem(KEY), "not a public key"),
        (wrong_kind, "wrong kind"),
    ):
        path = tmp_path / "key.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(LedgerKeyError, match=told):
            load_public_key(path)


def test_a_key_that_cannot_be_written_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk while the key is written: no half key, no temporary file."""
    chosen = settings()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(KeyNotWritten, match="cannot be written") as caught:
            signing_key(chosen)
    assert caught.value.found == "No space left on device"
    assert {path.name for path in chosen.keys_dir.iterdir()} == {".lock"}
    assert isinstance(signing_key(chosen), Ed25519PrivateKey)
