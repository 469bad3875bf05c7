"""The edge follows the routing: what nginx serves by is what the registry knows, applied in batches and acknowledged.

The edge is a router like gateways and workers: it says which epoch it has applied, so that no instance ends while calls
still go there.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from algodock_common.errors import InvalidInput
from algodock_deployer.clients.nginx import EdgeRefused, certificate_mark
from algodock_deployer.domain.edge import render
from algodock_deployer.domain.edge_grpc import fleet_of
from algodock_deployer.repository import Services

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from uuid import UUID

    from algodock_common.routing import RouteSnapshot
    from algodock_deployer.clients.nginx import EdgeServer
    from algodock_deployer.clients.registry import Registry
    from algodock_deployer.clients.routers import Seat
    from algodock_deployer.domain.edge import Site
    from algodock_deployer.domain.edge_grpc import GrpcService
    from algodock_deployer.handlers.context import Context

__all__ = ["Edge", "NoEdge", "grpc_names"]

LOOK_EVERY_S: Final = 1.0
BATCH_S: Final = 0.1
"""Changes that come so close together are one reload."""
DRAINING_EVERY_S: Final = 0.2
AGAIN_S: Final = 30.0
"""What was refused is tried again after that: a port may have become free."""

HTTP2_DIRECTIVE: Final = (1, 25, 1)
"""The nginx from which on ``http2 on`` is a directive of its own."""

log = structlog.get_logger()


async def grpc_names(context: Context) -> Sequence[str]:
    """Return the names of all services that speak gRPC, those that are stopped among them."""
    async with context.database.read() as session:
        return await Services(session).speaking_grpc()


class NoEdge:
    """Where no edge is wanted: one that an earlier setting left behind is ended."""

    def __init__(self, server: EdgeServer) -> None:
        """Nothing is ended before ``start``."""
        self._server = server

    async def start(self) -> None:
        """End what is there."""
        if await self._server.current() is not None:
            log.info("edge_ended")
            await self._server.stop()

    async def stop(self) -> None:
        """Do nothing: there is nothing."""

    async def state(self) -> str:
        """Return what ``/ready`` says of it: nothing."""
        return ""


class Edge:
    """Keeps the edge's server at what is to be served."""

    def __init__(  # what it follows, and what it keeps
        self,
        registry: Registry,
        names: Callable[[], Awaitable[Sequence[str]]],
        site: Site,
        server: EdgeServer,
        seat: Seat,
        bell: asyncio.Event,
    ) -> None:
        """Nothing is read or started before ``start``.

        ``names`` returns the services that speak gRPC, running or not; ``bell`` is rung when routing has changed.
        """
        self._registry = registry
        self._names = names
        self._bell = bell
        self._site = site
        self._modern: bool | None = None
        self._server = server
        self._seat = seat
        self._applied: tuple[GrpcService, ...] | None = None
        self._epoch = 0
        self._task: asyncio.Task[None] | None = None
        self._refused = ""
        self.why = "it was not started yet"
        self._again_at = 0.0
        self._known_to: dict[int, frozenset[UUID] | None] = {}

    async def state(self) -> str:
        """Return why the edge does not serve as it should, for ``/ready``; nothing where it does."""
        return self.why

    async def start(self) -> None:
        """Begin to follow."""
        self._task = asyncio.create_task(self._follow(), name="edge")

    async def _follow(self) -> None:
        draining = False
        while True:
            try:
                draining = await self.round()
            except Exception as error:  # noqa: BLE001  # whatever is away now is looked for again
                log.warning("edge_round_failed", error=repr(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAINING_EVERY_S if draining else LOOK_EVERY_S):
                    await self._bell.wait()
                    await asyncio.sleep(BATCH_S)
            self._bell.clear()

    async def stop(self) -> None:
        """Follow no more, and give the seat up: nobody waits for an edge that nobody keeps. The server serves on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._seat.leave()

    async def round(self) -> bool:
        """Look once, apply what changed and acknowledge; return whether something drains.

        Raises:
            AlgoDockError: the registry, the database or Redis stayed away; the edge serves on as it is.
        """
        snapshot = await self._registry.snapshot()
        fleet = fleet_of(await self._names(), snapshot.instances)
        try:
            text = render(await self._site_now(), fleet)
        except (EdgeRefused, InvalidInput) as error:
            await self._refuse(error.detail)
            return False
        await self._serve_by(text, fleet)
        await self._server.rotate()
        return await self._acknowledge(snapshot, fleet)

    async def _site_now(self) -> Site:
        if self._modern is None:
            self._modern = await self._server.version() >= HTTP2_DIRECTIVE
        site = replace(self._site, http2_directive=self._modern)
        if not site.tls:
            return site
        mark = await asyncio.to_thread(certificate_mark, site.certificate, site.certificate_key)
        return replace(site, certificate_mark=mark)

    async def _refuse(self, reason: str) -> None:
        """Keep why not; said in the log once, and in ``/ready`` as long as it is so."""
        serves = await self._server.current() is not None
        why = f"{reason}; it {'serves as before' if serves else 'does not run'}"
        if why != self.why:
            log.error("edge_refused", reason=reason, serves=serves)
        self.why = why

    async def _serve_by(self, text: str, fleet: tuple[GrpcService, ...]) -> None:
        if await self._server.current() == text:
            self._applied, self._refused, self.why = fleet, "", ""
            return
        now = asyncio.get_running_loop().time()
        if text == self._refused and now < self._again_at:
            return
        try:
            await self._server.apply(text)
        except EdgeRefused as error:
            self._refused, self._again_at = text, now + AGAIN_S
            await self._refuse(error.detail)
            return
        self._applied, self._refused, self.why = fleet, "", ""
        log.info("edge_applied", services=len(fleet), instances=sum(len(one.servers) for one in fleet))

    async def _acknowledge(self, snapshot: RouteSnapshot, fleet: tuple[GrpcService, ...]) -> bool:
        """Say what is applied, and what may still be open to instances that drain."""
        workers = await self._server.workers()
        if not workers:
            await self._seat.leave()
            return False
        grpc = [one for one in snapshot.instances if one.base_url.startswith("grpc://")]
        ready = frozenset(one.instance_id for one in grpc if one.state == "ready")
        current = fleet == self._applied
        if current:
            self._epoch = snapshot.epoch
        for pid, leaves in workers.items():
            # Who was there before us, and is on its way out, may know any instance.
            self._known_to.setdefault(pid, None if leaves or not current else ready)
        self._known_to = {pid: known for pid, known in self._known_to.items() if pid in workers}
        draining = {one.instance_id: self._open(one.instance_id) for one in grpc if one.state == "draining"}
        await self._seat.say(self._epoch, draining)
        return bool(draining) or not current

    def _open(self, instance_id: UUID) -> int:
        """Count the workers that knew the instance: nginx tells nobody whom its open calls go to."""
        return sum(1 for known in self._known_to.values() if known is None or instance_id in known)
