"""The fence: a task is ended or given back only by who names the attempt that holds it.

One statement a batch. What was claimed again meanwhile, or has ended, is not touched, and the
caller learns which writes counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import sqlalchemy as sa
from pydantic_core import from_json

from algodock_common.events import Event, TaskFinished
from algodock_common.identifiers import uuid7
from algodock_common.signals import TASK_FINISHED
from algodock_runner.domain.tasks import StoredResult, TaskView, is_small_json, result_url
from algodock_runner.repository.retention import expires
from algodock_runner.repository.tasks import OWN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from algodock_common.database import Writer
    from algodock_common.events import TaskError, TaskState

__all__ = ["RUNNING", "WAITING", "End", "GiveBack", "Served", "end", "finished_event", "give_back"]

RUNNING: tuple[TaskState, ...] = ("running",)
WAITING: tuple[TaskState, ...] = ("accepted", "queued")

_Finished = Event[TaskFinished]


Outcome = Literal["failed", "not started", "handed back", "lost"]
"""How an attempt ended that did not end its task."""


@dataclass(frozen=True, slots=True)
class Served:
    """Who served an attempt, as far as it is known."""

    instance_id: UUID | None = None
    release_id: UUID | None = None
    commit: str = ""
    config_version: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """A terminal state for one task, held by ``attempt``."""

    task_id: UUID
    attempt: int
    state: TaskState
    result: StoredResult | None = None
    error: TaskError | None = None
    served: Served = Served()
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class GiveBack:
    """One task back into the queue, after ``wait_s`` seconds; ``spent`` attempts count as failures."""

    task_id: UUID
    attempt: int
    outcome: Outcome
    wait_s: float = 0.0
    spent: bool = False
    error: TaskError | None = None
    served: Served = Served()


def _served_as(column: str) -> str:
    """Return the assignment of a column of ``Served``: who ends a task whose worker is gone knows only its row."""
    known = "e.instance_id IS NOT NULL OR tasks.state <> 'running'"
    return f"{column} = CASE WHEN {known} THEN e.{column} ELSE tasks.{column} END"


_END = sa.text(f"""
WITH ended AS (
    UPDATE tasks SET
        state = e.state, finished_at = now(), lease_until = NULL, wakes_at = NULL,
        {_served_as("instance_id")}, {_served_as("release_id")},
        {_served_as("commit")}, {_served_as("config_version")},
        result_key = e.result_key, result_content_type = e.result_content_type,
        result_bytes = e.result_bytes, result_inline = e.result_inline,
        result_stored_at = CASE WHEN e.result_stored THEN now() END, error = CAST(e.error AS jsonb),
        result_expires_at = CASE WHEN e.result_key IS NOT NULL THEN (
            SELECT {expires("now()")} FROM algorithms WHERE name = tasks.algorithm
        ) END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:states AS text[]),
        CAST(:instance_ids AS uuid[]), CAST(:release_ids AS uuid[]), CAST(:commits AS text[]),
        CAST(:result_keys AS text[]), CAST(:result_types AS text[]), CAST(:result_sizes AS bigint[]),
        CAST(:result_inlines AS bytea[]), CAST(:results_stored AS bool[]), CAST(:errors AS text[]),
        CAST(:config_versions AS bigint[]), CAST(:event_ids AS text[]), CAST(:spans AS text[]),
        CAST(:result_urls AS text[]), CAST(:small AS bool[])
    ) AS e (id, attempt, state, instance_id, release_id, commit,
        result_key, result_content_type, result_bytes, result_inline, result_stored, error, config_version,
        event_id, span, result_url, small)
    WHERE tasks.id = e.id AND tasks.attempt = e.attempt AND tasks.state = ANY(CAST(:before AS text[]))
    RETURNING tasks.*, e.event_id, e.span, e.result_url, e.small
), called AS (
    INSERT INTO callbacks (task_id, owner, url)
    SELECT id, owner, callback_url FROM ended WHERE callback_url IS NOT NULL
), buried AS (
    INSERT INTO dead_letters (id, task_id, owner, algorithm, error_type, reason, attempts, traceparent)
    SELECT id, id, owner, algorithm, coalesce(error->>'type', ''), coalesce(error->>'message', ''), attempt, traceparent
    FROM ended WHERE state = 'failed'
), told AS (
    SELECT ended.*, nextval('outbox_id_seq') AS sequence, convert_to(CAST(json_build_object(
        'specversion', '1.0', 'id', event_id, 'source', CAST(:source AS text), 'type', CAST(:type AS text),
        'subject', id, 'time', now(), 'datacontenttype', 'application/json',
        'traceparent', coalesce(span, traceparent),
        'data', json_build_object(
            'id', id, 'idempotency_key', idempotency_key, 'state', state, 'algorithm', algorithm,
            'release_id', release_id, 'commit', commit, 'attempt', attempt,
            'result_url', result_url, 'result_content_type', result_content_type, 'result_bytes', result_bytes,
            'result', CASE WHEN small THEN CAST(convert_from(result_inline, 'UTF8') AS json) END,
            'error', error, 'metadata', metadata, 'finished_at', finished_at
        )
    ) AS text), 'UTF8') AS event
    FROM ended
), written AS (
    INSERT INTO outbox (id, topic, event) OVERRIDING SYSTEM VALUE SELECT sequence, 'task.finished', event FROM told
)
SELECT {OWN_COLUMNS}, t.event, t.sequence,
    CASE WHEN t.callback_url IS NOT NULL THEN 'pending' END AS callback_state, 0 AS callback_attempts
