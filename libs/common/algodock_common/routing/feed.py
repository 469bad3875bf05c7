"""What keeps a router's table true: instance events at once, the registry's snapshot behind them.

The events make it quick, the snapshot makes it right: a broker may lose events and they may
overtake each other, so a router acknowledges an epoch (in Redis, where the deployer looks before
it ends an old release) only when a snapshot of it is applied.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Protocol

import structlog

from algodock_common.events import InstanceChanged
from algodock_common.routing.table import RouteSnapshot, RoutingTable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from algodock_common.events import Event

__all__ = ["ROUTER_KEY", "EventSource", "KeyStore", "RegistryHttp", "RoutingFeed"]

ROUTER_KEY = "algodock:router:"
"""Redis prefix; the rest is the router's id. The value is JSON: ``epoch`` and ``draining``."""

log = structlog.get_logger()


class RegistryHttp(Protocol):
    """The registry's internal HTTP, as ``InternalClient`` speaks it."""

    async def get(self, path: str, /) -> object:
        """Return the JSON answer."""
        ...


class EventSource(Protocol):
    """The bus, as far as the feed needs it."""

    def subscribe(
        self, event: type[InstanceChanged], handler: Callable[[Event[InstanceChanged]], Awaitable[None]], /
    ) -> object:
        """Call ``handler`` with each event."""
        ...


class KeyStore(Protocol):
    """Redis, as far as the feed needs it."""

    def set(self, name: str, value: str, *, ex: int) -> Awaitable[object]:
        """Set a key that expires after ``ex`` seconds."""
        ...

    def delete(self, name: str, /) -> Awaitable[object]:
        """Remove a key."""
        ...


class RoutingFeed:
    """Fills and keeps a ``RoutingTable`` and says what this router has seen.

    Make it before ``bus.start()`` (it subscribes), then ``start`` it; ``stop`` takes the router's
    acknowledgement away, so nobody waits for it.
    """

    def __init__(
        self,
        bus: EventSource,
        registry: RegistryHttp,
        table: RoutingTable,
        redis: KeyStore,
        router_id: str,
        *,
        reread_s: float = 3.0,
        beat_s: float = 2.0,
        draining_beat_s: float = 0.2,
    ) -> None:
        """Subscribe to instance events; nothing is read or written before ``start``."""
        self.table = table
        self._registry = registry
        self._redis = redis
        self._key = ROUTER_KEY + router_id
        self._reread_s = reread_s
        self._beat_s = beat_s
        self._draining_beat_s = draining_beat_s
        self._changed = asyncio.Event()
        self._wanted = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._read_at = float("-inf")
        self._filled = False
        self._last_error: str | None = "no snapshot read yet"
        table.listen(self._changed.set)
        bus.subscribe(InstanceChanged, self._on_event)

    async def start(self) -> None:
        """Read the first snapshot if the registry answers (else keep trying), and begin to acknowledge."""
        with contextlib.suppress(Exception):  # the loop below reports it and tries again
            await self.refresh()
        self._tasks = [
            asyncio.create_task(self._keep_reading(), name="routing-snapshots"),
            asyncio.create_task(self._keep_acknowledging(), name="routing-acknowledgements"),
        ]

    async def stop(self) -> None:
        """Stop reading and remove this router's acknowledgement."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        try:
            await self._redis.delete(self._key)
        except Exception as error:  # noqa: BLE001  # the key expires by itself; stopping must not fail for it
            log.warning("routing.acknowledgement_not_removed", error=repr(error))

    @property
    def filled(self) -> bool:
        """Say whether a snapshot was ever read: calls can be routed, also while the registry is away."""
        return self._filled

    async def check(self) -> None:
        """Health check: the last snapshot was read.

        Raises:
            RuntimeError: it was not; the message says why.
        """
        if self._last_error is not None:
            raise RuntimeError(self._last_error)

    async def refresh(self) -> None:
        """Read the registry's snapshot now; callers at the same time share one reading.

        Raises:
            AlgoDockError: the registry did not answer.
        """
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="routing-read")
        await asyncio.shield(self._reading)

    async def refresh_if_older(self, seconds: float) -> None:
        """Read the snapshot for a call that found no instance, unless it was read within ``seconds``.

        A registry that does not answer changes nothing: the caller looks at the table again.
        """
        if asyncio.get_running_loop().time() - self._read_at >= seconds:
            with contextlib.suppress(Exception):  # kept for ``check``, and reported by the loop that reads anyway
                await self.refresh()

    async def _read(self) -> None:
        self._read_at = asyncio.get_running_loop().time()
        try:
            snapshot = RouteSnapshot.model_validate(await self._registry.get("/internal/routes"))
        except Exception as error:
            self._last_error = f"registry snapshot: {error!r}"
            raise
        self._last_error = None
        self._filled = True
        self.table.load(snapshot)

    async def _on_event(self, event: Event[InstanceChanged]) -> None:
        data = event.data
        self.table.apply(data)
        if data.epoch > self.table.epoch:
            self._wanted.set()  # a snapshot proves the epoch

    async def _keep_reading(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._reread_s):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                if self._reading is not None and not self._reading.done():
                    await asyncio.wait([self._reading])  # it may have begun before what we want to see
                await self.refresh()
            except Exception as error:  # noqa: BLE001  # whatever it was, the next reading may succeed
                log.warning("routing.snapshot_failed", error=repr(error))
                await asyncio.sleep(min(1.0, self._reread_s))  # a registry that is down is not hammered

    async def _keep_acknowledging(self) -> None:
        while True:
            self._changed.clear()
            draining = dict(self.table.draining())
            value = json.dumps({"epoch": self.table.epoch, "draining": draining})
            try:
                await self._redis.set(self._key, value, ex=10)
            except Exception as error:  # noqa: BLE001  # an unwritten key only makes a drain take its full bound
                log.warning("routing.acknowledgement_failed", error=repr(error))
                await asyncio.sleep(self._draining_beat_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._draining_beat_s if draining else self._beat_s):
                    await self._changed.wait()
