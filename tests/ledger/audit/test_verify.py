"""Checking the whole log: what passes, what cannot be told, and how much is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from assay.db import Database
from assay.findings import Outcome, Scope, worst
from assay.ledger import Ledger
from tests.ledger.support import KEY, as_owner, failures, filled, open_log, statement


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database's URL; what differs between SQLite and PostgreSQL is tested with the log and with the attacks."""
    return f"sqlite:///{tmp_path / 'test.db'}"


def test_a_whole_log_passes_every_check(url: str, assay_home: Path) -> None:
    """One finding per check, all passed, about the ledger."""
    findings = filled(url, assay_home, 20).verify()
    assert [finding.check for finding in findings] == [
        "ledger.position",
        "ledger.leaf_hash",
        "ledger.signature",
        "ledger.envelope",
        "ledger.duplicate",
        "ledger.index",
        "ledger.checkpoint_signature",
        "ledger.checkpoint_root",
        "ledger.truncation",
        "ledger.anchor",
    ]
    assert {(finding.outcome, finding.scope) for finding in findings} == {(Outcome.PASSED, Scope.LEDGER)}


def test_an_empty_log_is_not_checked(url: str, assay_home: Path) -> None:
    """Nothing was looked at, so nothing passed."""
    (finding,) = open_log(url, assay_home).verify()
    assert finding.outcome is Outcome.NOT_CHECKED
    assert "empty" in finding.message


def test_an_empty_database_whose_anchor_knows_entries_fails(
    url: str, assay_home: Path, tmp_path: Path
) -> None:
    """A database that was begun anew is a truncation to nothing."""
    filled(url, assay_home, 3)
    fresh = open_log(f"sqlite:///{tmp_path / 'fresh.db'}", assay_home)
    assert failures(fresh.verify()) == {"ledger.anchor": ["the anchor"]}


def test_a_log_without_a_key_is_not_checked(url: str, assay_home: Path) -> None:
    """Who signed cannot be told."""
    filled(url, assay_home, 3)
    (finding,) = Ledger(Database(url), None).verify()
    assert finding.outcome is Outcome.NOT_CHECKED
    assert "no public key" in finding.message


def test_a_log_without_an_anchor_is_not_checked_to_the_end(url: str, assay_home: Path) -> None:
    """Whether its newest entries were cut off cannot be told: that check is not passed."""
    log = filled(url, assay_home, 3)
    (assay_home / "ledger-head.txt").unlink()
    for reader in (log, Ledger(log.database, KEY.public_key())):
        findings = reader.verify()
        assert worst(finding.outcome for finding in findings) is Outcome.NOT_CHECKED
        assert findings[-1].check == "ledger.anchor"


def test_a_published_checkpoint_stands_in_for_the_anchor(url: str, assay_home: Path) -> None:
    """The log must contain it; then nothing is missing that it covers."""
    log = filled(url, assay_home, 3)
    note = log.checkpoint()
    assert note is not None
    log.append(statement(3))
    (assay_home / "ledger-head.txt").unlink()
    findings = log.verify([note])
    assert worst(finding.outcome for finding in findings) is Outcome.PASSED
    assert findings[-1].check == "ledger.published"
    assert findings[-1].evidence["anchored"] == 3


def test_something_else_than_a_checkpoint_fails(url: str, assay_home: Path) -> None:
    """A file that is no checkpoint of this log is a failed check, not a skipped one."""
    log = filled(url, assay_home, 3)
    assert failures(log.verify(["not a checkpoint"])) == {"ledger.published": ["published checkpoint 1"]}


def test_an_anchor_that_is_behind_is_told(
    url: str, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process died before it wrote the anchor: the newest entries are not vouched for until the next append."""
    monkeypatch.setattr("assay.ledger.outside.compare._ANCHOR_PATIENCE", 0.1)
    log = filled(url, assay_home, 3)
    Ledger(log.database, KEY).append(statement(3))
    finding = log.verify()[-1]
    assert (finding.check, finding.outcome) == ("ledger.anchor", Outcome.NOT_CHECKED)
    assert finding.evidence == {"anchored": 3, "entries": 4, "behind": 1}
    log.append(statement(3))
    assert worst(finding.outcome for finding in log.verify()) is Outcome.PASSED


def test_many_failures_are_named_up_to_a_limit_and_counted(
    url: str, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report on a ruined log stays readable, and says how much it leaves out."""
    monkeypatch.setattr("assay.ledger.audit.report.MAX_NAMED", 4)
    log = filled(url, assay_home, 12)
    with as_owner(log.database) as connection:
        connection.execute(text("UPDATE ledger_entry SET leaf_hash = 'x'"))
    findings = [finding for finding in log.verify() if finding.check == "ledger.leaf_hash"]
    assert [finding.subject for finding in findings] == ["entry 0", "entry 1", "entry 2", "entry 3", "ledger"]
    assert findings[-1].evidence == {"more": 8}


def test_a_log_of_several_batches_is_checked_in_order(
    url: str, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost where one batch ends and the next begins."""
    monkeypatch.setattr("assay.ledger.log.entries._BATCH", 4)
    log = filled(url, assay_home, 11)
    assert worst(finding.outcome for finding in log.verify()) is Outcome.PASSED
    with as_owner(log.database) as connection:
        connection.execute(text("DELETE FROM ledger_subject WHERE position = 8"))
        connection.execute(text("DELETE FROM ledger_entry WHERE position = 8"))
    found = failures(log.verify())
    assert found["ledger.position"] == ["entry 8"]
    assert found["ledger.checkpoint_root"] == ["checkpoint 10"]
