"""How many instances a service was scaled to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "algorithm_services",
        sa.Column(
            "instances",
            sa.Integer,
            sa.CheckConstraint("instances BETWEEN 0 AND 64"),
            comment="asked for; none: as many as the manifest says",
        ),
    )


def downgrade() -> None:
    """Forget them."""
    op.drop_column("algorithm_services", "instances")
