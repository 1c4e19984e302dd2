"""The trust store: keys come in by a person's hand, and a revoked one never comes back."""

from __future__ import annotations

import base64
import datetime as dt
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.contract import (
    ContractError,
    KeyRefused,
    add_key,
    list_keys,
    load_contract,
    read_key,
    revoke_key,
)
from assay.contract.keyforms import KeyFormat
from assay.errors import UsageError
from tests.contract.examples import ED25519, MINISIGN

DAY = dt.date(2026, 3, 1)
RAW = base64.b64decode(ED25519)


def public_key(form: serialization.PublicFormat, encoding: serialization.Encoding) -> str:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    return key.public_bytes(encoding, form).decode()


def test_a_key_can_be_added_listed_and_revoked(tmp_path: Path) -> None:
    """What was added stays listed after its revocation, with the reason."""
    key = add_key(tmp_path, "census", format="minisign", public_key=MINISIGN, valid_from=DAY)
    assert key.id == "minisign:E7620F1842B4E81F"
    assert list_keys(tmp_path) == {"census": (key,)}
    revoked = revoke_key(tmp_path, "census", key.id, on=DAY, reason=" laptop stolen ")
    assert (revoked.revoked, revoked.revoked_reason) == (DAY, "laptop stolen")
    assert list_keys(tmp_path, "census") == {"census": (revoked,)}
    assert list_keys(tmp_path, "other") == {}
    assert list_keys(tmp_path / "nowhere") == {}


def test_adding_the_same_key_again_changes_nothing(tmp_path: Path) -> None:
    """Other dates are a change that a person should see."""
    add_key(tmp_path, "census", format="ed25519", public_key=ED25519)
    before = (tmp_path / "publishers" / "census.yaml").read_bytes()
    add_key(tmp_path, "census", format="ed25519", public_key=f"  {ED25519}\n")
    assert (tmp_path / "publishers" / "census.yaml").read_bytes() == before
    with pytest.raises(KeyRefused, match="other dates"):
        add_key(tmp_path, "census", format="ed25519", public_key=ED25519, valid_until=DAY)


def test_a_revoked_key_cannot_come_back(tmp_path: Path) -> None:
    """Whoever stole it would like it to."""
    key = add_key(tmp_path, "census", format="ed25519", public_key=ED25519)
    revoke_key(tmp_path, "census", key.id, on=DAY, reason="stolen")
    with pytest.raises(KeyRefused, match="cannot be trusted again"):
        add_key(tmp_path, "census", format="ed25519", public_key=ED25519)


def test_a_revocation_can_be_moved_forward_but_not_back(tmp_path: Path) -> None:
    """A later day would make signatures count again."""
    add_key(tmp_path, "census", format="ed25519", public_key=ED25519)
    assert revoke_key(tmp_path, "census", ED25519, on=DAY, reason="stolen").revoked == DAY
    assert revoke_key(tmp_path, "census", ED25519, on=DAY + dt.timedelta(9), reason="later").revoked == DAY
    earlier = revoke_key(tmp_path, "census", ED25519, on=DAY - dt.timedelta(9), reason="stolen before")
    assert earlier.revoked == DAY - dt.timedelta(9)


def test_a_revocation_needs_a_key_and_a_reason(tmp_path: Path) -> None:
    """Both errors say what to do."""
    add_key(tmp_path, "census", format="ed25519", public_key=ED25519)
    with pytest.raises(UsageError, match="reason"):
        revoke_key(tmp_path, "census", ED25519, on=DAY, reason="  ")
    with pytest.raises(UsageError, match="no key") as caught:
        revoke_key(tmp_path, "census", "minisign:0000000000000000", on=DAY, reason="stolen")
    assert "ed25519:21fe31dfa154a261" in str(caught.value)
    with pytest.raises(UsageError, match="none is listed"):
        revoke_key(tmp_path, "other", "x", on=DAY, reason="stolen")


@pytest.mark.parametrize("name", ["../census", "Census", "", "a/b"])
def test_a_publishers_name_must_be_usable(tmp_path: Path, name: str) -> None:
    """It becomes a file's name."""
    with pytest.raises(UsageError, match="publisher id"):
        add_key(tmp_path, name, format="ed25519", public_key=ED25519)
    assert list(tmp_path.rglob("*.yaml")) == []


