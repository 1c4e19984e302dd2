"""What the ledger holds: in-toto Statements (v1) in signed DSSE envelopes.

A statement says that one step was taken on some things (`subjects`, each with its SHA-256), from other things
(`inputs`), and what came of it (`predicate`). It carries no clock of its own, so that a step that is run again makes
the same statement, with the same id, and the ledger keeps it once.

Standards: in-toto Attestation Framework v1 (Statement, ResourceDescriptor), DSSE v1.0.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from assay.canonical import canonical_json
from assay.ledger.errors import EnvelopeError, StatementError
from assay.ledger.keys.ring import KeyRing
from assay.ledger.keys.signing import key_id, parse_public_key, public_pem

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
MAX_PAYLOAD_BYTES = 4 * 2**20
"""Statements name things by digest; what is larger than this belongs into the store."""

_PREFIX, _SUFFIX = "https://assay.dev/predicates/", "/v1"
STEPS: Mapping[str, str] = {
    "delivery-verified": "checksums, signature, completeness and freshness of a delivery",
    "delivery-validated": "the contract's expectations on a delivery",
    "delivery-screened": "the verdicts on a delivery's rows",
    "delivery-decided": "what became of a delivery: accept, hold or reject",
    "case-decided": "a human decision on a quarantine case",
    "case-split": "a quarantine case was split, so that its rows can be decided apart",
    "contract-changed": "who changed a contract",
    "snapshot-admitted": "a new version of the training set",
    "run-finished": "one training, with its curve's outcome",
    "curve-checked": "the curve checks on one training",
    "run-provenance": "what a model was built from: SLSA provenance, with the bundle's signature among the subjects",
    "gates-judged": "the gates' findings on a challenger",
    "challenger-decided": "a human's answer about a challenger",
    "model-promoted": "a challenger became champion",
    "model-rolled-back": "an earlier champion came back",
    "key-rotated": "a signing key took another's place",
}
"""Steps that make statements, and what each is about."""
SLSA_PROVENANCE = "https://slsa.dev/provenance/v1"
"""Predicate type of `run-provenance`; its inputs are SLSA's `resolvedDependencies`."""
_PROVENANCE = "run-provenance"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME_LENGTH = 256  # of the index's column


