"""Rows of one case that are decided apart: parts that inherit everything, and no row that comes or goes on the way."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from assay.contract import Review
from assay.db import Database, put_delivery
from assay.quarantine import (
    CaseClosed,
    DecisionForbidden,
    DecisionMade,
    DecisionRefused,
    SplitMade,
    case_numbers,
    case_rows,
    decide_case,
    list_cases,
    open_case,
    show_case,
    split_case,
    splitting,
)
from assay.store import ObjectStore, StoreCorrupt
from tests.db.rows import a_delivery
from tests.quarantine.test_cases import store_in

NUMBERS = [3, 5, 9, 10, 11, 40, 41, 99]
ROWS = pa.table(
    {
        "age": pa.array([20 + number for number in range(8)]),
        "_row": pa.array(NUMBERS, pa.int64()),
        "_score": [0.1 * number for number in range(8)],
        "_p_value": [0.01] * 8,
        "_reasons": [[f"trigger: group {number % 2}"] for number in range(8)],
    }
)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return store_in(tmp_path)


@pytest.fixture
def database(database_url: str) -> Database:
    made = Database(database_url)
    made.migrate()
    with made.write() as session:
        put_delivery(session, a_delivery("delivery-1"))
    return made


def opened(database: Database, store: ObjectStore, rows: pa.Table | None = ROWS, **changes: object) -> str:
    values: dict = {
        "dataset": "adult",
        "delivery_id": "delivery-1",
        "kind": "screening" if rows is not None else "delivery",
        "summary": "8 rows look poisoned",
        "evidence": {"reasons": {"trigger": 8}},
        "blocking": True,
        "review": Review(approvals=2, on_timeout="hold", reviewers=("olga", "vic", "ursula")),
        **changes,
    }
    return open_case(database, store, rows=rows, **values)


def split(database: Database, store: ObjectStore, case_id: str, rows: object, **changes: object) -> SplitMade:
    return split_case(
        database, store, case_id, rows, **{"reviewer": "olga", "reason": "two groups", **changes}
    )


def test_a_split_leaves_every_row_in_one_of_two_parts(database: Database, store: ObjectStore) -> None:
    """With its values, its score and its reasons, and nothing decided."""
    case_id = opened(database, store)
    made = split(database, store, case_id, [41, 3, 9, 3])
    chosen, rest = case_rows(database, store, made.chosen.id), case_rows(database, store, made.rest.id)
    assert chosen["_row"].to_pylist() == [3, 9, 41]
    assert rest["_row"].to_pylist() == [5, 10, 11, 40, 99]
    assert pa.concat_tables([chosen, rest]).sort_by("_row").equals(case_rows(database, store, case_id))
    assert store.is_sealed(str(made.chosen.rows_object))
    assert (made.parent.status, made.chosen.status, made.rest.status) == ("split", "open", "open")
    assert made.parent.children == tuple(sorted([made.chosen.id, made.rest.id]))
    assert made.chosen.decisions == ()
    assert [each.action for each in made.parent.decisions] == ["split"]


def test_parts_inherit_evidence_terms_and_deadline(database: Database, store: ObjectStore) -> None:
    """A split loosens nothing and gains no time."""
    parent = show_case(database, opened(database, store))
    made = split(database, store, parent.id, [3, 5])
    for part in (made.chosen, made.rest):
        for name in (
            "dataset", "delivery_id", "kind", "blocking", "opened_at", "approvals", "on_timeout", "expires_at",
            "reviewers", "no_self_approval",
        ):  # fmt: skip
            assert getattr(part, name) == getattr(parent, name), name
        assert part.parent_id == parent.id
        assert part.evidence["reasons"] == {"trigger": 8}
    assert made.chosen.summary == "2 of the 8 rows of: 8 rows look poisoned"
    again = split(database, store, made.rest.id, [9])
    assert again.chosen.summary == "1 of the 8 rows of: 8 rows look poisoned"


def test_ids_of_parts_come_from_their_rows(database: Database, store: ObjectStore) -> None:
    """As those of all cases do, so that the same split is made once, however the rows are named."""
    case_id = opened(database, store)
    made = split(database, store, case_id, [3, 5])
    alike = opened(database, store, ROWS.slice(0, 2))
    assert alike == made.chosen.id
    again = split(database, store, case_id, np.array([5, 3, 5]), reviewer="vic")
    assert again.repeated
    assert (again.chosen.id, again.reviewer) == (made.chosen.id, "olga")
    other_way = split(database, store, case_id, [9, 10, 11, 40, 41, 99])
    assert other_way.repeated
    assert other_way.chosen.id == made.rest.id
    assert len(list_cases(database)) == 3


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([], "no rows were named"),
        ([4], "not in the case"),
        ([3, 5, 6, 7], "2 of the 4 rows are not in the case"),
        ([-3], "not in the case"),
        ([3.0], "whole numbers"),
        ([True], "whole numbers"),
        (["3"], "whole numbers"),
        ([[3, 5]], "whole numbers"),
        (np.array([2**64 - 1], dtype=np.uint64), "too large"),
        (NUMBERS, "all rows"),
    ],
)
def test_rows_that_cannot_be_meant_split_nothing(
    database: Database, store: ObjectStore, rows: object, what: str
) -> None:
    """Two rows that are smuggled in among others would be admitted with them."""
    case_id = opened(database, store)
    with pytest.raises(DecisionRefused, match=what):
        split(database, store, case_id, rows)
    assert show_case(database, case_id).status == "open"
    assert len(list_cases(database)) == 1


def test_a_case_about_a_delivery_cannot_be_split(database: Database, store: ObjectStore) -> None:
    """It has no rows."""
    case_id = opened(database, store, None)
    with pytest.raises(DecisionRefused, match="as a whole"):
        split(database, store, case_id, [1])


def test_overlapping_splits_are_one_split(database: Database, store: ObjectStore) -> None:
    """A row cannot come to stand in two parts: the second is told who split the case, and into what."""
    case_id = opened(database, store)
    made = split(database, store, case_id, [3, 5], via="page")
    with pytest.raises(CaseClosed, match=r"already split by olga on the case's page") as caught:
        split(database, store, case_id, [5, 9], reviewer="vic")
    assert (caught.value.by, caught.value.action) == ("olga", "split")
    assert set(caught.value.children) == {made.chosen.id, made.rest.id}
    with pytest.raises(CaseClosed, match="was split before"):
        decide_case(database, case_id, "reject", reviewer="vic", reason="all of it")
    with pytest.raises(DecisionRefused, match="not in the case"):
        split(database, store, made.rest.id, [5])


def test_of_splits_at_once_one_wins(database: Database, store: ObjectStore) -> None:
    """The others are told by whom; every row stands in one open case."""
    case_id = opened(database, store)

    def cut(number: int) -> str:
        name = ("olga", "vic", "ursula")[number % 3]
        try:
            return split(database, store, case_id, NUMBERS[: number + 1], reviewer=name).reviewer
        except CaseClosed as error:
            return f"after {error.by}"

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(cut, range(6)))
    (winner,) = [each for each in told if not each.startswith("after")]
    assert told.count(f"after {winner}") == 5
    rows = [case_numbers(store, each).tolist() for each in list_cases(database, status="open")]
    assert sorted(number for each in rows for number in each) == NUMBERS


def test_a_decision_on_rows_is_a_split_and_a_decision_together(
    database: Database, store: ObjectStore
) -> None:
    """The rest stays open; who notes decisions hears of both, in that order, in one transaction."""
    heard: list[str] = []

    def note_split(made: SplitMade, session: Session) -> None:
        heard.append(f"split {made.chosen.rows}")

    def note(made: DecisionMade, session: Session) -> None:
        heard.append(f"{made.action} {made.case.rows}")

    case_id = opened(database, store, review=Review())
    made = decide_case(
        database, case_id, "release", reviewer="olga", reason="fine", rows=[3, 5], store=store,
        on_decision=note, on_split=note_split,
    )  # fmt: skip
    assert heard == ["split 2", "release 2"]
    assert made.split is not None
    assert (made.status, made.split.rest.status) == ("released", "open")
    again = decide_case(
        database, case_id, "release", reviewer="olga", reason="fine", rows=[3, 5], store=store
    )
    assert again.repeated
    assert again.split is not None
    assert again.split.repeated


def test_all_rows_named_are_the_case_itself(database: Database, store: ObjectStore) -> None:
    """There is nothing to split."""
    case_id = opened(database, store, review=Review())
    made = decide_case(
        database, case_id, "reject", reviewer="olga", reason="bad", rows=sorted(NUMBERS), store=store
    )
    assert (made.case.id, made.status, made.split) == (case_id, "rejected", None)


def test_what_cannot_be_noted_is_neither_split_nor_decided(database: Database, store: ObjectStore) -> None:
    """Split and decision stand or fall together."""

    def note(made: DecisionMade, session: Session) -> None:
        raise OSError("no space left")

    case_id = opened(database, store, review=Review())
    with pytest.raises(OSError, match="no space left"):
        decide_case(
            database,
            case_id,
            "release",
            reviewer="olga",
            reason="fine",
            rows=[3],
            store=store,
            on_decision=note,
        )
    assert show_case(database, case_id).status == "open"
    assert len(list_cases(database)) == 1


def test_approvals_of_the_whole_do_not_count_for_its_parts(database: Database, store: ObjectStore) -> None:
    """They were given to other rows together; two reviewers approve the same rows by naming them alike."""
    case_id = opened(database, store)
    decide_case(database, case_id, "release", reviewer="olga", reason="all fine")
    first = decide_case(
        database, case_id, "release", reviewer="vic", reason="these", rows=[3, 5], store=store
    )
    assert (first.status, first.approvals, first.needed) == ("open", 1, 2)
    second = decide_case(
        database, case_id, "release", reviewer="ursula", reason="these too", rows=[5, 3], store=store
    )
    assert (second.status, second.approvals, second.case.id) == ("released", 2, first.case.id)


def test_who_may_not_decide_may_not_split(database: Database, store: ObjectStore) -> None:
    """A split takes approvals away."""
    case_id = opened(database, store)
    with pytest.raises(DecisionForbidden, match="eve is not one of those"):
        split(database, store, case_id, [3], reviewer="eve")
    with pytest.raises(DecisionForbidden):
        decide_case(database, case_id, "reject", reviewer="eve", reason="x", rows=[3], store=store)
    assert show_case(database, case_id).status == "open"


def test_rows_exchanged_in_the_registry_are_noticed(database: Database, store: ObjectStore) -> None:
    """Whoever writes the registry cannot have other rows released than those that were held."""
    case_id = opened(database, store)
    other = show_case(database, opened(database, store, ROWS.slice(0, 3), kind="validation")).rows_object
    with database.write() as session:
        session.execute(
            text('UPDATE "case" SET rows_object = :other WHERE id = :id'), {"other": other, "id": case_id}
        )
    with pytest.raises(StoreCorrupt, match="not the rows that were held"):
        split(database, store, case_id, [3])
    with pytest.raises(StoreCorrupt):
        case_numbers(store, show_case(database, case_id))


def test_a_huge_case_is_split_in_batches(database: Database, store: ObjectStore) -> None:
    """Half a million rows: what is kept is right in number, order and values, over batches' borders."""
    count = 500_000
    numbers = np.arange(count, dtype=np.int64) * 2
    rows = pa.table({"x": pa.array(numbers % 1009), "_row": pa.array(numbers)})
    case_id = opened(database, store, rows, review=Review())
    wanted = numbers[numbers % 3 == 0]
    made = decide_case(database, case_id, "release", reviewer="olga", reason="fine", rows=wanted, store=store)
    assert made.split is not None
    kept = case_rows(database, store, made.case.id)
    assert np.array_equal(kept["_row"].to_numpy(), wanted)
    assert np.array_equal(kept["x"].to_numpy(), wanted % 1009)
    assert made.split.rest.rows == count - len(wanted)
    assert np.array_equal(case_numbers(store, made.split.rest), numbers[numbers % 3 != 0])


def test_a_split_that_is_killed_can_be_made_again(tmp_path: Path) -> None:
    """The parts are stored, the registry is unchanged; the next one makes the same split."""
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    database = Database(url)
    database.migrate()
    with database.write() as session:
        put_delivery(session, a_delivery("delivery-1"))
    case_id = opened(database, store_in(tmp_path))
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed, and cannot tell

        def die(*_: object, **__: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        try:
            splitting.apply_split = die  # type: ignore[assignment]
            split(Database(url), store_in(tmp_path), case_id, [3, 5])
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert show_case(database, case_id).status == "open"
    made = split(database, store_in(tmp_path), case_id, [3, 5])
    assert not made.repeated
    assert case_numbers(store_in(tmp_path), made.chosen).tolist() == [3, 5]
