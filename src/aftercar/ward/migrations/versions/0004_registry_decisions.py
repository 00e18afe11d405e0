"""What people decided on drafted answers of registry forms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table, which is only added to."""
    op.create_table(
        "decision",
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("said_at", sa.DateTime(), nullable=False),
        sa.Column("rater", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("infusion", sa.Integer(), nullable=False),
        sa.Column("form", sa.String(length=32), nullable=False),
        sa.Column("revision", sa.String(length=32), nullable=False),
        sa.Column("period", sa.String(length=16), nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("drafted", sa.Text(), nullable=True),
        sa.Column("basis", sa.String(length=64), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["patient.subject_id"], name=op.f("fk_decision_subject_id")),
        sa.PrimaryKeyConstraint("n", name=op.f("pk_decision")),
    )
    op.create_index(op.f("ix_decision_subject_id_form"), "decision", ["subject_id", "form"], unique=False)
    if op.get_context().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER decision_no_{verb.lower()} BEFORE {verb} ON decision BEGIN SELECT RAISE(ABORT, 'decision is only added to'); END"
            )
    else:
        op.execute(
            "CREATE TRIGGER decision_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON decision FOR EACH STATEMENT EXECUTE FUNCTION only_added_to()"
        )
