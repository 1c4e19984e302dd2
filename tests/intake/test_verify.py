"""Verifying a delivery: the order of the steps, what is registered, and what happens when it is interrupted."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.contract import Contract
from assay.db import Database, delivery_files, findings_of, get_delivery
from assay.findings import Outcome
from assay.intake import (
    DeliveryRefused,
    LocationError,
    NotThere,
    VerifiedDelivery,
    load_delivery,
    verify,
    verify_delivery,
)
from assay.intake.publish import write_manifest
from tests.intake.support import FILES, Line, finding, outcomes, serve

ALL = [
    "intake.signature",
    "intake.manifest",
    "intake.identity",
    "intake.freshness.replay",
    "intake.freshness.rollback",
    "intake.freshness.future",
    "intake.completeness",
    "intake.checksums",
]


def test_a_good_delivery_is_accepted_with_a_finding_for_each_check(line: Line) -> None:
    """Its files are objects, its row says who signed what when."""
    result = line.verify(line.deliver(sequence=3))
    assert (result.outcome, result.verdict) == ("passed", "accept")
    assert [each.check for each in result.findings] == ALL
    assert {each.outcome for each in result.findings} == {Outcome.PASSED}
    assert [file.path for file in result.files] == [
        "README.md",
        "delivery.json",
        "part/more.csv",
        "people.csv",
    ]
    for path, data in FILES.items():
        assert line.store.get_bytes(next(f.sha256 for f in result.files if f.path == path)) == data
    (row,) = line.registered()
    assert (row.id, row.state, row.verdict) == (result.delivery_id, "verified", "accept")
    assert (row.sequence, row.key_id, row.publisher) == (3, line.public["first"].id, "census")
    assert row.manifest_sha256 == hashlib.sha256((line.root / "delivery/SHA256SUMS").read_bytes()).hexdigest()
    assert row.contract_sha256 == line.contract().digest
    with line.database.session() as session:
        assert len(delivery_files(session, row.id)) == 4
        assert len(findings_of(session, row.id)) == len(ALL)


def test_manifest_and_signature_are_kept_as_evidence(line: Line) -> None:
    """Whoever asks later can check the signature again."""
    folder = line.deliver()
    result = line.verify(folder)
    assert line.store.get_bytes(result.manifest_sha256) == (folder / "SHA256SUMS").read_bytes()
    (row,) = line.registered()
    kept = line.store.get_bytes(row.detail["intake"]["signature"])
    assert kept == (folder / "SHA256SUMS.minisig").read_bytes()


def test_the_same_delivery_has_the_same_id_wherever_it_lies(line: Line, tmp_path: Path) -> None:
    """Ids come from content: not from the place, the registry or the day."""
    folder = line.deliver()
    here = line.verify(folder)
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    database = Database(f"sqlite:///{tmp_path / 'other.db'}")
    database.migrate()
    there = verify_delivery(str(elsewhere), line.contract(), database=database, store=line.store)
    assert there.delivery_id == here.delivery_id
    tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    assert line.verify(elsewhere, on=tomorrow).delivery_id == here.delivery_id
    database.dispose()


def test_only_listed_tables_are_data(line: Line) -> None:
    """README and delivery.json are part of the delivery and no rows."""
    result = line.verify(line.deliver())
    assert [file.path for file in result.data_files()] == ["part/more.csv", "people.csv"]


def test_the_answer_survives_json_and_the_registry(line: Line) -> None:
    """Round trips: as JSON, and by id through the registry; between tasks goes less than 1 kB."""
    files = {f"part/{number:04}.csv": str(number).encode() for number in range(30)}
    result = line.verify(line.deliver(files=files))
    assert VerifiedDelivery.from_json(result.to_json()) == result
    assert load_delivery(line.database, result.delivery_id) == result
    assert len(json.dumps(result.reference())) < 1000
    assert result.reference() == {
        "delivery_id": result.delivery_id,
        "dataset": "adult",
        "source": "west",
        "outcome": "passed",
        "verdict": "accept",
    }
    with pytest.raises(LocationError, match="no delivery nothing"):
        load_delivery(line.database, "nothing")


def test_a_rejected_delivery_comes_back_from_the_registry_as_rejected(line: Line) -> None:
    """With its findings in their order."""
    folder = line.deliver()
    (folder / "people.csv").unlink()
    result = line.verify(folder)
    assert load_delivery(line.database, result.delivery_id) == result


def test_the_registry_may_be_either_database(line: Line, database_url: str) -> None:
    """SQLite and PostgreSQL keep the same answer."""
    database = Database(database_url)
    database.migrate()
    folder = line.deliver()
    results = [
        verify_delivery(str(folder), line.contract(), database=database, store=line.store) for _ in range(2)
    ]
    assert results[0] == results[1] == load_delivery(database, results[0].delivery_id)
    older = line.deliver("older", sequence=0)
    assert (
        verify_delivery(str(older), line.contract(), database=database, store=line.store).verdict == "reject"
    )
    database.dispose()


def test_the_environment_names_registry_and_store_if_nobody_else_does(line: Line, assay_home: Path) -> None:
    """As tasks and the command line use it."""
    result = verify_delivery(str(line.deliver()), line.contract())
    assert (assay_home / "assay.db").exists()
    assert load_delivery(line.database, result.delivery_id) == result


# ------------------------------------------------------------------------------------------------- what is not checked
def test_a_source_without_a_signature_is_held_and_never_passed(line: Line) -> None:
    """Checksums and completeness are checked all the same; the bytes stay sealed until somebody vouches for them."""
    contract = line.contract(sources=[line.source(signature=None)])
    result = line.verify(line.deliver(), contract)
    assert (result.outcome, result.verdict) == ("not_checked", "hold")
    assert outcomes(result)["intake.signature"] == "not_checked"
    assert outcomes(result)["intake.checksums"] == "passed"
    assert "add `signature`" in finding(result, "intake.signature").message
    assert all(line.store.is_sealed(file.sha256) for file in result.files)
    assert result.key_id is None
    assert result.sequence is None
    with pytest.raises(DeliveryRefused):
        result.data_files()
    assert len(result.data_files(held=True)) == 2


def test_a_publisher_without_a_key_is_held(line: Line) -> None:
    """The finding says how to add one."""
    result = line.verify(line.deliver(), line.contract(keys=[]))
    assert result.verdict == "hold"
    assert "assay trust add census" in finding(result, "intake.signature").message


def test_a_contract_without_publishers_and_sources_is_held(line: Line) -> None:
    """What can be checked is; the finding names what to add."""
    result = line.verify(line.deliver(), line.contract(publishers=[], sources=[]))
    assert (result.outcome, result.verdict) == ("not_checked", "hold")
    assert "`publishers`" in finding(result, "intake.source").message
    assert outcomes(result)["intake.checksums"] == "passed"


def test_an_unsigned_delivery_that_is_damaged_is_rejected(line: Line) -> None:
    """`Not checked` does not hide a failure."""
    folder = line.deliver()
    (folder / "people.csv").write_text("x")
    result = line.verify(folder, line.contract(sources=[line.source(signature=None)]))
    assert (result.outcome, result.verdict) == ("failed", "reject")


def test_a_hold_is_lifted_when_the_contract_learns_the_key(line: Line) -> None:
    """Same delivery, same id; the row moves on, and its data is readable then."""
    folder = line.deliver()
    held = line.verify(folder, line.contract(keys=[]))
    assert [(row.state, row.verdict) for row in line.registered()] == [("landed", "hold")]
    accepted = line.verify(folder)
    assert accepted.delivery_id == held.delivery_id
    assert [(row.state, row.verdict, row.sequence) for row in line.registered()] == [
        ("verified", "accept", 1)
    ]
    assert load_delivery(line.database, held.delivery_id) == accepted
    for file in accepted.data_files():
        assert not line.store.is_sealed(file.sha256)


def test_a_later_decision_is_not_taken_back_by_verifying_again(line: Line) -> None:
    """What a human rejected stays rejected in the registry."""
    from assay.db import advance_delivery

    folder = line.deliver()
    result = line.verify(folder)
    with line.database.write() as session:
        advance_delivery(session, result.delivery_id, "rejected", verdict="reject")
    line.verify(folder)
    with line.database.session() as session:
        row = get_delivery(session, result.delivery_id)
        assert row is not None
        assert (row.state, row.verdict) == ("rejected", "reject")


def test_other_signatures_beside_the_manifest_are_tolerated_and_not_read(line: Line) -> None:
    """A publisher may sign in several ways; a manifest cannot list what signs it."""
    folder = line.deliver()
    (folder / "SHA256SUMS.asc").write_text("-----BEGIN PGP SIGNATURE-----")
    result = line.verify(folder)
    assert result.verdict == "accept"
    assert finding(result, "intake.completeness").evidence["not_read"] == ["SHA256SUMS.asc"]


# ------------------------------------------------------------------------------------------------ bad input, bad places
def test_a_folder_without_a_manifest_is_no_delivery(line: Line, tmp_path: Path) -> None:
    """The error says what lies there instead, and nothing is registered."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotThere, match="no manifest") as raised:
        line.verify(empty)
    assert raised.value.found == "an empty folder"
    (empty / "data.csv").touch()
    with pytest.raises(NotThere) as raised:
        line.verify(empty)
    assert raised.value.found == "other files: data.csv"
    with serve(empty) as web, pytest.raises(NotThere) as raised:
        line.verify(web.uri)
    assert raised.value.found is not None
    assert "404" in raised.value.found
    assert raised.value.exit_code == 1
    assert line.registered() == []


