"""Who decides on cases and challengers, whose change it was, and what is left for Airflow to do."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from assay.cli import app
from assay.contract import ContractError, Review, load_contract
from assay.db import ModelRow, get_delivery, get_snapshot, put_delivery, put_model, put_run
from assay.errors import UsageError
from assay.findings import Answer, Approval, Outcome
from assay.ledger import verify_holdings
from assay.line import (
    Line,
    ModelDecided,
    Undecided,
    admit,
    answer_delivery,
    answer_model,
    approve_model,
    authors_of,
    contract_of,
    decide,
    decide_case,
    may_decide,
    may_promote,
    model_state,
    promote,
    record_contract,
    refuse_model,
    settle,
    settled,
)
from assay.line.errors import ChallengerRefused
from assay.line.snapshots import manifest_of
from assay.model import PromotionRefused
from assay.quarantine import (
    CaseClosed,
    DecisionForbidden,
    DecisionRefused,
    case_numbers,
    list_cases,
    open_case,
    show_case,
)
from assay.store import read_table
from tests.contract.examples import DESIGN
from tests.db.rows import DIGEST, a_delivery, a_run

PUBLISHED = Path(__file__).resolve().parents[2] / "docs" / "predicates"


class Desk:
    """A line with held deliveries, whose contract can be changed."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def change(self, **review: Any) -> None:
        """Change the contract's review section; the line is opened anew on it."""
        document = yaml.safe_load(self.line.path.read_text())
        document["review"] = {**document["review"], **review}
        self.line.path.write_text(yaml.safe_dump(document))
        object.__setattr__(self.line, "contract", load_contract(self.line.path))

    def hold(self, name: str = "delivery-1", review: Review | None = None) -> dict[str, str]:
        """A held delivery; returns its cases' ids by kind."""
        review = review or self.line.contract.review
        with self.line.database.write() as session:
            put_delivery(
                session,
                a_delivery(name, state="held", verdict="hold", contract_sha256=self.line.contract.digest),
            )
        rows = pa.table({"age": [20, 30, 40], "_row": pa.array([0, 1, 2], pa.int64())})
        common: dict[str, Any] = {
            "dataset": "adult", "delivery_id": name, "blocking": True, "review": review,
            "summary": "held", "evidence": {},
        }  # fmt: skip
        made = {
            kind: open_case(
                self.line.database, self.line.store, kind=kind, rows=None if kind == "delivery" else rows, **common
            )
            for kind in ("screening", "delivery")
        }  # fmt: skip
        self.line.record(
            "delivery-screened",
            [(name, DIGEST)],
            {
                "delivery": name, "verdict": "hold", "why": ["so"], "tier": "rows", "rows": 3, "quarantined": 3,
                "cases": [{"case": made[kind], "kind": kind, "rows": 3 if kind == "screening" else 0}
                          for kind in made],
            },
        )  # fmt: skip
        return made

    def challenge(self, name: str = "model-1", gates: str = "passed") -> str:
        """A challenger whose gates passed; it has no bundle."""
        with self.line.database.write() as session:
            put_run(session, a_run(f"run-{name}"))
            put_model(
                session,
                ModelRow(
                    id=name, dataset="adult", run_id=f"run-{name}", snapshot_id="snapshot-1", state="challenger",
                    bundle_uri="/nowhere", metrics={"gates": gates, "judged_against": None, "digest": DIGEST},
                    made_at="2026-03-01T12:00:00Z",
                ),
            )  # fmt: skip
        return name

    def verdict(self, name: str = "delivery-1") -> tuple[str, str | None]:
        """State and verdict of a delivery."""
        with self.line.database.session() as session:
            row = get_delivery(session, name)
            assert row is not None
            return row.state, row.verdict

    def told(self, step: str) -> list[dict[str, Any]]:
        """What the ledger's statements of a step say; each fits its published schema."""
        schema = json.loads((PUBLISHED / f"{step}.v1.json").read_text())
        found = []
        for entry in self.line.ledger.entries():
            if entry.statement.step == step:
                statement = self.line.ledger.read(entry)
                Draft202012Validator(schema).validate(json.loads(statement.payload)["predicate"])
                found.append(statement.predicate)
        return found


