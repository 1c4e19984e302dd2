"""Parquet as it comes from outside: its footer is believed no further than it can be checked."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.intake import _vectors
from assay.intake._cast import ARROW_TYPES, acceptable, from_arrow
from assay.intake._csv import check_lengths
from assay.intake._reading import Reading, shorten

_FREE = 8 << 20  # an expansion ratio means nothing below this many bytes
_CELLS = 8 << 20  # values in a batch at most, however many columns there are
_LEAST = 64 << 20  # the same where a record alone holds thousands
_TEXT = 512 << 20  # bytes of one string column of a batch at most, once decoded
_SLACK = 4  # so many times a vector's length may its lists have before the file, and not the list, is refused
_THRIFT_BYTES = 100 << 20
_THRIFT_ITEMS = 1_000_000
DAMAGE: tuple[type[BaseException], ...] = (
    pa.ArrowException,
    OSError,
    ValueError,
    OverflowError,
    MemoryError,
    KeyError,
)


def open_file(path: Path, reading: Reading) -> pq.ParquetFile:
    """Open the file and hold its footer against the contract and its limits.

    Raises:
        ReadError: It is no Parquet file, is cut short, has other columns or types, or passes a limit.
    """
    try:
        plain = _open(path)
        leaves = {plain.schema.column(number).path for number in range(len(plain.schema))}
        # Strings stay dictionary-encoded until their decoded size is known: a few bytes of a run of one long string
        # would otherwise become gigabytes.
        strings = [n for n in reading.columns if n in leaves and reading.column(n).type == "string"]
        file = _open(path, metadata=plain.metadata, read_dictionary=strings) if strings else plain
    except DAMAGE as error:
        if isinstance(error, PermissionError | FileNotFoundError):
            raise
        raise reading.error(
            "its Parquet footer cannot be read: the file is cut short, damaged or encrypted",
            expected="a whole Parquet file",
            found=shorten(str(error)),
            next_step="compare its digest with the sender's, and send it again",
        ) from None
    try:
        _check_footer(file, path.stat().st_size, reading)
    except BaseException:
        file.close()
        raise
    return file


def _open(path: Path, **more: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        str(path),
        buffer_size=1 << 20,  # pages are read one by one, so that memory does not grow with the row group
        pre_buffer=False,
        page_checksum_verification=True,
        thrift_string_size_limit=_THRIFT_BYTES,
        thrift_container_size_limit=_THRIFT_ITEMS,
        **more,
    )


def check_schema(schema: pa.Schema, reading: Reading) -> None:
    """Hold names and types of columns against the contract.

    Raises:
        ReadError: A column is missing, unknown, twice there, or of a type that would have to be coerced.
    """
    try:
        names = schema.names
        kinds = [_value_type(field.type) for field in schema]
        zones = [kind.tz for kind in kinds if pa.types.is_timestamp(kind)]  # text from the file as well
    except UnicodeDecodeError:
        raise reading.error(
            "a name in its schema is not UTF-8",
            next_step="compare its digest with the sender's, and send it again",
        ) from None
    reading.check_names(names)
    if odd := [zone for zone in zones if zone is not None and not zone.isprintable()]:
        raise reading.error("a time zone in its schema is no text", found=shorten(odd[0]))
    wrong = [
        f"{field.name} is {_value_type(field.type)}, not {reading.column(field.name).type}"
        for field in schema
        if not acceptable(field.type, reading.column(field.name).type)
    ]
    if wrong:
        raise reading.error(
            f"column types differ from the contract's: {'; '.join(wrong[:12])}"
            + (" ..." if len(wrong) > 12 else ""),
            next_step="write the columns in the contract's types, or change schema.columns in the contract",
        )


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _check_footer(file: pq.ParquetFile, size: int, reading: Reading) -> None:
    schema, meta = file.schema_arrow, file.metadata
    check_schema(schema, reading)
    if meta.num_rows < 0 or reading.stats.rows + meta.num_rows > reading.bounds.max_rows:
        raise reading.over("more rows", reading.bounds.max_rows, meta.num_rows, "max_rows")
    content = sum(max(0, meta.row_group(i).total_byte_size) for i in range(meta.num_row_groups))
    if content > _FREE and content > reading.bounds.max_ratio * size:
        found = f"{content} bytes from {size}"
        raise reading.over("it decompresses further", f"{reading.bounds.max_ratio:g} : 1", found, "max_ratio")
    _check_lists(meta, reading)
    reading.count_bytes(max(content, size))


def _check_lists(meta: pq.FileMetaData, reading: Reading) -> None:
    """No column of vectors promises many more numbers than its records have room for."""
    for name, column in reading.contract.schema_.columns.items():
        if column.length is None:
            continue
        for group in (meta.row_group(number) for number in range(meta.num_row_groups)):
            most = group.num_rows * _SLACK * column.length
            found = sum(
                leaf.num_values
                for leaf in (group.column(number) for number in range(group.num_columns))
                if leaf.path_in_schema.startswith(f"{name}.")
            )
            if found > most:
                raise reading.error(
                    f"{found} numbers in {group.num_rows} vectors",
                    column=name,
                    expected=f"{column.length} in each, as the contract says",
                    next_step="send vectors of that length, or change it in the contract",
                )


def batches(path: Path, reading: Reading, batch_rows: int) -> Generator[pa.RecordBatch, None, None]:
    """Batches of the wanted columns in the contract's types.

    Args:
        path: The file.
        reading: Limits, wanted columns and where bad cells go.
        batch_rows: Rows in a batch at most.

    Raises:
        ReadError: The file is damaged, is not what the contract says, or passes a limit.
    """
    values = sum(_vectors.width(reading.column(name)) for name in reading.columns)
    rows = min(max(1024, min(batch_rows, _CELLS // values)), max(_LEAST // values, 1))
    with open_file(path, reading) as file:
        promised = file.metadata.num_rows
        source = file.iter_batches(batch_size=rows, columns=list(reading.columns))
        while True:
            reading.check_time()
            try:
                batch = next(source, None)
                if batch is None:
                    break
                batch.validate(full=True)
            except DAMAGE as error:
                raise reading.error(
                    f"its Parquet data is damaged after record {reading.row}",
                    expected="pages that decode as the footer says, strings in UTF-8",
                    found=shorten(str(error), 160),
                    next_step="compare its digest with the sender's, and send it again",
                ) from None
            if batch.num_rows:
                yield convert(batch, reading)
    if reading.row != promised:
        raise reading.error(
            "holds another number of records than its footer says", expected=promised, found=reading.row
        )


def convert(batch: pa.RecordBatch, reading: Reading) -> pa.RecordBatch:
    """The wanted columns of a batch in the contract's types.

    Raises:
        ReadError: A bound is passed, or a cell is bad and bad cells are not collected.
    """
    arrays = []
    for name in reading.columns:
        values = batch.column(name)
        if reading.column(name).type == "string" and not pa.types.is_null(values.type):
            values = _strings(values, name, reading)
        arrays.append(from_arrow(values, name, reading))
    schema = pa.schema([(name, ARROW_TYPES[reading.column(name).type]) for name in reading.columns])
    converted = pa.RecordBatch.from_arrays(arrays, schema=schema)
    reading.count_rows(converted.num_rows)
    return converted


def _strings(values: Any, name: str, reading: Reading) -> pa.Array:
    """Plain strings of bounded length and total size."""
    if pa.types.is_dictionary(values.type):
        check_lengths(values.dictionary, name, reading)
        lengths = pc.binary_length(values.dictionary).take(values.indices)
        total = pc.sum(lengths).as_py() or 0
        if total > _TEXT:
            raise reading.error(
                f"{total} bytes of text in {len(values)} records",
                column=name,
                expected=f"at most {_TEXT} bytes in a batch",
                next_step="send the text in a column of its own data set, or shorter",
            )
        values = values.dictionary_decode()
    check_lengths(values, name, reading)
    return values
