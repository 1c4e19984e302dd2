"""Which signatures count: distinct keys, thresholds, the day, and what a missing program means."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Publisher
from assay.intake import (
    IntakeError,
    NotThere,
    SignatureRefused,
    SignedBy,
    ToolMissing,
    doubtful_deliveries,
    verify_signature,
    verify_signatures,
)
from assay.intake.publish import generate_key, sign_ed25519, sign_minisign
from tests.intake.support import Line, finding, new_line, outcomes, rejected_for

MANIFEST = f"{'a' * 64}  people.csv\n".encode()
TODAY = dt.datetime.now(dt.UTC).date()
A_DAY = dt.timedelta(days=1)


class Keyholders:
    """Several people of one publisher, each with a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys: dict[str, dict[str, Any]] = {}

    def key(self, who: str, format: str = "ed25519", **more: Any) -> dict[str, Any]:
        if who not in self.keys:
            made = generate_key(self.folder / who, format)
            self.keys[who] = {"format": made.format, "public_key": made.public_key}
        return {**self.keys[who], **more}

    def sign(self, who: str, data: bytes = MANIFEST, **more: Any) -> bytes:
        file = self.folder / "SHA256SUMS"
        file.write_bytes(data)
        sign = sign_minisign if self.keys[who]["format"] == "minisign" else sign_ed25519
        return sign(file, self.folder / who, **more).read_bytes()


@pytest.fixture
def holders(tmp_path: Path) -> Keyholders:
    """Nobody yet."""
    return Keyholders(tmp_path)


def publisher(*keys: dict[str, Any]) -> Publisher:
    return Publisher.model_validate({"id": "census", "keys": list(keys)})


def judged(files: dict[str, bytes | IntakeError], who: Publisher, threshold: int = 2) -> SignedBy:
    return verify_signatures(MANIFEST, files, who, TODAY, threshold=threshold)


# ---------------------------------------------------------------------------------------------------------- thresholds
def test_two_of_three_keys_are_enough_when_two_are_wanted(holders: Keyholders) -> None:
    """Whichever two they are, and whatever formats they sign in."""
    keys = [holders.key("anna", "minisign"), holders.key("ben"), holders.key("cleo")]
    signed = judged({"a": holders.sign("cleo"), "b": holders.sign("anna")}, publisher(*keys))
    assert len(signed.key_ids) == 2
    assert {each.partition(":")[0] for each in signed.key_ids} == {"ed25519", "minisign"}
    assert signed.payload == MANIFEST


def test_one_of_two_keys_is_too_few(holders: Keyholders) -> None:
    """The answer counts, and says what was wrong with the others."""
    who = publisher(holders.key("anna"), holders.key("ben"))
    missing = NotThere("the delivery has no b")
    with pytest.raises(SignatureRefused, match="1 of the 2") as refused:
        judged({"a": holders.sign("anna"), "b": missing}, who)
    assert refused.value.reason == "threshold"
    assert "the delivery has no b" in str(refused.value)


def test_a_key_counts_once_however_often_it_signs(holders: Keyholders) -> None:
    """Two files by one key are one signature, also with another comment."""
    who = publisher(holders.key("anna", "minisign"), holders.key("ben"))
    files = {name: holders.sign("anna", trusted_comment=name) for name in ("a", "b", "c")}
    with pytest.raises(SignatureRefused, match="1 of the 2"):
        judged(files, who)


@pytest.mark.parametrize(
    "window",
    [
        {"revoked": str(TODAY)},
        {"valid_until": str(TODAY - A_DAY)},
        {"valid_from": str(TODAY + A_DAY)},
    ],
)
def test_a_key_outside_its_time_does_not_make_up_the_number(
    holders: Keyholders, window: dict[str, str]
) -> None:
    """It fits, and does not count; with a third one there are enough again."""
    who = publisher(holders.key("anna"), holders.key("ben", **window), holders.key("cleo"))
    files: dict[str, bytes | IntakeError] = {name: holders.sign(name) for name in ("anna", "ben")}
    with pytest.raises(SignatureRefused, match="1 of the 2"):
        judged(files, who)
    assert len(judged({**files, "cleo": holders.sign("cleo")}, who).key_ids) == 2


def test_a_stranger_does_not_make_up_the_number(holders: Keyholders) -> None:
    """Nor does a genuine signature over another manifest."""
    who = publisher(holders.key("anna"), holders.key("ben"))
    holders.key("mallory")
    for other in (holders.sign("mallory"), holders.sign("ben", b"another manifest\n")):
        with pytest.raises(SignatureRefused, match="1 of the 2"):
            judged({"a": holders.sign("anna"), "b": other}, who)


