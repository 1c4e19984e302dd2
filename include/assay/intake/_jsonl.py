"""JSON Lines (https://jsonlines.org) as it comes from outside: one object in each line, no value coerced."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from assay.intake._cast import ARROW_TYPES, from_text
from assay.intake._csv import check_lengths
from assay.intake._reading import EXAMPLES, Reading, listing, shorten
from assay.intake._textfile import Guard

_READ = 1 << 20
_ROWS = 16_384
_BOM = b"\xef\xbb\xbf"


class _Number(str):
    """A number as the file writes it, so that no digit is lost before the column's type is known."""


_TYPES: dict[type, str] = {
    _Number: "a number",
    str: "a text",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
_WANTED: dict[str, type] = {
    "integer": _Number,
    "number": _Number,
    "string": str,
    "boolean": bool,
    "date": str,
    "timestamp": str,
    "vector": list,
}


def batches(path: Path, codec: str | None, reading: Reading) -> Generator[pa.RecordBatch, None, None]:
    """Batches of the wanted columns in the contract's types.

    A column that a record leaves out is null. Numbers are judged by their text, as those of CSV are; a text in the
    place of a number, or the other way round, is a bad cell, and so is an object or a list.

    Args:
        path: The file.
        codec: `gzip`, `zstd`, or None for plain text.
        reading: Limits, wanted columns and where bad cells go.

    Raises:
        ReadError: A line is no JSON object of the contract's columns, a key stands twice in it, or a limit is passed.
    """
    reading.locate = list  # each record is a line
    known = frozenset(reading.contract.schema_.columns)
    seen: set[str] = set()
    records: list[dict[str, Any]] = []
    for number, text in enumerate(_lines(path, codec, reading), start=1):
        record = _record(text, number, known, reading)
        seen.update(record)
        records.append(record)
        if len(records) >= _ROWS:
            yield _convert(records, reading)
            records = []
    if records:
        yield _convert(records, reading)
    if reading.row and (missing := [name for name in known if name not in seen]):
        raise reading.error(
            f"no record has {listing(sorted(missing))}",
            expected=listing(list(reading.contract.schema_.columns)),
            next_step="send the contract's columns under their names, or change schema.columns in the contract",
        )


def _lines(path: Path, codec: str | None, reading: Reading) -> Iterator[bytes]:
    longest = max(4 << 20, 2 * reading.bounds.max_string_bytes)
    guard = Guard(path, codec, reading)
    rest = b""
    try:
        while data := guard.read(_READ):
            *whole, rest = (rest + data).split(b"\n")
            yield from whole
            if len(rest) > longest:
                raise reading.over(
                    "a record is longer", f"{longest} bytes", f"{len(rest)} bytes", "max_string_bytes"
                )
        if rest:
            yield rest
    finally:
        guard.close()


def _record(text: bytes, number: int, known: frozenset[str], reading: Reading) -> dict[str, Any]:
    if number == 1 and text.startswith(_BOM):
        raise reading.error("begins with a byte order mark", line=1, next_step="write it as plain UTF-8")
    try:
        record = json.loads(
            text, object_pairs_hook=_once, parse_int=_Number, parse_float=_Number, parse_constant=_Number
        )
    except RecursionError:
        raise _too_deep(number, reading) from None
    except _TwiceError as error:
        raise reading.error("a key stands twice in one object", line=number, column=str(error)) from None
    except ValueError as error:
        raise reading.error(
            "is no JSON",
            line=number,
            expected="one JSON object in each line",
            found=shorten(str(error)),
            next_step="write one record in each line, no empty lines and no commas between them",
        ) from None
    if not isinstance(record, dict):
        raise reading.error(
            "is no object", line=number, expected="one JSON object", found=shorten(text.decode())
        )
    if unknown := record.keys() - known:
        raise reading.error(
            f"columns that are not in the contract: {listing(sorted(unknown))}",
            line=number,
            expected=listing(list(reading.contract.schema_.columns)),
            next_step="leave them out, or add them to schema.columns in the contract",
        )
    if (
        any(type(value) in {dict, list} for value in record.values())
        and _depth(record) > reading.bounds.max_nesting
    ):
        raise _too_deep(number, reading)
    return record


class _TwiceError(ValueError):
    """A key stands twice in one object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _TwiceError(shorten(twice))
    return record


def _depth(value: Any) -> int:
    here, levels = [value], 0
    while here := [
        inner
        for each in here
        if isinstance(each, dict | list)
        for inner in (each.values() if isinstance(each, dict) else each)
    ]:
        levels += 1
    return levels


def _too_deep(number: int, reading: Reading) -> Exception:
    limit = reading.bounds.max_nesting
    return reading.error(
        "is nested deeper than the contract allows",
        line=number,
        expected=f"at most {limit} levels (bounds.max_nesting)",
        next_step="send flat records, as the contract's columns are",
    )


def _convert(records: list[dict[str, Any]], reading: Reading) -> pa.RecordBatch:
    arrays = []
    for name in reading.columns:
        cells = [record.get(name) for record in records]
        texts = _texts(cells, name, reading)
        check_lengths(texts, name, reading)
        arrays.append(from_text(texts, name, reading, exact=True))
    schema = pa.schema([(name, ARROW_TYPES[reading.column(name).type]) for name in reading.columns])
    converted = pa.RecordBatch.from_arrays(arrays, schema=schema)
    reading.count_rows(converted.num_rows)
    return converted


def _texts(cells: list[Any], name: str, reading: Reading) -> pa.Array:
    """The cells as texts; those of another JSON type than the column's are reported and become nulls."""
    kind = reading.column(name).type
    wanted = _WANTED[kind]
    bad: dict[str, list[int]] = {}
    for place, cell in enumerate(cells):
        if cell is not None and type(cell) is not wanted:
            bad.setdefault(f"{_TYPES[type(cell)]} in the place of {_TYPES[wanted]}", []).append(place)
        elif isinstance(cell, str) and not _encodes(cell):
            bad.setdefault("half a character of UTF-16", []).append(place)
    for problem, places in bad.items():
        examples = [shorten(json.dumps(cells[place])) for place in places[:EXAMPLES]]
        reading.report(name, problem, np.array(places, dtype=np.int64), examples)
        for place in places:
            cells[place] = None
    if wanted is bool:
        cells = [None if cell is None else str(cell).lower() for cell in cells]
    if wanted is list:
        cells = [None if cell is None else _listed(cell) for cell in cells]
    return pa.array(cells, pa.string())


def _listed(cell: list[Any]) -> str:
    """A list as JSON again, its numbers digit by digit as the file writes them."""
    return f"[{','.join(part if type(part) is _Number else json.dumps(part) for part in cell)}]"


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
