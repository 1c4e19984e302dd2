"""Attacks on a delivery's bytes, files and signature: each is rejected, and says why."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.intake import DeliveryRefused, NotThere, SourceRefused
from assay.intake.publish import write_manifest
from tests.intake.support import FILES, Line, finding, new_line, outcomes, rejected_for


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A publisher that signs with minisign."""
    with new_line(tmp_path) as made:
        yield made


@pytest.fixture(params=["minisign", "ed25519"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Line]:
    """A publisher that signs with one format or the other."""
    with new_line(tmp_path, request.param) as made:
        yield made


def flip(path: Path, position: int = 10) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("position", [0, 15, -1])
def test_a_flipped_byte_in_the_data_is_rejected(line: Line, position: int) -> None:
    """Wherever it is: one byte is enough."""
    folder = line.deliver()
    flip(folder / "people.csv", position)
    failed = rejected_for(line.verify(folder), "intake.checksums")
    assert [each["path"] for each in failed.evidence["wrong_files"]] == ["people.csv"]
    assert failed.technique == "AML.T0010.002"


def test_a_flipped_byte_in_the_manifest_is_rejected_before_it_is_parsed(either: Line) -> None:
    """The signature is over its exact bytes; no file that it lists is looked at."""
    folder = either.deliver()
    flip(folder / "SHA256SUMS")
    result = either.verify(folder)
    assert rejected_for(result, "intake.signature").evidence["reason"] == "wrong_bytes"
    assert outcomes(result)["intake.checksums"] == "not_checked"
    assert "intake.manifest" not in outcomes(result)
    assert result.files == ()


def test_a_manifest_rewritten_for_changed_data_is_rejected(either: Line) -> None:
    """Checksums alone would fit."""
    folder = either.deliver()
    flip(folder / "people.csv")
    write_manifest(folder)
    rejected_for(either.verify(folder), "intake.signature")


def test_a_flipped_byte_in_the_signature_is_rejected(either: Line) -> None:
    """In the middle of it."""
    folder = either.deliver()
    signature = folder / f"SHA256SUMS{either.ending}"
    lines = signature.read_bytes().split(b"\n")
    at = 1 if either.format == "minisign" else 0
    lines[at] = lines[at][:40] + (b"A" if lines[at][40:41] != b"A" else b"B") + lines[at][41:]
    signature.write_bytes(b"\n".join(lines))
    rejected_for(either.verify(folder), "intake.signature")


def test_a_signature_by_another_key_is_rejected(either: Line) -> None:
    """Valid, but nobody's that the contract knows."""
    either.new_key("stranger")
    folder = either.deliver(key="stranger")
    rejected_for(either.verify(folder), "intake.signature")


def test_a_signature_by_another_publishers_key_is_rejected(either: Line) -> None:
    """A key counts for its own publisher's sources only, though the same contract lists it."""
    either.new_key("other")
    contract = either.contract(
        publishers=[{"id": "census", "keys": [either.key()]}, {"id": "bureau", "keys": [either.key("other")]}]
    )
    folder = either.deliver(key="other", contract=contract)
    rejected_for(either.verify(folder, contract), "intake.signature")


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ({"valid_until": "2026-01-31"}, "expired"),
        ({"valid_from": "2999-01-01"}, "not_yet_valid"),
        ({"revoked": "2026-01-31"}, "revoked"),
    ],
)
def test_a_signature_by_an_expired_or_early_or_revoked_key_is_rejected(
    either: Line, window: dict[str, str], reason: str
) -> None:
    """The signature itself is good."""
    contract = either.contract(keys=[either.key(**window)])
    failed = rejected_for(either.verify(either.deliver(contract=contract), contract), "intake.signature")
    assert failed.evidence["reason"] == reason


def test_a_delivery_without_its_signature_is_rejected(either: Line) -> None:
    """Taking it away does not turn a failure into `not checked`."""
    folder = either.deliver()
    (folder / f"SHA256SUMS{either.ending}").unlink()
    failed = rejected_for(either.verify(folder), "intake.signature")
    assert "have the publisher sign" in failed.message


def test_a_signature_that_is_a_link_is_rejected(either: Line, tmp_path: Path) -> None:
    """Even to a good one."""
    folder = either.deliver()
    signature = folder / f"SHA256SUMS{either.ending}"
    shutil.move(signature, tmp_path / "moved")
    signature.symlink_to(tmp_path / "moved")
    rejected_for(either.verify(folder), "intake.signature")


