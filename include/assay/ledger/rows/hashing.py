"""Canonical row hashes: the same row has the same hash in every file format and on every machine.

A row's hash is the RFC 9162 leaf hash of its canonical encoding, so that the Merkle root over row hashes is the root of
a tree over the rows themselves:

    row hash  = SHA-256( 0x00 || columns || cell || cell || ... )
    columns   = SHA-256( "assay/row/v2" || 0x00 || the column names, sorted, as canonical JSON )
    cell      = tag (1 byte) || body, one cell for each column, in the order of the sorted names

| value                       | tag | body                                                                        |
|-----------------------------|-----|-----------------------------------------------------------------------------|
| null                        | 00  | 8 zero bytes                                                                |
| boolean                     | 01  | 0 or 1, 8 bytes                                                             |
| number, whole, -2**63..2**63-1 | 02 | the value, signed, 8 bytes                                                |
| number, whole, 2**63..2**64-1  | 03 | the value, unsigned, 8 bytes                                              |
| any other number            | 04  | IEEE 754 double, 8 bytes; every NaN is 7ff8000000000000                     |
| date or time                | 05  | microseconds since 1970-01-01T00:00:00 UTC, signed, 8 bytes                 |
| time with odd nanoseconds   | 06  | nanoseconds since then, signed, 8 bytes                                     |
| text, more than 32 bytes of UTF-8 | 07 | SHA-256 of its UTF-8 bytes, 32 bytes                                  |
| list of numbers             | 08  | SHA-256 of its components as cells, in order, 32 bytes                      |
| text, n = 0..32 bytes of UTF-8 | 20 + n | its UTF-8 bytes, then zeros up to 32 bytes                            |

Tags are hexadecimal; all integers are little-endian. What follows from it, on purpose:

- Numbers compare by value: 1 as int8, int64, uint32, float32 or float64 is the same number, and -0.0 is 0. A float32 is
  the double that it is exactly, so 0.1 as float32 is another number than 0.1 as float64.
- Null, NaN, the empty text and zero are four different things. True is not 1, and "1" is not 1.
- A date is midnight UTC of that day; a timestamp without a zone is taken as UTC.
- Text is compared byte by byte, without Unicode normalisation. Whether it is dictionary-encoded does not matter.
- Nor does it matter whether lists are of fixed or variable size. A component is a number as above, or null.
- Neither the order of the columns nor their widths matter; their names do.

Cells have no more than 33 bytes and are told apart by their tags, so no two rows share an encoding.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from assay.canonical import canonical_json
from assay.ledger.errors import RowError
from assay.ledger.merkle import HASH_SIZE, Hashes, hash_slices, leaf_hash
from assay.ledger.rows.cells import (
    FORMATS,
    KINDS,
    NULL,
    SCALAR,
    SHORT,
    Cell,
    canonical,
    cell_bytes,
    json_value,
)
from assay.ledger.rows.columns import column_cells

_BATCH_ROWS = 16_384  # the encoding of one batch stays in the processor's cache


def row_hashes(data: pa.Table | pa.RecordBatch, columns: Sequence[str]) -> Hashes:
    """Hash rows as described above.

    Args:
        data: Table or record batch; columns other than those named do not count.
        columns: Names of the columns that make up a row, in any order.

    Returns:
        uint8 array of shape (n, 32), one row hash for each row.

    Raises:
        RowError: A column is missing, named twice, or of a type that has no canonical form.
    """
    names = sorted_columns(columns)
    _present(data.schema, names)
    prefix = b"\x00" + columns_digest(names)
    parts = [_hash_batch(batch, names, prefix) for batch in _small_batches(data, names)]
    packed = b"".join(parts)
    return np.frombuffer(packed, dtype=np.uint8).reshape(-1, HASH_SIZE)


def row_hash(row: Mapping[str, Any]) -> bytes:
    """Hash one row of Python values: the specification as code, and slow.

    Args:
        row: Value of each column: None, bool, int, float, str, date, datetime, or a list of numbers.

    Raises:
        RowError: A value has no canonical form.
    """
    return hash_cells([(name, *canonical(value, name)) for name, value in row.items()])


def row_cells(row: pa.Table | pa.RecordBatch, columns: Sequence[str]) -> list[Cell]:
    """The cells of one row, from which `hash_cells` computes its hash.

    Args:
        row: Table or batch of one row.
        columns: Names of the columns that make up a row.

    Raises:
        RowError: As `row_hashes`.
    """
    names = sorted_columns(columns)
    _present(row.schema, names)
    (batch,) = _small_batches(row, names)
    out: list[Cell] = []
    for name in names:
        column = batch.column(name)
        tags, body = column_cells(column, name)
        kind = "text" if tags[0] >= SHORT else KINDS[int(tags[0])]
        value: Any = body[0].tobytes()
        if kind == "text":
            value = column.to_pylist()[0]
        elif kind == "vector":
            value = canonical(column.to_pylist()[0], name)[1]
        else:
            (value,) = struct.unpack(FORMATS[kind], value)
        out.append((name, kind, json_value(kind, value)))
    return out


def hash_cells(cells: Sequence[Cell]) -> bytes:
    """The hash of the row that has these cells, one for each column, in any order.

    Raises:
        RowError: A cell is malformed, or a column stands twice.
    """
    names = sorted_columns([name for name, _, _ in cells])
    encoded = {name: cell_bytes(name, kind, value) for name, kind, value in cells}
    return leaf_hash(columns_digest(names) + b"".join(encoded[name] for name in names))


def sorted_columns(columns: Sequence[str]) -> list[str]:
    """Column names in the order in which their cells are hashed.

    Raises:
        RowError: There are none, or one stands twice.
    """
    names = sorted(columns, key=str.encode)
    if not names:
        raise RowError("a row without columns has no hash", expected="at least one column")
    twice = [a for a, b in itertools.pairwise(names) if a == b]
    if twice:
        raise RowError(f"the column {twice[0]!r} is named twice", next_step="name each column once")
    return names


def columns_digest(names: Sequence[str]) -> bytes:
    """SHA-256 that binds a row's hash to its columns' names; `names` sorted."""
    return hashlib.sha256(b"assay/row/v2\x00" + canonical_json(list(names))).digest()


def _present(schema: pa.Schema, names: Sequence[str]) -> None:
    for name in names:
        found = len(schema.get_all_field_indices(name))
        if found != 1:
            raise RowError(
                f"the rows have {'no column' if found == 0 else f'{found} columns'} {name!r}",
                expected="one column of that name",
                found=", ".join(schema.names[:20]),
            )


def _small_batches(data: pa.Table | pa.RecordBatch, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    selected = data.select(list(names))
    batches = selected.to_batches() if isinstance(selected, pa.Table) else [selected]
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            yield batch.slice(start, _BATCH_ROWS)


def _hash_batch(batch: pa.RecordBatch, names: Sequence[str], prefix: bytes) -> bytes:
    """Row hashes of a small batch, joined."""
    cells = [column_cells(batch.column(name), name) for name in names]
    width = len(prefix) + sum(1 + body.shape[1] for _, body in cells)
    matrix = np.empty((batch.num_rows, width), dtype=np.uint8)
    matrix[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    start, short = len(prefix), []
    for tags, body in cells:
        stop = start + 1 + body.shape[1]
        matrix[:, start] = tags
        matrix[:, start + 1 : stop] = body
        if body.shape[1] > 8 and bool((missing := tags == NULL).any()):
            short.append((start + SCALAR, stop, missing))  # a null cell has 9 bytes in any column
        start = stop
    if not short:
        return hash_slices(matrix.tobytes(), width)
    return _hash_ragged(matrix, short)


def _hash_ragged(
    matrix: np.ndarray[Any, Any], short: Sequence[tuple[int, int, np.ndarray[Any, Any]]]
) -> bytes:
    """Hash the rows of a matrix, leaving out `matrix[missing, start:stop]` for each of `short`.

    Rows that leave out the same cells have the same width and are hashed together.
    """
    flags = np.packbits(np.stack([missing for _, _, missing in short], axis=1), axis=1)
    packed = (
        np.ascontiguousarray(flags).view(f"V{flags.shape[1]}").reshape(-1)
    )  # one comparable value per row
    _, first, members = np.unique(packed, return_index=True, return_inverse=True)
    members = members.reshape(-1)
    out = np.empty((len(matrix), HASH_SIZE), dtype=np.uint8)
    for number, example in enumerate(first):
        rows = np.flatnonzero(members == number)
        part = matrix[rows]
        gone = [(start, stop) for start, stop, missing in short if missing[example]]
        if gone:
            edges = [0, *(edge for pair in gone for edge in pair), part.shape[1]]
            part = np.concatenate(
                [part[:, a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)], axis=1
            )
        hashed = hash_slices(part.tobytes(), part.shape[1])
        out[rows] = np.frombuffer(hashed, dtype=np.uint8).reshape(-1, HASH_SIZE)
    return out.tobytes()
