"""Someone who owns the database edits a case that was split, to have rows admitted that nobody released."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import text

from assay.contract import Review
from assay.db import put_delivery
from assay.findings import Outcome
from assay.ledger import trace, verify_holdings
from assay.line import Line, decide_case
from assay.quarantine import CaseView, case_numbers, list_cases, open_case, show_case
from assay.store import StoreCorrupt
from tests.attacks import tampering
from tests.contract.examples import DESIGN
from tests.db.rows import a_delivery
from tests.ledger.support import as_owner, failures

NUMBERS = [1, 2, 3, 4, 5]


@dataclass(frozen=True)
class Split:
    """A line with a case of five rows; two were released, the rest waits."""

    line: Line
    parent: CaseView
    released: CaseView
    rest: CaseView
    other: CaseView

    def sql(self, *changes: str) -> None:
        """Run statements as the database's owner; `:parent`, `:released`, `:rest` and `:other` stand for the ids."""
        ids = {n: getattr(self, n).id for n in ("parent", "released", "rest", "other")}
        objects = {f"{n}_rows": getattr(self, n).rows_object for n in ("parent", "released", "rest", "other")}
        with as_owner(self.line.database) as connection:
            for change in changes:
                used = {k: v for k, v in {**ids, **objects}.items() if f":{k}" in change}
                connection.execute(text(change), used)


@pytest.fixture
def split(assay_home: Path, tmp_path: Path) -> Iterator[Split]:
    contract = tmp_path / "adult.yaml"
    contract.write_text(DESIGN)
    rows = pa.table({"age": [20, 30, 40, 50, 60], "_row": pa.array(NUMBERS, pa.int64())})
    with Line.open(contract) as line:
        with line.database.write() as session:
            put_delivery(session, a_delivery("delivery-1"))
        common = {
            "dataset": "adult", "delivery_id": "delivery-1", "summary": "rows", "evidence": {}, "review": Review(),
        }  # fmt: skip
        case = open_case(line.database, line.store, kind="screening", rows=rows, **common)
        other = open_case(line.database, line.store, kind="validation", rows=rows, **common)
        made = decide_case(line, case, "release", "olga", "these two are fine", rows=[1, 2]).made
        assert made.split is not None
        yield Split(line, made.split.parent, made.case, made.split.rest, show_case(line.database, other))


def run_sql(*changes: str) -> Callable[[Split], None]:
    return lambda split: split.sql(*changes)


ATTACKS: list[tuple[str, Callable[[Split], None], str, str]] = [
    (
        "a split case reopened",
        run_sql("UPDATE \"case\" SET status = 'open' WHERE id = :parent"),
        "registry.case",
        "parent",
    ),
    (
        "a split case marked released",
        run_sql("UPDATE \"case\" SET status = 'released' WHERE id = :parent"),
        "registry.case",
        "parent",
    ),
    (
        "the open part of a case marked released",
        run_sql("UPDATE \"case\" SET status = 'released' WHERE id = :rest"),
        "registry.case",
        "rest",
    ),
    (
        "the open part of a case deleted",
        run_sql('DELETE FROM "case" WHERE id = :rest'),
        "registry.case",
        "rest",
    ),
    (
        "a part of a case given to another case",
        run_sql('UPDATE "case" SET parent_id = :other WHERE id = :rest'),
        "registry.case",
        "rest",
    ),
    (
        "a case passed off as part of another",
        run_sql('UPDATE "case" SET parent_id = :parent WHERE id = :other'),
        "registry.case",
        "parent",
    ),
    (
        "a part of a case made larger",
        run_sql('UPDATE "case" SET rows = 5 WHERE id = :released'),
        "registry.case",
        "released",
    ),
    (
        "rows smuggled into a released part of a case",
        run_sql('UPDATE "case" SET rows_object = :parent_rows WHERE id = :released'),
        "store.case",
        "released",
    ),
    (
        "rows of two parts of a case exchanged",
        run_sql(
            'UPDATE "case" SET rows_object = CASE id WHEN :released THEN :rest_rows ELSE :released_rows END '
            "WHERE id IN (:released, :rest)"
        ),
        "store.case",
        "rest",
    ),
    (
        "a split put into another's mouth",
        run_sql("UPDATE decision SET reviewer = 'vic' WHERE action = 'split'"),
        "registry.decision",
        "split",
    ),
    (
        "a split turned into a release",
        run_sql("UPDATE decision SET action = 'release' WHERE action = 'split'"),
        "registry.decision",
        "split",
    ),
    (
        "a split deleted",
        run_sql("DELETE FROM decision WHERE action = 'split'"),
        "registry.decision",
        "split",
    ),
    (
        "a decision moved from a page to Airflow",
        run_sql("UPDATE decision SET via = 'airflow' WHERE action = 'release'"),
        "registry.decision",
        "release",
    ),
]


def test_an_untouched_split_passes(split: Split) -> None:
    """Parent, parts, decisions and rows are as they were signed."""
    findings = [f for f in verify_holdings(split.line.ledger, split.line.store) if "delivery" not in f.check]
    assert {f.outcome for f in findings} == {Outcome.PASSED}
    assert {"registry.case", "registry.decision", "store.case"} <= {f.check for f in findings}


@pytest.mark.parametrize(("what", "attack", "check", "whom"), ATTACKS, ids=[each[0] for each in ATTACKS])
def test_a_split_that_was_edited_is_named(
    what: str, attack: Callable[[Split], None], check: str, whom: str, split: Split
) -> None:
    """The log verifies as before; the case or decision that does not say what was signed is named."""
    named = {
        "split": next(d.id for d in split.parent.decisions if d.action == "split"),
        "release": split.released.decisions[0].id,
    }
    attack(split)
    assert failures(split.line.ledger.verify()) == {}
    found = failures(verify_holdings(split.line.ledger, split.line.store))
    subject = named[whom] if whom in named else getattr(split, whom).id
    assert subject in found[check]
    tampering.found(what, check)


def test_smuggled_rows_are_not_admitted(split: Split) -> None:
    """Admission asks for the numbers that the case's id comes from; it stops, and admits nothing."""
    split.sql('UPDATE "case" SET rows_object = :parent_rows WHERE id = :released')
    (released,) = list_cases(split.line.database, status="released")
    with pytest.raises(StoreCorrupt, match="not the rows that were held"):
        case_numbers(split.line.store, released)


def test_a_part_is_traced_to_the_case_it_was_split_from(split: Split) -> None:
    """From a decision on a part, up to the split, and from the case down to both parts' decisions."""
    line = split.line
    up = trace(line.ledger, line.database, line.store, split.released.id)
    assert [step.statement.step for step in up.steps] == ["case-split", "case-decided"]
    down = trace(line.ledger, line.database, line.store, split.parent.id)
    assert "case-split" in [step.statement.step for step in down.steps if step.relation == "downstream"]
