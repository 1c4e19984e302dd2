"""Bundles are signed as OpenSSF Model Signing says: one detached signature over every file of the directory."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from assay.findings import Finding
from assay.ledger import model_key, public_key_path
from assay.model.answers import failed, not_checked, passed
from assay.model.errors import ModelKeyError, NoModelKey
from assay.settings import Settings

SIGNATURE_FILE = "model.sig"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_MAX_SIGNATURE_BYTES = 1 << 20
_MAX_KEY_BYTES = 64 * 1024


def sign_bundle(bundle: Path, private_key: Path | ec.EllipticCurvePrivateKey) -> None:
    """Sign all files of a bundle; the signature becomes `model.sig` in it, in one rename.

    A key that is not on a token draws its nonce from key and message (RFC 6979): the same bundle has the same
    signature, whose digest the ledger binds, however often a killed task seals it.

    Args:
        bundle: The bundle directory, complete but for the signature.
        private_key: A P-256 private key, or the PEM file of one.

    Raises:
        ModelKeyError: The key cannot be used; nothing was written.
    """
    try:
        signer = _signer_with(_loaded(private_key) if isinstance(private_key, Path) else private_key)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm, AttributeError) as error:
        raise ModelKeyError(
            f"the private key {private_key} cannot sign models",
            expected="a PEM file with an unencrypted P-256 private key",
            found=str(error).strip() or type(error).__name__,
            state="nothing was signed",
            next_step="check ASSAY_MODEL_KEY_FILE or ASSAY_KEYS_DIR",
        ) from error
    # Beside the bundle, so that the rename is one step; never in it, where a reader would find a file too many.
    with tempfile.TemporaryDirectory(prefix=f".{bundle.name}.", dir=bundle.parent) as folder:
        partial = Path(folder) / SIGNATURE_FILE
        signer.set_hashing_config(_hashing()).sign(bundle, partial)
        partial.chmod(0o600)
        partial.replace(bundle / SIGNATURE_FILE)


def check_signature(bundle: Path, public_key: Path) -> Finding:
    """Whether `model.sig` is this key's signature over exactly the files that are there.

    Which files the signature may leave out is ours to say: only itself. The library lets a signature name more of them,
    so what was signed is read again here, once the signature stands.

    Args:
        bundle: The bundle directory.
        public_key: PEM file of the pinned public key.

    Returns:
        A finding; `not_checked` when the key cannot be used.
    """
    from model_signing import verifying

    if unusable := _unusable(public_key):
        return not_checked("signature", f"no signature was checked: {unusable}")
    signature = bundle / SIGNATURE_FILE
    if not signature.is_file() or signature.is_symlink():
        return failed("signature", f"the bundle has no {SIGNATURE_FILE}")
    if signature.stat().st_size > _MAX_SIGNATURE_BYTES:
        return failed("signature", f"{SIGNATURE_FILE} is larger than {_MAX_SIGNATURE_BYTES} bytes")
    if stray := not_plain(bundle):
        return failed("signature", f"the bundle holds something else than plain files: {stray}")
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=public_key)  # type: ignore[no-untyped-call]
    verifier.set_hashing_config(_hashing()).set_ignore_unsigned_files(False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints its remarks
            verifier.verify(bundle, signature)
        if gap := _left_out(bundle, signature):
            return failed("signature", f"the signature does not cover the bundle: {gap}")
    except Exception as error:  # noqa: BLE001 - the library raises whatever its parsers raise; all mean no
        reason = str(error).strip().splitlines()
        return failed(
            "signature", f"the signature does not stand: {reason[0] if reason else type(error).__name__}"
        )
    return passed("signature", "signed with the pinned key, every file is as it was signed")


def model_public_key(settings: Settings) -> Path:
    """PEM file of the pinned public key of models.

    Raises:
        NoModelKey: No key was ever made or named.
        LedgerKeyError: There is a private key, but it cannot be used.
    """
    path = public_key_path(settings, "model")
    named = settings.model_key_file or settings.keys_dir / "model.pem"
    if not path.exists() and (settings.model_key_uri or named.exists()):
        model_key(settings)  # writes the public half
    if not path.exists():
        raise NoModelKey(
            "there is no public key to check models with",
            expected=str(path),
            next_step="name the signer's public key with --key, or point ASSAY_KEYS_DIR to where it is",
        )
    return path


def not_plain(bundle: Path) -> str:
    """Name of the first entry that is no plain file of this directory; empty when there is none."""
    for entry in sorted(bundle.iterdir()):
        if entry.is_symlink() or not entry.is_file():
            return entry.name
    return ""


def _loaded(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path.name} holds no elliptic curve key")
    return key


def _signer_with(key: ec.EllipticCurvePrivateKey) -> Any:
    """The library's configuration for signing, with a key that need not be a file."""
    from google.protobuf import json_format
    from model_signing import signing
    from model_signing._signing import sign_ec_key, sign_sigstore_pb
    from sigstore_models import intoto
    from sigstore_models.bundle import v1

    class Signer(sign_ec_key.Signer):
        """The library's signer, given the key itself: its own reads a PEM file, which a token has none of."""

        def __init__(self) -> None:
            if not isinstance(key.curve, ec.SECP256R1):
                raise ValueError(f"the key is on the curve {key.curve.name}")
            self._private_key = cast(Any, _SteadyKey(key))

        def sign(self, payload: Any) -> Any:
            """As the library's, with the statement's keys in order: protobuf's own order changes with the process."""
            text = json.dumps(json_format.MessageToDict(payload.statement.pb), sort_keys=True).encode()
            signature = _SteadyKey(key).sign(sign_sigstore_pb.pae(text), ec.ECDSA(hashes.SHA256()))
            envelope = intoto.Envelope(
                payload=base64.b64encode(text),
                payload_type=_PAYLOAD_TYPE,
                signatures=[intoto.Signature(sig=base64.b64encode(signature), keyid="")],
            )
            made = v1.Bundle(
                media_type=cast(Any, sign_sigstore_pb._BUNDLE_MEDIA_TYPE),
                verification_material=self._get_verification_material(),
                dsse_envelope=envelope,
            )
            return sign_sigstore_pb.Signature(made)

    config = signing.Config()  # type: ignore[no-untyped-call]
    config._signer = Signer()
    return config


