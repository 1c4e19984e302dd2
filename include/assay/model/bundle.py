"""The signed model directory: sealing it, checking it, and predicting with what passed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from assay.errors import UsageError
from assay.findings import Finding, Outcome, worst
from assay.ledger import EnvelopeError, verify_envelope
from assay.model.answers import failed, passed
from assay.model.digest import NotPlain, bundle_digest, model_id, private_copy
from assay.model.errors import AnswerNotFinite, BundleRefused
from assay.model.examine import EXAMINED, examine
from assay.model.signing import check_signature, sign_bundle
from assay.model.strict import Weights
from assay.model.structure import CARD_FILE, STATEMENT_FILE, check_names, check_structure
from assay.train import BundleSpec, CurvePoint, load_preprocessing
from assay.train.backends.reference import predict
from assay.train.network.limits import widest

_CHUNK_ROWS = 65_536
_CHUNK_NUMBERS = 1 << 26  # that a layer may hold at once: 256 MiB of float32


@dataclass(frozen=True)
class LoadedModel:
    """A model whose signature and structure have passed.

    Attributes:
        digest: SHA-256 over the bundle's files, the signature left out.
        spec: What the network looks like.
        weights: Arrays by name; they cannot be written to.
        curve: One point per epoch of its training.
        examined: Findings of what was asked only because the bundle was loaded with `thorough`.
    """

    digest: str
    spec: BundleSpec
    weights: Weights
    curve: tuple[CurvePoint, ...] = ()
    examined: tuple[Finding, ...] = ()

    @property
    def id(self) -> str:
        """The model's id, from its digest."""
        return model_id(self.digest)

    def predict_proba(self, table: pa.Table) -> npt.NDArray[np.float64]:
        """Probabilities (rows, classes) of a classifier; of a regression the predicted numbers (rows,).

        Raises:
            PreprocessError: The table lacks a column, or one has the wrong type.
            AnswerNotFinite: Finite weights overflowed on a row.
        """
        state = load_preprocessing(self.spec.preprocessing)
        rows = max(1, min(_CHUNK_ROWS, _CHUNK_NUMBERS // widest(self.spec.layers)))
        starts = range(0, max(table.num_rows, 1), rows)
        parts = (state.transform(table.slice(start, rows)) for start in starts)
        with np.errstate(all="ignore"):  # what it warns of is looked for in the answers
            said = np.concatenate([predict(self.weights, self.spec, part) for part in parts])
        finite = np.isfinite(said) if said.ndim == 1 else np.isfinite(said).all(axis=1)
        if odd := int((~finite).sum()):
            raise AnswerNotFinite(
                f"the model's answers on {odd} of {len(said)} rows are no finite numbers",
                expected="probabilities, or a number per row",
                state="no answer is given",
                next_step="look at these rows: values far outside of what it learned from; or roll the model back",
            )
        return said

    def predict(self, table: pa.Table) -> npt.NDArray[Any]:
        """The likeliest class of each row, or its predicted number; shape (rows,).

        Raises:
            PreprocessError: The table lacks a column, or one has the wrong type.
            AnswerNotFinite: Finite weights overflowed on a row.
        """
        said = self.predict_proba(table)
        if self.spec.task == "regression":
            return said
        return np.asarray(np.asarray(self.spec.classes, dtype=object)[said.argmax(axis=1)])


def seal_bundle(
    trained: Path,
    models: Path,
    *,
    card: str,
    statement: str,
    private_key: Path | ec.EllipticCurvePrivateKey,
) -> tuple[Path, str]:
    """Add card and statement to what the trainer wrote, sign it, and move it into place under its id.

    Args:
        trained: The trainer's bundle directory; it is copied.
        models: Folder of sealed bundles, one folder per model.
        card: Text of the model card.
        statement: The run's signed statement.
        private_key: The key that signs models, or its PEM file.

    Returns:
        The sealed bundle and its digest. The same bundle, sealed before, keeps its files; only its signature is made
        anew.

    Raises:
        ModelKeyError: The key cannot be used; nothing was sealed.
        BundleRefused: Something else stands in the bundle's place.
        OSError: No room, or no right to write.
    """
    models.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(models):
        bench = models / ".partial"
        partial = bench / "bundle"
        shutil.rmtree(bench, ignore_errors=True)  # left by a sealing that was killed
        try:
            bench.mkdir(mode=0o700)
            shutil.copytree(trained, partial)
            (partial / CARD_FILE).write_text(card, encoding="utf-8")
            (partial / STATEMENT_FILE).write_text(statement, encoding="utf-8")
            for path in partial.iterdir():
                path.chmod(0o600)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            partial.chmod(0o700)
            digest = bundle_digest(partial)
            target = models / model_id(digest)
            if target.exists():
                _same(target, digest)
                sign_bundle(target, private_key)
            else:
                named = partial.rename(bench / target.name)  # the folder's name is signed, too
                sign_bundle(named, private_key)
                named.rename(target)
        finally:
            shutil.rmtree(bench, ignore_errors=True)
    return target, digest


def check_bundle(
    bundle: Path,
    public_key: Path,
    *,
    ledger_key: Ed25519PublicKey | None = None,
    thorough: bool = False,
) -> tuple[list[Finding], LoadedModel | None]:
    """All checks of a bundle; nothing is parsed before the signature has passed.

    A model predicts with `weights.safetensors`. What is asked only with `thorough` says whether the rest of the bundle
    is the same model: where that differs, nothing is loaded; where it cannot be asked on this machine, the finding is
    `not_checked`, which keeps the gates closed but does not keep a model that passed them elsewhere from predicting.

    Args:
        bundle: The bundle directory. It is copied first, so that what is checked is what is loaded.
        public_key: PEM file of the pinned key that signs models.
        ledger_key: The ledger's key; with it, the signature of the run's statement is checked too.
        thorough: Once all else has passed, ask what takes a while too: Flux's own file in a confined process of its
            own, and what privacy was spent, computed again.

    Returns:
        Findings, and the model when every one of them passed, but for what `thorough` could not ask.

    Raises:
        UsageError: There is no such directory.
        OSError: It cannot be read, or not copied.
    """
    if not bundle.is_dir():
        raise UsageError(
            f"no bundle at {bundle}", expected="a directory with model.sig", next_step="check the path"
        )
    findings = [check_names(bundle)]
    if findings[0].outcome is not Outcome.PASSED:
        return findings, None
    try:
        with private_copy(bundle) as copy:
            findings.append(check_signature(copy, public_key))
            if findings[-1].outcome is not Outcome.PASSED:
                return findings, None
            more, spec, weights, curve = check_structure(copy)
            findings += more
            if ledger_key is not None:
                findings.append(_statement_signature(copy, ledger_key))
            digest = bundle_digest(copy)
            if thorough and spec is not None and worst(f.outcome for f in findings) is Outcome.PASSED:
                findings += examine(copy, spec, weights)
    except NotPlain as error:
        found = f"{error} is something else than a plain file"
        return [findings[0], failed("files", found)], None
    if spec is None or any(_closes(finding) for finding in findings):
        return findings, None
    examined = tuple(finding for finding in findings if finding.check in EXAMINED)
    return findings, LoadedModel(digest, spec, weights, curve, examined)


def load_bundle(
    bundle: Path,
    public_key: Path,
    *,
    ledger_key: Ed25519PublicKey | None = None,
    thorough: bool = False,
) -> LoadedModel:
    """Load a model, or say why not.

    Args:
        bundle: The bundle directory.
        public_key: PEM file of the pinned key that signs models.
        ledger_key: The ledger's key, to check the signature of the run's statement too.
        thorough: Ask what takes a while too, as `check_bundle` does.

    Raises:
        BundleRefused: A check did not pass; nothing was loaded.
        UsageError: There is no such directory.
        OSError: It cannot be read, or not copied.
    """
    findings, model = check_bundle(bundle, public_key, ledger_key=ledger_key, thorough=thorough)
    if model is None:
        said = "; ".join(f"{f.check}: {f.message}" for f in findings if f.outcome is not Outcome.PASSED)
        raise BundleRefused(
            f"the bundle {bundle.name} was not loaded: {said}",
            findings=findings,
            state="the bundle was left as it is",
            next_step="use the champion, or train again; `assay model verify` lists every check",
        )
    return model


@contextmanager
def _alone(models: Path) -> Iterator[None]:
    """One sealing at a time per folder; the folder itself is the lock, so that no file of ours is left in it."""
    handle = os.open(models, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _same(target: Path, digest: str) -> None:
    """What stands in a bundle's place must be that bundle."""
    found = bundle_digest(target) if target.is_dir() else "no directory"
    if found != digest:
        raise BundleRefused(
            f"{target} was changed after it was sealed",
            expected=digest,
            found=found,
            state="it was left as it is",
            next_step="look at who changed it, move it away, and run the same again",
        )


def _closes(finding: Finding) -> bool:
    """Whether a finding keeps a model from being loaded."""
    open_question = finding.check in EXAMINED and finding.outcome is Outcome.NOT_CHECKED
    return finding.outcome is not Outcome.PASSED and not open_question


def _statement_signature(bundle: Path, key: Ed25519PublicKey) -> Finding:
    try:
        verify_envelope((bundle / STATEMENT_FILE).read_text(encoding="utf-8"), key)
    except (EnvelopeError, ValueError) as error:
        return failed("statement_signature", str(error).splitlines()[0])
    return passed("statement_signature", "the run's statement is signed with the ledger's key")
