"""Bundles for tests: trained once, sealed with throw-away keys, and forged in every way that a test asks for."""

from __future__ import annotations

import base64
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assay.canonical import sha256_hex
from assay.contract.models import Contract
from assay.findings import Finding, Outcome
from assay.ledger import make_statement, sign_statement
from assay.model import BundleRefused, LoadedModel, check_bundle, load_bundle, sign_bundle
from assay.train import BundleSpec

FEATURES = ("mean_radius", "mean_texture", "mean_smoothness", "worst_concavity")
JLS_HEADER = b"7JL\x1c\x04\x00\x00\x00"  # what Julia 1.11 writes first on a 64-bit little-endian machine
SECRETS = (
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
TRAINED_FILES = ("weights.safetensors", "spec.json", "curve.parquet", "model.jls")


@dataclass(frozen=True)
class Keys:
    """A signer of models, a stranger, and a ledger's key."""

    private: Path
    public: Path
    other_private: Path
    other_public: Path
    ledger: Ed25519PrivateKey


def make_keys(folder: Path) -> Keys:
    """New keys as PEM files."""
    for name in ("model", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.pem").write_bytes(key.private_bytes(*SECRETS))
        (folder / f"{name}.pub.pem").write_bytes(
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
    return Keys(
        private=folder / "model.pem",
        public=folder / "model.pub.pem",
        other_private=folder / "other.pem",
        other_public=folder / "other.pub.pem",
        ledger=Ed25519PrivateKey.generate(),
    )


def document(**changes: Any) -> dict[str, Any]:
    """The contract of the cells, as YAML would give it."""
    columns: dict[str, Any] = {"cell": {"type": "integer"}}
    columns |= {name: {"type": "number"} for name in FEATURES}
    columns |= {"clinic": {"type": "string"}, "diagnosis": {"type": "string"}}
    return {
        "version": 1,
        "dataset": "cells",
        "schema": {
            "key": ["cell"],
            "label": {"column": "diagnosis", "classes": ["malignant", "benign"]},
            "columns": columns,
        },
        "training": {
            "backend": "reference",
            "layers": [{"dense": 8}],
            "epochs": 12,
            "batch_size": 32,
            "validation_fraction": 0.2,
            "optimizer": {"name": "adam", "learning_rate": 0.01},
        },
        **changes,
    }


def contract(**changes: Any) -> Contract:
    """The contract of the cells: some columns of the Wisconsin breast cancer data."""
    return Contract.model_validate(document(**changes))


def cells() -> pa.Table:
    """The Wisconsin breast cancer data of scikit-learn: 569 rows, with an invented clinic."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    names = [name.replace(" ", "_") for name in data.feature_names]
    columns: dict[str, Any] = {"cell": np.arange(len(data.target), dtype=np.int64)}
    columns |= {name: data.data[:, names.index(name)] for name in FEATURES}
    columns["clinic"] = np.where(np.arange(len(data.target)) % 3 == 0, "north", "south")
    columns["diagnosis"] = np.where(data.target == 0, "malignant", "benign")
    return pa.table(columns)


def rich_contract(**training: Any) -> Contract:
    """The cells again, with two embedded columns, a source for each row, and most kinds of layers."""
    made = document()
    made["schema"]["columns"] |= {"ward": {"type": "string"}, "shift": {"type": "string"}}
    made["schema"] |= {"source": "clinic"}
    made["training"] |= {
        "layers": [
            {"embedding": 3},
            {"dense": 8, "activation": "tanh"},
            {"batch_norm": True, "activation": "relu"},
            {"dropout": 0.1},
            {"skip": [{"dense": 8}, {"layer_norm": True}]},
        ],
        "loss": "binary_logit_cross_entropy",
        "class_weights": "balanced",
        "early_stopping": {"patience": 20},
        **training,
    }
    return Contract.model_validate(made)


def private_contract(**privacy: Any) -> Contract:
    """The cells, trained with differential privacy that can be repeated."""
    given = {"noise_multiplier": 1.1, "max_grad_norm": 1.0, "delta": 1e-4, "seeded_noise": True, **privacy}
    made = document()
    made["training"] |= {"privacy": given, "epochs": 4}
    return Contract.model_validate(made)


def rich_cells() -> pa.Table:
    """The cells with a ward and a shift, of three values each."""
    table = cells()
    number = np.arange(table.num_rows)
    for name, values in (("ward", ("A", "B", "C")), ("shift", ("early", "late", "night"))):
        codes = (number * (7 if name == "ward" else 5)) % 11 % 3
        table = table.append_column(name, pa.array([values[code] for code in codes]))
    return table


# -------------------------------------------------------------------------------------------------------------- forging
def statement_over(bundle: Path, key: Ed25519PrivateKey, *, run: str | None = None) -> str:
    """A run's statement that names the trained files as they are now, signed."""
    run = run or json.loads((bundle / "spec.json").read_bytes())["run_id"]
    digests = [
        (name, sha256_hex((bundle / name).read_bytes()))
        for name in TRAINED_FILES
        if (bundle / name).is_file()
    ]
    facts = {"run": run, "status": "finished"}
    return sign_statement(make_statement("run-finished", [(run, sha256_hex(b"data")), *digests], facts), key)


def forge(bundle: Path, keys: Keys, *, statement: bool = True) -> Path:
    """Make statement and signature fit what the bundle holds now, as the owner of the keys could."""
    if statement:
        (bundle / "statement.dsse.json").write_text(statement_over(bundle, keys.ledger))
    sign_bundle(bundle, keys.private)
    return bundle


def edit_spec(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change `spec.json` as a parsed document."""
    path = bundle / "spec.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def arrays_of(bundle: Path) -> dict[str, np.ndarray]:
    """The arrays of `weights.safetensors`, writable."""
    from safetensors.numpy import load_file

    return {name: array.copy() for name, array in load_file(bundle / "weights.safetensors").items()}


def write_arrays(bundle: Path, arrays: dict[str, np.ndarray], *, describe: bool = True) -> None:
    """Write weights and, with `describe`, a spec that names exactly these."""
    from safetensors.numpy import save_file

    save_file(arrays, bundle / "weights.safetensors")
    if describe:
        listed = [
            {
                "name": name,
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                "sha256": sha256_hex(np.ascontiguousarray(array).tobytes()),
            }
            for name, array in arrays.items()
        ]
        edit_spec(bundle, lambda spec: spec.update(weights=listed))


def raw_safetensors(bundle: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of `weights.safetensors`, to be put together wrongly."""
    data = (bundle / "weights.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_safetensors(bundle: Path, header: str, data: bytes, *, length: int | None = None) -> None:
    """Write a safetensors file from its parts, whatever they are."""
    text = header.encode()
    (bundle / "weights.safetensors").write_bytes(
        struct.pack("<Q", len(text) if length is None else length) + text + data
    )


def as_flux(bundle: Path, model: bytes | None = JLS_HEADER + b"\x15\x00\x01") -> None:
    """Turn a bundle of the reference backend into what the Flux backend would have written."""
    edit_spec(bundle, lambda spec: spec.update(backend="flux"))
    if model is not None:
        (bundle / "model.jls").write_bytes(model)


def signed_payload(bundle: Path) -> dict[str, Any]:
    """What `model.sig` is over."""
    envelope = json.loads((bundle / "model.sig").read_bytes())["dsseEnvelope"]
    payload: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return payload


def copy_of(bundle: Path, folder: Path, name: str = "bundle") -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(bundle, folder / name))


def failures(bundle: Path, keys: Keys, **options: Any) -> list[Finding]:
    """Which checks failed; asserts that no model came of it."""
    findings, model = check_bundle(bundle, keys.public, **options)
    failed = [finding for finding in findings if finding.outcome is not Outcome.PASSED]
    assert (model is None) == bool(failed)
    return failed


def refused(bundle: Path, keys: Keys, check: str, words: str, **options: Any) -> None:
    """The bundle falls by this check, which says so with these words, and loading it raises."""
    failed = failures(bundle, keys, **options)
    named = {finding.check: finding for finding in failed}
    assert f"model.{check}" in named, [(finding.check, finding.message) for finding in failed]
    finding = named[f"model.{check}"]
    assert finding.outcome is Outcome.FAILED
    assert finding.technique == "AML.T0018"
    assert words in finding.message, finding.message
    with pytest.raises(BundleRefused, match=f"model.{check}"):
        load_bundle(bundle, keys.public, **options)


# ------------------------------------------------------------------------------------------------------------ by hand
def by_hand(spec: BundleSpec, *, task: str, weight: list[list[float]], bias: list[float]) -> LoadedModel:
    """A model of one feature `x` and one layer, whose answers can be worked out on paper.

    Args:
        spec: Any spec, for the fields that do not matter here.
        task: `classification` (no, yes) or `regression`.
        weight: Shape (outputs, 1).
        bias: Shape (outputs,).
    """
    outputs = len(bias)
    column = {"name": "x", "kind": "number", "median": 0.0, "mean": 0.0, "scale": 1.0}
    changed = spec.model_dump(mode="json", by_alias=True) | {
        "task": task,
        "label": "label",
        "classes": ["no", "yes"] if task == "classification" else None,
        "loss": {"name": "logit_cross_entropy" if task == "classification" else "mse"},
        "features": ["x"],
        "preprocessing": {"format": "assay-preprocessing/1", "columns": [column]},
        "layers": [{"type": "dense", "in": 1, "out": outputs}],
        "parameter_count": 2 * outputs,
    }
    weights = {
        "layers.0.weight": np.array(weight, dtype=np.float32),
        "layers.0.bias": np.array(bias, dtype=np.float32),
    }
    digest = sha256_hex(json.dumps([task, weight, bias]).encode())
    return LoadedModel(digest, BundleSpec.model_validate(changed), weights)
