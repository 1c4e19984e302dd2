"""From a source to a snapshot, and what stops a delivery on the way."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assay.db import (
    findings_of,
    get_delivery,
    latest_snapshot,
    list_deliveries,
    snapshot_deliveries,
)
from assay.findings import Answer, Outcome, worst
from assay.intake.errors import NotThere
from assay.ledger import trace, verify_snapshot
from assay.line import (
    DeliveryRejected,
    Undecided,
    admit,
    decide,
    land,
    record_decision,
    screen,
    validate,
    verdicts,
)
from assay.line.errors import SourceSilent
from assay.line.snapshots import manifest_of, snapshot_table
from assay.quarantine import list_cases

ANSWER = {
    "params_input": {"reason": "looked at the evidence"},
    "responded_by_user": {"id": "1", "name": "olga"},
}


def answer(choice: Answer) -> dict:
    return {"chosen_options": [str(choice)], **ANSWER}


def held_deliveries(town) -> list[str]:
    with town.line() as line, line.database.session() as session:
        return [d.id for d in list_deliveries(session, "adult") if d.state in {"held", "screened"}]


def keys_of(town) -> set[int]:
    with town.line() as line, line.database.session() as session:
        newest = latest_snapshot(session, "adult")
    with town.line() as line:
        return set(snapshot_table(line, newest)["person_id"].to_pylist())


def test_a_clean_round_becomes_a_snapshot_whose_rows_can_all_be_proved(settled_town):
    """Almost every row of the clean round is in snapshot 1, and each hash and root can be recomputed from the bytes."""
    with settled_town.line() as line:
        with line.database.session() as session:
            snapshot = latest_snapshot(session, "adult")
            assert len(snapshot_deliveries(session, snapshot.id)) == 3
        assert snapshot.version == 1
        assert snapshot.rows >= 0.99 * 2100
        findings = verify_snapshot(line.store, manifest_of(line, snapshot))
        assert worst(f.outcome for f in findings) is Outcome.PASSED
        assert worst(f.outcome for f in line.ledger.verify()) is Outcome.PASSED


def test_every_row_of_a_snapshot_names_its_delivery_source_file_and_record(settled_town):
    """The added columns lead from a row to the record of the signed file that it stood in."""
    with settled_town.line() as line:
        with line.database.session() as session:
            snapshot = latest_snapshot(session, "adult")
        table = snapshot_table(line, snapshot)
    assert set(table["_source"].to_pylist()) == {"west", "east", "north"}
    row = table.filter(pc.equal(table["_source"], "north")).slice(17, 1).to_pylist()[0]
    sent = pa.parquet.read_table(settled_town.stage.sent / "north-1" / row["_file"])
    assert sent.slice(row["_record"], 1)["person_id"].to_pylist() == [row["person_id"]]


def test_one_changed_byte_is_rejected_before_anything_is_parsed_and_a_whole_delivery_still_comes_in(
    settled_town,
):
    """Tampering rejects the delivery without validation; the same delivery, whole, is accepted afterwards."""
    copy = settled_town.stage.deliver("east", settled_town.rounds.second["east"], 2)
    settled_town.stage.tamper("east")
    with settled_town.line() as line:
        with pytest.raises(DeliveryRejected, match=r"rows-000\.parquet"):
            land(line, "east")
        with line.database.session() as session:
            rejected = list_deliveries(session, "adult", source="east")[-1]
            assert (rejected.state, rejected.verdict) == ("rejected", "reject")
            assert "validation" not in rejected.detail
        settled_town.stage.offer("east", copy)
        assert land(line, "east")["verdict"] == "accept"


def test_a_replay_of_an_admitted_delivery_is_rejected_as_stale(settled_town):
    """An old, validly signed delivery does not come in a second time."""
    settled_town.stage.offer("west", settled_town.stage.sent / "west-1")
    with settled_town.line() as line:
        with pytest.raises(DeliveryRejected):
            land(line, "west")
        with line.database.session() as session:
            newest = list_deliveries(session, "adult", source="west")[-1]
            said = [f for f in findings_of(session, newest.id) if f.outcome is Outcome.FAILED]
    assert any(f.check.startswith("intake.freshness") for f in said)


def test_an_unreadable_delivery_is_rejected_with_its_reason_and_the_others_go_on(town):
    """A file that is no Parquet, validly signed, rejects its own delivery only."""
    first = town.rounds.first
    good = town.take_in({"east": first["east"]}, 1)
    folder = town.stage.deliver("west", first["west"], 1)
    from assay.contract import load_contract
    from assay.intake.publish import publish

    outbox = town.stage.outbox / "west"
    (outbox / "rows-001.parquet").write_bytes(b"PAR1 this is no table PAR1")
    contract = load_contract(town.stage.contract)
    for stale in ("SHA256SUMS", "SHA256SUMS.minisig", "delivery.json"):
        (outbox / stale).unlink()
    publish(outbox, contract, "west", town.stage.root / "publishers" / "census.key", sequence=1)
    assert folder.exists()
    with town.line() as line:
        bad = land(line, "west")["delivery"]
        result = validate(line, [bad, *good])
        assert result["deliveries"] == good
        with line.database.session() as session:
            assert get_delivery(session, bad).state == "rejected"
            assert any("rows-001.parquet" in f.message for f in findings_of(session, bad))
        with pytest.raises(DeliveryRejected):
            validate(line, [bad])


def test_a_compromised_source_is_held_and_its_poison_is_in_cases(held_town):
    """History rewriting, backdoor and garbage put the delivery of `west` on hold, and only that one."""
    with held_town.line() as line:
        with line.database.session() as session:
            states = {d.source: d.state for d in list_deliveries(session, "adult") if d.sequence == 2}
        assert states == {"west": "held", "east": "screened", "north": "screened"}
        cases = {
            c.kind: c
            for c in list_cases(line.database, dataset="adult", status="open")
            if c.source == "west" and c.blocking
        }
    assert {"delivery", "screening"} <= set(cases)
    assert cases["screening"].rows >= 60


def test_nothing_of_a_held_delivery_is_admitted_before_the_human_has_answered(held_town):
    """Accepted deliveries of the same run go in, the held one does not, and the run says so."""
    deliveries = held_deliveries(held_town)
    poison = set(held_town.rounds.poison.backdoored)
    with held_town.line() as line:
        admit(line, deliveries)
        with line.database.session() as session:
            names = {d.id: d.source for d in list_deliveries(session, "adult")}
        landed = [{"source": names[d], "delivery": d} for d in deliveries]
        with pytest.raises(Undecided, match="west"):
            verdicts(line, ["west", "east", "north"], landed)
    west = set(held_town.rounds.second["west"]["person_id"].to_pylist()) - set(
        held_town.rounds.first["west"]["person_id"].to_pylist()
    )
    assert not keys_of(held_town) & (west | poison)


def test_the_clean_rest_of_a_held_delivery_is_admitted_without_its_quarantined_rows(held_town):
    """After `admit the clean rest`, history stands as it was and no quarantined row is in."""
    deliveries = held_deliveries(held_town)
    with held_town.line() as line:
        made = decide(line, deliveries, answer(Answer.ADMIT_REST))
        assert made["decisions"] >= 2
        assert made["reviewer"] == "olga"
        assert admit(line, deliveries)["version"] == 2
        with line.database.session() as session:
            snapshot = latest_snapshot(session, "adult")
            assert {get_delivery(session, d).state for d in deliveries} == {"admitted"}
        table = snapshot_table(line, snapshot)
    first = held_town.rounds.first["west"]
    rewritten = set(held_town.rounds.poison.rewritten)
    before = dict(zip(first["person_id"].to_pylist(), first["income"].to_pylist(), strict=True))
    now = dict(zip(table["person_id"].to_pylist(), table["income"].to_pylist(), strict=True))
    assert all(now[key] == before[key] for key in rewritten if key in now)


def test_admitting_everything_lets_quarantined_rows_in_under_the_decision_s_id(held_town):
    """Released rows enter the snapshot and carry the decision; rewritten rows supersede the older ones."""
    deliveries = held_deliveries(held_town)
    with held_town.line() as line:
        decide(line, deliveries, answer(Answer.ADMIT_ALL))
        admit(line, deliveries)
        with line.database.session() as session:
            snapshot = latest_snapshot(session, "adult")
        table = snapshot_table(line, snapshot)
        released = table.filter(pc.is_valid(table["_decision"]))
        case = next(
            c for c in list_cases(line.database, status="released", kind="screening") if c.source == "west"
        )
    assert set(released["_decision"].to_pylist()) == {case.decision_id}
    assert released.num_rows == case.rows
    assert len(set(table["person_id"].to_pylist())) == table.num_rows


def test_rejecting_the_delivery_keeps_all_of_it_out(held_town):
    """After a rejection nothing of the delivery is in, the others are, and the decision is in the ledger."""
    deliveries = held_deliveries(held_town)
    with held_town.line() as line:
        decide(line, deliveries, answer(Answer.REJECT))
        admit(line, deliveries)
        with line.database.session() as session:
            states = {get_delivery(session, d).source: get_delivery(session, d).state for d in deliveries}
        assert states == {"west": "rejected", "east": "admitted", "north": "admitted"}
        case = next(c for c in list_cases(line.database, kind="delivery"))
        assert "olga" in str(trace(line.ledger, line.database, line.store, case.id).as_dict())


def test_a_case_that_is_released_later_enters_the_next_snapshot_once(held_town):
    """Releasing a quarantine case after the admission brings its rows in with the next one, and never twice."""
    deliveries = held_deliveries(held_town)
    with held_town.line() as line:
        admit(line, deliveries)
        open_cases = list_cases(line.database, dataset="adult", status="open", kind="screening")
        for case in open_cases:
            record_decision(line, case, "release", "olga", "checked by hand")
        for case in list_cases(line.database, dataset="adult", status="open"):
            record_decision(line, case, "reject", "olga", "not this one")
        again = admit(line, deliveries)
        once_more = admit(line, deliveries)
    assert once_more["snapshot"] in {again["snapshot"], None} or once_more["admitted"] == 0


def test_admitting_again_gives_the_same_snapshot_and_enters_nothing(settled_town):
    """A task that is run again after its end finds its own snapshot."""
    with settled_town.line() as line:
        with line.database.session() as session:
            before = latest_snapshot(session, "adult")
            deliveries = snapshot_deliveries(session, before.id)
        size = line.ledger.size
        again = admit(line, deliveries)
        assert again["snapshot"] == before.id
        assert (line.ledger.size() if callable(size) else line.ledger.size) == (
            size() if callable(size) else size
        )
        assert admit(line, [])["snapshot"] is None


def test_screening_again_opens_no_second_case(held_town):
    """Screening is run again with the same verdicts, the same cases and no new ledger entry."""
    deliveries = held_deliveries(held_town)
    with held_town.line() as line:
        screen(line, deliveries)
        cases = [c.id for c in list_cases(line.database)]
        entries = len(line.ledger.entries())
        screen(line, deliveries)
        assert [c.id for c in list_cases(line.database)] == cases
        assert len(line.ledger.entries()) == entries


def test_a_source_that_offers_nothing_for_too_long_is_a_finding_of_its_own(settled_town):
    """While there is still time it is only not there; once the interval is over, it is late, and that is recorded."""
    settled_town.change(freshness={"interval": "30d"})
    for file in (settled_town.stage.outbox / "west").iterdir():
        file.unlink()
    with settled_town.line() as line, pytest.raises(NotThere):
        land(line, "west")
    settled_town.change(freshness={"interval": "1s"})
    with settled_town.line() as line:
        with pytest.raises(SourceSilent, match="west"):
            land(line, "west")
        with line.database.session() as session:
            (found,) = findings_of(session, f"source:{line.dataset}/west")
    assert (found.check, found.outcome) == ("intake.freshness.freeze", Outcome.FAILED)
