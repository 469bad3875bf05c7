"""The acceptance: many tasks and the events that tell of them, in one statement and one round trip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_runner.domain.tasks import TaskView
from algodock_runner.repository.tasks import OWN_COLUMNS, VIEW

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Database
    from algodock_runner.domain.requests import NewTask

__all__ = ["Accepted", "Announced", "accept", "find_by_keys"]

_GIVEN = {
    "id": "uuid",
    "owner": "text",
    "algorithm": "text",
    "version": "text",
    "priority": "smallint",
    "max_attempts": "smallint",
    "timeout_s": "double precision",
    "not_before": "timestamptz",
    "deadline": "timestamptz",
    "idempotency_key": "text",
    "request_hash": "bytea",
    "body": "bytea",
    "body_key": "text",
    "content_type": "text",
    "callback_url": "text",
    "metadata": "text",
    "traceparent": "text",
    "rerun_of": "uuid",
    "event": "bytea",
    "event_if_later": "bytea",
}
_COPIED = ", ".join(name for name in _GIVEN if name not in {"metadata", "event", "event_if_later"})
_ARRAYS = ", ".join(f"CAST(:{name} AS {type_}[])" for name, type_ in _GIVEN.items())

_ACCEPT = sa.text(f"""
WITH given AS (
    SELECT *, coalesce(not_before > now(), false) AS later
    FROM unnest({_ARRAYS}) WITH ORDINALITY AS given ({", ".join(_GIVEN)}, place)
), made AS (
    INSERT INTO tasks AS t ({_COPIED}, metadata, state, expires_at, wakes_at, queued_at)
    SELECT {_COPIED}, CAST(metadata AS jsonb), CASE WHEN later THEN 'accepted' ELSE 'queued' END,
        coalesce(deadline, greatest(now(), not_before) + make_interval(secs => :longest_wait_s)),
        CASE WHEN later THEN not_before END, CASE WHEN NOT later THEN now() END
    FROM given ORDER BY place
    ON CONFLICT (owner, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING {OWN_COLUMNS},
        CASE WHEN t.callback_url IS NOT NULL THEN 'pending' END AS callback_state, 0 AS callback_attempts
), told AS (
    SELECT placed.*, nextval('outbox_id_seq') AS sequence
    FROM (
        SELECT made.*, given.later, CASE WHEN given.later THEN given.event_if_later ELSE given.event END AS event
        FROM made JOIN given USING (id) ORDER BY given.place
    ) AS placed
), written AS (
    INSERT INTO outbox (id, topic, event) OVERRIDING SYSTEM VALUE SELECT sequence, 'task.accepted', event FROM told
)
SELECT * FROM told
""")  # noqa: S608  # only constants of this module

_FIND_BY_KEYS = sa.text(
    VIEW.replace("SELECT", "SELECT t.request_hash,", 1)
    + "WHERE t.owner = :owner AND t.idempotency_key = ANY(CAST(:keys AS text[]))"
)


@dataclass(frozen=True, slots=True)
class Announced:
    """A task to accept, and the event that tells of it, as JSON; ``event_if_later`` where it may have to wait."""

    task: NewTask
    event: bytes
    event_if_later: bytes | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task that was accepted, whether it waits for its time, and its event's sequence."""

    view: TaskView
    later: bool
    sequence: int


async def accept(
    db: Database, announced: Sequence[Announced], *, longest_wait_s: float, gateway_url: str
) -> dict[UUID, Accepted]:
    """Write the rows that are the acceptance; return by id those that are new.

    A task is missing in the answer when its caller's idempotency key has a task already, in the
    table or before it in ``announced``. Of parallel calls with one key the database lets one in,
    the others wait for its commit; all insert in the order of their keys, so that no two wait for
    each other.
    """
    in_order = sorted(announced, key=lambda one: (one.task.owner, one.task.idempotency_key or ""))
    columns = map(list, zip(*map(_row, in_order), strict=True))
    values = dict(zip(_GIVEN, columns, strict=True)) | {"longest_wait_s": longest_wait_s}
    return {
        row["id"]: Accepted(TaskView.of(row, gateway_url=gateway_url), row["later"], row["sequence"])
        for row in await db.fetch(_ACCEPT, values)
    }


async def find_by_keys(
    session: AsyncSession, *, owner: str, keys: Sequence[str], gateway_url: str
) -> dict[str, tuple[TaskView, bytes]]:
    """Return by idempotency key the tasks that ``owner`` made with these, and the hashes of their requests."""
    rows = await session.execute(_FIND_BY_KEYS, {"owner": owner, "keys": keys})
    return {
        row["idempotency_key"]: (TaskView.of(row, gateway_url=gateway_url), bytes(row["request_hash"]))
        for row in rows.mappings()
    }


def _row(one: Announced) -> tuple[object, ...]:
    task = one.task
    return (
        task.id,
        task.owner,
        task.algorithm,
        task.version,
        task.priority,
        task.max_attempts,
        task.timeout_s,
        task.not_before,
        task.deadline,
        task.idempotency_key,
        task.request_hash,
        None if task.body_key else task.body,
        task.body_key,
        task.content_type,
        task.callback_url,
        json.dumps(task.metadata),
        task.traceparent,
        task.rerun_of,
        one.event,
        one.event_if_later,
    )