def test_the_holder_of_one_key_does_not_speak_for_the_others(holders: Keyholders) -> None:
    """Who stole one key could else give an old delivery a new number, and keep the other signature."""
    who = publisher(holders.key("anna", "minisign"), holders.key("ben", "minisign"))
    old = holders.sign("anna", trusted_comment="sequence:1")
    grafted = {"a": old, "b": holders.sign("ben", trusted_comment="sequence:99")}
    assert judged(grafted, who).trusted_comment is None
    agreed = {"a": old, "b": holders.sign("ben", trusted_comment="sequence:1")}
    assert judged(agreed, who).trusted_comment == "sequence:1"


def test_old_and_new_key_both_count_while_they_overlap(holders: Keyholders) -> None:
    """Rotation: before, only the old one; within, both; after, only the new one."""
    who = publisher(
        holders.key("old", valid_until=str(TODAY)),
        holders.key("new", valid_from=str(TODAY - A_DAY)),
    )

    def said(name: str, on: dt.date) -> str:
        try:
            verify_signature(MANIFEST, holders.sign(name), who, on)
        except SignatureRefused as refused:
            return refused.reason
        return "counts"

    days = (TODAY - 2 * A_DAY, TODAY - A_DAY, TODAY, TODAY + A_DAY)
    assert [said("old", day) for day in days] == ["counts", "counts", "counts", "expired"]
    assert [said("new", day) for day in days] == ["not_yet_valid", "counts", "counts", "counts"]


# ---------------------------------------------------------------------------------------------------- whole deliveries
@pytest.fixture
def line(tmp_path: Path, assay_home: Path) -> Iterator[Line]:
    """A publisher with two keys."""
    with new_line(tmp_path) as made:
        made.new_key("second")
        yield made


def two_of_two(line: Line, **more: Any) -> Any:
    signatures = {"files": ["SHA256SUMS.minisig", "SHA256SUMS.second"], "threshold": 2}
    source = {"id": "west", "publisher": "census", "uri": "west/", "signatures": signatures}
    return line.contract(keys=[line.key(), line.key("second", **more)], sources=[source])


def countersign(line: Line, folder: Path, key: str = "second") -> None:
    first = (folder / "SHA256SUMS.minisig").read_bytes()
    line.sign(folder, key, trusted_comment="sequence:1")
    (folder / "SHA256SUMS.minisig").rename(folder / "SHA256SUMS.second")
    (folder / "SHA256SUMS.minisig").write_bytes(first)


def test_a_delivery_that_two_people_signed_is_accepted(line: Line) -> None:
    """Both signatures stand beside it, and in the finding."""
    folder = line.deliver()
    countersign(line, folder)
    result = line.verify(folder, two_of_two(line))
    assert (result.outcome, result.verdict) == ("passed", "accept"), outcomes(result)
    assert len(finding(result, "intake.signature").evidence["keys"]) == 2


@pytest.mark.parametrize("attack", ["missing", "same key twice", "revoked", "empty"])
def test_a_delivery_that_only_one_of_two_signed_is_rejected(line: Line, attack: str) -> None:
    """Whatever stands in the other one's place."""
    folder = line.deliver()
    countersign(line, folder, "first" if attack == "same key twice" else "second")
    if attack == "missing":
        (folder / "SHA256SUMS.second").unlink()
    if attack == "empty":
        (folder / "SHA256SUMS.second").write_bytes(b"")
    contract = two_of_two(line, **({"revoked": str(TODAY)} if attack == "revoked" else {}))
    failed = rejected_for(line.verify(folder, contract), "intake.signature")
    assert failed.evidence["reason"] == "threshold"


# ------------------------------------------------------------------------------------------------- keys that were lost
def test_what_a_revoked_key_vouched_for_is_listed(line: Line) -> None:
    """What was there before the revocation, and what was not, which is worse; others are left out."""
    first = line.verify(line.deliver("one", sequence=1)).delivery_id
    line.admit(first)
    second = line.contract(keys=[line.key(), line.key("second")])
    other = line.verify(line.deliver("two", sequence=2, key="second", files={"x.csv": b"1\n"}), second)
    line.admit(other.delivery_id)

    def listed(**more: Any) -> Any:
        with line.database.session() as session:
            return doubtful_deliveries(session, line.contract(keys=[line.key(**more), line.key("second")]))

    assert listed() == []
    (later,) = listed(revoked=str(TODAY + A_DAY), revoked_reason="laptop stolen")
    assert (later.delivery_id, later.after, later.basis) == (first, False, "arrival")
    assert (later.key_id, later.reason, later.signed) == (line.public["first"].id, "laptop stolen", TODAY)
    (before,) = listed(revoked=str(TODAY))
    assert before.after


