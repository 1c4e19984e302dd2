"""Indices by which long lists are read page by page, and the source of each case among its own columns."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NEW = {
    "ix_delivery_seen": ("delivery", ["dataset", "first_seen", "id"]),
    "ix_delivery_state": ("delivery", ["dataset", "state", "first_seen", "id"]),
    "ix_delivery_source": ("delivery", ["dataset", "source", "first_seen", "id"]),
    "ix_delivery_counts": ("delivery", ["dataset", "state", "verdict", "source"]),
    "ix_delivery_publisher": ("delivery", ["publisher", "first_seen"]),
    "ix_finding_subject": ("finding", ["subject_id", "check"]),
    "ix_case_opened": ("case", ["dataset", "status", "opened_at", "id"]),
    "ix_case_due": ("case", ["dataset", "status", "expires_at", "id"]),
    "ix_case_rows": ("case", ["dataset", "status", "rows", "id"]),
    "ix_case_source": ("case", ["dataset", "source", "status", "opened_at", "id"]),
    "ix_case_counts": ("case", ["dataset", "status", "kind", "blocking", "source"]),
    "ix_run_finished": ("run", ["dataset", "finished_at", "id"]),
    "ix_model_made": ("model", ["dataset", "made_at", "id"]),
}
# Beginnings of the new ones: they would only be kept up to date.
_OLD = {
    "ix_delivery_source": ("delivery", ["dataset", "source"]),
    "ix_delivery_dataset": ("delivery", ["dataset"]),
    "ix_case_dataset": ("case", ["dataset"]),
    "ix_case_status": ("case", ["status"]),
    "ix_run_dataset": ("run", ["dataset"]),
    "ix_model_dataset": ("model", ["dataset"]),
}


def upgrade() -> None:
    op.add_column("case", sa.Column("source", sa.String(length=64), nullable=False, server_default=""))
    op.execute(
        'UPDATE "case" SET source = (SELECT delivery.source FROM delivery WHERE delivery.id = "case".delivery_id)'
    )
    for name, (table, _) in _OLD.items():
        op.drop_index(name, table_name=table)
    for name, (table, columns) in _NEW.items():
        op.create_index(name, table, columns)


def downgrade() -> None:
    for name, (table, _) in _NEW.items():
        op.drop_index(name, table_name=table)
    op.drop_column("case", "source")
    for name, (table, columns) in _OLD.items():
        op.create_index(name, table, columns)
