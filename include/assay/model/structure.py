"""Is a bundle what its spec says? Names, layers, shapes, types, digests, numbers, preprocessing, the run's history.

It runs after the signature has passed. Weights, spec, curve and statement are read by parsers that can run nothing of
what they read; Flux's own file is looked at by its first bytes and never deserialized here.
"""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import ValidationError

from assay.canonical import file_sha256
from assay.findings import Finding, Outcome
from assay.ledger import EnvelopeError
from assay.ledger.statements.envelopes import read_unverified
from assay.model.answers import failed, passed
from assay.model.architecture import check_network, check_numbers, check_preprocessing, check_weights
from assay.model.history import check_curve, check_privacy, check_sources_named
from assay.model.strict import Weights, bounded, first_line, read_weights
from assay.strictjson import strict_json
from assay.train import BundleSpec, CurvePoint

WEIGHTS_FILE, SPEC_FILE, NATIVE_FILE = "weights.safetensors", "spec.json", "model.jls"
CURVE_FILE, CARD_FILE, STATEMENT_FILE = "curve.parquet", "card.md", "statement.dsse.json"
_REQUIRED = {WEIGHTS_FILE, SPEC_FILE, CURVE_FILE, CARD_FILE, STATEMENT_FILE, "model.sig"}
_ALLOWED = _REQUIRED | {NATIVE_FILE}
_MAX_SPEC_BYTES = 64 * 2**20
_MAX_STATEMENT_BYTES = 8 * 2**20
_MAX_NATIVE_OVERHEAD = 2**20
_JLS_BYTES = 8
_ITEM_BYTES = {"float32": 4, "float64": 8}


def check_names(bundle: Path) -> Finding:
    """Whether the directory has the files of a bundle and no others; no byte is read."""
    present = {entry.name for entry in bundle.iterdir()}
    missing, extra = sorted(_REQUIRED - present), sorted(present - _ALLOWED)
    if missing or extra:
        more = f" and {len(extra) - 8} more" if len(extra) > 8 else ""
        odd = ", ".join(map(repr, extra[:8])) or "none"
        return failed("files", f"missing: {', '.join(missing) or 'none'}; not allowed: {odd}{more}")
    return passed("files", f"{len(present)} files, all known")


def check_structure(bundle: Path) -> tuple[list[Finding], BundleSpec | None, Weights, tuple[CurvePoint, ...]]:
    """Compare the bundle's files with each other.

    The description comes first: while it is larger than any network of ours, or contradicts itself, no array is read.

    Returns:
        Findings; the spec, the weights and the curve, which count only when every finding passed.
    """
    curve: tuple[CurvePoint, ...] = ()
    try:
        spec = read_spec(bundle / SPEC_FILE)
    except (OSError, ValueError) as error:
        return [failed("spec", first_line(error))], None, {}, curve
    findings = [passed("spec", "reads as a bundle's spec"), check_network(spec)]
    weights: Weights = {}
    if findings[-1].outcome is Outcome.PASSED:
        try:
            weights = read_weights(bundle / WEIGHTS_FILE, at_most=_weight_bytes(spec))
            findings += [check_weights(spec, weights), check_numbers(spec, weights)]
        except (OSError, ValueError) as error:
            findings.append(failed("weights", f"{WEIGHTS_FILE} cannot be read: {first_line(error)}"))
    findings += [check_preprocessing(spec), check_sources_named(spec)]
    said, curve = check_curve(bundle / CURVE_FILE, spec)
    findings += [said, check_privacy(spec, curve), _native_format(bundle, spec), _statement(bundle, spec)]
    return findings, spec, weights, curve


def read_spec(path: Path) -> BundleSpec:
    """Read `spec.json`.

    Raises:
        ValueError: It is too large, repeats a key, is nested too deeply, holds a number that is not finite, or is not a
            spec.
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


def _native_format(bundle: Path, spec: BundleSpec) -> Finding:
    """Flux's own file is there when Flux trained, is binary by content, whatever its name, and not swollen."""
    path = bundle / NATIVE_FILE
    if spec.backend != "flux":
        if path.exists():
            return failed("native_format", f"{NATIVE_FILE} in a bundle of the {spec.backend} backend")
        return passed("native_format", f"the {spec.backend} backend has no file of its own")
    if not path.exists():
        return failed("native_format", f"a flux bundle without {NATIVE_FILE}")
    most = 2 * _weight_bytes(spec) + _MAX_NATIVE_OVERHEAD
    if (size := path.stat().st_size) > most:
        return failed("native_format", f"{NATIVE_FILE} has {size} bytes, at most {most} are expected")
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
        return failed("native_format", f"{NATIVE_FILE} is not Julia Serialization: it starts with {head!a}")
    return passed("native_format", f"{NATIVE_FILE} is Julia Serialization; it was not deserialized")


def _statement(bundle: Path, spec: BundleSpec) -> Finding:
    """The run's statement must name the very files that the trainer wrote: none was changed and signed again."""
    try:
        text = bounded(bundle / STATEMENT_FILE, _MAX_STATEMENT_BYTES).decode()
        statement = read_unverified(text)
    except (EnvelopeError, OSError, ValueError) as error:
        return failed("statement", f"{STATEMENT_FILE} cannot be read: {first_line(error)}")
    named = {subject.name: subject.sha256 for subject in statement.subjects}
    if statement.step != "run-finished" or spec.run_id not in named:
        other = f"{STATEMENT_FILE} is a statement ({statement.step}) about something else than {spec.run_id}"
        return failed("statement", other)
    for name in (WEIGHTS_FILE, SPEC_FILE, CURVE_FILE, NATIVE_FILE):
        found = file_sha256(bundle / name) if (bundle / name).exists() else None
        if found != named.get(name):
            return failed("statement", f"{name} is not the file that the run's statement names")
    return passed("statement", f"the statement of {spec.run_id} names these files")
