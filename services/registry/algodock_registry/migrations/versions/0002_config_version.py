"""Which version of its release's configuration an instance runs with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; instances that are there say it when their release is told of again."""
    op.add_column("instances", sa.Column("config_version", sa.BigInteger, comment="of its release; none: not told yet"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("instances", "config_version")
