"""Appending: once per statement, one entry after the other, by any number of writers, whenever one is killed."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from assay.db import Database, open_database
from assay.findings import Outcome, worst
from assay.ledger import (
    AnchorNotWritten,
    Ledger,
    LedgerError,
    LedgerKeyError,
    NoLedgerKey,
    open_checkpoint,
    open_ledger,
    signing_key,
)
from tests.ledger.support import (
    KEY,
    OTHER_KEY,
    as_owner,
    filled,
    in_processes,
    open_log,
    settings,
    sha,
    statement,
)


def outcome(log: Ledger) -> Outcome:
    """The worst of what `verify` finds."""
    return worst(finding.outcome for finding in log.verify())


def test_entries_are_kept_in_order(database_url: str, assay_home: Path) -> None:
    """Positions count from 0, and an entry gives its statement back."""
    log = filled(database_url, assay_home, 5)
    entries = log.entries()
    assert [entry.position for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry.statement for entry in entries] == [statement(number) for number in range(5)]
    assert log.size() == 5
    assert log.entry(3) == entries[3] == log.entry(statement(3).id)
    assert log.entry(9) is None
    assert log.read(entries[2]) == statement(2)
    assert outcome(log) is Outcome.PASSED


def test_a_statement_is_kept_once(database_url: str, assay_home: Path) -> None:
    """The same step again returns the entry that is there."""
    log = filled(database_url, assay_home, 3)
    again = log.append(statement(1))
    assert (again.position, again.new) == (1, False)
    assert log.append(statement(3)).new
    assert log.size() == 4


def test_entries_are_found_by_what_they_name(database_url: str, assay_home: Path) -> None:
    """By id, digest with or without its prefix, and key id; as subject or as input."""
    log = filled(database_url, assay_home, 3)
    subject = statement(1).subjects[0]
    for name in (subject.name, subject.sha256, f"sha256:{subject.sha256}", "part-1.csv", sha("file 1")):
        assert [entry.position for entry in log.entries(name)] == [1]
    assert [entry.position for entry in log.entries("minisign:RWQ0123456789ABCD")] == [0, 1, 2]
    assert [entry.position for entry in log.entries(sha("file 1"), role="input")] == [1]
    assert log.entries(sha("file 1"), role="subject") == []


def test_each_append_signs_a_checkpoint_and_moves_the_anchor(database_url: str, assay_home: Path) -> None:
    """The anchor's file is the newest checkpoint, for its owner alone."""
    log = open_log(database_url, assay_home)
    assert log.checkpoint() is None
    for number in range(3):
        log.append(statement(number))
        note = log.checkpoint()
        assert note is not None
        assert open_checkpoint(note, KEY.public_key()).size == number + 1
        assert (assay_home / "ledger-head.txt").read_text(encoding="utf-8") == note
    assert stat.S_IMODE((assay_home / "ledger-head.txt").stat().st_mode) == 0o600


def test_an_append_is_part_of_the_callers_transaction(database_url: str, assay_home: Path) -> None:
    """Committed with it, and the anchor moves then; rolled back with it, and the anchor stays."""
    log = filled(database_url, assay_home, 1)
    anchor = assay_home / "ledger-head.txt"
    before = anchor.read_text(encoding="utf-8")
    with suppress(ZeroDivisionError), log.database.write() as session:
        log.append(statement(1), session=session)
        _ = 1 / 0  # the caller fails after it
    assert (log.size(), anchor.read_text(encoding="utf-8")) == (1, before)
    with log.database.write() as session:
        first = log.append(statement(1), session=session)
        second = log.append(statement(2), session=session)
        assert anchor.read_text(encoding="utf-8") == before
    assert (first.position, second.position, log.size()) == (1, 2, 3)
    assert open_checkpoint(anchor.read_text(encoding="utf-8"), KEY.public_key()).size == 3
    assert outcome(log) is Outcome.PASSED


def test_opening_a_ledger_makes_no_key(assay_home: Path) -> None:
    """The first append does."""
    chosen = settings()
    log = open_ledger(chosen, open_database(chosen))
    assert not log.has_key
    with pytest.raises(NoLedgerKey):
        _ = log.public_key
    assert not chosen.keys_dir.exists()
    log.append(statement(0))
    assert log.public_key == signing_key(chosen).public_key()
    assert outcome(open_ledger(chosen, open_database(chosen))) is Outcome.PASSED