def test_a_manifest_that_is_a_link_or_missing_is_no_delivery(line: Line, tmp_path: Path) -> None:
    """There is nothing to register; the command fails."""
    folder = line.deliver()
    shutil.move(folder / "SHA256SUMS", tmp_path / "moved")
    with pytest.raises(NotThere, match="no manifest"):
        line.verify(folder)
    (folder / "SHA256SUMS").symlink_to(tmp_path / "moved")
    with pytest.raises(SourceRefused, match="not a regular file"):
        line.verify(folder)
    assert line.registered() == []


@pytest.mark.parametrize("size", [0, 5, 20])
def test_a_truncated_file_is_rejected(line: Line, size: int) -> None:
    """Half, almost nothing, nothing."""
    folder = line.deliver()
    os.truncate(folder / "people.csv", size)
    rejected_for(line.verify(folder), "intake.checksums")


def test_an_extra_file_is_rejected(line: Line) -> None:
    """`sha256sum -c` never looks at what is not listed; somebody's loader might."""
    folder = line.deliver()
    (folder / "part" / "extra.csv").write_text("person_id,age\n9,99\n")
    failed = rejected_for(line.verify(folder), "intake.completeness")
    assert failed.evidence["unlisted_files"] == ["part/extra.csv"]


def test_a_hidden_extra_file_is_rejected(line: Line) -> None:
    """A leading dot hides nothing."""
    folder = line.deliver()
    (folder / ".extra.csv").touch()
    assert rejected_for(line.verify(folder), "intake.completeness").evidence["unlisted_files"] == [
        ".extra.csv"
    ]


def test_a_missing_file_is_rejected(line: Line) -> None:
    """All that is listed has to be there."""
    folder = line.deliver()
    (folder / "people.csv").unlink()
    failed = rejected_for(line.verify(folder), "intake.completeness")
    assert failed.evidence["missing_files"] == ["people.csv"]


def test_a_delivery_of_which_nothing_is_left_but_its_manifest_is_rejected(line: Line) -> None:
    """No file, no checksum: that check has nothing to say, and the other one fails."""
    folder = line.deliver(files={"people.csv": b"x"}, sequence=None)
    (folder / "people.csv").unlink()
    (folder / "delivery.json").unlink()
    result = line.verify(folder)
    rejected_for(result, "intake.completeness")
    assert finding(result, "intake.checksums").outcome == "not_checked"


def test_a_renamed_file_is_rejected(line: Line) -> None:
    """Missing under one name, unlisted under the other."""
    folder = line.deliver()
    (folder / "people.csv").rename(folder / "peoples.csv")
    failed = rejected_for(line.verify(folder), "intake.completeness")
    assert failed.evidence["missing_files"] == ["people.csv"]
    assert failed.evidence["unlisted_files"] == ["peoples.csv"]


def test_two_files_that_changed_names_are_rejected(line: Line) -> None:
    """The bytes are all there and all signed, each under the other's name."""
    folder = line.deliver()
    (folder / "people.csv").rename(folder / "swap")
    (folder / "part/more.csv").rename(folder / "people.csv")
    (folder / "swap").rename(folder / "part/more.csv")
    assert rejected_for(line.verify(folder), "intake.checksums").evidence["wrong"] == 2


def test_a_listed_file_that_is_a_link_is_rejected(line: Line, tmp_path: Path) -> None:
    """Even if its target has the right bytes now."""
    folder = line.deliver()
    shutil.move(folder / "people.csv", tmp_path / "outside.csv")
    (folder / "people.csv").symlink_to(tmp_path / "outside.csv")
    failed = rejected_for(line.verify(folder), "intake.completeness")
    assert "symbolic link" in failed.evidence["refused_files"][0]


def test_a_folder_that_is_a_link_is_rejected(line: Line, tmp_path: Path) -> None:
    """A link on the way to a listed file is one as well."""
    folder = line.deliver()
    shutil.move(folder / "part", tmp_path / "part")
    (folder / "part").symlink_to(tmp_path / "part")
    rejected_for(line.verify(folder), "intake.completeness")


