"""The object store: what comes back is what was put, or nothing."""

from __future__ import annotations

import hashlib
import os
import resource
import secrets
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from assay.errors import Terminal, Transient
from assay.settings import Settings
from assay.store import (
    ObjectMissing,
    ObjectStore,
    StoreCorrupt,
    Stored,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    StoreUriError,
    open_store,
)
from assay.store.places import LocalPlace, RemotePlace, sweep

DATA = b"ore " * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A store of either kind: a folder, and something that is not a file system of this machine."""
    if request.param == "file":
        return ObjectStore(
            (tmp_path / "store").as_uri(), keys_dir=tmp_path / "keys", work_dir=tmp_path / "work"
        )
    return ObjectStore(f"memory://{tmp_path.name}", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")


@pytest.fixture
def local(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("sealed", [False, True])
def test_an_object_comes_back_as_it_was_put(store: ObjectStore, sealed: bool) -> None:
    """By every way of reading."""
    stored = store.put_bytes(DATA, sealed=sealed)
    assert stored == Stored(DIGEST, len(DATA))
    assert store.exists(DIGEST)
    assert store.is_sealed(DIGEST) is sealed
    assert store.get_bytes(DIGEST) == DATA
    with store.open(DIGEST) as file:
        file.seek(4)
        assert file.read() == DATA[4:]
    assert store.local_path(DIGEST).read_bytes() == DATA
    assert store.verify(DIGEST) == stored
    assert list(store.digests(sealed=sealed)) == [DIGEST]
    assert list(store.digests(sealed=not sealed)) == []


@pytest.mark.parametrize("sealed", [False, True])
def test_putting_the_same_bytes_again_changes_nothing(
    store: ObjectStore, sealed: bool, tmp_path: Path
) -> None:
    """Whichever way they come."""
    file = tmp_path / "ore.bin"
    file.write_bytes(DATA)
    first = store.put_bytes(DATA, sealed=sealed)
    assert store.put_stream((DATA[i : i + 7] for i in range(0, len(DATA), 7)), sealed=sealed) == first
    assert store.put_file(file, sealed=sealed) == first
    assert list(store.digests(sealed=sealed)) == [DIGEST]


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    """Zero bytes have a digest too."""
    for sealed in (True, False):
        stored = store.put_bytes(b"", sealed=sealed)
        assert stored == Stored(hashlib.sha256(b"").hexdigest(), 0)
        assert store.get_bytes(stored.sha256) == b""


def test_objects_lie_under_their_digest(store: ObjectStore) -> None:
    """The layout is part of the agreement: backups and auditors rely on it."""
    store.put_bytes(DATA)
    assert store.uri_of(DIGEST) == f"{store.uri}/objects/{DIGEST[:2]}/{DIGEST[2:4]}/{DIGEST}"
    with fsspec.open(store.uri_of(DIGEST), "rb") as file:
        assert file.read() == DATA


def test_only_the_owner_may_look(local: ObjectStore, tmp_path: Path) -> None:
    """Files 0600 and directories 0700, whatever the umask says."""
    before = os.umask(0)
    try:
        local.put_bytes(DATA)
        local.put_bytes(DATA + b"!", sealed=True)
    finally:
        os.umask(before)
    for folder in ("store", "keys"):
        for path in [tmp_path / folder, *(tmp_path / folder).rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    """The message says which store was asked."""
    for ask in (store.get_bytes, store.open, store.local_path, store.verify, store.uri_of, store.is_sealed):
        with pytest.raises(ObjectMissing, match=DIGEST) as caught:
            ask(DIGEST)
        assert isinstance(caught.value, Terminal)
        assert store.uri in str(caught.value)
    assert not store.exists(DIGEST)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", DIGEST.upper(), DIGEST[:-1], DIGEST + "\n"])
def test_a_name_that_is_no_digest_never_becomes_a_path(store: ObjectStore, name: str) -> None:
    """Digests come from manifests, which strangers write."""
    for ask in (store.exists, store.get_bytes, store.local_path):
        with pytest.raises(ValueError, match="not a SHA-256"):
            ask(name)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_flipped_byte_is_found_by_every_way_of_reading(
    local: ObjectStore, tmp_path: Path, sealed: bool
) -> None:
    """Also when the file was read and found right before."""
    local.put_bytes(DATA, sealed=sealed)
    local.local_path(DIGEST)
    (file,) = [path for path in files_in(tmp_path / "store") if path.name == DIGEST]
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    file.write_bytes(changed)
    for ask in (local.get_bytes, local.open, local.verify):
        with pytest.raises(StoreCorrupt, match=DIGEST) as caught:
            ask(DIGEST)
        assert "was left as it" in str(caught.value)
    if not sealed:
        with pytest.raises(StoreCorrupt):
            local.local_path(DIGEST)
    assert file.read_bytes() == changed


def test_a_remote_object_that_was_changed_is_found(tmp_path: Path) -> None:
    """A bucket is no more to be trusted than a disk."""
    remote = ObjectStore(f"memory://{tmp_path.name}", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")
    remote.put_bytes(DATA)
    with fsspec.open(remote.uri_of(DIGEST), "wb") as file:
        file.write(DATA[::-1])
    for ask in (remote.get_bytes, remote.open, remote.verify, remote.local_path):
        with pytest.raises(StoreCorrupt, match=DIGEST):
            ask(DIGEST)


def test_a_file_that_has_not_changed_is_hashed_once(
    local: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading a large object's parts again and again must not cost a whole pass each time."""
    local.put_bytes(DATA)
    path = local.local_path(DIGEST)
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
    monkeypatch.setattr("assay.store.objects._RACY_NS", 0)
    counted: list[int] = []
    real = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: counted.append(1) or real(*given))
    for _ in range(3):
        local.open(DIGEST).close()
    assert len(counted) == 1


