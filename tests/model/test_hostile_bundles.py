"""Bundles that an attacker would make. Each is refused, and says why.

Three kinds of attacker: one without any key, who can only change files; one with the models' key, who signs what was
changed; and one with the ledger's key too, who makes the run's statement fit as well, so that only the comparison of
the files with each other is left to catch it.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from assay.model import load_bundle, sign_bundle
from tests.model import support
from tests.model.support import (
    Keys,
    arrays_of,
    as_flux,
    edit_spec,
    failures,
    forge,
    raw_safetensors,
    refused,
    write_arrays,
    write_safetensors,
)

Edit = Callable[[Path], object]


# ------------------------------------------------------------------------------------------------------ without any key
def _payload_in_text(bundle: Path) -> None:
    (bundle / "model.jls").write_text('run(`sh -c "id > /tmp/owned"`)')


def _truncated(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-16])


def _nudged(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _swapped_activation(bundle: Path) -> None:
    edit_spec(bundle, lambda spec: spec["layers"][0].update(activation="tanh"))


def _link_to_weights(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    path.rename(bundle.parent / "elsewhere")
    path.symlink_to(bundle.parent / "elsewhere")


def _pipe(bundle: Path) -> None:
    (bundle / "card.md").unlink()
    os.mkfifo(bundle / "card.md")


def _folder(bundle: Path) -> None:
    (bundle / "card.md").unlink()
    (bundle / "card.md").mkdir()


def _other_signature_format(bundle: Path) -> None:
    (bundle / "model.sig").write_text('{"signature": "trust me"}')


def _endless_signature(bundle: Path) -> None:
    with (bundle / "model.sig").open("r+b") as file:
        file.truncate(2 << 20)


def _nested_signature(bundle: Path) -> None:
    (bundle / "model.sig").write_text("[" * 100_000)


WITHOUT_KEY: dict[str, tuple[Edit, str, str]] = {
    "a payload as Julia source in model.jls": (_payload_in_text, "signature", "model.jls"),
    "truncated weights": (_truncated, "signature", "weights.safetensors"),
    "one bit of one weight": (_nudged, "signature", "weights.safetensors"),
    "a swapped activation": (_swapped_activation, "signature", "spec.json"),
    "an extra file": (lambda b: (b / "helper.py").write_text("import os"), "files", "'helper.py'"),
    "a hidden extra file": (lambda b: (b / ".gitattributes").write_text("*"), "files", "'.gitattributes'"),
    "an extra folder": (lambda b: (b / "__pycache__").mkdir(), "files", "'__pycache__'"),
    "a name that climbs out": (lambda b: (b / "..\\..\\evil").write_text(""), "files", "evil"),
    "a missing card": (lambda b: (b / "card.md").unlink(), "files", "missing: card.md"),
    "missing weights": (lambda b: (b / "weights.safetensors").unlink(), "files", "missing: weights"),
    "no signature": (lambda b: (b / "model.sig").unlink(), "files", "missing: model.sig"),
    "an empty signature": (lambda b: (b / "model.sig").write_bytes(b""), "signature", "does not stand"),
    "a signature in another format": (_other_signature_format, "signature", "does not stand"),
    "an endless signature": (_endless_signature, "signature", "larger than"),
    "a signature nested without end": (_nested_signature, "signature", "does not stand"),
    "a link in place of the weights": (_link_to_weights, "files", "weights.safetensors"),
    "a pipe in place of the card": (_pipe, "files", "card.md"),
    "a folder in place of the card": (_folder, "files", "card.md"),
}


@pytest.mark.parametrize("case", WITHOUT_KEY)
def test_without_a_key_nothing_can_be_changed(bundle: Path, keys: Keys, case: str):
    """Whatever is changed, added, taken away or replaced, the bundle is refused before it is parsed."""
    edit, check, words = WITHOUT_KEY[case]
    edit(bundle)
    refused(bundle, keys, check, words)


def test_a_bundle_signed_with_another_key_is_refused(bundle: Path, keys: Keys):
    """A valid signature by any key is not enough: the key is pinned."""
    sign_bundle(bundle, keys.other_private)
    refused(bundle, keys, "signature", "Key mismatch")


def test_a_signature_that_names_the_pinned_key_but_is_anothers_is_refused(bundle: Path, keys: Keys):
    """The hint in a signature is only a hint."""
    ours = json.loads((bundle / "model.sig").read_bytes())["verificationMaterial"]
    sign_bundle(bundle, keys.other_private)
    theirs = json.loads((bundle / "model.sig").read_bytes())
    (bundle / "model.sig").write_text(json.dumps({**theirs, "verificationMaterial": ours}))
    refused(bundle, keys, "signature", "does not stand")


def test_the_signature_of_another_bundle_is_refused(bundle: Path, sealed_again: Path, keys: Keys):
    """Both are signed with the pinned key, each for itself."""
    (bundle / "model.sig").write_bytes((sealed_again / "model.sig").read_bytes())
    refused(bundle, keys, "signature", "does not stand")


def test_a_directory_that_is_no_bundle_is_refused_unread(keys: Keys):
    """Pointing at a big folder costs nothing: names come first."""
    failed = failures(Path("/etc"), keys)
    assert [finding.check for finding in failed] == ["model.files"]
    assert "more" in failed[0].message


# ------------------------------------------------------------------------------------------------- with the models' key
def test_weights_of_another_model_signed_with_the_right_key_are_refused(
    bundle: Path, sealed_again: Path, keys: Keys
):
    """Same names, shapes and types: the spec's digests tell them apart."""
    (bundle / "weights.safetensors").write_bytes((sealed_again / "weights.safetensors").read_bytes())
    forge(bundle, keys, statement=False)
    refused(bundle, keys, "weights", "digest")
    refused(bundle, keys, "statement", "weights.safetensors is not the file")


