"""A statement counts from a version of its record on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; nothing was said before."""
    op.add_column("statement", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
