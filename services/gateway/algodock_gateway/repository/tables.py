"""The gateway's tables, as its SQL speaks of them; the migrations make them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

__all__ = ["algorithm_calls", "algorithm_versions", "algorithms", "api_keys", "batches", "operations"]

_metadata = sa.MetaData()
_time = sa.DateTime(timezone=True)

algorithms = sa.Table(
    "algorithms",
    _metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("clone_url", sa.Text),
    sa.Column("limits", JSONB),
    sa.Column("created_at", _time),
    sa.Column("changed_at", _time),
)

algorithm_versions = sa.Table(
    "algorithm_versions",
    _metadata,
    sa.Column("release_id", sa.Uuid, primary_key=True),
    sa.Column("algorithm_id", sa.Uuid),
    sa.Column("commit", sa.Text),
    sa.Column("config_version", sa.Integer),
    sa.Column("state", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("schema_key", sa.Text),
    sa.Column("samples_key", sa.Text),
    sa.Column("limits", JSONB),
    sa.Column("created_at", _time),
    sa.Column("changed_at", _time),
    sa.Column("live_at", _time),
)

api_keys = sa.Table(
    "api_keys",
    _metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("digest", sa.LargeBinary),
    sa.Column("name", sa.Text),
    sa.Column("roles", sa.ARRAY(sa.Text)),
    sa.Column("callback_secret", sa.LargeBinary),
    sa.Column("created_at", _time),
    sa.Column("revoked_at", _time),
)

operations = sa.Table(
    "operations",
    _metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("algorithm_id", sa.Uuid),
    sa.Column("action", sa.Text),
    sa.Column("arguments", JSONB),
    sa.Column("actor", sa.Text),
    sa.Column("state", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("created_at", _time),
    sa.Column("finished_at", _time),
)

batches = sa.Table(
    "batches",
    _metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("action", sa.Text),
    sa.Column("actor", sa.Text),
    sa.Column("results", JSONB),
    sa.Column("created_at", _time),
)

algorithm_calls = sa.Table(
    "algorithm_calls",
    _metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("started_at", _time),
    sa.Column("duration_us", sa.BigInteger),
    sa.Column("algorithm", sa.Text),
    sa.Column("algorithm_id", sa.Uuid),
    sa.Column("release_id", sa.Uuid),
    sa.Column("instance_id", sa.Uuid),
    sa.Column("key_id", sa.Uuid),
    sa.Column("method", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("status", sa.SmallInteger),
    sa.Column("error", sa.Text),
    sa.Column("bytes_in", sa.BigInteger),
    sa.Column("bytes_out", sa.BigInteger),
    sa.Column("trace_id", sa.Text),
)
