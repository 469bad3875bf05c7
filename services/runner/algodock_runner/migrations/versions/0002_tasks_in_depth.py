"""Results written behind their rows, versions and reruns, dead letters of tasks, deliveries, limits of algorithms."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TASKS = (
    "ALTER TABLE tasks ADD COLUMN version text",
    "ALTER TABLE tasks ADD COLUMN rerun_of uuid",
    "ALTER TABLE tasks ADD COLUMN config_version bigint",
    "ALTER TABLE attempts ADD COLUMN config_version bigint",
    "ALTER TABLE tasks ADD COLUMN cancel_force boolean NOT NULL DEFAULT false",
    "ALTER TABLE tasks ADD COLUMN result_stored_at timestamptz",
    "ALTER TABLE tasks ADD COLUMN result_expires_at timestamptz",
    "ALTER TABLE tasks ADD COLUMN result_removed_at timestamptz",
    # Until now an object was there before its row said so.
    "UPDATE tasks SET result_stored_at = finished_at WHERE result_key IS NOT NULL",
)

COMMENTS = {
    "version": "the id of a release, or the beginning of its commit: only its instances may serve the task",
    "rerun_of": "the task that this one runs again",
    "config_version": "the version of the configuration that the instance ran with",
    "cancel_force": "restart the instance if the work goes on after the cancel",
    "result_stored_at": "when the object was there; until then the result is answered from result_inline",
    "result_expires_at": "when the result may be removed; infinity: when the quota of its algorithm is used up",
    "result_removed_at": "when the result was removed: by its age, or by the quota of its algorithm",
    "result_inline": "the bytes of the result while its object is not written yet, and after that those of small JSON",
}

INDEXES = (
    "CREATE INDEX tasks_unstored ON tasks (finished_at) WHERE result_key IS NOT NULL AND result_stored_at IS NULL",
    """CREATE INDEX tasks_results_expiring ON tasks (result_expires_at)
        WHERE result_expires_at IS NOT NULL AND result_removed_at IS NULL""",
    """CREATE INDEX tasks_results_limited ON tasks (algorithm, id)
        WHERE result_expires_at IS NOT NULL AND result_removed_at IS NULL""",
    "CREATE INDEX tasks_body_key ON tasks (body_key) WHERE body_key IS NOT NULL",
)

DEAD_LETTERS = (
    "ALTER TABLE dead_letters ADD COLUMN task_id uuid UNIQUE REFERENCES tasks ON DELETE CASCADE",
    "ALTER TABLE dead_letters ADD COLUMN owner text",
    "ALTER TABLE dead_letters ADD COLUMN algorithm text",
    "ALTER TABLE dead_letters ADD COLUMN replayed_at timestamptz",
    "ALTER TABLE dead_letters ADD COLUMN replayed_as uuid",
    "ALTER TABLE dead_letters ADD COLUMN cut boolean NOT NULL DEFAULT false",
    *(
        f"ALTER TABLE dead_letters ALTER COLUMN {column} DROP NOT NULL"
        for column in (
            "event_id",
            "source",
            "origin_topic",
            "origin_partition",
            "origin_offset",
            "consumer",
            "value",
            "headers",
        )
    ),
    "ALTER TABLE dead_letters ADD CHECK ((task_id IS NULL) <> (event_id IS NULL))",
)

DEAD_LETTER_COMMENTS = {
    "task_id": "the failed task that this is; empty for a message",
    "replayed_as": "the task that it was replayed as",
    "cut": "the value is only the beginning of the message: the whole was too large for a letter",
}

DELIVERIES = """
CREATE TABLE callback_deliveries (
    task_id uuid NOT NULL REFERENCES callbacks ON DELETE CASCADE,
    attempt integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    duration_ms double precision NOT NULL,
    status integer,
    error text,
    answer text NOT NULL DEFAULT '',
    next_at timestamptz,
    PRIMARY KEY (task_id, attempt)
)
"""

CALLBACKS = (
    "ALTER TABLE callbacks ADD COLUMN round_began integer NOT NULL DEFAULT 0",
    "COMMENT ON COLUMN callbacks.round_began IS 'attempts before the last redelivery: the schedule counts from there'",
    "ALTER TABLE callbacks ADD COLUMN leased boolean NOT NULL DEFAULT false",
    "COMMENT ON COLUMN callbacks.leased IS 'somebody is sending it; next_at is then when that is given up'",
    """ALTER TABLE callbacks ADD COLUMN target text COLLATE "C"
        GENERATED ALWAYS AS (owner || ' ' || coalesce(lower(substring(url FROM '^[^/]*//([^/?#]*)')), '')) STORED""",
    "COMMENT ON COLUMN callbacks.target IS 'owner, host and port: so many at once, however many wait'",
    "DROP INDEX callbacks_due",
    "CREATE INDEX callbacks_due_by_target ON callbacks (target, next_at) WHERE state = 'pending'",
    "CREATE INDEX callbacks_untaken ON callbacks (owner, task_id DESC) WHERE state IN ('failed', 'disabled')",
    """CREATE TABLE callback_targets (
        owner text NOT NULL,
        url text NOT NULL,
        disabled_at timestamptz NOT NULL DEFAULT now(),
        reason text NOT NULL,
        PRIMARY KEY (owner, url)
    )""",
)

ALGORITHMS = (
    "ALTER TABLE algorithms ADD COLUMN limits jsonb NOT NULL DEFAULT '{}'",
    "COMMENT ON COLUMN algorithms.limits IS 'queue, result_ttl_s, result_quota_bytes: what the owner set'",
    "ALTER TABLE algorithms ADD COLUMN limits_due boolean NOT NULL DEFAULT false",
    "COMMENT ON COLUMN algorithms.limits_due IS 'limits changed: results that are there do not know it yet'",
)


def upgrade() -> None:
    """Add it all."""
    for statement in (*TASKS, *INDEXES, *DEAD_LETTERS, DELIVERIES, *CALLBACKS, *ALGORITHMS):
        op.execute(statement)
    for column, comment in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN tasks.{column} IS '{comment}'")
    for column, comment in DEAD_LETTER_COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN dead_letters.{column} IS '{comment}'")


def downgrade() -> None:
    """Drop nothing: results that are only in their rows would be lost."""
