"""Is Flux's own file the same model as the portable weights?

`model.jls` can only be read by deserializing it, and deserializing runs whatever the file says. So it is done when all
else has passed, in a process of its own that has no network and no secrets, may write in one folder only, and is ended
when it takes too long or too much memory. What that process says about the model is read as strictly as a file of a
stranger and held against `spec.json`, `weights.safetensors`, and what the reference backend answers on probe rows.
"""

from __future__ import annotations

import filecmp
import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from assay.findings import Finding, Outcome
from assay.model.answers import failed, not_checked, passed
from assay.model.probes import probe_rows
from assay.model.sandbox import Ended, run_confined
from assay.model.strict import Weights, bounded
from assay.strictjson import strict_json
from assay.train import BundleSpec, load_preprocessing
from assay.train.programs.native_check import DESCRIBED, NOT_CHECKED, native_layers

SECONDS = 600.0
"""Wall time of the whole comparison; the first start of Flux on a machine takes minutes."""
MEMORY_BYTES = 4 * 2**30
"""Resident memory beyond the model's own, which Julia and Flux need."""
TOLERANCE: Final = {"float32": 1e-4, "float64": 1e-9}
"""Largest difference of two answers, in units of the largest answer or of 1."""

_NATIVE_FILE = "model.jls"
_WRITERS = {"julia": "Julia", "flux": "Flux", "assay_trainer": "AssayTrainer"}
_LIMITS: Final = {
    "too_slow": f"not done after {SECONDS:.0f} s",
    "too_large": "ended for using more memory than the model can need",
}
_FILE_BYTES = 2**30
_ANSWER_BYTES = 2**20
_NUMBER_BYTES = 32
_ROUNDING = 1e-6


