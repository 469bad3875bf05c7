"""Who made a group of services."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it."""
    op.execute("ALTER TABLE service_groups ADD COLUMN owner text NOT NULL DEFAULT ''")
    op.execute("CREATE INDEX algorithm_services_of_group ON algorithm_services (group_id) WHERE group_id IS NOT NULL")


def downgrade() -> None:
    """Forget it."""
    op.execute("DROP INDEX algorithm_services_of_group")
    op.execute("ALTER TABLE service_groups DROP COLUMN owner")
