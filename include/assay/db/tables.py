"""SQLAlchemy tables: the registry of deliveries, cases, snapshots, runs and models, and the ledger's entries.

Ids come from content. Times are UTC, stored as ISO 8601 text, so that SQLite and PostgreSQL agree to the letter.
Large or sensitive data is not here: rows and bytes are objects in the store, named by their SHA-256.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, Text, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


def _source_of(context: Any) -> str:
    """The source of the delivery that a new case is about."""
    about = context.get_current_parameters()["delivery_id"]
    found = context.connection.scalar(select(Delivery.source).where(Delivery.id == about))
    return str(found or "")


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[Any]: JSON}


class Delivery(Base):
    """One delivery of one source; `state` is how far it came, `verdict` what was decided."""

    __tablename__ = "delivery"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    dataset: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(64))
    publisher: Mapped[str] = mapped_column(String(64))
    uri: Mapped[str] = mapped_column(Text)
    manifest_sha256: Mapped[str] = mapped_column(String(64), index=True)
    contract_sha256: Mapped[str] = mapped_column(String(64))
    key_id: Mapped[str | None] = mapped_column(String(128))
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    signed_at: Mapped[str | None] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(
        String(16)
    )  # landed verified validated screened held admitted rejected
    verdict: Mapped[str | None] = mapped_column(String(16))  # accept hold reject
    rows: Mapped[int | None] = mapped_column(BigInteger)
    first_seen: Mapped[str] = mapped_column(String(40))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    __table_args__ = (
        Index("ix_delivery_seen", "dataset", "first_seen", "id"),
        Index("ix_delivery_state", "dataset", "state", "first_seen", "id"),
        Index("ix_delivery_source", "dataset", "source", "first_seen", "id"),
        Index("ix_delivery_counts", "dataset", "state", "verdict", "source"),
        Index("ix_delivery_publisher", "publisher", "first_seen"),
    )


class DeliveryFile(Base):
    """One file of a delivery: the path in its manifest and the object that holds its bytes."""

    __tablename__ = "delivery_file"
    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    path: Mapped[str] = mapped_column(String(512), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)


class FindingRow(Base):
    """One finding about a delivery, snapshot, run or model (`subject_id`)."""

    __tablename__ = "finding"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    subject_id: Mapped[str] = mapped_column(String(80), primary_key=True)
    check: Mapped[str] = mapped_column(String(128))
    outcome: Mapped[str] = mapped_column(String(16))
    severity: Mapped[str] = mapped_column(String(16))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    found_at: Mapped[str] = mapped_column(String(40))

    __table_args__ = (Index("ix_finding_subject", "subject_id", "check"),)


class Case(Base):
    """A quarantine case: rows of one delivery, with evidence, waiting for or carrying a decision."""

    __tablename__ = "case"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))  # of what the id comes from
    dataset: Mapped[str] = mapped_column(String(64))
    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), index=True)
    # The delivery's, repeated here so that cases can be paged by it.
    source: Mapped[str] = mapped_column(String(64), default=_source_of, server_default="")
    kind: Mapped[str] = mapped_column(String(32))  # validation | screening | delivery
    status: Mapped[str] = mapped_column(String(16))  # open released rejected split
    blocking: Mapped[bool] = mapped_column(Boolean, default=False)
    rows: Mapped[int] = mapped_column(BigInteger)
    rows_object: Mapped[str | None] = mapped_column(String(64))
    summary: Mapped[str] = mapped_column(Text)
    evidence: Mapped[dict[str, Any]] = mapped_column(JSON)
    opened_at: Mapped[str] = mapped_column(String(40))
    # The review's terms as they stood when the case was opened: a later contract cannot loosen them.
    approvals: Mapped[int] = mapped_column(Integer, default=1)
    on_timeout: Mapped[str] = mapped_column(String(16), default="reject")  # reject | hold
    expires_at: Mapped[str | None] = mapped_column(String(40))
    terms: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict, server_default="{}")  # who may decide
    parent_id: Mapped[str | None] = mapped_column(String(80), index=True)  # the case that it was split from

    __table_args__ = (
        Index("ix_case_opened", "dataset", "status", "opened_at", "id"),
        Index("ix_case_due", "dataset", "status", "expires_at", "id"),
        Index("ix_case_rows", "dataset", "status", "rows", "id"),
        Index("ix_case_source", "dataset", "source", "status", "opened_at", "id"),
        Index("ix_case_counts", "dataset", "status", "kind", "blocking", "source"),
    )


class Decision(Base):
    """What a human (or the review's timeout) decided on a case; never changed, never deleted."""

    __tablename__ = "decision"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("case.id"), index=True)
    action: Mapped[str] = mapped_column(String(16))  # release | reject | split
    reviewer: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)
    decided_at: Mapped[str] = mapped_column(String(40))
    via: Mapped[str] = mapped_column(String(16), default="", server_default="")  # page cli airflow


