"""What is remembered of an instance's process: its exits in a row, and until when it waits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; of processes that run now, nothing is known yet."""
    for column in (
        sa.Column("pid", sa.Integer, nullable=False, server_default="0"),
        sa.Column("exits", sa.Integer, nullable=False, server_default="0"),
        sa.Column("up_since", sa.DateTime(timezone=True)),
        sa.Column("hold", sa.Text, sa.CheckConstraint("hold IN ('','delay','stopped')"),
                  nullable=False, server_default=""),
        sa.Column("hold_until", sa.DateTime(timezone=True)),
        sa.Column("why", sa.Text, nullable=False, server_default=""),
    ):  # fmt: skip
        op.add_column("instances", column)


def downgrade() -> None:
    """Drop them."""
    for name in ("pid", "exits", "up_since", "hold", "hold_until", "why"):
        op.drop_column("instances", name)
