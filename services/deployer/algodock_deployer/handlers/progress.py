"""A release's way in steps: each written down with its times before it begins, each a span of the push's trace."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import structlog

from algodock_common import failpoints
from algodock_common.errors import AlgoDockError
from algodock_common.observability import span
from algodock_common.outages import is_infrastructure
from algodock_deployer.clients.tools import BuildLog
from algodock_deployer.domain.releases import changed, may_move
from algodock_deployer.repository import Releases, Services, Timeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from algodock_common.database import Transaction
    from algodock_common.events import ReleaseState, ServiceStatus
    from algodock_deployer.domain.releases import Release, Service
    from algodock_deployer.handlers.context import Context

__all__ = ["Progress", "passes", "patiently"]

log = structlog.get_logger()
Result = TypeVar("Result")
_SHOWN: dict[str, ServiceStatus] = {"building": "building", "starting": "starting", "checking": "starting"}


class Progress:
    """The release on its way; ``release`` is the row as it was last written.

    A release that was live before keeps its state until it serves again, so only a new one
    ``moves`` through building, starting and checking.
    """

    def __init__(self, context: Context, service: Service, release: Release) -> None:
        """Begin with nothing done."""
        self.context = context
        self.service = service
        self.release = release
        self.moves = may_move(release.state, "building")
        self.log = BuildLog(context.folders.build_log(release.id))
        self.detail = ""
        self.actor = release.pusher
        self._stage: ReleaseState | None = None
        self._begun = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def step(self, name: str, state: ReleaseState) -> AsyncIterator[None]:
        """Write down that a step begins and run it; what fails in it carries its name."""
        await self._begin(name, state)
        failpoints.reach(f"deploy.{name}")
        with span(name, algodock__release=str(self.release.id)):
            yield

    def note(self, detail: str) -> None:
        """Say what the step found; it is shown beside the step's time, and in the build's output."""
        self.detail = detail
        self.log.say(f"{self.release.step}: {detail}")

    async def _begin(self, name: str, state: ReleaseState) -> None:
        before, self.detail = self.detail, ""
        async with self.context.database.transaction() as tx:
            releases = Releases(tx.session)
            await self._tell(tx, state, before)
            if not self.moves or state == self.release.state:
                self.release = await releases.begin_step(self.release.id, name, before)
                return
            services = Services(tx.session)
            service = await services.locked(self.service.id)
            if service is not None and not service.serving:
                service = await services.update(service.id, status=_SHOWN[state], message="")
            self.service = service or self.service
            self.release = await releases.begin_step(self.release.id, name, before, state=state)
            tx.emit(changed(self.service, self.release))

    async def _tell(self, tx: Transaction, state: ReleaseState, detail: str) -> None:
        """Write the milestone that lies behind, if one does, into the service's timeline."""
        took = f"{asyncio.get_running_loop().time() - self._begun:.1f} s"
        timeline, was, self._stage = Timeline(tx.session), self._stage, state
        if self.moves and was == "building" != state:
            await timeline.note(self.service.id, "built", actor=self.actor, release=self.release, detail=took)
        if self.release.step == "probe":
            said = f"{took}: {detail}" if detail else took
            await timeline.note(self.service.id, "probed", actor=self.actor, release=self.release, detail=said)


def passes(error: Exception) -> bool:
    """Return whether the database was away: then nothing can be written down, and the work is begun again later.

    Everything else, a full disk too, is something that a release ends with.
    """
    return is_infrastructure(error)


async def patiently(call: Callable[[], Awaitable[Result]], *, within_s: float) -> Result:
    """Return what ``call`` returns; while what it needs is away, try again for ``within_s`` seconds.

    Raises:
        AlgoDockError: it is no error that passes, or it did not pass in time.
    """
    end, wait_s = asyncio.get_running_loop().time() + within_s, 0.1
    while True:
        try:
            return await call()
        except AlgoDockError as error:
            if not error.retryable or asyncio.get_running_loop().time() + wait_s > end:
                raise
            log.info("waits_for_peer", error=error.detail)
        await asyncio.sleep(wait_s)
        wait_s = min(wait_s * 2, 2.0)
