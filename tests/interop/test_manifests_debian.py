"""The Debian machine's own package lists, as a delivery: its real `InRelease`, its real keyring, its real indexes."""

from __future__ import annotations

import datetime as dt
import functools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Contract
from tests.intake.support import Line, finding, new_line, outcomes, rejected_for
from tests.interop.cells import caught

pytestmark = [pytest.mark.debian, pytest.mark.gnupg]
NAME = "Debian InRelease"
LISTS = Path("/var/lib/apt/lists")
KEYRINGS = Path("/usr/share/keyrings")


def _lists() -> list[tuple[Path, Path, str]]:
    """(InRelease, an index that apt keeps, the index's path in the archive), smallest first."""
    found = []
    for release in LISTS.glob("*_InRelease"):
        if b"\nOrigin: Debian\n" not in release.read_bytes():
            continue
        prefix = release.name.removesuffix("InRelease")
        for index in LISTS.glob(f"{prefix}*_binary-*_Packages.lz4"):
            path = index.name.removeprefix(prefix).removesuffix(".lz4").replace("_", "/")
            found.append((release, index, path))
    return sorted(found, key=lambda each: each[1].stat().st_size)


@functools.cache
def _publisher(release: Path) -> dict[str, Any]:
    """The archive's key that signed it, from the machine's own keyring."""
    for keyring in sorted(KEYRINGS.glob("debian-archive-*automatic.gpg")):
        checked = subprocess.run(
            ["gpgv", "--keyring", str(keyring), "--status-fd", "1", "--output", "/dev/null", str(release)],
            capture_output=True,
            text=True,
        )
        valid = re.search(r"VALIDSIG .* ([0-9A-F]{40})$", checked.stdout, re.MULTILINE)
        if valid is None:
            continue
        armored = subprocess.run(
            ["gpg", "--no-default-keyring", "--keyring", str(keyring), "--armor", "--export", valid[1]],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        key = {"format": "openpgp", "public_key": armored, "fingerprint": valid[1]}
        return {"id": "debian", "keys": [key]}
    raise AssertionError(f"no keyring in {KEYRINGS} has a key that signed {release.name}")


class Archive:
    """One index of the archive with the InRelease that lists it."""

    def __init__(self, line: Line, folder: Path, archive: tuple[Path, Path, str]) -> None:
        release, index, self.path = archive
        self.line, self.folder = line, folder
        (folder / self.path).parent.mkdir(parents=True)
        shutil.copy(release, folder / "InRelease")
        with (folder / self.path).open("wb") as file:
            subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", str(index)], stdout=file, check=True)
        self.release, self.index = folder / "InRelease", folder / self.path
        self.publisher = _publisher(release)

    def contract(self, **more: Any) -> Contract:
        """As somebody writes it who takes this index from Debian."""
        source = {
            "id": "west",
            "publisher": "debian",
            "uri": "debian/",
            "manifest": "InRelease",
            "signature": "InRelease",
            "files": [self.path],
        }
        return self.line.contract(publishers=[self.publisher], sources=[source | more])


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    """The smallest one that this machine has."""
    with new_line(tmp_path) as line:
        folder = tmp_path / "archive"
        folder.mkdir()
        yield Archive(line, folder, _lists()[0])


def test_the_machines_own_inrelease_is_accepted(archive: Archive) -> None:
    """Clear-signed by the archive's key, and the index is what it lists; its date orders deliveries."""
    result = archive.line.verify(archive.folder, archive.contract())
    assert (result.outcome, result.verdict) == ("passed", "accept"), outcomes(result)
    assert result.key_id == f"openpgp:{archive.publisher['keys'][0]['fingerprint']}"
    assert [file.path for file in result.files] == [archive.path]
    assert result.signed_at is not None
    assert finding(result, "intake.manifest").evidence["format"] == "debian"


def test_without_files_in_the_contract_completeness_is_open(archive: Archive) -> None:
    """A Release lists a whole archive: what came is right, whether it is all is not known."""
    result = archive.line.verify(archive.folder, archive.contract(files=[]))
    assert outcomes(result)["intake.checksums"] == "passed"
    open_ = finding(result, "intake.completeness")
    assert (open_.outcome, result.verdict) == ("not_checked", "hold")
    assert "`files`" in open_.message


def _flip(path: Path, where: Callable[[bytes], int]) -> None:
    data = bytearray(path.read_bytes())
    data[where(bytes(data))] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("attack", "where"),
    [
        ("flipped byte in manifest", lambda data: data.index(b"SHA256:") + 40),
        ("flipped byte in header", lambda data: data.index(b"Suite:") + 8),
        ("flipped byte in signature", lambda data: data.rindex(b"BEGIN PGP SIGNATURE") + 200),
    ],
)
def test_one_flipped_byte_in_the_inrelease_is_caught(
    archive: Archive, attack: str, where: Callable[[bytes], int]
) -> None:
    """Nothing in it is parsed then."""
    _flip(archive.release, where)
    result = archive.line.verify(archive.folder, archive.contract())
    rejected_for(result, "intake.signature")
    assert "intake.manifest" not in outcomes(result)
    caught(NAME, attack)


