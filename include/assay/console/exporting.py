"""A case's rows as CSV: streamed, whole values, and nothing in it that a spreadsheet would run."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from assay.console.caserows import Chosen, choose
from assay.console.desk import Desk

_PIECE = 2_000
_RUNS = ("=", "+", "-", "@", "\t", "\r")


def export_csv(desk: Desk, case_id: str, **filters: Any) -> Iterator[bytes]:
    """The rows of a case as CSV (RFC 4180, UTF-8), in pieces: number, score, p-value, reasons, then the columns.

    A text cell that a spreadsheet would take for a formula gets an apostrophe before it (OWASP, CSV injection), also
    where white space stands first. Numbers stay as they are: a negative one runs nothing.

    Args:
        desk: What is looked at.
        case_id: Which case.
        **filters: As for `assay.console.caserows.choose`.

    Raises:
        NotFound: There is no such case or group.
        BadQuery: A filter cannot be understood.
    """
    return _pieces(choose(desk, case_id, **filters))


def plain(value: Any) -> Any:
    """A value for a CSV cell."""
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" \n\v\f\u00a0\ufeff").startswith(_RUNS) else value
    if isinstance(value, bytes):
        return f"0x{value.hex()}"
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return " ".join(str(each) for each in value)
    return value


def _pieces(chosen: Chosen) -> Iterator[bytes]:
    names = chosen.rows.columns
    yield _lines([["row", "score", "p_value", "reasons", *(plain(name) for name in names)]])
    wanted = chosen.rows.table.select(["_row", "_score", "_p_value", "_reasons", *names])
    for start in range(0, len(chosen.places), _PIECE):
        some = wanted.take(pa.array(np.asarray(chosen.places[start : start + _PIECE])))
        columns = [column.to_pylist() for column in some.itercolumns()]
        columns[3] = ["; ".join(reasons or ()) for reasons in columns[3]]
        yield _lines([[plain(value) for value in record] for record in zip(*columns, strict=True)])


def _lines(records: list[list[Any]]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\r\n").writerows(records)
    return sink.getvalue().encode("utf-8", "backslashreplace")
