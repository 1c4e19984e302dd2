"""The two trainers behind one interface: Flux in Julia, and its independent witness in NumPy.

All that is random is decided before a backend sees it (the order of the rows, the noise) or follows from numbers that
it is given (dropout's masks, see `assay.train.steps.masks`), so that both take the same steps up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from assay.contract.optimization import Optimizer
from assay.train.network.layers import DType, LayerSpec
from assay.train.network.spec import AggregationSpec, LossSpec

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]
Weights = dict[str, Array]
"""Arrays by name, as `assay.train.network.layers.array_specs` lists them."""
Noise = Callable[[int], npt.NDArray[np.float64]]
"""From the number of an update to standard normal numbers, one per trainable number, flattened as `array_specs` lists
them."""


class Clipping(NamedTuple):
    """What makes updates differentially private.

    Attributes:
        max_norm: Each row's gradient is scaled down to this Euclidean norm.
        noise_deviation: Of the noise that is added to the sum of the clipped gradients.
        expected_rows: What the noisy sum is divided by: the expected size of a Poisson-sampled batch, never the actual.
    """

    max_norm: float
    noise_deviation: float
    expected_rows: float


class Problem(NamedTuple):
    """What a backend is given: the network, its first weights, and the data, which it must not change.

    Attributes:
        layers: The network.
        weights: First arrays by name.
        loss: What is made small.
        optimizer: The rule and its constants; the learning rate comes with the batches.
        x: float32 (rows, features), C order; may be a read-only memory map.
        y: int64 class numbers or float64 standardised numbers, (rows,).
        sources: int32 (rows,) source numbers, for a robust aggregation.
        aggregation: How sources' gradients become one.
        clipping: Private updates, or `None`.
        seed: Of dropout's masks.
        dtype: Of weights and arithmetic.
        threads: BLAS threads.
    """

    layers: tuple[LayerSpec, ...]
    weights: Weights
    loss: LossSpec
    optimizer: Optimizer
    x: npt.NDArray[np.float32]
    y: Array
    sources: npt.NDArray[np.int32] | None = None
    aggregation: AggregationSpec = AggregationSpec()
    clipping: Clipping | None = None
    seed: int = 0
    dtype: DType = "float32"
    threads: int = 1


class Batches(NamedTuple):
    """Updates to be made, one after the other.

    Attributes:
        rows: int64 row numbers, batch after batch.
        offsets: int64 (updates + 1,): batch i is `rows[offsets[i]:offsets[i + 1]]`; a private one may be empty.
        learning_rates: float64 (updates,).
        first_step: Number of the first update, from zero over the whole run.
    """

    rows: Rows
    offsets: npt.NDArray[np.int64]
    learning_rates: npt.NDArray[np.float64]
    first_step: int = 0


class Stats(NamedTuple):
    """What some updates came to; of two in succession, `join` makes one.

    An update whose loss or gradient is not finite is not made but counted in `skipped`; it counts in nothing else but
    `row_losses`.

    Attributes:
        loss_sum: Sum over rows of the weighted loss, each batch measured before its own update.
        rows: Rows in the updates made.
        norm_sum: Sum over updates of the Euclidean norm of the gradient that the optimiser got, weight decay left out.
        norm_max: The largest of these norms; 0 without updates.
        updates: Updates made.
        skipped: Updates not made.
        row_losses: float32, one per entry of `Batches.rows`: the row's loss, not weighted, before its batch's update.
        clipped: Rows whose gradient was clipped.
        dropped: For krum and multi_krum: for each update, the numbers of the sources that were left out; else empty.
    """

    loss_sum: float
    rows: int
    norm_sum: float
    norm_max: float
    updates: int
    skipped: int
    row_losses: npt.NDArray[np.float32]
    clipped: int = 0
    dropped: tuple[tuple[int, ...], ...] = ()


def join(parts: Sequence[Stats]) -> Stats:
    """One account of several in succession, at least one."""
    return Stats(
        sum(part.loss_sum for part in parts),
        sum(part.rows for part in parts),
        sum(part.norm_sum for part in parts),
        max(part.norm_max for part in parts),
        sum(part.updates for part in parts),
        sum(part.skipped for part in parts),
        np.concatenate([part.row_losses for part in parts]),
        sum(part.clipped for part in parts),
        tuple(dropped for part in parts for dropped in part.dropped),
    )


class Evaluation(NamedTuple):
    """A look at some rows without learning.

    Attributes:
        loss: Mean weighted loss per row; `nan` without rows.
        metric: Accuracy, or R² (`nan` where the label is constant).
        row_losses: float32 (rows,), not weighted.
    """

    loss: float
    metric: float
    row_losses: npt.NDArray[np.float32]


class Trainer(Protocol):
    """One training in progress."""

    device: str
    device_name: str | None
    versions: dict[str, str]

    def run(self, batches: Batches, noise: Noise | None = None) -> Stats:
        """Make these updates.

        Args:
            batches: Which rows, at which learning rate.
            noise: Needed where the problem has clipping.

        Raises:
            PreconditionError: A batch does not have the sources that the robust aggregation needs.
        """
        ...

    def evaluate(self, rows: Rows) -> Evaluation:
        """Measure on these rows: no dropout, running statistics for batch normalisation, sums in float64."""
        ...

    def gradient_gram(self, groups: Sequence[Rows]) -> npt.NDArray[np.float64]:
        """Inner products (groups, groups) of the groups' mean gradients as of now, measured as `evaluate` does."""
        ...

    def weights(self) -> Weights:
        """Copies of all arrays as they are now, by name, C order, in main memory."""
        ...

    def set_weights(self, weights: Mapping[str, Array]) -> None:
        """Go on from these arrays; the optimiser's state stays."""
        ...

    def state(self) -> dict[str, Array]:
        """What the next update depends on besides the data: `weights/<name>`, and `optimizer/<slot>` as it needs."""
        ...

    def restore(self, state: Mapping[str, Array]) -> None:
        """Go on from what `state` gave: the updates after it are the same, bit for bit on the CPU."""
        ...

    def device_memory(self) -> int | None:
        """Bytes in use on the device, where it has memory of its own."""
        ...

    def save_native(self, directory: Path) -> list[str]:
        """Write the backend's own model file, if it has one; returns the names of the files written."""
        ...


class BackendUnavailable(Exception):
    """The backend's tools are not on this machine: the run was not checked rather than failed.

    Attributes:
        reason: What is missing.
        next_step: How to get it.
    """

    def __init__(self, reason: str, next_step: str) -> None:
        """`str()` joins the two."""
        super().__init__(f"{reason}; {next_step}")
        self.reason = reason
        self.next_step = next_step


class DeviceUnavailable(Exception):
    """The device that the contract demands is not usable: the run fails rather than quietly using another."""
