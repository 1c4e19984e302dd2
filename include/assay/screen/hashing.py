"""64-bit content hashes of cells and rows: what a row is called, whatever its place in the table."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

U64 = NDArray[np.uint64]

_NULL = np.uint64(0x9E3779B97F4A7C15)
_CACHE_LIMIT = 50_000


def mix(values: U64) -> U64:
    """The splitmix64 finaliser (Steele, Lea and Flood, 2014): spreads every input bit over all 64 output bits."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def salt(name: str) -> np.uint64:
    """A column's own constant, so that equal values in two columns differ."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


class CellHasher:
    """Hashes the cells of one column; text is hashed once per distinct value.

    Not cryptographic: it names rows for sampling, folds and comparison. What must withstand an attacker (row
    commitments, digests) is the ledger's and the store's business.
    """

    def __init__(self, column: str) -> None:
        self._salt = salt(column)
        self._seen: dict[bytes, int] = {}

    def numbers(self, values: NDArray[np.float64]) -> U64:
        """Hash float64 cells; all NaN are one value, and -0.0 is 0.0."""
        bits = (values + 0.0).view(np.uint64).copy()
        bits[np.isnan(values)] = _NULL
        return mix(bits ^ self._salt)

    def integers(self, values: U64) -> U64:
        """Hash the 64 bits of integers that a float64 cannot tell apart."""
        return mix(mix(values) ^ self._salt)

    def text(self, values: pa.Array) -> U64:
        """Hash string cells; null has a hash of its own."""
        encoded = pc.dictionary_encode(values)
        words = encoded.dictionary.cast(pa.binary()).to_pylist()
        if len(self._seen) + len(words) > _CACHE_LIMIT:
            self._seen = {}
        seen = self._seen
        table = np.empty(len(words) + 1, dtype=np.uint64)
        table[-1] = _NULL
        for position, word in enumerate(words):
            code = seen.get(word)
            if code is None:
                code = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
                seen[word] = code
            table[position] = code
        indices = pc.fill_null(encoded.indices, len(words)).to_numpy(zero_copy_only=False)
        return mix(table[indices] ^ self._salt)
