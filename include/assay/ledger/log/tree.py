"""Nodes of the log's Merkle tree, read from the checkpoints that each append left: no path needs the whole log.

The checkpoint at `size` entries carries the tree's full subtrees, largest first. The full subtree of 2**level leaves
that ends at entry `end` is the smallest of these where `end` has exactly `level` trailing zero bits. Elsewhere it is
what entry `end - 1` completes: that leaf and the `level` smallest subtrees of the checkpoint before it. So every node
takes one checkpoint and at most one entry, and a path in a log of n entries O(log n) of each.

Nothing here is trusted: a path is worth what its verification against a signed root says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from assay.db import LedgerCheckpoint, LedgerEntry
from assay.ledger.errors import LedgerError
from assay.ledger.merkle import (
    HASH_SIZE,
    consistency_ranges,
    leaf_hash,
    node_hash,
    root_of_edge,
    sibling_ranges,
)

_Node = tuple[int, int]  # level, and the number of the subtree among those of its level


def inclusion_path(session: Session, index: int, size: int) -> list[bytes]:
    """The audit path of entry `index` in the tree over the first `size` entries.

    Raises:
        IndexError: The tree has no such leaf.
        LedgerError: The log lacks what the path needs.
    """
    if not 0 <= index < size:
        raise IndexError(f"leaf {index} of a tree with {size} leaves")
    return _roots(session, sibling_ranges(index, size))


def consistency_path(session: Session, first: int, second: int) -> list[bytes]:
    """The proof that the tree over `first` entries is a prefix of the one over `second` (RFC 9162, 2.1.4.1).

    Raises:
        IndexError: The smaller tree is larger than the larger one.
        LedgerError: The log lacks what the path needs.
    """
    return _roots(session, consistency_ranges(first, second))


# -------------------------------------------------------------------------------------------------------------- private
def _roots(session: Session, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The roots over ranges of leaves [first, last)."""
    parts = {bounds: _subtrees(*bounds) for bounds in ranges}
    hashes = _hashes(session, {node for nodes in parts.values() for node in nodes})
    return [root_of_edge([hashes[node] for node in parts[bounds]]) for bounds in ranges]


def _subtrees(first: int, last: int) -> list[_Node]:
    """The full subtrees that a range of leaves consists of, from the left."""
    nodes = []
    while first < last:
        level = (last - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        nodes.append((level, first >> level))
        first += 1 << level
    return nodes


def _hashes(session: Session, nodes: Iterable[_Node]) -> dict[_Node, bytes]:
    sizes, leaves, wanted = set(), set(), list(nodes)
    for level, number in wanted:
        end = (number + 1) << level
        if level == 0:
            leaves.add(end - 1)
        elif end >> level & 1:
            sizes.add(end)
        else:
            sizes.add(end - 1)
            leaves.add(end - 1)
    edges = _edges(session, sizes)
    hashed = _leaves(session, leaves)
    out = {}
    for level, number in wanted:
        end = (number + 1) << level
        if level == 0:
            node = hashed[end - 1]
        elif end >> level & 1:
            node = edges[end][-1]
        else:
            node = hashed[end - 1]
            for left in reversed(edges[end - 1][-level:]):
                node = node_hash(left, node)
        out[level, number] = node
    return out


def _edges(session: Session, sizes: set[int]) -> dict[int, list[bytes]]:
    query = select(LedgerCheckpoint.size, LedgerCheckpoint.edge).where(LedgerCheckpoint.size.in_(sizes))
    edges = {}
    for size, edge in session.execute(query):
        try:
            nodes = [bytes.fromhex(node) for node in edge]
        except (TypeError, ValueError):
            nodes = []
        if len(nodes) != size.bit_count() or any(len(node) != HASH_SIZE for node in nodes):
            raise _lacking(f"the checkpoint at {size} entries has a malformed right edge")
        edges[size] = nodes
    if missing := sizes - edges.keys():
        raise _lacking(f"there is no checkpoint at {min(missing)} entries")
    return edges


def _leaves(session: Session, positions: set[int]) -> dict[int, bytes]:
    query = select(LedgerEntry.position, LedgerEntry.envelope).where(LedgerEntry.position.in_(positions))
    leaves = {position: leaf_hash(envelope.encode()) for position, envelope in session.execute(query)}
    if missing := positions - leaves.keys():
        raise _lacking(f"entry {min(missing)} is not there")
    return leaves


def _lacking(message: str) -> LedgerError:
    return LedgerError(
        f"a proof cannot be made: {message}", next_step="`assay ledger verify` names what was changed"
    )
