"""Rules by which services are scaled, and when they were last busy and scaled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("algorithm_services", sa.Column("scale_rule", JSONB(none_as_null=True)))
    op.add_column("algorithm_services", sa.Column("busy_at", sa.DateTime(timezone=True)))
    op.add_column("algorithm_services", sa.Column("scaled_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Forget the rules."""
    for column in ("scale_rule", "busy_at", "scaled_at"):
        op.drop_column("algorithm_services", column)
