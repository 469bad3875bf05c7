"""A runner on a real PostgreSQL: its algorithm, object store, gateway and broker are told by fakes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from aiohttp import web

from algodock_common.capacity import Capacity
from algodock_common.database import Database, migrate
from algodock_common.errors import Unavailable
from algodock_common.events import FLOW, Event, InstanceChanged, Limits, TaskReady, TaskRequest
from algodock_common.identifiers import uuid7
from algodock_common.routing import RoutingTable
from algodock_common.settings import DatabaseSettings
from algodock_common.testing import FakeObjectStore, FakeSlots
from algodock_common.upstream import Pool as Upstream
from algodock_common.web import Identity
from algodock_runner.clients.callback_target import HttpCallbackTarget
from algodock_runner.clients.gateway import FakeGateway
from algodock_runner.clients.instances import HttpInstances
from algodock_runner.clients.registry import FakeRegistry
from algodock_runner.clients.restarts import FakeRestarts
from algodock_runner.clients.results import PlainResults
from algodock_runner.domain.algorithms import KnownAlgorithm
from algodock_runner.domain.tasks import TaskView
from algodock_runner.handlers.attempt import Tools
from algodock_runner.handlers.behind import Behind
from algodock_runner.handlers.bell import Bell
from algodock_runner.handlers.cancel_requests import CancelRequests
from algodock_runner.handlers.cancelling import Canceller
from algodock_runner.handlers.catalogue import Catalogue
from algodock_runner.handlers.dead_letters import DeadLetters
from algodock_runner.handlers.deliver import CallbackSender
from algodock_runner.handlers.depth import QueueDepths
from algodock_runner.handlers.inlet import Inlet
from algodock_runner.handlers.inputs import Inputs
from algodock_runner.handlers.ledger import Ledger
from algodock_runner.handlers.look import Desk
from algodock_runner.handlers.pool import Pool
from algodock_runner.handlers.reconcile import Reconciler
from algodock_runner.handlers.rerun import Reruns
from algodock_runner.handlers.shares import Shares
from algodock_runner.handlers.submit import Submission
from algodock_runner.settings import CallbackSettings, TaskSettings, WorkerSettings

from .receiving import Receiver, serving

OWNER = "key-1"
SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMTIzNA=="
GATEWAY_URL = "http://gateway.test"

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def echo(request: web.Request) -> web.StreamResponse:
    """Answer with the body as it came."""
    return web.json_response({"got": json.loads(await request.read())})


@dataclass
class Algorithm:
    """A real HTTP server whose behaviour a test sets; ``calls`` are the headers of what it was asked."""

    behaviour: Behaviour = echo
    calls: list[dict[str, str]] = field(default_factory=list)
    closed: int = 0
    cancelled: list[str] = field(default_factory=list)
    cancel_answers: list[int] = field(default_factory=list)
    base_url: str = ""
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def predict(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(dict(request.headers))
        try:
            return await self.behaviour(request)
        except asyncio.CancelledError:
            self.closed += 1
            raise

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        self.cancelled.append(request.match_info["task"])
        self.told.set()
        return web.Response(status=self.cancel_answers.pop(0) if self.cancel_answers else 404)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/predict", self.predict)
        app.router.add_post("/cancel/{task}", self.cancel)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


class Broker:
    """Hands bells to the pools that run; ``away`` loses them, as a dead broker does."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.rung: list[str] = []
        self.lost: list[str] = []
        self.away = False
        self.back: list[tuple[str, bytes, str | None, dict[str, bytes]]] = []

    async def put_back(self, topic: str, value: bytes, *, key: str | None, headers: Mapping[str, bytes]) -> None:
        if self.away:
            raise Unavailable("the broker is away")
        if topic not in {step.topic for step in FLOW}:
            raise ValueError(topic)
        self.back.append((topic, value, key, dict(headers)))

    async def publish_many(self, events: Sequence[Event[Any]]) -> list[Exception | None]:
        if self.away:
            self.lost += [event.data.algorithm for event in events]
            return [ConnectionError("the broker is away") for _ in events]
        for event in events:
            assert isinstance(event.data, TaskReady)
            self.rung.append(event.data.algorithm)
            for pool in self.pools:
                pool.ring(event.data.algorithm)
        return [None for _ in events]


