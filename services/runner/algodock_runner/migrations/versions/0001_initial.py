"""Tasks, their spent attempts, callbacks, the algorithms that are known, and dead letters.

Whatever is queued, waiting or running is found through partial indexes: their size follows the
work that is open, not the tasks that ended.
"""

from __future__ import annotations

from alembic import op

from algodock_common.database import create_messaging_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TASKS = """
CREATE TABLE tasks (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    algorithm text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('accepted', 'queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    priority smallint NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    lost integer NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL,
    timeout_s double precision,
    not_before timestamptz,
    deadline timestamptz,
    expires_at timestamptz NOT NULL,
    wakes_at timestamptz,
    worker_id text,
    lease_until timestamptz,
    idempotency_key text,
    request_hash bytea NOT NULL,
    body bytea,
    body_key text,
    content_type text NOT NULL,
    callback_url text,
    metadata jsonb NOT NULL,
    traceparent text,
    instance_id uuid,
    release_id uuid,
    commit text NOT NULL DEFAULT '',
    result_key text,
    result_content_type text,
    result_bytes bigint,
    result_inline bytea,
    error jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    queued_at timestamptz,
    claimed_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    cancel_requested_at timestamptz,
    CHECK ((body IS NULL) <> (body_key IS NULL)),
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'succeeded') = (result_key IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500)
"""

COMMENTS = {
    "attempt": "claims so far; the fence: whoever writes must name the one it holds",
    "failures": "attempts that were spent, of max_attempts",
    "lost": "leases that ran out",
    "expires_at": "when it expires unless a worker has it: the deadline, or the longest wait",
    "wakes_at": "set while it waits for not_before or for its next attempt; no worker takes it then",
    "body_key": "where the input lies when it is too large for the row",
    "result_inline": "a small JSON result: the same bytes that the object has",
    "claimed_at": "start of this attempt; started_at is that of the first",
}

INDEXES = (
    "CREATE UNIQUE INDEX tasks_idempotency ON tasks (owner, idempotency_key) WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX tasks_queue ON tasks (algorithm, priority DESC, id) WHERE state = 'queued' AND wakes_at IS NULL",
    "CREATE INDEX tasks_waking ON tasks (wakes_at) WHERE wakes_at IS NOT NULL",
    "CREATE INDEX tasks_expiring ON tasks (expires_at) WHERE state IN ('accepted', 'queued')",
    "CREATE INDEX tasks_running ON tasks (algorithm) WHERE state = 'running'",
    "CREATE INDEX tasks_cancelling ON tasks (id) WHERE cancel_requested_at IS NOT NULL AND finished_at IS NULL",
    "CREATE INDEX tasks_of_owner ON tasks (owner, id)",
    "CREATE INDEX tasks_of_algorithm ON tasks (algorithm, id)",
)

ATTEMPTS = """
CREATE TABLE attempts (
    task_id uuid NOT NULL REFERENCES tasks ON DELETE CASCADE,
    attempt integer NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('failed', 'not started', 'handed back', 'lost')),
    worker_id text,
    instance_id uuid,
    release_id uuid,
    commit text NOT NULL DEFAULT '',
    error jsonb,
    started_at timestamptz,
    ended_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (task_id, attempt)
)
"""

CALLBACKS = """
CREATE TABLE callbacks (
    task_id uuid PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
    owner text NOT NULL,
    url text NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed', 'disabled')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    last_status integer,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
)
"""

ALGORITHMS = """
CREATE TABLE algorithms (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE,
    state text NOT NULL,
    owner text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL DEFAULT now()
)
"""

DEAD_LETTERS = """
CREATE TABLE dead_letters (
    id uuid PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    source text NOT NULL,
    origin_topic text NOT NULL,
    origin_partition integer NOT NULL,
    origin_offset bigint NOT NULL,
    consumer text NOT NULL,
    message_key text,
    value bytea NOT NULL,
    headers jsonb NOT NULL,
    error_type text NOT NULL,
    reason text NOT NULL,
    attempts integer NOT NULL,
    traceparent text,
    received_at timestamptz,
    stored_at timestamptz NOT NULL DEFAULT now()
)
"""


def upgrade() -> None:
    """Create everything."""
    create_messaging_tables(op)
    for table in (TASKS, ATTEMPTS, CALLBACKS, ALGORITHMS, DEAD_LETTERS):
        op.execute(table)
    for column, comment in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN tasks.{column} IS '{comment}'")
    for index in INDEXES:
        op.execute(index)
    op.execute("COMMENT ON TABLE attempts IS 'attempts that did not end their task; the last one is in its row'")
    op.execute("CREATE INDEX callbacks_due ON callbacks (next_at) WHERE state = 'pending'")
    op.execute("CREATE INDEX dead_letters_by_time ON dead_letters (stored_at)")


def downgrade() -> None:
    """Drop everything."""
    for table in ("dead_letters", "algorithms", "callbacks", "attempts", "tasks", "outbox", "inbox"):
        op.execute(f"DROP TABLE {table}")
