"""Which updates a run makes: its batches epoch by epoch, cut into pieces that let signs of life through."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from assay.train.backends import Batches, Rows
from assay.train.errors import RequestError
from assay.train.run.batches import (
    balanced_batches,
    learning_rates,
    poisson_batches,
    shuffled_batches,
    updates_per_epoch,
)
from assay.train.run.inputs import Inputs
from assay.train.setup.request import TrainRequest

MAX_PIECE = 200
"""Updates of one call to the backend, at most."""
PIECE_OPERATIONS = 2e10
"""Floating point operations of one call, about: a few seconds on one slow core."""


class Plan(NamedTuple):
    """The updates of a run; the same plan gives the same batches, however the run came there.

    Attributes:
        request: What was asked for.
        inputs: Its arrays.
        key: Of a private run: 32 bytes that its batches are drawn from.
    """

    request: TrainRequest
    inputs: Inputs
    key: bytes | None = None

    @property
    def updates(self) -> int:
        """Per epoch."""
        return updates_per_epoch(len(self.inputs.train), self.request.batch_size)

    @property
    def sampling_rate(self) -> float:
        """Of a private run: the probability of a row to be in a batch."""
        return min(self.request.batch_size / len(self.inputs.train), 1.0)

    def batches(self, epoch: int) -> Batches:
        """The updates of one epoch, counted from 1.

        Every row once for the mean; Poisson samples for a private run; equally many rows of every source for a robust
        aggregation.

        Raises:
            RequestError: A private run without a key, or a robust one without sources.
        """
        request, train = self.request, self.inputs.train
        rates = learning_rates(
            request.schedule,
            request.optimizer.learning_rate,
            epoch=epoch,
            epochs=request.epochs,
            updates=self.updates,
        )
        if request.privacy is not None:
            if self.key is None:
                raise RequestError("a private run needs a key to draw its batches from")
            word = int.from_bytes(
                hashlib.blake2b(b"sampling", key=self.key, digest_size=32).digest(), "little"
            )
            return poisson_batches(train, request.batch_size, [word], epoch, rates)
        if request.aggregation.name != "mean":
            if self.inputs.sources is None:
                raise RequestError(f"{request.aggregation.name} needs the source of each row")
            return balanced_batches(
                train, self.inputs.sources, request.batch_size, request.seed, epoch, rates
            )
        return shuffled_batches(train, request.batch_size, request.seed, epoch, rates)

    @property
    def piece(self) -> int:
        """Updates of one call to the backend.

        It follows from the request and not from the speed seen: sums over an epoch are added up piece by piece, and a
        run that is repeated or resumed must come to the same last digit.
        """
        # A convolution uses each of its weights once per neighbour.
        width = max(
            layer.output_shape[1] if len(layer.output_shape) > 1 else 1 for layer in self.request.layers
        )
        operations = 6.0 * self.request.parameter_count * width * self.request.batch_size
        return int(np.clip(PIECE_OPERATIONS / max(operations, 1.0), 1, MAX_PIECE))


def pieces(batches: Batches, size: int) -> Iterator[Batches]:
    """Some updates as several in succession, `size` at a time."""
    for start in range(0, len(batches.learning_rates), size):
        yield part_of(batches, start, min(start + size, len(batches.learning_rates)))


def part_of(batches: Batches, start: int, stop: int) -> Batches:
    """The updates from `start` up to, but without, `stop`."""
    offsets = batches.offsets[start : stop + 1]
    rows: Rows = batches.rows[offsets[0] : offsets[-1]]
    return Batches(rows, offsets - offsets[0], batches.learning_rates[start:stop], batches.first_step + start)
