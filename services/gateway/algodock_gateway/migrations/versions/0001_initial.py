"""Algorithms, their versions, API keys, operations and calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from algodock_common.database import create_messaging_tables

revision = "0001"
down_revision = None

ALGORITHM_STATES = ("created", "changed", "archived")
OPERATION_STATES = ("accepted", "succeeded", "failed")
ACTIONS = ("start", "stop", "restart", "remove", "rollback")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else sa.func.now()
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    """Create every table."""
    create_messaging_tables(op)
    op.create_table(
        "algorithms",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("state", sa.Text, nullable=False, server_default="created"),
        sa.Column("owner", sa.Text, nullable=False, comment="the name of the API key's owner who made it"),
        sa.Column("clone_url", sa.Text, nullable=False, server_default="", comment="empty: it has no repository"),
        _time("created_at"),
        _time("changed_at"),
        sa.CheckConstraint(f"state IN {ALGORITHM_STATES}", name="algorithms_state"),
        sa.CheckConstraint("name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'", name="algorithms_name"),
    )
    op.create_table(
        "algorithm_versions",
        sa.Column("release_id", sa.Uuid, primary_key=True),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("config_version", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("schema_key", sa.Text, comment="object store: the release's own OpenAPI schema"),
        sa.Column("samples_key", sa.Text, comment="object store: its samples"),
        sa.Column("limits", JSONB, nullable=False),
        _time("created_at"),
        _time("changed_at"),
        _time("live_at", nullable=True),
    )
    op.create_index("algorithm_versions_of", "algorithm_versions", ["algorithm_id", sa.text("release_id DESC")])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True, comment="SHA-256 of the key"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("roles", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("callback_secret", sa.LargeBinary, nullable=False, comment="AES-GCM, with a key from SECRET_KEY"),
        _time("created_at"),
        _time("revoked_at", nullable=True),
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("arguments", JSONB, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="accepted"),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        _time("created_at"),
        _time("finished_at", nullable=True),
        sa.CheckConstraint(f"action IN {ACTIONS}", name="operations_action"),
        sa.CheckConstraint(f"state IN {OPERATION_STATES}", name="operations_state"),
    )
    op.create_index("operations_of", "operations", ["algorithm_id", sa.text("id DESC")])
    op.create_table(
        "algorithm_calls",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False, comment="empty: there is none of the name that was called"),
        sa.Column("algorithm_id", sa.Uuid),
        sa.Column("release_id", sa.Uuid),
        sa.Column("instance_id", sa.Uuid),
        sa.Column("key_id", sa.Uuid),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False, comment="499: the caller left"),
        sa.Column("error", sa.Text),
        sa.Column("bytes_in", sa.BigInteger, nullable=False),
        sa.Column("bytes_out", sa.BigInteger, nullable=False),
        sa.Column("trace_id", sa.Text),
    )
    # Rows come in the order of their times: a few pages of index instead of one entry a call.
    op.create_index("algorithm_calls_by_time", "algorithm_calls", ["started_at"], postgresql_using="brin")


def downgrade() -> None:
    """Drop nothing: the first revision has nothing before it."""
