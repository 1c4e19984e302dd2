"""DSSE envelopes (https://github.com/secure-systems-lab/dsse): what is signed is inside, with its type."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from securesystemslib.dsse import Envelope

from assay.contract.keyforms import load_public
from assay.contract.keys import IN_TOTO
from assay.intake.signatures.common import (
    Case,
    Made,
    bad_format,
    other_identity,
    shown,
    wrong_bytes,
)
from assay.intake.signatures.raw import holds, plausible
from assay.strictjson import strict_json

_MAX_SIGNATURES = 32


def verify_dsse(case: Case) -> list[Made]:
    """Check all signatures of an envelope that are by keys of the contract; the names of keys in it mean nothing."""
    payload, kind, signatures = _read(case.signature)
    keys = case.keys("dsse")
    signed = Envelope(payload, kind, {}).pae()
    made, other = [], None
    for key in keys:
        public = load_public(key.public_key)
        if any(plausible(public, each) and holds(public, each, signed, key.digest) for each in signatures):
            wanted = key.payload_type or IN_TOTO
            if kind == wanted:
                made.append(Made(key, payload, key.raw, payload_type=kind))
            else:
                other = other_identity(
                    "the envelope holds something of another type", wanted, ascii(kind)[1:80]
                )
    if not made:
        raise other or wrong_bytes(keys)
    return made


def _read(data: bytes) -> tuple[bytes, str, list[bytes]]:
    """Payload, its type, and the signatures."""
    try:
        body = strict_json(data)
        payload, kind, signatures = _decoded(body["payload"]), body["payloadType"], body["signatures"]
        found = [_decoded(each["sig"]) for each in signatures]
        kind.encode("utf-8")
        if not isinstance(signatures, list) or not 0 < len(found) <= _MAX_SIGNATURES:
            raise ValueError(f"{len(found)} signatures")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise bad_format(
            "the signature file is not a whole DSSE envelope",
            expected="one JSON object with payload, payloadType and signatures",
            found=f"{shown(data)}: {type(error).__name__} {str(error)[:100]}",
        ) from error
    return payload, kind, found


def _decoded(text: Any) -> bytes:
    """base64 in either alphabet, as DSSE allows, but in one way only."""
    try:
        data = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if text not in {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}:
        raise ValueError("base64 that is written in another way than it would be encoded")
    return data