@pytest.fixture
def desk(assay_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    folder = tmp_path / "contracts"
    folder.mkdir()
    contract = folder / "adult.yaml"
    contract.write_text(DESIGN)
    monkeypatch.setenv("ASSAY_CONTRACTS_DIR", str(folder))
    with Line.open(contract) as line:
        yield Desk(line)


def answered(option: str, user: str | None, reason: str = "looked") -> dict[str, Any]:
    """What Airflow's operator returns."""
    return {
        "chosen_options": [option],
        "params_input": {"reason": reason},
        "responded_by_user": None if user is None else {"id": user, "name": user},
    }


# ------------------------------------------------------------------------------------------------------------- cases
def test_a_decision_on_some_rows_is_signed_and_leaves_the_rest(desk: Desk) -> None:
    """Split and decision stand in the ledger; the delivery goes on when the last part is decided."""
    cases = desk.hold()
    first = decide_case(desk.line, cases["screening"], "release", "olga", "fine", rows=[0, 2])
    split = first.as_dict()["split"]
    assert "1 rows are left in" in first.message
    assert (
        decide_case(desk.line, cases["delivery"], "release", "olga", "known source").made.status == "released"
    )
    assert desk.verdict() == ("held", "hold")
    decide_case(desk.line, split["rest"], "reject", "olga", "a trigger")
    assert desk.verdict() == ("held", "accept")
    (said,) = desk.told("case-split")
    assert [said["case"], said["reviewer"], said["via"]] == [cases["screening"], "olga", "page"]
    assert [(each["case"], each["rows"]) for each in said["cases"]] == [
        (split["chosen"], 2),
        (split["rest"], 1),
    ]
    assert [each["case"] for each in desk.told("case-decided")] == [
        split["chosen"], cases["delivery"], split["rest"],
    ]  # fmt: skip


def test_a_contract_is_found_by_its_data_set(desk: Desk) -> None:
    """A data set without one cannot be decided on."""
    assert contract_of("adult") == desk.line.path
    with pytest.raises(UsageError, match="no contract"):
        contract_of("other")


def test_only_the_contract_s_reviewers_decide(desk: Desk) -> None:
    """Those of the case's own terms and those of today: who was added later does not count for older cases."""
    desk.change(reviewers=["olga", "vic"])
    cases = desk.hold()
    with pytest.raises(DecisionForbidden, match="eve is not one of those"):
        decide_case(desk.line, cases["screening"], "reject", "eve", "x")
    desk.change(reviewers=["eve", "vic"])
    with pytest.raises(DecisionForbidden):
        decide_case(desk.line, cases["screening"], "reject", "eve", "x")
    assert may_decide(desk.line, cases["screening"], "olga")[0] is False
    assert may_decide(desk.line, cases["screening"], "VIC") == (True, None)
    assert decide_case(desk.line, cases["screening"], "reject", "Vic", "x").made.status == "rejected"
    allowed, why = may_decide(desk.line, cases["screening"], "vic")
    assert not allowed
    assert "already rejected by Vic" in str(why)


def test_an_approval_of_who_is_no_reviewer_any_more_does_not_count(desk: Desk) -> None:
    """The terms of the day on which the last one approves."""
    desk.change(approvals=2)
    cases = desk.hold()
    decide_case(desk.line, cases["delivery"], "release", "olga", "fine")
    assert may_decide(desk.line, cases["delivery"], "olga") == (
        False, "you have released it already; another reviewer must agree",
    )  # fmt: skip
    desk.change(reviewers=["vic", "ursula"])
    assert decide_case(desk.line, cases["delivery"], "release", "vic", "fine").made.status == "open"
    assert decide_case(desk.line, cases["delivery"], "release", "ursula", "fine").made.status == "released"


def test_reviewers_must_be_enough_for_the_approvals() -> None:
    """A contract that nobody could satisfy is refused, and so is a name that stands twice."""
    for review in (
        {"approvals": 3, "reviewers": ["a", "b"]},
        {"reviewers": ["a", " A "]},
        {"reviewers": [""]},
    ):
        with pytest.raises(ValueError, match=r"reviewer|approvals"):
            Review.model_validate(review)


def test_who_changed_the_contract_does_not_release_what_it_judged(desk: Desk) -> None:
    """Nor does anybody where it is not known who that was; rejecting is left to all."""
    desk.change(no_self_approval=True)
    cases = desk.hold()
    with pytest.raises(DecisionForbidden, match="not_checked: nobody is recorded"):
        decide_case(desk.line, cases["delivery"], "release", "olga", "fine")
    done = record_contract(desk.line, "Olga", "a stricter limit")
    assert (done.repeated, done.authors) == (False, ("Olga",))
    with pytest.raises(DecisionForbidden, match="olga changed the contract"):
        decide_case(desk.line, cases["delivery"], "release", "olga", "fine")
    assert may_decide(desk.line, cases["delivery"], "OLGA")[0] is False
    assert decide_case(desk.line, cases["delivery"], "release", "vic", "fine").made.status == "released"
    assert decide_case(desk.line, cases["screening"], "reject", "olga", "bad").made.status == "rejected"
    (said,) = desk.told("contract-changed")
    assert said["contract_sha256"] == desk.line.contract.digest


def test_a_contract_that_was_changed_after_judging_binds_both_authors(desk: Desk) -> None:
    """Who wrote the terms that judged the delivery, and who wrote those of today."""
    desk.change(no_self_approval=True)
    record_contract(desk.line, "olga", "first")
    cases = desk.hold()
    desk.change(timeout="4d")
    with pytest.raises(DecisionForbidden, match="not_checked"):
        decide_case(desk.line, cases["delivery"], "release", "vic", "fine")
    record_contract(desk.line, "vic", "more time")
    assert authors_of(desk.line, "delivery-1") == {"olga", "vic"}
    for author in ("olga", "vic"):
        with pytest.raises(DecisionForbidden, match="changed the contract"):
            decide_case(desk.line, cases["delivery"], "release", author, "fine")
    assert decide_case(desk.line, cases["delivery"], "release", "ursula", "fine").made.status == "released"


def test_nobody_takes_their_name_off_a_contract(desk: Desk) -> None:
    """Another's record adds a name; the same one again adds nothing."""
    desk.change(no_self_approval=True)
    record_contract(desk.line, "olga", "mine")
    record_contract(desk.line, "vic", "no, mine")
    again = record_contract(desk.line, " OLGA ", "again")
    assert (again.repeated, again.by, again.authors) == (True, "olga", ("olga", "vic"))
    assert authors_of(desk.line) == {"olga", "vic"}


def test_a_rule_that_was_switched_off_later_still_binds_the_case(desk: Desk) -> None:
    """The case carries the terms that it was opened under."""
    desk.change(no_self_approval=True)
    record_contract(desk.line, "olga", "mine")
    cases = desk.hold()
    desk.change(no_self_approval=False)
    record_contract(desk.line, "olga", "no more of that")
    with pytest.raises(DecisionForbidden, match="olga changed the contract"):
        decide_case(desk.line, cases["delivery"], "release", "olga", "fine")


def test_released_parts_of_a_case_are_admitted_and_no_other_row(held_town) -> None:
    """Admission takes the parts: each released row enters once, under the decision on its part; all of it verifies."""
    with held_town.line() as line:
        cases = {c.kind: c for c in list_cases(line.database, status="open") if c.blocking}
        numbers = case_numbers(line.store, cases["screening"])
        first = decide_case(line, cases["screening"].id, "release", "olga", "fine", rows=numbers[:4]).made
        second = decide_case(line, first.split.rest.id, "release", "vic", "too", rows=numbers[4:6]).made
        decide_case(line, second.split.rest.id, "reject", "vic", "poison")
        for case in list_cases(line.database, status="open"):
            if case.blocking:
                decide_case(
                    line, case.id, "release" if case.kind == "delivery" else "reject", "vic", "looked"
                )
        admitted = admit(line)
        with line.database.session() as session:
            snapshot = get_snapshot(session, admitted["snapshot"])
        found: dict[str, list[int]] = {}
        for part in manifest_of(line, snapshot).parts:
            table = read_table(line.store, part.sha256, ["_decision", "_record"])
            for row in table.to_pylist():
                if row["_decision"]:
                    found.setdefault(row["_decision"], []).append(row["_record"])
        assert {each: len(rows) for each, rows in found.items()} == {
            first.decision_id: 4,
            second.decision_id: 2,
        }
        assert sorted(row for rows in found.values() for row in rows) == numbers[:6].tolist()
        assert admit(line)["snapshot"] is None or admit(line)["admitted"] == 0
        outcomes = {f.check: f.outcome for f in verify_holdings(line.ledger, line.store)}
        assert set(outcomes.values()) == {Outcome.PASSED}, outcomes


# -------------------------------------------------------------------------------------------------- Required Actions
def test_an_answer_that_comes_second_is_told_who_was_first(desk: Desk) -> None:
    """It changes nothing and raises nothing, whether all or some cases were decided meanwhile."""
    cases = desk.hold()
    decide_case(desk.line, cases["screening"], "reject", "nora", "a trigger", via="cli")
    told = decide(desk.line, ["delivery-1"], answered(str(Answer.ADMIT_ALL), "olga"))
    assert (told["decisions"], told["open"]) == (1, 0)
    assert told["first"] == ["nora on the command line: reject"]
    late = decide(desk.line, ["delivery-1"], answered(str(Answer.REJECT), "vic"))
    assert late["decisions"] == 0
    assert late["first"] == [
        "nora on the command line: reject",
        "olga in Airflow's Required Actions: release",
    ]
    assert show_case(desk.line.database, cases["delivery"]).status == "released"
    with pytest.raises(CaseClosed, match="already decided by olga in Airflow's Required Actions"):
        decide_case(desk.line, cases["delivery"], "reject", "vic", "x")


def test_as_decided_decides_nothing(desk: Desk) -> None:
    """It lets the run go on where all is decided, and says what is open where not."""
    desk.hold()
    told = decide(desk.line, ["delivery-1"], answered(str(Answer.AS_DECIDED), "olga"))
    assert (told["decisions"], told["open"]) == (0, 2)
    with pytest.raises(UsageError, match="decides nothing"):
        answer_delivery(desk.line, "delivery-1", Answer.AS_DECIDED, "olga", "x")
    answer_delivery(desk.line, "delivery-1", str(Answer.REJECT), "olga", "bad")
    assert decide(desk.line, ["delivery-1"], answered(str(Answer.AS_DECIDED), None))["open"] == 0


def test_each_answer_is_one_approval(desk: Desk) -> None:
    """And the same person's second answer none; the answer says how many are lacking."""
    desk.change(approvals=2)
    desk.hold()
    answers = [
        decide(desk.line, ["delivery-1"], answered(str(Answer.ADMIT_ALL), who)) for who in ("a", "A", "b")
    ]
    assert [(each["decisions"], each["open"]) for each in answers] == [(2, 2), (0, 2), (2, 0)]
    assert (answers[0]["approvals"], answers[0]["needed"]) == (1, 2)


def test_an_answer_of_somebody_who_may_not_decide_is_not_taken(desk: Desk) -> None:
    """It says why, and the question stands."""
    desk.change(reviewers=["olga"])
    desk.hold()
    told = decide(desk.line, ["delivery-1"], answered(str(Answer.ADMIT_ALL), "eve"))
    assert (told["decisions"], told["open"]) == (0, 2)
    assert "eve is not one of those who may decide" in told["refused"][0]


def test_silence_rejects_what_is_due_and_nothing_else(desk: Desk) -> None:
    """By each case's own terms."""
    desk.hold("delivery-1", Review(timeout=dt.timedelta(seconds=1), on_timeout="reject"))
    desk.hold("delivery-2", Review(timeout=dt.timedelta(seconds=1), on_timeout="hold"))
    desk.hold("delivery-3", Review(timeout=dt.timedelta(days=1)))
    names = [f"delivery-{number}" for number in (1, 2, 3)]
    while settled(desk.line, names[:1])["open"]:
        pass
    assert desk.verdict("delivery-1") == ("rejected", "reject")
    assert settled(desk.line, names)["open"] == 4
    assert desk.verdict("delivery-2") == desk.verdict("delivery-3") == ("held", "hold")
    settle(desk.line)
    assert len(desk.told("delivery-decided")) == 1


# --------------------------------------------------------------------------------------------------------- challengers
def test_a_challenger_is_refused_once(desk: Desk) -> None:
    """By one person, in a signed statement; others are told by whom and where."""
    desk.change(promotion="manual")
    model = desk.challenge()
    assert refuse_model(desk.line, model, "olga", "learned nothing")["state"] == "refused"
    assert refuse_model(desk.line, model, "Olga", "again")["repeated"]
    for act in (approve_model, refuse_model):
        with pytest.raises(ModelDecided, match="already decided by olga on the case's page") as caught:
            act(desk.line, model, "vic", "x")
        assert (caught.value.by, caught.value.action) == ("olga", "refuse")
        assert caught.value.at
    told = answer_model(desk.line, model, answered(str(Approval.PROMOTE), "vic"))
    assert (told["open"], told["first"]) == (0, ["olga: refuse"])
    with pytest.raises(ChallengerRefused, match="olga refused"):
        promote(desk.line, model, answered(str(Approval.AS_DECIDED), None))
    (said,) = desk.told("challenger-decided")
    assert (said["by"], said["action"], said["via"]) == ("olga", "refuse", "page")


def test_silence_never_promotes(desk: Desk) -> None:
    """It refuses, or leaves the challenger waiting, as the contract says; it cannot approve under any spelling."""
    desk.change(promotion="manual", on_timeout="hold")
    held = desk.challenge("model-held")
    with pytest.raises(Undecided, match="still waits"):
        promote(desk.line, held, {"chosen_options": [], "responded_by_user": None})
    assert model_state(desk.line, held)["open"] == 1
    with pytest.raises(DecisionRefused, match="silence cannot promote"):
        approve_model(desk.line, held, " TimeOut ", "no answer in time")
    told = answer_model(desk.line, held, answered(str(Approval.PROMOTE), None))
    assert told["open"] == 1
    assert "silence cannot promote" in told["refused"][0]
    desk.change(on_timeout="reject")
    with pytest.raises(ChallengerRefused, match="timeout refused"):
        promote(desk.line, held, None)


def test_a_challenger_s_terms_bind_who_approves_it(desk: Desk) -> None:
    """Reviewers, and nobody who changed the contract; nobody approves what could not be promoted."""
    desk.change(promotion="manual", reviewers=["olga", "vic"], no_self_approval=True)
    model = desk.challenge()
    record_contract(desk.line, "olga", "mine")
    desk.line.record(
        "gates-judged", [(model, DIGEST)], {"model": model, "passed": True, "metrics": {}, "gates_off": [],
                                            "champion": None},
    )  # fmt: skip
    for who, why in (("eve", "not one of those"), ("olga", "changed the contract")):
        allowed, told = may_promote(desk.line, model, who)
        assert not allowed
        assert why in str(told)
    assert may_promote(desk.line, model, "vic") == (True, None)
    failed = desk.challenge("model-2", gates="failed")
    assert may_promote(desk.line, failed, "vic") == (False, "its gates: failed")
    with pytest.raises(PromotionRefused, match="its gates: failed"):
        approve_model(desk.line, failed, "vic", "anyway")
    assert desk.told("challenger-decided") == []


# -------------------------------------------------------------------------------------------------------- command line
def test_rows_are_decided_on_the_command_line(desk: Desk) -> None:
    """By numbers and ranges; what is left is named, and decided next."""
    case = desk.hold()["screening"]
    run = CliRunner().invoke
    done = run(app, ["cases", "release", case, "--rows", "0, 2-2", "--reason", "fine", "--reviewer", "olga"])
    assert done.exit_code == 0, done.output
    assert f"{case} was split" in done.output
    rest = next(c for c in list_cases(desk.line.database, kind="screening", status="open"))
    assert rest.id in done.output
    shown = run(app, ["cases", "show", rest.id]).output
    assert f"part of   {case}" in shown
    assert "split" in run(app, ["cases", "list", "--status", "split"]).output
    late = run(app, ["cases", "reject", case, "--rows", "1-2", "--reason", "x", "--reviewer", "vic"])
    assert late.exit_code == 1
    assert "already split by olga on the command line" in late.output
    told = run(
        app, ["cases", "reject", rest.id, "--rows", "1", "--reason", "x", "--json", "--reviewer", "vic"]
    )
    assert json.loads(told.output)["split"] is None


@pytest.mark.parametrize("rows", ["", "a", "3-1", "1,,2", "-5", "0-99999999999", "1;2"])
def test_rows_that_cannot_be_read_decide_nothing(desk: Desk, rows: str) -> None:
    """A usage error, and the case stays open."""
    case = desk.hold()["screening"]
    done = CliRunner().invoke(app, ["cases", "release", case, "--rows", rows, "--reason", "fine"])
    assert done.exit_code == 2
    assert show_case(desk.line.database, case).status == "open"


def test_a_contract_s_author_is_recorded_on_the_command_line(desk: Desk) -> None:
    """Once; a file that is no contract is refused."""
    run = CliRunner().invoke
    path = str(desk.line.path)
    done = run(app, ["contract", "record", path, "--by", "olga", "--reason", "first version", "--json"])
    assert json.loads(done.output)["authors"] == ["olga"]
    assert "nothing changed" in run(app, ["contract", "record", path, "--by", "Olga", "--reason", "x"]).output
    assert run(app, ["contract", "record", path, "--by", "olga", "--reason", " "]).exit_code == 2
    desk.line.path.write_text("a: [")
    assert run(app, ["contract", "record", path, "--by", "olga", "--reason", "x"]).exit_code == 2
    with pytest.raises(ContractError):
        load_contract(desk.line.path)
