"""The keys of this Debian machine's archive: which of them vouch for its clear-signed InRelease, and which do not."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Publisher
from assay.intake import SignatureRefused, SignedBy, verify_signatures
from tests.intake.support import Line, finding, new_line, outcomes
from tests.interop.cells import caught
from tests.interop.deliveries import today

pytestmark = [pytest.mark.debian, pytest.mark.gnupg]
FORMAT = "Debian InRelease"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@pytest.fixture(scope="module")
def release() -> bytes:
    """The InRelease of a suite."""
    found = sorted(Path("/var/lib/apt/lists").glob("*_bookworm*_InRelease")) or sorted(
        Path("/var/lib/apt/lists").glob("*_InRelease")
    )
    return found[0].read_bytes()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All keys of Debian's keyring as a contract pins them, by fingerprint."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)

    def gpg(*arguments: str) -> str:
        command = [
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--no-default-keyring",
            "--keyring",
            KEYRING,
            *arguments,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    primary, wanted = [], False
    for row in gpg("--with-colons", "--list-keys").splitlines():
        wanted = wanted or row.startswith("pub:")
        if wanted and row.startswith("fpr:"):
            primary.append(row.split(":")[9])
            wanted = False
    return {
        each: {"format": "openpgp", "fingerprint": each, "public_key": gpg("--armor", "--export", each)}
        for each in primary
    }


def verify(release: bytes, keys: list[dict[str, Any]], threshold: int = 1) -> SignedBy:
    publisher = Publisher.model_validate({"id": "debian", "keys": keys})
    return verify_signatures(release, {"InRelease": release}, publisher, today(), threshold=threshold)


def test_several_keys_of_the_archive_signed_it(release: bytes, keys: dict[str, dict[str, Any]]) -> None:
    """One file carries the signatures of two releases' keys, and one more than there are cannot be had."""
    signed = verify(release, list(keys.values()), 2)
    assert len(set(signed.key_ids)) == len(signed.key_ids) >= 2
    assert signed.claimed_at is not None
    with pytest.raises(SignatureRefused) as refused:
        verify(release, list(keys.values()), len(signed.key_ids) + 1)
    assert refused.value.reason == "threshold"
    caught(FORMAT, "too few keys")


def test_only_the_text_that_was_signed_comes_back(release: bytes, keys: dict[str, dict[str, Any]]) -> None:
    """Without armor, and a line that begins with a dash as it was."""
    payload = verify(release, list(keys.values())).payload
    assert payload.startswith(b"Origin: ")
    assert b"-----BEGIN" not in payload
    assert b"PGP" not in payload[-200:]


def test_keys_that_did_not_sign_it_do_not_vouch(release: bytes, keys: dict[str, dict[str, Any]]) -> None:
    """Nor do those that did once they are revoked in the contract."""
    signers = {each.removeprefix("openpgp:") for each in verify(release, list(keys.values()), 2).key_ids}
    with pytest.raises(SignatureRefused) as refused:
        verify(release, [key for each, key in keys.items() if each not in signers])
    assert refused.value.reason == "unknown_key"
    caught(FORMAT, "other key")
    with pytest.raises(SignatureRefused) as refused:
        verify(release, [{**keys[each], "revoked": "2020-01-01"} for each in signers])
    assert refused.value.reason == "revoked"
    caught(FORMAT, "revoked key")
    for window, reason in (
        ({"valid_until": "2020-01-01"}, "expired"),
        ({"valid_from": "2999-01-01"}, "not_yet_valid"),
    ):
        with pytest.raises(SignatureRefused) as refused:
            verify(release, [{**keys[each], **window} for each in signers])
        assert refused.value.reason == reason
        caught(FORMAT, f"{reason.replace('_', ' ')} key")


@pytest.fixture
def line(tmp_path: Path, assay_home: Path) -> Iterator[Line]:
    """A registry and a store."""
    with new_line(tmp_path) as made:
        yield made


def test_without_gpg_nothing_of_inrelease_is_read(
    release: bytes,
    keys: dict[str, dict[str, Any]],
    line: Line,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What cannot be checked is put on hold, and no parser sees it."""
    folder = line.root / "archive"
    folder.mkdir()
    (folder / "InRelease").write_bytes(release)
    contract = line.contract(
        keys=list(keys.values()), sources=[line.source(manifest="InRelease", signature="InRelease")]
    )
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    result = line.verify(folder, contract)
    assert (result.outcome, result.verdict, result.files) == ("not_checked", "hold", ())
    assert "apt-get install gnupg" in finding(result, "intake.signature").message
    assert "intake.manifest" not in outcomes(result)