@dataclass
class Platform:
    """Everything around the workers, and short words for what tests do."""

    db: Database
    store: FakeObjectStore
    gateway: FakeGateway
    broker: Broker
    bell: Bell
    table: RoutingTable
    submission: Submission
    desk: Desk
    cancels: CancelRequests
    inlet: Inlet
    catalogue: Catalogue
    letters: DeadLetters
    reconciler: Reconciler
    algorithm: Algorithm
    limits: TaskSettings
    registry: FakeRegistry
    depths: QueueDepths
    slots: FakeSlots = field(default_factory=FakeSlots)
    restarts: FakeRestarts = field(default_factory=FakeRestarts)
    epoch: int = 0

    async def submit(self, owner: str = OWNER, **body: Any) -> TaskView:
        view, _ = await self.submission.submit(TaskRequest.model_validate({"algorithm": "echo"} | body), owner=owner)
        return view

    async def task(self, task_id: UUID) -> TaskView:
        return await self.desk.get(task_id, owner=None)

    async def until(self, task_id: UUID, *states: str, seconds: float = 60) -> TaskView:
        seen = await self.task(task_id)
        async with asyncio.timeout(seconds):
            while seen.state not in states:
                await asyncio.sleep(0.02)
                seen = await self.task(task_id)
        return seen

    async def ended(self, task_id: UUID, seconds: float = 60) -> TaskView:
        return await self.until(task_id, "succeeded", "failed", "cancelled", "expired", seconds=seconds)

    async def eventually(self, look: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
        """Wait until ``look`` answers something true."""
        async with asyncio.timeout(seconds):
            while not await look():  # noqa: ASYNC110  # what is looked at tells nobody
                await asyncio.sleep(0.02)

    async def rung(self, *algorithms: str) -> None:
        """Wait until bells were rung for these, in this order, and for no other."""

        async def heard() -> bool:
            return self.broker.rung == list(algorithms)

        await self.eventually(heard)

    async def rows(self, query: str, **values: Any) -> list[Any]:
        async with self.db.read() as session:
            return list((await session.execute(sa.text(query), values)).all())

    async def change(self, statement: str, **values: Any) -> None:
        async with self.db.transaction() as tx:
            await tx.session.execute(sa.text(statement), values)

    async def hurry(self) -> None:
        """Let what waits for its next attempt be due."""
        await self.change("UPDATE tasks SET wakes_at = now() WHERE wakes_at IS NOT NULL")
        await self.reconciler.sweep_once()

    async def emitted(self, topic: str) -> list[dict[str, Any]]:
        rows = await self.rows("SELECT event FROM outbox WHERE topic = :topic ORDER BY id", topic=topic)
        return [json.loads(row.event) for row in rows]

    def route(self, algorithm: str = "echo", *, base_url: str | None = None, **changed: Any) -> InstanceChanged:
        """Have an instance of the algorithm in the routing table."""
        self.epoch += 1
        url = base_url or self.algorithm.base_url
        data = InstanceChanged.model_validate(
            {
                "instance_id": uuid4(),
                "algorithm_id": uuid4(),
                "algorithm": algorithm,
                "node_id": "node-1",
                "host": "127.0.0.1",
                "port": int(url.rsplit(":", 1)[1]),
                "base_url": url,
                "release_id": uuid4(),
                "commit": "c" * 40,
                "state": "ready",
                "limits": Limits(timeout_s=20),
                "epoch": self.epoch,
            }
            | changed
        )
        self.table.apply(data)
        return data

    @asynccontextmanager
    async def worker(
        self, *, rings: bool = True, results: Any = None, progress: Any = None, **settings: Any
    ) -> AsyncIterator[Pool]:
        """Run a worker; with its callbacks' sender idle."""
        http = Upstream()
        results = results or PlainResults(self.store)
        behind = Behind(self.db, results, limits=self.limits)
        ledger = Ledger(self.db, self.bell, behind, gateway_url=GATEWAY_URL, ended=lambda: None)
        inputs = Inputs(self.db, self.store, max_bytes=self.limits.max_input_bytes)
        tools = Tools(self.table, HttpInstances(http), results, behind, inputs, self.limits, progress)
        chosen = WorkerSettings.model_validate({"grace_s": 0.2} | settings)
        worker_id = f"w-{uuid7().hex[-4:]}"
        canceller = Canceller(
            self.db,
            self.table,
            tools.instances,
            self.restarts,
            ledger,
            worker_id=worker_id,
            lease_s=chosen.lease_s,
            routed=lambda: True,
        )
        capacity = Capacity(self.slots, process=worker_id)
        shares = Shares(self.db, capacity)
        pool = Pool(self.db, tools, ledger, canceller, shares, settings=chosen, worker_id=worker_id)
        self.slots.listeners.append(capacity.told)
        if rings:
            self.broker.pools.append(pool)
        for part in (capacity, behind, ledger, canceller, pool):
            await part.start()
        try:
            yield pool
        finally:
            for part in (pool, canceller, ledger, behind, capacity):
                await part.stop()
            self.slots.listeners.remove(capacity.told)
            await http.close()
            if rings:
                self.broker.pools.remove(pool)

    @asynccontextmanager
    async def sender(self, *, allow_private: bool = True, **settings: Any) -> AsyncIterator[CallbackSender]:
        """Give a sender of callbacks; a test calls ``send_due`` and ``idle`` itself."""
        chosen = CallbackSettings.model_validate({"allow_private": allow_private, "timeout_s": 1} | settings)
        target = HttpCallbackTarget(chosen.destinations, timeout_s=chosen.timeout_s)
        await target.start()
        sender = CallbackSender(self.db, self.gateway, target, settings=chosen, gateway_url=GATEWAY_URL)
        try:
            yield sender
        finally:
            await sender.stop()
            await target.stop()


@pytest.fixture
async def database(database_settings: DatabaseSettings) -> AsyncIterator[Database]:
    await migrate(database_settings, schema="runner", migrations="algodock_runner.migrations")
    db = Database(database_settings, schema="runner", source="/runner")
    async with db.transaction() as tx:
        await tx.session.execute(
            sa.text(
                "TRUNCATE tasks, attempts, callbacks, callback_deliveries, callback_targets, algorithms,"
                " dead_letters, outbox, inbox"
            )
        )
    yield db
    await db.stop()


@pytest.fixture
async def algorithm() -> AsyncIterator[Algorithm]:
    one = Algorithm()
    async with one.served():
        yield one


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    async with serving(one.take) as url:
        one.url = url + "/done"
        yield one


@pytest.fixture
async def platform(database: Database, algorithm: Algorithm) -> AsyncIterator[Platform]:
    gateway, store, broker = FakeGateway(), FakeObjectStore(), Broker()
    gateway.known = [KnownAlgorithm(uuid4(), name, "created", "admin") for name in ("echo", "slow", "other")]
    gateway.keys["good-key"] = Identity(OWNER, "admin", ("admin",))
    gateway.secrets[OWNER] = (SECRET,)
    limits = TaskSettings()
    bell = Bell(broker, source="/runner")
    catalogue = Catalogue(database, gateway)
    registry = FakeRegistry()
    depths = QueueDepths(database, registry)
    submission = Submission(
        database,
        store,
        catalogue,
        bell,
        depths,
        limits=limits,
        callbacks=CallbackSettings(allow_private=True),
        gateway_url=GATEWAY_URL,
    )
    await bell.start()
    yield Platform(
        db=database,
        store=store,
        gateway=gateway,
        broker=broker,
        bell=bell,
        table=RoutingTable(),
        submission=submission,
        cancels=CancelRequests(database, gateway_url=GATEWAY_URL),
        desk=Desk(database, store, limits=limits, gateway_url=GATEWAY_URL),
        inlet=Inlet(database, submission, gateway),
        catalogue=catalogue,
        letters=DeadLetters(database, Reruns(database, store, submission), submission, broker),
        reconciler=Reconciler(database, bell, catalogue, gateway_url=GATEWAY_URL),
        algorithm=algorithm,
        limits=limits,
        registry=registry,
        depths=depths,
    )
    await bell.stop()