def test_what_others_vouched_for_as_well_stays_above_doubt(line: Line) -> None:
    """Two signed where one would have done; with both keys gone, or two wanted, it is in doubt."""
    folder = line.deliver()
    countersign(line, folder)
    line.admit(line.verify(folder, two_of_two(line)).delivery_id)
    lost = {"revoked": str(TODAY + A_DAY)}
    source = line.source(signatures={"files": ["SHA256SUMS.minisig"]}, signature=None)
    with line.database.session() as session:
        assert len(doubtful_deliveries(session, two_of_two(line, **lost))) == 1
        one_is_enough = line.contract(keys=[line.key(), line.key("second", **lost)], sources=[source])
        assert doubtful_deliveries(session, one_is_enough) == []
        both = line.contract(keys=[line.key(**lost), line.key("second", **lost)], sources=[source])
        assert len(doubtful_deliveries(session, both)) == 2


# ---------------------------------------------------------------------------------------------------- missing programs
@pytest.fixture
def ssh(tmp_path: Path) -> tuple[dict[str, Any], bytes]:
    """An OpenSSH key and its signature."""
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", tmp_path / "id"], check=True)
    manifest = tmp_path / "signed"
    manifest.write_bytes(MANIFEST)
    subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "file", "-f", tmp_path / "id", manifest],
        check=True,
        capture_output=True,
    )
    key = {
        "format": "openssh",
        "public_key": (tmp_path / "id.pub").read_text(),
        "identity": "data@example.org",
        "namespace": "file",
    }
    return key, (tmp_path / "signed.sig").read_bytes()


@pytest.mark.openssh
def test_a_missing_program_is_not_checked_and_says_how_to_get_it(
    ssh: tuple[dict[str, Any], bytes], line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delivery is on hold, not accepted and not rejected."""
    key, signature = ssh
    folder = line.deliver()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ToolMissing, match="no ssh-keygen") as missing:
        verify_signature(MANIFEST, signature, publisher(key), TODAY)
    assert missing.value.exit_code == 3
    assert "apt-get install openssh-client" in str(missing.value)
    (folder / "SHA256SUMS.minisig").write_bytes(signature)
    result = line.verify(folder, line.contract(keys=[key]))
    assert (result.outcome, result.verdict) == ("not_checked", "hold"), outcomes(result)
    assert "apt-get install" in finding(result, "intake.signature").message
    assert result.key_id is None


@pytest.mark.openssh
def test_a_program_that_gives_no_answer_is_not_checked(
    ssh: tuple[dict[str, Any], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hang, or be no program at all."""
    key, signature = ssh
    fake = tmp_path / "bin" / "ssh-keygen"
    fake.parent.mkdir()
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    monkeypatch.setattr("assay.intake.signatures.tool._SECONDS", 0.2)
    for script in ("#!/bin/sh\nexec sleep 60\n", "\x7fELF nothing"):
        fake.write_text(script)
        fake.chmod(0o755)
        with pytest.raises(ToolMissing, match="no answer"):
            verify_signature(MANIFEST, signature, publisher(key), TODAY)


@pytest.mark.openssh
def test_a_program_that_says_yes_to_everything_is_not_believed(
    ssh: tuple[dict[str, Any], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exit status of 0 is not the answer that was asked for."""
    key, signature = ssh
    fake = tmp_path / "bin" / "ssh-keygen"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexit 0\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(SignatureRefused):
        verify_signature(MANIFEST, signature, publisher(key), TODAY)


@pytest.mark.openssh
def test_with_a_missing_program_enough_others_may_still_have_signed(
    ssh: tuple[dict[str, Any], bytes], holders: Keyholders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else it is not checked where it could have been enough, and refused where it could not."""
    key, signature = ssh
    who = publisher(key, holders.key("anna"), holders.key("ben"))
    anna, ben = holders.sign("anna"), holders.sign("ben")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert len(judged({"a": signature, "b": anna, "c": ben}, who).key_ids) == 2
    with pytest.raises(ToolMissing):
        judged({"a": signature, "b": anna}, who)
    with pytest.raises(SignatureRefused, match="1 of the 3"):
        judged({"a": signature, "b": anna}, who, threshold=3)
