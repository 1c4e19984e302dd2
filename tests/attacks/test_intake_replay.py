"""Attacks with genuine, validly signed deliveries: old ones, repeated ones, ones meant for somebody else."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.contract import Contract
from assay.intake.publish import write_manifest
from tests.intake.support import Line, finding, new_line, outcomes, rejected_for

UTC = dt.UTC


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """A publisher that signs with minisign."""
    with new_line(tmp_path) as made:
        yield made


def plain(
    line: Line, name: str, comment: str, *, rows: bytes = b"person_id,age\n1,2\n", key: str = "first"
) -> Path:
    """A delivery without delivery.json: what is signed besides the manifest is the trusted comment."""
    folder = line.root / name
    folder.mkdir()
    (folder / "people.csv").write_bytes(rows)
    write_manifest(folder)
    line.sign(folder, key, trusted_comment=comment)
    return folder


def test_a_replay_of_an_admitted_delivery_is_rejected(line: Line) -> None:
    """Every byte and signature is right; it was all admitted before. Nothing is fetched again."""
    folder = line.deliver()
    first = line.verify(folder)
    assert first.verdict == "accept"
    line.admit(first.delivery_id)
    again = line.verify(folder)
    assert rejected_for(again, "intake.freshness.replay").evidence["delivery"] == first.delivery_id
    assert again.delivery_id != first.delivery_id
    assert again.files == ()
    assert {row.id: row.state for row in line.registered()} == {
        first.delivery_id: "admitted",
        again.delivery_id: "rejected",
    }


def test_a_replay_signed_anew_is_still_a_replay(line: Line) -> None:
    """The manifest is the same, whatever date the new signature carries."""
    folder = plain(line, "one", "timestamp:1700000000")
    first = line.verify(folder)
    line.admit(first.delivery_id)
    line.sign(folder, trusted_comment="timestamp:1750000000")
    rejected_for(line.verify(folder), "intake.freshness.replay")


def test_a_repeat_of_a_delivery_that_is_not_admitted_yet_is_the_same_delivery(line: Line) -> None:
    """A task that is run again is no attack: same id, one row."""
    folder = line.deliver()
    results = [line.verify(folder) for _ in range(2)]
    assert results[0] == results[1]
    assert len(line.registered()) == 1


def test_where_repeats_are_normal_an_unchanged_delivery_is_nothing_to_do(line: Line) -> None:
    """`on_repeat: skip`: passed, with no verdict, under the admitted delivery's id, and nothing is registered."""
    contract = line.contract(sources=[line.source(on_repeat="skip")])
    folder = line.deliver(contract=contract)
    first = line.verify(folder, contract)
    assert first.verdict == "accept"
    line.admit(first.delivery_id)
    again = line.verify(folder, contract)
    assert (again.delivery_id, again.outcome, again.verdict) == (first.delivery_id, "passed", None)
    assert "unchanged" in finding(again, "intake.freshness.replay").message
    assert again.files == first.files
    assert len(line.registered()) == 1


def test_an_older_delivery_is_a_rollback_even_where_repeats_are_normal(line: Line) -> None:
    """A server set back to last week's delivery is not `nothing new`."""
    contract = line.contract(sources=[line.source(on_repeat="skip")])
    old, new = (line.deliver(f"d{n}", sequence=n, contract=contract) for n in (1, 2))
    for folder in (old, new):
        line.admit(line.verify(folder, contract).delivery_id)
    result = line.verify(old, contract)
    assert result.verdict == "reject"
    assert outcomes(result)["intake.freshness.rollback"] == "failed"


def test_a_repeat_of_an_unsigned_source_never_passes(line: Line) -> None:
    """`on_repeat: skip` skips the work, not the missing signature."""
    sources = [line.source(signature=None, on_repeat="skip")]
    contract = line.contract(sources=sources, freshness={"when_absent": "accept"})
    folder = line.deliver()
    first = line.verify(folder, contract)
    assert first.verdict == "hold"
    line.admit(first.delivery_id)
    again = line.verify(folder, contract)
    assert (again.outcome, again.verdict) == ("not_checked", None)


def test_a_rollback_to_a_lower_sequence_is_rejected(line: Line) -> None:
    """An older delivery that never reached us, or was never admitted, is not accepted after a newer one."""
    older, newer = line.deliver("older", sequence=4), line.deliver("newer", sequence=5)
    assert line.verify(newer).verdict == "accept"
    failed = rejected_for(line.verify(older), "intake.freshness.rollback")
    assert (failed.evidence["sequence"], failed.evidence["highest"]) == (4, 5)


def test_a_sequence_that_was_used_for_other_content_is_rejected(line: Line) -> None:
    """One number, one delivery."""
    line.verify(line.deliver("one", sequence=5))
    other = line.deliver("two", sequence=5, files={"people.csv": b"person_id,age\n7,7\n"})
    assert (
        "is the number of another delivery"
        in rejected_for(line.verify(other), "intake.freshness.rollback").message
    )


