"""What each step's predicate says, as strict models; their JSON Schemas are published in docs/predicates.

The line makes no statement whose predicate does not fit its model. A model of the training's provenance is that of SLSA
(slsa.dev/spec/v1.0/provenance); the others are ours, and their version is the last part of the predicate type's URI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.findings import Outcome, Severity
from assay.ledger.errors import StatementError

BUILD_TYPE = "https://assay.dev/build/training/v1"
"""SLSA's `buildType` of a training: `externalParameters` and `internalParameters` as `TrainingProvenance` has them."""
BUILDER = "https://assay.dev/builders/line/v1"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Tri = Literal["passed", "failed", "not_checked"]
Time = Annotated[str, Field(description="UTC, ISO 8601.")]
Via = Annotated[
    Literal["page", "cli", "airflow"],
    Field(description="Where: a page, the command line, or Required Actions."),
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Digest(_Strict):
    """Digests of a resource."""

    sha256: Sha256


class Descriptor(_Strict):
    """An in-toto ResourceDescriptor: a name, and a digest where there is one."""

    name: Name
    digest: Digest | None = None


class Code(_Strict):
    """The code that took the step; `sha256` is over its source files."""

    name: Name
    version: Name
    sha256: Sha256


class Check(_Strict):
    """One check's answer; `not_checked` is listed like the others."""

    check: Name
    outcome: Outcome
    severity: Severity
    subject: str
    message: str


class Step(_Strict):
    """What every step says."""

    code: Code
    dataset: Name
    contract_sha256: Sha256
    checks: tuple[Check, ...] = Field(
        description="Every answer of the step's checks, `not_checked` included."
    )
    inputs: tuple[Descriptor, ...] = Field(default=(), description="What the step worked on.")


class DeliveryVerified(Step):
    """Checksums, signature, completeness and freshness of a delivery."""

    delivery: Name
    source: Name
    publisher: Name
    key: str | None = Field(description="Who signed it; null where no signature passed.")
    sequence: int | None
    signed_at: str | None = Field(description="The date that the publisher signed; null where there is none.")
    first_seen: Time = Field(description="When this delivery first came in, by our clock.")
    files: Count
    verdict: Literal["accept", "hold", "reject"]


class DeliveryValidated(Step):
    """The contract's expectations on a delivery; the numbers of failing rows are a subject."""

    delivery: Name
    rows: Count | None = Field(description="Null where the delivery could not be read.")
    failing: Count | None
    verdict: Literal["reject"] | None = Field(description="`reject` where the delivery could not be read.")


class CaseOpened(_Strict):
    """A case that a step opened; its id and digest are among the subjects."""

    case: Name
    kind: Literal["validation", "screening", "delivery"]
    rows: Count


class DeliveryScreened(Step):
    """The verdicts on a delivery's rows; report and cases are subjects."""

    delivery: Name
    verdict: Literal["accept", "hold"]
    why: tuple[str, ...] = Field(description="Why it is held.")
    tier: Name
    rows: Count
    quarantined: Count
    cases: tuple[CaseOpened, ...]


class DeliveryDecided(Step):
    """What became of a held delivery."""

    delivery: Name
    verdict: Literal["accept", "reject"]


class CaseDecided(Step):
    """A human decision on a quarantine case, or what silence decided."""

    case: Name
    kind: Literal["validation", "screening", "delivery"]
    decision: Name
    delivery: Name
    action: Literal["release", "reject"]
    reviewer: Name = Field(description="Who decided; `timeout` where nobody did.")
    reason: Name
    decided_at: Time
    rows: Count
    via: Via | None = None


class CaseSplit(Step):
    """A case became two: the rows that somebody chose, and the rest; each is decided on its own."""

    case: Name = Field(description="The case that was split.")
    kind: Literal["validation", "screening"]
    decision: Name
    delivery: Name
    action: Literal["split"]
    reviewer: Name = Field(description="Who split it.")
    reason: Name
    decided_at: Time
    rows: Count = Field(description="Rows of the case; those of its parts together.")
    cases: Annotated[tuple[CaseOpened, ...], Field(min_length=2, max_length=2)] = Field(
        description="The parts: first the chosen rows, then the rest. Their digests are among the subjects."
    )
    via: Via | None = None


class ContractChanged(Step):
    """Somebody takes responsibility for a contract as it is; the contract's digest is the subject."""

    by: Name = Field(description="Who changed the contract.")
    reason: Name
    decided_at: Time


class SnapshotAdmitted(Step):
    """A new version of the training set; its manifest is the subject."""

    snapshot: Name
    merkle_root: Sha256
    version: Annotated[int, Field(ge=1)]
    parent: str | None
    rows: Count
    deliveries: tuple[str, ...]
    decisions: tuple[str, ...]


class RunFinished(Step):
    """One training: how it went, with which tools, under which settings."""

    run: Name
    snapshot: str | None = Field(description="Null for a table that no snapshot holds.")
    admitted: bool = True
    seed: int
    row_losses: Sha256 | None = None
    status: Literal["finished", "failed", "stopped", "not_checked"]
    reason: str
    backend: str
    backend_reason: str
    device: str | None
    device_name: str | None
    versions: dict[str, str]
    epochs: Count
    best_epoch: int | None
    stopped_because: str | None
    curve_outcome: Tri
    loss: dict[str, Any]
    privacy: dict[str, Any] | None
    aggregation: dict[str, Any] | None


class CurveChecked(Step):
    """The curve checks on one training; its curve is a subject where a bundle holds it."""

    run: Name
    outcome: Tri
    epochs: Count
    best_epoch: int | None


class GatesJudged(Step):
    """The gates' answers about a challenger."""

    model: Name
    passed: bool
    metrics: dict[str, Any]
    gates_off: tuple[str, ...]
    champion: str | None = Field(description="The champion that it was held against.")


class ChallengerDecided(Step):
    """A human's answer about a challenger that passed its gates; it is promoted once enough people approved."""

    model: Name
    action: Literal["approve", "refuse"]
    by: Name = Field(description="Who decided; `timeout` where nobody did.")
    reason: Name
    decided_at: Time
    via: Via | None = None


class ModelChanged(Step):
    """A change of champion; who decided, and why."""

    model: Name
    promotion: Name
    by: Name
    reason: str
    decided_at: Time
    previous: str | None = Field(description="The champion until then.")


class LogPoint(_Strict):
    """The log's state that a rotation stands on."""

    origin: Name
    size: Count
    root: Sha256


class KeyRotated(_Strict):
    """A signing key took another's place; the old key signs the statement, and the new one that it takes over."""

    code: Code
    purpose: Literal["ledger"]
    previous: str = Field(description="The key until then: base64 of its DER (SubjectPublicKeyInfo).")
    new: str = Field(description="The key from then on, likewise.")
    reason: Name
    log: LogPoint
    acceptance: str = Field(
        description="The new key's signature (base64) over the canonical JSON of `previous`, `new` and `log`."
    )
    inputs: tuple[Descriptor, ...] = ()


class _BuildDefinition(_Strict):
    buildType: Literal["https://assay.dev/build/training/v1"]  # noqa: N815 - SLSA's name
    externalParameters: dict[str, Any] = Field(  # noqa: N815 - SLSA's name
        description="`dataset`, `snapshot` and `training`: the contract's section, as it was."
    )
    internalParameters: dict[str, Any] = Field(  # noqa: N815 - SLSA's name
        description="`seed`, `backend`, `device` and `versions`: what the machine made of it."
    )
    resolvedDependencies: tuple[Descriptor, ...] = Field(  # noqa: N815 - SLSA's name
        description="Snapshot, contract, code, and the run's own statement."
    )


class _Builder(_Strict):
    id: Literal["https://assay.dev/builders/line/v1"]
    version: dict[str, str]


class _Metadata(_Strict):
    invocationId: Name = Field(description="The run's id.")  # noqa: N815 - SLSA's name


class _RunDetails(_Strict):
    builder: _Builder
    metadata: _Metadata


class TrainingProvenance(_Strict):
    """SLSA provenance v1 of a model; the subjects are the model, each file of its bundle, and its signature."""

    buildDefinition: _BuildDefinition  # noqa: N815 - SLSA's name
    runDetails: _RunDetails  # noqa: N815 - SLSA's name


PREDICATES: Mapping[str, type[BaseModel]] = {
    "delivery-verified": DeliveryVerified,
    "delivery-validated": DeliveryValidated,
    "delivery-screened": DeliveryScreened,
    "delivery-decided": DeliveryDecided,
    "case-decided": CaseDecided,
    "case-split": CaseSplit,
    "contract-changed": ContractChanged,
    "snapshot-admitted": SnapshotAdmitted,
    "run-finished": RunFinished,
    "curve-checked": CurveChecked,
    "run-provenance": TrainingProvenance,
    "gates-judged": GatesJudged,
    "challenger-decided": ChallengerDecided,
    "model-promoted": ModelChanged,
    "model-rolled-back": ModelChanged,
    "key-rotated": KeyRotated,
}
"""The model of each step's predicate, by the step's name."""


def check_predicate(step: str, facts: Mapping[str, Any]) -> None:
    """Refuse facts that do not fit the step's published predicate.

    Raises:
        StatementError: A fact is missing, too many, or of another kind; nothing is signed.
    """
    try:
        PREDICATES[step].model_validate(dict(facts))
    except KeyError as error:
        raise StatementError(f"no step is called {step!r}", expected=", ".join(PREDICATES)) from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise StatementError(
            f"the facts of a {step} statement do not fit its predicate",
            expected=f"docs/predicates/{step}.v1.json",
            found=wrong,
            state="nothing was signed",
        ) from error


def schema_of(step: str, uri: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a step's predicate.

    Args:
        step: A step's name.
        uri: Its predicate type.

    Raises:
        StatementError: No such step is known.
    """
    if step not in PREDICATES:
        raise StatementError(f"no step is called {step!r}", expected=", ".join(PREDICATES))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{uri}/schema.json",
        "x-predicate-type": uri,
        **PREDICATES[step].model_json_schema(mode="serialization"),
        "title": step,
    }