class Snapshot(Base):
    """An immutable, versioned, admitted training set; its manifest object lists its parts."""

    __tablename__ = "snapshot"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    dataset: Mapped[str] = mapped_column(String(64), index=True)
    version: Mapped[int] = mapped_column(Integer)
    parent_id: Mapped[str | None] = mapped_column(String(80))
    merkle_root: Mapped[str] = mapped_column(String(64))
    manifest_object: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int] = mapped_column(BigInteger)
    admitted_at: Mapped[str] = mapped_column(String(40))

    __table_args__ = (Index("uq_snapshot_version", "dataset", "version", unique=True),)


class SnapshotDelivery(Base):
    """Which deliveries a snapshot admitted rows of, beyond its parent's."""

    __tablename__ = "snapshot_delivery"
    snapshot_id: Mapped[str] = mapped_column(ForeignKey("snapshot.id"), primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True, index=True)


class Run(Base):
    """One training."""

    __tablename__ = "run"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    dataset: Mapped[str] = mapped_column(String(64))
    snapshot_id: Mapped[str] = mapped_column(String(80), index=True)
    contract_sha256: Mapped[str] = mapped_column(String(64))
    backend: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))  # finished failed stopped not_checked
    curve_outcome: Mapped[str | None] = mapped_column(String(16))
    final_validation_loss: Mapped[float | None] = mapped_column(Float)
    bundle_uri: Mapped[str | None] = mapped_column(Text)
    finished_at: Mapped[str] = mapped_column(String(40))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)

    __table_args__ = (Index("ix_run_finished", "dataset", "finished_at", "id"),)


class ModelRow(Base):
    """One bundle; `id` comes from the digest over its files."""

    __tablename__ = "model"
    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    dataset: Mapped[str] = mapped_column(String(64))
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"), index=True)
    snapshot_id: Mapped[str] = mapped_column(String(80))
    state: Mapped[str] = mapped_column(String(16), index=True)  # challenger champion refused retired
    bundle_uri: Mapped[str] = mapped_column(Text)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    made_at: Mapped[str] = mapped_column(String(40))

    __table_args__ = (Index("ix_model_made", "dataset", "made_at", "id"),)


class Promotion(Base):
    """Each change of champion, in order; the newest row of a data set names its champion."""

    __tablename__ = "promotion"
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(80), unique=True)
    dataset: Mapped[str] = mapped_column(String(64), index=True)
    action: Mapped[str] = mapped_column(String(16))  # promote | rollback
    model_id: Mapped[str] = mapped_column(ForeignKey("model.id"))
    previous_id: Mapped[str | None] = mapped_column(String(80))
    by: Mapped[str] = mapped_column(String(128))
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[str] = mapped_column(String(40))


class LedgerEntry(Base):
    """One leaf of the log: a DSSE envelope over an in-toto statement."""

    __tablename__ = "ledger_entry"
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    statement_id: Mapped[str] = mapped_column(String(80), unique=True)
    leaf_hash: Mapped[str] = mapped_column(String(64))
    predicate_type: Mapped[str] = mapped_column(String(128), index=True)
    envelope: Mapped[str] = mapped_column(Text)


class LedgerSubject(Base):
    """Index of the log: which entries name which digest or id."""

    __tablename__ = "ledger_subject"
    position: Mapped[int] = mapped_column(ForeignKey("ledger_entry.position"), primary_key=True)
    name: Mapped[str] = mapped_column(String(256), primary_key=True, index=True)
    role: Mapped[str] = mapped_column(String(16), primary_key=True)  # subject | input


class LedgerCheckpoint(Base):
    """Signed tree heads, one per append."""

    __tablename__ = "ledger_checkpoint"
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root_hash: Mapped[str] = mapped_column(String(64))
    edge: Mapped[list[Any]] = mapped_column(
        JSON
    )  # hashes of the full subtrees, largest first: what an append needs
    note: Mapped[str] = mapped_column(Text)


class LedgerCosignature(Base):
    """A witness's signature line on a checkpoint."""

    __tablename__ = "ledger_cosignature"
    size: Mapped[int] = mapped_column(
        ForeignKey("ledger_checkpoint.size"), primary_key=True, autoincrement=False
    )
    witness: Mapped[str] = mapped_column(String(256), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    line: Mapped[str] = mapped_column(Text)


class Notification(Base):
    """A statement that a place is told of: one row each, so that nobody is told twice."""

    __tablename__ = "notification"
    statement_id: Mapped[str] = mapped_column(String(80), primary_key=True)
    target: Mapped[str] = mapped_column(String(40), primary_key=True)  # service and digest of the address
    position: Mapped[int] = mapped_column(BigInteger, index=True)
    event: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16), index=True)  # sending sent failed
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    problem: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[str] = mapped_column(String(40))