def test_putting_the_right_bytes_mends_a_damaged_object(local: ObjectStore, tmp_path: Path) -> None:
    """A delivery that is fetched again restores what the disk lost."""
    path = tmp_path / "store" / "objects" / DIGEST[:2] / DIGEST[2:4] / DIGEST
    local.put_bytes(DATA)
    path.write_bytes(b"rust")
    local.put_bytes(DATA)
    assert local.get_bytes(DIGEST) == DATA


def test_sealing_keeps_the_object_and_takes_the_plain_bytes_away(store: ObjectStore) -> None:
    """What was rejected stays readable by its digest, and by nobody who only sees the store."""
    store.put_bytes(DATA)
    for _ in range(2):
        assert store.seal(DIGEST) == Stored(DIGEST, len(DATA))
        assert store.is_sealed(DIGEST)
        assert store.get_bytes(DIGEST) == DATA
    assert list(store.digests()) == []


def test_a_failing_source_leaves_nothing(local: ObjectStore, tmp_path: Path) -> None:
    """What the source raised comes through as it is."""

    def chunks() -> Iterator[bytes]:
        yield DATA
        raise RuntimeError("the line went dead")

    with pytest.raises(RuntimeError, match="went dead"):
        local.put_stream(chunks())
    assert files_in(tmp_path / "store") == []


def test_a_file_that_cannot_be_read_is_not_blamed_on_the_store(local: ObjectStore, tmp_path: Path) -> None:
    """The system's own error says which file it was."""
    with pytest.raises(FileNotFoundError):
        local.put_file(tmp_path / "nowhere")


@pytest.mark.parametrize("sealed", [False, True])
def test_a_put_that_is_killed_in_the_middle_leaves_no_object_and_can_be_run_again(
    tmp_path: Path, sealed: bool
) -> None:
    """SIGKILL between two chunks: no object, no half object, and the same put works afterwards."""
    program = textwrap.dedent(
        f"""
        import os, signal
        from assay.store import ObjectStore
        def chunks():
            yield b"x" * (3 << 20)
            os.kill(os.getpid(), signal.SIGKILL)
        ObjectStore({str(tmp_path / "store")!r}, keys_dir=__import__("pathlib").Path({str(tmp_path / "keys")!r})
            ).put_stream(chunks(), sealed={sealed})
        """
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": "include"}, check=False
    )
    assert killed.returncode == -9
    store = ObjectStore(tmp_path / "store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")
    assert list(store.digests(sealed=sealed)) == []
    left = files_in(tmp_path / "store" / "tmp")
    assert len(left) == 1
    stored = store.put_stream([b"x" * (3 << 20)], sealed=sealed)
    assert store.get_bytes(stored.sha256) == b"x" * (3 << 20)
    os.utime(left[0], (0, 0))
    store.put_bytes(b"anything")
    assert not left[0].exists()


