"""Packs: many small objects in one file, which keep all the laws of objects that lie alone."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import secrets
import signal
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from assay.store import ObjectMissing, ObjectStore, StoreCorrupt, StoreFull
from assay.store import batch as batches
from assay.store.packs import Pack, closing

MANY = [b"grain %d " % number * 40 for number in range(100)]
DIGESTS = sorted(hashlib.sha256(data).hexdigest() for data in MANY)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    where = tmp_path / "store" if request.param == "file" else f"memory://{tmp_path.name}"
    return ObjectStore(where, keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")


@pytest.fixture
def local(tmp_path: Path) -> ObjectStore:
    return again(tmp_path)


def again(tmp_path: Path) -> ObjectStore:
    """The same store as another process would see it."""
    return ObjectStore(tmp_path / "store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")


def fill(store: ObjectStore, data: list[bytes] = MANY, *, sealed: bool = False) -> None:
    with store.batch() as batch:
        for each in data:
            batch.put_bytes(each, sealed=sealed)


def packs_in(tmp_path: Path, kind: str = "packs") -> list[Path]:
    return sorted((tmp_path / "store" / kind).glob("*")) if (tmp_path / "store" / kind).exists() else []


@pytest.mark.parametrize("sealed", [False, True])
def test_objects_of_a_batch_come_back_by_every_way_of_reading(store: ObjectStore, sealed: bool) -> None:
    """As those that were put one by one."""
    fill(store, sealed=sealed)
    data, digest = MANY[7], hashlib.sha256(MANY[7]).hexdigest()
    assert store.exists(digest)
    assert store.is_sealed(digest) is sealed
    assert store.get_bytes(digest) == data
    assert store.verify(digest).size == len(data)
    with store.open(digest) as file:
        file.seek(3)
        assert file.read() == data[3:]
    assert store.local_path(digest).read_bytes() == data
    assert list(store.digests(sealed=sealed)) == DIGESTS
    assert list(store.digests(sealed=not sealed)) == []
    assert not store.exists(hashlib.sha256(b"another").hexdigest())


def test_a_batch_lies_in_one_file_and_its_uri_tells_where_in_it(store: ObjectStore, tmp_path: Path) -> None:
    """What an auditor reads without Assay: these bytes of that file."""
    fill(store)
    digest = hashlib.sha256(MANY[5]).hexdigest()
    uri, _, where = store.uri_of(digest).partition("#bytes=")
    first, last = map(int, where.split("-"))
    with fsspec.open(uri, "rb") as file:
        assert file.read()[first : last + 1] == MANY[5]
    assert "/packs/" in uri


def test_sealed_packs_hide_what_they_hold(local: ObjectStore, tmp_path: Path) -> None:
    """Every object in them is sealed by itself."""
    fill(local, sealed=True)
    (pack,) = packs_in(tmp_path, "sealed-packs")
    assert b"grain" not in pack.read_bytes()


def test_the_same_batch_makes_the_same_pack_whatever_its_order(local: ObjectStore, tmp_path: Path) -> None:
    """Content decides the name: a rerun leaves one pack."""
    entries = {hashlib.sha256(each).digest(): (8 + 5 * n, 5) for n, each in enumerate(MANY)}
    assert closing(entries) == closing(dict(reversed(entries.items())))
    fill(local)
    before = {path: path.read_bytes() for path in packs_in(tmp_path)}
    fill(again(tmp_path))
    assert {path: path.read_bytes() for path in packs_in(tmp_path)} == before


def test_what_is_there_already_is_not_stored_twice(local: ObjectStore, tmp_path: Path) -> None:
    """A delivery that repeats most of the last one costs what is new."""
    fill(local)
    fill(local, [*MANY, *(b"new %d" % number for number in range(50))])
    smaller, _ = sorted(packs_in(tmp_path), key=lambda path: path.stat().st_size)
    assert smaller.stat().st_size < 50 * (48 + 10) + 100
    assert len(list(local.digests())) == 150


def test_a_few_small_objects_lie_alone(local: ObjectStore, tmp_path: Path) -> None:
    """Packs are for many: every one of them is looked through."""
    fill(local, MANY[:10])
    assert packs_in(tmp_path) == []
    assert len(list((tmp_path / "store" / "objects").rglob("?" * 64))) == 10


def test_large_objects_of_a_batch_lie_alone(local: ObjectStore, tmp_path: Path) -> None:
    """They are there at once, whole."""
    large = secrets.token_bytes((1 << 20) + 1)
    with local.batch() as batch:
        stored = batch.put_stream([large[: 1 << 19], large[1 << 19 :]])
        assert again(tmp_path).get_bytes(stored.sha256) == large


def test_nothing_of_a_batch_is_seen_before_its_end(local: ObjectStore, tmp_path: Path) -> None:
    """Not under its name, and not by listing."""
    with local.batch() as batch:
        for each in MANY:
            batch.put_bytes(each)
        other = again(tmp_path)
        assert list(other.digests()) == []
        assert not other.exists(DIGESTS[0])
    assert list(other.digests()) == DIGESTS  # and a store that has looked before sees it afterwards
    assert other.exists(DIGESTS[0])


def test_what_was_put_whole_before_an_error_stays(local: ObjectStore, tmp_path: Path) -> None:
    """A source that breaks off is asked again for the rest."""

    def breaking_off() -> None:
        with local.batch() as batch:
            for each in MANY[:50]:
                batch.put_bytes(each)
            raise RuntimeError("the line went dead")

    with pytest.raises(RuntimeError):
        breaking_off()
    assert len(list(again(tmp_path).digests())) == 50
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_a_pack_that_is_full_is_closed_and_another_begun(
    local: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its number of objects, and by its bytes."""
    monkeypatch.setattr(batches, "MAX_ENTRIES", 40)
    fill(local)
    assert len(packs_in(tmp_path)) == 3
    assert list(local.digests()) == DIGESTS


