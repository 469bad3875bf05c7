"""Tasks that failed and messages that some consumer gave up: kept, read, noted as replayed."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from algodock_common.identifiers import uuid7
from algodock_runner.domain.dead_letters import DeadLetterDetail, DeadLetterSummary

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from algodock_common.database import Transaction
    from algodock_common.events import DeadLetter, Event
    from algodock_runner.domain.dead_letters import DeadLetterFilter

__all__ = ["Letter", "find", "keep", "letter", "listed", "replayed"]

_KEEP = sa.text("""
INSERT INTO dead_letters (id, event_id, source, origin_topic, origin_partition, origin_offset, consumer, message_key,
    value, cut, headers, error_type, reason, attempts, traceparent, received_at)
VALUES (:id, :event_id, :source, :origin_topic, :origin_partition, :origin_offset, :consumer, :message_key,
    :value, :cut, CAST(:headers AS jsonb), :error_type, :reason, :attempts, :traceparent, :received_at)
ON CONFLICT (event_id) DO NOTHING
""")

_COLUMNS = """
    id, CASE WHEN task_id IS NULL THEN 'message' ELSE 'task' END AS kind, task_id, algorithm, origin_topic AS topic,
    origin_partition AS partition, origin_offset AS offset, consumer, error_type, reason, attempts, stored_at,
    replayed_at, replayed_as
"""

_FIND = sa.text(f"""
SELECT {_COLUMNS}, message_key, value, cut, headers FROM dead_letters
WHERE id = :id AND (CAST(:owner AS text) IS NULL OR owner = :owner)
""")  # noqa: S608  # a constant of this module

_LETTER = sa.text("""
SELECT id, task_id, owner, origin_topic AS topic, message_key, value, cut, headers, replayed_at, replayed_as
FROM dead_letters WHERE id = :id AND (CAST(:owner AS text) IS NULL OR owner = :owner)
""")

_REPLAYED = sa.text("""
UPDATE dead_letters SET replayed_at = coalesce(replayed_at, now()), replayed_as = coalesce(replayed_as, :task_id)
WHERE id = :id RETURNING replayed_at
""")

_CONDITIONS = {
    "owner": "owner = :owner",
    "algorithm": "algorithm = :algorithm",
    "topic": "origin_topic = :topic",
    "error_type": "error_type = :error_type",
    "replayed": "(replayed_at IS NOT NULL) = :replayed",
    "after": "(stored_at, id) < (SELECT stored_at, id FROM dead_letters WHERE id = :after)",
}

_SECRET_HEADERS = frozenset({"authorization"})


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter that is about to be replayed; a message has ``topic``, ``value`` and ``headers``."""

    id: UUID
    task_id: UUID | None
    owner: str | None
    topic: str | None
    message_key: str | None
    value: bytes | None = field(repr=False)
    cut: bool
    headers: dict[str, str] | None = field(repr=False)
    replayed_at: datetime | None
    replayed_as: UUID | None


async def listed(session: AsyncSession, wanted: DeadLetterFilter) -> list[DeadLetterSummary]:
    """Return a page of dead letters, newest first."""
    values: dict[str, Any] = {name: getattr(wanted, name) for name in _CONDITIONS if getattr(wanted, name) is not None}
    conditions = [_CONDITIONS[name] for name in values]
    if wanted.kind is not None:
        conditions.append(f"task_id IS {'NOT ' if wanted.kind == 'task' else ''}NULL")
    where = " AND ".join(conditions) or "true"
    statement = sa.text(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE {where} ORDER BY stored_at DESC, id DESC LIMIT :limit"  # noqa: S608
    )
    rows = await session.execute(statement, values | {"limit": wanted.limit})
    return [DeadLetterSummary.model_validate(row) for row in rows]


async def find(session: AsyncSession, letter_id: UUID, *, owner: str | None) -> DeadLetterDetail | None:
    """Return one dead letter whole, None when there is none that ``owner`` (None: anybody) may see."""
    row = (await session.execute(_FIND, {"id": letter_id, "owner": owner})).mappings().first()
    if row is None:
        return None
    values = dict(row)
    value = values.pop("value")
    try:
        text, encoded = None if value is None else bytes(value).decode(), None
    except UnicodeDecodeError:
        text, encoded = None, base64.b64encode(value).decode()
    headers = values.pop("headers")
    shown = headers and {name: _decoded(content) for name, content in headers.items()}
    return DeadLetterDetail.model_validate(values | {"text": text, "base64": encoded, "headers": shown})


async def letter(session: AsyncSession, letter_id: UUID, *, owner: str | None) -> Letter | None:
    """Return what a replay needs, None when there is no letter that ``owner`` (None: anybody) may see."""
    row = (await session.execute(_LETTER, {"id": letter_id, "owner": owner})).mappings().first()
    return None if row is None else Letter(**row)


async def replayed(tx: Transaction, letter_id: UUID, *, task_id: UUID | None) -> datetime:
    """Note the replay of a letter, as a task if it became one; return when."""
    at: datetime = (await tx.session.execute(_REPLAYED, {"id": letter_id, "task_id": task_id})).scalar_one()
    return at


async def keep(tx: Transaction, event: Event[DeadLetter]) -> None:
    """Store a dead letter once; a caller's key in its headers is not kept."""
    dead = event.data
    headers = {
        _storable(name): "" if name.lower() in _SECRET_HEADERS else value for name, value in dead.headers.items()
    }
    await tx.session.execute(
        _KEEP,
        {
            "id": uuid7(),
            "event_id": event.id,
            "source": event.source,
            "origin_topic": dead.origin_topic,
            "origin_partition": dead.origin_partition,
            "origin_offset": dead.origin_offset,
            "consumer": dead.consumer,
            "message_key": None if dead.message_key is None else _storable(dead.message_key),
            "value": dead.raw(),
            "cut": dead.cut,
            "headers": json.dumps(headers),
            "error_type": dead.error_type,
            "reason": _storable(dead.reason),
            "attempts": dead.attempts,
            "traceparent": event.traceparent,
            "received_at": dead.received_at,
        },
    )


def _decoded(content: str) -> str:
    return base64.b64decode(content).decode(errors="replace")


def _storable(text: str) -> str:
    """Take out NUL, which PostgreSQL stores in no text: a letter that cannot be kept would come back for ever."""
    return text.replace("\0", "\ufffd")
