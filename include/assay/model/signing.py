"""Bundles are signed as OpenSSF Model Signing says: one detached signature over every file of the directory."""

from __future__ import annotations

from pathlib import Path

from assay.findings import Finding, Outcome, Scope, Severity
from assay.ledger import public_key_path
from assay.model.errors import NoModelKey
from assay.settings import Settings

SIGNATURE_FILE = "model.sig"


def sign_bundle(bundle: Path, private_key: Path) -> None:
    """Sign all files of a bundle; the signature becomes `model.sig` in it.

    Args:
        bundle: The bundle directory, complete but for the signature.
        private_key: PEM file of a P-256 private key.
    """
    from model_signing import hashing, signing

    signature = bundle / SIGNATURE_FILE
    ignored = hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)
    signing.Config().use_elliptic_key_signer(private_key=private_key).set_hashing_config(ignored).sign(bundle, signature)
    signature.chmod(0o600)


def check_signature(bundle: Path, public_key: Path) -> Finding:
    """Whether `model.sig` is this key's signature over exactly the files that are there.

    Args:
        bundle: The bundle directory.
        public_key: PEM file of the pinned P-256 public key.
    """
    from model_signing import hashing, verifying

    signature = bundle / SIGNATURE_FILE
    if not signature.is_file() or signature.is_symlink():
        return _said(Outcome.FAILED, f"the bundle has no {SIGNATURE_FILE}")
    stray = _not_plain(bundle)
    if stray:
        return _said(Outcome.FAILED, f"the bundle holds something else than plain files: {stray}")
    # Which files may be left out is ours to say, not the signature's: only the signature itself.
    exactly = hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key).set_hashing_config(exactly)
        verifier.set_ignore_unsigned_files(False).verify(bundle, signature)
    except Exception as error:  # noqa: BLE001 - the library raises ValueError and whatever its parsers raise; all mean no
        reason = str(error).strip().splitlines()
        return _said(Outcome.FAILED, f"the signature does not stand: {reason[0] if reason else type(error).__name__}")
    return _said(Outcome.PASSED, "signed with the pinned key, every file is as it was signed")


def model_public_key(settings: Settings) -> Path:
    """The pinned public key of models.

    Raises:
        NoModelKey: No key was ever made or named.
    """
    path = public_key_path(settings, "model")
    if not path.exists():
        raise NoModelKey(
            "there is no public key to check models with",
            expected=str(path),
            next_step="name the signer's key with --key, or point ASSAY_KEYS_DIR to where it is",
        )
    return path


def _not_plain(bundle: Path) -> str:
    """Name of the first entry that is no plain file of this directory; empty when there is none."""
    for entry in sorted(bundle.iterdir()):
        if entry.is_symlink() or not entry.is_file():
            return entry.name
    return ""


def _said(outcome: Outcome, message: str) -> Finding:
    return Finding(
        check="model.signature",
        outcome=outcome,
        severity=Severity.INFO if outcome is Outcome.PASSED else Severity.CRITICAL,
        scope=Scope.MODEL,
        message=message,
        technique=None if outcome is Outcome.PASSED else "AML.T0018",
    )