@dataclass(frozen=True)
class Resource:
    """Something that a statement names: an object, a delivery, a model, a key ...

    Attributes:
        name: Its id, or its path.
        sha256: Digest of its bytes, 64 hexadecimal digits; a subject always has one.
    """

    name: str
    sha256: str | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Under what it is found in the index: its name, and `sha256:` with its digest."""
        names = (self.name, f"sha256:{self.sha256}") if self.sha256 else (self.name,)
        return tuple(index_key(name) for name in names if name)

    def descriptor(self) -> dict[str, Any]:
        """The in-toto ResourceDescriptor."""
        return {"name": self.name, **({"digest": {"sha256": self.sha256}} if self.sha256 else {})}


@dataclass(frozen=True)
class Statement:
    """One step, ready to be signed. Made by `make_statement` or read from an envelope.

    Attributes:
        predicate_type: One of the URIs of `predicate_type()`.
        subjects: What the step is about.
        inputs: What it was made from.
        payload: The in-toto Statement as canonical JSON: what is signed.
    """

    predicate_type: str
    subjects: tuple[Resource, ...]
    inputs: tuple[Resource, ...]
    payload: bytes

    @cached_property
    def id(self) -> str:
        """`statement-` and 32 hexadecimal digits of SHA-256 over the payload."""
        return f"statement-{hashlib.sha256(self.payload).hexdigest()[:32]}"

    @property
    def step(self) -> str:
        """Short name of the predicate type, e.g. `snapshot-admitted`."""
        if self.predicate_type == SLSA_PROVENANCE:
            return _PROVENANCE
        return self.predicate_type.removeprefix(_PREFIX).removesuffix(_SUFFIX)

    @property
    def predicate(self) -> dict[str, Any]:
        """What came of the step, without its inputs."""
        predicate: dict[str, Any] = json.loads(self.payload)["predicate"]
        predicate.pop("inputs", None)
        return predicate

    @property
    def index(self) -> set[tuple[str, str]]:
        """Entries for the subject index: (key, role), the role being `subject` or `input`."""
        return {
            (key, role)
            for role, resources in (("subject", self.subjects), ("input", self.inputs))
            for resource in resources
            for key in resource.keys
        }


def predicate_type(step: str) -> str:
    """The predicate type's URI for a step, e.g. `https://assay.dev/predicates/run-finished/v1`.

    Raises:
        StatementError: No such step is known.
    """
    if step not in STEPS:
        raise StatementError(f"no step is called {step!r}", expected=", ".join(STEPS))
    return SLSA_PROVENANCE if step == _PROVENANCE else f"{_PREFIX}{step}{_SUFFIX}"


def index_key(name: str) -> str:
    """A name as it stands in the subject index: long ones are cut and end in their SHA-256."""
    if len(name) <= _NAME_LENGTH:
        return name
    return f"{name[:180]}…{hashlib.sha256(name.encode()).hexdigest()}"


def make_statement(
    kind: str,
    subjects: Iterable[tuple[str, str]],
    predicate: Mapping[str, Any],
    inputs: Iterable[tuple[str, str | None] | str] = (),
) -> Statement:
    """Make a statement about one step; the same arguments make the same statement.

    Args:
        kind: A step of `STEPS`, or its predicate type's URI.
        subjects: Name and SHA-256 of each thing that the step is about; at least one.
        predicate: JSON-ready facts; no times but those that are facts of the step, such as a human decision's.
        inputs: Name and SHA-256 of what the step worked on; a bare name for what has no digest, such as a key id.

    Raises:
        StatementError: A part is missing, malformed or too large.
    """
    uri = kind if "://" in kind else predicate_type(kind)
    made_of = {"inputs"} & set(predicate)
    if made_of:
        raise StatementError("a predicate has no key `inputs` of its own", next_step="pass them as `inputs`")
    about = [Resource(name, sha256) for name, sha256 in subjects]
    used = [Resource(item) if isinstance(item, str) else Resource(*item) for item in inputs]
    facts: dict[str, Any] = dict(predicate)
    if used and uri == SLSA_PROVENANCE:
        definition = dict(facts.get("buildDefinition") or {})
        facts["buildDefinition"] = definition | {
            "resolvedDependencies": [resource.descriptor() for resource in used]
        }
    elif used:
        facts["inputs"] = [resource.descriptor() for resource in used]
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [resource.descriptor() for resource in about],
        "predicateType": uri,
        "predicate": facts,
    }
    try:
        return _read(canonical_json(document))
    except (TypeError, ValueError) as error:
        raise StatementError(f"the predicate of a {kind} statement is not JSON", found=error) from error
    except EnvelopeError as error:
        raise StatementError(error.message, expected=error.expected, found=error.found) from error


def sign_statement(statement: Statement, key: Ed25519PrivateKey) -> str:
    """The statement in a DSSE envelope, as canonical JSON. Ed25519 makes the same signature each time."""
    from securesystemslib.dsse import Envelope  # boto3 comes with it and takes most of a second

    envelope = Envelope(statement.payload, PAYLOAD_TYPE, {})
    envelope.sign(_signer(key))
    return canonical_json(envelope.to_dict()).decode()


def verify_envelope(
    envelope: str,
    public_key: Ed25519PublicKey,
    *,
    position: int | None = None,
    subjects: Mapping[str, str] | None = None,
) -> Statement:
    """Check a signed statement against the pinned key and return it.

    Args:
        envelope: A DSSE envelope as `sign_statement` writes it; any other JSON spelling of it is refused.
        public_key: The key that must have signed it, whatever key id the envelope names; of a ring, the key of its
            position.
        position: Its entry in the log; without one, each key of a ring will do.
        subjects: SHA-256, computed by the caller, of things that must be among the subjects under these names.

    Raises:
        EnvelopeError: It does not stand up; `check` names the step that failed.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    # (1) The form: exactly the bytes that we would write, so that nothing can hide in another spelling.
    try:
        dsse = Envelope.from_dict(_loads(envelope.encode()))
        written = canonical_json(dsse.to_dict()).decode()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UnicodeError) as error:
        raise EnvelopeError("an envelope is not DSSE", check="format", found=type(error).__name__) from error
    if written != envelope:
        raise EnvelopeError(
            "an envelope is not written canonically, or holds more than it should", check="format"
        )
    # (2) The payload's type is signed too, and decides how the payload is read.
    if dsse.payload_type != PAYLOAD_TYPE:
        raise EnvelopeError(
            "an envelope holds something else than a statement",
            check="payload_type",
            expected=PAYLOAD_TYPE,
            found=dsse.payload_type,
        )
    # (3) One signature, by the pinned key.
    chosen = _chosen(public_key, position, list(dsse.signatures))
    key = _verifier(chosen)
    if list(dsse.signatures) != [key.keyid]:
        retired = isinstance(public_key, KeyRing) and any(map(public_key.named, dsse.signatures))
        raise EnvelopeError(
            "a statement is signed by a key that did not sign at its place in the log: it was retired, or not yet made"
            if retired
            else "a statement is not signed by the ledger's key, or not by it alone",
            check="signature",
            expected=key.keyid,
            found=", ".join(dsse.signatures) or "no signature",
        )
    try:
        dsse.verify([key], threshold=1)
    except VerificationError as error:
        raise EnvelopeError(
            "a statement's signature is wrong", check="signature", expected=f"a signature by {key.keyid}"
        ) from error
    # (4) The statement itself, and (5) the digests that the caller knows.
    statement = _read(dsse.payload)
    for name, sha256 in (subjects or {}).items():
        found = sorted({str(subject.sha256) for subject in statement.subjects if subject.name == name})
        if found != [sha256]:
            raise EnvelopeError(
                f"the statement is about another {name}",
                check="subject",
                expected=sha256,
                found=", ".join(found) or "no subject of that name",
            )
    return statement