def test_a_manifest_of_another_name_is_found_by_the_contract(line: Line) -> None:
    """And the default one is an unlisted file then."""
    contract = line.contract(sources=[line.source(manifest="sums.txt", signature="sums.txt.minisig")])
    folder = line.deliver(contract=contract)
    assert line.verify(folder, contract).verdict == "accept"


def test_a_full_disk_is_said_to_be_full_and_leaves_nothing(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's error comes through; the registry has no row; with space again, the same id."""
    from assay.store import StoreFull

    folder = line.deliver()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreFull, match="is full"):
            line.verify(folder)
    assert line.registered() == []
    assert list(line.store.digests()) == []
    assert line.verify(folder).verdict == "accept"


# --------------------------------------------------------------------------------------------------------- which source
def three_sources(line: Line, **uris: str) -> Contract:
    line.new_key("other")
    sources = [line.source(name, uri=uri) for name, uri in uris.items()]
    sources[-1]["publisher"] = "bureau"
    publishers = [{"id": "census", "keys": [line.key()]}, {"id": "bureau", "keys": [line.key("other")]}]
    return line.contract(publishers=publishers, sources=sources)


def test_the_source_is_found_by_its_address(line: Line) -> None:
    """Equal or below; the longest match; not by a mere beginning of a name."""
    root = line.root.as_posix()
    contract = three_sources(
        line, west=f"{root}/data/", north=f"file://{root}/data/north", south=f"{root}/dat"
    )
    for name, source in (("data/today", "west"), ("data", "west"), ("data/north/1", "north")):
        folder = line.deliver(name, contract=contract, source=source)
        assert line.verify(folder, contract).source == source
        shutil.rmtree(line.root / "data")


