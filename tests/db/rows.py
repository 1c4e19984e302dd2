"""Rows for tests, with everything filled in that the schema demands."""

from __future__ import annotations

from typing import Any

from assay.db import (
    Base,
    Case,
    Decision,
    Delivery,
    LedgerCheckpoint,
    LedgerEntry,
    LedgerSubject,
    ModelRow,
    Promotion,
    Run,
    Snapshot,
    SnapshotDelivery,
)

NOW = "2026-03-01T12:00:00Z"
DIGEST = "ab" * 32


def a_delivery(delivery_id: str, **changes: Any) -> Delivery:
    """A landed delivery of the data set `adult`."""
    values = {
        "dataset": "adult",
        "source": "west",
        "publisher": "census",
        "uri": "file:///deliveries/west",
        "manifest_sha256": DIGEST,
        "contract_sha256": DIGEST,
        "state": "landed",
        "first_seen": NOW,
        "detail": {},
    }
    return Delivery(id=delivery_id, **{**values, **changes})


def a_snapshot(snapshot_id: str, **changes: Any) -> Snapshot:
    """A snapshot of ten rows that asks for the next version."""
    values = {
        "dataset": "adult",
        "version": None,
        "merkle_root": DIGEST,
        "manifest_object": DIGEST,
        "rows": 10,
        "admitted_at": NOW,
    }
    return Snapshot(id=snapshot_id, **{**values, **changes})


def a_run(run_id: str, **changes: Any) -> Run:
    """A finished run."""
    values = {
        "dataset": "adult",
        "snapshot_id": "snapshot-1",
        "contract_sha256": DIGEST,
        "backend": "reference",
        "status": "finished",
        "finished_at": NOW,
        "detail": {},
    }
    return Run(id=run_id, **{**values, **changes})


def a_model(model_id: str, run_id: str, **changes: Any) -> ModelRow:
    """A challenger."""
    values = {
        "dataset": "adult",
        "snapshot_id": "snapshot-1",
        "state": "challenger",
        "bundle_uri": "file:///models/1",
        "metrics": {"accuracy": 0.85},
        "made_at": NOW,
    }
    return ModelRow(id=model_id, run_id=run_id, **{**values, **changes})


def a_promotion(promotion_id: str, model_id: str, **changes: Any) -> Promotion:
    """A promotion."""
    values = {"dataset": "adult", "action": "promote", "by": "gates", "reason": "all passed", "at": NOW}
    return Promotion(id=promotion_id, model_id=model_id, **{**values, **changes})


def an_entry(position: int) -> LedgerEntry:
    """A ledger entry at a position."""
    return LedgerEntry(
        position=position,
        statement_id=f"statement-{position}",
        leaf_hash=DIGEST,
        predicate_type="https://assay.dev/predicates/delivery-verified/v1",
        envelope="{}",
    )


def a_case(case_id: str, delivery_id: str, **changes: Any) -> Case:
    """An open case of one row."""
    values = {
        "digest": DIGEST,
        "dataset": "adult",
        "kind": "screening",
        "status": "open",
        "rows": 1,
        "summary": "1 row looks poisoned",
        "evidence": {},
        "opened_at": NOW,
    }
    return Case(id=case_id, delivery_id=delivery_id, **{**values, **changes})


def one_of_each() -> list[Base]:
    """A row for each append-only table, after those that it refers to."""
    return [
        a_delivery("one"),
        a_case("case-1", "one"),
        Decision(
            id="decision-1",
            case_id="case-1",
            action="release",
            reviewer="olga",
            reason="fine",
            decided_at=NOW,
        ),
        a_snapshot("snapshot-1", version=1),
        SnapshotDelivery(snapshot_id="snapshot-1", delivery_id="one"),
        a_run("run-1"),
        a_model("model-1", "run-1"),
        a_promotion("promotion-1", "model-1"),
        an_entry(0),
        LedgerSubject(position=0, name="one", role="subject"),
        LedgerCheckpoint(size=1, root_hash=DIGEST, edge=[], note="checkpoint"),
    ]
