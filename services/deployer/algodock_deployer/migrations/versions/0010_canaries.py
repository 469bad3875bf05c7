"""Releases that get some of the calls, and which commits are meant to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

BEFORE = "'queued','building','starting','checking','live','draining','kept','failed','superseded'"


def upgrade() -> None:
    """Allow the state, and make the table."""
    op.drop_constraint("releases_state_check", "releases")
    op.create_check_constraint("releases_state_check", "releases", f"state IN ('canary',{BEFORE})")
    op.create_table(
        "canaries",
        sa.Column("service_id", sa.Uuid, primary_key=True),
        sa.Column("commit", sa.Text, primary_key=True),
        sa.Column("percent", sa.Integer, sa.CheckConstraint("percent BETWEEN 1 AND 99"), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    """End what is a canary, and forget what was meant to be one."""
    op.drop_table("canaries")
    op.execute("UPDATE releases SET state = 'superseded' WHERE state = 'canary'")
    op.drop_constraint("releases_state_check", "releases")
    op.create_check_constraint("releases_state_check", "releases", f"state IN ({BEFORE})")