FROM told t
""")  # noqa: S608  # a constant of the repository

_GIVE_BACK = sa.text("""
WITH returned AS (
    UPDATE tasks SET
        state = CASE WHEN cancel_requested_at IS NULL THEN 'queued' ELSE 'running' END,
        lease_until = CASE WHEN cancel_requested_at IS NOT NULL THEN now() END,
        queued_at = CASE WHEN cancel_requested_at IS NULL THEN now() ELSE queued_at END,
        wakes_at = CASE WHEN b.wait_s > 0 AND cancel_requested_at IS NULL
            THEN now() + make_interval(secs => b.wait_s) END,
        failures = failures + CASE WHEN b.spent THEN 1 ELSE 0 END,
        lost = lost + CASE WHEN b.outcome = 'lost' THEN 1 ELSE 0 END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:outcomes AS text[]), CAST(:waits AS float8[]),
        CAST(:spent AS bool[]), CAST(:instance_ids AS uuid[]), CAST(:release_ids AS uuid[]),
        CAST(:commits AS text[]), CAST(:errors AS text[]), CAST(:config_versions AS bigint[])
    ) AS b (id, attempt, outcome, wait_s, spent, instance_id, release_id, commit, error, config_version)
    WHERE tasks.id = b.id AND tasks.attempt = b.attempt AND tasks.state = 'running'
    RETURNING tasks.id, tasks.algorithm, tasks.attempt, tasks.worker_id, tasks.claimed_at, tasks.wakes_at,
        b.outcome, b.error, coalesce(b.instance_id, tasks.instance_id) AS instance_id,
        CASE WHEN b.instance_id IS NULL THEN tasks.release_id ELSE b.release_id END AS release_id,
        CASE WHEN b.instance_id IS NULL THEN tasks.commit ELSE b.commit END AS commit,
        CASE WHEN b.instance_id IS NULL THEN tasks.config_version ELSE b.config_version END AS config_version
), noted AS (
    INSERT INTO attempts (task_id, attempt, outcome, worker_id, instance_id, release_id, commit, config_version,
        error, started_at)
    SELECT id, attempt, outcome, worker_id, instance_id, release_id, commit, config_version,
        CAST(error AS jsonb), claimed_at
    FROM returned
)
SELECT DISTINCT algorithm FROM returned WHERE wakes_at IS NULL
""")


async def end(to: Writer, ends: Sequence[End], *, before: Sequence[TaskState], gateway_url: str) -> dict[UUID, bool]:
    """End tasks that are in a state of ``before``, with their events and callbacks.

    Return which ones were, and of each whether a callback is due. ``task.finished`` is written by the same
    statement and leaves after its commit, as event and as signal, so nobody hears of an end that did not happen.
    """
    if not ends:
        return {}
    results = [one.result for one in ends]
    rows = await to.fetch(
        _END,
        {
            "ids": [one.task_id for one in ends],
            "attempts": [one.attempt for one in ends],
            "states": [one.state for one in ends],
            "instance_ids": [one.served.instance_id for one in ends],
            "release_ids": [one.served.release_id for one in ends],
            "commits": [one.served.commit for one in ends],
            "config_versions": [one.served.config_version for one in ends],
            "result_keys": [result and result.key for result in results],
            "result_types": [result and result.content_type for result in results],
            "result_sizes": [None if result is None else result.size for result in results],
            "result_inlines": [None if result is None else result.inline for result in results],
            "results_stored": [result is not None and result.stored for result in results],
            "errors": [_error(one.error) for one in ends],
            "before": list(before),
            "event_ids": [str(uuid7()) for _ in ends],
            "spans": [one.traceparent for one in ends],
            "result_urls": [one.result and result_url(gateway_url, one.task_id) for one in ends],
            "small": [_small(result) for result in results],
            "source": to.source,
            "type": TaskFinished.event_type(),
        },
    )
    counted = {}
    for row in rows:
        to.publish(_Finished.model_validate_json(row["event"]).model_copy(update={"sequence": row["sequence"]}))
        to.signal(TASK_FINISHED, TaskView.of(row, gateway_url=gateway_url).model_dump_json().encode())
        counted[UUID(int=row["id"].int)] = row["callback_state"] is not None
    return counted


async def give_back(to: Writer, backs: Sequence[GiveBack]) -> set[str]:
    """Put tasks back into the queue; return the algorithms of those that are due at once, to ring for."""
    if not backs:
        return set()
    rows = await to.fetch(
        _GIVE_BACK,
        {
            "ids": [one.task_id for one in backs],
            "attempts": [one.attempt for one in backs],
            "outcomes": [one.outcome for one in backs],
            "waits": [one.wait_s for one in backs],
            "spent": [one.spent for one in backs],
            "instance_ids": [one.served.instance_id for one in backs],
            "release_ids": [one.served.release_id for one in backs],
            "commits": [one.served.commit for one in backs],
            "config_versions": [one.served.config_version for one in backs],
            "errors": [_error(one.error) for one in backs],
        },
    )
    return {row["algorithm"] for row in rows}


def finished_event(row: sa.RowMapping, gateway_url: str) -> TaskFinished:
    """Return the event of an ended task: what ``task.finished`` says, and its callback."""
    inline: bytes | None = row["result_inline"]
    result = None
    if inline is not None and is_small_json(row["result_content_type"], inline):
        result = from_json(inline)
    finished_at: datetime = row["finished_at"]
    return TaskFinished.model_validate(
        {
            "id": row["id"],
            "idempotency_key": row["idempotency_key"],
            "state": row["state"],
            "algorithm": row["algorithm"],
            "release_id": row["release_id"],
            "commit": row["commit"],
            "attempt": row["attempt"],
            "result_url": result_url(gateway_url, row["id"]) if row["result_key"] else None,
            "result_content_type": row["result_content_type"],
            "result_bytes": row["result_bytes"],
            "result": result,
            "error": row["error"],
            "metadata": row["metadata"],
            "finished_at": finished_at,
        }
    )


def _small(result: StoredResult | None) -> bool:
    return result is not None and result.inline is not None and is_small_json(result.content_type, result.inline)


def _error(error: TaskError | None) -> str | None:
    return None if error is None else error.model_dump_json(exclude_none=True)
