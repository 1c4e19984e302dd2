"""Connections: short transactions, one writer at a time, and a schema that is migrated on first use."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from assay.db.errors import DatabaseUrlError, SchemaTooNew, translated
from assay.db.migrations import HEAD, KNOWN, VERSION_TABLE
from assay.settings import Settings

_WAIT_MS = 30_000  # how long a writer waits for another one
_WRITE_LOCK = 0x4173_7361_79  # "Assay": the advisory lock's number on PostgreSQL


class Database:
    """One SQLite file or PostgreSQL database.

    Reading and independent writing go through `session()`; whatever reads first and writes on the strength of what it
    read (the ledger's next position, the next snapshot version) goes through `write()`, which lets one process in at a
    time. Rows that a session returned stay usable after it closed.

    Args:
        url: SQLAlchemy URL; `sqlite:////absolute/path.db` or `postgresql://user:password@host/name`.

    Raises:
        DatabaseUrlError: The URL is not one of these two.
    """

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._engine = self._make_engine()
        self._writer = self._engine.execution_options(assay_write=True)
        self._sessions = sessionmaker(expire_on_commit=False)
        _dispose_after_fork(self._engine)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine, for what sessions do not cover."""
        return self._engine

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Raises:
            DatabaseBusy: A lock was not released in time.
            DatabaseUnreachable: The server or file cannot be used now.
            DatabaseBroken: It is not a database of Assay's.
        """
        with translated(self.url), self._sessions(bind=self._engine) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Like `session()`, holding the database's one write lock from the start to the commit.

        SQLite takes the lock with `BEGIN IMMEDIATE`, PostgreSQL with a transaction-level advisory lock; both wait up
        to 30 seconds for it. What is read inside cannot be changed by another `write()` before the commit.

        Raises:
            DatabaseBusy: The lock was not released in time.
            DatabaseUnreachable: The server or file cannot be used now.
            DatabaseBroken: It is not a database of Assay's.
        """
        with translated(self.url), self._sessions(bind=self._writer) as session, session.begin():
            session.connection()  # takes the lock now, not at the first statement
            yield session

    def migrate(self) -> None:
        """Bring the schema to this version's; several processes may do so at once.

        Raises:
            SchemaTooNew: A newer version of Assay migrated it.
            DatabaseBusy: Another process migrates for too long.
            DatabaseUnreachable: The server or file cannot be used now.
            DatabaseBroken: The file is not a database.
        """
        with translated(self.url), self._one_migrator(), self._writer.begin() as connection:
            revision = self._revision(connection)
            if revision == HEAD:
                return
            self._refuse_newer(revision)
            from assay.db.migrations.run import upgrade

            upgrade(connection)

    def revision(self) -> str | None:
        """The schema's revision, None where there is no schema yet."""
        with translated(self.url), self._engine.begin() as connection:
            return self._revision(connection)

    def dispose(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _make_engine(self) -> Engine:
        if self.is_sqlite:
            # A file needs no pool, and without one no connection is shared over a fork.
            engine = create_engine(self.url, poolclass=NullPool, connect_args={"timeout": _WAIT_MS / 1000})
            event.listen(engine, "connect", _prepare_sqlite)
        else:
            engine = create_engine(
                self.url,
                pool_size=2,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 10, "application_name": "assay"},
            )
        event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def _one_migrator(self) -> Iterator[None]:
        """Keep other processes out while an SQLite file is created; PostgreSQL has its advisory lock for that.

        Switching a new file to WAL does not wait for locks as other statements do, hence a lock file beside it.
        """
        if not self.is_sqlite:
            yield
            return
        path = Path(str(self.url.database))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # SQLite gives the files it adds (-wal, -shm) the permissions of the database's own.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with self._engine.connect() as connection:
                raw = connection.connection.cursor()
                raw.execute("PRAGMA journal_mode=WAL")
                raw.close()
            yield
        finally:
            os.close(handle)

    def _revision(self, connection: Connection) -> str | None:
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant
        return None if found is None else str(found)

    def _refuse_newer(self, revision: str | None) -> None:
        if revision is not None and revision not in KNOWN:
            raise SchemaTooNew(
                f"the database {self.url.render_as_string(hide_password=True)} has a schema that this version of "
                "Assay does not know",
                expected=f"one of {', '.join(KNOWN)}",
                found=revision,
                state="it was left as it is",
                next_step="install the version of Assay that made it, or a newer one",
            )


def open_database(settings: Settings) -> Database:
    """Open the database that the settings name; make the state directory and migrate where needed.

    Raises:
        DatabaseUrlError: The URL is not SQLite's or PostgreSQL's.
        SchemaTooNew: A newer version of Assay migrated it.
        DatabaseBusy: Another process migrates for too long.
        DatabaseUnreachable: The server or file cannot be used now.
        DatabaseBroken: The file is not a database.
        OSError: The state directory cannot be made.
    """
    settings.make_home()
    database = Database(settings.database_url)
    absent = database.is_sqlite and not Path(str(database.url.database)).exists()
    if absent or database.revision() != HEAD:
        database.migrate()
    return database


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUrlError(
            "the database URL cannot be read",
            expected="sqlite:////absolute/path.db or postgresql://user:password@host/name",
            next_step="correct ASSAY_DATABASE_URL",
        ) from error
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise DatabaseUrlError(
            f"databases of the kind {parsed.drivername!r} are not supported",
            expected="sqlite or postgresql",
            next_step="correct ASSAY_DATABASE_URL",
        )
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise DatabaseUrlError(
            "an in-memory database would forget every decision",
            expected="a file, e.g. sqlite:////var/lib/assay/assay.db",
            found=url,
            next_step="correct ASSAY_DATABASE_URL",
        )
    return parsed


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    dbapi_connection.isolation_level = (
        None  # we say BEGIN ourselves; the driver would do so too late and too weakly
    )
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_WAIT_MS}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin(connection: Connection) -> None:
    writing = bool(connection.get_execution_options().get("assay_write"))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
    elif writing:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_WAIT_MS}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")


def _dispose_after_fork(engine: Engine) -> None:
    """A forked child must not talk on its parent's sockets."""
    reference = weakref.ref(engine)

    def forget() -> None:
        if (alive := reference()) is not None:
            alive.dispose(close=False)

    os.register_at_fork(after_in_child=forget)
