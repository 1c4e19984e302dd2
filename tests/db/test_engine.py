"""Connections, transactions, the write lock, and errors for people."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError

from assay.db import (
    Base,
    Database,
    DatabaseBroken,
    DatabaseBusy,
    DatabaseUnreachable,
    DatabaseUrlError,
    Delivery,
    LedgerEntry,
    SchemaTooNew,
    engine,
    list_deliveries,
    open_database,
)
from assay.db.migrations import HEAD, VERSION_TABLE
from assay.errors import AssayError, Terminal, Transient
from assay.settings import Settings
from tests.db.rows import a_delivery, an_entry, one_of_each


@pytest.fixture
def database(database_url: str) -> Database:
    made = Database(database_url)
    made.migrate()
    yield made
    made.dispose()


def test_a_session_commits_when_its_block_ends_well(database: Database) -> None:
    """What a session wrote is there for the next one, and its rows stay readable after it closed."""
    with database.session() as session:
        session.add(a_delivery("one"))
    with database.session() as session:
        found = session.get(Delivery, "one")
    assert found is not None
    assert found.dataset == "adult"


def test_a_session_rolls_back_when_its_block_raises(database: Database) -> None:
    """Half of a transaction is never kept."""

    def stop_halfway() -> None:
        with database.session() as session:
            session.add(a_delivery("one"))
            session.flush()
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        stop_halfway()
    with database.session() as session:
        assert session.get(Delivery, "one") is None


def test_writers_enter_one_at_a_time(database: Database) -> None:
    """Four threads that read the highest position and write the next one leave no gap and no double."""

    def append(_: int) -> None:
        for _ in range(5):
            with database.write() as session:
                taken = session.scalars(select(LedgerEntry.position)).all()
                session.add(an_entry(len(taken)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(4)))
    with database.session() as session:
        assert sorted(session.scalars(select(LedgerEntry.position))) == list(range(20))


def test_a_reader_is_not_kept_out_by_a_writer(database: Database) -> None:
    """A page that shows cases must not wait for a station that writes."""
    with database.write() as writing:
        writing.add(a_delivery("one"))
        writing.flush()
        began = time.monotonic()
        with database.session() as reading:
            assert reading.get(Delivery, "one") is None
        assert time.monotonic() - began < 5


def test_a_locked_database_is_a_transient_error_that_names_the_next_step(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that waits too long gets a message, and nothing of it was written."""
    monkeypatch.setattr(engine, "_WAIT_MS", 200)
    second = Database(database.url.render_as_string(hide_password=False))
    with database.write(), pytest.raises(DatabaseBusy) as caught, second.write() as session:
        session.add(a_delivery("two"))
    second.dispose()
    assert isinstance(caught.value, Transient)
    assert "locked by another process" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    with database.session() as session:
        assert session.get(Delivery, "two") is None


def test_the_database_guards_what_is_append_only(database: Database) -> None:
    """An UPDATE or DELETE on a record that is only ever added to is refused by the database itself."""
    guarded = (
        "decision",
        "ledger_checkpoint",
        "ledger_entry",
        "ledger_subject",
        "promotion",
        "snapshot",
        "snapshot_delivery",
    )
    with database.session() as session:
        for row in one_of_each():
            session.add(row)
            session.flush()
    for table in guarded:
        first = next(iter(Base.metadata.tables[table].columns)).name
        for statement in (f"UPDATE {table} SET {first} = {first}", f"DELETE FROM {table}"):
            with (
                pytest.raises(IntegrityError, match=f"{table} is append-only"),
                database.session() as session,
            ):
                session.execute(text(statement))
        with database.session() as session:
            assert session.scalar(text(f"SELECT count(*) FROM {table}")) == 1


def test_a_row_that_refers_to_nothing_is_refused(database: Database) -> None:
    """Foreign keys hold on SQLite too, where they are off by default."""
    with pytest.raises(IntegrityError), database.session() as session:
        session.execute(text("INSERT INTO delivery_file VALUES ('nowhere', 'a.csv', 'f', 1)"))


def test_opening_makes_a_private_state_folder_and_the_schema(assay_home: Path) -> None:
    """The first command on a laptop makes everything it needs, for its owner alone."""
    database = open_database(Settings.from_env())
    assert database.revision() == HEAD
    assert stat.S_IMODE(assay_home.stat().st_mode) == 0o700
    with database.session() as session:
        session.add(a_delivery("one"))
        session.flush()
        for file in assay_home.glob("assay.db*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name
    assert {"assay.db"} <= {file.name for file in assay_home.iterdir()}


def test_opening_again_does_not_import_alembic(assay_home: Path) -> None:
    """An up-to-date database is recognised without paying for the migration tool."""
    open_database(Settings.from_env())
    program = (
        "import sys; from assay.db import open_database; from assay.settings import Settings;"
        "open_database(Settings.from_env()); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": "include"})


def _open_at_once(barrier: Barrier, answers: Queue[str]) -> None:
    try:
        barrier.wait(60)
        database = open_database(Settings.from_env())
        with database.session() as session:
            answers.put(f"{database.revision()} {len(list_deliveries(session))}")
        database.dispose()
    except AssayError as error:
        answers.put(str(error))


