"""The rows of a case, page by page, as they are filtered and sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.canonical import sha256_hex
from assay.console.casefile import CaseFile, open_file
from assay.console.desk import Desk
from assay.console.errors import BadQuery
from assay.console.paging import Page, checked_limit, one_of, pack, unpack
from assay.console.rowindex import Numbers, RowIndex

_MAX_Q = 200
_BY_STATUS = {"released": "release", "rejected": "reject"}


@dataclass(frozen=True)
class Chosen:
    """Rows of a case in an order.

    Attributes:
        file: The case.
        rows: Its rows.
        places: Which of them, in order.
        name: What tells this choice from others of the same case, for cursors.
    """

    file: CaseFile
    rows: RowIndex
    places: Numbers
    name: str


def choose(
    desk: Desk,
    case_id: str,
    *,
    group: str | None = None,
    reason: str | None = None,
    q: str | None = None,
    sort: str | None = None,
    order: str | None = None,
) -> Chosen:
    """Rows of a case.

    Args:
        desk: What is looked at.
        case_id: Which case.
        group: Only of this group.
        reason: Only those of which this signal speaks.
        q: Only those with this text in a value, or with this row number.
        sort: `score` (the default), `row`, or a column.
        order: `asc` or `desc`; by default the most suspicious rows first, everything else ascending.

    Raises:
        NotFound: There is no such case or group, or the case is about a delivery.
        BadQuery: A filter or the order cannot be understood.
    """
    if q is not None and len(q) > _MAX_Q:
        raise BadQuery("the search text is too long", expected=f"at most {_MAX_Q} characters", found=len(q))
    by = sort or "score"
    falling = one_of("order", order, ("asc", "desc"), "desc" if by == "score" else "asc") == "desc"
    file = open_file(desk, case_id)
    rows = file.rows
    places = rows.order(by, falling=falling)
    if group:
        places = places[file.members(group)[places]]
    if reason:
        mask = rows.signals.get(reason)
        if mask is None:
            raise BadQuery(
                f"no row has a reason called {reason[:80]!a}", expected=", ".join(rows.signals) or "no filter"
            )
        places = places[mask[places]]
    if q:
        places = places[rows.matching(q)[places]]
    choice = f"{rows_name(file)}/{by}/{falling}/{group}/{reason}/{q}"
    return Chosen(file, rows, places, sha256_hex(choice.encode("utf-8", "surrogatepass"))[:16])


def case_rows(
    desk: Desk,
    case_id: str,
    *,
    limit: int | None = None,
    cursor: str | None = None,
    **filters: Any,
) -> Page:
    """A page of a case's rows. They never change, so that a cursor is a place in them.

    Args:
        desk: What is looked at.
        case_id: Which case.
        limit: Size of the page.
        cursor: Where the last page ended.
        **filters: As for `choose`.

    Raises:
        NotFound: There is no such case or group, or the case is about a delivery.
        BadQuery: A filter, the order, the limit or the cursor cannot be understood.
    """
    size = checked_limit(limit)
    chosen = choose(desk, case_id, **filters)
    key = unpack(chosen.name, cursor, ((int,),))
    start = 0 if key is None else int(key[0])
    here = chosen.places[start : start + size] if start >= 0 else np.zeros(0, np.int64)
    following = start + size
    return {
        "items": _lines(desk, chosen, here),
        "next": pack(chosen.name, (following,)) if following < len(chosen.places) else None,
        "total": len(chosen.places),
    }


def rows_name(file: CaseFile) -> str:
    """What names the rows of a case."""
    return f"{file.case.id}/{file.case.rows_object}"


def decision_of(file: CaseFile, on_rows: Mapping[int, str], row: int) -> str | None:
    """What was decided on a row."""
    return on_rows.get(row) or _BY_STATUS.get(file.case.status)


def _lines(desk: Desk, chosen: Chosen, places: Numbers) -> list[dict[str, Any]]:
    file = chosen.file
    columns = chosen.rows.columns
    decided = file.decided(desk)
    groups = file.group_ids(chosen.rows.numbers[places])
    return [
        {
            **each,
            "reasons": file.reasons(each["reasons"], columns),
            "group_ids": groups[i],
            "decided": decision_of(file, decided, each["row"]),
        }
        for i, each in enumerate(chosen.rows.read(places))
    ]
