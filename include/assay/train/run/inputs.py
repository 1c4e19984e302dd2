"""What the worker reads before it trains: arrays held against the request, and what losses are held against."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from assay.train.backends import Array, Rows, Trainer
from assay.train.errors import RequestError
from assay.train.network.spec import LossSpec, Yardsticks
from assay.train.run.batches import updates_per_epoch
from assay.train.setup.request import TrainRequest

YARDSTICK_ROWS = 4096
"""Training rows on which the untrained network is measured."""


class Inputs(NamedTuple):
    """The arrays of one request.

    Attributes:
        x: float32 (rows, features), a read-only memory map.
        y: int64 class numbers or float64 standardised numbers, (rows,).
        train: int64 row numbers to learn from.
        validation: int64 row numbers to measure on.
        sources: int32 source numbers (rows,), where rows have one.
    """

    x: npt.NDArray[np.float32]
    y: Array
    train: Rows
    validation: Rows
    sources: npt.NDArray[np.int32] | None


def load_inputs(request: TrainRequest) -> Inputs:
    """Map the matrix, read the rest, and hold all of it against the request.

    Raises:
        RequestError: An array is missing, truncated, pickled, or of another shape or type.
    """
    kinds = {
        "x": "float32",
        "y": "int64" if request.task == "classification" else "float64",
        "train": "int64",
        "validation": "int64",
        "sources": "int32",
    }
    loaded: dict[str, npt.NDArray[Any]] = {}
    for name, kind in kinds.items():
        path = getattr(request.arrays, name)
        if path is None:
            continue
        try:
            array = np.load(path, mmap_mode="r" if name == "x" else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RequestError(
                f"the array {path} cannot be read: {error}", next_step="prepare the data again"
            ) from error
        if str(array.dtype) != kind:
            raise RequestError(f"the array {path} has the wrong type", expected=kind, found=array.dtype)
        loaded[name] = np.asarray(array)
    inputs = Inputs(loaded["x"], loaded["y"], loaded["train"], loaded["validation"], loaded.get("sources"))
    _check(request, inputs)
    return inputs


def _check(request: TrainRequest, inputs: Inputs) -> None:
    x, y, sources, width = inputs.x, inputs.y, inputs.sources, len(request.features)
    if x.ndim != 2 or x.shape[1] != width or y.shape != (len(x),) or not x.flags.c_contiguous:
        raise RequestError(
            "the arrays do not fit together",
            expected=f"x (rows, {width}) in C order, y (rows,)",
            found=f"x {x.shape}, y {y.shape}",
        )
    for name in ("train", "validation"):
        rows = getattr(inputs, name)
        if rows.ndim != 1 or (len(rows) and (rows.min() < 0 or rows.max() >= len(x))):
            raise RequestError(f"the row numbers in {name}.npy are not rows of x")
    if not len(inputs.train):
        raise RequestError("there are no rows to learn from")
    if request.classes is not None and (y.min() < 0 or y.max() >= len(request.classes)):
        raise RequestError("y holds class numbers that the request does not name")
    if sources is not None and (
        sources.shape != (len(x),) or sources.min() < 0 or sources.max() >= len(request.source_names)
    ):
        raise RequestError("sources.npy does not hold one of the request's sources for each row")


def yardsticks(request: TrainRequest, inputs: Inputs, trainer: Trainer) -> Yardsticks:
    """The losses of those who know nothing: the trivial predictor, the untrained network, and a blind guess.

    Args:
        request: What is trained.
        inputs: Its arrays.
        trainer: With the network's first weights.
    """
    y, train, validation = inputs.y, inputs.train, inputs.validation
    if request.classes is not None:
        losses, uninformed = _of_classes(y, train, request.loss, len(request.classes))
    else:
        losses, uninformed = _of_numbers(y, train, request.loss)
    return Yardsticks(
        trivial_train_loss=float(losses[train].mean()),
        trivial_validation_loss=float(losses[validation].mean()) if len(validation) else None,
        initial_train_loss=trainer.evaluate(train[:YARDSTICK_ROWS]).loss,
        uninformed_loss=uninformed,
        validation_rows=len(validation),
        updates_per_epoch=updates_per_epoch(len(train), request.batch_size),
        class_rows=_counts(request, y[train]),
        class_validation_rows=_counts(request, y[validation]),
    )


def _counts(request: TrainRequest, labels: Array) -> tuple[int, ...]:
    if request.classes is None:
        return ()
    return tuple(int(count) for count in np.bincount(labels, minlength=len(request.classes)))


def _of_classes(y: Array, train: Rows, loss: LossSpec, count: int) -> tuple[Array, float]:
    """Always answering the shares of the classes, as the loss weighs them."""
    weights = np.asarray(loss.class_weights or np.ones(count), dtype=np.float64)
    shares = np.bincount(y[train], minlength=count) * weights
    # A class that only the validation split has costs the trivial predictor much, but not infinitely much.
    losses = -np.log((shares + 1e-9) / (shares.sum() + 1e-9 * count)) * weights
    return losses[y], math.log(count) * float(weights[y[train]].mean())


def _of_numbers(y: Array, train: Rows, loss: LossSpec) -> tuple[Array, float]:
    """Always answering the mean; labels are standardised, so that a blind guess is zero and nearly as good."""
    error = np.abs(y - y[train].mean())
    if loss.name == "mse":
        return error**2, 1.0
    delta = loss.huber_delta
    losses = np.where(error < delta, 0.5 * error**2, delta * (error - 0.5 * delta))
    return losses, max(float(losses[train].mean()), 1e-12)
