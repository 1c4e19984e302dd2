"""What can go wrong with the database, told in words that name the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DatabaseError as SqlDatabaseError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, ProgrammingError

from assay.errors import AssayError, Terminal, Transient, UsageError


class DatabaseUrlError(UsageError):
    """The database URL cannot be used."""


class DatabaseBusy(Transient):
    """Another process holds the write lock for longer than we wait."""


class DatabaseUnreachable(Transient):
    """The server does not answer, or the file cannot be opened or written at present."""


class DatabaseBroken(Terminal):
    """The file is not a database, is damaged, or lacks tables that it should have."""


class SchemaTooNew(Terminal):
    """The database was migrated by a newer version of Assay."""


_BUSY = ("database is locked", "database table is locked", "lock timeout", "deadlock detected")
_BROKEN = ("file is not a database", "malformed", "no such table", "does not exist", "no such column")


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the driver's operational errors into errors for people; constraint violations pass through."""
    try:
        yield
    except (OperationalError, InterfaceError, ProgrammingError) as error:
        raise _for_people(error, url) from error
    except SqlDatabaseError as error:
        if any(sign in str(error.orig).lower() for sign in _BROKEN):
            raise _for_people(error, url) from error
        raise


def _for_people(error: DBAPIError, url: URL) -> AssayError:
    where = url.render_as_string(hide_password=True)
    detail = (str(error.orig).strip().splitlines() or ["no detail"])[0]
    text = str(error.orig).lower()
    if any(sign in text for sign in _BUSY):
        return DatabaseBusy(
            f"the database {where} is locked by another process",
            found=detail,
            state="nothing was written",
            next_step="wait for the other process to end, or stop it, and run the same command again",
        )
    if any(sign in text for sign in _BROKEN) and not _refused_by_server(text):
        return DatabaseBroken(
            f"the database {where} is not one of Assay's, or it is damaged",
            found=detail,
            state="it was left as it is",
            next_step="restore it from a backup, or point ASSAY_DATABASE_URL to another database",
        )
    if isinstance(error, ProgrammingError):
        return DatabaseBroken(
            f"the database {where} refused a statement",
            found=detail,
            state="nothing was written",
            next_step="check the rights of the user in ASSAY_DATABASE_URL",
        )
    if url.get_backend_name() == "sqlite":
        next_step = f"check the permissions of {url.database}, of its folder, and the free disk space"
    else:
        next_step = "check that the server runs and that ASSAY_DATABASE_URL is right"
    return DatabaseUnreachable(
        f"the database {where} cannot be used", found=detail, state="nothing was written", next_step=next_step
    )


def _refused_by_server(text: str) -> bool:
    """A server that lacks the database or role says `does not exist` too: that is a matter of the URL."""
    return 'database "' in text or 'role "' in text
