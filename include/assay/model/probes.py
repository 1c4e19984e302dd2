"""Rows to try a network on, drawn from what its preprocessing can make."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from assay.train.setup.preprocess import ColumnState, Preprocessing

PROBE_ROWS = 256
_MAX_ROWS = 8192
_DEVIATIONS = 4.0
_MISSING = 0.1


def probe_rows(state: Preprocessing, seed: int) -> npt.NDArray[np.float32]:
    """Rows as the preprocessing makes them: standardised numbers, one category each, flags of what is missing.

    Every number of an embedded category comes up, so that there are more than `PROBE_ROWS` rows where a vocabulary has
    more values.

    Args:
        state: The bundle's preprocessing.
        seed: The same seed gives the same rows.

    Returns:
        float32 (rows, features), C order.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = min(max([PROBE_ROWS, *(vocabulary for _, vocabulary in state.embedded)]), _MAX_ROWS)
    out = np.zeros((rows, len(state.features)), dtype=np.float32)
    at = 0
    for column in state.columns:
        width = len(column.features)
        _fill(column, out[:, at : at + width], generator)
        at += width
    return out


def _fill(column: ColumnState, out: npt.NDArray[np.float32], generator: np.random.Generator) -> None:
    rows, width = out.shape
    if column.embedded:
        out[:, 0] = generator.permutation(rows) % column.vocabulary
    elif column.kind == "category":
        out[np.arange(rows), generator.permutation(rows) % width] = 1.0
    elif column.kind == "vector":
        size = len(column.means)
        out[:, :size] = generator.uniform(-_DEVIATIONS, _DEVIATIONS, (rows, size))
        if column.missing:
            gone = generator.random(rows) < _MISSING
            out[gone, :size] = 0.0
            out[:, size] = gone
    else:
        if column.kind == "boolean":
            out[:, 0] = generator.integers(0, 2, rows)
        else:
            out[:, 0] = generator.uniform(-_DEVIATIONS, _DEVIATIONS, rows)
        if column.missing:
            gone = generator.random(rows) < _MISSING
            default = 0.0 if column.kind == "boolean" else (column.median - column.mean) / column.scale
            out[gone, 0] = default
            out[:, 1] = gone
