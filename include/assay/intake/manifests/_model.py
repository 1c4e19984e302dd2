"""What a manifest says, whatever its format: the files of a delivery, with their digests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from assay.intake.digests import STRONG, Digest
from assay.intake.errors import ManifestError

SUGGEST = "have the publisher make the manifest again, e.g. with `sha256sum -- FILES > SHA256SUMS`, and sign it again"

Reader = Callable[[str, int], bytes]
"""Reads another file of the delivery that the manifest vouches for: its path and its largest size in bytes."""


@dataclass(frozen=True)
class Entry:
    """What a manifest says of one file.

    Attributes:
        digests: Its digests; empty where the manifest names the file without one.
        size: Its size in bytes, where the format gives it.
        unchecked: Why nothing of it can be compared, where that has a reason.
    """

    digests: tuple[Digest, ...] = ()
    size: int | None = None
    unchecked: str | None = None

    @property
    def best(self) -> Digest | None:
        """The digest that proves most."""
        order = list(STRONG)
        return min(
            self.digests,
            key=lambda digest: order.index(digest.algorithm) if digest.algorithm in order else len(order),
            default=None,
        )

    @property
    def proved(self) -> bool:
        """Whether a match proves that the bytes are those that the publisher meant."""
        return any(not digest.weak for digest in self.digests)


@dataclass(frozen=True)
class Pattern:
    """Files that a manifest names by pattern only, without digests.

    Attributes:
        name: What the manifest calls them.
        include: Shell patterns of paths.
        exclude: Shell patterns of paths that are not meant.
    """

    name: str
    include: tuple[str, ...]
    exclude: tuple[str, ...] = ()

    def __contains__(self, path: object) -> bool:
        """Whether a path is meant."""
        text = str(path)
        return any(fnmatchcase(text, each) for each in self.include) and not any(
            fnmatchcase(text, each) for each in self.exclude
        )


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read.

    Attributes:
        format: Its format, as a contract names it.
        entries: What it says of each file, by path relative to the delivery, in the manifest's order.
        patterns: Files that it names without digests.
        own: Other files of the format itself, which it cannot list; they are not read.
        archive: Whether it lists more than one delivery carries, so that a listed file may be absent.
        total: Bytes and number of `counted` files together, where the format says that.
        counted: Prefix of the paths that `total` is about.
        created: When it was made, where the format says that.
        valid_until: Until when it may be used, where the format says that.
    """

    format: str
    entries: dict[str, Entry]
    patterns: tuple[Pattern, ...] = ()
    own: frozenset[str] = frozenset()
    archive: bool = False
    total: tuple[int, int] | None = None
    counted: str = ""
    created: dt.datetime | None = None
    valid_until: dt.datetime | None = None

    @property
    def algorithms(self) -> list[str]:
        """The algorithms of its digests."""
        return sorted({digest.algorithm for entry in self.entries.values() for digest in entry.digests})


@dataclass
class Raw:
    """A manifest's bytes on their way through a parser.

    Attributes:
        data: The exact bytes, whose signature was checked before.
        name: The manifest's own file name.
        max_files: Most files that it may list.
        algorithm: The algorithm that the contract names, for digests that do not say it.
        read: Reads other files of the delivery; None where there is no delivery.
    """

    data: bytes
    name: str
    max_files: int
    algorithm: str | None = None
    read: Reader | None = None

    def wrong(
        self, problem: str, expected: object, found: object = None, *, line: int | None = None, name: str = ""
    ) -> ManifestError:
        """The error for a manifest that cannot be trusted to say which files belong to the delivery."""
        place = name or self.name
        shown = None if found is None else ascii(str(found))[1:-1][:120]
        return ManifestError(
            f"{place}{'' if line is None else f', line {line}'}: {problem}",
            line=line,
            expected=expected,
            found=shown,
            next_step=SUGGEST,
        )

    def too_many(self, line: int | None = None) -> ManifestError:
        """The error for more files than the contract allows."""
        return ManifestError(
            f"{self.name} lists too many files",
            line=line,
            expected=f"at most {self.max_files}",
            next_step="raise bounds.max_files in the contract, if so many files are right",
        )