def test_a_rollback_by_date_is_rejected(line: Line) -> None:
    """Without a sequence, the signed date must not go back, not by a second."""
    assert line.verify(plain(line, "one", "timestamp:1700000000")).verdict == "accept"
    assert line.verify(plain(line, "two", "timestamp:1700000001", rows=b"person_id\n2\n")).verdict == "accept"
    for name, stamp in (("three", 1700000000), ("four", 1600000000)):
        folder = plain(line, name, f"timestamp:{stamp}", rows=f"person_id\n{stamp}\n".encode())
        rejected_for(line.verify(folder), "intake.freshness.rollback")


def test_two_deliveries_signed_within_one_second_are_both_accepted(line: Line) -> None:
    """A date has the resolution of a second or a day: another delivery of the same date is no older one."""
    assert line.verify(plain(line, "one", "timestamp:1700000000")).verdict == "accept"
    again = plain(line, "two", "timestamp:1700000000", rows=b"person_id\n2\n")
    assert line.verify(again).verdict == "accept"


def test_leaving_out_the_sequence_does_not_help_an_old_delivery(line: Line) -> None:
    """Its date still speaks."""
    line.verify(line.deliver("one", sequence=5, created=dt.datetime(2026, 3, 1, tzinfo=UTC)))
    old = plain(line, "two", "timestamp:1600000000")
    rejected_for(line.verify(old), "intake.freshness.rollback")


def test_a_tampered_delivery_with_a_high_sequence_does_not_lock_out_its_whole_self(line: Line) -> None:
    """The same signed manifest, sent again and whole, is accepted."""
    folder = line.deliver(sequence=9)
    whole = (folder / "people.csv").read_bytes()
    (folder / "people.csv").write_text("person_id,age\n6,66\n")
    assert line.verify(folder).verdict == "reject"
    assert line.verify(line.deliver("older", sequence=8)).verdict == "reject"
    (folder / "people.csv").write_bytes(whole)
    assert line.verify(folder).verdict == "accept"


def test_an_unsigned_claim_cannot_lock_out_the_publisher(line: Line) -> None:
    """A forged delivery with a huge sequence is rejected, and the next genuine one is not measured by it."""
    line.new_key("stranger")
    forged = line.deliver("forged", sequence=2**62, key="stranger")
    assert line.verify(forged).verdict == "reject"
    unsigned = line.contract(sources=[line.source(signature=None)])
    assert line.verify(line.deliver("unsigned", sequence=2**62, key="stranger"), unsigned).verdict == "hold"
    assert line.verify(line.deliver("real", sequence=1)).verdict == "accept"


def test_a_revoked_keys_sequence_does_not_bind_the_new_key(line: Line) -> None:
    """A thief who signed a huge sequence before the revocation has not locked the publisher out."""
    assert line.verify(line.deliver("stolen", sequence=10**15)).verdict == "accept"
    line.new_key("second")
    contract = line.contract(keys=[line.key(revoked="2026-01-01"), line.key("second")])
    folder = line.deliver("fresh", sequence=3, key="second", contract=contract)
    assert line.verify(folder, contract).verdict == "accept"


def test_a_delivery_from_the_future_is_rejected_and_does_not_count(line: Line) -> None:
    """Accepted, it would make every later delivery look old."""
    soon = int((dt.datetime.now(UTC) + dt.timedelta(days=2)).timestamp())
    result = line.verify(plain(line, "future", f"timestamp:{soon}"))
    rejected_for(result, "intake.freshness.future")
    now = int(dt.datetime.now(UTC).timestamp())
    assert line.verify(plain(line, "now", f"timestamp:{now}", rows=b"person_id\n5\n")).verdict == "accept"


def test_a_clock_that_is_some_hours_ahead_is_no_attack(line: Line) -> None:
    """Up to a day."""
    soon = int((dt.datetime.now(UTC) + dt.timedelta(hours=20)).timestamp())
    assert line.verify(plain(line, "soon", f"timestamp:{soon}")).verdict == "accept"


def test_a_delivery_older_than_the_contract_allows_is_rejected(line: Line) -> None:
    """An attacker who holds back all new deliveries is noticed when the last one has aged."""
    contract = line.contract(freshness={"max_age": "7d"})
    fresh = line.deliver(
        "fresh", sequence=1, created=dt.datetime.now(UTC) - dt.timedelta(days=6), contract=contract
    )
    assert finding(line.verify(fresh, contract), "intake.freshness.age").outcome == "passed"
    stale = line.deliver(
        "stale", sequence=2, created=dt.datetime.now(UTC) - dt.timedelta(days=8), contract=contract
    )
    assert (
        "older than the contract"
        in rejected_for(line.verify(stale, contract), "intake.freshness.age").message
    )


