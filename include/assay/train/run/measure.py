"""What one epoch came to, as the event that people, curve checks and the bundle read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from assay.train.backends import Array, Batches, Evaluation, Rows, Stats
from assay.train.network.spec import Task
from assay.train.records.events import ClassStats, Epoch, SourceStats
from assay.train.steps.privacy import Spent

MAX_SOURCES = 32
"""Sources that are told apart in an epoch's event: those with the most training rows."""
SAMPLE_ROWS = 256
"""Training rows of each source whose mean gradient is measured once per epoch."""

_SAMPLE = 4  # a stream of random numbers of its own, see assay.train.run.batches


class Measured(NamedTuple):
    """What a run is measured on; it stays the same over all epochs.

    Attributes:
        task: `classification` has accuracy and classes, `regression` has R².
        y: Labels of all rows, as the problem has them.
        validation: Rows that are only measured on.
        classes: Names by class number; empty for a regression.
        sources: int32 (rows,) source numbers, or `None`: then no source is told apart.
        source_names: Names by source number.
        watched: Numbers of the sources that are told apart, ascending; see `watched_sources`.
        samples: For each watched source, the rows whose mean gradient is measured.
    """

    task: Task
    y: Array
    validation: Rows
    classes: tuple[str, ...] = ()
    sources: npt.NDArray[np.int32] | None = None
    source_names: tuple[str, ...] = ()
    watched: tuple[int, ...] = ()
    samples: tuple[Rows, ...] = ()


def measured(
    task: Task,
    y: Array,
    train: Rows,
    validation: Rows,
    *,
    classes: Sequence[object] | None = None,
    sources: npt.NDArray[np.int32] | None = None,
    source_names: Sequence[str] = (),
    private: bool = False,
    seed: int = 0,
) -> Measured:
    """Decide once what all epochs of a run are measured on.

    At most `MAX_SOURCES` sources are watched, with at most `SAMPLE_ROWS` training rows each, drawn once by the seed. A
    private run tells no sources apart: the gradient of a few named rows is outside of what its noise covers.

    Args:
        task: The request's.
        y: Labels of all rows.
        train: Rows learned from.
        validation: Rows only measured on.
        classes: Class names, for a classification.
        sources: (all rows,) source numbers.
        source_names: Names by source number.
        private: Whether the run is differentially private.
        seed: The run's.
    """
    names = tuple(str(each) for each in classes or ())
    if sources is None or private:
        return Measured(task, y, validation, names)
    counts = np.bincount(sources[train], minlength=len(source_names))
    most = np.argsort(-counts, kind="stable")[:MAX_SOURCES]
    watched = tuple(sorted(int(number) for number in most if counts[number]))
    samples = []
    for number in watched:
        own = train[sources[train] == number]
        if len(own) > SAMPLE_ROWS:
            generator = np.random.Generator(np.random.PCG64([seed % 2**64, _SAMPLE, number]))
            own = np.sort(generator.choice(own, SAMPLE_ROWS, replace=False))
        samples.append(own)
    return Measured(task, y, validation, names, sources, tuple(source_names), watched, tuple(samples))


def measure(
    on: Measured,
    *,
    epoch: int,
    batches: Batches,
    stats: Stats,
    seen: Evaluation,
    gram: npt.NDArray[np.float64] | None = None,
    spent: Spent | None = None,
    seconds: float = 0.0,
    device_memory: int | None = None,
) -> Epoch:
    """Make one epoch's event; the same arguments give the same event.

    Args:
        on: From `measured`.
        epoch: Counted from 1.
        batches: The updates that the epoch was asked for.
        stats: What they came to.
        seen: `evaluate(on.validation)` after them.
        gram: `gradient_gram(on.samples)` after them, (watched, watched); `None` without watched sources.
        spent: For a private run.
        seconds: That the updates took.
        device_memory: Bytes, where the device has memory of its own.
    """
    metric = seen.metric if len(on.validation) else None
    return Epoch(
        epoch=epoch,
        train_loss=stats.loss_sum / stats.rows if stats.rows else None,
        validation_loss=seen.loss,
        accuracy=metric if on.task == "classification" else None,
        r2=metric if on.task == "regression" else None,
        gradient_norm=stats.norm_sum / stats.updates if stats.updates else None,
        max_gradient_norm=stats.norm_max if stats.updates else None,
        learning_rate=float(batches.learning_rates[-1]),
        skipped_updates=stats.skipped,
        classes=_classes(on, batches, stats, seen),
        sources=_sources(on, batches, stats, gram),
        clipped=None if spent is None or not stats.rows else stats.clipped / stats.rows,
        epsilon_rdp=None if spent is None else spent.rdp,
        epsilon_pld=None if spent is None else spent.pld,
        device_memory=device_memory,
        seconds=seconds,
        rows_per_second=len(batches.rows) / max(seconds, 1e-9) if seconds else 0.0,
    )


def _means(groups: Array, losses: npt.NDArray[np.float32], count: int) -> list[float | None]:
    """Mean loss of each group; `None` for one without rows or with a loss that is not finite."""
    rows = np.bincount(groups, minlength=count)
    sums = np.bincount(groups, weights=losses.astype(np.float64), minlength=count)
    return [float(s / n) if n and math.isfinite(s) else None for s, n in zip(sums, rows, strict=True)]


def _classes(on: Measured, batches: Batches, stats: Stats, seen: Evaluation) -> tuple[ClassStats, ...]:
    count = len(on.classes)
    if not count:
        return ()
    learned = _means(on.y[batches.rows], stats.row_losses, count)
    validated = _means(on.y[on.validation], seen.row_losses, count)
    return tuple(
        ClassStats(name=name, train_loss=train, validation_loss=validation)
        for name, train, validation in zip(on.classes, learned, validated, strict=True)
    )


def _sources(
    on: Measured, batches: Batches, stats: Stats, gram: npt.NDArray[np.float64] | None
) -> tuple[SourceStats, ...]:
    if on.sources is None or gram is None:
        return ()
    count = len(on.source_names)
    of_row = on.sources[batches.rows]
    rows = np.bincount(of_row, minlength=count)
    losses = _means(of_row, stats.row_losses, count)
    dropped = np.bincount([n for update in stats.dropped for n in update], minlength=count)
    norms = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = gram / np.outer(norms, norms)
    cosines[~np.isfinite(cosines)] = np.nan
    return tuple(
        SourceStats(
            name=on.source_names[number],
            rows=int(rows[number]),
            loss=losses[number],
            gradient_norm=float(norms[place]),
            cosines=tuple(float(each) for each in np.clip(cosines[place], -1.0, 1.0)),
            dropped=float(dropped[number]) / max(stats.updates, 1),
        )
        for place, number in enumerate(on.watched)
    )
