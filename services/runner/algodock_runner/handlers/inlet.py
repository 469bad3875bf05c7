"""What arrives by Kafka: tasks that are asked for, and dead letters to keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from algodock_common.web import bearer_token
from algodock_runner.domain.errors import UnknownCaller
from algodock_runner.repository import dead_letters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from algodock_common.database import Database
    from algodock_common.events import DeadLetter, Event, TaskRequested
    from algodock_runner.clients.gateway import Gateway
    from algodock_runner.handlers.submit import Submission

__all__ = ["Inlet"]


class Inlet:
    """Handles messages; what it raises and no retry can help, the bus puts on the dead letters with the reason."""

    def __init__(self, db: Database, submission: Submission, gateway: Gateway) -> None:
        """Keep what it works with."""
        self._db = db
        self._submission = submission
        self._gateway = gateway

    async def task_requested(self, event: Event[TaskRequested], headers: Mapping[str, str]) -> None:
        """Accept the task that a message asks for, in the name of the key in its ``authorization`` header.

        Without an idempotency key the event's id is one: a message that comes twice is one task.

        Raises:
            UnknownCaller: no key, or nobody's.
        """
        shown = {name.lower(): value for name, value in headers.items()}.get("authorization")
        key = bearer_token(shown)
        if key is None:
            msg = "the message has no header 'authorization: Bearer <API key>'"
            raise UnknownCaller(msg)
        caller = await self._gateway.verify_key(key)
        await self._submission.submit(event.data, owner=caller.key_id, default_key=event.id)

    async def dead_letter(self, event: Event[DeadLetter]) -> None:
        """Keep a message that some consumer gave up."""
        async with self._db.transaction() as tx:
            await dead_letters.keep(tx, event)