def read_unverified(envelope: str) -> Statement:
    """The statement in an envelope whose signature was checked before, or is checked elsewhere.

    Raises:
        EnvelopeError: It is malformed.
    """
    from securesystemslib.dsse import Envelope

    try:
        return _read(Envelope.from_dict(_loads(envelope.encode())).payload)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, UnicodeError) as error:
        raise EnvelopeError("an envelope is not DSSE", check="format", found=type(error).__name__) from error


# -------------------------------------------------------------------------------------------------------------- private
def _loads(data: bytes) -> dict[str, Any]:
    if len(data) > 2 * MAX_PAYLOAD_BYTES:
        raise ValueError("too large")
    value = json.loads(data)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _read(payload: bytes) -> Statement:
    """Read a payload strictly: canonical JSON, the right types, known predicate, digests that are digests."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise EnvelopeError(
            "a statement is too large",
            check="statement",
            expected=f"at most {MAX_PAYLOAD_BYTES} bytes",
            found=f"{len(payload)} bytes",
        )
    try:
        document = _loads(payload)
        canonical = canonical_json(document)
    except (TypeError, ValueError, RecursionError, UnicodeError) as error:
        raise EnvelopeError(
            "a statement is not JSON", check="statement", found=type(error).__name__
        ) from error
    if canonical != payload or set(document) != {"_type", "subject", "predicateType", "predicate"}:
        raise EnvelopeError("a statement is not written canonically, or has other fields", check="statement")
    if document["_type"] != STATEMENT_TYPE:
        raise EnvelopeError(
            "a payload is no in-toto Statement v1",
            check="statement",
            expected=STATEMENT_TYPE,
            found=document["_type"],
        )
    uri, predicate = document["predicateType"], document["predicate"]
    if uri not in _known_types():
        raise EnvelopeError(
            "a statement's predicate type is unknown",
            check="predicate_type",
            expected=", ".join(STEPS),
            found=uri,
        )
    if not isinstance(predicate, dict):
        raise EnvelopeError("a predicate is not an object", check="statement", found=type(predicate).__name__)
    subjects = _resources(document["subject"], digests=True)
    if not subjects:
        raise EnvelopeError("a statement is about nothing", check="subject", expected="at least one subject")
    return Statement(uri, subjects, _resources(_inputs(uri, predicate), digests=False), payload)


def _inputs(uri: str, predicate: dict[str, Any]) -> Any:
    if uri != SLSA_PROVENANCE:
        return predicate.get("inputs", [])
    definition = predicate.get("buildDefinition")
    return definition.get("resolvedDependencies", []) if isinstance(definition, dict) else []


@lru_cache(maxsize=1)
def _known_types() -> frozenset[str]:
    return frozenset(predicate_type(step) for step in STEPS)


def _resources(listed: Any, *, digests: bool) -> tuple[Resource, ...]:
    what = "subject" if digests else "input"
    if not isinstance(listed, list):
        raise EnvelopeError(f"a statement's {what}s are not a list", check="subject")
    out = []
    for item in listed:
        name = item.get("name") if isinstance(item, dict) else None
        digest = item.get("digest", {}) if isinstance(item, dict) else None
        sha256 = digest.get("sha256") if isinstance(digest, dict) else None
        resource = Resource(str(name), sha256)
        known = (
            isinstance(name, str)
            and name
            and "\0" not in name
            and (sha256 is None or isinstance(sha256, str))
        )
        if not known or item != resource.descriptor():
            raise EnvelopeError(
                f"a {what} is malformed",
                check="subject",
                expected='{"name": text, "digest": {"sha256": 64 hexadecimal digits}}',
                found=item,
            )
        if sha256 is None and digests:
            raise EnvelopeError(
                f"the subject {name!r} has no digest", check="subject", expected="its SHA-256"
            )
        if sha256 is not None and not _DIGEST.fullmatch(sha256):
            raise EnvelopeError(
                f"the digest of {name!r} is no SHA-256",
                check="subject",
                expected="64 lower-case hexadecimal digits",
                found=sha256,
            )
        out.append(resource)
    return tuple(out)


def _chosen(key: Ed25519PublicKey, position: int | None, keyids: list[str]) -> Ed25519PublicKey:
    """The key that must have signed: of a ring the one of the position, else the one that the envelope names."""
    if not isinstance(key, KeyRing):
        return key
    if position is not None:
        return key.at(position)
    return next(filter(None, map(key.named, keyids)), key.newest)


def _signer(key: Ed25519PrivateKey) -> CryptoSigner:
    from securesystemslib.signer import CryptoSigner

    return CryptoSigner(key, _verifier(key.public_key()))


def _verifier(public_key: Ed25519PublicKey) -> SSlibKey:
    return _verifier_of(public_pem(public_key))


@lru_cache(maxsize=16)
def _verifier_of(pem: bytes) -> SSlibKey:
    from securesystemslib.signer import SSlibKey

    key = parse_public_key(pem)
    return SSlibKey.from_crypto(key, keyid=key_id(key), scheme="ed25519")