def test_old_data_signed_today_is_still_old(line: Line) -> None:
    """The older of the two dates counts for the age."""
    contract = line.contract(freshness={"max_age": "7d"})
    folder = line.deliver(created=dt.datetime(2026, 1, 1, tzinfo=UTC), contract=contract)
    rejected_for(line.verify(folder, contract), "intake.freshness.age")


def test_no_signed_sequence_or_date_is_not_checked(line: Line) -> None:
    """Nothing tells it from an old one: held, never passed."""
    result = line.verify(plain(line, "one", "no date"))
    assert (result.outcome, result.verdict) == ("not_checked", "hold")
    assert finding(result, "intake.freshness.rollback").outcome == "not_checked"
    aged = line.contract(freshness={"max_age": "7d", "when_absent": "accept"})
    result = line.verify(plain(line, "two", "no date", rows=b"person_id\n2\n"), aged)
    assert finding(result, "intake.freshness.age").outcome == "not_checked"
    assert result.verdict == "hold"


def test_a_contract_may_accept_deliveries_without_sequence_or_date_but_no_exact_repeats(line: Line) -> None:
    """`freshness.when_absent: accept`."""
    contract = line.contract(freshness={"when_absent": "accept"})
    folder = plain(line, "one", "no date")
    first = line.verify(folder, contract)
    assert first.verdict == "accept"
    line.admit(first.delivery_id)
    rejected_for(line.verify(folder, contract), "intake.freshness.replay")


@pytest.mark.parametrize(("dataset", "source"), [("wine", "west"), ("adult", "east"), ("wine", "east")])
def test_a_delivery_signed_for_another_data_set_or_source_is_rejected(
    line: Line, dataset: str, source: str
) -> None:
    """Genuine, fresh, and not for us."""
    folder = line.deliver()
    body = json.loads((folder / "delivery.json").read_text())
    (folder / "delivery.json").write_text(json.dumps(body | {"dataset": dataset, "source": source}))
    write_manifest(folder)
    line.sign(folder)
    result = line.verify(folder)
    failed = rejected_for(result, "intake.identity")
    assert f"{dataset}/{source}" in failed.message
    assert result.files == ()


def test_a_trusted_comment_for_another_source_is_rejected(line: Line) -> None:
    """It binds as delivery.json does."""
    rejected_for(line.verify(plain(line, "one", "sequence:1 source:east")), "intake.identity")


def test_a_delivery_json_that_cannot_be_read_is_rejected(line: Line) -> None:
    """What is signed and makes no sense is no absent claim."""
    folder = line.deliver()
    (folder / "delivery.json").write_text('{"dataset": "adult", "source": "west", "sequence": "many"}')
    write_manifest(folder)
    line.sign(folder)
    rejected_for(line.verify(folder), "intake.identity")


def test_a_delivery_json_that_was_changed_on_the_way_is_not_believed(line: Line) -> None:
    """Its digest fails; its claims count for nothing."""
    line.verify(line.deliver("one", sequence=1))
    folder = line.deliver("two", sequence=2)
    text = (folder / "delivery.json").read_text().replace('"sequence": 2', '"sequence": 3')
    (folder / "delivery.json").write_text(text)
    result = line.verify(folder)
    assert outcomes(result)["intake.checksums"] == "failed"
    assert result.sequence is None


def two_sources(line: Line) -> Contract:
    return line.contract(sources=[line.source("west"), line.source("east")])


def test_one_sources_delivery_passed_off_as_anothers_is_rejected(line: Line) -> None:
    """Same publisher, same key: without a signed source, the second appearance of a manifest gives it away."""
    contract = two_sources(line)
    folder = plain(line, "one", "timestamp:1700000000")
    assert line.verify(folder, contract, "west").verdict == "accept"
    failed = rejected_for(line.verify(folder, contract, "east"), "intake.freshness.replay")
    assert failed.evidence["source"] == "west"


def test_sources_are_ordered_each_by_itself(line: Line) -> None:
    """A high sequence of one does not hold up the other."""
    contract = two_sources(line)
    west = line.deliver("west", sequence=100, contract=contract)
    east = line.deliver("east", sequence=1, source="east", contract=contract)
    assert line.verify(west, contract, "west").verdict == "accept"
    assert line.verify(east, contract, "east").verdict == "accept"


def test_a_newer_delivery_that_arrives_while_an_older_one_lands_wins(line: Line) -> None:
    """Freshness is judged once more at the moment of registration."""
    older, newer = line.deliver("older", sequence=1), line.deliver("newer", sequence=2)
    done: list[str] = []

    def meanwhile(path: str, size: int) -> None:
        if not done:
            done.append(line.verify(newer).verdict or "")

    result = line.verify(older, progress=meanwhile)
    assert done == ["accept"]
    rejected_for(result, "intake.freshness.rollback")
    mine = [file.sha256 for file in result.files if file.path == "delivery.json"]
    assert all(line.store.is_sealed(each) for each in mine)
