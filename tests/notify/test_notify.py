"""News reaches people once, by mail and by webhook, and what is secret of an address reaches nobody."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

from assay.cli import app
from assay.db import Notification
from assay.notify import EVENTS, NotifyError, Target, list_notices, targets_of, tell
from assay.settings import Connection, Settings
from tests.notify.conftest import SECRET, Mail, News, Web

NOWHERE = f"json://127.0.0.1:9/hooks/{SECRET}"


def test_each_kind_of_news_is_told_and_nothing_else(news: News, web: Web) -> None:
    """A rejected delivery, new cases, a failed curve, a failed gate; what went well is no news."""
    news.rejected(), news.accepted(), news.opened()
    news.curve("failed"), news.curve("passed"), news.curve("not_checked")
    news.gates(passed=False), news.gates(passed=True)
    told = tell(news.log, targets_of([web.url]), since=0, pages="https://airflow.example.org/assay/")
    assert [(each.event, each.state) for each in told] == [(name, "sent") for name in EVENTS]
    titles = [body["title"] for body in web.bodies]
    assert titles == [
        "Assay: adult: a delivery of west was rejected",
        "Assay: adult: a delivery is held, 1,200 rows",
        "Assay: adult: a training failed its curve checks",
        "Assay: adult: a challenger did not pass its gates",
    ]
    rejected, opened = (body["message"] for body in web.bodies[:2])
    assert "intake.signature: failed (the key is not one of the publisher's)" in rejected
    assert "intake.checksums" not in rejected
    assert rejected.endswith("https://airflow.example.org/assay/p/delivery/delivery-1")
    assert "case-1: screening, 1,200 rows" in opened
    assert web.paths[0] == f"/hooks/{SECRET}"


def test_a_mail_arrives_through_a_server_that_asks_for_a_password(news: News, mail: Mail) -> None:
    """With subject, text and link."""
    news.opened()
    (notice,) = tell(news.log, targets_of([mail.url]), since=0, pages="https://airflow.example.org/assay")
    assert notice.state == "sent", notice.problem
    (message,) = mail.messages
    assert message["Subject"] == "Assay: adult: a delivery is held, 1,200 rows"
    assert message["To"] == "reviewers@example.org"
    body = message.get_body(("plain",))
    assert body is not None
    assert "https://airflow.example.org/assay/p/delivery/delivery-3" in body.get_content()


def test_nobody_is_told_twice(news: News, web: Web) -> None:
    """A task that is tried again finds its statements in the ledger already, and so does the outbox."""
    news.rejected()
    targets = targets_of([web.url, web.url])
    assert len(tell(news.log, targets, since=0)) == 1
    news.log.append(news.log.read(news.log.entries()[0]))
    assert tell(news.log, targets, since=0) == []
    assert len(web.bodies) == 1


def test_several_processes_tell_each_thing_once(news: News, web: Web) -> None:
    """Tasks of several runs end at once."""
    for _ in range(6):
        news.rejected()
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: tell(news.log, targets_of([web.url]), since=0), range(4)))
    assert sum(len(each) for each in told) == 6
    assert len(web.bodies) == 6


def test_history_is_no_news(news: News, web: Web) -> None:
    """Whoever switches notifications on is not told of last year; from then on nothing is left out."""
    news.rejected("long ago")
    since = news.log.size()
    news.rejected("now")
    tell(news.log, targets_of([web.url]), since=since)
    news.rejected("later")
    tell(news.log, targets_of([web.url]), since=news.log.size())
    assert [body["title"].split(" of ")[1] for body in web.bodies] == [
        "now was rejected",
        "later was rejected",
    ]


def test_what_a_killed_task_signed_is_told_by_the_next(news: News, web: Web) -> None:
    """The ledger knows it, so it is not lost."""
    tell(news.log, targets_of([web.url]), since=0)
    news.rejected("of a killed task")
    news.accepted()
    assert len(tell(news.log, targets_of([web.url]), since=news.log.size())) == 1


def test_only_wanted_events_are_told(news: News, web: Web) -> None:
    """Others are passed over for good."""
    news.rejected(), news.gates(passed=False)
    told = tell(news.log, targets_of([web.url]), since=0, events=["gate-failed"])
    assert [each.event for each in told] == ["gate-failed"]
    assert tell(news.log, targets_of([web.url]), since=0) == []


def test_a_place_that_does_not_answer_is_tried_three_times_and_stays_visible(news: News, web: Web) -> None:
    """It raises nothing, and the other places get theirs once."""
    news.rejected()
    targets = targets_of([NOWHERE, web.url])
    for attempt in (1, 2, 3):
        told = {each.target: each for each in tell(news.log, targets, since=0)}
        failed = next(each for each in told.values() if each.state == "failed")
        assert (failed.attempts, failed.problem) == (
            attempt,
            "the service did not take it, or did not answer",
        )
    assert tell(news.log, targets, since=0) == []
    assert len(web.bodies) == 1
    (left,) = list_notices(news.log.database, state="failed")
    assert left.attempts == 3


def test_a_place_that_recovers_gets_what_it_missed(news: News, web: Web) -> None:
    """The next station tells it."""
    web.status = 500
    news.rejected()
    assert tell(news.log, targets_of([web.url]), since=0)[0].state == "failed"
    web.status = 200
    assert tell(news.log, targets_of([web.url]), since=0)[0].state == "sent"


def test_a_message_whose_sender_died_is_sent_by_another(news: News, web: Web) -> None:
    """Once ten minutes are over; until then somebody may still be at it."""
    news.rejected()
    tell(news.log, targets_of([web.url]), since=0)
    change = "UPDATE notification SET state = 'sending', at = :at WHERE event = 'delivery-rejected'"
    with news.log.database.write() as session:
        fresh = session.scalar(select(Notification.at).where(Notification.event == "delivery-rejected"))
        session.execute(text(change), {"at": fresh})
    assert tell(news.log, targets_of([web.url]), since=0) == []
    with news.log.database.write() as session:
        session.execute(text(change), {"at": "2026-01-01T00:00:00Z"})
    assert [each.state for each in tell(news.log, targets_of([web.url]), since=0)] == ["sent"]


def test_a_forged_entry_is_not_told(news: News, web: Web) -> None:
    """Whoever writes into the database sends no mail in our name."""
    news.rejected()
    with news.log.database.write() as session:
        session.execute(text("DROP TRIGGER ledger_entry_no_update"))
        session.execute(
            text("UPDATE ledger_entry SET envelope = replace(envelope, 'payload\":\"', 'payload\":\"AAAA')")
        )
    assert tell(news.log, targets_of([web.url]), since=0) == []
    assert web.bodies == []


@pytest.fixture
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    root = logging.getLogger()
    levels = {
        name: logging.getLogger(name).level for name in ("apprise", "urllib3", "urllib3.connectionpool")
    }
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    assert root is logging.getLogger()


@pytest.mark.usefixtures("_everything_is_logged")
def test_no_secret_of_an_address_is_logged_stored_or_shown(
    news: News, web: Web, mail: Mail, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whether it works or not, on the most talkative level; nor in settings that are printed."""
    news.rejected(), news.opened()
    broken = f"nosuchservice://{SECRET}"
    targets = targets_of([web.url, mail.url, NOWHERE, broken])
    told = tell(news.log, targets, since=0)
    assert {each.state for each in told} == {"sent", "failed"}
    monkeypatch.setenv("ASSAY_NOTIFY", f"{web.url} {broken}")
    shown = (
        CliRunner().invoke(app, ["notify", "list"]).output
        + CliRunner().invoke(app, ["notify", "test"]).output
    )
    with news.log.database.session() as session:
        stored = "\n".join(str(tuple(row)) for row in session.execute(text("SELECT * FROM notification")))
    out, err = capfd.readouterr()
    everything = [shown, stored, out, err, caplog.text, repr(targets), repr(Settings.from_env())]
    assert not [where for where in everything if SECRET in where]
    assert "json-" in shown


