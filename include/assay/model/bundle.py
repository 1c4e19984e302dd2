"""The signed model directory: sealing it, checking it, and predicting with what passed."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assay.canonical import canonical_json, sha256_hex
from assay.errors import UsageError
from assay.findings import Finding, Outcome, worst
from assay.model.errors import BundleRefused
from assay.model.signing import SIGNATURE_FILE, check_signature, sign_bundle
from assay.model.structure import Weights, check_structure
from assay.train import BundleSpec, load_preprocessing
from assay.train.backends.reference import predict

CARD_FILE, STATEMENT_FILE = "card.md", "statement.dsse.json"


@dataclass(frozen=True)
class LoadedModel:
    """A model whose signature and structure have passed.

    Attributes:
        digest: SHA-256 over the bundle's files, the signature left out.
        spec: What the network looks like.
        weights: Arrays by name.
    """

    digest: str
    spec: BundleSpec
    weights: Weights

    @property
    def id(self) -> str:
        """The model's id, from its digest."""
        return model_id(self.digest)

    def predict_proba(self, table: pa.Table) -> npt.NDArray[np.float64]:
        """Probabilities (rows, classes) of a classifier.

        Raises:
            PreprocessError: The table lacks a column, or one has the wrong type.
        """
        x = load_preprocessing(self.spec.preprocessing).transform(table)
        return predict(self.weights, self.spec, x)

    def predict(self, table: pa.Table) -> npt.NDArray[Any]:
        """The likeliest class of each row, or its predicted number; shape (rows,).

        Raises:
            PreprocessError: The table lacks a column, or one has the wrong type.
        """
        said = self.predict_proba(table)
        if self.spec.task == "regression":
            return said
        return np.asarray(self.spec.classes, dtype=object)[said.argmax(axis=1)]


def bundle_digest(bundle: Path) -> str:
    """SHA-256 over names and digests of all files but the signature (which is made with fresh randomness)."""
    files = sorted(path for path in bundle.iterdir() if path.is_file() and path.name != SIGNATURE_FILE)
    return sha256_hex(canonical_json({path.name: sha256_hex(path.read_bytes()) for path in files}))


def model_id(digest: str) -> str:
    """Id of a model from its bundle's digest."""
    return f"model-{digest[:32]}"


def seal_bundle(trained: Path, models: Path, *, card: str, statement: str, private_key: Path) -> tuple[Path, str]:
    """Add card and statement to what the trainer wrote, sign it, and move it into place under its id.

    Args:
        trained: The trainer's bundle directory; it is copied.
        models: Folder of sealed bundles, one folder per model.
        card: Text of the model card.
        statement: The run's signed statement.
        private_key: PEM file of the key that signs models.

    Returns:
        The sealed bundle and its digest. A bundle that is there already, and whole, is left as it is.
    """
    models.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = models / f".{trained.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(trained, partial)
    (partial / CARD_FILE).write_text(card, encoding="utf-8")
    (partial / STATEMENT_FILE).write_text(statement, encoding="utf-8")
    for path in partial.iterdir():
        path.chmod(0o600)
    digest = bundle_digest(partial)
    target = models / model_id(digest)
    if target.exists():
        shutil.rmtree(partial)
        return target, digest
    sign_bundle(partial, private_key)
    partial.rename(target)
    return target, digest


def check_bundle(bundle: Path, public_key: Path) -> tuple[list[Finding], LoadedModel | None]:
    """All checks of a bundle; nothing is parsed before the signature has passed.

    Returns:
        Findings, and the model when every one of them passed.

    Raises:
        UsageError: There is no such directory.
    """
    if not bundle.is_dir():
        raise UsageError(f"no bundle at {bundle}", expected="a directory with model.sig", next_step="check the path")
    findings = [check_signature(bundle, public_key)]
    if findings[0].outcome is not Outcome.PASSED:
        return findings, None
    more, spec, weights = check_structure(bundle)
    findings += more
    if spec is None or worst(f.outcome for f in findings) is not Outcome.PASSED:
        return findings, None
    return findings, LoadedModel(bundle_digest(bundle), spec, weights)


def load_bundle(bundle: Path, public_key: Path) -> LoadedModel:
    """Load a model, or say why not.

    Raises:
        BundleRefused: A check did not pass; nothing was loaded.
        UsageError: There is no such directory.
    """
    findings, model = check_bundle(bundle, public_key)
    if model is None:
        said = "; ".join(f"{f.check}: {f.message}" for f in findings if f.outcome is not Outcome.PASSED)
        raise BundleRefused(
            f"the bundle {bundle.name} was not loaded: {said}",
            findings=list(findings),
            state="the bundle was left as it is",
            next_step="use the champion, or train again; `assay model verify` lists every check",
        )
    return model
