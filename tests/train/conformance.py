"""Trains each golden network in both backends and prints how far apart they are: `python -m tests.train.conformance`.

A process of its own, because Julia is never started inside the test run's. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np


def distance(a: Any, b: Any) -> float:
    """Largest difference, relative to the larger of the two and to one hundredth."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float((np.abs(a - b) / np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-2)).max(initial=0.0))


def main() -> None:
    """Compare losses, gradient norms and evaluations of every epoch, and the weights at the end."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from assay.train.backends.flux import FluxTrainer
    from assay.train.backends.reference import ReferenceTrainer
    from tests.train import golden

    answers = []
    for name, loss, dtype, layers in golden.networks():
        task = golden.problem(loss, dtype, layers)
        task.x.setflags(write=False)
        flux, reference = FluxTrainer(task, "cpu"), ReferenceTrainer(task)
        worst, compared = 0.0, 0
        for order in golden.orders():
            theirs, ours = flux.run_epoch(order), reference.run_epoch(order)
            worst = max(worst, distance(theirs, ours))
            compared += len(ours)
            theirs, ours = flux.evaluate(order), reference.evaluate(order)
            worst = max(worst, distance(theirs, ours))
            compared += len(ours)
        for (weight, bias), (weight_2, bias_2) in zip(flux.weights(), reference.weights(), strict=True):
            assert weight.dtype == weight_2.dtype == np.dtype(dtype)
            assert weight.flags.c_contiguous
            worst = max(worst, distance(weight, weight_2))
            compared += weight.size
            assert (bias is None) == (bias_2 is None)
            if bias is not None:
                worst = max(worst, distance(bias, bias_2))
                compared += bias.size
        answers.append({"name": name, "dtype": dtype, "worst": worst, "compared": compared})
    out.write(json.dumps(answers))
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
