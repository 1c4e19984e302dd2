"""Manifests that the real tools wrote are accepted, and each attack on one is caught, whoever signed it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from assay.contract import Contract
from assay.intake import VerifiedDelivery
from assay.intake.publish import sign_minisign
from tests.intake.support import Line, finding, new_line, outcomes
from tests.interop.cells import caught
from tests.interop.manifest_kits import KITS, Kit
from tests.interop.manifest_tools import TARGET

MARKS = {
    "B3SUMS": pytest.mark.b3sum,
    "Git LFS list": pytest.mark.git_lfs,
    "Git LFS pointer": pytest.mark.git_lfs,
    "Debian Release": pytest.mark.apt_ftparchive,
}
EACH = [pytest.param(kit, marks=MARKS.get(kit.name, ()), id=kit.name) for kit in KITS.values()]
SIZED = [each for each in EACH if each.values[0].resize is not None]
PARENT, ROOT = "../people.csv", "/people.csv"


@dataclass
class Delivery:
    """A delivery as the tool made it, and the contract that it is verified with."""

    kit: Kit
    line: Line
    folder: Path
    contract: Contract

    def sign(self, comment: str = "timestamp:1700000000 sequence:5") -> None:
        """As its publisher does, after the manifest was put right."""
        if self.kit.seal is not None:
            self.kit.seal(self.folder)
        sign_minisign(self.folder / self.kit.manifest, self.line.keys["first"], trusted_comment=comment)

    def verify(self) -> VerifiedDelivery:
        """What we say about it."""
        return self.line.verify(self.folder, self.contract)

    def rejected(self, *checks: str) -> str:
        """The message of the check that failed; it is one of these, and no other failed."""
        result = self.verify()
        assert (result.outcome, result.verdict) == ("failed", "reject"), outcomes(result)
        failed = [each for each in result.findings if each.outcome == "failed"]
        assert {each.check.removeprefix("intake.") for each in failed} <= set(checks), [
            (each.check, each.message) for each in failed
        ]
        return "; ".join(each.message for each in failed)


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where each kit's delivery lies that its tool has made, once for all tests."""
    return {"": tmp_path_factory.mktemp("kits")}


@pytest.fixture
def delivery(request: pytest.FixtureRequest, tmp_path: Path, _made: dict[str, Path]) -> Iterator[Delivery]:
    """A signed delivery of the kit, to be spoiled."""
    kit: Kit = request.param
    if kit.name not in _made:
        _made[kit.name] = kit.build(_made[""] / kit.name.replace(" ", "-").replace("*", "star"))
    with new_line(tmp_path) as line:
        folder = shutil.copytree(_made[kit.name], tmp_path / "delivery")
        source = line.source(
            manifest=kit.manifest, signature=f"{kit.manifest}.minisig", **{"uri": "west/"} | kit.source
        )
        made = Delivery(kit, line, folder, line.contract(sources=[source]))
        made.sign()
        yield made


def each(test: object) -> object:
    """Run the test for each format."""
    return pytest.mark.parametrize("delivery", EACH, indirect=True)(test)


@each
def test_what_the_tool_writes_is_accepted(delivery: Delivery) -> None:
    """Byte for byte as it comes; every file is proved by a strong digest."""
    result = delivery.verify()
    assert (result.outcome, result.verdict) == ("passed", "accept"), [
        (found.check, found.message) for found in result.findings if found.outcome != "passed"
    ]
    below = f"{delivery.kit.below}/" if delivery.kit.below else ""
    assert {below + name for name in delivery.kit.files} <= {file.path for file in result.files}


# -------------------------------------------------------------------------------------------------- changed on the way
@each
def test_a_flipped_byte_in_the_data_is_caught(delivery: Delivery) -> None:
    """One bit of one byte."""
    path = delivery.kit.data(delivery.folder)
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    assert TARGET in delivery.rejected("checksums")
    caught(delivery.kit.name, "flipped byte in data")