def test_a_key_that_is_none_is_not_stored(tmp_path: Path) -> None:
    """With the reason that a contract would give."""
    with pytest.raises(KeyRefused, match="not a minisign public key"):
        add_key(tmp_path, "census", format="minisign", public_key=ED25519)
    with pytest.raises(KeyRefused, match="before valid_from"):
        add_key(
            tmp_path,
            "census",
            format="ed25519",
            public_key=ED25519,
            valid_from=DAY,
            valid_until=dt.date(2020, 1, 1),
        )
    assert not (tmp_path / "publishers").exists()


def test_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    """It may hold a revocation that somebody mistyped."""
    (tmp_path / "publishers").mkdir()
    file = tmp_path / "publishers" / "census.yaml"
    file.write_text("id: census\nkeys: [{format: ed25519, public_key: oops}]\n")
    with pytest.raises(ContractError, match=r"census\.yaml"):
        add_key(tmp_path, "census", format="ed25519", public_key=ED25519)
    assert "oops" in file.read_text()


def _add(arguments: tuple[str, int]) -> None:
    folder, number = arguments
    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32).public_key().public_bytes_raw()
    add_key(folder, "census", format="ed25519", public_key=base64.b64encode(key).decode())


def test_keys_that_are_added_at_once_are_all_kept(tmp_path: Path) -> None:
    """Two people who add keys at the same moment do not undo each other's work."""
    with ProcessPoolExecutor(4) as pool:
        list(pool.map(_add, [(str(tmp_path), number) for number in range(12)]))
    assert len(list_keys(tmp_path)["census"]) == 12
    assert [path.name for path in (tmp_path / "publishers").iterdir()] == ["census.yaml"]


