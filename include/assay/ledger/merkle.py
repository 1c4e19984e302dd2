"""The Merkle tree of RFC 9162 (the same hashing as RFC 6962): roots, inclusion proofs and consistency proofs.

A leaf is hashed as `SHA-256(0x00 || data)`, an inner node as `SHA-256(0x01 || left || right)`, and the left subtree is
the largest full one that leaves something for the right. All functions here take leaf hashes, not leaf data.

The root of millions of leaves is computed in one pass and in memory that grows with the logarithm of their number, as
only the right edge of the tree (its full subtrees, largest first) is kept.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from assay.ledger.errors import ProofError

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_PATH = 64  # a path longer than this would need more than 2**64 leaves

Hashes = np.ndarray[Any, np.dtype[np.uint8]]
"""Hashes as an array of shape (n, 32)."""

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf: `SHA-256(0x00 || data)`."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: `SHA-256(0x01 || left || right)`."""
    return _sha256(b"\x01" + left + right).digest()


class StreamingRoot:
    """The tree over leaf hashes that arrive bit by bit.

    Args:
        size: Leaves so far.
        edge: Hashes of the full subtrees that the tree over `size` leaves consists of, largest first.

    Raises:
        ProofError: `edge` does not have one hash for each one-bit of `size`.
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        levels = [level for level in range(size.bit_length()) if size >> level & 1] if size >= 0 else []
        if size < 0 or len(edge) != len(levels) or any(len(node) != HASH_SIZE for node in edge):
            raise ProofError(
                "the right edge of a Merkle tree does not fit its size",
                expected=f"{len(levels)} hashes for {size} leaves",
                found=f"{len(edge)} hashes",
            )
        self._size = size
        # _full[level] is the full subtree of 2**level leaves, where the tree has one at that level.
        self._full: dict[int, bytes] = dict(zip(reversed(levels), edge, strict=True))

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def edge(self) -> list[bytes]:
        """Hashes of the full subtrees, largest first; with `size`, all that is needed to go on later."""
        return [self._full[level] for level in sorted(self._full, reverse=True)]

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash: 32 bytes."""
        level = 0
        while (left := self._full.pop(level, None)) is not None:
            leaf = node_hash(left, leaf)
            level += 1
        self._full[level] = leaf
        self._size += 1

    def extend(self, leaves: Hashes) -> StreamingRoot:
        """Add leaf hashes, in order; about a million a second.

        Args:
            leaves: uint8 array of shape (n, 32).

        Returns:
            Itself.
        """
        nodes = _packed(leaves)
        self._size += len(nodes) // HASH_SIZE
        level = 0
        while nodes:
            if (left := self._full.pop(level, None)) is not None:
                nodes = left + nodes
            if len(nodes) % (2 * HASH_SIZE):
                self._full[level] = nodes[-HASH_SIZE:]
                nodes = nodes[:-HASH_SIZE]
            nodes = _parents(nodes)
            level += 1
        return self

    def root(self) -> bytes:
        """The Merkle tree hash over all leaves so far; over none, SHA-256 of nothing."""
        return root_of_edge(self.edge)


def root_of_edge(edge: Sequence[bytes]) -> bytes:
    """The root of a tree from its full subtrees, largest first."""
    if not edge:
        return EMPTY_ROOT
    root = edge[-1]
    for node in reversed(edge[:-1]):
        root = node_hash(node, root)
    return root


def root(leaves: Hashes) -> bytes:
    """The root over leaf hashes: an array of shape (n, 32)."""
    return StreamingRoot().extend(leaves).root()