def test_several_processes_may_open_a_new_database_at_once(
    database_url: str, assay_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first migration happens once, and every process finds it done."""
    monkeypatch.setenv("ASSAY_DATABASE_URL", database_url)
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.Queue()
    running = [context.Process(target=_open_at_once, args=(barrier, answers)) for _ in range(4)]
    for process in running:
        process.start()
    assert [answers.get(timeout=120) for _ in running] == [f"{HEAD} 0"] * 4
    for process in running:
        process.join()
    database = Database(database_url)
    with database.session() as session:
        assert session.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all() == [HEAD]
    database.dispose()


def test_a_migration_that_is_killed_in_the_middle_leaves_no_half_schema(database_url: str) -> None:
    """All tables appear together or not at all; the next start makes them."""
    child = os.fork()
    if child == 0:  # pragma: no cover - it is killed, and cannot tell
        made: list[str] = []

        def kill(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            made.extend(["table"] * statement.lstrip().startswith("CREATE TABLE"))
            if len(made) == 6:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            event.listen(Engine, "after_cursor_execute", kill)
            Database(database_url).migrate()
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    database = Database(database_url)
    assert database.revision() is None
    database.migrate()
    assert database.revision() == HEAD
    database.dispose()


def test_a_database_of_a_newer_version_is_left_alone(database: Database) -> None:
    """Guessing at an unknown schema could damage it."""
    with database.session() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew, match="does not know") as caught:
        database.migrate()
    assert caught.value.found == "9999"
    assert "newer" in str(caught.value.next_step)


def test_a_file_that_is_no_database_is_named_and_kept(tmp_path: Path) -> None:
    """A wrong path must not cost the file that lies there."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database at all, " * 100)
    with pytest.raises(DatabaseBroken) as caught:
        Database(f"sqlite:///{file}").migrate()
    assert isinstance(caught.value, Terminal)
    assert str(file) in str(caught.value)
    assert file.read_text().startswith("not a database")


def test_missing_tables_are_a_clear_error(tmp_path: Path) -> None:
    """Another program's database is recognised as such."""
    file = tmp_path / "other.db"
    sqlite3.connect(file).execute("CREATE TABLE t (a)").connection.close()
    with (
        pytest.raises(DatabaseBroken, match="not one of Assay's"),
        Database(f"sqlite:///{file}").session() as s,
    ):
        s.get(Delivery, "one")


def test_a_server_that_does_not_answer_is_a_transient_error_without_the_password() -> None:
    """The message says where it looked, and keeps the secret."""
    database = Database("postgresql://assay:hunter2@127.0.0.1:1/assay")
    with pytest.raises(DatabaseUnreachable) as caught, database.session() as session:
        session.execute(text("SELECT 1"))
    assert isinstance(caught.value, Transient)
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "check that the server runs" in str(caught.value)


@pytest.mark.postgres
def test_a_database_that_the_server_lacks_is_told_apart_from_a_damaged_one(postgres_url: str) -> None:
    """`does not exist` is about the URL here."""
    database = Database(postgres_url.rsplit("/", 1)[0] + "/nowhere")
    with pytest.raises(DatabaseUnreachable, match="cannot be used"), database.session() as session:
        session.execute(text("SELECT 1"))


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    """SQLite only says `unable to open database file`."""
    with (
        pytest.raises(DatabaseUnreachable, match="cannot be used") as caught,
        Database(f"sqlite:///{tmp_path}/no/such/folder.db").session() as session,
    ):
        session.execute(text("SELECT 1"))
    assert "free disk space" in str(caught.value.next_step)


def test_a_full_disk_is_a_clear_error_and_nothing_is_half_written(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, as it does when the disk or the quota ends."""
    database = Database(f"sqlite:///{tmp_path / 'full.db'}")
    database.migrate()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, before[1]))
    try:
        with pytest.raises(DatabaseUnreachable) as caught, database.write() as session:
            session.add(a_delivery("large", detail={"text": "x" * (8 << 20)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "free disk space" in str(caught.value)
    with database.write() as session:
        assert session.get(Delivery, "large") is None
        session.add(a_delivery("small"))


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite://", "forget"),
        ("sqlite:///:memory:", "forget"),
        ("mysql://h/d", "mysql"),
        ("nonsense", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_usage_error(url: str, word: str) -> None:
    """The message names what would be right."""
    with pytest.raises(DatabaseUrlError, match=word) as caught:
        Database(url)
    assert caught.value.exit_code == 2
    assert "ASSAY_DATABASE_URL" in str(caught.value)


def test_a_plain_postgres_url_gets_the_driver_that_is_installed() -> None:
    """Both spellings that people copy from their provider work."""
    for url in ("postgres://u@h/d", "postgresql://u@h/d"):
        assert Database(url).url.drivername == "postgresql+psycopg2"


def test_a_forked_child_does_not_talk_on_its_parents_connection(database: Database) -> None:
    """Task runners fork; a shared socket would mix two conversations."""
    with database.session() as session:
        session.add(a_delivery("one"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with database.session() as session:
                status = 0 if session.get(Delivery, "one") is not None else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    with database.session() as session:
        assert session.get(Delivery, "one") is not None