@each
def test_truncated_data_is_caught(delivery: Delivery) -> None:
    """The last byte is missing."""
    path = delivery.kit.data(delivery.folder)
    path.write_bytes(path.read_bytes()[:-1])
    # A bag says how many bytes it has, which is noticed as well.
    delivery.rejected("checksums", "completeness")
    caught(delivery.kit.name, "truncated data")


@each
def test_a_flipped_byte_in_the_manifest_is_caught(delivery: Delivery) -> None:
    """In a digest: whoever signed it, the data is not what it says."""
    digest = delivery.kit.digest(delivery.folder)
    other = ("1" if digest[5] == "0" else "0") if digest[5].isdigit() else ("a" if digest[5] != "a" else "b")
    delivery.kit.replace(delivery.folder, digest, digest[:5] + other + digest[6:])
    delivery.sign()
    assert TARGET in delivery.rejected("checksums", "manifest")
    caught(delivery.kit.name, "flipped byte in manifest")


@each
def test_a_flipped_byte_in_the_signed_manifest_is_caught_before_it_is_parsed(delivery: Delivery) -> None:
    """Nobody signed it again."""
    path = delivery.folder / delivery.kit.manifest
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    delivery.rejected("signature")
    caught(delivery.kit.name, "flipped byte in signed manifest")


@each
def test_a_truncated_manifest_is_caught(delivery: Delivery) -> None:
    """Its second half is missing."""
    path = delivery.kit.listing(delivery.folder)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 + 3])
    delivery.sign()
    delivery.rejected("manifest", "completeness")
    caught(delivery.kit.name, "truncated manifest")


# -------------------------------------------------------------------------------------------------- files and the list
@each
def test_an_extra_file_is_caught(delivery: Delivery) -> None:
    """Beside those that are listed."""
    delivery.kit.data(delivery.folder, "extra.csv").write_bytes(b"person_id,age\n9,99\n")
    assert "extra.csv" in delivery.rejected("completeness")
    caught(delivery.kit.name, "extra file")


@each
def test_a_missing_file_is_caught(delivery: Delivery) -> None:
    """It is listed."""
    delivery.kit.data(delivery.folder).unlink()
    delivery.rejected("completeness")
    caught(delivery.kit.name, "missing file")


@each
def test_a_renamed_file_is_caught(delivery: Delivery) -> None:
    """Its bytes are right, its name is not."""
    path = delivery.kit.data(delivery.folder)
    path.rename(path.with_name("persons.csv"))
    delivery.rejected("completeness")
    caught(delivery.kit.name, "renamed file")


@each
def test_a_file_behind_a_link_is_caught(delivery: Delivery, tmp_path: Path) -> None:
    """Even if it leads to the right bytes."""
    path = delivery.kit.data(delivery.folder)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    delivery.rejected("completeness")
    caught(delivery.kit.name, "symlink")


@each
def test_a_duplicate_entry_is_caught(delivery: Delivery) -> None:
    """Which of the two would count?"""
    if delivery.kit.name == "Git LFS pointer":
        delivery.kit.replace(delivery.folder, "size ", f"oid sha256:{'0' * 64}\nsize ")
    else:
        delivery.kit.duplicate(delivery.folder)
    delivery.sign()
    delivery.rejected("manifest")
    caught(delivery.kit.name, "duplicate entry")


def _listed_as(delivery: Delivery, path: str) -> None:
    if delivery.kit.name == "Git LFS pointer":  # its name says which file it is about
        pytest.fail("a pointer lists no path")
    below = f"{delivery.kit.below}/" if delivery.kit.below and not path.startswith("/") else ""
    delivery.kit.rename(delivery.folder, below + path)
    delivery.sign()


LISTING = [each for each in EACH if each.values[0].name != "Git LFS pointer"]


