"""Instances, port leases and the routing epoch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from algodock_common.database import create_messaging_tables

revision = "0001"
down_revision = None

STATES = ("starting", "ready", "silent", "draining", "gone")


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    default = None if nullable else sa.func.now()
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def upgrade() -> None:
    """Create every table."""
    create_messaging_tables(op)
    op.create_table(
        "instances",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("algorithm_id", sa.Uuid, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("release_id", sa.Uuid, comment="none: registered by itself"),
        sa.Column("commit", sa.Text, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False, comment="its place among the instances of its release"),
        sa.Column("node_id", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("health_path", sa.Text, nullable=False),
        sa.Column("sends_heartbeats", sa.Boolean, nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("limits", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False, comment="the routing epoch of its last change"),
        sa.Column("trace", sa.Text, comment="traceparent of the deploy that it belongs to"),
        sa.Column("missed", sa.SmallInteger, nullable=False, server_default="0", comment="looks in vain, in a row"),
        sa.Column("status", sa.Text, nullable=False, server_default="", comment="what it said with its last beat"),
        sa.Column("metrics", JSONB, nullable=False, server_default="{}"),
        _time("look_at", nullable=True),
        _time("seen_at", nullable=True),
        _time("created_at"),
        _time("changed_at"),
        sa.CheckConstraint(f"state IN {STATES}", name="instances_state"),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name="instances_port"),
    )
    present = sa.text("state <> 'gone'")
    op.create_index("instances_present", "instances", ["algorithm"], postgresql_where=present)
    op.create_index(
        "instances_to_look_at",
        "instances",
        ["look_at"],
        postgresql_where=sa.text("state IN ('ready', 'silent')"),
    )
    op.create_index(
        "instances_elsewhere",
        "instances",
        ["algorithm", "base_url"],
        unique=True,
        postgresql_where=sa.text("release_id IS NULL AND state <> 'gone'"),
    )
    op.create_table(
        "port_leases",
        sa.Column("node_id", sa.Text, primary_key=True),
        sa.Column("port", sa.Integer, primary_key=True),
        sa.Column(
            "instance_id",
            sa.Uuid,
            sa.ForeignKey("instances.id", ondelete="CASCADE"),
            nullable=False,
            unique=True,
        ),
        sa.Column("pinned", sa.Boolean, nullable=False),
        _time("leased_at"),
    )
    op.create_table(
        "port_cursors",
        sa.Column("node_id", sa.Text, primary_key=True),
        sa.Column("last_port", sa.Integer, comment="the port leased last; the next search begins behind it"),
    )
    epoch = op.create_table(
        "routing_epoch",
        sa.Column("id", sa.SmallInteger, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name="routing_epoch_one_row"),
    )
    op.bulk_insert(epoch, [{"id": 1, "epoch": 0}])


def downgrade() -> None:
    """Drop every table."""
    for table in ("port_leases", "port_cursors", "routing_epoch", "instances", "outbox", "inbox"):
        op.drop_table(table)
