"""The first schema, with the tables that are only ever added to guarded against change."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Triggers stop a slip of ours or of an administrator's script. They are no defence against an attacker who owns the
# database, who can drop them: the signed Merkle log is.
APPEND_ONLY = (
    "decision",
    "snapshot",
    "snapshot_delivery",
    "promotion",
    "ledger_entry",
    "ledger_subject",
    "ledger_checkpoint",
)


def upgrade() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("publisher", sa.String(length=64), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=False),
        sa.Column("contract_sha256", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=128), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("signed_at", sa.String(length=40), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=True),
        sa.Column("rows", sa.BigInteger(), nullable=True),
        sa.Column("first_seen", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_delivery_dataset"), "delivery", ["dataset"], unique=False)
    op.create_index(op.f("ix_delivery_manifest_sha256"), "delivery", ["manifest_sha256"], unique=False)
    op.create_index("ix_delivery_source", "delivery", ["dataset", "source"], unique=False)
    op.create_table(
        "finding",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("subject_id", sa.String(length=80), nullable=False),
        sa.Column("check", sa.String(length=128), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("found_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id", "subject_id"),
    )
    op.create_table(
        "ledger_checkpoint",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root_hash", sa.String(length=64), nullable=False),
        sa.Column("edge", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "ledger_entry",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("statement_id", sa.String(length=80), nullable=False),
        sa.Column("leaf_hash", sa.String(length=64), nullable=False),
        sa.Column("predicate_type", sa.String(length=128), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("statement_id"),
    )
    op.create_index(op.f("ix_ledger_entry_predicate_type"), "ledger_entry", ["predicate_type"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("snapshot_id", sa.String(length=80), nullable=False),
        sa.Column("contract_sha256", sa.String(length=64), nullable=False),
        sa.Column("backend", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("curve_outcome", sa.String(length=16), nullable=True),
        sa.Column("final_validation_loss", sa.Float(), nullable=True),
        sa.Column("bundle_uri", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.String(length=40), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_run_dataset"), "run", ["dataset"], unique=False)
    op.create_index(op.f("ix_run_snapshot_id"), "run", ["snapshot_id"], unique=False)
    op.create_table(
        "snapshot",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.String(length=80), nullable=True),
        sa.Column("merkle_root", sa.String(length=64), nullable=False),
        sa.Column("manifest_object", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("admitted_at", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_snapshot_dataset"), "snapshot", ["dataset"], unique=False)
    op.create_index("uq_snapshot_version", "snapshot", ["dataset", "version"], unique=True)
    op.create_table(
        "case",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("delivery_id", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("blocking", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_object", sa.String(length=64), nullable=True),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.String(length=40), nullable=False),
        sa.Column("approvals", sa.Integer(), nullable=False),
        sa.Column("on_timeout", sa.String(length=16), nullable=False),
        sa.Column("expires_at", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["delivery.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_case_dataset"), "case", ["dataset"], unique=False)
    op.create_index(op.f("ix_case_delivery_id"), "case", ["delivery_id"], unique=False)
    op.create_index(op.f("ix_case_status"), "case", ["status"], unique=False)
    op.create_table(
        "delivery_file",
        sa.Column("delivery_id", sa.String(length=80), nullable=False),
        sa.Column("path", sa.String(length=512), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["delivery.id"],
        ),
        sa.PrimaryKeyConstraint("delivery_id", "path"),
    )
    op.create_index(op.f("ix_delivery_file_sha256"), "delivery_file", ["sha256"], unique=False)
    op.create_table(
        "ledger_subject",
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["position"],
            ["ledger_entry.position"],
        ),
        sa.PrimaryKeyConstraint("position", "name", "role"),
    )
    op.create_index(op.f("ix_ledger_subject_name"), "ledger_subject", ["name"], unique=False)
    op.create_table(
        "model",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=80), nullable=False),
        sa.Column("snapshot_id", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("bundle_uri", sa.Text(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_model_dataset"), "model", ["dataset"], unique=False)
    op.create_index(op.f("ix_model_run_id"), "model", ["run_id"], unique=False)
    op.create_index(op.f("ix_model_state"), "model", ["state"], unique=False)
    op.create_table(
        "snapshot_delivery",
        sa.Column("snapshot_id", sa.String(length=80), nullable=False),
        sa.Column("delivery_id", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["delivery.id"],
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["snapshot.id"],
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "delivery_id"),
    )
    op.create_index(
        op.f("ix_snapshot_delivery_delivery_id"), "snapshot_delivery", ["delivery_id"], unique=False
    )
    op.create_table(
        "decision",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("case_id", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("reviewer", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["case_id"],
            ["case.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_decision_case_id"), "decision", ["case_id"], unique=False)
    op.create_table(
        "promotion",
        sa.Column("position", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("dataset", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("model_id", sa.String(length=80), nullable=False),
        sa.Column("previous_id", sa.String(length=80), nullable=True),
        sa.Column("by", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"],
            ["model.id"],
        ),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(op.f("ix_promotion_dataset"), "promotion", ["dataset"], unique=False)
    _guard()


def downgrade() -> None:
    # A table's triggers and indices go with it.
    op.drop_table("promotion")
    op.drop_table("decision")
    op.drop_table("snapshot_delivery")
    op.drop_table("model")
    op.drop_table("ledger_subject")
    op.drop_table("delivery_file")
    op.drop_table("case")
    op.drop_table("snapshot")
    op.drop_table("run")
    op.drop_table("ledger_entry")
    op.drop_table("ledger_checkpoint")
    op.drop_table("finding")
    op.drop_table("delivery")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION assay_append_only()")


def _guard() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION assay_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME "
            "USING ERRCODE = 'integrity_constraint_violation'; "
            "END $$"
        )
        for table in APPEND_ONLY:
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION assay_append_only()"
            )
        return
    for table in APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{action.lower()} BEFORE {action} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