@pytest.mark.parametrize("delivery", LISTING, indirect=True)
@pytest.mark.parametrize(
    ("path", "attack"), [(PARENT, "../"), (ROOT, "absolute path"), ("a//people.csv", "path in two spellings")]
)
def test_a_path_that_leads_elsewhere_is_caught(delivery: Delivery, path: str, attack: str) -> None:
    """Out of the delivery, or to one file under two names."""
    _listed_as(delivery, path)
    delivery.rejected("manifest")
    caught(delivery.kit.name, attack)


@pytest.mark.parametrize("delivery", LISTING, indirect=True)
def test_a_path_with_a_backslash_is_caught(delivery: Delivery) -> None:
    """On another system it would lead out of the delivery."""
    _listed_as(delivery, "..\\people.csv")
    delivery.rejected("manifest")
    caught(delivery.kit.name, "..\\")


# ------------------------------------------------------------------------------------------------ manifests gone bad
@each
def test_an_empty_manifest_is_caught(delivery: Delivery) -> None:
    """It vouches for nothing, and so must not pass."""
    delivery.kit.listing(delivery.folder).write_bytes(b"")
    delivery.sign()
    delivery.rejected("manifest")
    caught(delivery.kit.name, "empty manifest")


@pytest.mark.parametrize("delivery", [each for each in EACH if each.values[0].emptied], indirect=True)
def test_a_manifest_with_an_empty_list_is_caught(delivery: Delivery) -> None:
    """Well formed, and vouches for nothing."""
    path = delivery.kit.listing(delivery.folder)
    body = json.loads(path.read_text())
    body[delivery.kit.emptied.strip('"')] = []
    path.write_text(json.dumps(body))
    delivery.sign()
    delivery.rejected("manifest")
    caught(delivery.kit.name, "empty list")


@each
def test_an_unknown_algorithm_is_caught(delivery: Delivery) -> None:
    """A line that cannot be checked is not passed over."""
    delivery.kit.unknown(delivery.folder)
    delivery.sign()
    delivery.rejected("manifest")
    caught(delivery.kit.name, "unknown algorithm")


@each
def test_a_weak_algorithm_is_not_checked(delivery: Delivery) -> None:
    """Its digests fit, and prove nothing."""
    delivery.kit.weak(delivery.folder)
    if delivery.kit.name == "BagIt":
        delivery = _with_manifest(delivery, "tagmanifest-md5.txt")
    delivery.sign()
    result = delivery.verify()
    assert (result.outcome, result.verdict) == ("not_checked", "hold"), [
        (found.check, found.message) for found in result.findings if found.outcome == "failed"
    ]
    found = finding(result, "intake.checksums")
    assert found.outcome == "not_checked"
    assert found.message.startswith("weak: ")
    assert all(delivery.line.store.is_sealed(file.sha256) for file in result.files)
    caught(delivery.kit.name, "weak algorithm")


@each
def test_a_weak_digest_that_does_not_fit_is_rejected(delivery: Delivery) -> None:
    """Not checked hides no failure; sizes count where a format has them."""
    delivery.kit.weak(delivery.folder)
    if delivery.kit.name == "BagIt":
        delivery = _with_manifest(delivery, "tagmanifest-md5.txt")
    delivery.sign()
    path = delivery.kit.data(delivery.folder)
    path.write_bytes(path.read_bytes() + b"9,9\n")
    delivery.rejected("checksums", "completeness")
    caught(delivery.kit.name, "weak digest that differs")


def _with_manifest(delivery: Delivery, name: str) -> Delivery:
    source = delivery.line.source(manifest=name, signature=f"{name}.minisig")
    kit = Kit(**{**vars(delivery.kit), "manifest": name, "seal": None})
    return Delivery(kit, delivery.line, delivery.folder, delivery.line.contract(sources=[source]))


@each
def test_a_carriage_return_hides_nothing(delivery: Delivery) -> None:
    """One line end of another kind, or one inside a name."""
    kit, path = delivery.kit, delivery.kit.listing(delivery.folder)
    if kit.lines:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 1))
    else:
        kit.rename(delivery.folder, f"{TARGET}\r\n")
    delivery.sign()
    delivery.rejected("manifest")
    caught(kit.name, "CRLF")


