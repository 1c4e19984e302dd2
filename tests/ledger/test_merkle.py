"""The Merkle tree of RFC 6962 and 9162: published values, and laws that hold for trees of every size."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.ledger.errors import ProofError
from assay.ledger.merkle import (
    EMPTY_ROOT,
    StreamingRoot,
    as_hashes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    root_of_edge,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves that Certificate Transparency implementations publish, and the roots over the first 0 to 8 of them.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# Inner nodes of the same tree: level 1 from the left, then level 2.
PAIRS = [
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
]
FOURS = [
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]


def hashed(count: int):
    """Leaf hashes of 0, 1, 2 ... as an array."""
    return as_hashes([leaf_hash(number.to_bytes(4, "big")) for number in range(count)])


def defined(leaves: list[bytes]) -> bytes:
    """The root as RFC 9162, 2.1.1 defines it, by recursion."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + defined(leaves[:half]) + defined(leaves[half:])).digest()


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots_are_computed(size: int) -> None:
    """The roots that Certificate Transparency's test data states."""
    assert root(as_hashes([leaf_hash(leaf) for leaf in LEAVES[:size]])).hex() == ROOTS[size]


def test_the_published_inner_nodes_are_the_audit_path() -> None:
    """The path of leaf 0 in the tree of 8 is its neighbour, the second pair, and the right half."""
    leaves = as_hashes([leaf_hash(leaf) for leaf in LEAVES])
    path = inclusion_proof(0, 8, [leaves])
    assert [node.hex() for node in path] == [leaf_hash(LEAVES[1]).hex(), PAIRS[1], FOURS[1]]


def test_the_published_consistency_paths_are_made() -> None:
    """From 6 leaves to 8: the pair [4, 5], the pair [6, 7], and the left half; from 4 to 8: the right half."""
    leaves = as_hashes([leaf_hash(leaf) for leaf in LEAVES])
    assert [node.hex() for node in consistency_proof(6, leaves)] == [PAIRS[2], PAIRS[3], FOURS[0]]
    assert [node.hex() for node in consistency_proof(4, leaves)] == [FOURS[1]]


def test_a_leaf_cannot_pass_for_an_inner_node() -> None:
    """Leaves and nodes are hashed with different first bytes."""
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(left + right) != node_hash(left, right)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 300), st.lists(st.integers(0, 70), max_size=8))
def test_leaves_in_any_portions_give_the_root_of_the_definition(size: int, portions: list[int]) -> None:
    """Streaming is the same tree, wherever the stream was cut."""
    leaves, tree, start = hashed(size), StreamingRoot(), 0
    for portion in [*portions, size]:
        tree.extend(leaves[start : start + portion])
        start = min(start + portion, size)
    assert tree.size == size
    assert tree.root() == defined([bytes(leaf) for leaf in leaves])


def test_leaves_one_by_one_give_the_same_root() -> None:
    """`append` and `extend` build the same tree."""
    leaves, tree = hashed(133), StreamingRoot()
    for leaf in leaves:
        tree.append(leaf.tobytes())
    assert tree.root() == root(leaves)


def test_a_tree_goes_on_from_its_right_edge() -> None:
    """Size and edge are all that is needed to add to a tree later."""
    leaves = hashed(200)
    for size in (0, 1, 63, 64, 77, 199):
        early = StreamingRoot().extend(leaves[:size])
        assert root_of_edge(early.edge) == root(leaves[:size])
        assert StreamingRoot(size, early.edge).extend(leaves[size:]).root() == root(leaves)


@pytest.mark.parametrize(("size", "edge"), [(3, 1), (4, 2), (0, 1), (-1, 0)])
def test_an_edge_that_does_not_fit_its_size_is_refused(size: int, edge: int) -> None:
    """One hash for each one-bit of the size."""
    with pytest.raises(ProofError, match="right edge"):
        StreamingRoot(size, [bytes(32)] * edge)


