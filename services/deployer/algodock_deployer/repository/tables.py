"""The deployer's tables as SQLAlchemy knows them; Alembic makes them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

__all__ = [
    "Said",
    "builds",
    "canaries",
    "claims",
    "gpu_leases",
    "instances",
    "operations",
    "releases",
    "service_groups",
    "service_secrets",
    "services",
    "storable",
    "timeline",
]


def storable(text: str) -> str:
    """Return a text that PostgreSQL can keep: a zero byte, which it stores in none, is a replacement character then."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


class Said(sa.TypeDecorator[str]):
    """A text that programs and tools had a part in: whatever they wrote, the row that tells of it can be written."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:  # noqa: ARG002  # SQLAlchemy's
        """Return what is stored."""
        return None if value is None else storable(value)


metadata = sa.MetaData()
_time = sa.DateTime(timezone=True)

service_groups = sa.Table(
    "service_groups",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("created_at", _time),
)

services = sa.Table(
    "algorithm_services",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("number", sa.BigInteger, sa.Identity(always=True)),
    sa.Column("group_id", sa.Uuid),
    sa.Column("owner", sa.Text),
    sa.Column("desired", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("health", sa.Text),
    sa.Column("message", Said),
    sa.Column("live_release_id", sa.Uuid),
    sa.Column("instances", sa.Integer),
    sa.Column("scale_rule", JSONB(none_as_null=True)),
    sa.Column("busy_at", _time),
    sa.Column("scaled_at", _time),
    sa.Column("created_at", _time),
    sa.Column("updated_at", _time),
)

claims = sa.Table(
    "service_claims",
    metadata,
    sa.Column("service_id", sa.Uuid, primary_key=True),
    sa.Column("node_id", sa.Text),
    sa.Column("claimed_until", _time),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("service_id", sa.Uuid),
    sa.Column("algorithm", sa.Text),
    sa.Column("commit", sa.Text),
    sa.Column("ref", sa.Text),
    sa.Column("message", Said),
    sa.Column("pusher", sa.Text),
    sa.Column("bundle_key", sa.Text),
    sa.Column("problem", Said),
    sa.Column("state", sa.Text),
    sa.Column("reason", Said),
    sa.Column("steps", JSONB),
    sa.Column("plan", JSONB),
    sa.Column("environment_key", sa.Text),
    sa.Column("schema_key", sa.Text),
    sa.Column("samples_key", sa.Text),
    sa.Column("config_version", sa.BigInteger),
    sa.Column("traceparent", sa.Text),
    sa.Column("created_at", _time),
    sa.Column("live_at", _time),
    sa.Column("cleaned_at", _time),
    sa.Column("watched_until", _time),
)

canaries = sa.Table(
    "canaries",
    metadata,
    sa.Column("service_id", sa.Uuid, primary_key=True),
    sa.Column("commit", sa.Text, primary_key=True),
    sa.Column("percent", sa.Integer),
    sa.Column("asked_at", _time),
)

builds = sa.Table(
    "builds",
    metadata,
    sa.Column("release_id", sa.Uuid, primary_key=True),
    sa.Column("node_id", sa.Text),
    sa.Column("lock_key", sa.Text),
    sa.Column("log_key", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("started_at", _time),
    sa.Column("ended_at", _time),
)

instances = sa.Table(
    "instances",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("service_id", sa.Uuid),
    sa.Column("release_id", sa.Uuid),
    sa.Column("algorithm", sa.Text),
    sa.Column("index", sa.Integer),
    sa.Column("node_id", sa.Text),
    sa.Column("host", sa.Text),
    sa.Column("port", sa.Integer),
    sa.Column("base_url", sa.Text),
    sa.Column("program", sa.Text),
    sa.Column("phase", sa.Text),
    sa.Column("epoch", sa.BigInteger),
    sa.Column("seen", sa.Text),
    sa.Column("reported", sa.Text),
    sa.Column("pid", sa.Integer),
    sa.Column("exits", sa.Integer),
    sa.Column("up_since", _time),
    sa.Column("hold", sa.Text),
    sa.Column("hold_until", _time),
    sa.Column("why", Said),
    sa.Column("created_at", _time),
)

gpu_leases = sa.Table(
    "gpu_leases",
    metadata,
    sa.Column("instance_id", sa.Uuid, primary_key=True),
    sa.Column("device", sa.Text, primary_key=True),
    sa.Column("node_id", sa.Text),
    sa.Column("share", sa.Integer),
    sa.Column("created_at", _time),
)

service_secrets = sa.Table(
    "service_secrets",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("algorithm_id", sa.Uuid),
    sa.Column("name", sa.Text),
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("size", sa.Integer),
    sa.Column("set_by", sa.Text),
    sa.Column("set_at", _time),
)

timeline = sa.Table(
    "service_timeline",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("service_id", sa.Uuid),
    sa.Column("at", _time),
    sa.Column("kind", sa.Text),
    sa.Column("ok", sa.Boolean),
    sa.Column("actor", sa.Text),
    sa.Column("release_id", sa.Uuid),
    sa.Column("commit", sa.Text),
    sa.Column("detail", Said),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("service_id", sa.Uuid),
    sa.Column("action", sa.Text),
    sa.Column("arguments", JSONB),
    sa.Column("actor", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("reason", Said),
    sa.Column("traceparent", sa.Text),
    sa.Column("created_at", _time),
    sa.Column("finished_at", _time),
)
