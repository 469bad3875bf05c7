"""Calls for a service that sleeps: one asks the deployer, all wait for its first instance, bounded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from algodock_common.errors import AlgoDockError

if TYPE_CHECKING:
    from algodock_common.routing import RoutingTable

__all__ = ["Waker", "Waking"]

log = structlog.get_logger()

REFUSED_S: Final = 1.0
"""Seconds that the deployer is not asked again about a service that it said does not come."""
MOST_WAITING: Final = 1000
"""Calls of one process that wait for services to wake; they hold their bodies' beginnings."""


class Waker(Protocol):
    """The deployer, as far as it is needed here."""

    async def wake(self, name: str) -> bool:
        """Ask for an instance; return whether one is coming."""
        ...


class Waking:
    """Wakes services and waits for them."""

    def __init__(self, table: RoutingTable, deployer: Waker, *, wait_s: float) -> None:
        """A call waits for ``wait_s`` seconds at most."""
        self._table = table
        self._deployer = deployer
        self._wait_s = wait_s
        self._asked: dict[str, asyncio.Task[bool]] = {}
        self._refused: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Event] = {}
        self._count = 0
        table.listen(self._routes_changed)

    async def wait(self, name: str) -> None:
        """Return when the service has a ready instance, or when it is not worth waiting (any longer)."""
        now = asyncio.get_running_loop().time()
        if self._refused.get(name, 0.0) > now or self._count >= MOST_WAITING:
            return
        self._count += 1
        try:
            async with asyncio.timeout(self._wait_s):
                if await self._coming(name):
                    await self._ready(name)
        except TimeoutError:
            log.info("service_not_awake", algorithm=name, seconds=self._wait_s)
        finally:
            self._count -= 1

    async def _coming(self, name: str) -> bool:
        """Ask the deployer; calls at the same time share one question."""
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = asyncio.create_task(self._ask(name), name=f"wake-{name}")
            asked.add_done_callback(lambda _: self._asked.pop(name, None))
        return await asyncio.shield(asked)

    async def _ask(self, name: str) -> bool:
        try:
            coming = await self._deployer.wake(name)
        except AlgoDockError as error:
            log.info("service_not_woken", algorithm=name, error=error.detail)
            coming = False
        if coming:
            self._refused.pop(name, None)
        else:
            if len(self._refused) > MOST_WAITING:
                self._refused.clear()
            self._refused[name] = asyncio.get_running_loop().time() + REFUSED_S
        return coming

    async def _ready(self, name: str) -> None:
        while not self._is_ready(name):
            changed = self._waiting.setdefault(name, asyncio.Event())
            await changed.wait()

    def _is_ready(self, name: str) -> bool:
        route = self._table.route(name)
        return route is not None and bool(route.ready)

    def _routes_changed(self) -> None:
        for name in [name for name in self._waiting if self._is_ready(name)]:
            self._waiting.pop(name).set()