def test_one_flipped_byte_in_the_index_is_caught(archive: Archive) -> None:
    """As apt would say: hash sum mismatch."""
    _flip(archive.index, lambda data: len(data) // 2)
    rejected_for(archive.line.verify(archive.folder, archive.contract()), "intake.checksums")
    caught(NAME, "flipped byte in data")


def test_a_truncated_index_is_caught(archive: Archive) -> None:
    """Size and digest differ."""
    archive.index.write_bytes(archive.index.read_bytes()[:-100])
    failed = rejected_for(archive.line.verify(archive.folder, archive.contract()), "intake.checksums")
    assert (
        failed.evidence["wrong_files"][0]["expected_size"] == failed.evidence["wrong_files"][0]["size"] + 100
    )
    caught(NAME, "truncated data")


def test_a_truncated_inrelease_is_caught(archive: Archive) -> None:
    """The signature went with the end of it."""
    archive.release.write_bytes(archive.release.read_bytes()[:2000])
    rejected_for(archive.line.verify(archive.folder, archive.contract()), "intake.signature")
    caught(NAME, "truncated manifest")


@pytest.mark.parametrize("where", ["before", "behind"])
def test_unsigned_text_around_the_signed_block_is_caught_or_not_used(archive: Archive, where: str) -> None:
    """A digest that stands outside of what was signed never counts."""
    archive.index.write_bytes(b"Package: evil\n")
    line = f"SHA256:\n {'0' * 64} 14 {archive.path}\n".encode()
    text = archive.release.read_bytes()
    archive.release.write_bytes(line + text if where == "before" else text + line)
    result = archive.line.verify(archive.folder, archive.contract())
    assert result.verdict == "reject"
    assert {check for check, said in outcomes(result).items() if said == "failed"} <= {
        "intake.signature",
        "intake.checksums",
    }
    caught(NAME, f"unsigned text {where} it")


def test_a_missing_index_is_caught(archive: Archive) -> None:
    """The contract names it in `files`."""
    archive.index.unlink()
    rejected_for(archive.line.verify(archive.folder, archive.contract()), "intake.completeness")
    caught(NAME, "missing file")


def test_a_renamed_index_is_caught(archive: Archive) -> None:
    """Its bytes are right."""
    archive.index.rename(archive.index.with_name("Packages.old"))
    rejected_for(archive.line.verify(archive.folder, archive.contract()), "intake.completeness")
    caught(NAME, "renamed file")


def test_an_unlisted_file_is_caught(archive: Archive) -> None:
    """Though an archive lists more than a delivery has, a delivery has no more than is listed."""
    (archive.index.parent / "Extra").write_bytes(b"x")
    rejected_for(archive.line.verify(archive.folder, archive.contract()), "intake.completeness")
    caught(NAME, "extra file")


def test_a_link_is_caught(archive: Archive, tmp_path: Path) -> None:
    """In the place of the index."""
    archive.index.rename(tmp_path / "moved")
    archive.index.symlink_to(tmp_path / "moved")
    rejected_for(archive.line.verify(archive.folder, archive.contract()), "intake.completeness")
    caught(NAME, "symlink")


def test_a_wanted_file_that_is_not_listed_is_caught(archive: Archive) -> None:
    """The contract names a file that the archive does not have."""
    contract = archive.contract(files=[archive.path, "main/binary-vax/Packages"])
    failed = rejected_for(archive.line.verify(archive.folder, contract), "intake.completeness")
    assert "main/binary-vax/Packages" in failed.message
    caught(NAME, "wanted file not listed")


def test_the_plain_release_without_its_signature_is_not_used(archive: Archive) -> None:
    """An InRelease whose signature nobody is to check is no manifest."""
    result = archive.line.verify(archive.folder, archive.contract(signature=None))
    assert "clear-signed" in rejected_for(result, "intake.manifest").message
    caught(NAME, "signature not asked for")


def test_a_replay_is_caught(archive: Archive) -> None:
    """The same InRelease again."""
    contract = archive.contract()
    archive.line.admit(archive.line.verify(archive.folder, contract).delivery_id)
    rejected_for(archive.line.verify(archive.folder, contract), "intake.freshness.replay")
    caught(NAME, "replay")


def test_an_old_inrelease_is_caught(archive: Archive) -> None:
    """`max_age` in the contract, against the date that Debian signed; a freeze is the same seen from the schedule."""
    later = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=40)
    body = archive.contract().model_dump(mode="json", by_alias=True)
    old = Contract.model_validate(body | {"freshness": {"max_age": "10d"}})
    assert outcomes(archive.line.verify(archive.folder, old, on=later))["intake.freshness.age"] == "failed"
    caught(NAME, "too old")
    frozen = Contract.model_validate(body | {"freshness": {"interval": "10d"}})
    assert (
        outcomes(archive.line.verify(archive.folder, frozen, on=later))["intake.freshness.freeze"] == "failed"
    )
    caught(NAME, "freeze")


def test_an_inrelease_past_its_valid_until_is_caught(tmp_path: Path) -> None:
    """Debian says itself how long its updates may be used."""
    lasting = [each for each in _lists() if b"\nValid-Until:" in each[0].read_bytes()]
    assert lasting, "no InRelease on this machine says Valid-Until"
    with new_line(tmp_path) as line:
        (tmp_path / "archive").mkdir()
        archive = Archive(line, tmp_path / "archive", lasting[0])
        later = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=60)
        result = line.verify(archive.folder, archive.contract(), on=later)
        assert outcomes(result)["intake.freshness.expired"] == "failed"
    caught(NAME, "expired")
