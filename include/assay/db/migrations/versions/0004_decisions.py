"""Cases that were split, who may decide them and where they did, and what people were told of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("case", sa.Column("terms", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column("case", sa.Column("parent_id", sa.String(length=80), nullable=True))
    op.create_index(op.f("ix_case_parent_id"), "case", ["parent_id"])
    op.add_column("decision", sa.Column("via", sa.String(length=16), nullable=False, server_default=""))
    op.create_table(
        "notification",
        sa.Column("statement_id", sa.String(length=80), nullable=False),
        sa.Column("target", sa.String(length=40), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("statement_id", "target"),
    )
    op.create_index(op.f("ix_notification_position"), "notification", ["position"])
    op.create_index(op.f("ix_notification_state"), "notification", ["state"])


def downgrade() -> None:
    op.drop_table("notification")
    op.drop_column("decision", "via")
    op.drop_index(op.f("ix_case_parent_id"), table_name="case")
    op.drop_column("case", "parent_id")
    op.drop_column("case", "terms")
