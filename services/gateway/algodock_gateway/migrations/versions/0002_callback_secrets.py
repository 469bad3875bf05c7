"""Callback secrets that were replaced and are valid for a while beside the new one."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

RETIRED = """
CREATE TABLE retired_callback_secrets (
    key_id uuid NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    secret bytea NOT NULL,
    retired_at timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz NOT NULL,
    PRIMARY KEY (key_id, retired_at)
)
"""


def upgrade() -> None:
    """Add them."""
    op.execute(RETIRED)
    op.execute("COMMENT ON COLUMN retired_callback_secrets.secret IS 'AES-GCM, with a key from SECRET_KEY'")
    op.execute("ALTER TABLE api_keys ADD COLUMN callback_secret_changed_at timestamptz NOT NULL DEFAULT now()")
    op.execute("UPDATE api_keys SET callback_secret_changed_at = created_at")


def downgrade() -> None:
    """Forget them: only the newest of each key is valid."""
    op.execute("ALTER TABLE api_keys DROP COLUMN callback_secret_changed_at")
    op.execute("DROP TABLE retired_callback_secrets")