@each
def test_a_byte_order_mark_is_caught(delivery: Delivery) -> None:
    """It would hide the first line from a tool."""
    path = delivery.kit.listing(delivery.folder)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    delivery.sign()
    delivery.rejected("manifest")
    caught(delivery.kit.name, "BOM")


@each
def test_a_huge_line_is_caught(delivery: Delivery) -> None:
    """A name of a hundred thousand letters, or a line of as many blanks."""
    kit, path = delivery.kit, delivery.kit.listing(delivery.folder)
    if kit.name == "Git LFS pointer":
        path.write_bytes(path.read_bytes() + b"x" * 100_000)
    else:
        kit.rename(delivery.folder, f"{kit.below}/{'x' * 100_000}" if kit.below else "x" * 100_000)
    delivery.sign()
    delivery.rejected("manifest")
    caught(kit.name, "huge line")


@each
def test_a_nul_byte_is_caught(delivery: Delivery) -> None:
    """Where a tool written in C would stop reading."""
    kit, path = delivery.kit, delivery.kit.listing(delivery.folder)
    if kit.lines:
        path.write_bytes(path.read_bytes() + b"\0\n")
    else:
        kit.rename(delivery.folder, f"{TARGET}\0.txt")
    delivery.sign()
    delivery.rejected("manifest")
    caught(kit.name, "NUL byte")


@each
def test_text_that_is_no_utf8_is_caught(delivery: Delivery) -> None:
    """As Latin-1 tools write it."""
    path = delivery.kit.listing(delivery.folder)
    path.write_bytes(path.read_bytes().replace(b"people", b"p\xe9ople", 1) + b"\xff")
    delivery.sign()
    delivery.rejected("manifest")
    caught(delivery.kit.name, "no UTF-8")


@pytest.mark.parametrize("delivery", SIZED, indirect=True)
def test_a_wrong_size_is_caught(delivery: Delivery) -> None:
    """The digest fits, the size that the manifest gives does not."""
    assert delivery.kit.resize is not None
    delivery.kit.resize(delivery.folder)
    delivery.sign()
    delivery.rejected("checksums", "completeness")
    caught(delivery.kit.name, "wrong size")


@each
def test_more_files_than_the_contract_allows_are_caught(delivery: Delivery) -> None:
    """The bound is named."""
    if len(delivery.kit.files) < 2:
        source = delivery.contract.sources[0].model_dump(mode="json")
        contract = delivery.line.contract(sources=[source], bounds={"max_bytes": 5})
        said = Delivery(delivery.kit, delivery.line, delivery.folder, contract).rejected("completeness")
        assert "larger than the contract allows" in said
    else:
        source = delivery.contract.sources[0].model_dump(mode="json")
        contract = delivery.line.contract(sources=[source], bounds={"max_files": 1})
        said = Delivery(delivery.kit, delivery.line, delivery.folder, contract).rejected("manifest")
        assert "too many files" in said
    caught(delivery.kit.name, "more than the bounds")


# ---------------------------------------------------------------------------------------------------- old deliveries
@each
def test_a_replay_is_caught(delivery: Delivery) -> None:
    """Byte for byte what was admitted before."""
    delivery.line.admit(delivery.verify().delivery_id)
    delivery.rejected("freshness.replay")
    caught(delivery.kit.name, "replay")


@each
def test_a_rollback_is_caught(delivery: Delivery, tmp_path: Path) -> None:
    """Genuine, and older than the last one."""
    assert delivery.verify().verdict == "accept"
    delivery.folder = delivery.kit.build(tmp_path / "older", more=b"8,88\n")
    delivery.sign("timestamp:1600000000 sequence:4")
    delivery.rejected("freshness.rollback")
    caught(delivery.kit.name, "rollback")
