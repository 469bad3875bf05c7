"""The deployer's first tables: services, releases, builds, instances, operations, groups."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from algodock_common.database import create_messaging_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

RELEASE_STATES = "'queued','building','starting','checking','live','draining','kept','failed','superseded'"
STATUSES = "'building','starting','running','degraded','stopping','stopped','failed'"


def _text(name: str, default: str | None = "") -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=default is None, server_default=default)


def _time(name: str, *, now: bool = False) -> sa.Column[datetime]:
    default = sa.func.now() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), nullable=not now, server_default=default)


def _service() -> sa.Column[UUID]:
    return sa.Column("service_id", sa.Uuid, sa.ForeignKey("algorithm_services.id", ondelete="CASCADE"), nullable=False)


def upgrade() -> None:
    """Make all tables."""
    create_messaging_tables(op)
    op.create_table(
        "service_groups",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        _time("created_at", now=True),
    )
    op.create_table(
        "algorithm_services",
        sa.Column("id", sa.Uuid, primary_key=True, comment="the algorithm"),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("number", sa.BigInteger, sa.Identity(always=True), nullable=False, unique=True),
        sa.Column("group_id", sa.Uuid, sa.ForeignKey("service_groups.id", ondelete="SET NULL")),
        _text("owner"),
        sa.Column("desired", sa.Text, sa.CheckConstraint("desired IN ('running','stopped','removed')"),
                  nullable=False, server_default="running"),
        sa.Column("status", sa.Text, sa.CheckConstraint(f"status IN ({STATUSES})"),
                  nullable=False, server_default="building"),
        sa.Column("health", sa.Text, sa.CheckConstraint("health IN ('healthy','unhealthy','unknown')"),
                  nullable=False, server_default="unknown"),
        _text("message"),
        sa.Column("live_release_id", sa.Uuid),
        _time("created_at", now=True),
        _time("updated_at", now=True),
    )  # fmt: skip
    op.create_table(
        "service_claims",
        sa.Column("service_id", sa.Uuid, sa.ForeignKey("algorithm_services.id", ondelete="CASCADE"), primary_key=True),
        _text("node_id", None),
        _time("claimed_until"),
        comment="locked by claimers only, so that skipping a locked row never skips work",
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Uuid, primary_key=True),
        _service(),
        _text("algorithm"),
        sa.Column("commit", sa.Text, nullable=False),
        _text("ref"),
        _text("message"),
        _text("pusher"),
        _text("bundle_key", None),
        _text("problem", None),
        sa.Column("state", sa.Text, sa.CheckConstraint(f"state IN ({RELEASE_STATES})"),
                  nullable=False, server_default="queued"),
        _text("reason"),
        sa.Column("steps", JSONB, nullable=False, server_default="[]"),
        sa.Column("plan", JSONB),
        _text("environment_key", None),
        _text("schema_key", None),
        _text("samples_key", None),
        sa.Column("config_version", sa.BigInteger, nullable=False, server_default="0"),
        _text("traceparent", None),
        _time("created_at", now=True),
        _time("live_at"),
        _time("cleaned_at"),
    )  # fmt: skip
    op.create_index("releases_by_service", "releases", ["service_id", "created_at"])
    op.create_index("releases_unfinished", "releases", ["service_id"],
                    postgresql_where=sa.text("state IN ('queued','building','starting','checking')"))  # fmt: skip
    op.create_table(
        "builds",
        sa.Column("release_id", sa.Uuid, sa.ForeignKey("releases.id", ondelete="CASCADE"), primary_key=True),
        _text("node_id"),
        _text("lock_key"),
        _text("log_key"),
        sa.Column("outcome", sa.Text, sa.CheckConstraint("outcome IN ('running','succeeded','failed')"),
                  nullable=False, server_default="running"),
        _time("started_at", now=True),
        _time("ended_at"),
    )  # fmt: skip
    op.create_table(
        "instances",
        sa.Column("id", sa.Uuid, primary_key=True, comment="the registry's instance"),
        _service(),
        sa.Column("release_id", sa.Uuid, sa.ForeignKey("releases.id", ondelete="CASCADE"), nullable=False),
        _text("algorithm"),
        sa.Column("index", sa.Integer, nullable=False),
        _text("node_id"),
        _text("host"),
        sa.Column("port", sa.Integer, nullable=False),
        _text("base_url"),
        sa.Column("program", sa.Text, nullable=False, unique=True),
        sa.Column("phase", sa.Text, sa.CheckConstraint("phase IN ('starting','serving','draining')"), nullable=False),
        sa.Column("epoch", sa.BigInteger),
        _text("seen"),
        _text("reported"),
        _time("created_at", now=True),
    )
    op.create_index("instances_by_service", "instances", ["service_id"])
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid, primary_key=True),
        _service(),
        _text("action"),
        sa.Column("arguments", JSONB, nullable=False, server_default="{}"),
        _text("actor"),
        sa.Column("state", sa.Text, sa.CheckConstraint("state IN ('queued','running','done','failed')"),
                  nullable=False, server_default="queued"),
        _text("reason"),
        _text("traceparent", None),
        _time("created_at", now=True),
        _time("finished_at"),
    )  # fmt: skip
    op.create_index("operations_unfinished", "operations", ["service_id"],
                    postgresql_where=sa.text("state IN ('queued','running')"))  # fmt: skip


def downgrade() -> None:
    """Drop what this revision made."""
    for table in (
        "operations",
        "instances",
        "builds",
        "releases",
        "service_claims",
        "algorithm_services",
        "service_groups",
    ):
        op.drop_table(table)
    for table in ("inbox", "outbox"):
        op.drop_table(table)
