"""What every place that deliveries come from has in common: bounds on size and time, and one way of being read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from assay.intake.errors import SourceTimeout, TooLarge

T = TypeVar("T")
Sink = Callable[[Iterator[bytes]], T]

CHUNK = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True)
class Transfer:
    """How patient reading from a network is.

    Attributes:
        connect: Seconds until a connection must stand.
        read: Seconds without a byte after which a connection counts as dead.
        attempts: How often a file is asked for.
        backoff: Seconds before the second attempt; four times as many before each further one.
        redirects: How many are followed for one file.
    """

    connect: float = 10.0
    read: float = 20.0
    attempts: int = 4
    backoff: float = 0.2
    redirects: int = 5


class Deadline:
    """The time by which a whole delivery must have been read: a server that trickles cannot hold a task for ever."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self._end - time.monotonic())

    def check(self, what: str) -> None:
        """Go on, or not.

        Raises:
            SourceTimeout: The time is over.
        """
        if self.remaining <= 0:
            raise SourceTimeout(
                f"{what} did not arrive in time",
                expected=f"the whole delivery within {self.seconds:g} s",
                state="nothing was registered; what was read completely stays in the store",
                next_step="run the same command again, or raise bounds.timeout in the contract",
            )


@dataclass(frozen=True)
class Listing:
    """What lies in a local delivery.

    Attributes:
        files: Size in bytes of each regular file, by path relative to the delivery.
        refused: Why not, by path, for everything that is neither a regular file nor a folder.
    """

    files: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Place(Protocol):
    """One delivery's place."""

    shown: str
    """Its address without credentials, for messages and records."""

    at_once: int
    """How many of its files may be fetched at the same time."""

    made: bool
    """Whether Assay itself made the delivery out of a database's or service's answers."""

    vouched: str | None
    """Who vouches for all that was read though there is no signature file, in words; known once it was read."""

    def fetch(self, path: str, limit: int, sink: Sink[T]) -> T:
        """Hand the file's bytes to `sink`, from the first one on again if an attempt breaks off; returns its answer.

        Raises:
            NotThere: No file has that name.
            TooLarge: It has more than `limit` bytes.
            SourceRefused: It is no regular file of this delivery, or the server will not give it.
            SourceUnreachable: It could not be read to its end.
        """

    def listing(self, most: int) -> Listing | None:
        """All that lies there, or None if the place cannot be asked; more than `most` entries are `TooLarge`."""

    def close(self) -> None:
        """Let connections go."""


def read_small(place: Place, path: str, limit: int) -> bytes:
    """All bytes of a small file; raises as `Place.fetch`."""
    return place.fetch(path, limit, b"".join)


def metered(
    chunks: Iterator[bytes],
    limit: int,
    what: str,
    deadline: Deadline,
    tell: Callable[[int], None] | None = None,
) -> Iterator[bytes]:
    """The same chunks, no more than `limit` bytes of them, and none after the deadline."""
    total = 0
    for chunk in chunks:
        deadline.check(what)
        total += len(chunk)
        if total > limit:
            raise too_large(what, limit)
        if tell is not None:
            tell(total)
        yield chunk


def too_many_files(shown: str, most: int) -> TooLarge:
    """The error for a place that holds more files than the contract's bounds let."""
    return TooLarge(
        f"{shown} holds too many files",
        expected=f"at most {most}, manifest and signatures included",
        next_step="raise bounds.max_files in the contract, if so many files are right",
    )


def too_large(what: str, limit: int, found: int | None = None) -> TooLarge:
    """The error for more bytes than a limit."""
    return TooLarge(
        f"{what} is larger than the contract allows",
        expected=f"at most {limit} bytes",
        found=None if found is None else f"{found} bytes",
        next_step="raise bounds.max_bytes in the contract, if so much data is right",
    )
