"""What the line remembers when it screens: correction lists that came signed, and rows that reviewers rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from assay.db import delivery_files, get_delivery
from assay.line.context import Line
from assay.quarantine import case_rows, list_cases

if TYPE_CHECKING:
    from assay.screen import Corrections

_MOST_REJECTED = 200_000


def correction_lists(line: Line, deliveries: Sequence[str], rows: Mapping[str, int]) -> list[Corrections]:
    """The correction lists of deliveries that are screened as one batch, one below the other.

    A list counts for the rows of its own delivery, under the name of the key that signed that delivery's manifest. One
    that cannot be read is handed on with its problem, so that it gets no credit and a finding says so.

    Args:
        line: The open line.
        deliveries: Ids, in the batch's order.
        rows: How many rows of the batch each one has.
    """
    from assay.screen import Corrections, ScreenError, read_corrections

    out, first = [], 0
    for delivery_id in deliveries:
        last = first + rows[delivery_id]
        with line.database.session() as session:
            delivery = get_delivery(session, delivery_id)
            assert delivery is not None
            wanted = line.contract.source(delivery.source).corrections
            files = (
                {file.path: file.sha256 for file in delivery_files(session, delivery_id)} if wanted else {}
            )
            signed_by = f"{delivery.publisher} ({delivery.key_id})" if delivery.key_id else None
            name = f"{delivery.source}/{wanted}"
        if wanted in files:
            try:
                out.append(
                    read_corrections(
                        line.store.get_bytes(files[wanted]),
                        line.contract,
                        signed_by=signed_by,
                        name=name,
                        first=first,
                        last=last,
                    )
                )
            except ScreenError as error:
                out.append(Corrections((), signed_by, first, last, name, error.message))
        first = last
    return out


def rejected_rows(line: Line, schema: pa.Schema, source_column: str) -> pa.Table | None:
    """Rows of the data set that reviewers rejected as poison, newest cases first; None where there are none.

    Args:
        line: The open line.
        schema: The columns of the batch.
        source_column: Where the batch says which source a row came from, if the contract's tables have no such column.
    """
    parts: list[pa.Table] = []
    count = 0
    for case in reversed(
        list_cases(line.database, dataset=line.dataset, status="rejected", kind="screening")
    ):
        if case.rows_object is None or count >= _MOST_REJECTED:
            continue
        rows = case_rows(line.database, line.store, case.id)
        if source_column in schema.names and source_column not in rows.column_names:
            rows = rows.append_column(source_column, pa.array([case.source] * rows.num_rows, pa.string()))
        if set(schema.names) <= set(rows.column_names):  # a case of an older contract may lack a column
            parts.append(rows.select(schema.names).cast(schema))
            count += rows.num_rows
    return pa.concat_tables(parts).slice(0, _MOST_REJECTED) if parts else None
