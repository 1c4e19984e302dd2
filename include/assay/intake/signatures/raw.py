"""Plain signatures, without any frame: Ed25519, ECDSA and RSA-PSS, with a pinned key or a certificate's.

What the key is decides how the signature is checked; nothing in the signature does. Ed25519 (RFC 8032): 64 bytes. ECDSA
(FIPS 186-5): DER, over SHA-256 for P-256 and SHA-384 for P-384. RSA-PSS (RFC 8017): over the contract's `digest`, MGF1
with the same. Each as it is, or in base64.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from assay.contract import Key
from assay.contract.keyforms import key_bytes, load_public
from assay.intake.errors import SignatureRefused
from assay.intake.signatures.certificates import signer_of
from assay.intake.signatures.common import Case, Made, bad_format, known, shown, strict_base64, wrong_bytes

FORMATS = ("ed25519", "pem", "x509")


def verify_raw(case: Case) -> list[Made]:
    """Try each key that makes signatures without a frame."""
    forms = [case.signature]
    if (decoded := strict_base64(b"".join(case.signature.split()))) is not None:
        forms.append(decoded)
    keys = case.keys(*FORMATS)
    refusals: list[SignatureRefused] = []
    fits = False
    for key in keys:
        try:
            public = _public(case, key)
        except SignatureRefused as refused:
            refusals.append(refused)
            continue
        for form in forms:
            if plausible(public, form):
                fits = True
                if holds(public, form, case.manifest, key.digest):
                    return [Made(key, case.manifest, key_bytes(public))]
    if refusals:
        raise refusals[0]
    if not keys and any(len(form) == 64 for form in forms):
        raise SignatureRefused(
            f"the signature is a raw Ed25519 one, and the publisher {case.publisher.id!r} has no key of that format",
            reason="unknown_key",
            expected=f"a signature by one of {known(case.publisher.keys)}",
            next_step="check the source's `signature` and the publisher's keys in the contract",
        )
    if not fits:
        raise bad_format(
            "the signature file is no signature that the publisher's keys can make",
            expected=f"one by {known(keys or case.publisher.keys)}",
            found=shown(case.signature),
            next_step="check the source's `signature` and the publisher's keys in the contract",
        )
    raise wrong_bytes(keys)


def plausible(key: Any, signature: bytes) -> bool:
    """Whether these bytes can be a signature by such a key at all."""
    if isinstance(key, Ed25519PublicKey):
        return len(signature) == 64
    if isinstance(key, rsa.RSAPublicKey):
        return len(signature) == (key.key_size + 7) // 8
    try:
        decode_dss_signature(signature)
    except ValueError:
        return False
    return True


def holds(key: Any, signature: bytes, data: bytes, digest: str | None) -> bool:
    """Whether a signature is by this key over these bytes.

    Args:
        key: A public key of `cryptography`: Ed25519, ECDSA or RSA.
        signature: The signature, DER for ECDSA.
        data: What is said to be signed.
        digest: `sha256` or `sha512`, for RSA; `sha256` if None.
    """
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256() if key.key_size == 256 else hashes.SHA384()))
        elif isinstance(key, rsa.RSAPublicKey):
            used = hashes.SHA512() if digest == "sha512" else hashes.SHA256()
            key.verify(signature, data, padding.PSS(padding.MGF1(used), padding.PSS.AUTO), used)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _public(case: Case, key: Key) -> Any:
    if key.format == "ed25519":
        return Ed25519PublicKey.from_public_bytes(key.raw)
    if key.format == "pem":
        return load_public(key.public_key)
    return signer_of(case, key).public_key()
