"""Files on their way into the store: read once, hashed while they are copied, compared with the signed manifest.

A process that is killed here leaves whole objects or none; running it again stores the same ones. Bytes that are not
what the manifest says are kept, sealed, as evidence, and stand in no list of a delivery's data.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from itertools import chain

from assay.contract import Bounds
from assay.intake.digests import Digest, Hashers
from assay.intake.errors import NotThere, SourceRefused, TooLarge
from assay.intake.manifests import Entry
from assay.intake.sources import Place, too_large
from assay.store import Batch, ObjectStore
from assay.store.batch import gathered
from assay.store.packs import MAX_OBJECT

_SMALL = 4 << 20  # bytes up to which a file of this machine is copied sooner than a thread takes it over

Progress = Callable[[str, int], None]
"""Called with a file's path and the bytes of it that came so far."""


@dataclass(frozen=True)
class LandedFile:
    """One file as it came.

    Attributes:
        path: Its path in the manifest.
        sha256: The object that holds its bytes.
        size: Its size in bytes.
        expected: What the manifest says of it.
        differs: Those of the manifest's digests that its bytes do not have.
    """

    path: str
    sha256: str
    size: int
    expected: Entry
    differs: tuple[Digest, ...] = ()

    @property
    def right(self) -> bool:
        """Whether it is all that the manifest says of it, which may be nothing."""
        return not self.differs and self.expected.size in {None, self.size}


@dataclass
class Landed:
    """What came of a delivery's files.

    Attributes:
        files: Those that could be read, in the manifest's order.
        missing: Paths that the manifest lists and the source does not have.
        refused: Why not, by path: no regular file, not given by the server, too large.
    """

    files: list[LandedFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def wrong(self) -> list[LandedFile]:
        """Files whose digest or size is not the manifest's."""
        return [file for file in self.files if not file.right]


def land(
    place: Place,
    expected: Mapping[str, Entry],
    store: ObjectStore,
    bounds: Bounds,
    *,
    sealed: bool,
    prefetched: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Landed:
    """Copy all files that a manifest lists into the store, several at a time where the place allows it.

    Args:
        place: Where they lie.
        expected: The manifest.
        store: Where they go.
        bounds: `max_bytes` limits them together.
        sealed: Keep all of them encrypted, because the delivery is not accepted anyway. Otherwise only those whose
            digest is wrong are.
        prefetched: Bytes of files that were read before.
        progress: Told about each chunk; by several threads where several files come at once.
        sizes: What the place said of their sizes: small ones are not worth a thread. No more than a hint.

    Raises:
        SourceUnreachable: The source broke off; what came whole is in the store, under no delivery's name.
        LandingFailed: A local file could not be read to its end.
        StoreFull, StoreReadOnly, StoreUnavailable: The store took no more.
    """
    with store.batch() as batch:
        landing = _Landing(place, batch, bounds.max_bytes, sealed, prefetched or {}, progress)
        small = [path for path in expected if sizes is not None and sizes.get(path, 0) <= _SMALL]
        beside = expected.keys() - set(small) if place.at_once > 1 else set()
        for path in expected:
            if path not in beside:
                landing.take(path, expected[path])
        if beside and not landing.over:
            with ThreadPoolExecutor(min(place.at_once, len(beside)), "assay-landing") as pool:
                running = [
                    pool.submit(landing.take, path, expected[path]) for path in expected if path in beside
                ]
                try:
                    for each in as_completed(running):
                        each.result()
                except BaseException:
                    landing.over = True
                    raise
    landed = landing.landed
    landed.files = [landing.came[path] for path in expected if path in landing.came]
    landed.missing = [path for path in expected if path in landing.missing]
    if not sealed and (wrong := {file.sha256 for file in landed.wrong}):
        store.seal_all(wrong)
    return landed


class _Landing:
    """The state that the threads of one landing share."""

    def __init__(
        self,
        place: Place,
        batch: Batch,
        most: int,
        sealed: bool,
        prefetched: Mapping[str, bytes],
        progress: Progress | None,
    ) -> None:
        self.landed = Landed()
        self.came: dict[str, LandedFile] = {}
        self.missing: set[str] = set()
        self.over = False
        self._place = place
        self._batch = batch
        self._most = most
        self._sealed = sealed
        self._prefetched = prefetched
        self._progress = progress
        self._sizes: dict[str, int] = {}  # of files on their way
        self._whole = 0  # bytes of those that came
        self._lock = threading.Lock()

    def take(self, path: str, entry: Entry) -> None:
        """Fetch one file."""
        if self.over:
            return
        try:
            if path in self._prefetched:
                file = self._store(iter((self._prefetched[path],)), path, entry)
            else:
                file = self._place.fetch(
                    path, self._most - self._whole, lambda chunks: self._store(chunks, path, entry)
                )
        except NotThere:
            self.missing.add(path)
        except TooLarge as error:
            self.landed.refused[path] = f"{error.message} ({error.expected})"
            self.over = True  # whoever sends too much does not get to send more
        except SourceRefused as error:
            self.landed.refused[path] = f"{error.message}: {error.found}" if error.found else error.message
        else:
            self.came[path] = file
            with self._lock:
                self._whole += file.size
        finally:
            self._sizes.pop(path, None)

    def _store(self, chunks: Iterator[bytes], path: str, entry: Entry) -> LandedFile:
        # The store computes SHA-256 itself; all other algorithms run along over the same chunks.
        hashers = Hashers(entry.digests, sha256_elsewhere=True)
        first, rest = gathered(self._passing(chunks, path, hashers), MAX_OBJECT)
        if rest is None:
            digest = hashlib.sha256(first)
            differs = tuple(hashers.differing(entry.digests, digest.hexdigest()))
            file = LandedFile(path, digest.hexdigest(), len(first), entry, differs)
            # Bytes in memory are never laid down plain if they are wrong.
            self._batch.put_bytes(first, sealed=self._sealed or not file.right, digest=digest.digest())
            return file
        stored = self._batch.put_stream(chain((first,), rest), sealed=self._sealed)
        differs = tuple(hashers.differing(entry.digests, stored.sha256))
        return LandedFile(path, stored.sha256, stored.size, entry, differs)

    def _passing(self, chunks: Iterator[bytes], path: str, hashers: Hashers) -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            hashers.update(chunk)
            done += len(chunk)
            with self._lock:
                self._sizes[path] = done
                together = self._whole + sum(self._sizes.values())
            if together > self._most:
                raise too_large(path, self._most)
            if self._progress is not None:
                self._progress(path, done)
            yield chunk
