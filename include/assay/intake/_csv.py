"""CSV as it comes from outside: comma-separated, UTF-8, one header line, perhaps compressed by gzip or Zstandard."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from assay.intake._cast import ARROW_TYPES, from_text
from assay.intake._reading import ReadError, Reading, shorten

_HEADER = 4 << 20  # the header line ends within this many bytes
_FREE = 1 << 20  # a decompression ratio means nothing before this many bytes
_READ = 1 << 20

_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class _Guard(io.RawIOBase):
    """The file's text, decompressed, on its way to the parser: counted, timed and checked to be text at all.

    What it raises is kept in `error`, because the parser reads from a thread of its own and words errors anew.
    """

    def __init__(self, path: Path, codec: str | None, reading: Reading, *, counted: bool = True) -> None:
        super().__init__()
        self.error: ReadError | None = None
        self._raw = pa.OSFile(str(path), "rb")
        self._text = pa.CompressedInputStream(self._raw, codec) if codec else self._raw
        self._codec = codec
        self._reading = reading
        self._counted = counted
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._size = 0
        self._lines = 0
        self._quotes = 0

    def readable(self) -> bool:
        """It is read from, never written to."""
        return True

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._text.close()
            self._raw.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        """The next bytes of text.

        Raises:
            ReadError: They are not text, or a limit is passed.
        """
        if self.error is not None:
            raise self.error
        try:
            return self._read(size)
        except ReadError as error:
            self.error = error
            raise

    def _read(self, size: int) -> bytes:
        reading = self._reading
        reading.check_time()
        try:
            data: bytes = self._text.read(_READ if size < 0 else min(size, _READ))
        except (OSError, pa.ArrowException) as error:
            if not self._codec:
                raise
            raise reading.error(
                f"the {self._codec} stream is damaged or cut short after {self._size} bytes of text",
                found=shorten(str(error)),
                next_step="send the file again",
            ) from None
        line = self._lines + 1
        if not self._size and data[:2] in _ENCODINGS:
            raise self._not_text(f"is {_ENCODINGS[data[:2]]}", line, data[:4])
        if b"\0" in data:
            at = data.index(b"\0")
            raise self._not_text(
                "holds a NUL byte", line + data.count(b"\n", 0, at), data[max(0, at - 8) : at + 8]
            )
        try:
            self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            bad = error.object[max(0, error.start - 8) : error.end + 8]
            raise self._not_text(
                "is not UTF-8", line + error.object.count(b"\n", 0, error.start), bad
            ) from None
        self._size += len(data)
        self._lines += data.count(b"\n")
        self._quotes += data.count(b'"')
        if self._counted:
            reading.count_bytes(len(data))
        if not data and self._quotes % 2:
            raise reading.error(
                "a quote is opened and never closed",
                expected='an even number of " in the file',
                found=self._quotes,
                next_step='close it; a " inside a cell is written ""',
            )
        if (
            self._codec
            and self._size > _FREE
            and self._size > reading.bounds.max_ratio * max(self._raw.tell(), 1)
        ):
            found = f"{self._size} bytes from {self._raw.tell()}"
            raise reading.over(
                "it decompresses further", f"{reading.bounds.max_ratio:g} : 1", found, "max_ratio"
            )
        return data

    def _not_text(self, what: str, line: int, data: bytes) -> ReadError:
        return self._reading.error(
            f"line {line} {what}",
            expected="CSV text in UTF-8",
            found=repr(data),
            next_step="save it as CSV in UTF-8",
        )


def _header(path: Path, codec: str | None, reading: Reading) -> list[str]:
    """The column names, checked against the contract."""
    guard = _Guard(path, codec, reading, counted=False)
    head = b""
    try:
        while len(head) < _HEADER:
            piece = guard.read(_READ)
            head += piece
            if not piece or b"\n" in piece or b"\r" in piece:
                break
    finally:
        guard.close()
    text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    if not text.strip():
        raise reading.error(
            "the file is empty", expected="a header and at least one record", next_step="send it again"
        )
    try:
        names = next(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (csv.Error, StopIteration) as error:
        raise reading.error(f"the header cannot be read: {error}", found=shorten(text)) from None
    reading.check_names(names)
    return names


def batches(path: Path, codec: str | None, reading: Reading) -> Generator[pa.RecordBatch, None, None]:
    """Batches of the wanted columns in the contract's types, as large as the parser's blocks make them.

    Args:
        path: The file.
        codec: `gzip`, `zstd`, or None for plain text.
        reading: Limits, wanted columns and where bad cells go.

    Raises:
        ReadError: The file is not such CSV, or passes a limit.
    """
    names = _header(path, codec, reading)
    guard = _Guard(path, codec, reading)
    ragged: list[ReadError] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        ragged.append(
            reading.error(
                f"the record has {row.actual_columns} cells",
                record=None if row.number is None else row.number - 1,
                expected=f"{row.expected_columns} cells, as in the header",
                found=shorten(row.text or ""),
                next_step='put a cell that holds a comma, a quote or a line break in "quotes"',
            )
        )
        return "error"

    try:
        reader = pacsv.open_csv(
            pa.PythonFile(guard, mode="r"),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=max(4 << 20, 2 * reading.bounds.max_string_bytes)
            ),
            parse_options=pacsv.ParseOptions(
                newlines_in_values=True,
                # An empty line is a null where there is one column, and nothing where there are more.
                ignore_empty_lines=len(names) > 1,
                invalid_row_handler=refuse,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                include_columns=list(reading.columns),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            if not batch.num_rows:
                continue
            yield _convert(batch, reading)
        if guard.error is not None:
            raise guard.error
    except pa.ArrowException as error:
        if guard.error is not None:
            raise guard.error from None
        if ragged:
            raise ragged[0] from None
        if "straddling" in str(error):
            limit = reading.bounds.max_string_bytes
            raise reading.over(
                "a record is longer", f"{limit} bytes in a cell", "more", "max_string_bytes"
            ) from None
        raise reading.error(
            "it cannot be read as CSV",
            found=shorten(str(error)),
            next_step="save it as CSV in UTF-8, commas between cells",
        ) from None
    finally:
        guard.close()


def _convert(batch: pa.RecordBatch, reading: Reading) -> pa.RecordBatch:
    arrays = []
    for name in reading.columns:
        text = batch.column(name)
        check_lengths(text, name, reading)
        arrays.append(from_text(text, name, reading))
    schema = pa.schema([(name, ARROW_TYPES[reading.column(name).type]) for name in reading.columns])
    converted = pa.RecordBatch.from_arrays(arrays, schema=schema)
    reading.count_rows(converted.num_rows)
    return converted


def check_lengths(text: pa.Array, name: str, reading: Reading) -> None:
    """Raise where a cell is longer than the contract allows any cell to be.

    Raises:
        ReadError: A cell is too long.
    """
    limit = reading.bounds.max_string_bytes
    longest = pc.max(pc.binary_length(text)).as_py()
    if longest is not None and longest > limit:
        place = pc.index(pc.greater(pc.binary_length(text), limit), value=True).as_py()
        raise reading.over(
            f"the cell in record {reading.row + place + 1}, column {name!r} is longer",
            f"{limit} bytes",
            f"{longest} bytes",
            "max_string_bytes",
        )
