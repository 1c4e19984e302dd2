"""Sealing, signing, loading and predicting with a bundle that was really trained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.errors import UsageError
from assay.findings import Outcome
from assay.model import (
    BundleRefused,
    LoadedModel,
    ModelKeyError,
    NoModelKey,
    bundle_digest,
    check_bundle,
    check_signature,
    load_bundle,
    model_id,
    model_public_key,
    seal_bundle,
    sign_bundle,
)
from assay.model.digest import NotPlain, private_copy
from assay.settings import Settings
from assay.train import PreprocessError, RunResult, read_curve
from tests.model import support
from tests.model.conftest import seal
from tests.model.support import Keys


def stock_verify(bundle: Path, public_key: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """OpenSSF's own command line."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle)]
    command += ["--signature", str(bundle / "model.sig"), "--public_key", str(public_key), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_sealed_bundle_passes_every_check(sealed: Path, keys: Keys):
    """Each check is made and named, the statement's signature too."""
    findings, model = check_bundle(sealed, keys.public, ledger_key=keys.ledger.public_key())
    assert {finding.check.removeprefix("model."): finding.outcome for finding in findings} == dict.fromkeys(
        (
            "files",
            "signature",
            "spec",
            "weights",
            "network",
            "finite",
            "preprocessing",
            "sources",
            "curve",
            "privacy",
            "native_format",
            "statement",
            "statement_signature",
        ),
        Outcome.PASSED,
    )
    assert model is not None
    assert model.id == sealed.name == model_id(bundle_digest(sealed))


def test_a_loaded_model_predicts_what_it_learned(model: LoadedModel, table: pa.Table):
    """Probabilities are rows that sum to one, classes are the contract's, and most of them are right."""
    probabilities = model.predict_proba(table)
    assert probabilities.shape == (table.num_rows, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    said = model.predict(table)
    assert set(said) == {"malignant", "benign"}
    assert np.mean(said == np.array(table["diagnosis"].to_pylist(), dtype=object)) > 0.9


def test_prediction_is_the_same_whole_or_in_pieces(
    model: LoadedModel, table: pa.Table, monkeypatch: pytest.MonkeyPatch
):
    """Memory is set by the piece, and the answers do not depend on it."""
    whole = model.predict_proba(table)
    monkeypatch.setattr("assay.model.bundle._CHUNK_ROWS", 100)
    np.testing.assert_allclose(model.predict_proba(table), whole, rtol=1e-6)
    assert model.predict(table.slice(0, 0)).shape == (0,)


def test_prediction_without_a_column_says_which(model: LoadedModel, table: pa.Table):
    """The message names the column that is missing."""
    with pytest.raises(PreprocessError, match="mean_texture"):
        model.predict(table.drop_columns(["mean_texture"]))


def test_loaded_weights_cannot_be_written_to(model: LoadedModel):
    """What passed the checks stays as it is."""
    with pytest.raises(ValueError, match="read-only"):
        model.weights["layers.0.bias"][0] = 1.0


def test_the_loaded_curve_is_the_bundles(model: LoadedModel, sealed: Path):
    """So that nobody needs to read the file again, unchecked."""
    assert list(model.curve) == read_curve(sealed / "curve.parquet")
    assert len(model.curve) == 12


# --------------------------------------------------------------------------------------------------------- sealing
def test_sealing_again_gives_the_same_bundle_once(trained: RunResult, keys: Keys, tmp_path: Path):
    """Same id, no second folder, nothing left over; a killed sealing's remains are swept."""
    first = seal(trained, tmp_path / "models", keys)
    (tmp_path / "models" / ".partial").mkdir()
    (tmp_path / "models" / ".partial" / "half").write_text("a killed sealing")
    assert seal(trained, tmp_path / "models", keys) == first
    assert os.listdir(tmp_path / "models") == [first.name]
    assert support.failures(first, keys) == []


def test_sealing_at_the_same_time_gives_one_bundle(trained: RunResult, keys: Keys, tmp_path: Path):
    """Two processes that finish the same run do not meet halfway."""
    places: list[Path] = []
    threads = [
        threading.Thread(target=lambda: places.append(seal(trained, tmp_path / "models", keys)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(places) == 4
    assert os.listdir(tmp_path / "models") == [places[0].name]
    assert support.failures(places[0], keys) == []


def test_a_bundle_is_private_to_its_owner(sealed: Path):
    """Folder 0700, files 0600."""
    assert sealed.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in sealed.iterdir()} == {0o600}


def test_a_changed_bundle_is_not_sealed_over(trained: RunResult, keys: Keys, tmp_path: Path):
    """What stands under the id but has another content is refused and left as evidence."""
    place = seal(trained, tmp_path / "models", keys)
    (place / "card.md").write_text("another card")
    with pytest.raises(BundleRefused, match="changed after it was sealed") as caught:
        seal(trained, tmp_path / "models", keys)
    assert caught.value.exit_code == 1
    assert (place / "card.md").read_text() == "another card"
    assert os.listdir(tmp_path / "models") == [place.name]


def test_sealing_again_after_a_change_of_key_signs_anew(trained: RunResult, keys: Keys, tmp_path: Path):
    """The files are the same, so that only the signature is made anew."""
    place = seal(trained, tmp_path / "models", keys)
    sign_bundle(place, keys.other_private)
    assert seal(trained, tmp_path / "models", keys) == place
    assert support.failures(place, keys) == []


@pytest.mark.parametrize("content", [b"no key", b"", None])
def test_a_key_that_cannot_sign_leaves_nothing_behind(
    trained: RunResult, keys: Keys, tmp_path: Path, content: bytes | None
):
    """Garbage, an empty file, no file: one message, no half bundle."""
    assert trained.bundle_dir is not None
    key = tmp_path / "key.pem"
    if content is not None:
        key.write_bytes(content)
    with pytest.raises(ModelKeyError, match="cannot sign models"):
        seal_bundle(trained.bundle_dir, tmp_path / "models", card="", statement="", private_key=key)
    assert os.listdir(tmp_path / "models") == []


def test_an_ed25519_key_cannot_sign_bundles(bundle: Path, tmp_path: Path):
    """The ledger's key in the models' place is refused by name."""
    key = tmp_path / "ledger.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(*support.SECRETS))
    with pytest.raises(ModelKeyError, match="cannot sign models"):
        sign_bundle(bundle, key)


# ----------------------------------------------------------------------------------------------- OpenSSF Model Signing
def test_the_stock_command_line_accepts_our_bundles(sealed: Path, keys: Keys):
    """Anyone can check a bundle with OpenSSF's own tool and the public key."""
    done = stock_verify(sealed, keys.public)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_stock_command_line_refuses_a_changed_bundle(bundle: Path, keys: Keys):
    """The signature is over the content of each file."""
    (bundle / "card.md").write_text("changed")
    done = stock_verify(bundle, keys.public)
    assert done.returncode != 0
    assert "card.md" in done.stderr + done.stdout


def test_the_signature_leaves_out_nothing_but_itself(sealed: Path):
    """No path of the signer's machine is in it, and Git's files would be signed too."""
    payload = support.signed_payload(sealed)
    assert payload["predicate"]["serialization"]["ignore_paths"] == ["model.sig"]
    assert {item["name"] for item in payload["predicate"]["resources"]} == {
        path.name for path in sealed.iterdir() if path.name != "model.sig"
    }


def test_a_bundle_verifies_from_any_folder_under_any_name(
    sealed: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Absolute or relative, moved or renamed."""
    support.copy_of(sealed, tmp_path, "renamed")
    monkeypatch.chdir(tmp_path)
    assert check_signature(Path("renamed"), keys.public).outcome is Outcome.PASSED
    monkeypatch.chdir(tmp_path / "renamed")
    assert check_signature(Path(), keys.public).outcome is Outcome.PASSED
    assert support.failures(Path(), keys) == []


def test_a_bundle_signed_from_a_relative_path_is_the_same(
    bundle: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
):
    """The signer's working directory does not matter."""
    monkeypatch.chdir(bundle.parent)
    sign_bundle(Path(bundle.name), keys.private)
    assert support.failures(bundle, keys) == []


def test_a_signature_that_ignores_more_than_itself_is_refused(bundle: Path, keys: Keys):
    """The stock tool lets a signature say which files do not count; whoever signs that way is not believed."""
    from model_signing import hashing, signing

    ignoring = hashing.Config().set_ignored_paths(paths=["model.sig", "weights.safetensors"])
    config = signing.Config().use_elliptic_key_signer(private_key=keys.private).set_hashing_config(ignoring)
    config.sign(bundle, bundle / "model.sig")
    (bundle / "weights.safetensors").write_bytes(b"anything")
    assert stock_verify(bundle, keys.public).returncode == 0
    found = check_signature(bundle, keys.public)
    assert found.outcome is Outcome.FAILED
    assert "weights.safetensors" in found.message


def test_a_signature_over_blake2_or_shards_is_refused(bundle: Path, keys: Keys):
    """Only the one form that we write is taken."""
    from model_signing import hashing, signing

    for config in (
        hashing.Config().use_file_serialization(hashing_algorithm="blake2"),
        hashing.Config().use_shard_serialization(),
    ):
        config.set_ignored_paths(paths=["model.sig"], ignore_git_paths=False)
        signer = signing.Config().use_elliptic_key_signer(private_key=keys.private)
        signer.set_hashing_config(config).sign(bundle, bundle / "model.sig")
        assert check_signature(bundle, keys.public).outcome is Outcome.FAILED


@pytest.mark.parametrize("name", ["extra.bin", ".gitignore", ".hidden"])
def test_a_file_that_was_not_signed_fails_the_signature(bundle: Path, keys: Keys, name: str):
    """Hidden files and Git's included, which the stock tool passes over."""
    (bundle / name).write_text("not signed")
    found = check_signature(bundle, keys.public)
    assert found.outcome is Outcome.FAILED
    assert name in found.message


def test_the_library_does_not_speak_on_standard_output(
    bundle: Path, keys: Keys, capsys: pytest.CaptureFixture[str]
):
    """Its remarks would break JSON output."""
    sig = bundle / "model.sig"
    document = json.loads(sig.read_bytes())
    document["verificationMaterial"]["publicKey"].pop("hint")
    sig.write_text(json.dumps(document))
    check_signature(bundle, keys.public)
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------------------------------- loading
def test_a_changed_byte_is_refused_before_anything_is_parsed(
    bundle: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
):
    """No parser sees a byte before the signature has passed."""

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("a parser was called")

    for name in ("read_spec", "read_weights", "check_curve", "read_unverified"):
        monkeypatch.setattr(f"assay.model.structure.{name}", parsed)
    monkeypatch.setattr("assay.model.bundle.examine", parsed)
    with (bundle / "spec.json").open("ab") as file:
        file.write(b" ")
    failed = support.failures(bundle, keys, thorough=True)
    assert [finding.check for finding in failed] == ["model.signature"]
    assert failed[0].technique == "AML.T0018"


def test_what_is_loaded_is_what_was_checked(
    bundle: Path, sealed_again: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
):
    """Files that are swapped between the check and the reading make no difference: both work on one private copy."""
    import assay.model.bundle as room

    before = load_bundle(bundle, keys.public)
    honest = room.check_signature

    def swapped(copy: Path, key: Path):
        found = honest(copy, key)
        for name in ("weights.safetensors", "spec.json", "curve.parquet", "statement.dsse.json"):
            (bundle / name).write_bytes((sealed_again / name).read_bytes())
        return found

    monkeypatch.setattr(room, "check_signature", swapped)
    after = load_bundle(bundle, keys.public)
    assert after.id == before.id
    np.testing.assert_array_equal(after.weights["layers.0.weight"], before.weights["layers.0.weight"])


def test_the_private_copy_goes_away(bundle: Path):
    """Also when what is done with it fails."""
    places: list[Path] = []

    def work() -> None:
        with private_copy(bundle) as copy:
            places.append(copy)
            assert copy.is_dir()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    assert not places[0].exists()


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_private_copy_is_made_of_plain_files_only(bundle: Path, kind: str):
    """A pipe is not waited for, a link not followed, a folder not entered."""
    odd = bundle / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "link":
        odd.symlink_to("/etc/passwd")
    else:
        odd.mkdir()
    with pytest.raises(NotPlain, match="odd"), private_copy(bundle):
        pass


def test_no_bundle_is_a_wrong_call(tmp_path: Path, keys: Keys):
    """The path is named; the exit code is that of usage."""
    with pytest.raises(UsageError, match="nothing") as caught:
        check_bundle(tmp_path / "nothing", keys.public)
    assert caught.value.exit_code == 2


def test_a_refused_bundle_names_each_check(bundle: Path, keys: Keys):
    """The error carries the findings, and its exit code is that of a failure."""
    (bundle / "card.md").write_text("changed")
    with pytest.raises(BundleRefused, match=r"model\.signature") as caught:
        load_bundle(bundle, keys.public)
    assert caught.value.exit_code == 1
    assert [finding.check for finding in caught.value.findings] == ["model.files", "model.signature"]


# ---------------------------------------------------------------------------------------------------------------- keys
@pytest.mark.parametrize("content", [None, b"no key", b"-----BEGIN PUBLIC KEY-----\n", "ed25519"])
def test_a_key_that_cannot_be_used_is_not_checked(
    sealed: Path, tmp_path: Path, keys: Keys, content: bytes | str | None
):
    """Missing, garbage, cut off, of another kind: the signature was not looked at, and nothing is loaded."""
    key = tmp_path / "key.pem"
    if content == "ed25519":
        from assay.ledger.keys.signing import public_pem

        key.write_bytes(public_pem(keys.ledger.public_key()))
    elif isinstance(content, bytes):
        key.write_bytes(content)
    found = check_signature(sealed, key)
    assert found.outcome is Outcome.NOT_CHECKED
    assert "key.pem" in found.message
    with pytest.raises(BundleRefused) as caught:
        load_bundle(sealed, key)
    assert caught.value.exit_code == 3


def test_without_any_key_there_is_nothing_to_check_with(assay_home: Path):
    """No key is made up for the occasion."""
    with pytest.raises(NoModelKey, match="no public key") as caught:
        model_public_key(Settings.from_env())
    assert caught.value.exit_code == 3
    assert not (assay_home / "keys").exists()


def test_the_public_key_is_found_by_way_of_the_private_one(keys: Keys, monkeypatch: pytest.MonkeyPatch):
    """A mounted private key pins its public half at first use."""
    keys.private.chmod(0o600)
    monkeypatch.setenv("ASSAY_MODEL_KEY_FILE", str(keys.private))
    assert model_public_key(Settings.from_env()).read_bytes() == keys.public.read_bytes()
