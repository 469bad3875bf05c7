"""The tables of the schema ``gitea_sync``."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

__all__ = ["MIGRATIONS", "SCHEMA", "algorithm_repositories", "gitea_configs", "metadata", "webhook_deliveries"]

SCHEMA = "gitea_sync"
MIGRATIONS = "algodock_gitea_sync.migrations"

metadata = sa.MetaData()


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


algorithm_repositories = sa.Table(
    "algorithm_repositories",
    metadata,
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
    sa.Index("algorithm_repositories_full_name", "full_name"),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", UUID, primary_key=True),
    sa.Column("repository_id", UUID, sa.ForeignKey("algorithm_repositories.id", ondelete="CASCADE"), nullable=False),
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
    sa.Index("webhook_deliveries_last_received_at", "last_received_at"),
)

gitea_configs = sa.Table(
    "gitea_configs",
    metadata,
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
    sa.Index("gitea_configs_one_active", "active", unique=True, postgresql_where=sa.text("active")),
)