def test_a_swapped_activation_signed_with_the_right_key_is_refused(bundle: Path, keys: Keys):
    """§8, `loadmodel!` accepts other activations: the run's statement names the spec that was trained."""
    _swapped_activation(bundle)
    forge(bundle, keys, statement=False)
    refused(bundle, keys, "statement", "spec.json is not the file")


def test_a_statement_of_another_run_is_refused(bundle: Path, sealed_again: Path, keys: Keys):
    """A whole model with another's history."""
    (bundle / "statement.dsse.json").write_bytes((sealed_again / "statement.dsse.json").read_bytes())
    forge(bundle, keys, statement=False)
    refused(bundle, keys, "statement", "something else")


def test_a_statement_about_something_else_is_refused(bundle: Path, keys: Keys):
    """It must be this run's."""
    statement = support.statement_over(bundle, keys.ledger, run="run-of-somebody")
    (bundle / "statement.dsse.json").write_text(statement)
    forge(bundle, keys, statement=False)
    refused(bundle, keys, "statement", "something else")


def test_a_statement_signed_with_another_ledgers_key_is_refused(bundle: Path, keys: Keys):
    """Where the ledger's key is known, the statement's own signature counts too."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    stranger = Ed25519PrivateKey.generate()
    (bundle / "statement.dsse.json").write_text(support.statement_over(bundle, stranger))
    forge(bundle, keys, statement=False)
    assert failures(bundle, keys) == []
    refused(bundle, keys, "statement_signature", "ledger's key", ledger_key=keys.ledger.public_key())


@pytest.mark.parametrize("text", ["{}", "no JSON", "[" * 100_000, ""])
def test_a_statement_that_is_none_is_refused(bundle: Path, keys: Keys, text: str):
    """Empty, text, nested without end."""
    (bundle / "statement.dsse.json").write_text(text)
    forge(bundle, keys, statement=False)
    refused(bundle, keys, "statement", "statement.dsse.json")


# ------------------------------------------------------------------------- with both keys: only the comparison is left
def _spec(change: Callable[[dict[str, Any]], object]) -> Edit:
    return lambda bundle: edit_spec(bundle, change)


def _twice_in_spec(bundle: Path) -> None:
    text = (bundle / "spec.json").read_text()
    (bundle / "spec.json").write_text('{"task": "regression", ' + text.lstrip()[1:])


def _twice_deep_in_spec(bundle: Path) -> None:
    text = (bundle / "spec.json").read_text()
    (bundle / "spec.json").write_text(text.replace('"in":', '"out": 1, "in":', 1))


def _huge_spec(bundle: Path) -> None:
    with (bundle / "spec.json").open("r+b") as file:
        file.truncate(65 << 20)


def _extra_layer(bundle: Path) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["layers"].append({**spec["layers"][-1], "in": 2, "out": 2, "activation": "identity"})

    edit_spec(bundle, change)


def _extra_array(bundle: Path) -> None:
    write_arrays(bundle, {**arrays_of(bundle), "layers.9.weight": np.zeros((2, 2), np.float32)})


def _float64(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    write_arrays(bundle, {**arrays, "layers.0.weight": arrays["layers.0.weight"].astype(np.float64)})


def _float64_undescribed(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    wide = {**arrays, "layers.0.bias": arrays["layers.0.bias"].astype(np.float64)}
    write_arrays(bundle, wide, describe=False)


def _float16(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    small = {**arrays, "layers.0.bias": arrays["layers.0.bias"].astype(np.float16)}
    write_arrays(bundle, small, describe=False)


def _not_finite(value: float) -> Edit:
    def edit(bundle: Path) -> None:
        arrays = arrays_of(bundle)
        arrays["layers.0.weight"][0, 0] = value
        write_arrays(bundle, arrays)

    return edit


def _transposed(bundle: Path) -> None:
    arrays = arrays_of(bundle)
    write_arrays(bundle, {**arrays, "layers.0.weight": np.ascontiguousarray(arrays["layers.0.weight"].T)})


def _overlap(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    start, end = header["layers.0.weight"]["data_offsets"]
    header["layers.0.weight"]["data_offsets"] = [start - 16, end - 16]
    write_safetensors(bundle, json.dumps(header), data)


def _trailing(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    write_safetensors(bundle, json.dumps(header), data + b"#!/bin/sh")


def _cut_weights(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    write_safetensors(bundle, json.dumps(header), data[:-4])


def _long_header(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    write_safetensors(bundle, json.dumps(header), data, length=2**63)


def _wide_header(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    write_safetensors(bundle, json.dumps(header) + " " * (1 << 20), data)


def _twice_in_header(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    again = json.dumps({"layers.0.bias": header["layers.0.bias"]})
    write_safetensors(bundle, again[:-1] + ", " + json.dumps(header)[1:], data)


def _reversed_offsets(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    name = min(header, key=lambda n: header[n]["data_offsets"])
    header[name]["data_offsets"] = [0, -32]
    write_safetensors(bundle, json.dumps(header), data)


def _wrong_shape_in_header(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    header["layers.0.weight"]["shape"] = [4, 80]
    write_safetensors(bundle, json.dumps(header), data)


def _metadata(bundle: Path) -> None:
    header, data = raw_safetensors(bundle)
    write_safetensors(bundle, json.dumps({"__metadata__": {"note": "eval me"}, **header}), data)


def _pickled(bundle: Path) -> None:
    (bundle / "weights.safetensors").write_bytes(pickle.dumps(arrays_of(bundle)))


def _short(bundle: Path) -> None:
    (bundle / "weights.safetensors").write_bytes(b"\x01")


def _deep_header(bundle: Path) -> None:
    write_safetensors(bundle, '{"a":' + "[" * 100_000, b"")


def _swollen(bundle: Path) -> None:
    with (bundle / "weights.safetensors").open("r+b") as file:
        file.truncate(32 << 20)


def _other_features(bundle: Path) -> None:
    edit_spec(bundle, lambda spec: spec["preprocessing"]["columns"][0].update(name="age"))


def _bad_preprocessing(bundle: Path) -> None:
    edit_spec(bundle, lambda spec: spec["preprocessing"]["columns"][0].update(scale=0))


def _jls_beside_reference(bundle: Path) -> None:
    (bundle / "model.jls").write_bytes(support.JLS_HEADER)


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.pkl", b"cos\nsystem\n.")
    return buffer.getvalue()


def _other_curve(bundle: Path) -> None:
    table = pq.read_table(bundle / "curve.parquet")
    pq.write_table(table.slice(1), bundle / "curve.parquet")


def _better_curve(bundle: Path) -> None:
    table = pq.read_table(bundle / "curve.parquet")
    column = table.column_names.index("validation_loss")
    better = [0.001] * table.num_rows
    pq.write_table(table.set_column(column, table.schema.field(column), [better]), bundle / "curve.parquet")


def _shuffled_curve(bundle: Path) -> None:
    table = pq.read_table(bundle / "curve.parquet")
    order = [1, 0, *range(2, table.num_rows)]
    pq.write_table(table.take(order), bundle / "curve.parquet")


def _curve_that_is_none(bundle: Path) -> None:
    (bundle / "curve.parquet").write_text("epoch,loss\n1,0.1\n")


WITH_BOTH_KEYS: dict[str, tuple[Edit, str, str]] = {
    "a spec with a key twice": (_twice_in_spec, "spec", "'task' stands twice"),
    "a spec with a key twice, deep inside": (_twice_deep_in_spec, "spec", "'out' stands twice"),
    "a huge spec": (_huge_spec, "spec", "bytes, at most"),
    "a spec that is no JSON": (lambda b: (b / "spec.json").write_text("spec: 1"), "spec", "Expecting value"),
    "a spec nested without end": (lambda b: (b / "spec.json").write_text("[" * 100_000), "spec", "nested"),
    "NaN in the spec": (_spec(lambda s: s["metrics"].update(accuracy=float("nan"))), "spec", "NaN"),
    "an unknown activation": (
        _spec(lambda s: s["layers"][0].update(activation="eval")),
        "spec",
        "activation",
    ),
    "an unknown field in the spec": (_spec(lambda s: s.update(on_load="run")), "spec", "on_load"),
    "an unknown layer": (_spec(lambda s: s["layers"][0].update(type="lambda")), "spec", "type"),
    "an activation after the last layer": (
        _spec(lambda s: s["layers"][-1].update(activation="relu")),
        "network",
        "needs identity",
    ),
    "an extra layer in the spec": (_extra_layer, "network", "layers.2"),
    "an extra array": (_extra_array, "network", "layers.9.weight"),
    "fewer parameters than declared": (
        _spec(lambda s: s.update(parameter_count=1)),
        "network",
        "1 parameters",
    ),
    "a layer of another width": (_spec(lambda s: s["layers"][0].update({"in": 99})), "network", "takes 99"),
    "another number of outputs": (
        _spec(lambda s: s.update(classes=["a", "b", "c"])),
        "network",
        "the task needs 3 outputs",
    ),
    "a class twice": (_spec(lambda s: s.update(classes=["a", "a"])), "network", "different classes"),
    "classes of a regression": (
        _spec(lambda s: s.update(task="regression", loss={"name": "mse"})),
        "network",
        "no classes",
    ),
    "a loss of another task": (_spec(lambda s: s.update(loss={"name": "mse"})), "network", "does not belong"),
    "a feature twice": (
        _spec(lambda s: s.update(features=[s["features"][0], *s["features"][:-1]])),
        "network",
        "stands twice",
    ),
    "a layer of another type": (
        _spec(lambda s: s["layers"][1].update(dtype="float64")),
        "network",
        "float64",
    ),
    "weights of another type": (_float64, "network", "float64"),
    "weights of another type than described": (_float64_undescribed, "weights", "expected float32"),
    "half-precision weights": (_float16, "weights", "dtype"),
    "a NaN among the weights": (_not_finite(float("nan")), "finite", "layers.0.weight"),
    "an infinity among the weights": (_not_finite(float("inf")), "finite", "layers.0.weight"),
    "transposed weights": (_transposed, "network", "layers.0.weight"),
    "arrays that overlap": (_overlap, "weights", "overlap"),
    "bytes behind the arrays": (_trailing, "weights", "belong to no array"),
    "weights cut short": (_cut_weights, "weights", "cut short"),
    "a header longer than the file": (_long_header, "weights", "more than there are"),
    "a header that is too wide": (_wide_header, "weights", "bytes, at most"),
    "an array twice": (_twice_in_header, "weights", "stands twice"),
    "offsets that run backwards": (_reversed_offsets, "weights", "data_offsets"),
    "a shape that does not fit its bytes": (_wrong_shape_in_header, "weights", "cannot be read"),
    "metadata among the weights": (_metadata, "weights", "__metadata__"),
    "a pickle in place of the weights": (_pickled, "weights", "cannot be read"),
    "a byte in place of the weights": (_short, "weights", "ends within its header"),
    "a header nested without end": (_deep_header, "weights", "nested"),
    "weights that swell": (_swollen, "weights", "bytes, at most"),
    "preprocessing with other features": (_other_features, "preprocessing", "other features"),
    "preprocessing that divides by zero": (_bad_preprocessing, "preprocessing", "scale"),
    "model.jls in a reference bundle": (_jls_beside_reference, "native_format", "reference backend"),
    "a flux bundle without model.jls": (lambda b: as_flux(b, None), "native_format", "without model.jls"),
    "Julia source in place of model.jls": (
        lambda b: as_flux(b, b"module M\n__init__() = run(`id`)\nend\n"),
        "native_format",
        "is not Julia Serialization",
    ),
    "text that begins like Julia's Serialization": (
        lambda b: as_flux(b, b"7JL = run(`id`)\n"),
        "native_format",
        "is not Julia Serialization",
    ),
    "a pickle in place of model.jls": (
        lambda b: as_flux(b, pickle.dumps({"a": 1})),
        "native_format",
        "is not Julia Serialization",
    ),
    "a ZIP in place of model.jls": (
        lambda b: as_flux(b, _zip()),
        "native_format",
        "is not Julia Serialization",
    ),
    **{
        f"{kind} in place of model.jls": (
            lambda b, content=content: as_flux(b, content),
            "native_format",
            "is not Julia Serialization",
        )
        for kind, content in {
            "BSON": b"\x16\x00\x00\x00\x02chain\x00\x06\x00\x00\x00Dense\x00\x00",
            "JLD2": b"HDF5-based Julia Data Format, version 0.1.1\x00 (Julia 1.10)",
            "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(16),
            "JSON": b'{"layers": [{"type": "dense"}]}',
            "TOML": b'[[layers]]\ntype = "dense"\n',
            "NumPy": b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}",
            "safetensors": (2).to_bytes(8, "little") + b"{}",
            "nothing": b"",
            "a header of no version": b"7JL\x00\x04\x00\x00\x00",
            "a header with a tail of text": b"7JL\x1c\x04run",
        }.items()
    },
    "a model.jls that swells": (
        lambda b: as_flux(b, support.JLS_HEADER + bytes(4 << 20)),
        "native_format",
        "bytes, at most",
    ),
    "a model.jls that is cut off": (
        lambda b: as_flux(b, b"7JL"),
        "native_format",
        "is not Julia Serialization",
    ),
    "a curve with fewer epochs": (_other_curve, "curve", "11 epochs, the run had 12"),
    "a curve that ends better than the run": (_better_curve, "curve", "validation_loss"),
    "a curve in another order": (_shuffled_curve, "curve", "do not follow"),
    "text in place of the curve": (_curve_that_is_none, "curve", "cannot be read"),
}


@pytest.mark.parametrize("case", WITH_BOTH_KEYS)
def test_what_is_signed_must_still_make_sense(bundle: Path, keys: Keys, case: str):
    """§8, `loadmodel!` accepts what does not fit: with every signature in order, the structure check refuses it."""
    edit, check, words = WITH_BOTH_KEYS[case]
    run = json.loads((bundle / "spec.json").read_bytes())["run_id"]
    edit(bundle)
    (bundle / "statement.dsse.json").write_text(support.statement_over(bundle, keys.ledger, run=run))
    forge(bundle, keys, statement=False)
    refused(bundle, keys, check, words, ledger_key=keys.ledger.public_key())


NAMED = {
    "loadmodel accepts other activations, other dtypes, non-finite weights": (
        "an unknown activation",
        "an activation after the last layer",
        "weights of another type",
        "weights of another type than described",
        "half-precision weights",
        "a NaN among the weights",
        "an infinity among the weights",
    ),
    "a model scanner that only knows file extensions": (
        "Julia source in place of model.jls",
        "text that begins like Julia's Serialization",
        "a pickle in place of model.jls",
        "a ZIP in place of model.jls",
        "BSON in place of model.jls",
        "JLD2 in place of model.jls",
        "a pickle in place of the weights",
        "text in place of the curve",
    ),
}


@pytest.mark.parametrize("failing", NAMED)
def test_what_the_field_lets_pass_is_in_the_catalogue(failing: str):
    """§8: each silent pass that concerns models has its cases above."""
    assert set(NAMED[failing]) <= set(WITH_BOTH_KEYS)


def test_the_forger_can_also_make_a_good_bundle(bundle: Path, keys: Keys):
    """The counterpart of all of these: signed again without a change, it loads, so that it is the change that falls."""
    forge(bundle, keys)
    assert failures(bundle, keys, ledger_key=keys.ledger.public_key()) == []


def test_a_flux_bundle_with_binary_content_loads_without_being_deserialized(bundle: Path, keys: Keys):
    """What stands behind the header of model.jls is never looked at here."""
    as_flux(bundle, support.JLS_HEADER + os.urandom(64))
    forge(bundle, keys)
    assert failures(bundle, keys) == []
    assert load_bundle(bundle, keys.public).spec.backend == "flux"


def test_there_are_enough_hostile_bundles():
    """The catalogue does not shrink unnoticed."""
    assert len(WITHOUT_KEY) + len(WITH_BOTH_KEYS) >= 80
