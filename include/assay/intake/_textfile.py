"""Text as it comes from outside: decompressed, decoded, counted and timed before a parser sees it."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from assay.intake._reading import ReadError, Reading, shorten

_FREE = 1 << 20  # a decompression ratio means nothing before this many bytes
_READ = 1 << 20

_ENCODINGS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def check_ratio(size: int, packed: int, reading: Reading) -> None:
    """Raise where so many bytes came out of so few.

    Raises:
        ReadError: It decompresses further than the contract allows.
    """
    if size > _FREE and size > reading.bounds.max_ratio * max(packed, 1):
        found = f"{size} bytes from {packed}"
        raise reading.over("it decompresses further", f"{reading.bounds.max_ratio:g} : 1", found, "max_ratio")


class Guard(io.RawIOBase):
    """The file's text as UTF-8, decompressed, on its way to a parser: counted, timed and checked to be text at all.

    What it raises is kept in `error`, because the parser reads from a thread of its own and words errors anew.
    """

    def __init__(
        self,
        path: Path,
        codec: str | None,
        reading: Reading,
        *,
        counted: bool = True,
        encoding: str = "utf-8",
        quote: str | None = None,
    ) -> None:
        """Open the file.

        Args:
            path: The file.
            codec: `gzip`, `zstd`, or None for plain text.
            reading: Its limits, and its name for messages.
            counted: Whether its bytes count.
            encoding: That of the text.
            quote: What must be closed again where it was opened, for CSV.
        """
        super().__init__()
        self.error: ReadError | None = None
        self._raw = pa.OSFile(str(path), "rb")
        self._text = pa.CompressedInputStream(self._raw, codec) if codec else self._raw
        self._codec = codec
        self._reading = reading
        self._counted = counted
        self._plain = codecs.lookup(encoding).name == "utf-8"
        self._encoding = "UTF-8" if self._plain else encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._quote = quote.encode() if quote else None
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
        """The next bytes of text, in UTF-8.

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
        most = _READ if size < 0 else min(size, _READ)
        if self._plain:
            data = self._bytes(most)
            self._decode(data)
            self._check(data)
            return data
        while True:  # one byte of another encoding is at most four of UTF-8, and some give none yet
            raw = self._bytes(max(most // 4, 1))
            text = self._decode(raw)
            if text or not raw:
                self._check(text)
                return text

    def _bytes(self, size: int) -> bytes:
        """The next bytes of the file, decompressed."""
        reading = self._reading
        reading.check_time()
        try:
            data: bytes = self._text.read(size)
        except (OSError, pa.ArrowException) as error:
            if not self._codec:
                raise
            raise reading.error(
                f"the {self._codec} stream is damaged, cut short or followed by something else, after {self._size} "
                "bytes of text",
                found=shorten(str(error)),
                next_step="send the file again",
            ) from None
        if self._plain and not self._size and data[:2] in _ENCODINGS:
            raise self._not_text(f"is {_ENCODINGS[data[:2]]}", 1, data[:4])
        self._size += len(data)
        if self._counted:
            reading.count_bytes(len(data))
        check_ratio(self._size, self._raw.tell() if self._codec else self._size, reading)
        return data

    def _decode(self, data: bytes) -> bytes:
        """The bytes in UTF-8."""
        line = self._lines + 1
        if self._plain and b"\0" in data:  # before it is decoded: UTF-16 looks like this too
            self._no_nul(data)
        try:
            return self._decoder.decode(data, final=not data).encode()
        except UnicodeDecodeError as error:
            bad = error.object[max(0, error.start - 8) : error.end + 8]
            line += error.object.count(b"\n", 0, error.start)
            raise self._not_text(f"is not {self._encoding}", line, bad) from None
        except UnicodeError as error:  # a UTF-16 without its mark, or half a character of it
            raise self._not_text(f"is not {self._encoding}: {error}", line, data[:8]) from None

    def _no_nul(self, data: bytes) -> None:
        at = data.index(b"\0")
        line = self._lines + 1 + data.count(b"\n", 0, at)
        raise self._not_text("holds a NUL byte", line, data[max(0, at - 8) : at + 8])

    def _check(self, data: bytes) -> None:
        """Hold the text in UTF-8 against what every table of lines must be."""
        if b"\0" in data:
            self._no_nul(data)
        self._lines += data.count(b"\n")
        if self._quote is not None:
            self._quotes += data.count(self._quote)
            if not data and self._quotes % 2:
                sign = self._quote.decode()
                raise self._reading.error(
                    "a quote is opened and never closed",
                    expected=f"an even number of {sign} in the file",
                    found=self._quotes,
                    next_step=f"close it; a {sign} inside a cell is written {sign}{sign}",
                )

    def _not_text(self, what: str, line: int, data: bytes) -> ReadError:
        return self._reading.error(
            what,
            line=line,
            expected=f"text in {self._encoding}",
            found=repr(data),
            next_step="save it in that encoding; that of CSV can be set as csv.encoding in the contract",
        )


@contextmanager
def unpacked(path: Path, codec: str | None, reading: Reading) -> Iterator[Path]:
    """The file without its compression, for formats that are not read from front to back; gone afterwards.

    Raises:
        ReadError: The stream is damaged, or passes a limit; no more than `bounds.max_bytes` are written.
    """
    if codec is None:
        yield path
        return
    with TemporaryDirectory(prefix="assay-unpacked-") as folder:
        plain = Path(folder) / "table"
        with (
            pa.OSFile(str(path), "rb") as raw,
            pa.CompressedInputStream(raw, codec) as text,
            plain.open("wb") as file,
        ):
            size = 0
            while True:
                reading.check_time()
                try:
                    data = text.read(_READ)
                except (OSError, pa.ArrowException) as error:
                    raise reading.error(
                        f"the {codec} stream is damaged, cut short or followed by something else, after {size} bytes",
                        found=shorten(str(error)),
                        next_step="send the file again",
                    ) from None
                if not data:
                    break
                size += len(data)
                if size > reading.bounds.max_bytes:
                    raise reading.over(
                        "more data", f"{reading.bounds.max_bytes} bytes", f"{size} bytes", "max_bytes"
                    )
                check_ratio(size, raw.tell(), reading)
                file.write(data)
        yield plain
