"""Reads a Flux model in a process of its own and says what it is.

    python -m assay.train.programs.native_check MODEL.jls PROBES.npy OUT.json

Reading a serialized Julia object can run code, so this is only for a file whose signature and digest have been checked,
and only in a child process that may come to harm. It trusts nothing that it reads: it describes, its caller compares.

What it writes is one JSON object:

    layers              to be those of `native_layers`
    arrays              name, shape, dtype and finite of each; sha256 is of its bytes in C order
    parameter_count     trainable numbers
    finite              whether all arrays are
    outputs             of the probes, row by row; null for what is not finite
    versions            of Julia, Flux and juliacall

Exit status 0: described; 1: the file cannot be read as a model, `{"error": ...}`; 3: there is no Julia to read it with,
`{"not_checked": ..., "next": ...}`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from assay.train.backends import Array, BackendUnavailable
from assay.train.network.layers import BatchNormSpec, EmbeddingSpec, LayerNormSpec, LayerSpec, SkipSpec

DESCRIBED: Final = 0
UNREADABLE: Final = 1
NOT_CHECKED: Final = 3

_CARRIED: Final = {
    "dense": ("in", "out", "activation", "bias", "dtype"),
    "embedding": ("in", "dim", "columns", "dtype"),
    "unflatten": (),
    "flatten": (),
    "batch_norm": ("momentum", "epsilon", "activation", "dtype"),
    "layer_norm": ("size", "epsilon", "activation", "dtype"),
    "dropout": ("rate",),
    "conv": ("channels", "out", "kernel", "stride", "padding", "activation", "bias", "dtype"),
    "max_pool": ("window", "stride"),
    "skip": ("connection",),
}
"""What a Flux layer knows of its spec."""


def native_layers(layers: Sequence[LayerSpec]) -> list[dict[str, Any]]:
    """What a model file of these layers must be described as: all that a Flux layer itself knows of its spec."""
    return [_native(layer) for layer in layers]


def _native(layer: LayerSpec) -> dict[str, Any]:
    dumped = layer.model_dump(mode="json", by_alias=True)
    found: dict[str, Any] = {"type": layer.type, **{name: dumped[name] for name in _CARRIED[layer.type]}}
    if isinstance(layer, BatchNormSpec):
        found["channels"] = layer.shape[0]
    if isinstance(layer, BatchNormSpec | LayerNormSpec):
        kind = np.dtype(layer.dtype).type
        found.update({name: float(kind(found[name])) for name in ("momentum", "epsilon") if name in found})
    if isinstance(layer, EmbeddingSpec):
        found["rest"] = list(layer.rest)
    if isinstance(layer, SkipSpec):
        found["layers"] = native_layers(layer.layers)
    return found


def describe(model: Path, probes: Array) -> dict[str, Any]:
    """What the file holds, and what it makes of the probes.

    Args:
        model: The serialized chain.
        probes: float32 (rows, features).

    Raises:
        BackendUnavailable: No Julia, no Flux.
        ValueError: The file holds no model that can be described and applied.
    """
    from assay.train.backends.flux import lend, start_julia

    julia = start_julia()
    module = julia.module
    try:
        chain = module.open_model(str(model))
        layers = _plain(module.describe_model(chain))
        arrays = [_array(*found) for found in module.model_arrays(chain)]
        sizes = module.output_size(chain, probes.shape[1])
        rows = np.ascontiguousarray(probes, dtype=np.float32)
        outputs = np.empty((len(rows), sizes), dtype=arrays[0]["dtype"] if arrays else "float32")
        module.apply_model_b(lend(module, outputs.T), chain, lend(module, rows.T))
    except Exception as error:  # whatever a hostile file makes Julia or the conversion throw
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(lines[0][:300]) from error
    return {
        "layers": layers,
        "arrays": arrays,
        "parameter_count": sum(
            math.prod(array["shape"])
            for array in arrays
            if array["name"].rsplit(".", 1)[-1] not in {"mean", "variance"}
        ),
        "finite": all(array["finite"] for array in arrays),
        "outputs": [[_number(value) for value in row] for row in outputs.tolist()],
        "versions": julia.versions,
    }


def _array(name: Any, shape: Any, numbers: Any) -> dict[str, Any]:
    flat = np.ascontiguousarray(np.asarray(numbers))
    return {
        "name": str(name),
        "shape": [int(length) for length in shape],
        "dtype": str(flat.dtype),
        "sha256": hashlib.sha256(flat.tobytes()).hexdigest(),
        "finite": bool(np.isfinite(flat).all()),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Julia's dictionaries and vectors as Python's own."""
    from juliacall import DictValue, VectorValue

    if isinstance(value, DictValue):
        return {str(key): _plain(value[key]) for key in value}
    if isinstance(value, VectorValue):
        return [_plain(each) for each in value]
    return value


def main(arguments: Sequence[str]) -> int:
    """Describe the model; the answer is in the file, whatever it is."""
    model, probes, out = map(Path, arguments)
    os.dup2(2, 1)
    status, answer = DESCRIBED, {}
    try:
        answer = describe(model, np.load(probes, allow_pickle=False))
    except BackendUnavailable as error:
        status, answer = NOT_CHECKED, {"not_checked": error.reason, "next": error.next_step}
    except ValueError as error:
        status, answer = UNREADABLE, {"error": str(error)}
    out.write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
