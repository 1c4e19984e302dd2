"""Files on their way into the store: many small ones, large ones at once, limits, kills and memory."""

from __future__ import annotations

import gc
import hashlib
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.contract import Bounds
from assay.intake import SourceUnreachable
from assay.intake._collector import seldom_collecting
from assay.intake.digests import Digest
from assay.intake.landing import Landed, land
from assay.intake.manifests import Entry
from assay.intake.sources import Deadline, Listing, open_place
from assay.store import ObjectStore
from tests.intake.support import FILES, Line, outcomes, rejected_for

SMALL = {f"{number % 7}/{number:03}.bin": b"%d " % number * 50 for number in range(120)}


def entry(data: bytes) -> Entry:
    return Entry((Digest("sha256", hashlib.sha256(data).hexdigest()),))


def laid(folder: Path, files: dict[str, bytes]) -> dict[str, Entry]:
    """Write files; what a manifest says of them."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return {path: entry(data) for path, data in files.items()}


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")


def landed(folder: Path, expected: dict[str, Entry], store: ObjectStore, **more: Any) -> Landed:
    """Land a folder as verifying does."""
    place = open_place(str(folder), Deadline(60))
    try:
        listing = place.listing(10_000)
        assert listing is not None
        bounds = more.pop("bounds", Bounds())
        return land(place, expected, store, bounds, sealed=False, sizes=listing.files, **more)
    finally:
        place.close()


def test_many_small_files_share_a_pack_and_every_one_is_found(line: Line) -> None:
    """The registry has them all, in the manifest's order; the disk has one file more."""
    result = line.verify(line.deliver(files=SMALL))
    assert result.verdict == "accept", outcomes(result)
    assert [file.path for file in result.files] == sorted(["delivery.json", *SMALL])
    for file in result.files:
        if file.path in SMALL:
            assert line.store.get_bytes(file.sha256) == SMALL[file.path]
    root = Path(line.store.uri.removeprefix("file://"))
    assert len(list((root / "packs").iterdir())) == 1


def test_a_wrong_file_among_many_is_sealed_and_never_plain(line: Line, tmp_path: Path) -> None:
    """In no pack either: its bytes are evidence."""
    folder = line.deliver(files=SMALL)
    secret = b"poison" * 20
    (folder / "3" / "003.bin").write_bytes(secret)
    rejected_for(line.verify(folder), "intake.checksums")
    digest = hashlib.sha256(secret).hexdigest()
    assert line.store.is_sealed(digest)
    assert line.store.get_bytes(digest) == secret
    root = Path(line.store.uri.removeprefix("file://"))
    for path in root.rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path


def test_files_of_a_rejected_delivery_leave_no_plain_bytes(line: Line) -> None:
    """All of them are sealed, but those that an accepted delivery brought as well."""
    good = line.verify(line.deliver("good", files={"0/000.bin": SMALL["0/000.bin"]}))
    assert good.verdict == "accept"
    folder = line.deliver("bad", files=SMALL, sequence=2)
    (folder / "unlisted.bin").write_bytes(b"x")
    result = line.verify(folder)
    rejected_for(result, "intake.completeness")
    shared = hashlib.sha256(SMALL["0/000.bin"]).hexdigest()
    assert not line.store.is_sealed(shared)
    assert all(line.store.is_sealed(file.sha256) for file in result.files if file.sha256 != shared)


def test_large_files_come_several_at_a_time_and_in_the_manifests_order(
    tmp_path: Path, store: ObjectStore
) -> None:
    """Two of them wait for each other in the middle."""
    files = {f"{number}.bin": bytes([number]) * (5 << 20) for number in range(3)}
    expected = laid(tmp_path / "delivery", files)
    together = threading.Barrier(2, timeout=30)
    waited: set[str] = set()

    def progress(path: str, done: int) -> None:
        if done > (4 << 20) and path not in waited and len(waited) < 2:
            waited.add(path)
            together.wait()

    found = landed(tmp_path / "delivery", expected, store, progress=progress)
    assert [file.path for file in found.files] == list(files)
    assert all(file.right for file in found.files)


