"""JSON Web Signatures with a detached payload (RFC 7515, appendix F), also unencoded (RFC 7797).

The key's type decides the algorithm. Keys, certificates and addresses in the header are never looked at.
"""

from __future__ import annotations

import base64
import re
from typing import Any

from assay.contract import Key
from assay.contract.keyforms import load_public
from assay.intake.signatures.common import (
    Case,
    Made,
    bad_format,
    shown,
    strict_base64,
    weak,
    wrong_bytes,
)
from assay.strictjson import strict_json

COMPACT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\s*")


def verify_jws(case: Case) -> list[Made]:
    """Check a signature with each key of the contract that its algorithm is for."""
    from jwt import PyJWS
    from jwt.exceptions import PyJWTError

    header, unencoded = _read(case.signature)
    token = case.signature.strip().decode("ascii")
    keys = case.keys("jws")
    fitting = [key for key in keys if header["alg"] in algorithms(key)]
    if not fitting:
        expected = sorted({name for key in keys for name in algorithms(key)})
        raise weak(
            "the JWS names an algorithm that the key is not for",
            ", ".join(expected),
            ascii(header["alg"])[:40],
        )
    if not unencoded:
        first, _, last = token.partition("..")
        token = f"{first}.{base64.urlsafe_b64encode(case.manifest).rstrip(b'=').decode()}.{last}"
    for key in fitting:
        try:
            PyJWS().decode_complete(
                token,
                load_public(key.public_key),
                algorithms=list(algorithms(key)),
                detached_payload=case.manifest if unencoded else None,
            )
        except (PyJWTError, ValueError):
            continue
        return [Made(key, case.manifest, key.raw)]
    raise wrong_bytes(fitting)


def algorithms(key: Key) -> tuple[str, ...]:
    """The algorithm (RFC 7518, RFC 8037) that a key is for."""
    kind = key.decoded.kind
    if kind == "ed25519":
        return ("EdDSA",)
    if kind == "rsa":
        return ("PS512",) if key.digest == "sha512" else ("PS256",)
    return ("ES256",) if load_public(key.public_key).key_size == 256 else ("ES384",)


def _read(signature: bytes) -> tuple[dict[str, Any], bool]:
    """The header, and whether the payload is signed as it is."""
    try:
        if not COMPACT.fullmatch(signature):
            raise ValueError("not three parts")
        first, payload, last = signature.strip().split(b".")
        if payload:
            raise ValueError("it carries a payload")
        head = strict_base64(first, url=True)
        if head is None or not strict_base64(last, url=True):
            raise ValueError("base64url that is written in another way than it would be encoded")
        header = strict_json(head)
        if not isinstance(header, dict) or not isinstance(header.get("alg"), str):
            raise ValueError("no alg in the header")
        unencoded = header.get("b64", True) is False
        if header.get("crit", ["b64"]) != ["b64"] or unencoded != ("crit" in header):
            raise ValueError("crit names what is not understood")
    except ValueError as error:
        raise bad_format(
            "the signature file is not a whole detached JWS",
            expected="HEADER..SIGNATURE in base64url",
            found=f"{shown(signature)}: {str(error)[:100]}",
        ) from error
    return header, unencoded