def test_an_unlisted_link_and_a_pipe_are_rejected(line: Line) -> None:
    """Nothing but regular files may lie in a delivery."""
    folder = line.deliver()
    (folder / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(folder / "pipe")
    failed = rejected_for(line.verify(folder), "intake.completeness")
    assert failed.evidence["refused"] == 2


def test_more_bytes_than_the_contract_allows_are_rejected(line: Line) -> None:
    """The limit is for all files together."""
    contract = line.contract(bounds={"max_bytes": 200})
    folder = line.deliver(files={"a.csv": b"a" * 90, "b.csv": b"b" * 90}, contract=contract)
    failed = rejected_for(line.verify(folder, contract), "intake.completeness")
    assert "larger than the contract allows" in failed.message


def test_more_files_than_the_contract_allows_are_rejected(line: Line) -> None:
    """Listed ones by the manifest, unlisted ones by the walk."""
    contract = line.contract(bounds={"max_files": 4})
    folder = line.deliver(contract=contract)
    assert line.verify(folder, contract).verdict == "accept"
    for number in range(100):
        (folder / f"{number}.csv").touch()
    rejected_for(line.verify(folder, contract), "intake.completeness")
    write_manifest(folder)
    line.sign(folder)
    rejected_for(line.verify(folder, contract), "intake.manifest")


def test_the_bytes_of_a_rejected_delivery_are_kept_sealed_and_are_no_data(line: Line) -> None:
    """Evidence is not lost, lies nowhere in the clear, and cannot be taken for data."""
    folder = line.deliver()
    flip(folder / "people.csv")
    result = line.verify(folder)
    changed = (folder / "people.csv").read_bytes()
    for data in (changed, *(FILES[name] for name in ("part/more.csv", "README.md"))):
        assert line.store.is_sealed(digest(data))
        assert line.store.get_bytes(digest(data)) == data
    with pytest.raises(DeliveryRefused, match="may not be read"):
        result.data_files()
    with pytest.raises(DeliveryRefused, match="may not be read"):
        result.data_files(held=True)
    home = line.root.parent / "assay-home"
    in_the_clear = [path for path in home.rglob("*") if path.is_file() and changed in path.read_bytes()]
    assert in_the_clear == []


def test_a_tampered_delivery_does_not_take_the_name_of_the_whole_one(line: Line) -> None:
    """The same delivery, sent again and whole, is accepted; what it shares with the rejected one is readable."""
    folder = line.deliver()
    good = (folder / "people.csv").read_bytes()
    flip(folder / "people.csv")
    bad = line.verify(folder)
    (folder / "people.csv").write_bytes(good)
    whole = line.verify(folder)
    assert (bad.verdict, whole.verdict) == ("reject", "accept")
    assert bad.delivery_id != whole.delivery_id
    assert {row.id: row.state for row in line.registered()} == {
        bad.delivery_id: "rejected",
        whole.delivery_id: "verified",
    }
    for file in whole.data_files():
        assert line.store.get_bytes(file.sha256) == FILES[file.path]


def test_a_rejected_delivery_does_not_seal_what_an_accepted_one_brought(line: Line) -> None:
    """Sealing is for bytes that nobody has accepted."""
    accepted = line.verify(line.deliver("one"))
    folder = line.deliver("two", sequence=2)
    flip(folder / "people.csv")
    line.verify(folder)
    for file in accepted.data_files():
        assert not line.store.is_sealed(file.sha256)
    assert line.store.is_sealed(digest((folder / "people.csv").read_bytes()))


def test_a_rejection_is_registered_once_however_often_it_happens(line: Line) -> None:
    """Same id, one row, the same findings."""
    folder = line.deliver()
    flip(folder / "people.csv")
    results = [line.verify(folder) for _ in range(3)]
    assert len({each.delivery_id for each in results}) == 1
    assert len(line.registered()) == 1
    from assay.db import findings_of

    with line.database.session() as session:
        assert len(findings_of(session, results[0].delivery_id)) == len(results[0].findings)


def _manifest(folder: Path) -> list[str]:
    return (folder / "SHA256SUMS").read_text().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: [*lines, lines[0]], "a second time"),
        (lambda lines: [*lines, f"{'a' * 64}  ../outside.csv\n"], "leaves the delivery"),
        (lambda lines: [*lines, f"{'a' * 64}  /etc/passwd\n"], "absolute"),
        (lambda lines: [*lines, f"{'a' * 96}  extra.csv\n"], "unknown algorithm"),
        (lambda lines: [*lines, f"SHA3-256 (extra.csv) = {'a' * 64}\n"], "uses the algorithm"),
        (lambda lines: [*lines, "have a nice day\n"], "not understood"),
        (lambda lines: ["# made by hand\n", *lines], "not understood"),
        (lambda lines: [], "is empty"),
        (lambda lines: ["\n"], "is empty"),
        (lambda lines: [*lines, f"\\{'a' * 64}  a\\nb.csv\n"], "escaped"),
        (lambda lines: [*lines, f"{'a' * 64}  {'x' * 100_000}\n"], "too long"),
        (lambda lines: [*lines, f"{'a' * 64}  a\0b.csv\n"], "NUL"),
        (lambda lines: [lines[0].replace("\n", "\r\n"), *lines[1:]], "ends otherwise"),
        (lambda lines: [line.replace("\n", "\r") for line in lines], "ends otherwise|control"),
    ],
)
def test_a_signed_manifest_that_is_not_wholly_understood_is_rejected(
    line: Line, change: Any, says: str
) -> None:
    """The publisher signed it, so that it is an error of theirs, or an attack with their key: same answer."""
    folder = line.deliver()
    (folder / "SHA256SUMS").write_bytes("".join(change(_manifest(folder))).encode())
    line.sign(folder)
    result = line.verify(folder)
    failed = rejected_for(result, "intake.manifest")
    import re

    assert re.search(says, failed.message)
    assert result.files == ()


