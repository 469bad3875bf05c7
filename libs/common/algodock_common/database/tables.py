"""The two tables that every service's schema has for its events: outbox and inbox."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["create_messaging_tables", "inbox", "messaging_metadata", "outbox"]

messaging_metadata = sa.MetaData()

outbox = sa.Table(
    "outbox",
    messaging_metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True, comment="the event's sequence"),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("event", sa.LargeBinary, nullable=False, comment="the CloudEvent as JSON, without its sequence"),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.Column("published_at", sa.DateTime(timezone=True), comment="empty: the broker did not confirm it yet"),
    sa.Index("outbox_waiting", "id", postgresql_where=sa.text("published_at IS NULL")),
    sa.Index("outbox_published", "published_at"),
)

inbox = sa.Table(
    "inbox",
    messaging_metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("applied_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
)


def create_messaging_tables(op: Any) -> None:
    """Create both tables in a service's first migration; ``op`` is ``alembic.op``."""
    messaging_metadata.create_all(op.get_bind(), checkfirst=False)