def inclusion_proof(index: int, size: int, leaves: Iterable[Hashes]) -> list[bytes]:
    """The audit path of one leaf (RFC 9162, 2.1.3.1): sibling hashes from the leaf up to the root's child.

    The leaves are read once, and none is kept: a path over millions of them needs no more memory than a batch.

    Args:
        index: Which leaf, from 0.
        size: Leaves in the tree.
        leaves: The tree's leaf hashes in order, as arrays of shape (n, 32).

    Raises:
        IndexError: The tree has no such leaf.
        ProofError: `leaves` has another number of leaves than `size`.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of a tree with {size} leaves")
    siblings = sibling_ranges(index, size)
    trees = {bounds: StreamingRoot() for bounds in siblings}
    ordered = sorted(siblings)
    offset = 0
    for batch in leaves:
        stop = offset + len(batch)
        for first, last in ordered:
            if first < stop and last > offset:
                trees[first, last].extend(batch[max(first - offset, 0) : last - offset])
        offset = stop
    if offset != size:
        raise ProofError(
            "the leaves are not those of the tree", expected=f"{size} leaves", found=f"{offset} leaves"
        )
    return [trees[bounds].root() for bounds in siblings]


def sibling_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """What an audit path is made of: leaf ranges [first, last) beside the way from a leaf up to the root."""
    ranges, first, last = [], 0, size
    while last - first > 1:
        middle = first + (1 << ((last - first - 1).bit_length() - 1))
        if index < middle:
            ranges.append((middle, last))
            last = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root_hash: bytes) -> None:
    """Check that a leaf hash stands at `index` in the tree of `size` leaves with that root (RFC 9162, 2.1.3.2).

    Raises:
        ProofError: It does not, or the path has the wrong length.
    """
    if not 0 <= index < size:
        raise ProofError("the proof is for a leaf outside the tree", expected=f"0 to {size - 1}", found=index)
    _hashes_only([leaf, root_hash, *path])
    position, last, computed = index, size - 1, leaf
    for node in path:
        if last == 0:
            raise ProofError("the inclusion path is too long", found=f"{len(path)} hashes")
        if position & 1 or position == last:
            computed = node_hash(node, computed)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            computed = node_hash(computed, node)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("the inclusion path is too short", found=f"{len(path)} hashes")
    if computed != root_hash:
        raise ProofError(
            "the inclusion path does not lead to the root", expected=root_hash.hex(), found=computed.hex()
        )


def consistency_proof(first: int, leaves: Hashes) -> list[bytes]:
    """Proof that the tree over the first `first` leaves is a prefix of the tree over all (RFC 9162, 2.1.4.1).

    Args:
        first: Size of the smaller tree, from 0 to n.
        leaves: All leaf hashes of the larger tree, shape (n, 32).

    Raises:
        IndexError: The smaller tree is larger than the larger one.
    """
    return [root(leaves[start:stop]) for start, stop in consistency_ranges(first, len(leaves))]


def consistency_ranges(first: int, size: int) -> list[tuple[int, int]]:
    """What a consistency proof is made of: leaf ranges [start, stop), whose roots are its hashes in order.

    Args:
        first: Size of the smaller tree.
        size: Size of the larger tree.

    Raises:
        IndexError: The smaller tree is larger than the larger one.
    """
    if not 0 <= first <= size:
        raise IndexError(f"a tree of {first} leaves is no prefix of one with {size}")
    if first in (0, size):
        return []
    ranges: list[tuple[int, int]] = []
    start, whole = 0, True  # the subtree leaves[start:size]; `whole`: its first part is the old tree itself
    while first != size:
        half = 1 << ((size - start - 1).bit_length() - 1)  # largest power of two below the subtree's size
        if first - start <= half:
            ranges.append((start + half, size))
            size = start + half
        else:
            ranges.append((start, start + half))
            start, whole = start + half, False
    if not whole:
        ranges.append((start, size))
    return ranges[::-1]


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]
) -> None:
    """Check that a tree of `first` leaves is a prefix of one of `second` leaves (RFC 9162, 2.1.4.2).

    Raises:
        ProofError: It is not, or the path has the wrong length.
    """
    _hashes_only([first_root, second_root, *path])
    if not 0 <= first <= second:
        raise ProofError(
            "the sizes are in the wrong order", expected="first <= second", found=f"{first}, {second}"
        )
    if first == second or first == 0:
        known = first_root == (EMPTY_ROOT if first == 0 else second_root)
        if path or not known:
            raise ProofError(
                "trees of that size need no path, but the right root", found=f"{len(path)} hashes"
            )
        return
    nodes = list(path)
    if first & (first - 1) == 0:  # the old tree is a full subtree of the new one
        nodes.insert(0, first_root)
    if not nodes:
        raise ProofError("the consistency path is empty")
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise ProofError("the consistency path is too long", found=f"{len(path)} hashes")
        if position & 1 or position == last:
            old, new = node_hash(node, old), node_hash(node, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, node)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("the consistency path is too short", found=f"{len(path)} hashes")
    if old != first_root or new != second_root:
        raise ProofError(
            "the larger tree does not begin with the smaller one",
            expected=f"{first_root.hex()} then {second_root.hex()}",
            found=f"{old.hex()} then {new.hex()}",
        )


def as_hashes(hashes: Sequence[bytes]) -> Hashes:
    """Hashes as an array of shape (n, 32)."""
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, HASH_SIZE)


def _packed(leaves: Hashes) -> bytes:
    if leaves.ndim != 2 or leaves.shape[1] != HASH_SIZE or leaves.dtype != np.uint8:
        raise ProofError(
            "leaf hashes have the wrong shape",
            expected="uint8 (n, 32)",
            found=f"{leaves.dtype} {leaves.shape}",
        )
    return leaves.tobytes()


def _parents(nodes: bytes) -> bytes:
    """Hash neighbours in pairs; `nodes` holds an even number of hashes."""
    count = len(nodes) // (2 * HASH_SIZE)
    pairs = np.empty((count, 1 + 2 * HASH_SIZE), dtype=np.uint8)
    pairs[:, 0] = 1
    pairs[:, 1:] = np.frombuffer(nodes, dtype=np.uint8).reshape(count, 2 * HASH_SIZE)
    return hash_slices(pairs.tobytes(), 1 + 2 * HASH_SIZE)


def hash_slices(buffer: bytes, width: int, hasher: Callable[[bytes], Any] = _sha256) -> bytes:
    """SHA-256 of each `width` bytes of a buffer, one after the other."""
    return b"".join([hasher(part).digest() for (part,) in struct.iter_unpack(f"{width}s", buffer)])


def _hashes_only(hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PATH + 2 or any(len(node) != HASH_SIZE for node in hashes):
        raise ProofError("a proof holds something that is not a SHA-256 hash, or too many of them")