def test_what_came_from_data_stays_text_on_one_line(news: News, mail: Mail) -> None:
    """A source's name cannot add a header to a mail, nor markup to its text."""
    news.rejected("west\r\nBcc: eve@example.org\x1b[2J<script>alert(1)</script>")
    assert tell(news.log, targets_of([mail.url]), since=0)[0].state == "sent"
    (message,) = mail.messages
    assert message["Bcc"] is None
    assert "\n" not in message["Subject"]
    html = message.get_body(("html",))
    assert html is None or "<script>" not in html.get_content()


def test_an_airflow_connection_names_places(web: Web) -> None:
    """As Airflow's Apprise provider has them; one that is not there is a mistake in the configuration."""
    extra = {"config": [{"path": web.url, "tag": "alerts"}]}
    (target,) = targets_of(["airflow://alerts"], lambda name: Connection(kind="apprise", extra=extra))
    assert target.url == web.url
    with pytest.raises(NotifyError, match="names no place") as caught:
        targets_of(["airflow://alerts"], lambda name: Connection(kind="apprise", extra={"config": SECRET}))
    assert SECRET not in str(caught.value)
    with pytest.raises(NotifyError):
        targets_of(["airflow://other"], lambda name: None)


def test_the_command_lists_sends_and_tests(news: News, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """With exit codes that a script can read."""
    run = CliRunner().invoke
    assert run(app, ["notify", "send"]).exit_code == 2
    monkeypatch.setenv("ASSAY_NOTIFY", web.url)
    assert run(app, ["notify", "test"]).exit_code == 0
    assert run(app, ["notify", "send"]).exit_code == 0  # from here on
    news.rejected()
    sent = run(app, ["notify", "send", "--json"])
    assert [each["state"] for each in json.loads(sent.output)] == ["sent"]
    monkeypatch.setenv("ASSAY_NOTIFY", NOWHERE)
    news.rejected("east")
    assert run(app, ["notify", "send"]).exit_code == 1
    assert run(app, ["notify", "list", "--failed"]).exit_code == 1
    assert run(app, ["notify", "test"]).exit_code == 1


def test_a_station_s_news_goes_out_and_a_place_that_fails_does_not_fail_it(
    news: News, web: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After each station in Airflow; even a configuration that cannot be read only leaves a line in the log."""
    from assay.line import Line
    from assay_notify import tell_people
    from tests.contract.examples import DESIGN

    contract = tmp_path / "adult.yaml"
    contract.write_text(DESIGN)
    for places in (web.url, "airflow://nowhere", NOWHERE):
        monkeypatch.setenv("ASSAY_NOTIFY", places)
        news.rejected()
        with Line.open(contract) as line:
            tell_people(line, line.ledger.size() - 1)
    assert len(web.bodies) == 1
    assert web.bodies[0]["message"].splitlines()[-1].endswith("/assay/p/delivery/delivery-1")


def test_a_target_names_its_service_and_no_address() -> None:
    """The same for the same URL."""
    one, two = targets_of([f"mailto://a:{SECRET}@example.org", f"{SECRET}://x"])
    assert isinstance(one, Target)
    assert one.name.startswith("mailto-")
    assert two.name.startswith("unknown-")
    assert targets_of([one.url])[0].name == one.name