def test_every_leaf_of_every_small_tree_is_proved() -> None:
    """All positions in all trees up to 40 leaves, the leaves read in batches of seven."""
    for size in range(1, 41):
        leaves = hashed(size)
        top = root(leaves)
        for index in range(size):
            batches = [leaves[start : start + 7] for start in range(0, size, 7)]
            path = inclusion_proof(index, size, batches)
            verify_inclusion(leaves[index].tobytes(), index, size, path, top)


def test_every_prefix_of_every_small_tree_is_consistent() -> None:
    """All pairs of sizes up to 40."""
    leaves = hashed(40)
    roots = [root(leaves[:size]) for size in range(41)]
    for second in range(41):
        for first in range(second + 1):
            path = consistency_proof(first, leaves[:second])
            verify_consistency(first, second, roots[first], roots[second], path)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.data())
def test_a_changed_inclusion_proof_fails(size: int, data: st.DataObject) -> None:
    """Another leaf, position, size, root, or path: none passes."""
    leaves = hashed(size)
    top, index = root(leaves), data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, [leaves])
    leaf = leaves[index].tobytes()
    other = (index + data.draw(st.integers(1, size - 1))) % size
    bent = [*path]
    bent[data.draw(st.integers(0, len(path) - 1))] = bytes(32)
    for attempt in (
        (leaf, other, size, path, top),
        (leaves[other].tobytes(), index, size, path, top),
        (leaf, index, size, path, leaf_hash(top)),
        (leaf, index, size, bent, top),
        (leaf, index, size, path[:-1], top),
        (leaf, index, size, [*path, bytes(32)], top),
        (leaf, size, size, path, top),
        (leaf, -1, size, path, top),
        (leaf[:31], index, size, path, top),
        (leaf, index, size, [node[:31] for node in path], top),
    ):
        with pytest.raises(ProofError):
            verify_inclusion(*attempt)


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.data())
def test_a_changed_consistency_proof_fails(second: int, data: st.DataObject) -> None:
    """Another root on either side, a bent, short or long path, sizes in the wrong order: none passes."""
    leaves = hashed(second)
    first = data.draw(st.integers(1, second - 1))
    old, new = root(leaves[:first]), root(leaves)
    path = consistency_proof(first, leaves)
    bent = [*path]
    bent[data.draw(st.integers(0, len(path) - 1))] = bytes(32)
    for attempt in (
        (first, second, leaf_hash(old), new, path),
        (first, second, old, leaf_hash(new), path),
        (first, second, old, new, bent),
        (first, second, old, new, path[:-1]),
        (first, second, old, new, [*path, bytes(32)]),
        (second, first, new, old, path),
        (second, second, new, new, path),
        (second, second, old, new, []),
        (0, second, old, new, []),
        (first, second, old[:5], new, path),
    ):
        with pytest.raises(ProofError):
            verify_consistency(*attempt)


def test_proofs_that_nothing_could_prove_are_refused() -> None:
    """Leaves outside the tree, and leaves of another tree."""
    leaves = hashed(5)
    for index in (-1, 5):
        with pytest.raises(IndexError):
            inclusion_proof(index, 5, [leaves])
    for size in (4, 6):
        with pytest.raises(ProofError, match="not those of the tree"):
            inclusion_proof(0, size, [leaves])
    with pytest.raises(IndexError):
        consistency_proof(6, leaves)


def test_a_consistency_proof_without_a_path_proves_nothing() -> None:
    """Between different trees something must be shown."""
    leaves = hashed(5)
    with pytest.raises(ProofError, match="is empty"):
        verify_consistency(3, 5, root(leaves[:3]), root(leaves), [])


def test_hashes_of_the_wrong_shape_are_refused() -> None:
    """Only uint8 arrays of shape (n, 32) are leaf hashes."""
    for wrong in (np.zeros((3, 31), np.uint8), np.zeros(32, np.uint8), np.zeros((3, 32), np.int8)):
        with pytest.raises(ProofError, match="wrong shape"):
            root(wrong)
    assert root(np.zeros((0, 32), np.uint8)) == EMPTY_ROOT