def test_the_anchor_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASSAY_LEDGER_HEAD_FILE, for machines that share a database."""
    monkeypatch.setenv("ASSAY_LEDGER_HEAD_FILE", str(tmp_path / "shared" / "head.txt"))
    chosen = settings()
    open_ledger(chosen, open_database(chosen)).append(statement(0))
    assert (tmp_path / "shared" / "head.txt").exists()
    assert not (chosen.home / "ledger-head.txt").exists()


def test_a_ledger_opened_with_a_public_key_only_reads(database_url: str, assay_home: Path) -> None:
    """It verifies, and refuses to append."""
    filled(database_url, assay_home, 2)
    reader = Ledger(Database(database_url), KEY.public_key(), anchor=assay_home / "ledger-head.txt")
    assert outcome(reader) is Outcome.PASSED
    with pytest.raises(LedgerError, match="opened for reading"):
        reader.append(statement(2))


def test_another_private_key_does_not_append(database_url: str, assay_home: Path) -> None:
    """Neither instead of the pinned one, nor beside entries that it did not sign."""
    log = filled(database_url, assay_home, 2)
    pinned = Ledger(log.database, KEY.public_key(), make_key=lambda: OTHER_KEY)
    with pytest.raises(LedgerKeyError, match="not the one that this ledger was signed with"):
        pinned.append(statement(2))
    with pytest.raises(LedgerError, match="is not ours"):
        Ledger(log.database, OTHER_KEY).append(statement(2))
    assert log.size() == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE ledger_checkpoint SET edge = '[\"' || root_hash || '\"]' WHERE size = 3",
            "right edge of another size",
        ),
        ("UPDATE ledger_checkpoint SET edge = '[1, 2]' WHERE size = 3", "malformed right edge"),
        ("UPDATE ledger_checkpoint SET edge = '7' WHERE size = 3", "malformed right edge"),
        ("UPDATE ledger_checkpoint SET note = 'x' WHERE size = 3", "is not ours"),
        (
            "UPDATE ledger_checkpoint SET root_hash = leaf_hash FROM ledger_entry WHERE size = 3 AND position = 0",
            "says something else",
        ),
        ("DELETE FROM ledger_checkpoint WHERE size = 3", "does not cover the newest entry"),
        ("DELETE FROM ledger_checkpoint", "does not cover the newest entry"),
        ("UPDATE ledger_entry SET position = 7 WHERE position = 2", "does not cover the newest entry"),
    ],
)
def test_nothing_is_added_to_a_log_that_was_tampered_with(
    database_url: str, assay_home: Path, change: str, told: str
) -> None:
    """An append would sign the forgery; it refuses, and says where to look."""
    log = filled(database_url, assay_home, 3)
    with as_owner(log.database) as connection:
        connection.execute(text("DELETE FROM ledger_subject"))
        cast = change.replace(
            "edge = '[\"' || root_hash || '\"]'", "edge = CAST('[\"' || root_hash || '\"]' AS JSON)"
        )
        connection.execute(text(change if log.database.is_sqlite else cast))
    with pytest.raises(LedgerError, match=told) as caught:
        log.append(statement(3))
    assert "assay ledger verify" in str(caught.value)
    assert log.entry(statement(3).id) is None


def test_a_changed_right_edge_is_noticed(database_url: str, assay_home: Path) -> None:
    """The right number of hashes, but not those that lead to the signed root."""
    log = filled(database_url, assay_home, 3)
    forged = f'["{sha("a")}", "{sha("b")}"]'
    with as_owner(log.database) as connection:
        connection.execute(text(f"UPDATE ledger_checkpoint SET edge = '{forged}' WHERE size = 3"))
    with pytest.raises(LedgerError, match="does not lead to its root"):
        log.append(statement(3))


def test_an_entry_that_claims_a_statements_id_is_noticed(database_url: str, assay_home: Path) -> None:
    """Appending the statement again does not take the forgery for it."""
    log = filled(database_url, assay_home, 3)
    for envelope in ("SELECT envelope FROM ledger_entry WHERE position = 0", "SELECT 'x'"):
        with as_owner(log.database) as connection:
            connection.execute(text(f"UPDATE ledger_entry SET envelope = ({envelope}) WHERE position = 1"))
        with pytest.raises(LedgerError, match="holds something else"):
            log.append(statement(1))


def test_nothing_is_added_to_a_log_shorter_than_its_anchor(database_url: str, assay_home: Path) -> None:
    """A database that was rolled back, or begun anew, does not go on as if nothing had been."""
    log = filled(database_url, assay_home, 4)
    with as_owner(log.database) as connection:
        for change in (
            "ledger_subject WHERE position >= 2",
            "ledger_entry WHERE position >= 2",
            "ledger_checkpoint WHERE size > 2",
        ):
            connection.execute(text(f"DELETE FROM {change}"))
    with pytest.raises(LedgerError, match="not the one that the anchor names"):
        log.append(statement(9))


def test_an_anchor_that_cannot_be_written_is_mended_by_the_same_append(
    assay_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk after the commit: the entry is in, the error says so, and running the step again moves the anchor."""
    log = filled(f"sqlite:///{tmp_path / 'test.db'}", assay_home, 1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(AnchorNotWritten, match="cannot be written") as caught:
            log.append(statement(1))
        with pytest.raises(AnchorNotWritten), log.database.write() as session:
            log.append(statement(2), session=session)
    assert "the entry is in the ledger" in str(caught.value)
    assert log.size() == 3
    assert not log.append(statement(2)).new
    assert outcome(log) is Outcome.PASSED


def test_an_older_checkpoint_never_replaces_a_newer_anchor(tmp_path: Path, assay_home: Path) -> None:
    """A slow process that comes late changes nothing."""
    log = filled(f"sqlite:///{tmp_path / 'test.db'}", assay_home, 1)
    early = log.checkpoint()
    log.append(statement(1))
    assert early is not None
    assert log.anchor is not None
    log.anchor.advance(early, 1, log.public_key)
    found = log.anchor.read(log.public_key)
    assert found is not None
    assert found.size == 2


def test_processes_that_append_at_once_never_fork_the_log(database_url: str, assay_home: Path) -> None:
    """Four processes, some statements in common: one line of entries, each statement once, and it verifies."""
    open_log(database_url, assay_home).database.dispose()

    def work(number: int) -> int:
        log = Ledger(Database(database_url), KEY, anchor=assay_home / "ledger-head.txt")
        return sum(
            log.append(statement(n)).new for n in [*range(100 * number, 100 * number + 6), 900, 901, 902]
        )

    added = in_processes(4, work)
    log = Ledger(Database(database_url), KEY, anchor=assay_home / "ledger-head.txt")
    assert sum(int(str(count)) for count in added) == 27 == log.size()
    assert len({entry.statement_id for entry in log.entries()}) == 27
    assert outcome(log) is Outcome.PASSED


def test_threads_that_append_at_once_never_fork_the_log(database_url: str, assay_home: Path) -> None:
    """One ledger shared by several threads."""
    log = open_log(database_url, assay_home)
    threads = [
        threading.Thread(
            target=lambda first=first: [log.append(statement(n)) for n in range(first, first + 4)]
        )
        for first in (0, 2, 4, 6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert log.size() == 10
    assert outcome(log) is Outcome.PASSED


def test_reading_while_others_append_sees_a_whole_log(database_url: str, assay_home: Path) -> None:
    """A check beside running appends raises no false alarm."""
    log = filled(database_url, assay_home, 1)
    done = threading.Event()

    def keep_appending() -> None:
        number = 1
        while not done.is_set() and number < 400:
            log.append(statement(number))
            number += 1

    writer = threading.Thread(target=keep_appending)
    writer.start()
    try:
        for _ in range(5):
            reader = Ledger(Database(database_url), KEY.public_key(), anchor=assay_home / "ledger-head.txt")
            assert outcome(reader) is Outcome.PASSED
    finally:
        done.set()
        writer.join(60)


def test_a_process_that_is_killed_loses_no_acknowledged_entry(
    database_url: str, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL in the middle of appends, several times: what was acknowledged is there, and the log verifies."""
    monkeypatch.setattr("assay.ledger.outside.compare._ANCHOR_PATIENCE", 0.05)
    open_log(database_url, assay_home).database.dispose()
    acknowledged: list[int] = []
    for round_ in range(3):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                log = Ledger(Database(database_url), KEY, anchor=assay_home / "ledger-head.txt")
                for number in range(1000 * round_, 1000 * round_ + 1000):
                    log.append(statement(number))
                    os.write(writer, f"{number}\n".encode())
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            seen = [int(answers.readline()) for _ in range(3)]
            time.sleep(0.011 * (round_ + 1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            seen += [int(line) for line in answers.read().splitlines()]
        acknowledged += seen
        log = Ledger(Database(database_url), KEY, anchor=assay_home / "ledger-head.txt")
        kept = {entry.statement_id for entry in log.entries()}
        assert {statement(number).id for number in acknowledged} <= kept
        assert len(kept) == log.size() <= len(acknowledged) + round_ + 1
        assert not any(finding.outcome is Outcome.FAILED for finding in log.verify())
        log.append(statement(acknowledged[-1] + 1))  # the step that was interrupted runs again
        acknowledged.append(acknowledged[-1] + 1)
        assert outcome(log) is Outcome.PASSED
