"""What free text is like, in numbers: lengths, kinds of characters, and a signature by which near-copies are known."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from assay.screen.hashing import mix

F64 = NDArray[np.float64]
Signature = NDArray[np.uint32]

ASPECTS = {
    "length": "length",
    "words": "words",
    "digits": "share of digits",
    "capitals": "share of capitals",
    "signs": "share of signs",
    "foreign": "share beyond ASCII",
}
"""What is measured of a text: aspect, and how it is called."""

BINS = 64
"""Values of a signature."""
EMPTY = np.uint32(0xFFFFFFFF)
"""An empty bin of a signature."""

_SHINGLE = 6
_MAX_LENGTH = 2_000  # of each text; what follows says little more of its kind
_PIECE = 1 << 20
_CLASSES = np.zeros(256, dtype=np.uint8)
for _low, _high, _kind in ((48, 57, 1), (65, 90, 2), (33, 47, 3), (58, 64, 3), (91, 96, 3), (123, 126, 3)):
    _CLASSES[_low : _high + 1] = _kind
_CLASSES[128:] = 4


def measures(cells: pa.Array) -> dict[str, F64]:
    """The aspects of each text, (n,) each; NaN for a null.

    Args:
        cells: Strings.
    """
    gone = np.asarray(pc.is_null(cells).to_numpy(zero_copy_only=False), dtype=bool)
    out = {name: np.empty(len(cells)) for name in ASPECTS}
    for start, part in _pieces(cells):
        for name, values in _measured(part).items():
            out[name][start : start + len(part)] = values
    for values in out.values():
        values[gone] = np.nan
    return out


def _measured(cells: pa.Array) -> dict[str, F64]:
    data, starts = _bytes(cells)
    lengths = pc.utf8_length(cells).to_numpy(zero_copy_only=False).astype(np.float64)
    kinds = _CLASSES[data]
    size = np.maximum(np.diff(starts), 1)
    spaces = _sums((data == 32) | (data == 10) | (data == 9), starts)
    out = {"length": lengths, "words": np.where(lengths > 0, spaces + 1, 0.0)}
    for kind, name in enumerate(("digits", "capitals", "signs", "foreign"), start=1):
        out[name] = _sums(kinds == kind, starts) / size
    return out


def signatures(cells: pa.Array) -> Signature:
    """(n, 64) one-permutation MinHash signatures of the texts' 6-byte shingles (Li, Owen and Zhang, 2012).

    Capitals, digits and spaces are levelled first, so that a template filled with other names and numbers keeps most of
    its signature. A bin without a shingle is `EMPTY`; a null or very short text has only such bins.
    """
    out = np.full((len(cells), BINS), EMPTY, dtype=np.uint32)
    for start, part in _pieces(cells):
        _sign(part, out[start : start + len(part)])
    return out


def _sign(cells: pa.Array, out: Signature) -> None:
    """Fill in the signatures of some texts."""
    cells = pc.ascii_lower(cells)
    cells = pc.replace_substring_regex(cells, "[0-9]+", "0")
    cells = pc.replace_substring_regex(cells, r"\s+", " ")
    data, starts = _bytes(cells)
    if len(data) < _SHINGLE:
        return
    wide = data.astype(np.uint64)
    count = len(data) - _SHINGLE + 1
    shingle = np.zeros(count, dtype=np.uint64)
    for byte in range(_SHINGLE):
        shingle |= wide[byte : byte + count] << np.uint64(8 * byte)
    row = np.repeat(np.arange(len(cells)), np.diff(starts))[:count]
    # A shingle belongs to a text when it ends before the text does.
    inside = np.flatnonzero(np.arange(count) + _SHINGLE <= starts[1:][row])
    hashed, row = mix(shingle[inside]), row[inside]
    bins = row * BINS + (hashed >> np.uint64(58)).astype(np.int64)
    np.minimum.at(out.reshape(-1), bins, (hashed & np.uint64(0xFFFFFFFE)).astype(np.uint32))


def _pieces(cells: pa.Array) -> Iterator[tuple[int, pa.Array]]:
    """The texts without nulls, cut short, some at a time: what is worked on is many times their size."""
    mean = (pc.sum(pc.binary_length(cells)).as_py() or 0) / max(len(cells), 1)
    step = max(1, int(_PIECE / max(min(mean, 4 * _MAX_LENGTH), 1)))
    for start in range(0, len(cells), step):
        part = pc.fill_null(cells.slice(start, step), "")
        yield start, pc.utf8_slice_codeunits(part, 0, _MAX_LENGTH)


def similarity(one: Signature, many: Signature) -> F64:
    """Estimated Jaccard similarity of one text (64,) with many (n, 64); 0 where both are empty."""
    filled = (many != EMPTY) | (one != EMPTY)
    same = ((many == one) & filled).sum(axis=1)
    return np.asarray(same / np.maximum(filled.sum(axis=1), 1))


def _bytes(cells: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All UTF-8 bytes in a row, and where each text starts in them (n + 1 places)."""
    large = pc.cast(cells, pa.large_string())
    _, offsets, data = large.buffers()
    starts = np.frombuffer(offsets, dtype=np.int64)[large.offset : large.offset + len(large) + 1]
    if data is None or not len(large):
        return np.zeros(0, dtype=np.uint8), np.zeros(len(large) + 1, dtype=np.int64)
    return np.frombuffer(data, dtype=np.uint8)[starts[0] : starts[-1]], starts - starts[0]


def _sums(mask: NDArray[np.bool_], starts: NDArray[np.int64]) -> F64:
    """How many bytes of each text the mask holds for."""
    total = np.concatenate([[0], np.cumsum(mask)])
    return np.asarray(total[starts[1:]] - total[starts[:-1]], dtype=np.float64)
