"""What happened to each service, in order, and by whom."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIMELINE = """
CREATE TABLE service_timeline (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    service_id uuid NOT NULL REFERENCES algorithm_services ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL,
    ok boolean NOT NULL,
    actor text NOT NULL,
    release_id uuid,
    commit text NOT NULL,
    detail text NOT NULL
)
"""


def upgrade() -> None:
    """Add it."""
    op.execute(TIMELINE)
    op.execute("CREATE INDEX service_timeline_of ON service_timeline (service_id, number DESC)")


def downgrade() -> None:
    """Forget it."""
    op.execute("DROP TABLE service_timeline")