def test_public_keys_are_read_in_the_forms_that_people_have(tmp_path: Path) -> None:
    """As text or as a file."""
    files = {
        "minisign.pub": f"untrusted comment: minisign public key E7620F1842B4E81F\n{MINISIGN}\n",
        "base64.txt": f"{ED25519}\n",
        "key.pem": public_key(serialization.PublicFormat.SubjectPublicKeyInfo, serialization.Encoding.PEM),
        "id.pub": public_key(serialization.PublicFormat.OpenSSH, serialization.Encoding.OpenSSH)
        + " me@here\n",
    }
    expected = {
        "minisign.pub": ("minisign", MINISIGN),
        "base64.txt": ("ed25519", ED25519),
        "key.pem": ("ed25519", "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="),
        "id.pub": ("ed25519", "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert read_key(str(tmp_path / name)) == expected[name]
        assert read_key(content) == expected[name]
    (tmp_path / "raw").write_bytes(RAW)
    assert read_key(str(tmp_path / "raw")) == ("ed25519", ED25519)


def test_a_secret_key_is_refused_and_not_repeated(tmp_path: Path) -> None:
    """Somebody sent the wrong file; the answer must not spread it further."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    for content in (pem, "untrusted comment: minisign encrypted secret key\nRWRTY0Iy" + "A" * 204):
        file = tmp_path / "key"
        file.write_text(content)
        with pytest.raises(KeyRefused, match="secret key") as caught:
            read_key(str(file))
        assert content.splitlines()[1][:20] not in str(caught.value)


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    """Also one that is asked to be what it is not, and a path that leads nowhere."""
    other = generate_private_key(SECP256R1()).public_key()
    pem = other.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    ssh = other.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    asked: list[tuple[str, KeyFormat]] = [
        (pem, "ed25519"),
        (ssh, "ed25519"),
        (MINISIGN, "ed25519"),
        (pem, "cms"),
    ]
    for content, format in asked:
        with pytest.raises(KeyRefused, match=f"not one for {format}"):
            read_key(content, format)
    with pytest.raises(KeyRefused, match="PEM"):
        read_key("-----BEGIN PUBLIC KEY-----\nnothing\n-----END PUBLIC KEY-----")
    with pytest.raises(KeyRefused, match="OpenSSH"):
        read_key("ssh-ed25519 nothing")
    with pytest.raises(KeyRefused, match="no file of that name"):
        read_key(str(tmp_path / "nowhere.pub"))
    with pytest.raises(KeyRefused, match="not a public key"):
        read_key("")


def test_a_key_that_follows_another_lets_both_count_for_a_time(tmp_path: Path) -> None:
    """Rotation: the old one gets an end, and never a later one than it had."""
    old = add_key(tmp_path, "census", format="minisign", public_key=MINISIGN)
    last = DAY + dt.timedelta(14)
    new = add_key(
        tmp_path,
        "census",
        format="ed25519",
        public_key=ED25519,
        valid_from=DAY,
        replaces=old.id,
        overlap_until=last,
    )
    before, after = list_keys(tmp_path)["census"]
    assert (before.valid_until, after) == (last, new)
    assert {key.status(last) for key in (before, after)} == {"valid"}
    assert before.status(last + dt.timedelta(1)) == "expired"
    third = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    more = {"replaces": MINISIGN, "overlap_until": last + dt.timedelta(30)}
    add_key(tmp_path, "census", format="ed25519", public_key=base64.b64encode(third).decode(), **more)
    assert list_keys(tmp_path)["census"][0].valid_until == last


def test_a_key_that_follows_another_needs_the_other_and_its_end(tmp_path: Path) -> None:
    """Nothing is changed if either is missing, or comes before the old key began."""
    add_key(tmp_path, "census", format="minisign", public_key=MINISIGN, valid_from=DAY)
    before = (tmp_path / "publishers" / "census.yaml").read_bytes()
    for more, problem in (
        ({"replaces": MINISIGN}, "needs the last day"),
        ({"overlap_until": DAY}, "needs the last day"),
        ({"replaces": "minisign:00", "overlap_until": DAY}, "has no key"),
        ({"replaces": MINISIGN, "overlap_until": DAY - dt.timedelta(1)}, "cannot end"),
    ):
        with pytest.raises(UsageError, match=problem):
            add_key(tmp_path, "census", format="ed25519", public_key=ED25519, **more)
    assert (tmp_path / "publishers" / "census.yaml").read_bytes() == before


def test_a_file_of_keys_names_each_key_and_keeps_long_ones_line_by_line(tmp_path: Path) -> None:
    """A review sees what was added, and a change in one line of a certificate is a change of one line."""
    other = generate_private_key(SECP256R1()).public_key()
    pem = other.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
    add_key(tmp_path, "census", format="ed25519", public_key=ED25519)
    added = add_key(tmp_path, "census", format="pem", public_key=f"\n{pem.replace(chr(10), '  ' + chr(10))}")
    lines = (tmp_path / "publishers" / "census.yaml").read_text().splitlines()
    assert [line for line in lines if line.startswith("#")][1:] == [
        "# ed25519:21fe31dfa154a261",
        f"# {added.id}",
    ]
    assert lines[lines.index(f"# {added.id}") + 1] == "- format: pem"
    assert [line.strip() for line in lines[-4:]] == pem.splitlines()
    assert list_keys(tmp_path)["census"][1] == added


def test_the_same_key_with_other_pins_is_a_change_that_a_person_should_see(tmp_path: Path) -> None:
    """Neither is quietly widened, in the store or between the store and a contract."""
    line = public_key(serialization.PublicFormat.OpenSSH, serialization.Encoding.OpenSSH)
    pins = {"identity": "data@example.org", "namespace": "file"}
    key = add_key(tmp_path, "census", format="openssh", public_key=line, pins=pins)
    assert add_key(tmp_path, "census", format="openssh", public_key=line, pins=pins) == key
    with pytest.raises(KeyRefused, match="other pins") as caught:
        add_key(tmp_path, "census", format="openssh", public_key=line, pins={**pins, "namespace": "git"})
    assert "namespace git" in str(caught.value)
    contract = tmp_path / "adult.yaml"
    contract.write_text(
        "version: 1\ndataset: adult\nschema: {columns: {age: {type: integer}}}\npublishers:\n"
        f"- {{id: census, keys: [{{format: openssh, public_key: {line}, identity: you, namespace: file}}]}}\n"
    )
    with pytest.raises(ContractError, match="other pins"):
        load_contract(contract)
