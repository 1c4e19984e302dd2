"""Is a bundle what its spec says? Names, shapes, types, digests, finiteness, activations, the number of parameters.

It runs after the signature has passed, and reads `weights.safetensors` and `spec.json` only: nothing in these can run.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from assay.canonical import sha256_hex
from assay.errors import AssayError
from assay.findings import Finding, Outcome, Scope, Severity
from assay.train import BundleSpec, load_preprocessing, weight_name

Weights = dict[str, npt.NDArray[Any]]

WEIGHTS_FILE, SPEC_FILE, NATIVE_FILE = "weights.safetensors", "spec.json", "model.jls"
_ALLOWED = {WEIGHTS_FILE, SPEC_FILE, NATIVE_FILE, "curve.parquet", "card.md", "statement.dsse.json", "model.sig"}
_REQUIRED = _ALLOWED - {NATIVE_FILE}
_MAX_SPEC_BYTES = 64 * 2**20
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_JLS_MAGIC = b"7JL"  # what Julia's Serialization writes first
_DTYPES = {"F32": "float32", "F64": "float64"}


def check_structure(bundle: Path) -> tuple[list[Finding], BundleSpec | None, Weights]:
    """Compare the bundle's files with each other.

    Returns:
        Findings; the spec and the weights, which count only when no finding failed.
    """
    findings = [_files(bundle)]
    try:
        spec = read_spec(bundle / SPEC_FILE)
        findings.append(_said("spec", Outcome.PASSED, "reads as a bundle's spec"))
    except (AssayError, OSError, ValueError) as error:
        return [*findings, _said("spec", Outcome.FAILED, _first_line(error))], None, {}
    try:
        weights = read_weights(bundle / WEIGHTS_FILE)
    except (OSError, ValueError, KeyError, struct.error) as error:
        return [*findings, _said("weights", Outcome.FAILED, f"{WEIGHTS_FILE} cannot be read: {_first_line(error)}")], spec, {}
    findings += [_names(spec, weights), _network(spec, weights), _numbers(weights), _preprocessing(spec), _native(bundle, spec)]
    return findings, spec, weights


def read_spec(path: Path) -> BundleSpec:
    """Read `spec.json`.

    Raises:
        ValueError: It is too large, repeats a key, or is not a spec.
        OSError: It cannot be read.
    """
    if path.stat().st_size > _MAX_SPEC_BYTES:
        raise ValueError(f"{SPEC_FILE} is larger than {_MAX_SPEC_BYTES} bytes")
    data = path.read_bytes()
    json.loads(data, object_pairs_hook=_no_twice)
    try:
        return BundleSpec.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{SPEC_FILE}: {where}: {first['msg']}") from error


def read_weights(path: Path) -> Weights:
    """Read a safetensors file after its header was checked: no repeated name, no gap, no overlap, no trailing byte.

    Raises:
        ValueError: The file is not a plain safetensors file of floats.
        OSError: It cannot be read.
    """
    from safetensors.numpy import load

    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    if length > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise ValueError("its header is longer than the file")
    header = json.loads(data[8 : 8 + length], object_pairs_hook=_no_twice)
    header.pop("__metadata__", None)
    if unknown := sorted({str(entry.get("dtype")) for entry in header.values()} - set(_DTYPES)):
        raise ValueError(f"it holds arrays of type {', '.join(unknown)}, expected F32 or F64")
    end = 0
    for entry in sorted(header.values(), key=lambda e: e["data_offsets"]):
        if entry["data_offsets"][0] != end:
            raise ValueError("its arrays overlap or leave a gap")
        end = entry["data_offsets"][1]
    if 8 + length + end != len(data):
        raise ValueError("it holds bytes that belong to no array")
    return dict(load(data))


def _files(bundle: Path) -> Finding:
    present = {entry.name for entry in bundle.iterdir()}
    missing, extra = sorted(_REQUIRED - present), sorted(present - _ALLOWED)
    if missing or extra:
        return _said("files", Outcome.FAILED, f"missing: {missing or 'none'}; not allowed: {extra or 'none'}")
    return _said("files", Outcome.PASSED, f"{len(present)} files, all known")


def _names(spec: BundleSpec, weights: Weights) -> Finding:
    listed = {w.name: w for w in spec.weights}
    if set(listed) != set(weights) or len(listed) != len(spec.weights):
        odd = sorted(set(listed) ^ set(weights)) or sorted(w.name for w in spec.weights)
        return _said("weights", Outcome.FAILED, f"spec and weights name different arrays: {odd}")
    for name, said in listed.items():
        array = weights[name]
        if tuple(array.shape) != said.shape or str(array.dtype) != said.dtype:
            found = f"{array.dtype}{list(array.shape)}"
            return _said("weights", Outcome.FAILED, f"{name}: expected {said.dtype}{list(said.shape)}, found {found}")
        if sha256_hex(np.ascontiguousarray(array).tobytes()) != said.sha256:
            return _said("weights", Outcome.FAILED, f"{name}: its numbers are not those of the spec's digest")
    return _said("weights", Outcome.PASSED, f"{len(weights)} arrays with the spec's names, shapes, types and digests")


def _network(spec: BundleSpec, weights: Weights) -> Finding:
    """The layers must fit each other, the features, the classes, and the arrays."""
    width, wanted = len(spec.features), {}
    for position, layer in enumerate(spec.layers):
        if layer.in_ != width:
            return _said("network", Outcome.FAILED, f"layer {position} takes {layer.in_} inputs but gets {width}")
        width = layer.out
        wanted[weight_name(position, "weight")] = (layer.dtype, (layer.out, layer.in_))
        if layer.bias:
            wanted[weight_name(position, "bias")] = (layer.dtype, (layer.out,))
    outputs = len(spec.classes or ()) if spec.task == "classification" else 1
    if width != outputs:
        return _said("network", Outcome.FAILED, f"the last layer has {width} outputs, the task needs {outputs}")
    for name in sorted({*wanted, *weights}):
        array = weights.get(name)
        found = None if array is None else (str(array.dtype), tuple(array.shape))
        if found != wanted.get(name):
            return _said("network", Outcome.FAILED, f"{name}: the layers need {wanted.get(name)}, the file has {found}")
    count = sum(layer.parameter_count for layer in spec.layers)
    if count != spec.parameter_count:
        return _said("network", Outcome.FAILED, f"{spec.parameter_count} parameters declared, {count} there")
    return _said("network", Outcome.PASSED, f"{len(spec.layers)} layers, {count:,} parameters, all fit each other")


def _numbers(weights: Weights) -> Finding:
    bad = sorted(name for name, array in weights.items() if not np.isfinite(array).all())
    if bad:
        return _said("finite", Outcome.FAILED, f"not finite: {', '.join(bad)}")
    return _said("finite", Outcome.PASSED, "every weight is a finite number")


def _preprocessing(spec: BundleSpec) -> Finding:
    try:
        state = load_preprocessing(spec.preprocessing)
    except AssayError as error:
        return _said("preprocessing", Outcome.FAILED, _first_line(error))
    if state.features != spec.features:
        return _said("preprocessing", Outcome.FAILED, "it makes other features than the network was trained on")
    return _said("preprocessing", Outcome.PASSED, f"{len(state.columns)} columns to {len(state.features)} features")


def _native(bundle: Path, spec: BundleSpec) -> Finding:
    """Flux's own file is there when Flux trained, and is binary by content, whatever its name."""
    path = bundle / NATIVE_FILE
    if spec.backend != "flux":
        if path.exists():
            return _said("native", Outcome.FAILED, f"{NATIVE_FILE} in a bundle of the {spec.backend} backend")
        return _said("native", Outcome.PASSED, f"the {spec.backend} backend has no file of its own")
    if not path.exists():
        return _said("native", Outcome.FAILED, f"a flux bundle without {NATIVE_FILE}")
    with path.open("rb") as file:
        head = file.read(len(_JLS_MAGIC))
    if head != _JLS_MAGIC:
        return _said("native", Outcome.FAILED, f"{NATIVE_FILE} is not Julia Serialization: starts with {head!r}")
    return _said("native", Outcome.PASSED, f"{NATIVE_FILE} is Julia Serialization; it was not deserialized")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError(f"the key {max(names, key=names.count)!r} stands twice")
    return dict(pairs)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _said(check: str, outcome: Outcome, message: str) -> Finding:
    return Finding(
        check=f"model.{check}",
        outcome=outcome,
        severity=Severity.INFO if outcome is Outcome.PASSED else Severity.CRITICAL,
        scope=Scope.MODEL,
        message=message,
        technique=None if outcome is Outcome.PASSED else "AML.T0018",
    )
