"""The gateway's hot path behind a real server, and instances that behave as a test says, byte by byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
import uvicorn
import uvloop

from algodock_common.capacity import Capacity
from algodock_common.events import InstanceChanged, Limits
from algodock_common.identifiers import uuid7
from algodock_common.routing import RoutingTable
from algodock_common.testing import FakeSlots
from algodock_common.upstream import Pool
from algodock_gateway.clients.fakes import FakeDeployer
from algodock_gateway.domain.algorithm import Algorithm
from algodock_gateway.domain.call import CallRecord
from algodock_gateway.domain.keys import ApiKey, fingerprint
from algodock_gateway.handlers.call_book import CallBook
from algodock_gateway.handlers.calls import CallDesk
from algodock_gateway.handlers.directory import Directory
from algodock_gateway.handlers.key_ring import KeyRing
from algodock_gateway.handlers.waking import Waking
from algodock_gateway.routes.ai import AiInlet
from algodock_gateway.routes.edge import express_protocol
from algodock_gateway.routes.express import ExpressCall, ExpressLane
from tests.integration.gateway.running import Gateway, running_gateway
from tests.integration.gateway.upstream import Conversation, Upstream, until

KEY = "ak_test"


class Sources:
    """The key, the algorithms and the call records of a test, in memory."""

    def __init__(self) -> None:
        self.names = {"echo", "stopped"}
        self.records: list[CallRecord] = []
        self.refreshed = 0
        self.on_refresh: Callable[[], None] = lambda: None

    async def all_keys(self) -> dict[bytes, ApiKey]:
        return {fingerprint(KEY.encode()): ApiKey(uuid7(), "tester", ("user",))}

    async def key_of(self, _digest: bytes) -> ApiKey | None:
        return None

    async def all_algorithms(self) -> list[Algorithm]:
        return []

    async def algorithm(self, name_or_id: str) -> Algorithm | None:
        return Algorithm(uuid7(), name_or_id, "created", "tester", "") if name_or_id in self.names else None

    async def refresh_if_older(self, _seconds: float) -> None:
        self.refreshed += 1
        self.on_refresh()

    async def write(self, records: Any) -> None:  # any sequence of records
        self.records += records

    async def trim(self, *, older_than_days: float) -> int:
        return int(older_than_days * 0)


class Lane(ExpressLane):
    """Counts the calls that it takes."""

    taken = 0

    def begin(self, *args: Any) -> ExpressCall | None:
        call = super().begin(*args)
        self.taken += call is not None
        return call


class World:
    """The hot path on a port, its table, and clients."""

    def __init__(self, *, express: bool, keep_alive_s: int = 5) -> None:
        self.express = express
        self.keep_alive_s = keep_alive_s
        self.server: uvicorn.Server | None = None
        self.lane: Lane | None = None
        self.sources = Sources()
        self.table = RoutingTable()
        self.pool = Pool(idle_s=5)
        self.keys = KeyRing(self.sources)
        self.book = CallBook(self.sources, keep_days=1, flush_s=0.01)
        self.slots = FakeSlots()
        self.capacity = Capacity(self.slots, process="gateway", lease_s=1)
        self.slots.listeners.append(self.capacity.told)
        self.deployer = FakeDeployer()
        self.waking = Waking(self.table, self.deployer, wait_s=2)
        self.desk = CallDesk(self.table, self.sources, Directory(self.sources), self.pool, self.capacity, self.waking)
        self.url = ""
        self.port = 0
        self._servers: list[asyncio.Server] = []
        self._epoch = 0

    def route(
        self, port: int, *, state: str = "ready", instance_id: UUID | None = None, scheme: str = "http", **limits: Any
    ) -> UUID:
        """Tell the table of an instance of ``echo``."""
        self._epoch += 1
        instance_id = instance_id or uuid7()
        self.table.apply(
            InstanceChanged.model_validate(
                {
                    "instance_id": instance_id,
                    "algorithm_id": uuid7(),
                    "algorithm": "echo",
                    "node_id": "n",
                    "host": "127.0.0.1",
                    "port": port,
                    "base_url": f"{scheme}://127.0.0.1:{port}",
                    "state": state,
                    "epoch": self._epoch,
                    "limits": Limits(**limits),
                }
            )
        )
        return instance_id

    async def upstream(self, conversation: Conversation, *, routed: bool = True, **limits: Any) -> Upstream:
        """Start an instance of ``echo``."""
        upstream = Upstream(conversation)
        self._servers.append(await upstream.listen())
        if self.express:
            await self.warm(upstream.port)
        if routed:
            self.route(upstream.port, **limits)
        return upstream

    async def warm(self, port: int) -> None:
        """Leave an idle connection in the pool, as a call before would have, so that the lane takes the first call."""
        connection = await self.pool.take(self.pool.origin(f"http://127.0.0.1:{port}"))
        connection.complete = connection.keep_alive = connection.request_done = True
        self.pool.give_back(connection)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, **options) as client:
            yield client

    async def post(self, path: str = "/ai/echo/predict", **options: Any) -> httpx.Response:
        async with self.client() as client:
            return await client.post(path, **options)

    async def record(self) -> CallRecord:
        """Return the newest call record, once it is written."""
        await until(lambda: self.sources.records)
        return self.sources.records[-1]

    async def idle(self) -> None:
        """Wait until no call is in flight, as counted by instance and by gate."""

        def quiet() -> bool:
            instances = (one for route in self.table.routes() for one in route.instances.values())
            return not any(one.in_flight for one in instances) and not any(
                one.in_flight or one.queued for one in self.desk.gates()
            )

        await until(quiet)

    def protocol(self, inlet: AiInlet) -> Any:  # uvicorn's word for a protocol is narrower than what it takes
        if not self.express:
            return "httptools"
        self.lane = Lane(inlet)
        return express_protocol(self.lane)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        inlet = AiInlet(self.keys, self.desk, self.book)
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(
            inlet,
            http=self.protocol(inlet),
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=self.keep_alive_s,
        )
        config.setup_event_loop = lambda: None  # type: ignore[method-assign]  # the test's loop is running
        server = self.server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        await self.capacity.start()
        await self.keys.start()
        await self.book.start()
        task = asyncio.create_task(server.serve(sockets=[sock]))
        await until(lambda: server.started)
        try:
            yield
        finally:
            server.should_exit = True
            server.force_exit = True
            for one in self._servers:
                one.close()
            await task
            await self.capacity.stop()
            await self.book.stop()
            await self.keys.stop()
            await self.pool.close()


@pytest.fixture(params=[True, False], ids=["express", "tasks"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """The hot path, served: with the express lane in front, and without it."""
    world = World(express=request.param)
    async with world.serving():
        yield world


@pytest.fixture(scope="session")
def event_loop_policy() -> uvloop.EventLoopPolicy:
    """Run on the loop that the gateway runs on."""
    return uvloop.EventLoopPolicy()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(
    server_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """One gateway for the module."""
    async with running_gateway(server_environment, tmp_path_factory.mktemp("data")) as running:
        yield running