def test_path_escapes_read_nothing_outside(line: Line, tmp_path: Path) -> None:
    """The file that `../` names is there, and its digest is right: still nobody opens it."""
    secret = line.root / "secret.csv"
    secret.write_text("secret")
    folder = line.deliver()
    with (folder / "SHA256SUMS").open("a") as manifest:
        manifest.write(f"{digest(b'secret')}  ../secret.csv\n")
    line.sign(folder)
    rejected_for(line.verify(folder), "intake.manifest")
    assert not line.store.exists(digest(b"secret"))


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_a_manifest_of_weak_digests_alone_is_not_checked(line: Line, algorithm: str) -> None:
    """Signed and fitting, and still not passed: other data with the same digests can be made."""
    folder = line.deliver()
    write_manifest(folder, algorithm=algorithm)
    line.sign(folder)
    result = line.verify(folder)
    assert (result.outcome, result.verdict) == ("not_checked", "hold")
    assert finding(result, "intake.checksums").message.startswith("weak: 4 of 4 files")
    assert all(line.store.is_sealed(file.sha256) for file in result.files)


def test_one_weak_digest_among_strong_ones_is_not_checked(line: Line) -> None:
    """The weakest line is the one that will be attacked."""
    folder = line.deliver()
    lines = [each for each in _manifest(folder) if "people.csv" not in each]
    weak = hashlib.md5(FILES["people.csv"], usedforsecurity=False).hexdigest()
    (folder / "SHA256SUMS").write_text("".join([*lines, f"{weak}  people.csv\n"]))
    line.sign(folder)
    result = line.verify(folder)
    assert result.verdict == "hold"
    assert finding(result, "intake.checksums").evidence["weak"] == 1


def test_a_weak_digest_that_does_not_even_fit_is_rejected(line: Line) -> None:
    """Weak is no excuse for wrong."""
    folder = line.deliver()
    write_manifest(folder, algorithm="md5")
    line.sign(folder)
    flip(folder / "people.csv")
    rejected_for(line.verify(folder), "intake.checksums")


def test_sha512_digests_are_as_good(line: Line) -> None:
    """They pass, and a changed byte fails them."""
    folder = line.deliver()
    write_manifest(folder, algorithm="sha512")
    line.sign(folder)
    assert line.verify(folder).verdict == "accept"
    flip(folder / "people.csv")
    rejected_for(line.verify(folder), "intake.checksums")


def test_carriage_returns_hide_no_file(line: Line) -> None:
    """With CRLF throughout, the files are those that a person reads, and each of them is checked."""
    folder = line.deliver()
    (folder / "SHA256SUMS").write_bytes("".join(_manifest(folder)).replace("\n", "\r\n").encode())
    line.sign(folder)
    assert line.verify(folder).verdict == "accept"
    flip(folder / "people.csv")
    rejected_for(line.verify(folder), "intake.checksums")


def test_a_byte_order_mark_hides_no_file(line: Line) -> None:
    """Tools that choke on it skip the first line; here the manifest is refused, as with `sha256sum -c --strict`."""
    folder = line.deliver()
    (folder / "SHA256SUMS").write_bytes(b"\xef\xbb\xbf" + "".join(_manifest(folder)).encode())
    line.sign(folder)
    assert "byte order mark" in rejected_for(line.verify(folder), "intake.manifest").message
