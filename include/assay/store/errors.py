"""What can go wrong with the object store, told in words that name the next step."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from assay.errors import AssayError, Terminal, Transient, UsageError


class StoreUriError(UsageError):
    """The store's URI cannot be used."""


class ObjectMissing(Terminal):
    """No object has that digest."""


class StoreCorrupt(Terminal):
    """An object's bytes are not those that its name says."""


class StoreKeyError(Terminal):
    """The key that opens sealed objects is missing, damaged, or another one than they were sealed with."""


class StoreFull(Transient):
    """The disk is full or the quota is used up."""


class StoreReadOnly(Terminal):
    """The store may be read but not written, or not even read."""


class StoreUnavailable(Transient):
    """The store does not answer, or the device failed."""


@contextmanager
def translated(where: str, *, but: tuple[type[OSError], ...] = ()) -> Iterator[None]:
    """Turn the system's refusals, `but` some, into errors for people; nothing was stored when one is raised."""
    try:
        yield
    except AssayError:
        raise
    except OSError as error:
        if isinstance(error, but):
            raise
        raise _for_people(error, where) from error


def _for_people(error: OSError, where: str) -> AssayError:
    detail = error.strerror or str(error) or type(error).__name__
    state = "no object was added or changed"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return StoreFull(
            f"the object store {where} is full",
            found=detail,
            state=state,
            next_step="free some space, or point ASSAY_STORE_URI to a larger place, and run the same command again",
        )
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM} or isinstance(error, PermissionError):
        return StoreReadOnly(
            f"the object store {where} cannot be written or read",
            found=f"{detail} ({error.filename})" if error.filename else detail,
            state=state,
            next_step="check its permissions and owner, or point ASSAY_STORE_URI to a place of your own",
        )
    return StoreUnavailable(
        f"the object store {where} failed",
        found=f"{detail} ({error.filename})" if error.filename else detail,
        state=state,
        next_step="check that the place in ASSAY_STORE_URI is there and works, then run the same command again",
    )
