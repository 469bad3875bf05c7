"""A router's load, told once a second: only of services that have something going on, and once when that ends."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from algodock_common.events import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from algodock_common.events import ServiceLoad

__all__ = ["Durations", "LoadTeller", "Teller"]

log = structlog.get_logger()

EVERY_S: Final = 1.0
_MOST: Final = 1000


class Teller(Protocol):
    """The bus, as far as it is needed here."""

    async def publish_many(self, events: Sequence[Event[Any]]) -> Sequence[Exception | None]:
        """Publish; return for each None or why not."""
        ...


class Durations:
    """How long a service's calls took since it was last asked; of very many the first thousand."""

    def __init__(self) -> None:
        """Know of no call."""
        self._calls: defaultdict[str, int] = defaultdict(int)
        self._taken: defaultdict[str, list[float]] = defaultdict(list)

    def note(self, algorithm: str, milliseconds: float) -> None:
        """Count a call that ended."""
        self._calls[algorithm] += 1
        taken = self._taken[algorithm]
        if len(taken) < _MOST:
            taken.append(milliseconds)

    def drain(self) -> dict[str, tuple[int, float]]:
        """Return for each service the number of calls and their 95th percentile (ms), and forget them."""
        found = {}
        for algorithm, taken in self._taken.items():
            taken.sort()
            found[algorithm] = self._calls[algorithm], taken[min(len(taken) - 1, int(len(taken) * 0.95))]
        self._calls.clear()
        self._taken.clear()
        return found


class LoadTeller:
    """Publishes what ``look`` finds. Nothing depends on one report: what is lost is said again in a second."""

    def __init__(
        self, bus: Teller, look: Callable[[], Awaitable[list[ServiceLoad]]], *, source: str, every_s: float = EVERY_S
    ) -> None:
        """``look`` returns the services that have something going on, each with ``every_s`` as its window."""
        self._bus = bus
        self._look = look
        self._source = source
        self._every_s = every_s
        self._busy: dict[str, ServiceLoad] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._keep_telling(), name="load")

    async def stop(self) -> None:
        """Stop; the last word runs out by itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def tell(self) -> None:
        """Tell once."""
        now = {one.algorithm: one for one in await self._look() if one.busy}
        over = [_quiet(one) for name, one in self._busy.items() if name not in now]
        self._busy = now
        loads = [*now.values(), *over]
        if not loads:
            return
        outcomes = await self._bus.publish_many([Event.of(one, source=self._source) for one in loads])
        lost = [error for error in outcomes if error is not None]
        if lost:
            log.info("load_not_told", services=len(lost), error=str(lost[0]))

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.tell()
            except Exception as error:  # noqa: BLE001  # a report that is lost is made again in a second
                log.warning("load_not_looked_at", error=repr(error))


def _quiet(one: ServiceLoad) -> ServiceLoad:
    return one.model_copy(update={"in_flight": 0, "queued": 0, "backlog": 0, "calls": 0, "p95_ms": None})
