"""The releases that are under way here: what must not go on is ended, with everything that it had begun."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Attempts", "Superseded"]


class Superseded(Exception):  # it is no error: something newer was asked for
    """The attempt was ended before its switch; ``reason`` says for what."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


@dataclass
class _Attempt:
    task: asyncio.Task[None]
    reason: str = ""
    sealed: bool = False


class Attempts:
    """One attempt a service: its claim sees to that."""

    def __init__(self) -> None:
        """Begin with none."""
        self._attempts: dict[UUID, _Attempt] = {}

    async def run(self, service_id: UUID, work: Coroutine[object, object, None]) -> None:
        """Run ``work`` to its end.

        Raises:
            Superseded: it was given up on the way; it has ended all that it had begun.
        """
        attempt = self._attempts[service_id] = _Attempt(asyncio.create_task(work))
        try:
            await attempt.task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not attempt.reason or (caller is not None and caller.cancelling()):
                raise  # the deployer itself stops: whoever begins anew finds the release where it is
            raise Superseded(attempt.reason) from None
        finally:
            del self._attempts[service_id]

    def seal(self, service_id: UUID) -> None:
        """Let what is under way go on to its end: the switch comes next."""
        attempt = self._attempts.get(service_id)
        if attempt is not None:
            attempt.sealed = True

    def supersede(self, service_id: UUID, reason: str) -> bool:
        """Give up what is under way for a service; return whether there was something that could be."""
        attempt = self._attempts.get(service_id)
        if attempt is None or attempt.sealed or attempt.reason:
            return False
        attempt.reason = reason
        return attempt.task.cancel()