def test_the_source_is_found_by_what_its_publisher_signed(line: Line, tmp_path: Path) -> None:
    """delivery.json or the trusted comment names it, and that source's own publisher signed it."""
    contract = three_sources(line, west="/w", north="/n", south="/s")
    for source, key in (("north", "first"), ("south", "other")):
        folder = line.deliver(f"copy of {source}", contract=contract, source=source, key=key)
        result = line.verify(folder, contract)
        assert (result.source, result.verdict) == (source, "accept")
        with serve(folder) as web:
            assert line.verify(web.uri, contract).source == source
    said = line.deliver("said", contract=contract, source="north", files={"people.csv": b"person_id\n8\n"})
    (said / "delivery.json").unlink()
    write_manifest(said)
    line.sign(said, trusted_comment="source:north sequence:2")
    assert line.verify(said, contract).source == "north"


def test_a_source_is_not_found_by_what_another_publisher_signed(line: Line) -> None:
    """Nor by what nobody signed."""
    contract = three_sources(line, west="/w", north="/n", south="/s")
    foreign = line.deliver("foreign", contract=contract, source="south", key="first")
    unsigned = line.deliver("unsigned", contract=contract, source="west")
    (unsigned / "SHA256SUMS.minisig").unlink()
    wine = line.contract(dataset="wine", sources=list(contract.sources), publishers=list(contract.publishers))
    strange = line.deliver("strange", contract=wine, source="west")
    changed = line.deliver("changed", contract=contract, source="west")
    (changed / "delivery.json").write_text("{}")
    anonymous = line.deliver("anonymous", contract=contract, source="west")
    (anonymous / "delivery.json").unlink()
    write_manifest(anonymous)
    line.sign(anonymous)
    for folder in (foreign, unsigned, strange, changed, anonymous):
        with pytest.raises(LocationError, match="any source") as raised:
            line.verify(folder, contract)
        assert "west, north, south" in str(raised.value)
        assert raised.value.exit_code == 2
    assert line.verify(foreign, contract, "south").verdict == "reject"


def test_a_source_that_the_contract_lacks_is_a_usage_error(line: Line) -> None:
    """It lists those that there are."""
    with pytest.raises(LocationError, match="no source 'east'") as raised:
        line.verify(line.deliver(), None, "east")
    assert raised.value.expected == "one of west"


