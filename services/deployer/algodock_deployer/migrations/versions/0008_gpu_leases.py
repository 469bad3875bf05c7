"""Which instance has which GPU."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table; a lease never outlives its instance's row, and a whole device is leased once."""
    op.create_table(
        "gpu_leases",
        sa.Column("instance_id", sa.Uuid, sa.ForeignKey("instances.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("device", sa.Text, primary_key=True, comment="the device's UUID"),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("share", sa.Integer, sa.CheckConstraint("share BETWEEN 1 AND 1000"), nullable=False,
                  comment="thousandths of the device"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )  # fmt: skip
    op.create_index(
        "gpu_leases_whole", "gpu_leases", ["node_id", "device"], unique=True, postgresql_where=sa.text("share = 1000")
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_table("gpu_leases")