def test_what_another_process_is_writing_is_not_swept_away(local: ObjectStore, tmp_path: Path) -> None:
    """However old it is: a slow download may take hours."""
    with local.writer() as writer:
        writer.write(DATA)
        (spooled,) = files_in(tmp_path / "store" / "tmp")
        os.utime(spooled, (0, 0))
        sweep(tmp_path / "store" / "tmp")
        assert spooled.exists()
    assert local.get_bytes(DIGEST) == DATA


@pytest.mark.parametrize("sealed", [False, True])
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    local: ObjectStore, tmp_path: Path, sealed: bool
) -> None:
    """The kernel refuses to let the file grow, as it does when the disk or the quota ends."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StoreFull) as caught:
            local.put_stream((secrets.token_bytes(100_000) for _ in range(30)), sealed=sealed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(caught.value, Transient)
    assert "free some space" in str(caught.value)
    assert files_in(tmp_path / "store") == []


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="no place on this machine that even root cannot write")
def test_a_read_only_store_is_a_clear_error(tmp_path: Path) -> None:
    """/sys takes new files from nobody, not even from root."""
    store = ObjectStore("/sys/assay-store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")
    with pytest.raises(StoreReadOnly) as caught:
        store.put_bytes(DATA)
    assert "/sys/assay-store" in str(caught.value)
    assert "ASSAY_STORE_URI" in str(caught.value)


@pytest.mark.parametrize(
    ("number", "kind"),
    [("EROFS", StoreReadOnly), ("EACCES", StoreReadOnly), ("EDQUOT", StoreFull), ("EIO", StoreUnavailable)],
)
def test_each_refusal_of_the_system_has_its_message(
    local: ObjectStore, monkeypatch: pytest.MonkeyPatch, number: str, kind: type[Exception]
) -> None:
    """At the last moment, when everything is written and only the rename is left."""
    import errno

    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)), "somewhere")

    monkeypatch.setattr("assay.store.places.os.replace", refuse)
    with pytest.raises(kind) as caught:
        local.put_bytes(DATA)
    assert os.strerror(getattr(errno, number)) in str(caught.value)
    assert not local.exists(DIGEST)


def test_a_store_that_does_not_answer_is_transient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Client libraries raise families of their own; people get one of ours."""
    store = ObjectStore("memory://", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")
    assert isinstance(store._place, RemotePlace)

    class EndpointGone(Exception):
        """Not an OSError, as with botocore."""

    def fail(*_: object, **__: object) -> None:
        raise EndpointGone("could not connect")

    monkeypatch.setattr(type(store._place._fs), "put_file", fail)
    with pytest.raises(StoreUnavailable, match="does not answer") as caught:
        store.put_bytes(DATA)
    assert isinstance(caught.value, Transient)
    assert "EndpointGone" in str(caught.value)


def test_copies_go_when_the_store_is_gone(tmp_path: Path) -> None:
    """Plain copies of sealed objects must not lie around."""
    store = ObjectStore(tmp_path / "store", keys_dir=tmp_path / "keys", work_dir=tmp_path / "work")
    copy = store.local_path(store.put_bytes(DATA, sealed=True).sha256)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
    assert store.local_path(DIGEST) == copy
    del store
    assert not copy.exists()


def test_an_unknown_scheme_is_a_usage_error() -> None:
    """With the URI in the message."""
    with pytest.raises(StoreUriError, match="teleport://here") as caught:
        ObjectStore("teleport://here")
    assert caught.value.exit_code == 2


def test_the_settings_name_the_store(assay_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a folder in the state directory, and any URI by ASSAY_STORE_URI."""
    local = open_store(Settings.from_env())
    assert isinstance(local._place, LocalPlace)
    assert local.uri == (assay_home / "store").as_uri()
    monkeypatch.setenv("ASSAY_STORE_URI", f"memory://{assay_home.parent.name}/elsewhere")
    remote = open_store(Settings.from_env())
    remote.put_bytes(DATA, sealed=True)
    assert (assay_home / "keys" / "store.key").is_file()
    assert remote.get_bytes(DIGEST) == DATA


def test_a_large_object_is_read_back_without_holding_it_in_memory(store: ObjectStore) -> None:
    """Larger than what is opened in memory, and than one sealed chunk."""
    stored = store.put_stream((bytes([i]) * (1 << 20) for i in range(9)), sealed=True)
    with store.open(stored.sha256) as file:
        file.seek(8 << 20)
        assert file.read() == b"\x08" * (1 << 20)
