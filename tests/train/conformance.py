"""Runs each golden case in both backends and prints how far apart they are: `python -m tests.train.conformance`.

A process of its own, because Julia is never started inside the test run's. Prints one JSON object per case, then one of
all; with a word behind it, only cases with that word in their name or kind.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np

FLOOR = 1e-2
"""Numbers smaller than this are compared as if they were as large: relative to nothing, rounding is infinite."""


class Comparison:
    """The distances between two backends' answers to one case.

    Attributes:
        compared: How many numbers were held against each other.
        worst: The largest distance, relative to the larger number and to `FLOOR`; infinite where counts differ.
        where: What was farthest apart.
    """

    def __init__(self) -> None:
        self.compared, self.worst, self.where = 0, 0.0, ""

    def close(self, name: str, theirs: Any, ours: Any) -> None:
        """Fractions, of the same shape; NaN equals NaN."""
        theirs, ours = np.asarray(theirs, dtype=np.float64), np.asarray(ours, dtype=np.float64)
        self.compared += ours.size
        if theirs.shape != ours.shape:
            return self._note(f"{name}: shape {theirs.shape}, not {ours.shape}", np.inf)
        both = np.isnan(theirs) & np.isnan(ours)
        scale = np.maximum(np.maximum(np.abs(theirs), np.abs(ours)), FLOOR)
        apart = np.where(both, 0.0, np.abs(theirs - ours) / scale)
        return self._note(name, float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0)))

    def equal(self, name: str, theirs: Any, ours: Any) -> None:
        """Counts and choices."""
        self.compared += 1
        self._note(f"{name}: {theirs}, not {ours}", 0.0 if theirs == ours else np.inf)

    def _note(self, where: str, distance: float) -> None:
        if distance > self.worst:
            self.worst, self.where = distance, where


def compare(theirs: dict[str, Any], ours: dict[str, Any], dtype: str) -> Comparison:
    """Two answers of `golden.drive`."""
    found = Comparison()
    for i, (their_call, our_call) in enumerate(zip(theirs["calls"], ours["calls"], strict=True)):
        for name, their_value, our_value in zip(our_call._fields, their_call, our_call, strict=True):
            check = found.close if isinstance(our_value, float | np.ndarray) else found.equal
            check(f"{name} of call {i}", their_value, our_value)
    for name, their_value, our_value in zip(
        ours["evaluation"]._fields, theirs["evaluation"], ours["evaluation"], strict=True
    ):
        found.close(f"{name} of the evaluation", their_value, our_value)
    found.close("gram", theirs["gram"], ours["gram"])
    found.equal("names", list(theirs["weights"]), list(ours["weights"]))
    for name, array in ours["weights"].items():
        their_array = theirs["weights"][name]
        found.equal(f"dtype of {name}", str(their_array.dtype), dtype)
        found.equal(f"C order of {name}", bool(their_array.flags.c_contiguous), True)
        found.close(name, their_array, array)
    return found


def main() -> None:
    """Every case, one line each."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from assay.train.backends.flux import FluxTrainer
    from assay.train.backends.reference import ReferenceTrainer
    from tests.train import golden

    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    compared, worst = 0, {}
    for case in golden.cases():
        if wanted not in f"{case.kind} {case.name}":
            continue
        task = golden.problem(case)
        task.x.setflags(write=False)
        found = compare(
            golden.drive(case, FluxTrainer(task, "cpu")),
            golden.drive(case, ReferenceTrainer(task)),
            case.dtype,
        )
        compared += found.compared
        worst[case.dtype] = max(worst.get(case.dtype, 0.0), found.worst)
        line = {"name": case.name, "kind": case.kind, "dtype": case.dtype, "worst": found.worst}
        print(json.dumps({**line, "where": found.where, "compared": found.compared}), file=out, flush=True)
    print(json.dumps({"compared": compared, "worst": worst}), file=out, flush=True)


if __name__ == "__main__":
    main()
