"""One decision, never two: Assay's pages and command line, and Airflow's Required Actions, on a real Airflow."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from assay.contract import Review
from assay.db import Database, get_model
from assay.findings import Answer, Approval
from assay.quarantine import list_cases
from tests.plugins.asking import APPROVE, REVIEW, Asking, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    asking = Asking(tmp_path_factory.mktemp("asking"))
    asking.airflow.start()
    asking.airflow.client().wait_for_dags({REVIEW, APPROVE})
    yield asking
    asking.airflow.stop()


def ended(asking: Asking, dag: str, run: str) -> str:
    return asking.airflow.client().wait(dag, run, 900)


def test_an_answer_in_required_actions_decides_the_cases(asking: Asking) -> None:
    """Under the words of the buttons and the name of the login; the page knows before the task has recorded it."""
    held = asking.hold("delivery-answered", Review())
    run = asking.ask(REVIEW, {"deliveries": [held]})
    waiting = asking.in_airflow(f"answer = assay_hitl.waiting_for('adult', delivery={held!r})")
    assert waiting["run_id"] == run
    assert waiting["options"] == [str(option) for option in Answer]
    assert waiting["answered"] is None
    assert asking.answer(REVIEW, run, str(Answer.ADMIT_REST), "vera") == 403
    assert asking.answer(REVIEW, run, str(Answer.ADMIT_REST), "ursula") == 200
    asking.in_airflow(f"answer = assay_hitl.record_answers('adult', delivery={held!r})", "nora")
    assert asking.statuses(held) == {"screening": "rejected", "delivery": "released"}
    (case, _) = list_cases(Database(asking.settings.database_url), delivery_id=held)
    assert {(each.reviewer, each.via) for each in case.decisions} == {("ursula", "airflow")}
    assert ended(asking, REVIEW, run) == "success"
    assert asking.verdict(held) == ("held", "accept")
    assert len(case.decisions) == 1


def test_a_decision_on_a_page_lets_the_run_go_on(asking: Asking) -> None:
    """`resume` answers Airflow's own question; a part of the rows is not enough for that."""
    held = asking.hold("delivery-paged", Review())
    run = asking.ask(REVIEW, {"deliveries": [held]})
    decide = f"""
from assay import line
from assay.quarantine import list_cases
with line.Line.open(line.contract_of("adult")) as opened:
    cases = [c for c in list_cases(opened.database, delivery_id={held!r}) if c.status == "open"]
    rows = next(c for c in cases if c.kind == "screening")
    line.decide_case(opened, rows.id, "release", "olga", "these two are fine", rows=[0, 3])
first = assay_hitl.resume("adult", user, delivery={held!r})
with line.Line.open(line.contract_of("adult")) as opened:
    for case in list_cases(opened.database, delivery_id={held!r}, status="open"):
        line.decide_case(opened, case.id, "reject" if case.rows else "release", "olga", "looked")
import time
second = assay_hitl.resume("adult", user, delivery={held!r})
while second and second["when"] == "soon" and not sys.argv[1:]:
    time.sleep(3)
    second = assay_hitl.resume("adult", user, delivery={held!r}) or second | {{"when": "gone"}}
answer = [first, second]
"""
    first, second = asking.in_airflow(decide)
    assert first is None
    assert second["run_id"] == run
    assert second["when"] in {"now", "gone"}
    assert not asking.pending(REVIEW, run)
    assert ended(asking, REVIEW, run) == "success"
    assert asking.statuses(held) == {"screening": "rejected+released", "delivery": "released"}


def test_a_decision_on_the_command_line_lets_the_run_go_on_by_itself(asking: Asking) -> None:
    """Without Airflow being told: the question's trigger sees it; no worker waits meanwhile."""
    held = asking.hold("delivery-typed", Review())
    run = asking.ask(REVIEW, {"deliveries": [held]})
    for case in list_cases(Database(asking.settings.database_url), delivery_id=held):
        subprocess.run(
            [
                sys.executable,
                "-m",
                "assay.cli",
                "cases",
                "reject",
                case.id,
                "--reason",
                "bad",
                "--reviewer",
                "olga",
            ],
            env={
                **os.environ,
                **{k: v for k, v in asking.airflow.environment.items() if k.startswith("ASSAY_")},
            },
            check=True,
            capture_output=True,
        )
    assert ended(asking, REVIEW, run) == "success"
    assert asking.verdict(held) == ("rejected", "reject")
    told = asking.airflow.client().xcom(REVIEW, run, "review")
    assert told["first"] == ["olga on the command line: reject"]
    assert asking.airflow.client().question(REVIEW, run) is None