class _Array(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    shape: list[int]
    dtype: str
    sha256: str
    finite: bool


class _Answer(BaseModel):
    """What `assay.train.programs.native_check` writes about a file that it could read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    layers: list[dict[str, Any]]
    arrays: list[_Array]
    parameter_count: int
    finite: bool
    outputs: list[list[float | None]]
    versions: dict[str, str]


def compare_native(bundle: Path, spec: BundleSpec, weights: Weights) -> Finding:
    """Compare `model.jls` with the spec, the weights, and their answers; nothing is deserialized outside of a sandbox.

    First the file is made anew from the portable weights: with the same Julia and Flux its bytes must be the same, and
    where they are not, it is not deserialized at all. Then it is deserialized, described, and tried on probe rows. Of
    a file that another Julia or Flux wrote in other bytes only that last part can be asked, and a file that runs code
    could answer it as it likes: there `failed` is certain, and agreement is no more than `not_checked`.

    Without a Julia that loads Flux, or where the network cannot be taken away from a process, the answer is
    `not_checked` too. A model predicts with its portable weights, so that it can be loaded all the same; no gate opens
    on it.

    Args:
        bundle: A private copy of a bundle whose signature and structure have passed.
        spec: Its spec.
        weights: Its arrays.
    """
    if spec.backend != "flux":
        return passed("native", f"the {spec.backend} backend has no file of its own")
    from assay.train.machine.julia import julia_status

    julia = julia_status()
    if not julia.usable:
        return _unread(julia.reason)
    here = {name: julia.versions.get(name) for name in _WRITERS}
    writer = {name: spec.versions.get(name) for name in _WRITERS}
    own = sum(array.nbytes for array in weights.values())
    same = _rebuilt(bundle, own)
    if isinstance(same, Finding):
        return same
    if not same and writer == here:
        return _differs(
            f"its bytes are not those that {_named(here)} writes for these weights; it was not deserialized"
        )
    finding = _described(bundle, spec, weights, own)
    if same or finding.outcome is not Outcome.PASSED:
        return finding
    return not_checked(
        "native",
        f"{_NATIVE_FILE} was written by {_named(writer)} and cannot be made anew by {_named(here)}: it agrees by what "
        "it says of itself, which is no proof; verify it where it was trained, or train again",
    )


def _rebuilt(bundle: Path, own: int) -> bool | Finding:
    """Whether the file has the very bytes that Flux writes for the portable weights; a finding where nobody can say."""
    with tempfile.TemporaryDirectory(prefix="assay-native-") as name:
        folder = Path(name)
        inputs = [
            shutil.copyfile(bundle / each, folder / each) for each in ("spec.json", "weights.safetensors")
        ]
        ended = _run("assay.model.rebuild", [*inputs, folder], folder, own)
        made = folder / _NATIVE_FILE
        if ended.how != "ended" or ended.status or not made.is_file():
            why = ended.last_words or f"exit status {ended.status}"
            return _unread(
                why if ended.how in {"ended", "unconfined"} else f"making it anew was {_LIMITS[ended.how]}"
            )
        return filecmp.cmp(made, bundle / _NATIVE_FILE, shallow=False)


def _described(bundle: Path, spec: BundleSpec, weights: Weights, own: int) -> Finding:
    """Deserialize a copy of the file in a sandbox, and hold what is said of it against the rest of the bundle."""
    x = probe_rows(load_preprocessing(spec.preprocessing), int(spec.weights[0].sha256[:16], 16))
    with tempfile.TemporaryDirectory(prefix="assay-native-") as name:
        folder = Path(name)
        model, probes, out = (folder / each for each in (_NATIVE_FILE, "probes.npy", "answer.json"))
        shutil.copyfile(bundle / _NATIVE_FILE, model)
        np.save(probes, x, allow_pickle=False)
        ended = _run("assay.train.programs.native_check", [model, probes, out], folder, own)
        most = x.shape[0] * spec.layers[-1].output_shape[0] * _NUMBER_BYTES
        answer = _read(out, most + _ANSWER_BYTES + 512 * len(spec.weights))
    if ended.how == "unconfined":
        return _unread(ended.last_words)
    if ended.how != "ended":
        return _differs(f"reading it was {_LIMITS[ended.how]}")
    if ended.status == NOT_CHECKED and isinstance(reason := answer.get("not_checked"), str):
        return _unread(_short(reason))
    if ended.status != DESCRIBED:
        said = answer.get("error") or ended.last_words or f"exit status {ended.status}"
        return _differs(f"it could not be read: {_short(said)}")
    try:
        return _compare(_Answer.model_validate(answer), spec, weights, x)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return _differs(f"what was read of it has a wrong {'.'.join(map(str, first['loc']))[:80]}")


def _run(module: str, arguments: Sequence[Path], folder: Path, own: int) -> Ended:
    return run_confined(
        [sys.executable, "-P", "-m", module, *map(str, arguments)],
        folder,
        seconds=SECONDS,
        memory_bytes=MEMORY_BYTES + 8 * own,
        file_bytes=_FILE_BYTES,
    )


def _read(out: Path, most: int) -> dict[str, Any]:
    """The answer of the confined process, empty where there is none that could be one."""
    try:
        if out.is_symlink() or not out.is_file():
            return {}
        answer = strict_json(bounded(out, most))
    except (OSError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _compare(answer: _Answer, spec: BundleSpec, weights: Weights, x: npt.NDArray[np.float32]) -> Finding:
    for wrong in (_layers(answer, spec), _arrays(answer, spec), _outputs(answer, spec, weights, x)):
        if wrong:
            return _differs(wrong)
    return passed(
        "native",
        f"{_NATIVE_FILE} has the spec's {len(spec.layers)} layers, the same numbers, and the same answers on "
        f"{len(x)} probe rows",
        probe_rows=len(x),
        tolerance=TOLERANCE[spec.dtype],
    )


def _layers(answer: _Answer, spec: BundleSpec) -> str:
    return _each(answer.layers, native_layers(spec.layers), "layer ")


def _each(found: object, wanted: Sequence[Mapping[str, Any]], where: str) -> str:
    """Whether these are the spec's layers, setting by setting; else what differs."""
    if not isinstance(found, list) or len(found) != len(wanted):
        count = len(found) if isinstance(found, list) else "no"
        return f"it has {count} layers where the spec has {len(wanted)}"
    for number, (one, layer) in enumerate(zip(found, wanted, strict=True)):
        place = f"{where}{number}"
        kind = one.get("type") if isinstance(one, dict) else one
        if kind != layer["type"]:
            return f"{place} is {_short(kind)}, the spec has {layer['type']}"
        if set(one) != set(layer):
            return f"{place} has other settings than {layer['type']} has"
        for name in sorted(set(layer) - {"layers"}):
            if not _equal(one[name], layer[name]):
                return f"{place} has {name} {_short(one[name])}, the spec {_short(layer[name])}"
        if "layers" in layer and (wrong := _each(one["layers"], layer["layers"], f"{place}.")):
            return wrong
    return ""


def _equal(found: object, wanted: object) -> bool:
    """Equal, and of the same kind; floats up to what float32 rounds away."""
    if isinstance(wanted, float) and isinstance(found, float):
        return math.isclose(found, wanted, rel_tol=_ROUNDING)
    return type(found) is type(wanted) and found == wanted


def _arrays(answer: _Answer, spec: BundleSpec) -> str:
    """Whether the file holds the very numbers of the portable weights; else what differs."""
    found = {array.name: array for array in answer.arrays}
    if len(found) != len(answer.arrays) or set(found) != {array.name for array in spec.weights}:
        return "it holds other arrays than the spec lists"
    for said in spec.weights:
        array = found[said.name]
        if (array.dtype, tuple(array.shape)) != (said.dtype, said.shape):
            return f"{said.name} is {_short(array.dtype)}{array.shape[:4]}, the spec has {said.dtype}{list(said.shape)}"
        if not array.finite:
            return f"{said.name} holds numbers that are not finite"
        if array.sha256 != said.sha256:
            return f"{said.name} holds other numbers than weights.safetensors"
    if not answer.finite:
        return "it holds numbers that are not finite"
    if answer.parameter_count != spec.parameter_count:
        return f"it has {answer.parameter_count} parameters, the spec {spec.parameter_count}"
    return ""


def _outputs(answer: _Answer, spec: BundleSpec, weights: Weights, x: npt.NDArray[np.float32]) -> str:
    """Whether both answer alike on the probe rows; else how far they are apart."""
    from assay.train.backends.reference import forward

    wanted = forward(weights, spec, x).astype(np.float64)
    if [len(row) for row in answer.outputs] != [wanted.shape[1]] * len(wanted):
        return "it gives another number of answers than the network has outputs"
    made = np.array(answer.outputs, dtype=np.float64)  # null, for what is not finite, becomes NaN
    apart = float(np.abs(made - wanted).max(initial=0.0))
    unit = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    if not apart <= TOLERANCE[spec.dtype] * unit:
        return f"its answers on {len(x)} probe rows differ from those of weights.safetensors by up to {apart:.3g}"
    return ""


def _unread(why: str) -> Finding:
    return not_checked("native", f"{_NATIVE_FILE} was not deserialized: {why}")


def _named(versions: Mapping[str, str | None]) -> str:
    return " with ".join(f"{shown} {versions[name] or '(unknown)'}" for name, shown in _WRITERS.items())


def _differs(what: str) -> Finding:
    return failed("native", f"{_NATIVE_FILE} is not the model of spec.json and weights.safetensors: {what}")


def _short(value: object) -> str:
    """What a stranger's file says, for a message: bounded, printable."""
    return (value if isinstance(value, str) and value.isprintable() else ascii(value))[:160]
