"""What an algorithm's owner limits its tasks to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "algorithms",
        sa.Column(
            "limits", JSONB, nullable=False, server_default="{}", comment="queue, result_ttl_s, result_quota_bytes"
        ),
    )


def downgrade() -> None:
    """Forget the limits."""
    op.drop_column("algorithms", "limits")
