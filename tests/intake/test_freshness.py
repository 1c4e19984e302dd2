"""Gaps, freezes and dates: what the registry says about deliveries that are there and about those that are not."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from assay.contract import Contract
from assay.db import advance_delivery
from assay.intake.freshness import judge_silence
from assay.intake.publish import sign_minisign, write_manifest
from tests.intake.support import Line, finding, outcomes, rejected_for

UTC = dt.UTC
GAP, FREEZE = "intake.freshness.gap", "intake.freshness.freeze"


def rows(number: int) -> dict[str, bytes]:
    """Files of their own for each delivery."""
    return {"people.csv": f"person_id,age\n{number},30\n".encode()}


def send(line: Line, sequence: int, contract: Contract | None = None, **more: Any) -> Path:
    """A delivery with that number."""
    return line.deliver(f"d{sequence}", sequence=sequence, files=rows(sequence), contract=contract, **more)


# --------------------------------------------------------------------------------------------------------------- gaps
def test_numbers_that_follow_each_other_have_no_gap(line: Line) -> None:
    """The first one has nothing to follow."""
    assert GAP not in outcomes(line.verify(send(line, 7)))
    result = line.verify(send(line, 8))
    assert (outcomes(result)[GAP], result.verdict) == ("passed", "accept")


@pytest.mark.parametrize(
    ("on_gap", "outcome", "verdict"),
    [(None, "not_checked", "hold"), ("accept", "passed", "accept"), ("reject", "failed", "reject")],
)
def test_a_number_that_was_passed_over_means_what_the_contract_says(
    line: Line, on_gap: str | None, outcome: str, verdict: str
) -> None:
    """Held where it says nothing; the finding names the numbers that are missing."""
    contract = line.contract(freshness={} if on_gap is None else {"on_gap": on_gap})
    assert line.verify(send(line, 1, contract), contract).verdict == "accept"
    result = line.verify(send(line, 4, contract), contract)
    found = finding(result, GAP)
    assert (found.outcome, result.verdict) == (outcome, verdict)
    assert "2 to 3 were passed over" in found.message
    assert found.evidence["missing"] == 2


def test_the_missing_delivery_may_still_come_and_lifts_the_hold(line: Line) -> None:
    """One that is held for a gap is not yet what others are compared with."""
    one, two, three = (send(line, number) for number in (1, 2, 3))
    assert line.verify(one).verdict == "accept"
    assert line.verify(three).verdict == "hold"
    assert line.verify(two).verdict == "accept"
    assert line.verify(three).verdict == "accept"


def test_a_gap_stays_open_for_all_that_come_after_it(line: Line) -> None:
    """Sending more does not hide what was held back."""
    one, three, four = (send(line, number) for number in (1, 3, 4))
    assert line.verify(one).verdict == "accept"
    assert [line.verify(each).verdict for each in (three, four)] == ["hold", "hold"]
    assert "2 to 3" in finding(line.verify(four), GAP).message


def test_once_a_human_has_admitted_it_the_next_is_compared_with_it(line: Line) -> None:
    """The decision closes the gap, and the late one is a rollback from then on."""
    assert line.verify(send(line, 1)).verdict == "accept"
    held = line.verify(send(line, 3))
    with line.database.write() as session:
        advance_delivery(session, held.delivery_id, "admitted", verdict="accept")
    assert line.verify(send(line, 4)).verdict == "accept"
    rejected_for(line.verify(send(line, 2)), "intake.freshness.rollback")


def test_a_gap_does_not_let_an_attacker_lock_out_the_publisher(line: Line) -> None:
    """A huge number that was signed by mistake is held, and the right one comes after it all the same."""
    assert line.verify(send(line, 1)).verdict == "accept"
    assert line.verify(send(line, 10**12)).verdict == "hold"
    assert line.verify(send(line, 2)).verdict == "accept"


# -------------------------------------------------------------------------------------------------------------- freeze
def dated(line: Line, name: str, stamp: dt.datetime, contract: Contract) -> Path:
    """A delivery that is signed with a date only."""
    folder = line.root / name
    folder.mkdir()
    (folder / "people.csv").write_bytes(f"person_id,age\n1,{len(name)}\n".encode())
    write_manifest(folder)
    line.sign(folder, trusted_comment=f"timestamp:{int(stamp.timestamp())}")
    return folder


def test_a_source_that_gives_only_what_is_old_is_frozen(line: Line) -> None:
    """Somebody serves the newest delivery that suits them; its own date tells."""
    contract = line.contract(freshness={"interval": "1d"})
    today = dt.datetime.now(UTC)
    fresh = dated(line, "fresh", today - dt.timedelta(hours=20), contract)
    assert outcomes(line.verify(fresh, contract))[FREEZE] == "passed"
    later = today.date() + dt.timedelta(days=2)
    failed = rejected_for(line.verify(fresh, contract, on=later), FREEZE)
    assert "newer ones may be held back" in failed.message
    assert FREEZE not in outcomes(line.verify(fresh, line.contract()))


def test_an_unchanged_delivery_is_no_longer_nothing_new_once_the_interval_is_over(line: Line) -> None:
    """`on_repeat: skip` and a freeze: the silence is told, and is not `nothing to do`."""
    contract = line.contract(sources=[line.source(on_repeat="skip")], freshness={"interval": "3d"})
    folder = line.deliver(contract=contract)
    first = line.verify(folder, contract)
    line.admit(first.delivery_id)
    assert line.verify(folder, contract).verdict is None
    later = dt.datetime.now(UTC).date() + dt.timedelta(days=5)
    result = line.verify(folder, contract, on=later)
    assert (result.verdict, outcomes(result)[FREEZE]) == ("reject", "failed")


def test_without_a_signed_date_the_day_counts_on_which_it_came_first(line: Line) -> None:
    """A delivery without a date grows old as well."""
    contract = line.contract(freshness={"interval": "3d", "when_absent": "accept"})
    folder = line.root / "plain"
    folder.mkdir()
    (folder / "people.csv").write_bytes(b"person_id,age\n1,2\n")
    write_manifest(folder)
    sign_minisign(folder / "SHA256SUMS", line.keys["first"], trusted_comment="nothing")
    assert outcomes(line.verify(folder, contract))[FREEZE] == "passed"
    later = dt.datetime.now(UTC).date() + dt.timedelta(days=5)
    assert outcomes(line.verify(folder, contract, on=later))[FREEZE] == "failed"


def test_silence_is_judged_without_a_delivery(line: Line) -> None:
    """A schedule asks about the source: somebody who holds back everything gives nothing to verify."""
    contract = line.contract(freshness={"interval": "1d"})
    source = contract.source("west")
    now = dt.datetime.now(UTC)

    def ask(of: Contract, at: dt.datetime) -> Any:
        with line.database.session() as session:
            return judge_silence(session, of, source, at)

    assert ask(line.contract(), now).outcome == "not_checked"
    assert ask(contract, now).outcome == "not_checked"  # none has come yet
    line.verify(line.deliver(contract=contract), contract)
    assert ask(contract, now).outcome == "passed"
    late = ask(contract, now + dt.timedelta(days=2))
    assert (late.check, late.outcome, late.scope, late.subject) == (FREEZE, "failed", "source", "west")
    revoked = line.contract(freshness={"interval": "1d"}, keys=[line.key(revoked="2026-01-01")])
    assert ask(revoked, now).outcome == "not_checked"  # what a revoked key signed does not count as heard


def test_an_unsigned_delivery_breaks_no_silence(line: Line) -> None:
    """Anybody could have put it there."""
    contract = line.contract(sources=[line.source(signature=None)], freshness={"interval": "1d"})
    assert line.verify(line.deliver(), contract).verdict == "hold"
    with line.database.session() as session:
        asked = judge_silence(session, contract, contract.source("west"), dt.datetime.now(UTC))
    assert asked.outcome == "not_checked"


# -------------------------------------------------------------------------------------- what the manifest itself says
def test_a_date_in_the_manifest_orders_deliveries(line: Line) -> None:
    """Frictionless has `created`, Croissant `dateModified`, Debian `Date`: a rollback by it is one."""
    source = line.source(manifest="datapackage.json", signature="datapackage.json.minisig")
    contract = line.contract(sources=[source])

    def package(name: str, created: str, data: bytes) -> Path:
        folder = line.root / name
        folder.mkdir()
        (folder / "people.csv").write_bytes(data)
        resource = {
            "path": "people.csv",
            "hash": f"sha256:{hashlib.sha256(data).hexdigest()}",
            "bytes": len(data),
        }
        (folder / "datapackage.json").write_text(json.dumps({"created": created, "resources": [resource]}))
        sign_minisign(folder / "datapackage.json", line.keys["first"], trusted_comment="no claims")
        return folder

    new = line.verify(package("new", "2026-03-02", b"person_id,age\n1,2\n"), contract)
    assert (new.verdict, new.signed_at) == ("accept", "2026-03-02T00:00:00Z")
    old = line.verify(package("old", "2026-03-01", b"person_id,age\n1,3\n"), contract)
    rejected_for(old, "intake.freshness.rollback")


def test_a_date_in_an_unsigned_manifest_counts_for_nothing(line: Line) -> None:
    """Whoever wrote it chose it."""
    folder = line.root / "one"
    folder.mkdir()
    (folder / "x.csv").write_bytes(b"x")
    body = {"created": "2026-03-02", "resources": [{"path": "x.csv", "hash": "0" * 32}]}
    (folder / "datapackage.json").write_text(json.dumps(body))
    contract = line.contract(sources=[line.source(manifest="datapackage.json", signature=None)])
    assert line.verify(folder, contract).signed_at is None


@pytest.mark.parametrize("freshness", [{"on_gap": "ignore"}, {"interval": "soon"}, {"interval": -1}])
def test_a_contract_says_gap_and_interval_in_words_that_are_known(
    line: Line, freshness: dict[str, Any]
) -> None:
    """Anything else is a fault of the contract."""
    with pytest.raises(ValidationError):
        line.contract(freshness=freshness)
