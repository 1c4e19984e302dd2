"""Cases: opened once, with their rows under seal, and closed by people."""

from __future__ import annotations

import datetime as dt
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.orm import Session

from assay.contract import Review
from assay.db import Case, Database, put_delivery
from assay.errors import Terminal
from assay.quarantine import (
    TIMEOUT,
    CaseClosed,
    CaseUnknown,
    DecisionMade,
    DecisionRefused,
    case_rows,
    cases,
    decide_case,
    expire_case,
    list_cases,
    open_case,
    show_case,
)
from assay.store import ObjectStore, StoreCorrupt
from tests.db.rows import a_delivery

ROWS = pa.table(
    {
        "age": pa.array([30, 40, 50], pa.int64()),
        "word": ["ore", None, "flux"],
        "_row": pa.array([7, 2, 9], pa.int64()),
        "_score": [0.7, 0.2, 0.9],
        "_p_value": [0.01, 0.02, 0.03],
        "_reasons": [["label: rare"], [], ["range", "spike"]],
    }
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    made.migrate()
    with made.write() as session:
        for name in ("delivery-1", "delivery-2"):
            put_delivery(session, a_delivery(name))
    yield made
    made.dispose()


def store_in(folder: Path) -> ObjectStore:
    return ObjectStore(folder / "store", keys_dir=folder / "keys", work_dir=folder / "work")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return store_in(tmp_path)


def opened(database: Database, store: ObjectStore, **changes: Any) -> str:
    given: dict[str, Any] = {
        "dataset": "adult",
        "delivery_id": "delivery-1",
        "kind": "screening",
        "rows": ROWS,
        "summary": "3 rows look poisoned",
        "evidence": {"reasons": {"label": 1}},
    }
    return open_case(database, store, **{**given, **changes})


def test_a_case_keeps_its_rows_with_what_screening_said(database: Database, store: ObjectStore) -> None:
    """In the order of their numbers, with the original columns first."""
    case_id = opened(database, store)
    rows = case_rows(database, store, case_id)
    assert rows.column_names == ["age", "word", "_row", "_score", "_p_value", "_reasons"]
    assert rows["_row"].to_pylist() == [2, 7, 9]
    assert rows["age"].to_pylist() == [40, 30, 50]
    assert rows["word"].to_pylist() == [None, "ore", "flux"]
    assert rows["_reasons"].to_pylist() == [[], ["label: rare"], ["range", "spike"]]


def test_quarantined_rows_are_sealed(database: Database, store: ObjectStore, tmp_path: Path) -> None:
    """Nobody stumbles over them, and a change of them is found."""
    case_id = opened(database, store)
    assert list(store.digests()) == []
    (digest,) = store.digests(sealed=True)
    assert digest == show_case(database, case_id).rows_object
    (file,) = [path for path in (tmp_path / "store" / "sealed").rglob("*") if path.is_file()]
    data = bytearray(file.read_bytes())
    assert b"flux" not in data
    data[-20] ^= 1
    file.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        case_rows(database, store, case_id)


def test_opening_a_case_again_finds_it(database: Database, store: ObjectStore) -> None:
    """The order of the rows does not matter, and a decision stands when a station is run again."""
    first = opened(database, store)
    decide_case(database, first, "reject", reviewer="olga", reason="flipped labels")
    again = opened(database, store, rows=ROWS.take([2, 0, 1]), summary="said otherwise")
    assert again == first
    case = show_case(database, first)
    assert (case.status, case.summary) == ("rejected", "3 rows look poisoned")
    assert len(list_cases(database)) == 1


def test_other_rows_another_kind_or_delivery_are_another_case(database: Database, store: ObjectStore) -> None:
    """Ids come from what a case is about."""
    ids = {
        opened(database, store),
        opened(database, store, rows=ROWS.slice(1)),
        opened(database, store, kind="validation"),
        opened(database, store, delivery_id="delivery-2"),
        opened(database, store, kind="delivery", rows=None),
    }
    assert len(ids) == 5
    assert all(case.id == f"case-{case.digest[:32]}" for case in list_cases(database))


def test_a_case_about_a_delivery_has_no_rows(database: Database, store: ObjectStore) -> None:
    """And can be decided like any other."""
    case_id = opened(database, store, kind="delivery", rows=None, blocking=True)
    case = show_case(database, case_id)
    assert (case.rows, case.rows_object, case.blocking) == (0, None, True)
    assert case_rows(database, store, case_id).num_rows == 0
    assert decide_case(database, case_id, "release", reviewer="olga", reason="known").status == "released"


def test_rows_without_screening_results_have_empty_ones(database: Database, store: ObjectStore) -> None:
    """Rows that failed validation were never screened."""
    case_id = opened(database, store, kind="validation", rows=ROWS.select(["age", "_row"]))
    rows = case_rows(database, store, case_id)
    assert rows["_score"].null_count == rows.num_rows == 3
    assert rows.column_names == ["age", "_row", "_score", "_p_value", "_reasons"]


def test_rows_must_be_numbered(database: Database, store: ObjectStore) -> None:
    """A row that cannot be named cannot be released."""
    bare = ROWS.drop_columns(["_row"])
    as_text = bare.append_column("_row", pa.array(["1", "2", "3"]))
    with_gap = bare.append_column("_row", pa.array([1, None, 3], pa.int64()))
    for rows in (bare, as_text, with_gap):
        with pytest.raises(ValueError, match=r"_row|number"):
            opened(database, store, rows=rows)
    assert list_cases(database) == []


def test_evidence_must_be_sayable_in_json(database: Database, store: ObjectStore) -> None:
    """Before anything is stored."""
    with pytest.raises(ValueError, match="JSON"):
        opened(database, store, evidence={"score": float("nan")})
    assert list(store.digests(sealed=True)) == []


def test_cases_are_listed_by_what_is_asked_for(database: Database, store: ObjectStore) -> None:
    """Each filter narrows."""
    first = opened(database, store)
    second = opened(database, store, delivery_id="delivery-2", kind="validation")
    decide_case(database, second, "release", reviewer="olga", reason="fine")
    assert {case.id for case in list_cases(database, dataset="adult")} == {first, second}
    assert list_cases(database, dataset="other") == []
    assert [case.id for case in list_cases(database, delivery_id="delivery-2")] == [second]
    assert [case.id for case in list_cases(database, status="open")] == [first]
    assert [case.id for case in list_cases(database, kind="validation")] == [second]
    (released,) = list_cases(database, status="released")
    assert released.decisions[0].reviewer == "olga"
    assert released.as_dict()["decision_id"] == released.decisions[0].id


def test_a_case_can_be_named_by_the_beginning_of_its_id(database: Database, store: ObjectStore) -> None:
    """If that leaves no doubt; wildcards are plain characters."""
    case_id = opened(database, store)
    assert show_case(database, case_id[:14]).id == case_id
    assert show_case(database, case_id.removeprefix("case-")[:10]).id == case_id
    for wrong in ("case-", "case-%%%%%%%%", "case-______", case_id[:7], "nothing"):
        with pytest.raises(CaseUnknown, match="no case") as caught:
            show_case(database, wrong)
        assert caught.value.exit_code == 2


def test_an_ambiguous_beginning_is_refused(database: Database, store: ObjectStore) -> None:
    """Deciding on the wrong case cannot be taken back."""
    from assay.db import Case

    opened(database, store)
    with database.write() as session:
        for end in ("a", "b"):
            session.add(
                Case(
                    id=f"case-1234567{end}",
                    digest="0" * 64,
                    dataset="adult",
                    delivery_id="delivery-1",
                    kind="screening",
                    status="open",
                    rows=0,
                    summary="",
                    evidence={},
                    opened_at="2026-01-01T00:00:00Z",
                )
            )
    with pytest.raises(CaseUnknown, match="several") as caught:
        show_case(database, "case-1234567")
    assert "case-1234567a, case-1234567b" in str(caught.value)


@pytest.mark.parametrize(("action", "status"), [("release", "released"), ("reject", "rejected")])
def test_one_decision_closes_a_case(database: Database, store: ObjectStore, action: str, status: str) -> None:
    """By default one reviewer is enough."""
    case_id = opened(database, store)
    made = decide_case(database, case_id, action, reviewer="olga", reason="  looked at each row  ")
    assert (made.status, made.reason, made.repeated) == (status, "looked at each row", False)
    assert made.case.decision_id == made.decision_id
    assert show_case(database, case_id).decisions == made.case.decisions


def test_several_approvals_need_several_people(database: Database, store: ObjectStore) -> None:
    """However one of them spells their name."""
    case_id = opened(database, store, review=Review(approvals=3))
    for name in ("olga", "Olga", " OLGA ", "ｏｌｇａ"):
        made = decide_case(database, case_id, "release", reviewer=name, reason="fine")
        assert (made.status, made.approvals) == ("open", 1)
    assert made.repeated
    assert decide_case(database, case_id, "release", reviewer="vic", reason="fine").status == "open"
    assert show_case(database, case_id).decision_id is None
    last = decide_case(database, case_id, "release", reviewer="ursula", reason="fine")
    assert (last.status, last.approvals) == ("released", 3)
    assert {each.reviewer for each in last.case.decisions} == {"olga", "vic", "ursula"}


def test_the_stricter_terms_count(database: Database, store: ObjectStore) -> None:
    """A contract that was loosened after the case was opened does not help, one that was tightened does."""
    loosened = opened(database, store, review=Review(approvals=2))
    assert (
        decide_case(
            database, loosened, "release", reviewer="olga", reason="r", review=Review(approvals=1)
        ).status
        == "open"
    )
    tightened = opened(database, store, kind="validation", review=Review(approvals=1))
    assert (
        decide_case(
            database, tightened, "release", reviewer="olga", reason="r", review=Review(approvals=2)
        ).status
        == "open"
    )


def test_a_rejection_closes_at_once_whatever_was_approved_before(
    database: Database, store: ObjectStore
) -> None:
    """Also by somebody who approved before."""
    case_id = opened(database, store, review=Review(approvals=3))
    decide_case(database, case_id, "release", reviewer="olga", reason="fine")
    decide_case(database, case_id, "release", reviewer="vic", reason="fine")
    made = decide_case(database, case_id, "reject", reviewer="olga", reason="looked again")
    assert made.status == "rejected"
    assert made.case.decision_id == made.decision_id


def test_the_same_decision_by_the_same_reviewer_changes_nothing(
    database: Database, store: ObjectStore
) -> None:
    """Also after the case was closed: a command that was killed can be run again."""
    case_id = opened(database, store)
    first = decide_case(database, case_id, "release", reviewer="olga", reason="fine")
    again = decide_case(database, case_id, "release", reviewer="olga", reason="in other words")
    assert again.repeated
    assert (again.decision_id, again.reason) == (first.decision_id, "fine")
    assert len(again.case.decisions) == 1


def test_a_closed_case_says_who_closed_it(database: Database, store: ObjectStore) -> None:
    """And nothing is changed."""
    case_id = opened(database, store)
    decide_case(database, case_id, "reject", reviewer="olga", reason="flipped labels")
    for name, action in (("vic", "release"), ("olga", "release"), ("vic", "reject")):
        with pytest.raises(CaseClosed, match="was rejected before") as caught:
            decide_case(database, case_id, action, reviewer=name, reason="mine")
        assert isinstance(caught.value, Terminal)
        assert "olga decided to reject it at" in str(caught.value)
        assert "flipped labels" in str(caught.value)
    assert len(show_case(database, case_id).decisions) == 1


def test_a_decision_needs_a_reason(database: Database, store: ObjectStore) -> None:
    """Of bounded length."""
    case_id = opened(database, store)
    for reason in ("", "   ", "\n\t", "x" * 5000):
        with pytest.raises(DecisionRefused, match="reason"):
            decide_case(database, case_id, "release", reviewer="olga", reason=reason)
    assert show_case(database, case_id).decisions == ()


def test_a_decision_needs_a_reviewer(database: Database, store: ObjectStore) -> None:
    """With a name that can be printed."""
    case_id = opened(database, store)
    for reviewer in ("", "  ", "x" * 200, "ol\x1b[31mga"):
        with pytest.raises(DecisionRefused, match="reviewer"):
            decide_case(database, case_id, "reject", reviewer=reviewer, reason="mine")


def test_what_a_terminal_would_obey_is_taken_out_of_reasons(database: Database, store: ObjectStore) -> None:
    """They are printed to other people later."""
    case_id = opened(database, store)
    made = decide_case(database, case_id, "reject", reviewer="olga", reason="bad \x1b[2J rows\nsecond line")
    assert made.reason == "bad  [2J rows\nsecond line"


def test_there_are_two_decisions(database: Database, store: ObjectStore) -> None:
    """A mistyped one is neither."""
    case_id = opened(database, store)
    with pytest.raises(DecisionRefused, match="approve"):
        decide_case(database, case_id, "approve", reviewer="olga", reason="fine")
    with pytest.raises(CaseUnknown):
        decide_case(database, "case-nowhere", "reject", reviewer="olga", reason="fine")


def test_a_review_never_approves_on_timeout(database: Database, store: ObjectStore) -> None:
    """Silence rejects, or goes on waiting, as the contract says; it cannot release under any spelling."""
    rejecting = opened(database, store, review=Review(on_timeout="reject", timeout=dt.timedelta(hours=1)))
    holding = opened(
        database, store, kind="validation", review=Review(on_timeout="hold", timeout=dt.timedelta(hours=1))
    )
    for name in (TIMEOUT, "Timeout", " TIMEOUT "):
        with pytest.raises(DecisionRefused, match="silence cannot release"):
            decide_case(database, rejecting, "release", reviewer=name, reason="no answer in time")
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    assert expire_case(database, rejecting) is None
    made = expire_case(database, rejecting, now=later)
    assert made is not None
    assert (made.status, made.reviewer) == ("rejected", TIMEOUT)
    assert "nobody decided by" in made.reason
    assert expire_case(database, rejecting, now=later) is None
    assert expire_case(database, holding, now=later) is None
    assert show_case(database, holding).status == "open"
    assert {case.status for case in list_cases(database)} == {"rejected", "open"}


def test_a_case_without_terms_waits_for_ever(database: Database, store: ObjectStore) -> None:
    """Nobody said how long silence may last."""
    case_id = opened(database, store)
    assert expire_case(database, case_id, now=dt.datetime.now(dt.UTC) + dt.timedelta(days=10_000)) is None
    assert show_case(database, case_id).expires_at is None


def test_who_notes_decisions_elsewhere_hears_of_each(database: Database, store: ObjectStore) -> None:
    """In the decision's own transaction, and again when it is repeated."""
    heard: list[DecisionMade] = []

    def note(made: DecisionMade, session: Session) -> None:
        assert session.get(Case, made.case.id).status == made.status
        heard.append(made)

    case_id = opened(database, store)
    for _ in range(2):
        decide_case(database, case_id, "reject", reviewer="olga", reason="mine", on_decision=note)
    due = opened(database, store, kind="validation", review=Review(timeout=dt.timedelta(seconds=1)))
    expire_case(database, due, now=dt.datetime.now(dt.UTC) + dt.timedelta(days=1), on_decision=note)
    assert [(made.reviewer, made.repeated) for made in heard] == [
        ("olga", False),
        ("olga", True),
        (TIMEOUT, False),
    ]


def test_a_decision_that_cannot_be_noted_elsewhere_is_not_made(
    database: Database, store: ObjectStore
) -> None:
    """Whoever listens writes in the same transaction: both stand, or neither."""

    def note(made: DecisionMade, session: Session) -> None:
        raise OSError("no space left")

    case_id = opened(database, store)
    with pytest.raises(OSError, match="no space left"):
        decide_case(database, case_id, "release", reviewer="olga", reason="mine", on_decision=note)
    assert show_case(database, case_id).status == "open"
    assert show_case(database, case_id).decisions == ()


def test_reviewers_who_decide_at_once_are_all_counted(database: Database, store: ObjectStore) -> None:
    """Two last approvals at the same moment must not both believe that one is missing."""
    case_id = opened(database, store, review=Review(approvals=4))

    def approve(number: int) -> str:
        return decide_case(database, case_id, "release", reviewer=f"reviewer {number}", reason="fine").status

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(approve, range(4)))
    assert sorted(statuses) == ["open", "open", "open", "released"]
    assert show_case(database, case_id).status == "released"


def test_a_station_that_is_killed_between_rows_and_case_can_be_run_again(tmp_path: Path) -> None:
    """The rows are stored, the case is not; the rerun opens one case on the same object."""
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    database = Database(url)
    database.migrate()
    with database.write() as session:
        put_delivery(session, a_delivery("delivery-1"))
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed, and cannot tell
        keep = cases.keep_rows

        def die(store: ObjectStore, rows: pa.Table) -> None:
            keep(store, rows)
            os.kill(os.getpid(), signal.SIGKILL)

        try:
            cases.keep_rows = die
            opened(Database(url), store_in(tmp_path))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    store = store_in(tmp_path)
    assert list_cases(database) == []
    assert len(list(store.digests(sealed=True))) == 1
    case_id = opened(database, store)
    assert len(list(store.digests(sealed=True))) == 1
    assert case_rows(database, store, case_id).num_rows == 3
    assert [case.id for case in list_cases(database)] == [case_id]
