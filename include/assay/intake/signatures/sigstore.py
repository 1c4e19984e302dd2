"""Sigstore bundles (https://github.com/sigstore/protobuf-specs), checked offline by sigstore-python.

Identity and issuer are pinned, and the trusted root is the contract's: nothing is fetched. The bundle's proof that it
stands in a transparency log is part of what is checked, and the time that the log gives is one that the signer cannot
choose.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from typing import Any

from assay.contract import Key
from assay.contract.keys import IN_TOTO
from assay.intake.errors import SignatureRefused
from assay.intake.signatures.common import (
    Case,
    Made,
    bad_format,
    other_identity,
    shown,
    wrong_bytes,
)
from assay.strictjson import strict_json

MEDIA = "application/vnd.dev.sigstore.bundle"


def verify_sigstore(case: Case) -> list[Made]:
    """Check a bundle over the manifest, or one that carries a DSSE envelope, with each identity of the contract."""
    from sigstore.errors import Error
    from sigstore.models import Bundle

    try:
        body = strict_json(case.signature)
        if not isinstance(body, dict):
            raise ValueError("not an object")
        bundle = Bundle.from_json(case.signature)
    except (Error, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise bad_format(
            "the signature file is not a whole sigstore bundle",
            expected="one JSON object, as `cosign sign-blob --bundle` or `sigstore sign` writes it",
            found=f"{shown(case.signature)}: {str(error)[:100]}",
        ) from error
    refused: list[SignatureRefused] = []
    for key in case.keys("sigstore"):
        try:
            return [_under(case, key, bundle, body)]
        except SignatureRefused as refusal:
            refused.append(refusal)
    raise next((each for each in refused if each.reason == "identity"), refused[0])


def _under(case: Case, key: Key, bundle: Any, body: dict[str, Any]) -> Made:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, ExtensionNotFound
    from sigstore.errors import CertValidationError, Error, VerificationError

    payload, kind = case.manifest, None
    pinned = _Pinned(key)
    try:
        verifier = _verifier(key)
        if "dsseEnvelope" in body:
            kind, payload = verifier.verify_dsse(bundle, pinned)
        else:
            verifier.verify_artifact(case.manifest, bundle, pinned)
    except CertValidationError as error:
        raise SignatureRefused(
            "the bundle's certificate does not lead up to the trusted root of the contract",
            reason="unknown_key",
            expected=f"one that {key.issuer} vouches for, issued under the contract's trusted root",
            found=str(error)[:300],
            next_step="compare the trusted root with the one that the publisher's sigstore uses",
        ) from error
    except VerificationError as error:
        if pinned.refused:
            raise other_identity(
                "the bundle is signed by somebody else", f"{key.identity} ({key.issuer})", str(error)[:300]
            ) from error
        refusal = wrong_bytes([key])
        refusal.found = str(error)[:300]
        raise refusal from error
    except (
        *(Error, ExtensionNotFound, DuplicateExtension, UnsupportedAlgorithm),
        *(ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError),
    ) as error:
        raise bad_format(
            "the bundle or the contract's trusted root cannot be read",
            expected="both whole",
            found=str(error)[:200],
        ) from error
    if kind is not None and kind != (key.payload_type or IN_TOTO):
        raise other_identity(
            "the envelope holds something of another type", key.payload_type or IN_TOTO, ascii(kind)[1:80]
        )
    return Made(key, payload, key.raw, payload_type=kind, vouched_at=_logged(body))


class _Pinned:
    """sigstore's policy for one identity of one issuer; remembers whether it was this that refused."""

    def __init__(self, key: Key) -> None:
        """Take identity and issuer from the contract."""
        from sigstore.verify.policy import Identity

        self._policy = Identity(identity=key.identity or "", issuer=key.issuer)
        self.refused = False

    def verify(self, cert: Any) -> None:
        """Ask the policy."""
        self.refused = True
        self._policy.verify(cert)
        self.refused = False


def _verifier(key: Key) -> Any:
    """A verifier that trusts the contract's root alone."""
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(key.public_key)
        file.flush()
        return Verifier(trusted_root=TrustedRoot.from_file(file.name))


def _logged(body: dict[str, Any]) -> dt.datetime | None:
    """The time at which the log took the entry; only where the log promised it, which was checked with the bundle."""
    entry = body["verificationMaterial"]["tlogEntries"][0]
    if not entry.get("inclusionPromise") or not entry.get("integratedTime"):
        return None
    return dt.datetime.fromtimestamp(int(entry["integratedTime"]), dt.UTC)