# --------------------------------------------------------------------------------------------------------------- killed
def in_a_child(work: Callable[[], object]) -> int:
    """Do it in a process of its own; returns how that ended, as `subprocess` says it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def verify_until(point: str, line: Line, folder: Path) -> None:
    """Verify, and be killed at a point of the way; in a child only, for it changes the module."""
    calls = itertools.count(1)
    true_write, true_register = verify.write, verify._Verification._register
    if point == "before the transaction":
        verify.result_of = die  # type: ignore[assignment]
    elif point == "in the transaction":
        verify.write = lambda *a: (true_write(*a), die())  # type: ignore[assignment]
    elif point == "after the transaction":
        verify._Verification._register = lambda self, *a: (true_register(self, *a), die())  # type: ignore[assignment]
    line.verify(folder, progress=lambda path, size: die() if point == f"chunk {next(calls)}" else None)


@pytest.mark.parametrize(
    "point",
    [
        "chunk 1",
        "chunk 3",
        "chunk 6",
        "before the transaction",
        "in the transaction",
        "after the transaction",
    ],
)
@pytest.mark.parametrize("tampered", [False, True], ids=["good", "tampered"])
def test_killed_anywhere_and_run_again_it_gives_the_same_id_and_no_double_entry(
    line: Line, tmp_path: Path, point: str, tampered: bool
) -> None:
    """SIGKILL in the middle: whole objects or none, one row or none; afterwards everything is as if it had not been."""
    files = {**FILES, "large.csv": os.urandom(3 << 20)}
    folder = line.deliver(files=files)
    if tampered:
        (folder / "large.csv").write_bytes(os.urandom(3 << 20))
    assert in_a_child(lambda: verify_until(point, line, folder)) == -signal.SIGKILL
    assert len(line.registered()) == (1 if point == "after the transaction" else 0)
    for digest in line.store.digests():
        line.store.verify(digest)

    results = [line.verify(folder) for _ in range(2)]
    assert results[0] == results[1]
    assert [row.id for row in line.registered()] == [results[0].delivery_id]
    assert results[0].verdict == ("reject" if tampered else "accept")
    database = Database(f"sqlite:///{tmp_path / 'undisturbed.db'}")
    database.migrate()
    undisturbed = verify_delivery(str(folder), line.contract(), database=database, store=line.store)
    database.dispose()
    assert undisturbed.delivery_id == results[0].delivery_id
    with line.database.session() as session:
        assert len(findings_of(session, results[0].delivery_id)) == len(results[0].findings)
    clear = set(line.store.digests())
    assert clear.isdisjoint(file.sha256 for file in results[0].files) is tampered


def test_workers_that_verify_the_same_delivery_at_once_agree(line: Line) -> None:
    """One row, one answer."""
    folder = line.deliver()
    with ThreadPoolExecutor(3) as pool:
        ids = list(pool.map(lambda _: line.verify(folder).delivery_id, range(6)))
    assert len(set(ids)) == 1
    assert [row.id for row in line.registered()] == ids[:1]


def test_progress_is_told_for_each_file(line: Line) -> None:
    """Path and bytes so far."""
    told: dict[str, int] = {}
    result = line.verify(line.deliver(), progress=lambda path, size: told.__setitem__(path, size))
    assert told == {file.path: file.size for file in result.files}


def test_a_manifest_that_cannot_be_read_with_its_folder_is_told_without_what_lies_there(
    line: Line, tmp_path: Path
) -> None:
    """Too many files to say which."""
    contract = line.contract(bounds={"max_files": 2})
    for number in range(9):
        (tmp_path / f"{number}.csv").touch()
    with pytest.raises(NotThere) as raised:
        line.verify(tmp_path, contract)
    assert raised.value.found == "nothing of that name"


def test_a_delivery_json_that_is_a_link_is_rejected(line: Line, tmp_path: Path) -> None:
    """Listed, signed, and still not opened."""
    folder = line.deliver()
    (folder / "delivery.json").rename(tmp_path / "moved.json")
    (folder / "delivery.json").symlink_to(tmp_path / "moved.json")
    result = line.verify(folder)
    assert result.verdict == "reject"
    assert result.sequence is None
    assert "symbolic link" in finding(result, "intake.completeness").message


def test_tables_are_read_through_the_rooms_face() -> None:
    """Arrow is imported when they are asked for."""
    from assay import intake

    assert intake.read_batches is __import__("assay.intake.tables", fromlist=["x"]).read_batches
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = intake.nothing