def test_the_limit_on_bytes_is_for_all_files_together_also_at_once(
    tmp_path: Path, store: ObjectStore
) -> None:
    """Each alone would fit."""
    files = {f"{number}.bin": bytes([number]) * (5 << 20) for number in range(4)}
    expected = laid(tmp_path / "delivery", files)
    found = landed(tmp_path / "delivery", expected, store, bounds=Bounds(max_bytes=12 << 20))
    assert found.refused
    assert sum(file.size for file in found.files) <= 12 << 20
    found = landed(tmp_path / "delivery", expected, store, bounds=Bounds(max_bytes=20 << 20))
    assert not found.refused


def test_an_error_of_one_thread_ends_all_and_what_came_whole_stays(
    tmp_path: Path, store: ObjectStore
) -> None:
    """The error is the one that happened."""

    class Breaking:
        at_once, shown, made, vouched = 3, "there", False, None

        def fetch(self, path: str, limit: int, sink: Callable[[Iterator[bytes]], Any]) -> Any:
            if path == "bad":
                raise SourceUnreachable("the line went dead", next_step="run again")
            return sink(iter((path.encode(),)))

        def listing(self, most: int) -> Listing | None:
            return None

        def close(self) -> None:
            pass

    expected = {name: entry(name.encode()) for name in ("one", "bad")}
    with pytest.raises(SourceUnreachable, match="went dead"):
        land(Breaking(), expected, store, Bounds(), sealed=False)
    assert store.get_bytes(hashlib.sha256(b"one").hexdigest()) == b"one"


def test_the_collector_is_asked_for_less_only_while_deliveries_are_verified() -> None:
    """Also where two are under way, and one of them fails."""
    before = gc.get_threshold()
    first, second = seldom_collecting(), seldom_collecting()
    first.__enter__()
    second.__enter__()
    assert gc.get_threshold()[0] > before[0]
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > before[0]
    assert not second.__exit__(ValueError, ValueError("no"), None)
    assert gc.get_threshold() == before


def in_a_child(work: Callable[[], None]) -> int:
    """Run it in a fork; how that ended."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("at", [1, 60, 119, 125])
def test_killed_between_any_two_files_and_run_again_it_gives_the_same_delivery(line: Line, at: int) -> None:
    """SIGKILL: no pack is half there, and a second run stores and registers what one run would have."""
    folder = line.deliver(files={**SMALL, **FILES, "large.bin": b"x" * (6 << 20)})
    seen: set[str] = set()

    def progress(path: str, done: int) -> None:
        seen.add(path)
        if len(seen) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(lambda: line.verify(folder, progress=progress) and None) in {-signal.SIGKILL, 0}
    for digest in line.store.digests():
        line.store.verify(digest)
    result = line.verify(folder)
    assert result.verdict == "accept", outcomes(result)
    assert [row.id for row in line.registered()] == [result.delivery_id]
    assert all(line.store.verify(file.sha256).size == file.size for file in result.files)


def test_memory_does_not_grow_with_a_delivery(tmp_path: Path, store: ObjectStore) -> None:
    """Two files of 150 MB at a time: what stays in memory is a few pieces."""
    folder = tmp_path / "delivery"
    folder.mkdir()
    size = 150 << 20
    for number in range(2):
        with (folder / f"{number}.bin").open("wb") as file:
            file.truncate(size)
    digest = hashlib.sha256()
    for _ in range(150):
        digest.update(bytes(1 << 20))
    one = Entry((Digest("sha256", digest.hexdigest()),))
    expected = {f"{number}.bin": one for number in range(2)}

    def work() -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = landed(folder, expected, store)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os._exit(0 if grown < 64 * 1024 and all(file.right for file in found.files) else 3)

    assert in_a_child(work) == 0
