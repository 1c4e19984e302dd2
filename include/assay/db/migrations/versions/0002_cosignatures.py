"""Witnesses' cosignatures on the ledger's checkpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ledger_cosignature",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("witness", sa.String(length=256), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["ledger_checkpoint.size"]),
        sa.PrimaryKeyConstraint("size", "witness", "key_id"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER ledger_cosignature_append_only BEFORE UPDATE OR DELETE ON ledger_cosignature "
            "FOR EACH ROW EXECUTE FUNCTION assay_append_only()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER ledger_cosignature_no_{action.lower()} BEFORE {action} ON ledger_cosignature "
            "BEGIN SELECT RAISE(ABORT, 'ledger_cosignature is append-only'); END"
        )


def downgrade() -> None:
    op.drop_table("ledger_cosignature")
