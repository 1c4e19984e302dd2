"""What the line remembers from one delivery to the next: corrections in the open, and what reviewers rejected."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from assay.contract import load_contract
from assay.db import findings_of, get_delivery, latest_snapshot
from assay.findings import Answer, Outcome
from assay.intake.publish import publish
from assay.line import admit, decide, land, screen, validate
from assay.line.snapshots import snapshot_table


def newest(town) -> pa.Table:
    with town.line() as line:
        with line.database.session() as session:
            snapshot = latest_snapshot(session, "adult")
        return snapshot_table(line, snapshot)


def relabelled(town, numbers: list[int]) -> pa.Table:
    """Rows of the snapshot that came from north, with the other label."""
    table = newest(town)
    mine = table.filter(pc.equal(table["_source"], "north")).take(numbers)
    names = [name for name in mine.column_names if not name.startswith("_")]
    place = mine.column_names.index("income")
    other = ["<=50K" if value == ">50K" else ">50K" for value in mine["income"].to_pylist()]
    return mine.set_column(place, "income", pa.array(other, mine["income"].type)).select(names)


def send(town, table: pa.Table, sequence: int, corrections: object = None) -> str:
    """Let north deliver, with a correction list that the manifest lists; returns the screened delivery."""
    town.stage.deliver("north", table, sequence, shards=1)
    if corrections is not None:
        contract = load_contract(town.stage.contract)
        folder = town.stage.outbox / "north"
        for name in ("SHA256SUMS", "SHA256SUMS.minisig", "delivery.json"):
            (folder / name).unlink(missing_ok=True)
        (folder / "corrections.json").write_text(json.dumps(corrections))
        key: Path = town.stage.root / "publishers" / f"{contract.source('north').publisher}.key"
        publish(folder, contract, "north", key, sequence=sequence)
    with town.line() as line:
        delivery = land(line, "north")["delivery"]
        validate(line, [delivery])
        screen(line, [delivery])
    return delivery


def accept_corrections(town) -> None:
    contract = load_contract(town.stage.contract)
    sources = json.loads(
        json.dumps([s.model_dump(mode="json", exclude_unset=True) for s in contract.sources])
    )
    for source in sources:
        if source["id"] == "north":
            source["corrections"] = "corrections.json"
    town.change(sources=sources, screen={"hold_delivery_above": 0.6})


def correction(row: dict, reason: str = "typing error") -> dict:
    old = "<=50K" if row["income"] == ">50K" else ">50K"
    key = {"person_id": row["person_id"]}
    return {"key": key, "column": "income", "old": old, "new": row["income"], "reason": reason}


def test_a_signed_correction_becomes_the_next_snapshot_and_a_silent_change_does_not(settled_town):
    """Of two changed labels the listed one is admitted in place of the older row, the other one is quarantined."""
    accept_corrections(settled_town)
    table = relabelled(settled_town, [3, 4])
    listed, silent = table.to_pylist()
    delivery = send(settled_town, table, 2, {"dataset": "adult", "corrections": [correction(listed)]})
    with settled_town.line() as line:
        with line.database.session() as session:
            findings = {f.check: f for f in findings_of(session, delivery)}
            assert get_delivery(session, delivery).verdict == "accept"
        admit(line)
    assert findings["screen.history.corrected"].evidence["members"] == 1
    assert "north" in findings["screen.history.corrections"].message
    assert findings["screen.history"].evidence["forbidden"] == 1
    labels = {row["person_id"]: row["income"] for row in newest(settled_town).to_pylist()}
    assert labels[listed["person_id"]] == listed["income"]
    assert labels[silent["person_id"]] != silent["income"]


def test_a_list_that_the_contract_does_not_name_is_only_a_file(settled_town):
    """Without `corrections` in the contract, every change counts as rewriting."""
    settled_town.change(screen={"hold_delivery_above": 0.6})
    table = relabelled(settled_town, [3])
    delivery = send(
        settled_town, table, 2, {"dataset": "adult", "corrections": [correction(table.to_pylist()[0])]}
    )
    with settled_town.line() as line, line.database.session() as session:
        findings = {f.check: f for f in findings_of(session, delivery)}
    assert findings["screen.history"].evidence["forbidden"] == 1
    assert "screen.history.corrections" not in findings


def test_a_list_that_cannot_be_read_gets_no_credit_and_a_finding(settled_town):
    """The delivery is screened all the same, and its changes count as rewriting."""
    accept_corrections(settled_town)
    delivery = send(
        settled_town, relabelled(settled_town, [3]), 2, {"dataset": "adult", "corrections": "all"}
    )
    with settled_town.line() as line, line.database.session() as session:
        findings = {f.check: f for f in findings_of(session, delivery)}
    assert findings["screen.history"].evidence["forbidden"] == 1
    assert findings["screen.history.corrections"].outcome is Outcome.FAILED


def test_a_row_that_a_reviewer_rejected_is_known_when_it_comes_back(settled_town):
    """The second delivery of the same poison says that it was rejected before."""
    table = relabelled(settled_town, [5, 6])
    first = send(settled_town, table, 2)
    with settled_town.line() as line:
        decide(
            line,
            [first],
            {
                "chosen_options": [str(Answer.REJECT)],
                "params_input": {"reason": "looked at it"},
                "responded_by_user": {"id": "1", "name": "olga"},
            },
        )
    second = send(settled_town, table, 3)
    with settled_town.line() as line, line.database.session() as session:
        findings = {f.check: f for f in findings_of(session, second)}
    back = findings["screen.history.resurrected"]
    assert back.outcome is Outcome.FAILED
    assert back.evidence["members"] == 2
