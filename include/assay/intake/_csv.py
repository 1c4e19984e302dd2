"""CSV as it comes from outside: one header line, in the dialect and encoding that the contract says."""

from __future__ import annotations

import codecs
import csv
import io
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from assay.intake._cast import ARROW_TYPES, PROBLEMS, drop, from_text
from assay.intake._reading import ReadError, Reading, shorten
from assay.intake._textfile import Guard

_HEADER = 4 << 20  # the header line ends within this many bytes
_READ = 1 << 20

FORMULA = "begins like a spreadsheet's formula"
_FORMULA = r"^[\t\r\n ]*[=+\-@][^\t\r\n ]"
_NUMBER = r"^[\t ]*[+-]?([0-9]+[.,]?[0-9]*|[.,][0-9]+)([eE][+-]?[0-9]+)?[\t ]*%?$"


def _guard(path: Path, codec: str | None, reading: Reading, *, counted: bool = True) -> Guard:
    dialect = reading.contract.csv
    return Guard(path, codec, reading, counted=counted, encoding=dialect.encoding, quote=dialect.quote)


def _header(path: Path, codec: str | None, reading: Reading) -> list[str]:
    """The column names, checked against the contract."""
    dialect = reading.contract.csv
    guard = _guard(path, codec, reading, counted=False)
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
        names = next(
            csv.reader(
                io.StringIO(text, newline=""),
                strict=True,
                delimiter=dialect.delimiter,
                quotechar=dialect.quote,
                quoting=csv.QUOTE_NONE if dialect.quote is None else csv.QUOTE_MINIMAL,
            )
        )
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
    dialect = reading.contract.csv
    guard = _guard(path, codec, reading)
    locate = reading.locate = _Locator(path, codec, reading, len(names) == 1)
    ragged: list[ReadError] = []

    def refuse(row: pacsv.InvalidRow) -> str:
        ragged.append(
            reading.error(
                f"the record has {row.actual_columns} cells",
                line=None if row.number is None else next(iter(reading.lines_of([row.number - 1])), None),
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
                delimiter=dialect.delimiter,
                quote_char=dialect.quote or False,
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
        locate.close()


def _convert(batch: pa.RecordBatch, reading: Reading) -> pa.RecordBatch:
    arrays = []
    for name in reading.columns:
        text = batch.column(name)
        check_lengths(text, name, reading)
        arrays.append(from_text(_read(text, name, reading), name, reading))
    schema = pa.schema([(name, ARROW_TYPES[reading.column(name).type]) for name in reading.columns])
    converted = pa.RecordBatch.from_arrays(arrays, schema=schema)
    reading.count_rows(converted.num_rows)
    return converted


def _read(text: pa.Array, name: str, reading: Reading) -> pa.Array:
    """The cells of one column as the contract's dialect means them."""
    column, dialect = reading.column(name), reading.contract.csv
    judged = column.allowed is not None or column.pattern is not None
    if column.type == "string" and dialect.formulas == "report" and not judged:
        bad = pc.and_(
            pc.match_substring_regex(text, _FORMULA), pc.invert(pc.match_substring_regex(text, _NUMBER))
        )
        return drop(text, pc.fill_null(bad, False).to_numpy(zero_copy_only=False), name, FORMULA, reading)
    if column.type == "number" and dialect.decimal == ",":
        bad = pc.fill_null(pc.match_substring(text, "."), False).to_numpy(zero_copy_only=False)
        return pc.replace_substring(drop(text, bad, name, PROBLEMS["number"], reading), ",", ".")
    return text


class _Locator:
    """Finds the lines that records begin in, where a record with line breaks in its cells has several.

    It reads through the file once more, no further than it is asked, and remembers no more than the batch in hand.
    """

    def __init__(self, path: Path, codec: str | None, reading: Reading, blank: bool) -> None:
        """Begin at the header, which is record 0.

        Args:
            path: The file.
            codec: Its compression.
            reading: Its dialect, and how many records were handed out.
            blank: Whether an empty line is a record.
        """
        self._reading = reading
        self._begins = self._read(path, codec, blank)
        self._lines: deque[int] = deque()
        self._first = 0

    def close(self) -> None:
        """Close the file."""
        self._begins.close()

    def __call__(self, records: Sequence[int]) -> list[int]:
        """The lines of records that were not handed out yet, ascending."""
        found: list[int] = []
        for record in records:
            while self._first + len(self._lines) <= record:
                line = next(self._begins, None)
                if line is None:
                    return found
                self._lines.append(line)
                while self._lines and self._first <= self._reading.row:
                    self._lines.popleft()
                    self._first += 1
            found.append(self._lines[record - self._first])
        return found

    def _read(self, path: Path, codec: str | None, blank: bool) -> Generator[int, None, None]:
        quote = (self._reading.contract.csv.quote or "\0").encode()
        guard = _guard(path, codec, self._reading, counted=False)
        line, start, inside, rest = 0, 1, False, b""
        try:
            while True:
                data = guard.read(_READ)
                *whole, rest = (rest + data).split(b"\n")
                for text in whole if data else [*whole, rest]:
                    line += 1
                    start = start if inside else line
                    inside ^= text.count(quote) % 2 == 1
                    if not inside and (blank or text.strip(b"\r")):
                        yield start
                if not data:
                    return
        finally:
            guard.close()


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
