"""Which rows are only measured on: decided by the row's content and the seed, so that it holds over snapshots."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.train.steps.masks import mix

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

_NULL = np.uint64(0xA5A5A5A55A5A5A5A)


def _column_hashes(column: pa.ChunkedArray) -> Hashes:
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    missing = np.asarray(array.is_null())
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        numbers = array.cast(pa.int8()) if pa.types.is_boolean(array.type) else array
        floats = np.asarray(numbers.cast(pa.float64(), safe=False), dtype=np.float64)
        floats = np.where(missing, 0.0, floats) + 0.0  # -0.0 becomes 0.0, so that equal numbers hash alike
        hashes = floats.view(np.uint64)
        if pa.types.is_integer(array.type):
            hashes = hashes ^ mix(np.asarray(pc.fill_null(array, 0)).astype(np.int64).view(np.uint64))
    else:
        texts = pc.dictionary_encode(pc.fill_null(array.cast(pa.string()), ""))
        words = np.array(
            [
                int.from_bytes(hashlib.sha256(value.encode()).digest()[:8], "little")
                for value in texts.dictionary.to_pylist()
            ],
            dtype=np.uint64,
        )
        hashes = words[np.asarray(texts.indices)] if len(words) else np.zeros(len(array), dtype=np.uint64)
    return np.where(missing, _NULL, hashes)


def content_hashes(table: pa.Table, columns: tuple[str, ...], seed: int) -> Hashes:
    """One 64-bit number per row from the named columns and the seed; equal rows get equal numbers."""
    total = np.full(table.num_rows, np.uint64(seed % 2**64), dtype=np.uint64)
    for name in columns:
        total = mix(total ^ _column_hashes(table.column(name)))
    return mix(total)


def split_rows(
    hashes: Hashes, fraction: float, strata: npt.NDArray[np.int64] | None = None
) -> tuple[Rows, Rows]:
    """Rows to learn from and rows to measure on.

    In each stratum (class) the rows with the smallest hashes go to validation: a row keeps its side when rows are
    added, but for those at the edge, and equal rows are on one side wherever the edge does not part them.

    Args:
        hashes: uint64 (rows,), from `content_hashes`.
        fraction: Share of the rows for validation.
        strata: int64 (rows,): class of each row; `None` for regression.

    Returns:
        Row numbers, ascending: training, validation. A stratum of one row is for training.
    """
    if strata is None:
        strata = np.zeros(len(hashes), dtype=np.int64)
    chosen: list[Rows] = []
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        if len(rows) < 2:
            continue
        count = min(max(1, round(fraction * len(rows))), len(rows) - 1)
        order = np.argsort(hashes[rows], kind="stable")
        chosen.append(rows[order[:count]])
    validation = np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
    mask = np.ones(len(hashes), dtype=bool)
    mask[validation] = False
    return np.flatnonzero(mask).astype(np.int64), validation.astype(np.int64)