def test_two_approvals_are_two_people_and_the_question_stands_until_then(asking: Asking) -> None:
    """The same reviewer again counts once; an answer without a reason counts not at all."""
    held = asking.hold("delivery-twice", Review(approvals=2))
    run = asking.ask(REVIEW, {"deliveries": [held]})
    for user, reason in (
        ("ursula", ""),
        ("ursula", "looked"),
        ("ursula", "looked again"),
        ("olga", "me too"),
    ):
        wait_until(lambda: asking.pending(REVIEW, run), "the question stands")
        assert asking.answer(REVIEW, run, str(Answer.ADMIT_ALL), user, reason) == 200
        if user == "ursula":
            wait_until(lambda: not asking.pending(REVIEW, run), "the answer is taken")
    assert ended(asking, REVIEW, run) == "success"
    assert asking.statuses(held) == {"screening": "released", "delivery": "released"}
    for case in list_cases(Database(asking.settings.database_url), delivery_id=held):
        assert [each.reviewer for each in case.decisions] == ["ursula", "olga"]


def test_silence_rejects_or_leaves_everything_as_it_is(asking: Asking) -> None:
    """It never admits: the terms of the case say which of the two."""
    short = dt.timedelta(seconds=20)
    rejecting = asking.hold("delivery-silent", Review(timeout=short))
    holding = asking.hold("delivery-holding", Review(timeout=short, on_timeout="hold"))
    runs = {each: asking.ask(REVIEW, {"deliveries": [each]}) for each in (rejecting, holding)}
    assert ended(asking, REVIEW, runs[rejecting]) == "success"
    assert asking.verdict(rejecting) == ("rejected", "reject")
    assert asking.statuses(rejecting) == {"screening": "rejected", "delivery": "rejected"}
    assert ended(asking, REVIEW, runs[holding]) == "failed"
    assert asking.verdict(holding) == ("held", "hold")
    assert asking.statuses(holding) == {"screening": "open", "delivery": "open"}


def test_an_answer_that_comes_second_changes_nothing_and_breaks_nothing(asking: Asking) -> None:
    """The run goes on with what was decided first, and says by whom."""
    held = asking.hold("delivery-late", Review())
    run = asking.ask(REVIEW, {"deliveries": [held]})
    with asking.line() as line:
        from assay.line import decide_case

        for case in list_cases(line.database, delivery_id=held):
            decide_case(line, case.id, "reject", "nora", "a trigger")
    assert asking.answer(REVIEW, run, str(Answer.ADMIT_ALL), "olga") in {200, 409}
    assert ended(asking, REVIEW, run) == "success"
    assert asking.statuses(held) == {"screening": "rejected", "delivery": "rejected"}
    assert asking.airflow.client().xcom(REVIEW, run, "decide")["first"] == ["nora on the case's page: reject"]


def test_a_challenger_is_refused_once_on_a_page_or_in_required_actions(asking: Asking) -> None:
    """Either way the model is refused by one person who may promote, and `promote` says by whom."""
    paged, answered = asking.challenge("model-paged"), asking.challenge("model-answered")
    runs = {each: asking.ask(APPROVE, {"model": each}) for each in (paged, answered)}
    with asking.line() as line:
        from assay.line import refuse_model

        refuse_model(line, paged, "nora", "learned nothing")
    assert asking.answer(APPROVE, runs[answered], str(Approval.REFUSE), "olga") == 403
    assert asking.answer(APPROVE, runs[answered], str(Approval.REFUSE), "admin") == 200
    for model, who in ((paged, "nora"), (answered, "admin")):
        assert ended(asking, APPROVE, runs[model]) == "failed"
        with Database(asking.settings.database_url).session() as session:
            row = get_model(session, model)
        assert row is not None
        assert (row.state, row.metrics["refused_by"]) == ("refused", who)
