"""Is a bundle what its spec says? Names, shapes, types, digests, finiteness, activations, the number of parameters.

It runs after the signature has passed. Weights, spec, curve and statement are read by parsers that can run nothing of
what they read; Flux's own file is looked at by its first bytes and never deserialized here.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from assay.canonical import sha256_hex
from assay.errors import AssayError
from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger import EnvelopeError
from assay.ledger.statements import read_unverified
from assay.model.digest import file_sha256
from assay.model.strict import Weights, bounded, first_line, read_weights, strict_json
from assay.train import BundleSpec, CurvePoint, load_preprocessing, read_curve, weight_name

WEIGHTS_FILE, SPEC_FILE, NATIVE_FILE = "weights.safetensors", "spec.json", "model.jls"
CURVE_FILE, CARD_FILE, STATEMENT_FILE = "curve.parquet", "card.md", "statement.dsse.json"
_REQUIRED = {WEIGHTS_FILE, SPEC_FILE, CURVE_FILE, CARD_FILE, STATEMENT_FILE, "model.sig"}
_ALLOWED = _REQUIRED | {NATIVE_FILE}
_MAX_SPEC_BYTES = 64 * 2**20
_MAX_STATEMENT_BYTES = 8 * 2**20
_JLS_BYTES = 8
_ITEM_BYTES = {"float32": 4, "float64": 8}


def check_names(bundle: Path) -> Finding:
    """Whether the directory has the files of a bundle and no others; no byte is read."""
    present = {entry.name for entry in bundle.iterdir()}
    missing, extra = sorted(_REQUIRED - present), sorted(present - _ALLOWED)
    if missing or extra:
        more = f" and {len(extra) - 8} more" if len(extra) > 8 else ""
        odd = ", ".join(map(repr, extra[:8])) or "none"
        return _said(
            "files", Outcome.FAILED, f"missing: {', '.join(missing) or 'none'}; not allowed: {odd}{more}"
        )
    return _said("files", Outcome.PASSED, f"{len(present)} files, all known")


def check_structure(bundle: Path) -> tuple[list[Finding], BundleSpec | None, Weights, tuple[CurvePoint, ...]]:
    """Compare the bundle's files with each other.

    Returns:
        Findings; the spec, the weights and the curve, which count only when every finding passed.
    """
    findings: list[Finding] = []
    curve: tuple[CurvePoint, ...] = ()
    try:
        spec = read_spec(bundle / SPEC_FILE)
        findings.append(_said("spec", Outcome.PASSED, "reads as a bundle's spec"))
    except (OSError, ValueError) as error:
        return [_said("spec", Outcome.FAILED, first_line(error))], None, {}, curve
    try:
        weights = read_weights(bundle / WEIGHTS_FILE, at_most=_weight_bytes(spec))
    except (OSError, ValueError) as error:
        message = f"{WEIGHTS_FILE} cannot be read: {first_line(error)}"
        return [*findings, _said("weights", Outcome.FAILED, message)], spec, {}, curve
    findings += [_names(spec, weights), _network(spec, weights), _numbers(weights), _preprocessing(spec)]
    said, curve = _curve(bundle, spec)
    return [*findings, said, _native(bundle, spec), _statement(bundle, spec)], spec, weights, curve


def read_spec(path: Path) -> BundleSpec:
    """Read `spec.json`.

    Raises:
        ValueError: It is too large, repeats a key, holds NaN, or is not a spec.
        OSError: It cannot be read.
    """
    data = bounded(path, _MAX_SPEC_BYTES)
    try:
        strict_json(data)
        return BundleSpec.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ValueError(f"{SPEC_FILE}: {where}: {first['msg']}") from error
    except ValueError as error:
        raise ValueError(f"{SPEC_FILE}: {first_line(error)}") from error


def _weight_bytes(spec: BundleSpec) -> int:
    return sum(max(0, math.prod(weight.shape)) * _ITEM_BYTES[weight.dtype] for weight in spec.weights)


def _names(spec: BundleSpec, weights: Weights) -> Finding:
    listed = {w.name: w for w in spec.weights}
    if set(listed) != set(weights) or len(listed) != len(spec.weights):
        odd = sorted(set(listed) ^ set(weights)) or sorted(w.name for w in spec.weights)
        return _said("weights", Outcome.FAILED, f"spec and weights name different arrays: {odd}")
    for name, said in listed.items():
        array = weights[name]
        if tuple(array.shape) != said.shape or str(array.dtype) != said.dtype:
            found = f"{array.dtype}{list(array.shape)}"
            return _said(
                "weights", Outcome.FAILED, f"{name}: expected {said.dtype}{list(said.shape)}, found {found}"
            )
        if sha256_hex(np.ascontiguousarray(array).tobytes()) != said.sha256:
            return _said("weights", Outcome.FAILED, f"{name}: its numbers are not those of the spec's digest")
    return _said(
        "weights", Outcome.PASSED, f"{len(weights)} arrays with the spec's names, shapes, types and digests"
    )


def _network(spec: BundleSpec, weights: Weights) -> Finding:
    """The layers must fit each other, the features, the classes, the loss, and the arrays."""
    if wrong := _task(spec):
        return _said("network", Outcome.FAILED, wrong)
    width = len(spec.features)
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {}
    for position, layer in enumerate(spec.layers):
        if layer.in_ != width:
            return _said(
                "network", Outcome.FAILED, f"layer {position} takes {layer.in_} inputs but gets {width}"
            )
        if layer.dtype != (first := spec.layers[0].dtype):
            return _said(
                "network", Outcome.FAILED, f"layer {position} is {layer.dtype}, the first is {first}"
            )
        width = layer.out
        wanted[weight_name(position, "weight")] = (layer.dtype, (layer.out, layer.in_))
        if layer.bias:
            wanted[weight_name(position, "bias")] = (layer.dtype, (layer.out,))
    outputs = len(spec.classes or ()) if spec.task == "classification" else 1
    if width != outputs:
        return _said(
            "network", Outcome.FAILED, f"the last layer has {width} outputs, the task needs {outputs}"
        )
    for name in sorted({*wanted, *weights}):
        array = weights.get(name)
        found = None if array is None else (str(array.dtype), tuple(array.shape))
        if found != wanted.get(name):
            return _said(
                "network", Outcome.FAILED, f"{name}: the layers need {wanted.get(name)}, the file has {found}"
            )
    count = sum(layer.parameter_count for layer in spec.layers)
    if count != spec.parameter_count:
        return _said("network", Outcome.FAILED, f"{spec.parameter_count} parameters declared, {count} there")
    return _said(
        "network", Outcome.PASSED, f"{len(spec.layers)} layers, {count:,} parameters, all fit each other"
    )


def _task(spec: BundleSpec) -> str:
    """What of task, loss, classes and features contradicts the rest; empty when nothing does."""
    if spec.loss != ("logit_cross_entropy" if spec.task == "classification" else "mse"):
        return f"the loss {spec.loss} does not belong to {spec.task}"
    classes = spec.classes or ()
    if spec.task == "classification" and (len(classes) < 2 or len(set(classes)) != len(classes)):
        return f"a classification needs two or more different classes, found {spec.classes}"
    if spec.task == "regression" and spec.classes is not None:
        return "a regression has no classes"
    if spec.layers[-1].activation != "identity":
        return (
            f"the last layer has the activation {spec.layers[-1].activation}, but {spec.loss} needs identity"
        )
    if len(set(spec.features)) != len(spec.features):
        return "a feature stands twice"
    return ""


def _numbers(weights: Weights) -> Finding:
    bad = sorted(name for name, array in weights.items() if not np.isfinite(array).all())
    if bad:
        return _said("finite", Outcome.FAILED, f"not finite: {', '.join(bad)}")
    return _said("finite", Outcome.PASSED, "every weight is a finite number")


def _preprocessing(spec: BundleSpec) -> Finding:
    try:
        state = load_preprocessing(spec.preprocessing)
    except AssayError as error:
        return _said("preprocessing", Outcome.FAILED, first_line(error))
    if state.features != spec.features:
        return _said(
            "preprocessing", Outcome.FAILED, "it makes other features than the network was trained on"
        )
    return _said(
        "preprocessing", Outcome.PASSED, f"{len(state.columns)} columns to {len(state.features)} features"
    )


def _curve(bundle: Path, spec: BundleSpec) -> tuple[Finding, tuple[CurvePoint, ...]]:
    """The curve has one point per epoch and ends where the spec says that the run ended."""
    path = bundle / CURVE_FILE
    try:
        rows = pq.read_metadata(path).num_rows
        if rows != spec.epochs:
            return _said(
                "curve", Outcome.FAILED, f"{CURVE_FILE} has {rows} epochs, the run had {spec.epochs}"
            ), ()
        curve = tuple(read_curve(path))
    except (AssayError, OSError, ValueError, pa.ArrowException) as error:
        return _said("curve", Outcome.FAILED, f"{CURVE_FILE} cannot be read: {first_line(error)}"), ()
    if [point.epoch for point in curve] != list(range(1, spec.epochs + 1)):
        return _said("curve", Outcome.FAILED, f"the epochs of {CURVE_FILE} do not follow each other"), ()
    for name, said in spec.metrics.items():
        found = getattr(curve[-1], name, None)
        if found != said:
            return _said(
                "curve", Outcome.FAILED, f"{name}: the spec says {said}, the curve ends with {found}"
            ), ()
    return _said("curve", Outcome.PASSED, f"{spec.epochs} epochs, ending where the spec says"), curve


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
        head = file.read(_JLS_BYTES)
    # What Julia's Serialization writes first: "7JL", its version, a byte for endianness and word size, three zeros.
    if not (
        len(head) == _JLS_BYTES
        and head[:3] == b"7JL"
        and 0 < head[3] < 64
        and head[4] < 16
        and not any(head[5:])
    ):
        return _said(
            "native", Outcome.FAILED, f"{NATIVE_FILE} is not Julia Serialization: it starts with {head!r}"
        )
    return _said("native", Outcome.PASSED, f"{NATIVE_FILE} is Julia Serialization; it was not deserialized")


def _statement(bundle: Path, spec: BundleSpec) -> Finding:
    """The run's statement must name the very files that the trainer wrote: none was changed and signed again."""
    try:
        text = bounded(bundle / STATEMENT_FILE, _MAX_STATEMENT_BYTES).decode()
        statement = read_unverified(text)
    except (EnvelopeError, OSError, ValueError) as error:
        return _said("statement", Outcome.FAILED, f"{STATEMENT_FILE} cannot be read: {first_line(error)}")
    named = {subject.name: subject.sha256 for subject in statement.subjects}
    if statement.step != "run-finished" or spec.run_id not in named:
        other = f"{STATEMENT_FILE} is a statement ({statement.step}) about something else than {spec.run_id}"
        return _said("statement", Outcome.FAILED, other)
    for name in (WEIGHTS_FILE, SPEC_FILE, CURVE_FILE, NATIVE_FILE):
        found = file_sha256(bundle / name) if (bundle / name).exists() else None
        if found != named.get(name):
            return _said(
                "statement", Outcome.FAILED, f"{name} is not the file that the run's statement names"
            )
    return _said("statement", Outcome.PASSED, f"the statement of {spec.run_id} names these files")


def _said(check: str, outcome: Outcome, message: str) -> Finding:
    return Finding(
        check=f"model.{check}",
        outcome=outcome,
        severity=Severity.INFO if outcome is Outcome.PASSED else Severity.CRITICAL,
        scope=Scope.MODEL,
        message=message,
        technique=None if outcome is Outcome.PASSED else "AML.T0018",
    )
