"""The first tables: repositories that deploy, webhook deliveries, Gitea configurations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

from algodock_common.database import create_messaging_tables

revision = "0001"
down_revision = None


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    """Create everything."""
    create_messaging_tables(op)
    op.create_table(
        "algorithm_repositories",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("algorithm_id", UUID, nullable=False, unique=True),
        sa.Column("algorithm", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False, server_default="", comment="the person whose algorithm it is"),
        sa.Column("forge", sa.Text, nullable=False),
        sa.Column("node_id", sa.Text, nullable=True, comment="whose disk holds a built-in repository"),
        sa.Column("full_name", sa.Text, nullable=False, comment="owner/name on the forge"),
        sa.Column("clone_url", sa.Text, nullable=False),
        sa.Column("branch", sa.Text, nullable=False, comment="the one that deploys"),
        sa.Column("secret", sa.LargeBinary, nullable=False, comment="of its webhooks, encrypted"),
        sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("last_seen_commit", sa.Text),
        sa.Column("last_seen_at", sa.DateTime(timezone=True)),
        sa.Column("last_problem", sa.Text, comment="why that commit is no source bundle"),
        sa.Column("polled_at", sa.DateTime(timezone=True)),
        _now("created_at"),
        _now("updated_at"),
        sa.CheckConstraint("forge IN ('builtin', 'gitea', 'git')", name="algorithm_repositories_forge"),
    )
    op.create_index("algorithm_repositories_full_name", "algorithm_repositories", ["full_name"])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", UUID, primary_key=True),
        sa.Column(
            "repository_id", UUID, sa.ForeignKey("algorithm_repositories.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("flavour", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.Text, nullable=False, comment="the forge's; not signed, so only shown"),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("ref", sa.Text, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("pusher", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("commit", sa.Text),
        sa.Column("count", sa.Integer, nullable=False, server_default="1", comment="how often it came"),
        _now("first_received_at"),
        _now("last_received_at"),
        sa.Column("settled_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("repository_id", "event", "ref", "before", "after", name="webhook_deliveries_once"),
    )
    op.create_index("webhook_deliveries_last_received_at", "webhook_deliveries", ["last_received_at"])
    op.create_table(
        "gitea_configs",
        sa.Column("id", UUID, primary_key=True),
        sa.Column("server_url", sa.Text, nullable=False),
        sa.Column("access_token", sa.LargeBinary, nullable=False, comment="encrypted"),
        sa.Column("default_owner", sa.Text, nullable=False),
        sa.Column("repo_prefix", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False, comment="the others are history"),
        sa.Column("server_version", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        _now("created_at"),
        sa.Column("replaced_at", sa.DateTime(timezone=True)),
    )
    op.create_index(
        "gitea_configs_one_active", "gitea_configs", ["active"], unique=True, postgresql_where=sa.text("active")
    )


def downgrade() -> None:
    """Drop everything."""
    for table in ("gitea_configs", "webhook_deliveries", "algorithm_repositories", "inbox", "outbox"):
        op.drop_table(table)
