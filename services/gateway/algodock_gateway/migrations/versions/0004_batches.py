"""Commands to many services at once, and what was refused of them at once."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BATCHES = """
CREATE TABLE batches (
    id uuid PRIMARY KEY,
    action text NOT NULL,
    actor text NOT NULL,
    results jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""


def upgrade() -> None:
    """Add them; the deployer says which actions there are, not the table."""
    op.execute(BATCHES)
    op.execute("COMMENT ON COLUMN batches.results IS 'one a service: its operation, or why there is none'")
    op.execute("ALTER TABLE operations DROP CONSTRAINT IF EXISTS operations_action")


def downgrade() -> None:
    """Forget them, and the operations that the table did not know before."""
    op.execute("DELETE FROM operations WHERE action NOT IN ('start', 'stop', 'restart', 'remove', 'rollback')")
    op.execute(
        "ALTER TABLE operations ADD CONSTRAINT operations_action "
        "CHECK (action IN ('start', 'stop', 'restart', 'remove', 'rollback'))"
    )
    op.execute("DROP TABLE batches")
