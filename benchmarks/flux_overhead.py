"""What training through Assay costs beside a Flux loop written by hand, on the same data in the same process.

    python benchmarks/flux_overhead.py [--rows 30000] [--features 100] [--epochs 5] [--repeats 7]

For each network: seconds of the plain Flux loop (`flux_loop.jl`: updates only), of Assay's Flux backend with the same
updates (which also keeps each row's loss, each update's gradient norm and the count of skipped ones), and of the same
two with a validation pass after each epoch; then the reference backend and scikit-learn's MLPClassifier on the same
work. Printed are the medians over the repeats, which take turns, and the median of the ratios within each turn, by
the clock and by processor time, which other work on the machine disturbs less. Start-up and the first update, which is
when code is compiled, stand apart.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from assay.contract.optimization import Optimizer
from assay.train.backends import Batches, Problem, Trainer
from assay.train.backends.reference import ReferenceTrainer
from assay.train.network.layers import DenseSpec
from assay.train.network.spec import LossSpec
from assay.train.run.batches import initial_weights, shuffled_batches, updates_per_epoch

RATE, CLASSES, SEED = 0.001, 2, 0
NETWORKS = {"64-32": (64, 32), "256-128": (256, 128), "16": (16,)}


class Work(NamedTuple):
    """What all trainers do."""

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    widths: tuple[int, ...]
    batch: int
    epochs: int


def make_work(rows: int, features: int, widths: tuple[int, ...], batch: int, epochs: int) -> Work:
    """Two classes that a network can learn in part."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    x = generator.normal(size=(rows, features)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + x[:, 2] + generator.normal(size=rows) > 0).astype(np.int64)
    cut = rows * 8 // 10
    return Work(x, y, np.arange(cut), np.arange(cut, rows), widths, batch, epochs)


def problem(work: Work) -> Problem:
    """The work as Assay's backends take it."""
    sizes = (work.x.shape[1], *work.widths)
    layers = tuple(
        DenseSpec(in_=before, out=after, activation="relu") for before, after in itertools.pairwise(sizes)
    )
    layers += (DenseSpec(in_=sizes[-1], out=CLASSES),)
    loss, rule = LossSpec(name="logit_cross_entropy"), Optimizer(learning_rate=RATE)
    return Problem(layers, initial_weights(layers, SEED), loss, rule, work.x, work.y)


def epochs_of(work: Work) -> list[Batches]:
    """The batches of every epoch."""
    rates = np.full(updates_per_epoch(len(work.train), work.batch), RATE)
    return [
        shuffled_batches(work.train, work.batch, SEED, epoch, rates) for epoch in range(1, work.epochs + 1)
    ]


class Spent(NamedTuple):
    """Seconds by the clock and of the processor."""

    wall: float
    processor: float


def timed(work: Callable[[], object]) -> Spent:
    """What a piece of work takes, once."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - processor)


def through_assay(trainer: Trainer, work: Work, validate: bool) -> None:
    """All epochs, the drawing of their order included."""
    for batches in epochs_of(work):
        trainer.run(batches)
        if validate:
            trainer.evaluate(work.validation)


def plain_loop(work: Work) -> Callable[[bool], None]:
    """The loop by hand; it has its data as Julia's own arrays."""
    import juliacall

    main = juliacall.Main
    if not main.isdefined(main, main.Symbol("FluxLoop")):
        main.include(str(Path(__file__).with_name("flux_loop.jl")))
    loop = main.FluxLoop
    own = main.seval("x -> permutedims(Array{Float32}(x))")

    def part(rows: npt.NDArray[np.int64]) -> tuple[Any, Any]:
        labels = main.seval("y -> Vector{Int}(y)")(work.y[rows])
        return own(work.x[rows]), loop.one_hot(labels, CLASSES)

    train, validation = part(work.train), part(work.validation)
    training = loop.begin_training(work.x.shape[1], work.widths, CLASSES, RATE)

    def run(validate: bool) -> None:
        for _ in range(work.epochs):
            loop.train_epoch_b(training, *train, work.batch)
            if validate:
                loop.validate(training, *validation)

    return run


def scikit(work: Work) -> None:
    """scikit-learn's own multilayer perceptron with the same batches and epochs."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        work.widths, alpha=0.0, batch_size=work.batch, learning_rate_init=RATE, max_iter=work.epochs,
        n_iter_no_change=work.epochs + 1, random_state=SEED,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(work.x[work.train], work.y[work.train])


def compare(name: str, work: Work, repeats: int) -> None:
    """Measure one network and print it."""
    from assay.train.backends.flux import FluxTrainer

    print(
        f"\n{name}: {len(work.train)} rows, {work.x.shape[1]} features, {work.epochs} epochs of {work.batch}"
    )
    begun = time.perf_counter()
    flux = FluxTrainer(problem(work), "cpu")
    first = epochs_of(work)[0]
    flux.run(Batches(first.rows[: work.batch], first.offsets[:2], first.learning_rates[:1]))
    flux.evaluate(work.validation)
    print(f"  first update and evaluation through Assay  {time.perf_counter() - begun:8.2f} s")
    plain = plain_loop(work)
    print(f"  first epochs of the plain loop             {timed(lambda: plain(True)).wall:8.2f} s")
    through_assay(flux, work, True)
    reference = ReferenceTrainer(problem(work))
    for title, validate in (("updates only", False), ("with validation", True)):
        turns = [
            (timed(partial(plain, validate)), timed(partial(through_assay, flux, work, validate)))
            for _ in range(repeats)
        ]
        by_hand, ours = (statistics.median(turn[i].wall for turn in turns) for i in (0, 1))
        clock = statistics.median(assay.wall / hand.wall for hand, assay in turns)
        processor = statistics.median(assay.processor / hand.processor for hand, assay in turns)
        print(
            f"  {title:16} plain {by_hand:7.3f} s   assay {ours:7.3f} s   "
            f"ratio {clock:5.2f}   of processor time {processor:5.2f}"
        )
    alone = timed(partial(through_assay, reference, work, False))
    print(f"  reference backend, updates only  {alone.wall:7.3f} s")
    print(f"  scikit-learn, the same           {timed(partial(scikit, work)).wall:7.3f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description="What training through Assay costs beside a plain Flux loop."
    )
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    begun = time.perf_counter()
    from assay.train.backends.flux import start_julia

    julia = start_julia()
    julia.module.set_threads_b(1)
    versions = ", ".join(f"{name} {version}" for name, version in julia.versions.items())
    print(f"start-up of Julia with Flux and AssayTrainer: {time.perf_counter() - begun:.2f} s ({versions})")
    for name, widths in NETWORKS.items():
        work = make_work(options.rows, options.features, widths, options.batch, options.epochs)
        compare(name, work, options.repeats)


if __name__ == "__main__":
    main()
