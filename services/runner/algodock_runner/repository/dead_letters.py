"""Messages that some consumer gave up, kept to be read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from algodock_common.identifiers import uuid7

if TYPE_CHECKING:
    from algodock_common.database import Transaction
    from algodock_common.events import DeadLetter, Event

__all__ = ["keep"]

_KEEP = sa.text("""
INSERT INTO dead_letters (id, event_id, source, origin_topic, origin_partition, origin_offset, consumer, message_key,
    value, headers, error_type, reason, attempts, traceparent, received_at)
VALUES (:id, :event_id, :source, :origin_topic, :origin_partition, :origin_offset, :consumer, :message_key,
    :value, CAST(:headers AS jsonb), :error_type, :reason, :attempts, :traceparent, :received_at)
ON CONFLICT (event_id) DO NOTHING
""")

_SECRET_HEADERS = frozenset({"authorization"})


async def keep(tx: Transaction, event: Event[DeadLetter]) -> None:
    """Store a dead letter once; a caller's key in its headers is not kept."""
    letter = event.data
    headers = {
        _storable(name): "" if name.lower() in _SECRET_HEADERS else value for name, value in letter.headers.items()
    }
    await tx.session.execute(
        _KEEP,
        {
            "id": uuid7(),
            "event_id": event.id,
            "source": event.source,
            "origin_topic": letter.origin_topic,
            "origin_partition": letter.origin_partition,
            "origin_offset": letter.origin_offset,
            "consumer": letter.consumer,
            "message_key": None if letter.message_key is None else _storable(letter.message_key),
            "value": letter.raw(),
            "headers": json.dumps(headers),
            "error_type": letter.error_type,
            "reason": _storable(letter.reason),
            "attempts": letter.attempts,
            "traceparent": event.traceparent,
            "received_at": letter.received_at,
        },
    )


def _storable(text: str) -> str:
    """Take out NUL, which PostgreSQL stores in no text: a letter that cannot be kept would come back for ever."""
    return text.replace("\0", "\ufffd")
