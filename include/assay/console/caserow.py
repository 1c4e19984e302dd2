"""One row of a case, beside the trusted rows that are most like it, and with where it came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.console.casefile import CaseFile, open_file
from assay.console.caserows import decision_of
from assay.console.desk import Desk, missing
from assay.console.losses import losses_of_row
from assay.db import delivery_files, get_delivery
from assay.errors import AssayError
from assay.intake.tables import is_table_name
from assay.line.cells import facts

_MOST_COUNTS = 20_000


def case_row(desk: Desk, case_id: str, row: int) -> dict[str, Any]:
    """One row of a case.

    Args:
        desk: What is looked at.
        case_id: Which case.
        row: Its number in the delivery.

    Raises:
        NotFound: There is no such case, or it has no such row.
    """
    file = open_file(desk, case_id)
    rows = file.rows
    place = rows.place(row)
    if place is None:
        raise missing(f"row in {case_id} with the number", str(row))
    (line,) = rows.read([place])
    return {
        **line,
        "reasons": file.reasons(line["reasons"], rows.columns),
        "group_ids": file.group_ids(np.array([row], dtype=np.int64))[0],
        "decided": decision_of(file, file.decided(desk), row),
        "nearest": _nearest(file, row, line["values"]),
        "origin": _origin(desk, file, row),
        "losses": losses_of_row(desk, file, place),
    }


def _nearest(file: CaseFile, row: int, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The trusted rows that are most like it, with the columns in which they differ from it."""
    if file.exhibits is None:
        return []
    kept = file.exhibits["nearest"]
    out = []
    for position, distance in kept["rows"].get(str(row), ()):
        trusted = kept["trusted"].get(str(int(position)))
        if trusted is None:
            continue
        shown = {name: value for name, value in trusted.items() if name in values}
        out.append(
            {
                "values": shown,
                "distance": distance,
                "trusted_row": int(position),
                "differs": [name for name in values if name in shown and shown[name] != values[name]],
            }
        )
    return out


def _origin(desk: Desk, file: CaseFile, row: int) -> dict[str, Any]:
    """The record of the signed file that the row was; the file is None where the delivery's files cannot be counted."""
    with desk.session() as session:
        delivery = get_delivery(session, file.case.delivery_id)
        assert delivery is not None, "a case's delivery is never deleted"
        files = [(f.path, f.sha256) for f in delivery_files(session, delivery.id) if is_table_name(f.path)]
    known: dict[str, Any] = {
        "delivery_id": delivery.id,
        "source": delivery.source,
        "publisher": delivery.publisher,
        "file": None,
        "sha256": None,
        "record": None,
    }
    first = 0
    for path, sha256 in files:
        count = _rows_in(desk, path, sha256, file.case.dataset)
        if count is None:
            return known
        if row < first + count:
            return {**known, "file": facts(path), "sha256": sha256, "record": row - first}
        first += count
    return known


def _rows_in(desk: Desk, path: str, sha256: str, dataset: str) -> int | None:
    """How many rows a delivered file has; None where it cannot be said. Only one file is read through for it, once."""
    kept: dict[str, int | None] = desk.shelf.setdefault("counts", {})
    if sha256 not in kept:
        kept[sha256] = _count_rows(desk, path, sha256, dataset)
        while len(kept) > _MOST_COUNTS:
            kept.pop(next(iter(kept)), None)
    return kept[sha256]


def _count_rows(desk: Desk, path: str, sha256: str, dataset: str) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from assay.intake.tables import read_batches

    known = desk.contracts.of(dataset)
    try:
        with desk.store.open(sha256) as stored:
            if path.endswith(".parquet"):
                return int(pq.read_metadata(stored).num_rows)
        if known is None or known.contract is None:
            return None
        local = desk.store.local_path(sha256)
        batches = read_batches(local, known.contract, name=path, on_error="collect")
        return int(sum(batch.num_rows for batch in batches))
    except (AssayError, OSError, pa.ArrowException):
        return None
