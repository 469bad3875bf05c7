"""Secrets of services."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the table; an algorithm may have secrets before its first push."""
    op.create_table(
        "service_secrets",
        sa.Column("id", sa.Uuid, primary_key=True, comment="bound into the encrypted value"),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.Integer, nullable=False, comment="bytes of the value"),
        sa.Column("set_by", sa.Text, nullable=False, server_default=""),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.UniqueConstraint("algorithm_id", "name"),
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_table("service_secrets")
