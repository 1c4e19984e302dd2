"""Where the layers put what they learn on the way back: the sum over the rows, or each row's square.

A layer uses a weight in one of three ways, of which each sink makes its own: as a matrix in a product, as numbers whose
slopes are known row by row (biases and scales), or as a table in which rows are looked up.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from assay.train.backends import Array


class Sink(Protocol):
    """What a layer tells on the way back; `slope` is the view of the gradient that belongs to the weight."""

    def product(self, slope: Array, inputs: Array, delta: Array) -> None:
        """A weight W used as `inputs @ W.T` at one or more places.

        Args:
            slope: (out, in), or of as many numbers.
            inputs: (rows, places, in).
            delta: The loss's slope by the product, (rows, places, out).
        """
        ...

    def direct(self, slope: Array, by_row: Array) -> None:
        """A weight whose gradient is known for each row: (rows, size)."""
        ...

    def lookup(self, slope: Array, codes: npt.NDArray[np.int64], delta: Array) -> None:
        """A table (vocabulary, dim) of which each row took the entry `codes` (rows,); `delta` is (rows, dim)."""
        ...


class Sum:
    """Writes the gradient of the rows' summed loss into the views."""

    def product(self, slope: Array, inputs: Array, delta: Array) -> None:
        """One matrix product over all rows and places."""
        flat_delta, flat_inputs = delta.reshape(-1, delta.shape[2]), inputs.reshape(-1, inputs.shape[2])
        slope[...] = (flat_delta.T @ flat_inputs).reshape(slope.shape)

    def direct(self, slope: Array, by_row: Array) -> None:
        """The sum over the rows."""
        by_row.sum(axis=0, out=slope)

    def lookup(self, slope: Array, codes: npt.NDArray[np.int64], delta: Array) -> None:
        """Each row's slope is added to the entry that it took."""
        slope[...] = 0
        np.add.at(slope, codes, delta)


class RowSquares:
    """Adds up the square of the Euclidean norm of each row's own gradient, without keeping the gradients.

    For a matrix that a row uses once, the gradient is the outer product of slope and input, so that its square is
    |input|² · |slope|² (Goodfellow 2015, "Efficient per-example gradient computations").

    Attributes:
        totals: float64 (rows,).
    """

    def __init__(self, rows: int) -> None:
        self.totals = np.zeros(rows)

    def product(self, slope: Array, inputs: Array, delta: Array) -> None:
        """The rule of the outer product, or, with several places, the square of the rows' small sums of them."""
        if inputs.shape[1] == 1:
            self.totals += _squares(inputs[:, 0]) * _squares(delta[:, 0])
        else:
            by_row = delta.transpose(0, 2, 1) @ inputs
            self.totals += _squares(by_row.reshape(len(by_row), by_row.shape[1] * by_row.shape[2]))

    def direct(self, slope: Array, by_row: Array) -> None:
        """The square of what is known."""
        self.totals += _squares(by_row)

    def lookup(self, slope: Array, codes: npt.NDArray[np.int64], delta: Array) -> None:
        """A row takes one entry of a table, so its gradient has the square of that entry's slope."""
        self.totals += _squares(delta)


def _squares(by_row: Array) -> npt.NDArray[np.float64]:
    return np.asarray(np.einsum("ri,ri->r", by_row, by_row), dtype=np.float64)
