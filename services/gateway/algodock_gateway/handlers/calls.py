"""A call to an algorithm, from its name to a connection: known? ready? a slot? which instance?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from algodock_common.upstream import CallerGone, CannotConnect
from algodock_gateway.domain import AlgorithmUnknown, NoInstance, SpeaksGrpc
from algodock_gateway.domain.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from starlette.types import Receive

    from algodock_common.capacity import Capacity
    from algodock_common.routing import Instance, Route, RoutingTable
    from algodock_common.upstream import Connection, Pool
    from algodock_gateway.handlers.directory import Directory
    from algodock_gateway.handlers.waking import Waking

__all__ = ["CallDesk", "RouteRefresher"]

STALE_S: Final = 0.25
"""A call that finds no instance has the routes read again, unless they are younger than this."""


class RouteRefresher(Protocol):
    """What keeps the routing table."""

    async def refresh_if_older(self, seconds: float) -> None:
        """Read the routes again, unless they were read within ``seconds``; does not raise."""
        ...


class CallDesk:
    """Admits calls and gives each an instance and a connection."""

    def __init__(
        self,
        table: RoutingTable,
        routes: RouteRefresher,
        directory: Directory,
        pool: Pool,
        capacity: Capacity,
        waking: Waking,
    ) -> None:
        """Join what is needed; nothing is read."""
        self.table = table
        self.pool = pool
        self.waking = waking
        self._routes = routes
        self._directory = directory
        self._capacity = capacity
        self._gates: dict[str, Gate] = {}

    def gates(self) -> Iterable[Gate]:
        """Return every gate, for the metrics."""
        return self._gates.values()

    def known_route(self, algorithm: str) -> Route | None:
        """Return the route of an algorithm if a ready instance of it is known here that speaks HTTP."""
        route = self.table.route(algorithm)
        return route if route is not None and route.ready and not route.speaks_grpc else None

    async def route(self, algorithm: str) -> Route:
        """Return the route of an algorithm that has a ready instance; one that sleeps is woken and waited for.

        Raises:
            AlgorithmUnknown: there is no such algorithm.
            NoInstance: there is, and nothing of it is ready.
            SpeaksGrpc: there is, and it cannot be called over HTTP.
        """
        route = self.known_route(algorithm)
        if route is not None:
            return route
        if self.table.route(algorithm) is None and await self._directory.find(algorithm) is None:
            raise AlgorithmUnknown(algorithm)
        await self._routes.refresh_if_older(STALE_S)
        route = self.known_route(algorithm)
        if route is None:
            self._check_protocol(algorithm)
            await self.waking.wait(algorithm)
            route = self.known_route(algorithm)
        if route is None:
            self._check_protocol(algorithm)
            raise NoInstance(algorithm)
        return route

    def _check_protocol(self, algorithm: str) -> None:
        known = self.table.route(algorithm)
        if known is not None and known.ready and known.speaks_grpc:
            raise SpeaksGrpc(algorithm)

    def slot(self, route: Route) -> Gate | None:
        """Take a slot of the service if one is free; ``Gate.leave`` gives it back."""
        gate = self._gate(route)
        return gate if gate.enter(route.limits.concurrency) else None

    async def enter(self, route: Route, receive: Receive | None) -> Gate:
        """Take a slot of the service, waiting in its queue if need be; ``Gate.leave`` gives it back.

        ``receive`` is watched for the caller's leaving while it waits; None while its body is still to come.

        Raises:
            CallQueueFull, CallWaitedTooLong, SlotsUnknown: no slot.
            CallerGone: the caller left while waiting.
        """
        gate = self._gate(route)
        limits = route.limits
        if gate.enter(limits.concurrency):
            return gate
        assert limits.concurrency is not None  # noqa: S101  # a gate without limit always admits
        waiting = asyncio.ensure_future(gate.wait(limits.concurrency, limits.queue, limits.timeout_s))
        leaving = asyncio.ensure_future(_left(receive)) if receive is not None else None
        try:
            await asyncio.wait({waiting, leaving} if leaving else {waiting}, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            if not waiting.cancel() and waiting.exception() is None:
                gate.leave(limits.concurrency)  # the slot came as this call was given up
            raise
        finally:
            if leaving is not None:
                leaving.cancel()
        if waiting.cancel():
            raise CallerGone("the caller left the queue")
        waiting.result()
        return gate

    def idle(self, route: Route) -> tuple[Instance, Connection] | None:
        """Choose an instance if a connection to it is idle; the rest is as with ``connect``."""
        instance = route.pick()
        if instance is None:
            return None
        try:
            connection = self.pool.take_idle(self.pool.origin(instance.base_url))
        except CannotConnect:
            connection = None  # ``connect`` meets it again, and says what it means
        if connection is None:
            route.take_back(instance)
            return None
        return instance, connection

    async def connect(self, route: Route) -> tuple[Instance, Connection]:
        """Choose an instance and connect to it; one that cannot be connected to is passed over.

        Nothing was sent to the ones passed over. The call is counted on the instance that is
        returned; give it back with ``done``.

        Raises:
            NoInstance: none could be connected to.
        """
        tried: set[UUID] = set()
        while True:
            instance = route.pick(tried)
            if instance is None:
                raise NoInstance(route.algorithm)
            try:
                return instance, await self.pool.take(self.pool.origin(instance.base_url))
            except CannotConnect:
                instance.suspect()
                tried.add(instance.id)
                self.table.release(instance)
            except BaseException:
                self.table.release(instance)
                raise

    def _gate(self, route: Route) -> Gate:
        gate = self._gates.get(route.algorithm)
        if gate is None:
            gate = self._gates[route.algorithm] = Gate(route.algorithm, self._capacity.share(route.algorithm))
        return gate

    def done(self, instance: Instance, connection: Connection) -> None:
        """Count the call as over and keep its connection, if it may be used again."""
        self.pool.give_back(connection)
        self.table.release(instance)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
