"""What the use cases stand on; ``main`` builds it once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

from algodock_deployer.clients.confinement import Confinement, Unconfined
from algodock_deployer.clients.log_times import LogTimes
from algodock_deployer.domain.modes import Modes
from algodock_deployer.domain.programs import Limits
from algodock_deployer.domain.scaling import LoadBoard
from algodock_deployer.handlers.attempts import Attempts
from algodock_deployer.handlers.vitals import Vitals

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from algodock_common.database import Database
    from algodock_common.storage import ObjectStore
    from algodock_common.vault import Vault
    from algodock_deployer.clients.devices import Devices
    from algodock_deployer.clients.docker_engine import ImageBuilder
    from algodock_deployer.clients.environments import EnvironmentBuilder
    from algodock_deployer.clients.model_cache import Models
    from algodock_deployer.clients.node import NodeBuilder
    from algodock_deployer.clients.probes import Prober
    from algodock_deployer.clients.processes import ProcessDriver
    from algodock_deployer.clients.registry import Registry
    from algodock_deployer.clients.routers import Routers
    from algodock_deployer.clients.sandbox import Sandbox
    from algodock_deployer.clients.tools import ToolRunner
    from algodock_deployer.domain.folders import Folders

__all__ = ["Background", "Context", "DrainBoard", "Tuning"]


@dataclass(frozen=True)
class Tuning:
    """Numbers that a platform may change; times in seconds."""

    host: str = "127.0.0.1"
    parallel: int = 4
    lease_s: float = 30
    start_timeout_s: float = 120
    build_timeout_s: float = 1800
    samples_s: float = 60
    watch_s: float = 300
    drain_extra_s: float = 10
    routers_wait_s: float = 5
    patience_s: float = 30
    keep_releases: int = 5
    keep_timeline: int = 1000
    keep_removed_s: float = 7 * 86_400
    max_source_bytes: int = 4 * 2**30
    min_free_bytes: int = 0
    heartbeat_url: str = ""
    docker_image: str = ""
    health_timeout_s: float = 5
    max_memory: int | None = None
    max_processes: int | None = None
    max_file_size: int | None = None

    def limits(self, memory: int | None) -> Limits:
        """Return what an instance is held to, with the memory that its manifest declares, if it does."""
        return Limits(memory=memory or self.max_memory, processes=self.max_processes, file_size=self.max_file_size)


class DrainBoard:
    """The routing epochs at which instances began to drain, as the registry's events tell them, and who must hurry."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._epochs: dict[UUID, int] = {}
        self._hurried: set[UUID] = set()
        self._news = asyncio.Condition()

    async def post(self, instance_id: UUID, epoch: int) -> None:
        """Note that an instance drains since ``epoch``."""
        async with self._news:
            self._epochs[instance_id] = max(epoch, self._epochs.get(instance_id, 0))
            self._news.notify_all()

    def epoch(self, instance_id: UUID) -> int | None:
        """Return since when the instance drains, None when nobody has said so yet."""
        return self._epochs.get(instance_id)

    async def wait(self, instance_id: UUID, timeout_s: float) -> int | None:
        """Wait for the instance's epoch, for at most ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(lambda: instance_id in self._epochs)
        except TimeoutError:
            return None
        return self._epochs[instance_id]

    def hurry(self, instance_id: UUID) -> None:
        """Have the instance ended as soon as no router sends it anything new, whatever is open there."""
        self._hurried.add(instance_id)

    def calm(self, instance_id: UUID) -> None:
        """Take ``hurry`` back: the instance serves on."""
        self._hurried.discard(instance_id)

    def hurried(self, instance_id: UUID) -> bool:
        """Say whether nobody waits for the instance's open calls."""
        return instance_id in self._hurried

    def forget(self, instance_id: UUID) -> None:
        """Drop an instance that is gone."""
        self._epochs.pop(instance_id, None)
        self._hurried.discard(instance_id)


class Background:
    """Work that goes on behind an answer, one task a key; ended when the service stops."""

    def __init__(self) -> None:
        """Run nothing yet."""
        self._tasks: dict[object, asyncio.Task[None]] = {}

    def run(self, key: object, work: Coroutine[object, object, None]) -> bool:
        """Run ``work`` unless something runs under ``key``; return whether it was started."""
        if key in self._tasks:
            work.close()
            return False
        task = asyncio.create_task(work, name=str(key))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))
        return True

    def busy(self, key: object) -> bool:
        """Return whether something runs under ``key``."""
        return key in self._tasks

    async def join(self, key: object) -> None:
        """Wait for what runs under ``key``, however it ends."""
        task = self._tasks.get(key)
        if task is not None:
            await asyncio.wait([task])

    async def stop(self) -> None:
        """End everything; whoever begins anew finds it in the database."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Context:
    """The deployer's database, its outside and its numbers.

    ``images`` is there where a Docker Engine is.
    ``bell`` is rung when there is new work, so that nobody waits for a poll; ``edge_bell`` when routing changed.
    """

    database: Database
    store: ObjectStore
    processes: ProcessDriver
    environments: EnvironmentBuilder
    node: NodeBuilder
    models: Models
    devices: Devices
    vault: Vault
    prober: Prober
    registry: Registry
    routers: Routers
    sandbox: Sandbox
    tools: ToolRunner
    folders: Folders
    node_id: str
    tuning: Tuning = field(default_factory=Tuning)
    modes: Modes = field(default_factory=Modes)
    images: ImageBuilder | None = None
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    edge_bell: asyncio.Event = field(default_factory=asyncio.Event)
    loads: LoadBoard = field(default_factory=LoadBoard)
    drains: DrainBoard = field(default_factory=DrainBoard)
    background: Background = field(default_factory=Background)
    confinement: Confinement = field(default_factory=Unconfined)

    vitals: Vitals = field(default_factory=Vitals)
    attempts: Attempts = field(default_factory=Attempts)

    @cached_property
    def log_times(self) -> LogTimes:
        """Return who notes when lines were written."""
        return LogTimes(self.folders.logs / "releases")
