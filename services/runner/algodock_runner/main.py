"""The only place that wires the runner: its API and its worker."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from algodock_common.capacity import Capacity, LoadTeller, RedisSlots
from algodock_common.database import Database, migrate
from algodock_common.messaging import Bus
from algodock_common.signals import Signals
from algodock_common.storage import BucketKeeper, MinioObjectStore
from algodock_common.web import InternalClient, serve, service_app
from algodock_runner.clients.gateway import HttpGateway
from algodock_runner.clients.wakes import HttpWakes
from algodock_runner.handlers.bell import Bell
from algodock_runner.handlers.load import TaskLoad
from algodock_runner.handlers.shares import Shares
from algodock_runner.handlers.waking import TaskWaking
from algodock_runner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

__all__ = ["SCHEMA", "api", "main", "worker"]

SCHEMA = "runner"
MIGRATIONS = "algodock_runner.migrations"


def main(process: str = "api") -> None:
    """Run one of the two processes until it is told to stop."""
    settings = Settings()
    serve({"api": api, "worker": worker}[process](settings), settings)


def api(settings: Settings) -> FastAPI:
    """Return the application that accepts tasks, reads the public inlet and reconciles."""
    from algodock_runner.clients.registry import HttpRegistry  # a worker needs none of these
    from algodock_runner.handlers.callbacks import CallbackDesk
    from algodock_runner.handlers.cancel_requests import CancelRequests
    from algodock_runner.handlers.catalogue import Catalogue
    from algodock_runner.handlers.dead_letters import DeadLetters
    from algodock_runner.handlers.depth import QueueDepths
    from algodock_runner.handlers.files import FileSubmission
    from algodock_runner.handlers.inlet import Inlet
    from algodock_runner.handlers.look import Desk
    from algodock_runner.handlers.reconcile import Reconciler
    from algodock_runner.handlers.rerun import Reruns
    from algodock_runner.handlers.submit import Submission
    from algodock_runner.handlers.sweeper import Sweeper
    from algodock_runner.routes import install
    from algodock_runner.subscribers import subscribe_api

    gateway_url = settings.peers.public_url  # it only begins links
    bus = Bus(settings.kafka, settings.secrets, service="runner", instance=settings.platform.node_id)
    signals = Signals(settings.redis)
    db = Database(settings.database, schema=SCHEMA, source="/runner", bus=bus, signals=signals, indexed=True)
    store = MinioObjectStore(settings.objects)
    bucket = BucketKeeper(store)
    to_gateway = InternalClient(settings.peers.gateway_url, settings.secrets)
    to_registry = InternalClient(settings.peers.registry_url, settings.secrets)
    gateway = HttpGateway(to_gateway)
    bell = Bell(bus, source="/runner", signals=signals)
    catalogue = Catalogue(db, gateway)
    depths = QueueDepths(db, HttpRegistry(to_registry))
    submission = Submission(
        db, store, catalogue, bell, depths, limits=settings.tasks, callbacks=settings.callbacks, gateway_url=gateway_url
    )
    reruns = Reruns(db, store, submission)
    subscribe_api(bus, inlet=Inlet(db, submission, gateway), catalogue=catalogue)
    reconciler = Reconciler(db, bell, catalogue, gateway_url=gateway_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.submission = submission
        app.state.file_submission = FileSubmission(submission, store)
        app.state.reruns = reruns
        app.state.dead_letters = DeadLetters(db, reruns, submission, bus)
        app.state.callbacks = CallbackDesk(db)
        app.state.cancels = CancelRequests(db, gateway_url=gateway_url)
        app.state.desk = Desk(db, store, limits=settings.tasks, gateway_url=gateway_url)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(to_gateway.close)
            stack.push_async_callback(to_registry.close)
            stack.push_async_callback(store.close)
            await migrate(settings.database, schema=SCHEMA, migrations=MIGRATIONS)
            for part in (
                bucket,
                signals,
                bus,
                db,
                bell,
                depths,
                reconciler,
                Sweeper(db, store, settings=settings.tasks),
            ):  # ended in the opposite order
                await part.start()
                stack.push_async_callback(part.stop)
            yield

    app = service_app(
        "runner",
        settings,
        lifespan=lifespan,
        checks={"postgres": db.check, "kafka": bus.check, "objects": store.ping},
    )
    install(app)
    return app


def worker(settings: Settings) -> FastAPI:
    """Return the application that runs tasks and sends callbacks; over HTTP it only shows how it is."""
    from algodock_common.identifiers import uuid7  # the API needs none of these
    from algodock_common.routing import RoutingFeed, RoutingTable
    from algodock_common.upstream import Pool as Upstream
    from algodock_runner.clients.callback_target import HttpCallbackTarget
    from algodock_runner.clients.instances import HttpInstances
    from algodock_runner.clients.restarts import HttpRestarts
    from algodock_runner.clients.results import SignedResults
    from algodock_runner.handlers.attempt import Tools
    from algodock_runner.handlers.behind import Behind
    from algodock_runner.handlers.cancelling import Canceller
    from algodock_runner.handlers.deliver import CallbackSender
    from algodock_runner.handlers.inputs import Inputs
    from algodock_runner.handlers.ledger import Ledger
    from algodock_runner.handlers.pool import Pool
    from algodock_runner.handlers.progress import Progress
    from algodock_runner.subscribers import subscribe_worker

    worker_id = f"worker-{settings.platform.node_id}-{uuid7().hex[-12:]}"
    gateway_url = settings.peers.public_url  # it only begins links
    bus = Bus(settings.kafka, settings.secrets, service="worker", instance=worker_id)
    signals = Signals(settings.redis)
    db = Database(settings.database, schema=SCHEMA, source="/runner/worker", bus=bus, signals=signals, indexed=True)
    store = MinioObjectStore(settings.objects)
    redis = Redis.from_url(settings.redis.url.get_secret_value())
    to_gateway = InternalClient(settings.peers.gateway_url, settings.secrets)
    to_registry = InternalClient(settings.peers.registry_url, settings.secrets)
    to_deployer = InternalClient(settings.peers.deployer_url, settings.secrets)
    table = RoutingTable()
    feed = RoutingFeed(bus, to_registry, table, redis, worker_id)
    bell = Bell(bus, source="/runner/worker", signals=signals)
    http = Upstream()
    target = HttpCallbackTarget(settings.callbacks.destinations, timeout_s=settings.callbacks.timeout_s)
    sender = CallbackSender(db, HttpGateway(to_gateway), target, settings=settings.callbacks, gateway_url=gateway_url)
    results = SignedResults(settings.objects, store, http)
    behind = Behind(db, results, limits=settings.tasks)
    ledger = Ledger(db, bell, behind, gateway_url=gateway_url, ended=sender.wake)
    progress = Progress(redis, signals)
    tools = Tools(
        table=table,
        instances=HttpInstances(http),
        results=results,
        behind=behind,
        inputs=Inputs(db, store, max_bytes=settings.tasks.max_input_bytes),
        limits=settings.tasks,
        progress=progress,
    )
    canceller = Canceller(
        db,
        table,
        tools.instances,
        HttpRestarts(to_gateway),
        ledger,
        worker_id=worker_id,
        lease_s=settings.worker.lease_s,
        routed=lambda: feed.filled,
    )
    capacity = Capacity(RedisSlots(settings.redis), process=worker_id)
    pool = Pool(db, tools, ledger, canceller, Shares(db, capacity), settings=settings.worker, worker_id=worker_id)
    subscribe_worker(bus, signals, pool=pool, capacity=capacity)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for close in (
                to_gateway.close,
                to_registry.close,
                to_deployer.close,
                redis.aclose,
                store.close,
                http.close,
            ):
                stack.push_async_callback(close)
            await migrate(settings.database, schema=SCHEMA, migrations=MIGRATIONS)
            work = (
                *(progress, behind, ledger, canceller, pool),
                LoadTeller(bus, TaskLoad(db, table, pool, worker_id).look, source="/runner/worker"),
                TaskWaking(db, table, HttpWakes(to_deployer), routed=lambda: feed.filled),
            )
            for part in (target, BucketKeeper(store), signals, capacity, bus, db, bell, feed, sender, *work):
                await part.start()
                stack.push_async_callback(part.stop)  # ended in the opposite order
            yield

    return service_app(
        "worker",
        settings,
        lifespan=lifespan,
        checks={"postgres": db.check, "kafka": bus.check, "objects": store.ping, "routes": feed.check},
    )
