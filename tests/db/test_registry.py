"""The registry: what is put twice is there once, and state moves forward only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from assay.db import (
    Database,
    add_findings,
    advance_delivery,
    champion,
    delivery_files,
    findings_of,
    get_delivery,
    get_model,
    get_run,
    get_snapshot,
    latest_snapshot,
    list_deliveries,
    list_models,
    list_promotions,
    list_runs,
    list_snapshots,
    put_delivery,
    put_model,
    put_promotion,
    put_run,
    put_snapshot,
    set_model_state,
    snapshot_deliveries,
)
from assay.findings import Finding, Outcome
from tests.db.rows import DIGEST, a_delivery, a_model, a_promotion, a_run, a_snapshot


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    made.migrate()
    yield made
    made.dispose()


def test_a_delivery_that_is_put_twice_is_there_once_with_its_files(database: Database) -> None:
    """The second put returns what the first one wrote."""
    for uri in ("file:///first", "file:///second"):
        with database.write() as session:
            put = put_delivery(
                session, a_delivery("one", uri=uri), [("b.csv", DIGEST, 2), ("a.csv", DIGEST, 1)]
            )
            assert put.uri == "file:///first"
    with database.session() as session:
        assert [(f.path, f.size) for f in delivery_files(session, "one")] == [("a.csv", 1), ("b.csv", 2)]
        assert len(list_deliveries(session)) == 1


def test_a_delivery_moves_forward_only(database: Database) -> None:
    """A task that is run again cannot take back what a later one decided."""
    with database.write() as session:
        put_delivery(session, a_delivery("one"))
        advance_delivery(session, "one", "held", verdict="hold", rows=5, detail={"why": "share"})
        advance_delivery(session, "one", "verified", verdict="accept", detail={"seen": "twice"})
    with database.session() as session:
        found = get_delivery(session, "one")
        assert found is not None
        assert (found.state, found.verdict, found.rows) == ("held", "hold", 5)
        assert found.detail == {"why": "share", "seen": "twice"}


@pytest.mark.parametrize(("final", "other"), [("admitted", "rejected"), ("rejected", "admitted")])
def test_what_is_decided_stays_decided(database: Database, final: str, other: str) -> None:
    """Neither an admitted delivery can be rejected later, nor a rejected one admitted."""
    with database.write() as session:
        put_delivery(session, a_delivery("one"))
        advance_delivery(session, "one", final)
        advance_delivery(session, "one", other, verdict="accept")
        found = get_delivery(session, "one")
        assert found is not None
        assert (found.state, found.verdict) == (final, None)


def test_a_verdict_may_change_while_a_delivery_is_held(database: Database) -> None:
    """That is what a release does."""
    with database.write() as session:
        put_delivery(session, a_delivery("one", state="held", verdict="hold"))
        assert advance_delivery(session, "one", "held", verdict="accept").verdict == "accept"


def test_an_unknown_delivery_or_state_is_refused(database: Database) -> None:
    """A typing mistake must not become a state."""
    with database.write() as session:
        put_delivery(session, a_delivery("one"))
        with pytest.raises(KeyError, match="two"):
            advance_delivery(session, "two", "held")
        with pytest.raises(ValueError, match="heldd"):
            advance_delivery(session, "one", "heldd")


def test_deliveries_are_listed_by_dataset_source_and_state(database: Database) -> None:
    """In the order in which they were first seen."""
    with database.write() as session:
        put_delivery(session, a_delivery("b", first_seen="2026-01-02T00:00:00Z"))
        put_delivery(session, a_delivery("a", first_seen="2026-01-03T00:00:00Z", source="east"))
        put_delivery(session, a_delivery("c", first_seen="2026-01-01T00:00:00Z", state="held"))
        put_delivery(session, a_delivery("d", dataset="other"))
        assert [d.id for d in list_deliveries(session, "adult")] == ["c", "b", "a"]
        assert [d.id for d in list_deliveries(session, "adult", source="east")] == ["a"]
        assert [d.id for d in list_deliveries(session, state="held")] == ["c"]


def test_a_finding_is_recorded_once_per_subject(database: Database) -> None:
    """Findings come back as they were, whichever outcome they have."""
    findings = [
        Finding(check="intake.signature", outcome=Outcome.PASSED),
        Finding(check="intake.freshness", outcome=Outcome.NOT_CHECKED, message="no date", evidence={"n": 1}),
    ]
    with database.write() as session:
        assert add_findings(session, "one", findings) == 2
        assert add_findings(session, "one", [*findings, findings[0]]) == 0
        assert add_findings(session, "two", findings[:1]) == 1
        assert add_findings(session, "two", []) == 0
    with database.session() as session:
        assert findings_of(session, "one") == [findings[1], findings[0]]
        assert findings_of(session, "two") == findings[:1]
        assert findings_of(session, "three") == []


def test_snapshots_get_the_next_version_of_their_dataset(database: Database) -> None:
    """Versions count up per data set, and a snapshot that is put again keeps its own."""
    with database.write() as session:
        put_delivery(session, a_delivery("one"))
        put_delivery(session, a_delivery("two"))
        assert latest_snapshot(session, "adult") is None
        assert put_snapshot(session, a_snapshot("s1"), ["two", "one", "two"]).version == 1
        assert put_snapshot(session, a_snapshot("s2", parent_id="s1")).version == 2
        assert put_snapshot(session, a_snapshot("s1"), ["one"]).version == 1
        assert put_snapshot(session, a_snapshot("x1", dataset="other")).version == 1
        newest = latest_snapshot(session, "adult")
        assert newest is not None
        assert newest.id == "s2"
        assert snapshot_deliveries(session, "s1") == ["one", "two"]
        assert [s.id for s in list_snapshots(session, "adult")] == ["s1", "s2"]
        assert len(list_snapshots(session)) == 3
        assert get_snapshot(session, "s3") is None


def test_runs_and_models_are_put_once(database: Database) -> None:
    """What is there stays as it is."""
    with database.write() as session:
        put_run(session, a_run("r1"))
        assert put_run(session, a_run("r1", status="failed")).status == "finished"
        put_model(session, a_model("m1", "r1"))
        assert put_model(session, a_model("m1", "r1", state="champion")).state == "challenger"
        found = get_run(session, "r1")
        assert found is not None
        assert found.backend == "reference"
        assert [run.id for run in list_runs(session, "adult")] == ["r1"]
        assert list_runs(session, "other") == []
        assert len(list_runs(session)) == 1


def test_the_newest_promotion_names_the_champion(database: Database) -> None:
    """A rollback is a promotion of an older model, and putting the same promotion again is no second one."""
    with database.write() as session:
        assert champion(session, "adult") is None
        put_run(session, a_run("r1"))
        for name in ("m1", "m2"):
            put_model(session, a_model(name, "r1"))
        put_promotion(session, a_promotion("p1", "m1"))
        put_promotion(session, a_promotion("p2", "m2", previous_id="m1"))
        put_promotion(session, a_promotion("p1", "m1"))
        leader = champion(session, "adult")
        assert leader is not None
        assert leader.id == "m2"
        put_promotion(session, a_promotion("p3", "m1", action="rollback", previous_id="m2"))
        leader = champion(session, "adult")
        assert leader is not None
        assert leader.id == "m1"
        assert [p.id for p in list_promotions(session, "adult")] == ["p1", "p2", "p3"]
        assert len(list_promotions(session)) == 3


def test_a_models_state_can_be_set_and_asked_for(database: Database) -> None:
    """Lists narrow to a data set and a state."""
    with database.write() as session:
        put_run(session, a_run("r1"))
        put_model(session, a_model("m1", "r1"))
        put_model(session, a_model("m2", "r1", made_at="2026-01-01T00:00:00Z"))
        set_model_state(session, "m1", "champion")
        assert [m.id for m in list_models(session, "adult")] == ["m2", "m1"]
        assert [m.id for m in list_models(session, state="champion")] == ["m1"]
        assert get_model(session, "m3") is None
        with pytest.raises(KeyError):
            set_model_state(session, "m3", "champion")
