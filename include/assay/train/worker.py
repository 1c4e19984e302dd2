"""The training process: `python -m assay.train.worker REQUEST.json`, in a fresh interpreter.

Stdout carries protocol lines and nothing else: before anything is imported that might print, file descriptor 1 is
pointed at stderr, and the real stdout is kept for the protocol. Exit status: 0 finished, 1 failed, 3 not checked.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import numpy as np

    from assay.train.backends import Layer, Trainer
    from assay.train.events import Event
    from assay.train.request import TrainRequest
    from assay.train.spec import Yardsticks

_PR_SET_PDEATHSIG = 1
YARDSTICK_ROWS = 4096


def _take_stdout() -> TextIO:
    """Keep the real stdout for the protocol and send everybody else's output, Julia's and C's too, to stderr."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return protocol


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its supervisor dies, however it dies. Linux only; elsewhere a no-op."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


class _Worker:
    def __init__(self, protocol: TextIO) -> None:
        self._protocol = protocol

    def say(self, event: Event) -> None:
        self._protocol.write(event.line())
        self._protocol.flush()

    def fail(self, outcome: str, reason: str) -> int:
        from assay.train.events import Failed

        if outcome == "not_checked":
            self.say(Failed(outcome="not_checked", reason=reason))
            return 3
        self.say(Failed(outcome="failed", reason=reason))
        return 1

    def run(self, path: Path) -> int:
        from assay.errors import AssayError
        from assay.train.backends import BackendUnavailable, DeviceUnavailable
        from assay.train.request import read_request

        try:
            return self._train(read_request(path))
        except BackendUnavailable as error:
            return self.fail("not_checked", str(error))
        except (DeviceUnavailable, AssayError) as error:
            return self.fail("failed", str(error))
        except MemoryError:
            return self.fail(
                "failed", "the training does not fit into memory; use a smaller network or machine"
            )
        except OSError as error:
            return self.fail("failed", f"the trainer cannot read or write its files: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor must hear of it
            traceback.print_exc(file=sys.stderr)
            return self.fail("failed", f"the trainer failed: {type(error).__name__}: {error}")

    def _train(self, request: TrainRequest) -> int:
        from assay.train.batches import epoch_order, initial_weights, load_weights
        from assay.train.curve import CurvePoint
        from assay.train.events import Epoch, Finished, Started
        from assay.train.output import write_bundle

        begun = time.monotonic()
        x, y, train, validation = _load(request)
        weights = (
            load_weights(request.initial_weights, request.layers)
            if request.initial_weights
            else initial_weights(request.layers, request.seed)
        )
        trainer = self._open(request, x, y, weights)
        yardsticks = _yardsticks(request, y, train, validation, trainer)
        self.say(
            Started(
                run_id=request.run_id,
                backend=request.backend,
                device="gpu" if trainer.device == "gpu" else "cpu",
                device_name=trainer.device_name,
                versions=trainer.versions,
                parameter_count=request.parameter_count,
                rows=len(train),
                yardsticks=yardsticks,
            )
        )
        curve: list[CurvePoint] = []
        for number in range(1, request.epochs + 1):
            start = time.monotonic()
            stats = trainer.run_epoch(epoch_order(train, request.seed, number))
            seconds = time.monotonic() - start
            seen = trainer.evaluate(validation)
            event = Epoch(
                epoch=number,
                train_loss=stats.loss,
                validation_loss=seen.loss,
                accuracy=seen.metric if request.task == "classification" else None,
                r2=seen.metric if request.task == "regression" else None,
                gradient_norm=stats.gradient_norm,
                learning_rate=request.optimizer.learning_rate,
                skipped_updates=stats.skipped,
                seconds=seconds,
                rows_per_second=len(train) / max(seconds, 1e-9),
            )
            self.say(event)
            curve.append(CurvePoint.of(event))
            if stats.skipped:
                return self.fail(
                    "failed",
                    f"in epoch {number}, {stats.skipped} of {stats.skipped + stats.updates} updates were skipped, "
                    "because the loss or the gradient was not finite; a model with skipped updates is not used",
                )
        spec = write_bundle(
            request,
            trainer,
            curve,
            train_rows=len(train),
            yardsticks=yardsticks,
            out_dir=request.out_dir,
        )
        self.say(
            Finished(
                run_id=spec.run_id,
                bundle_dir=str(request.out_dir),
                epochs=len(curve),
                seconds=time.monotonic() - begun,
            )
        )
        return 0

    def _open(self, request: TrainRequest, x: np.ndarray, y: np.ndarray, weights: list[Layer]) -> Trainer:
        from assay.train.backends import DeviceUnavailable, Problem

        problem = Problem(
            request.layers,
            weights,
            request.loss,
            request.optimizer,
            x,
            y,
            request.batch_size,
            request.dtype,
            request.threads,
        )
        if request.backend == "flux":
            from assay.train.backends.flux import FluxTrainer
            from assay.train.events import Warned

            return FluxTrainer(problem, request.device, on_wait=lambda text: self.say(Warned(message=text)))
        if request.device == "gpu":
            raise DeviceUnavailable(
                "device gpu was asked for, but the reference backend only has the CPU; use backend flux or device auto"
            )
        from assay.train.backends.reference import ReferenceTrainer

        return ReferenceTrainer(problem)


def _load(request: TrainRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Map the matrix, read the rest, and hold all four against the request.

    Raises:
        RequestError: An array is missing, truncated, pickled, or of another shape or type.
    """
    import numpy as np

    from assay.train.errors import RequestError

    loaded = {}
    for name, kinds in (
        ("x", ("float32",)),
        ("y", ("int64",) if request.task == "classification" else ("float64",)),
        ("train", ("int64",)),
        ("validation", ("int64",)),
    ):
        path = getattr(request.arrays, name)
        try:
            array = np.load(path, mmap_mode="r" if name == "x" else None, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise RequestError(
                f"the array {path} cannot be read: {error}", next_step="prepare the data again"
            ) from error
        if str(array.dtype) not in kinds:
            raise RequestError(
                f"the array {path} has the wrong type", expected=" or ".join(kinds), found=array.dtype
            )
        loaded[name] = np.asarray(array)
    x, y, train, validation = loaded["x"], loaded["y"], loaded["train"], loaded["validation"]
    width = len(request.features)
    if x.ndim != 2 or x.shape[1] != width or y.shape != (len(x),) or not x.flags.c_contiguous:
        raise RequestError(
            "the arrays do not fit together",
            expected=f"x (rows, {width}) in C order, y (rows,)",
            found=f"x {x.shape}, y {y.shape}",
        )
    for name in ("train", "validation"):
        rows = loaded[name]
        if rows.ndim != 1 or (len(rows) and (rows.min() < 0 or rows.max() >= len(x))):
            raise RequestError(f"the row numbers in {name}.npy are not rows of x")
    if not len(train):
        raise RequestError("there are no rows to learn from")
    if request.classes is not None and (y.min() < 0 or y.max() >= len(request.classes)):
        raise RequestError("y holds class numbers that the request does not name")
    return x, y, train, validation


def _yardsticks(
    request: TrainRequest, y: np.ndarray, train: np.ndarray, validation: np.ndarray, trainer: Trainer
) -> Yardsticks:
    """The losses of those who know nothing: the trivial predictor, the untrained network, and a blind guess."""
    import numpy as np

    from assay.train.spec import Yardsticks

    if request.classes is not None:
        counts = np.bincount(y[train], minlength=len(request.classes)).astype(np.float64)
        # A class that only the validation split has costs the trivial predictor much, but not infinitely much.
        losses = -np.log((counts + 1e-9) / (counts.sum() + 1e-9 * len(counts)))[y]
        uninformed = math.log(len(request.classes))
    else:
        losses = (y - y[train].mean()) ** 2
        uninformed = 1.0
    return Yardsticks(
        trivial_train_loss=float(losses[train].mean()),
        trivial_validation_loss=float(losses[validation].mean()) if len(validation) else None,
        initial_train_loss=trainer.evaluate(train[:YARDSTICK_ROWS]).loss,
        uninformed_loss=uninformed,
        validation_rows=len(validation),
        updates_per_epoch=-(-len(train) // request.batch_size),
    )


def main(arguments: Sequence[str]) -> int:
    """Run one request.

    Args:
        arguments: The request's path, and optionally the supervisor's process id, with which this process dies.
    """
    protocol = _take_stdout()
    if len(arguments) not in {1, 2}:
        print("usage: python -m assay.train.worker REQUEST.json [SUPERVISOR_PID]", file=sys.stderr)
        return 2
    if len(arguments) == 2:
        _die_with(int(arguments[1]))
    return _Worker(protocol).run(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