def test_several_threads_may_fill_one_batch(local: ObjectStore) -> None:
    """Files of a delivery come several at a time."""
    data = [b"%d" % number * 100 for number in range(2000)]
    with local.batch() as batch, ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(batch.put_bytes, data))
    assert all(local.get_bytes(each.sha256) == plain for each, plain in zip(stored, data, strict=True))


def test_only_the_owner_may_look(local: ObjectStore, tmp_path: Path) -> None:
    """Packs are 0600 in directories of 0700, whatever the umask says."""
    before = os.umask(0)
    try:
        fill(local)
    finally:
        os.umask(before)
    (pack,) = packs_in(tmp_path)
    assert stat.S_IMODE(pack.stat().st_mode) == 0o600
    assert stat.S_IMODE(pack.parent.stat().st_mode) == 0o700


# ------------------------------------------------------------------------------------------------------------- damage
@pytest.mark.parametrize("sealed", [False, True])
def test_a_flipped_byte_in_an_object_is_found_and_others_stay_readable(
    local: ObjectStore, tmp_path: Path, sealed: bool
) -> None:
    """Damage to one object of a pack is damage to that one."""
    fill(local, sealed=sealed)
    digest, other = hashlib.sha256(MANY[3]).hexdigest(), hashlib.sha256(MANY[4]).hexdigest()
    (pack,) = packs_in(tmp_path, "sealed-packs" if sealed else "packs")
    _, offset, length = next(local.packs(sealed=sealed).holding(bytes.fromhex(digest)))
    data = bytearray(pack.read_bytes())
    data[offset + length - 1] ^= 1
    pack.write_bytes(data)
    for ask in (local.get_bytes, local.open, local.verify, local.local_path):
        with pytest.raises(StoreCorrupt, match=digest):
            ask(digest)
    assert again(tmp_path).get_bytes(other) == MANY[4]


@pytest.mark.parametrize("at", [-1, -20, -60, -600])
def test_a_damaged_index_is_damage_and_not_absence(local: ObjectStore, tmp_path: Path, at: int) -> None:
    """An object that may have been in there must not look as if it had never been."""
    fill(local)
    (pack,) = packs_in(tmp_path)
    data = bytearray(pack.read_bytes())
    data[at] ^= 1
    pack.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="pack"):
        again(tmp_path).get_bytes(DIGESTS[0])


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_pack_that_was_cut_off_is_damage(local: ObjectStore, tmp_path: Path, keep: int) -> None:
    """However little is left of it."""
    fill(local)
    (pack,) = packs_in(tmp_path)
    pack.write_bytes(pack.read_bytes()[:keep])
    with pytest.raises(StoreCorrupt):
        again(tmp_path).verify(DIGESTS[0])


def test_a_pack_under_another_packs_name_is_damage(local: ObjectStore, tmp_path: Path) -> None:
    """Whoever swaps packs is found out by the index's digest."""
    fill(local)
    (first,) = packs_in(tmp_path)
    fill(local, [b"other %d" % number for number in range(30)])
    (second,) = set(packs_in(tmp_path)) - {first}
    first.write_bytes(second.read_bytes())
    with pytest.raises(StoreCorrupt):
        again(tmp_path).get_bytes(DIGESTS[0])


def test_putting_the_right_bytes_again_mends_a_damaged_pack(local: ObjectStore, tmp_path: Path) -> None:
    """Both the object and the index."""
    fill(local)
    (pack,) = packs_in(tmp_path)
    whole = pack.read_bytes()
    for at in (100, -1):
        data = bytearray(whole)
        data[at] ^= 1
        pack.write_bytes(data)
        fresh = again(tmp_path)
        fill(fresh)
        assert [fresh.verify(digest).sha256 for digest in DIGESTS] == DIGESTS


def test_a_missing_object_is_missing(local: ObjectStore) -> None:
    """With packs around as without."""
    fill(local)
    with pytest.raises(ObjectMissing):
        local.get_bytes(hashlib.sha256(b"never").hexdigest())


