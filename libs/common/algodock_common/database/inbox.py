"""Idempotent consumers: what is older than what was applied is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from algodock_common.database.tables import inbox

if TYPE_CHECKING:
    from algodock_common.database.engine import Transaction
    from algodock_common.events.envelope import Event

__all__ = ["accept_once"]


async def accept_once(tx: Transaction, consumer: str, event: Event[Any]) -> bool:
    """Return whether ``event`` is newer than all of its subject that ``consumer`` applied.

    The note is written in ``tx``: it holds if, and only if, what the caller does holds. A direct
    publish and the outbox's relay may deliver an event twice and in any order. An event without a
    sequence is always accepted.
    """
    if event.sequence == 0:
        return True
    statement = insert(inbox).values(
        consumer=consumer, topic=event.data.topic, subject=event.data.subject(), sequence=event.sequence
    )
    upsert = statement.on_conflict_do_update(
        index_elements=[inbox.c.consumer, inbox.c.topic, inbox.c.subject],
        set_={"sequence": statement.excluded.sequence, "applied_at": sa.func.now()},
        where=inbox.c.sequence < statement.excluded.sequence,
    ).returning(inbox.c.sequence)
    return (await tx.session.execute(upsert)).first() is not None
