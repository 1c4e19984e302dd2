"""Arrow IPC, file and stream (https://arrow.apache.org/docs/format/Columnar.html), as it comes from outside.

A file is a stream with a footer behind it, and both are read as a stream. Before Arrow decodes anything, the messages'
own metadata are walked: what they promise must lie in the file, and what it decompresses to must be within the limits,
because Arrow takes both on trust.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from assay.intake._parquet import DAMAGE, check_schema, convert
from assay.intake._reading import ReadError, Reading, shorten

MAGIC = b"ARROW1"
CONTINUES = b"\xff\xff\xff\xff"
_DICTIONARY, _BATCH = 2, 3
_METADATA = 64 << 20  # bytes of one message's metadata at most
_MESSAGES = 1_000_000
_DECODED = 1 << 30  # bytes of one record batch at most, decompressed
_FREE = 8 << 20


@dataclass(frozen=True)
class _Message:
    kind: int
    rows: int
    decoded: int


def batches(
    path: Path, file_format: bool, reading: Reading, batch_rows: int
) -> Generator[pa.RecordBatch, None, None]:
    """Batches of the wanted columns in the contract's types.

    Args:
        path: The file, not compressed as a whole.
        file_format: Whether it is the file format, with a footer.
        reading: Limits, wanted columns and where bad cells go.
        batch_rows: Rows in a batch at most.

    Raises:
        ReadError: The file is cut short, damaged, followed by something else, has other columns or types than the
            contract, or passes a limit.
    """
    size = path.stat().st_size
    start, end = (8, _footer(path, size, reading)) if file_format else (0, size)
    with path.open("rb") as file:
        messages = list(_walk(file, start, end, reading))
    promised = sum(message.rows for message in messages if message.kind == _BATCH)
    _limits(messages, promised, size, reading)
    with pa.OSFile(str(path), "rb") as file:
        file.seek(start)
        try:
            stream = pa.ipc.open_stream(file)
        except DAMAGE as error:
            raise _damaged(error, reading) from None
        check_schema(stream.schema, reading)
        while True:
            reading.check_time()
            try:
                batch = next(stream, None)
                if batch is None:
                    break
                batch.validate(full=True)
            except DAMAGE as error:
                raise _damaged(error, reading) from None
            batch = batch.select(list(reading.columns))
            for first in range(0, batch.num_rows, batch_rows):
                yield convert(batch.slice(first, batch_rows), reading)
    if reading.row != promised:
        raise reading.error(
            "holds another number of records than it promises", expected=promised, found=reading.row
        )


def _footer(path: Path, size: int, reading: Reading) -> int:
    """Where the stream ends and the footer begins."""
    with path.open("rb") as file:
        file.seek(max(0, size - 10))
        tail = file.read(10)
    if len(tail) < 10 or tail[4:] != MAGIC:
        raise reading.error(
            "its end is missing: the file is cut short, or something follows it",
            expected="ARROW1 at the end of an Arrow file",
            found=repr(tail[-6:]),
            next_step="compare its digest with the sender's, and send it again",
        )
    end = size - 10 - int(struct.unpack("<i", tail[:4])[0])
    if not 8 < end < size - 10:
        raise reading.error("its footer is of an impossible size", next_step="send the file again")
    return end


def _walk(file: BinaryIO, start: int, end: int, reading: Reading) -> Iterator[_Message]:
    """All messages from `start` on, up to the mark that ends a stream, which must stand at `end`."""
    at, count = start, 0
    while True:
        reading.check_time()
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[:4] != CONTINUES:
            raise _broken("it ends without its end mark, or is damaged", at, reading)
        length = struct.unpack("<i", head[4:])[0]
        if length == 0:
            if at + 8 != end:
                raise _broken("something follows its end mark", at, reading)
            return
        count += 1
        if not 0 < length <= min(_METADATA, end - at) or count > _MESSAGES:
            raise _broken("a message is of an impossible size", at, reading)
        metadata = file.read(length)
        try:
            table = _Table.root(metadata)
            body = table.number(3, "<q", 0)
            first = at + 8 + length
            if not 0 <= body <= end - first:
                raise _broken("a message promises more bytes than there are", at, reading)
            yield _read(table, file, first, body)
        except (struct.error, IndexError, ValueError) as error:
            raise _broken(f"a message cannot be read ({error})", at, reading) from None
        at = first + body


def _read(table: _Table, file: BinaryIO, first: int, body: int) -> _Message:
    kind = table.number(1, "<B", 0)
    if kind not in {_DICTIONARY, _BATCH}:
        return _Message(kind, 0, 0)
    batch = table.table(2)
    if kind == _DICTIONARY:
        batch = batch.table(1)
    rows, packed = batch.number(0, "<q", 0), batch.has(3)
    decoded = 0
    for offset, length in batch.structs(2, "<qq"):
        if offset < 0 or length < 0 or offset + length > body:
            raise ValueError("a buffer lies outside of its message")
        if packed and length:
            file.seek(first + offset)
            said = struct.unpack("<q", file.read(8))[0]
            length = length - 8 if said == -1 else said
            if length < 0:
                raise ValueError("a buffer of negative size")
        decoded += length
    if rows < 0:
        raise ValueError("a negative number of rows")
    return _Message(kind, rows, decoded)


def _limits(messages: list[_Message], rows: int, size: int, reading: Reading) -> None:
    if reading.stats.rows + rows > reading.bounds.max_rows:
        raise reading.over("more rows", reading.bounds.max_rows, rows, "max_rows")
    decoded = sum(message.decoded for message in messages)
    if decoded > _FREE and decoded > reading.bounds.max_ratio * size:
        found = f"{decoded} bytes from {size}"
        raise reading.over("it decompresses further", f"{reading.bounds.max_ratio:g} : 1", found, "max_ratio")
    largest = max((message.decoded for message in messages), default=0)
    if largest > _DECODED:
        raise reading.error(
            "a record batch is too large to hold",
            expected=f"at most {_DECODED} bytes",
            found=f"{largest} bytes",
            next_step="write the file in smaller record batches",
        )
    reading.count_bytes(max(decoded, size))


def _broken(what: str, at: int, reading: Reading) -> ReadError:
    return reading.error(
        f"{what} (at byte {at})",
        expected="a whole Arrow IPC file or stream",
        next_step="compare its digest with the sender's, and send it again",
    )


def _damaged(error: BaseException, reading: Reading) -> ReadError:
    return reading.error(
        f"its Arrow data is damaged after record {reading.row}",
        expected="buffers as the schema says, strings in UTF-8",
        found=shorten(str(error), 160),
        next_step="compare its digest with the sender's, and send it again",
    )


class _Table:
    """A table of FlatBuffers (https://flatbuffers.dev/internals), as far as messages need it."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._fields = at - _unpack("<i", data, at)
        self._length = _unpack("<H", data, self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """The table that the bytes are about."""
        return cls(data, _unpack("<I", data, 0))

    def _place(self, number: int) -> int:
        entry = 4 + 2 * number
        offset = _unpack("<H", self._data, self._fields + entry) if entry < self._length else 0
        return self._at + offset if offset else 0

    def has(self, number: int) -> bool:
        """Whether the field is there."""
        return self._place(number) != 0

    def number(self, number: int, form: str, default: int) -> int:
        """A number, or its default."""
        place = self._place(number)
        return _unpack(form, self._data, place) if place else default

    def _target(self, number: int) -> int:
        place = self._place(number)
        if not place:
            raise ValueError("a field is missing")
        return place + _unpack("<I", self._data, place)

    def table(self, number: int) -> _Table:
        """A table in a field."""
        return _Table(self._data, self._target(number))

    def structs(self, number: int, form: str) -> Iterator[tuple[int, ...]]:
        """The structs of a vector."""
        if not self.has(number):
            return
        start = self._target(number)
        count = _unpack("<I", self._data, start)
        size = struct.calcsize(form)
        if count * size > len(self._data):
            raise ValueError("a vector is longer than its message")
        for each in range(count):
            yield struct.unpack_from(form, self._data, start + 4 + each * size)


def _unpack(form: str, data: bytes, at: int) -> int:
    if at < 0:
        raise ValueError("an offset leads out of the message")
    return int(struct.unpack_from(form, data, at)[0])