class _SteadyKey:
    """A private key whose signatures do not change from one time to the next, where the key can do that."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def sign(self, data: bytes, algorithm: ec.ECDSA) -> bytes:
        return self._key.sign(data, ec.ECDSA(algorithm.algorithm, deterministic_signing=True))


def _hashing() -> Any:
    """How bundles are hashed: SHA-256 over each file, nothing left out but the signature, Git's files included."""
    from model_signing import hashing

    config = hashing.Config()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)


def _left_out(bundle: Path, signature: Path) -> str:
    """What a valid signature leaves out of a bundle, or does in another way than ours; empty when there is nothing."""
    envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
    payload = json.loads(base64.b64decode(envelope["payload"], validate=True))
    if payload["predicateType"] != _PREDICATE_TYPE:
        return f"its predicate is {payload['predicateType']}"
    how, signed = payload["predicate"]["serialization"], payload["predicate"]["resources"]
    ignored = sorted(set(how.get("ignore_paths", ())) - {SIGNATURE_FILE})
    if ignored:
        return f"it was told to ignore {', '.join(ignored)}"
    if (how["method"], how["hash_type"], how["allow_symlinks"]) != ("files", "sha256", False):
        return (
            f"it is over {how['method']} with {how['hash_type']}, expected files with sha256 and no symlinks"
        )
    names = sorted(str(item["name"]) for item in signed)
    present = sorted(entry.name for entry in bundle.iterdir() if entry.name != SIGNATURE_FILE)
    return "" if names == present else f"it names {', '.join(names)}"


def _unusable(public_key: Path) -> str:
    """Why a public key cannot be used; empty when it can."""
    try:
        with public_key.open("rb") as file:
            key = serialization.load_pem_public_key(file.read(_MAX_KEY_BYTES))
    except OSError as error:
        return f"the public key {public_key} cannot be read: {error.strerror}"
    except (ValueError, UnsupportedAlgorithm):
        return f"{public_key} is not a public key in PEM"
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return f"{public_key} is not an elliptic curve public key"
    return ""
