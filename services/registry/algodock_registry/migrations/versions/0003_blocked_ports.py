"""Ports that programs outside the platform took before ours had them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "blocked_ports",
        sa.Column("node_id", sa.Text, primary_key=True),
        sa.Column("port", sa.Integer, primary_key=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False, comment="leased to nobody before"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("blocked_ports")
