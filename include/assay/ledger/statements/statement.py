"""What the ledger holds: in-toto Statements (v1); `envelopes` signs them.

A statement says that one step was taken on some things (`subjects`, each with its SHA-256), from other things
(`inputs`), and what came of it (`predicate`). It carries no clock of its own, so that a step that is run again makes
the same statement, with the same id, and the ledger keeps it once.

Standard: in-toto Attestation Framework v1 (Statement, ResourceDescriptor).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from assay.canonical import canonical_json
from assay.ledger.errors import EnvelopeError, StatementError

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
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
        return read_payload(canonical_json(document))
    except (TypeError, ValueError) as error:
        raise StatementError(f"the predicate of a {kind} statement is not JSON", found=error) from error
    except EnvelopeError as error:
        raise StatementError(error.message, expected=error.expected, found=error.found) from error


def load_object(data: bytes) -> dict[str, Any]:
    """A JSON object of bounded size.

    Raises:
        TypeError: It is something else than an object.
        ValueError: It is no JSON, or too large.
    """
    if len(data) > 2 * MAX_PAYLOAD_BYTES:
        raise ValueError("too large")
    value = json.loads(data)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def read_payload(payload: bytes) -> Statement:
    """Read a payload strictly: canonical JSON, the right types, known predicate, digests that are digests.

    Raises:
        EnvelopeError: It is malformed.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise EnvelopeError(
            "a statement is too large",
            check="statement",
            expected=f"at most {MAX_PAYLOAD_BYTES} bytes",
            found=f"{len(payload)} bytes",
        )
    try:
        document = load_object(payload)
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
