"""What `assay doctor` says of notifications: a place that gave up is seen, and one that answers again is let off."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from assay.doctor import examine
from assay.findings import Finding, Outcome
from assay.notify import standings, targets_of, tell
from assay.settings import Settings
from tests.notify.conftest import SECRET, News, Web

TRIES = 3


def said() -> list[Finding]:
    """What doctor says of notifications."""
    return [each for each in examine(Settings.from_env()) if each.check == "doctor.notifications"]


@pytest.fixture
def place(web: Web, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the one place that is configured: the web server."""
    monkeypatch.setenv("ASSAY_NOTIFY", web.url)
    return targets_of([web.url])[0].name


def give_up(news: News, web: Web) -> None:
    """News that the place does not take, as often as it is tried."""
    web.status = 500
    news.rejected()
    for _ in range(TRIES):
        tell(news.log, targets_of([web.url]), since=0)


def test_a_place_that_gave_up_fails_with_what_to_do(news: News, web: Web, place: str) -> None:
    """The first failure is no loss, for it is tried again; the last one is, and no secret is shown."""
    web.status = 500
    news.rejected()
    for outcome in (Outcome.NOT_CHECKED,) * (TRIES - 1) + (Outcome.FAILED,):
        tell(news.log, targets_of([web.url]), since=0)
        (found,) = said()
        assert found.outcome is outcome
        assert found.message.startswith(place)
        assert "did not take it" in found.message
        assert SECRET not in found.model_dump_json()
    assert "1 given up" in found.message
    assert "assay notify test" in found.evidence["next"]


def test_a_place_that_took_something_passes(news: News, web: Web, place: str) -> None:
    """Once it took something after what it lost, it passes, and the loss is still told."""
    (found,) = said()
    assert found.outcome is Outcome.NOT_CHECKED
    assert "nothing has arrived" in found.message
    give_up(news, web)
    web.status = 200
    news.rejected("east")
    tell(news.log, targets_of([web.url]), since=0)
    (found,) = said()
    assert found.outcome is Outcome.PASSED
    assert found.message.startswith(f"{place}: the newest arrived at 2")
    assert found.message.endswith("; 1 before it were given up")


def test_what_a_sender_that_died_on_the_last_try_left_is_lost(news: News, web: Web, place: str) -> None:
    """Nobody tries it again, though it is not marked as failed; until ten minutes are over somebody may be at it."""
    give_up(news, web)
    change = text("UPDATE notification SET state = 'sending', at = :at WHERE event = 'delivery-rejected'")
    for at, lost in (("2999-01-01T00:00:00Z", 0), ("2026-01-01T00:00:00Z", 1)):
        with news.log.database.write() as session:
            session.execute(change, {"at": at})
        (standing,) = standings(news.log.database)
        assert (standing.target, standing.lost) == (place, lost)


def test_without_a_place_nothing_is_checked_but_what_was_lost_is_seen(
    news: News, web: Web, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow may have its places where this shell does not see them."""
    give_up(news, web)
    for places in ("", "airflow://kept_by_airflow"):
        monkeypatch.setenv("ASSAY_NOTIFY", places)
        lost, unnamed = said()
        assert (lost.outcome, unnamed.outcome) == (Outcome.FAILED, Outcome.NOT_CHECKED)
        assert lost.message.startswith(place)


def test_a_place_that_is_named_no_longer_is_history(
    news: News, web: Web, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new address for the same people is looked at for itself."""
    give_up(news, web)
    web.status = 200
    monkeypatch.setenv("ASSAY_NOTIFY", f"{web.url}/new")
    news.rejected("east")
    tell(news.log, targets_of(Settings.from_env().notify_places), since=0)
    (found,) = said()
    assert found.outcome is Outcome.PASSED
    assert not found.message.startswith(place)
