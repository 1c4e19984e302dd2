"""Sealed objects: what they hide, and which changes they notice."""

from __future__ import annotations

import io
import multiprocessing
import secrets
import stat
from pathlib import Path

import pytest

from assay.store import ObjectStore, StoreCorrupt, StoreKeyError
from assay.store.sealing import CHUNK, Sealer, store_key, unseal

KEY = bytes(range(32))
HEADER = 48
SEALED_CHUNK = CHUNK + 16


def sealed(plain: bytes, pieces: int = 1, key: bytes = KEY) -> bytes:
    out = io.BytesIO()
    sealer = Sealer(key, out.write)
    size = max(1, -(-len(plain) // pieces))
    for start in range(0, len(plain), size):
        sealer.update(plain[start : start + size])
    sealer.finish()
    return out.getvalue()


def opened(data: bytes, key: bytes = KEY) -> bytes:
    return b"".join(unseal(io.BytesIO(data), key, "it"))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("pieces", [1, 7])
def test_sealing_and_opening_is_the_identity(size: int, pieces: int) -> None:
    """At and around the chunk's size, and however the bytes come in."""
    plain = secrets.token_bytes(size)
    assert opened(sealed(plain, pieces)) == plain


def test_the_same_bytes_sealed_twice_look_different() -> None:
    """Whoever sees the store cannot tell which objects say the same."""
    one, other = sealed(b"the same"), sealed(b"the same")
    assert one != other
    assert b"the same" not in one


@pytest.mark.parametrize(
    "at", [0, 9, 20, HEADER, HEADER + 5, HEADER + SEALED_CHUNK - 1, HEADER + SEALED_CHUNK, -1]
)
def test_a_flipped_bit_anywhere_is_found(at: int) -> None:
    """In the header, in a chunk, in a tag; before any byte of that chunk is handed out."""
    data = bytearray(sealed(b"a" * (CHUNK + 100)))
    data[at] ^= 0x40
    with pytest.raises((StoreCorrupt, StoreKeyError)):
        opened(bytes(data))


def test_cutting_off_chunks_is_found() -> None:
    """Also at a chunk's border, where every remaining tag is right."""
    data = sealed(b"a" * (3 * CHUNK))
    for length in (0, 10, HEADER, HEADER + SEALED_CHUNK, HEADER + 2 * SEALED_CHUNK, len(data) - 1):
        with pytest.raises(StoreCorrupt):
            opened(data[:length])


def test_adding_repeating_or_swapping_chunks_is_found() -> None:
    """Each chunk knows its number and whether it is the last."""
    data = sealed(b"a" * CHUNK + b"b" * CHUNK + b"c")
    head = data[:HEADER]
    first, second = (
        data[HEADER : HEADER + SEALED_CHUNK],
        data[HEADER + SEALED_CHUNK : HEADER + 2 * SEALED_CHUNK],
    )
    last = data[HEADER + 2 * SEALED_CHUNK :]
    for forged in (
        second + first + last,
        first + first + second + last,
        first + last,
        first + second + last + last,
    ):
        with pytest.raises(StoreCorrupt):
            opened(head + forged)


def test_a_chunk_of_another_object_is_found() -> None:
    """Every object has a key of its own."""
    one, other = sealed(b"a" * (CHUNK + 1)), sealed(b"b" * (CHUNK + 1))
    with pytest.raises(StoreCorrupt):
        opened(one[: HEADER + SEALED_CHUNK] + other[HEADER + SEALED_CHUNK :])


def test_another_key_is_told_apart_from_damage() -> None:
    """The next step is to find the key, not to restore the object."""
    with pytest.raises(StoreKeyError, match="another key"):
        opened(sealed(b"ore"), bytes(32))


def test_what_is_not_sealed_is_not_opened() -> None:
    """A plain file under sealed/ is damage."""
    with pytest.raises(StoreCorrupt, match="header"):
        opened(b"just some text that is longer than the header of a sealed object")


def _first_key(folder: str) -> bytes:
    return store_key(Path(folder))


def test_processes_that_come_first_together_agree_on_one_key(tmp_path: Path) -> None:
    """The key is made once, with mode 0600, in a directory of mode 0700."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        keys = set(pool.map(_first_key, [str(tmp_path / "keys")] * 8))
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["store.key"]
    assert stat.S_IMODE((tmp_path / "keys" / "store.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_a_damaged_key_is_not_used(tmp_path: Path) -> None:
    """A short key would be a weak one."""
    (tmp_path / "store.key").write_bytes(b"short")
    store = ObjectStore(tmp_path / "store", keys_dir=tmp_path)
    with pytest.raises(StoreKeyError, match="5 bytes"):
        store.put_bytes(b"ore", sealed=True)
    assert list(store.digests(sealed=True)) == []


def test_sealed_objects_need_their_key(tmp_path: Path) -> None:
    """A new key in place of a lost one opens nothing that was sealed before."""
    store = ObjectStore(tmp_path / "store", keys_dir=tmp_path / "keys")
    stored = store.put_bytes(b"ore", sealed=True)
    (tmp_path / "keys" / "store.key").unlink()
    with pytest.raises(StoreKeyError, match="another key"):
        store.get_bytes(stored.sha256)
