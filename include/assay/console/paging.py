"""Pages of long lists: opaque cursors that say where the last page ended, so that page 2,000 costs what page 1 does.

A cursor holds the sort key and the id of the last item (keyset pagination): what is inserted meanwhile neither repeats
an item nor hides one that was there.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from itertools import islice
from typing import Any, TypedDict, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from assay.console.errors import BadQuery
from assay.db import Delivery, ModelRow, Run, Snapshot

DEFAULT_LIMIT = 50
MAX_LIMIT = 500
_MAX_CURSOR = 2_000

Item = TypeVar("Item")
Listed = TypeVar("Listed", Delivery, Run, ModelRow)
Key = tuple[Any, ...]


class Page(TypedDict):
    """One page: its items, the cursor of the next one (None at the end), and how many items there are in all."""

    items: list[dict[str, Any]]
    next: str | None
    total: int


def checked_limit(limit: int | None) -> int:
    """The page's size.

    Raises:
        BadQuery: It is none.
    """
    wanted = DEFAULT_LIMIT if limit is None else limit
    if not 1 <= wanted <= MAX_LIMIT:
        raise BadQuery("that is no size of a page", expected=f"1 to {MAX_LIMIT}", found=ascii(limit)[:40])
    return wanted


def one_of(what: str, value: str | None, allowed: Iterable[str], default: str) -> str:
    """A choice from a fixed list.

    Raises:
        BadQuery: It is not in it.
    """
    known = tuple(allowed)
    if value is None or value == "":
        return default
    if value not in known:
        raise BadQuery(f"no {what} is called {value[:80]!a}", expected=", ".join(known))
    return value


def pack(order: str, key: Key) -> str:
    """A cursor: what the list was sorted by, and the key of the last item."""
    text = json.dumps([order, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def unpack(order: str, cursor: str | None, kinds: Sequence[tuple[type, ...]]) -> Key | None:
    """The key in a cursor; None for the first page.

    Args:
        order: What the list is sorted by now; a cursor of another order is refused.
        cursor: From `pack`.
        kinds: The types that each part of the key may have.

    Raises:
        BadQuery: It is no cursor of this list.
    """
    if not cursor:
        return None
    try:
        if len(cursor) > _MAX_CURSOR:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found, *key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        right = found == order and len(key) == len(kinds)
        if not right or any(isinstance(part, bool) for part in key):
            raise ValueError("of another list")
        if not all(isinstance(part, kind) for part, kind in zip(key, kinds, strict=True)):
            raise ValueError("of another list")
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise BadQuery(
            "the cursor is not one of this list in this order",
            next_step="start from the first page again",
        ) from error
    return tuple(key)


def after(
    column: InstrumentedAttribute[Any], tie: InstrumentedAttribute[str], key: Key, *, falling: bool
) -> Any:
    """The condition for what comes after a key in the order of (column, tie)."""
    value, name = key
    if falling:
        return or_(column < value, and_(column == value, tie < name))
    return or_(column > value, and_(column == value, tie > name))


def ordered(
    query: Select[Any],
    column: InstrumentedAttribute[Any],
    tie: InstrumentedAttribute[str],
    key: Key | None,
    *,
    falling: bool,
    limit: int,
) -> Select[Any]:
    """A query's next items in the order of (column, tie), one more than `limit`."""
    if key is not None:
        query = query.where(after(column, tie, key, falling=falling))
    parts = (column.desc(), tie.desc()) if falling else (column, tie)
    return query.order_by(*parts).limit(limit + 1)


def merged(
    parts: Iterable[Iterable[Item]], by: Callable[[Item], Any], *, falling: bool, limit: int
) -> list[Item]:
    """The first items of several sorted lists taken together, one more than `limit`."""
    return list(islice(merge(*parts, key=by, reverse=falling), limit + 1))


def page(
    items: Sequence[Item],
    limit: int,
    total: int,
    show: Callable[[Sequence[Item]], list[dict[str, Any]]],
    cursor: Callable[[Item], str],
) -> Page:
    """A page of what was found, of which there may be one item more than the limit."""
    shown = items[:limit]
    following = cursor(shown[-1]) if len(items) > limit and shown else None
    return {"items": show(shown), "next": following, "total": total}


def newest_first(
    session: Session,
    table: type[Listed],
    column: InstrumentedAttribute[str],
    *,
    names: Sequence[str],
    order: str,
    limit: int | None,
    cursor: str | None,
    show: Callable[[Sequence[Listed]], list[dict[str, Any]]],
    where: Sequence[ColumnElement[bool]] = (),
) -> Page:
    """A page of a table's rows of some data sets, the newest first; each data set is read along its own index.

    Args:
        session: An open session of the registry.
        table: What is listed.
        column: The time that says how new a row is.
        names: The data sets.
        order: The list's name in its cursors.
        limit: Size of the page.
        cursor: Where the last page ended.
        show: Rows as lines.
        where: What else must hold of a row.

    Raises:
        BadQuery: The limit or the cursor cannot be understood.
    """
    size, key = checked_limit(limit), unpack(order, cursor, ((str,), (str,)))

    def by(row: Listed) -> Key:
        return (getattr(row, column.key), row.id)

    def rows(name: str) -> Sequence[Listed]:
        query = select(table).where(table.dataset == name, *where)
        return session.scalars(ordered(query, column, table.id, key, falling=True, limit=size)).all()

    def count(name: str) -> int:
        query = select(func.count(table.dataset)).where(table.dataset == name, *where)
        return session.scalar(query) or 0

    found = merged([rows(name) for name in names], by, falling=True, limit=size)
    return page(found, size, sum(map(count, names)), show, lambda row: pack(order, by(row)))


def datasets_in(session: Session) -> list[str]:
    """The data sets that the registry knows, found by one look into an index for each."""
    found: set[str] = set()
    for table in (Delivery, Snapshot, Run, ModelRow):
        column: InstrumentedAttribute[str] = table.dataset
        last = ""
        while (
            name := session.scalar(select(column).where(column > last).order_by(column).limit(1))
        ) is not None:
            found.add(name)
            last = name
    return sorted(found)
