"""Writes the file that Flux would write for portable weights: `python -m assay.model.rebuild SPEC WEIGHTS FOLDER`.

Julia's Serialization gives the same bytes for the same network, so that a model file can be compared without being
read. What runs here has seen nothing but a spec and weights that cannot run anything.

Exit status 0: `model.jls` is in the folder; 3: there is no Julia to write it with, stderr's last line says why.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from assay.model.strict import read_weights
from assay.model.structure import read_spec
from assay.train.backends import BackendUnavailable, Problem

NOT_CHECKED = 3


def main(arguments: Sequence[str]) -> int:
    """Write the file.

    Args:
        arguments: `spec.json`, `weights.safetensors`, and the folder to write to.
    """
    from assay.train.backends.flux import FluxTrainer

    spec, weights, folder = (Path(argument) for argument in arguments)
    known = read_spec(spec)
    problem = Problem(
        layers=known.layers,
        weights=read_weights(weights),
        loss=known.loss,
        optimizer=known.optimizer,
        x=np.zeros((1, len(known.features)), dtype=np.float32),
        y=np.zeros(1, dtype=np.int64 if known.loss.of_classes else np.float64),
        dtype=known.dtype,
    )
    try:
        FluxTrainer(problem, "cpu").save_native(folder)
    except BackendUnavailable as error:
        sys.stderr.write(f"{error.reason}\n")
        return NOT_CHECKED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