# ------------------------------------------------------------------------------------------------------------- sealing
def test_sealing_some_objects_takes_their_plain_bytes_out_of_the_pack(
    store: ObjectStore, tmp_path: Path
) -> None:
    """The others stay where and as they are, and everything can still be read."""
    fill(store)
    store.seal_all(DIGESTS[:40])
    for number, digest in enumerate(DIGESTS):
        assert store.is_sealed(digest) is (number < 40)
        assert hashlib.sha256(store.get_bytes(digest)).hexdigest() == digest
    assert list(store.digests()) == DIGESTS[40:]
    if store.uri.startswith("file:"):
        (pack,) = packs_in(tmp_path)
        lying = pack.read_bytes()
        plain = {hashlib.sha256(each).hexdigest(): each for each in MANY}
        assert not any(plain[digest] in lying for digest in DIGESTS[:40])


def test_sealing_all_objects_of_a_pack_takes_it_away(local: ObjectStore, tmp_path: Path) -> None:
    """One at a time, or all together."""
    fill(local)
    local.seal(DIGESTS[0])
    local.seal_all(DIGESTS)
    assert packs_in(tmp_path) == []
    assert list(again(tmp_path).digests(sealed=True)) == DIGESTS


def test_another_process_reads_on_after_a_pack_was_written_anew(local: ObjectStore, tmp_path: Path) -> None:
    """What it knew of the old pack is looked up again."""
    fill(local)
    other = again(tmp_path)
    assert other.exists(DIGESTS[99])
    local.seal_all(DIGESTS[:10])
    assert hashlib.sha256(other.get_bytes(DIGESTS[99])).hexdigest() == DIGESTS[99]
    assert hashlib.sha256(other.get_bytes(DIGESTS[0])).hexdigest() == DIGESTS[0]


def test_a_damaged_object_is_not_sealed_and_loses_nothing(local: ObjectStore, tmp_path: Path) -> None:
    """Its pack is left as it is, as evidence."""
    fill(local)
    (pack,) = packs_in(tmp_path)
    data = bytearray(pack.read_bytes())
    data[100] ^= 1
    pack.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        again(tmp_path).seal_all(DIGESTS)
    assert packs_in(tmp_path) == [pack]


# -------------------------------------------------------------------------------------------------------------- kills
def _stored_until_killed(folder: Path, steps: int, sealing: list[str]) -> int:
    """Store and seal in a child that is killed before its n-th step; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = steps

    def counting(real: Any) -> Any:
        def step(*given: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **more)

        return step

    try:
        store = again(folder)
        for name in ("open", "write", "fsync", "replace", "unlink"):
            setattr(os, name, counting(getattr(os, name)))
        fill(store)
        store.seal_all(sealing)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize("sealing", [False, True])
def test_a_batch_that_is_killed_at_any_step_leaves_all_or_nothing_and_can_be_run_again(
    tmp_path: Path, sealing: bool
) -> None:
    """SIGKILL before each open, write, fsync, rename and unlink in turn, while storing and while sealing."""
    wanted = DIGESTS[:50] if sealing else []
    steps = 0
    while ended := _stored_until_killed(tmp_path, steps, wanted):
        assert ended == -signal.SIGKILL
        store = again(tmp_path)
        there = set(store.digests()) | set(store.digests(sealed=True))
        assert there in (set(), set(DIGESTS)), "half a batch is visible"
        for digest in sorted(there)[::25]:
            assert hashlib.sha256(store.get_bytes(digest)).hexdigest() == digest
        steps += 1
    assert steps >= 5
    store = again(tmp_path)
    assert list(store.digests(sealed=True)) == wanted
    assert list(store.digests()) == [digest for digest in DIGESTS if digest not in wanted]


def test_a_full_disk_is_a_clear_error_and_leaves_no_half_pack(local: ObjectStore, tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, as it does when the disk ends."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StoreFull):
            fill(local, [secrets.token_bytes(100_000) for _ in range(100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert packs_in(tmp_path) == []
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def _filled(folder: str) -> int:
    store = ObjectStore(Path(folder) / "store", keys_dir=Path(folder) / "keys")
    fill(store)
    return len(list(store.digests()))


def test_processes_that_store_the_same_batch_together_agree(tmp_path: Path) -> None:
    """Two runs of one task at a time leave what one leaves."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(_filled, [str(tmp_path)] * 8) == [100] * 8
    assert len(packs_in(tmp_path)) == 1


def test_looking_up_an_object_needs_no_more_than_the_index() -> None:
    """First, last, between, and none."""
    entries = {hashlib.sha256(b"%d" % number).digest(): (number, number) for number in range(1000)}
    pack = Pack("packs/x", closing(entries)[1][: 48 * 1000])
    assert len(pack) == 1000
    assert all(pack.find(digest) == where for digest, where in entries.items())
    assert pack.find(b"\0" * 32) is None
    assert pack.find(b"\xff" * 32) is None
